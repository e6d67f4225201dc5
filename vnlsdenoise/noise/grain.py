"""The noise of a channel, of any spectrum, from what is new in the blocks of a film; and which blocks tell it."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.noise.model import Spectrum
from vnlsdenoise.noise.temporal import SIDE, News, frequency_sums

_FINEST = 16  # from this sum on: high frequencies, which tell where there is least that is new
TOP = 23  # from this sum on: the highest frequencies, where white noise is measured
_BESIDE = (17, 19)  # sums below those: texture has less there than at low frequencies, what a codec leaves has more
_FLAT = 0.1  # share of the blocks: those of least structure
_NOISIER = (0.85, 1.0)  # ranks of the blocks that tell how strong noise is
# Times the deviation that a quarter of them exceed: more is no noise. That of cameras has one block in thirty with 1.1
# to 1.8 times as much, with 2.4 where a small part of the picture is noisier; where texture was not found again it is
# 3 to 5, and then less is no noise either.
_MOST_UNSTEADY, _IN_TAIL, _RANK_OF_TAIL = 2.8, 1.6, 0.97
_LEAST_NEW = 0.1  # share of the blocks: those with least that is new
# A block that was found again: what the frames on both sides do not share, of what is new; and the share of such blocks
# from which the others are left out.
_FOUND_AGAIN, _LEAST_FOUND = 1.5, 0.25
_MOST = 3.5**2  # times the energy that is new in flat blocks: more is texture that was not found again
_WHITE = 1.3  # times that noise is stronger at low frequencies than at the highest: at most this in white noise
_PEAK, _BELOW = 6, (2, 3)  # sum from which on a peak is looked for; first sum, and distance, of what lies below it
_MEANS = 9
_FLOOR = 1 / 4096  # of the mean variance


class Grain(NamedTuple):
    """Noise of a channel, as strong as in the parts of the picture where there is much of it.

    spectrum: of 256 variances, of mean 1. top, low: deviations at the highest frequencies and at those of the band, in
    flat blocks, of some of which `means` are the means. beside: as top, at the next frequencies. most: of what is new
    at the highest frequencies, exceeded in a quarter of all blocks. least, least_low: as top and low in the blocks with
    least that is new, whose means have the median `at`: noise is in all blocks, and texture that was not found again is
    not.
    """

    deviation: float
    spectrum: Spectrum
    top: float
    beside: float
    low: float
    most: float
    means: tuple[float, ...]
    least: float
    least_low: float
    at: float

    @property
    def colour(self) -> float:
        """Times that the noise is stronger at low frequencies than at the highest."""
        if not self.top:
            return math.inf
        return min(self.low / self.top, self.least_low / self.least) if self.least else self.low / self.top

    def times(self, factor: float) -> "Grain":
        """The same, `factor` times as strong over all."""
        return self._replace(deviation=factor * self.deviation)

    @property
    def white(self) -> bool:
        """Whether the noise is as strong at the highest frequencies as elsewhere."""
        return self.low < _WHITE * self.top


def lowest(values: Tensor, share: float) -> Tensor:
    """[N], which are the lowest."""
    count = max(1, round(share * len(values)))
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen[values.argsort(stable=True)[:count]] = True
    return chosen


def of_halves(energies: Tensor, blocks: dict[bool, Tensor], odd: Tensor) -> Tensor:
    """[16, 16]: mean energy at every frequency over the blocks that were chosen by the other half of them."""
    return torch.where(odd, energies[blocks[False]].mean(0), energies[blocks[True]].mean(0))


def flat_blocks(news: News, odd: Tensor, band: Tensor) -> dict[bool, Tensor]:
    """The blocks of least structure, by either half of the frequencies."""
    return {half: lowest(news.own[:, band & (odd == half)].mean(1), _FLAT) for half in (True, False)}


def noisier_blocks(news: News, odd: Tensor, band: Tensor, without_tail: bool = False) -> dict[bool, Tensor]:
    """Numbers of the blocks with most that is new, by either half of the frequencies, among those found again.

    without_tail: those that only texture can have (`_MOST_UNSTEADY`) are left out.
    """
    scale = news.new.mean(0).clamp_min(1e-12)
    chosen = {}
    for half in (True, False):
        telling = band & (odd == half)
        new, apart = (part[:, telling].mean(1) for part in (news.new, news.apart))
        found = (apart <= _FOUND_AGAIN * new).nonzero()[:, 0]
        if len(found) < _LEAST_FOUND * len(new):
            found = torch.arange(len(new), device=new.device)
        energy = (news.new[found] / scale)[:, telling].mean(1)
        if without_tail:
            usual, tail = energy.quantile(0.75), energy.quantile(_RANK_OF_TAIL)
            kept = energy <= (_IN_TAIL if tail > _MOST_UNSTEADY**2 * usual else _MOST_UNSTEADY) ** 2 * usual
            found, energy = found[kept], energy[kept]
        order = found[energy.argsort(stable=True)]
        first, last = (round(share * len(order)) for share in _NOISIER)
        chosen[half] = order[first : max(last, first + 1)]
    return chosen


def apart_of(news: News, blocks: dict[bool, Tensor], odd: Tensor, band: Tensor) -> float:
    """How many times the energy of what is new is apart: 1 where noise is independent from frame to frame."""
    new, apart = (float(of_halves(part, blocks, odd)[band].mean()) for part in (news.new, news.apart))
    return apart / new if new > 0 and apart > 0 else 1.0


def peak_of(variance: Tensor) -> float:
    """How far [16, 16] variances have a peak: most times that one is the mean of those lower in both directions.

    About 1 in noise, whatever has filtered it. Windows far away, fences and prints alias: as they move over the samples
    they are others in every frame, at one frequency.
    """
    sums = frequency_sums(variance.device)
    order = torch.arange(SIDE, device=variance.device)
    lower = order[:, None] >= order  # [of which, what]
    below = lower[:, None, :, None] & lower[None, :, None, :] & (sums >= _BELOW[0])
    below &= sums <= sums[:, :, None, None] - _BELOW[1]
    asked, table = sums >= _PEAK, smoothed(variance)
    means = (below[asked] * table).sum((1, 2)) / below[asked].sum((1, 2))
    return float((table[asked] / means.clamp_min(1e-12)).max())


def grain_of(
    news: News,
    flat: dict[bool, Tensor],
    odd: Tensor,
    band: Tensor,
    carried: float,
    unsteady: float,
    most_times: float = math.inf,
) -> tuple[Grain, float]:
    """The noise of a channel, and how many times the variance in flat areas it has.

    unsteady: 0 to 1, how much the parts of the picture tell where there is more noise than in flat ones. most_times: of
    the variance.
    """
    quiet = of_halves(news.new, flat, odd)
    sums = frequency_sums(odd.device)
    top, low = float(quiet[sums >= TOP].mean()) ** 0.5, float(quiet[band].mean()) ** 0.5
    beside = float(quiet[(sums >= _BESIDE[0]) & (sums <= _BESIDE[1])].mean()) ** 0.5
    most = float(news.new[:, sums >= TOP].mean(1).quantile(0.75)) ** 0.5
    brightness = news.own[flat[True] | flat[False], 0, 0].sqrt() / SIDE
    means = tuple(brightness.quantile(torch.linspace(0, 1, _MEANS, device=brightness.device)).tolist())
    finest = sums >= _FINEST
    still = {half: lowest(news.new[:, finest & (odd == half)].mean(1), _LEAST_NEW) for half in (True, False)}
    calm = of_halves(news.new, still, odd)
    least, least_low = float(calm[sums >= TOP].mean()) ** 0.5, float(calm[band].mean()) ** 0.5
    at = float(news.own[still[True] | still[False], 0, 0].sqrt().median()) / SIDE
    variance = torch.lerp(quiet, of_halves(news.new, noisier_blocks(news, odd, band, without_tail=True), odd), unsteady)
    variance = torch.minimum(variance, _MOST * quiet.clamp_min(1e-12))
    times = float(variance.mean() / quiet.mean().clamp_min(1e-12))
    variance = variance * min(1.0, most_times / max(times, 1e-12))
    grain = Grain(0.0, (), top, beside, low, most, means, least, least_low, at)
    return of_variance(grain, carried * smoothed(variance)), times


def of_variance(grain: Grain, variance: Tensor) -> Grain:
    """The same with noise of these variances, [16, 16]."""
    mean = float(variance.mean())
    if mean <= 0:
        return grain._replace(deviation=0.0, spectrum=())
    variance = (variance / mean).clamp_min(_FLOOR)
    variance = variance / variance.mean()
    spectrum = tuple(round(float(value), 6) for value in variance.flatten())
    return grain._replace(deviation=mean**0.5, spectrum=spectrum)


def smoothed(variance: Tensor) -> Tensor:
    """What the neighbouring frequencies say; brightness itself is taken from those beside it."""
    variance = variance.clone()
    variance[0, 0] = (variance[0, 1] + variance[1, 0]) / 2
    return functional.avg_pool2d(variance[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
