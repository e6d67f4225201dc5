"""The noise of every channel, of any spectrum, told from what is new in every frame."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.noise.estimate import ramp
from vnlsdenoise.noise.model import Spectrum
from vnlsdenoise.noise.temporal import SIDE, News, frequency_sums

_BAND = (2, 14)  # sums u + v of 16x16 that tell structure and grain; below lie brightness and slopes
_TOP = 23  # from this sum on: the highest frequencies, where white noise is measured
_FLAT = 0.1  # share of the blocks: those of least structure
_NOISIER = (0.85, 1.0)  # ranks of the blocks that tell how strong noise is
# Of what the frames on both sides do not share at the lowest frequencies, to what is new, in the noisier blocks beside
# the flat ones: about 1 in the noise of cameras; 1.9 and more in texture that moves by parts of a pixel.
_MOVING, _CARRIED_LOW = (1.3, 1.8), 1.25
_MOST = 3.5**2  # times the energy that is new in flat blocks: more is texture that was not found again
# All that flat blocks hold, of what is new in them, at middle frequencies: 1 where they hold noise and nothing else.
_PURE = (1.6, 1.3)
_MIDDLE = (6, 14)
# Of what the frames on both sides do not share in flat blocks, to what is new: 1 in noise, 3 in texture that was found
# again but for parts of a pixel, by chance; more in what moves on evenly.
_INDEPENDENT = (1.4, 1.15)
# Of what is new in flat blocks, to what is new in all: noise is everywhere. Where no motion was found, blocks of
# texture are new, and look like noise by all else.
_EVERYWHERE = (0.1, 0.2)
# Energy of what is new in flat blocks at the lowest frequencies, to that at those of the band: 2 to 8 in the noise of
# cameras, 20 in grain of six pixels, 40 in grain of ten; from 20 on where blocks of another brightness were taken for
# the same.
_STEEP, _TOO_STEEP = (22.0, 18.0), (50.0, 35.0)
# All that blocks hold at low frequencies, to what is new there: 2 to 13 where most motion was not found, or where the
# picture is flat.
_LOW, _FOUND = (1, 2), (12.0, 20.0)
# Times that noise is stronger at low frequencies than at the highest, in the geometric mean over the channels: of white
# noise on a source that has some grain itself up to 2, of a camera's 4 and more.
_COLOURED = (2.5, 3.5)
_WHITE = 1.3  # the same, of one channel: at most this in white noise
_LEAST_SHARE = 0.1  # of the first channel's deviation: noise of less does not say what the noise is
# Of what the frames on both sides do not share, to what is new: noise that a codec carried on from frame to frame. More
# is motion.
_MOST_CARRIED, _IN_MOTION = 2.5, (2.6, 2.2)
_FEWEST = 64  # blocks
_MEANS = 9
_FLOOR = 1 / 4096  # of the mean variance


class Grain(NamedTuple):
    """Noise of a channel, as strong as in the parts of the picture where there is much of it.

    spectrum: of 256 variances, of mean 1. top, low: deviations at the highest frequencies and at those of the band, in
    flat blocks, of some of which `means` are the means. most: of what is new at the highest frequencies, exceeded in a
    quarter of all blocks.
    """

    deviation: float
    spectrum: Spectrum
    top: float
    low: float
    most: float
    means: tuple[float, ...]

    @property
    def white(self) -> bool:
        """Whether the noise is as strong at the highest frequencies as elsewhere."""
        return self.low < _WHITE * self.top


class Verdict(NamedTuple):
    """trust: 0 to 1, how sure it is that what is new in flat blocks is noise, and that it is anything but white.

    white: whether any channel has noise at the highest frequencies that is as strong as elsewhere.
    """

    trust: float
    white: bool
    channels: tuple[Grain, ...]


def judge(evidence: list[News]) -> Verdict | None:
    """The noise that explains what is new; None where there are too few blocks.

    What is new in flat blocks is noise if they hold nothing else: texture whose motion was not found shows in them too.
    Whether it is coloured is asked of those of the first three channels that have a good part of it.
    """
    guide = evidence[0]
    if len(guide.new) < _FEWEST:
        return None
    sums = frequency_sums(guide.new.device)
    odd = sums % 2 == 1
    band = (sums >= _BAND[0]) & (sums <= _BAND[1])
    flat = {half: lowest(guide.own[:, band & (odd == half)].mean(1), _FLAT) for half in (True, False)}
    carried = _apart(guide, flat, odd, band)
    # A codec that carries noise on does so everywhere, at the lowest frequencies a little.
    slowest, noisier = sums == 1, _noisier(guide, odd, band)
    moving = _apart(guide, noisier, odd, slowest) / min(max(1.0, _apart(guide, flat, odd, slowest)), _CARRIED_LOW)
    pure = max(_purity(guide, flat, odd), ramp(carried, *_INDEPENDENT)) * ramp(carried, *_IN_MOTION)
    pure *= _all_over(guide, flat, odd, band)
    carried = min(max(carried, 1.0), _MOST_CARRIED)
    channels = tuple(_grain(news, flat, odd, band, carried, 1 - ramp(moving, *_MOVING)) for news in evidence)
    least = _LEAST_SHARE * channels[0].low
    telling = [grain for grain in channels[:3] if grain.low >= least and grain.top > 0]
    ratios = [grain.low / grain.top for grain in telling]
    colour = ramp(math.prod(ratios) ** (1 / len(ratios)), *_COLOURED) if ratios else 0.0
    return Verdict(pure * colour, any(grain.white for grain in telling), channels)


def _all_over(guide: News, flat: dict[bool, Tensor], odd: Tensor, band: Tensor) -> float:
    """How sure it is, 0 to 1, that what is new is everywhere, and not where no motion was found."""
    quiet, sums = of_halves(guide.new, flat, odd), frequency_sums(odd.device)
    share = float(quiet[band].mean() / guide.new[:, band].mean())
    low = (sums >= _LOW[0]) & (sums <= _LOW[1])
    found = ramp(float(guide.own[:, low].mean() / guide.new[:, low].mean()), *_FOUND)
    steep = float(quiet[sums == 1].mean() / quiet[band].mean())
    return ramp(share, *_EVERYWHERE) * max(found, ramp(steep, *_STEEP)) * ramp(steep, *_TOO_STEEP)


def lowest(values: Tensor, share: float) -> Tensor:
    """[N], which are the lowest."""
    count = max(1, round(share * len(values)))
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen[values.argsort(stable=True)[:count]] = True
    return chosen


def of_halves(energies: Tensor, blocks: dict[bool, Tensor], odd: Tensor) -> Tensor:
    """[16, 16]: mean energy at every frequency over the blocks that were chosen by the other half of them."""
    return torch.where(odd, energies[blocks[False]].mean(0), energies[blocks[True]].mean(0))


def _purity(guide: News, flat: dict[bool, Tensor], odd: Tensor) -> float:
    sums = frequency_sums(odd.device)
    middle = (sums >= _MIDDLE[0]) & (sums <= _MIDDLE[1])
    new, own = (float(of_halves(part, flat, odd)[middle].mean()) for part in (guide.new, guide.own))
    return ramp(own / new, *_PURE) if new > 0 else 0.0


def _apart(news: News, blocks: dict[bool, Tensor], odd: Tensor, band: Tensor) -> float:
    """How many times the energy of what is new is apart: 1 where noise is independent from frame to frame."""
    new, apart = (float(of_halves(part, blocks, odd)[band].mean()) for part in (news.new, news.apart))
    return apart / new if new > 0 and apart > 0 else 1.0


def _noisier(news: News, odd: Tensor, band: Tensor) -> dict[bool, Tensor]:
    """Numbers of the blocks with most that is new, by either half of the frequencies."""
    scale = news.new.mean(0).clamp_min(1e-12)
    chosen = {}
    for half in (True, False):
        order = (news.new / scale)[:, band & (odd == half)].mean(1).argsort(stable=True)
        first, last = (round(share * len(order)) for share in _NOISIER)
        chosen[half] = order[first : max(last, first + 1)]
    return chosen


def _grain(news: News, flat: dict[bool, Tensor], odd: Tensor, band: Tensor, carried: float, unsteady: float) -> Grain:
    """unsteady: 0 to 1, how much the parts of the picture tell where there is more noise than in flat ones."""
    quiet = of_halves(news.new, flat, odd)
    sums = frequency_sums(odd.device)
    top, low = float(quiet[sums >= _TOP].mean()) ** 0.5, float(quiet[band].mean()) ** 0.5
    most = float(news.new[:, sums >= _TOP].mean(1).quantile(0.75)) ** 0.5
    brightness = news.own[flat[True] | flat[False], 0, 0].sqrt() / SIDE
    means = tuple(brightness.quantile(torch.linspace(0, 1, _MEANS, device=brightness.device)).tolist())
    variance = torch.lerp(quiet, of_halves(news.new, _noisier(news, odd, band), odd), unsteady)
    variance = torch.minimum(variance, _MOST * quiet.clamp_min(1e-12))
    variance = carried * _smoothed(variance)
    mean = float(variance.mean())
    if mean <= 0:
        return Grain(0.0, (), top, low, most, means)
    variance = (variance / mean).clamp_min(_FLOOR)
    variance = variance / variance.mean()
    return Grain(mean**0.5, tuple(round(float(value), 6) for value in variance.flatten()), top, low, most, means)


def _smoothed(variance: Tensor) -> Tensor:
    """What the neighbouring frequencies say; brightness itself is taken from those beside it."""
    variance = variance.clone()
    variance[0, 0] = (variance[0, 1] + variance[1, 0]) / 2
    return functional.avg_pool2d(variance[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
