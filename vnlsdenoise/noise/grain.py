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
_FINEST = 16  # from this sum on: high frequencies, which tell where there is least that is new
_TOP = 23  # from this sum on: the highest frequencies, where white noise is measured
_FLAT = 0.1  # share of the blocks: those of least structure
_NOISIER = (0.85, 1.0)  # ranks of the blocks that tell how strong noise is
# Times the deviation that a quarter of them exceed: more is no noise. That of cameras has one block in thirty with 1.1
# to 1.8 times as much, with 2.4 where a small part of the picture is noisier; where texture was not found again it is
# 3 to 5, and then less is no noise either.
_MOST_UNSTEADY, _IN_TAIL, _RANK_OF_TAIL = 2.8, 1.6, 0.97
_BARE = (2.6, 2.1)  # as `_PURE`: where flat blocks hold texture, the noisier ones do
# Of what the frames on both sides do not share, to what is new, in the tenth of the blocks with most of it: less than 1
# in noise, of which this frame happens to have more than they have; 1 to 1.8 where motion was missed.
_NEWEST, _OF_NEWEST = 0.1, (1.15, 0.95)
_LEAST_NEW = 0.1  # share of the blocks: those with least that is new
# A block that was found again: what the frames on both sides do not share, of what is new; and the share of such blocks
# from which the others are left out.
_FOUND_AGAIN, _LEAST_FOUND = 1.5, 0.25
# Of what the frames on both sides do not share at the lowest frequencies, to what is new, in the noisier blocks beside
# the flat ones: about 1 in the noise of cameras; 1.9 and more in texture that moves by parts of a pixel.
_MOVING, _CARRIED_LOW = (1.3, 1.8), 1.25
_MOST = 3.5**2  # times the energy that is new in flat blocks: more is texture that was not found again
# All that flat blocks hold, of what is new in them, at middle frequencies: 1 where they hold noise and nothing else.
_PURE = (1.6, 1.3)
_MIDDLE = (6, 14)
_TEXTURE_BESIDE = (6.0, 4.0)  # the same: beside so much texture independence does not tell noise from what moved on
_TEXTURED = 7.0  # the same, from which on there is no flat block
# The same, to the share (below) of what is new that is new in flat blocks: up to 8 where a codec has left less noise in
# flat blocks than elsewhere, or these hold some texture as well; from 10 on in most clean texture, of which the rest
# moves by parts of a pixel or into another brightness.
_TOGETHER, _LEAST_SHARE_NEW, _SUBPIXEL = (12.0, 8.0), (0.08, 0.11), (2.5, 2.0)
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
_STEEP_IN_MOTION, _INDEPENDENT_GRAIN = (15.0, 12.0), (1.6, 1.3)
# All that blocks hold at low frequencies, to what is new there: 2 to 13 where most motion was not found, or where the
# picture is flat. In noise the noisier blocks then do not move (as at `_MOVING`).
_LOW, _FOUND, _UNMOVED = (1, 2), (12.0, 20.0), (1.8, 1.5)
# Times that noise is stronger at low frequencies than at the highest, in the geometric mean over the channels: of white
# noise on a source that has some grain itself up to 2, of a camera's 4 and more.
_COLOURED = (2.5, 3.5)
_COLOURED_SUM = (1.6, 2.2)  # the same, of the sum of R, G and B alone, which holds most of the texture
_WHITE = 1.3  # the same, of one channel: at most this in white noise
_LEAST_SHARE = 0.1  # of the first channel's deviation: noise of less does not say what the noise is
# Of what the frames on both sides do not share, to what is new: noise that a codec carried on from frame to frame. More
# is motion.
_MOST_CARRIED, _IN_MOTION = 2.5, (2.6, 2.2)
# At the lowest frequencies (as at `_MOVING`): motion would show there first, and what a codec carries on does not.
_STOOD_STILL = (0.9, 0.7)
# White noise that R, G and B have each for itself shows in their two differences alike, and hardly any texture does: of
# what these hold at middle frequencies, to that at the highest; of one to the other; of all to what is new; of what the
# frames on both sides do not share, to what is new.
_FALL, _ALIKE, _ALL, _APART = 1.3, 1.1, 1.1, 1.15
_TELLING = 8  # sum u + v from which frequencies tell white noise from texture
_SHARED = 1.15  # the same white noise in all three is so many times that in their sum, and looks like noise there
# Coloured noise of a mosaic of sensors shows there, too, where texture and motion hide it in the sum: deviation at the
# frequencies of sums 5 to 16, of the range (clean videos have up to 1.2 of 255 there, as texture whose motion was not
# found), what of it the frames on both sides do not share, and times that it is stronger there than at the highest.
_PLAIN, _MOST_PLAIN = (5, 16), 9
_PROVEN, _PROVEN_APART, _PROVEN_FALL = (1.4, 1.8), (1.5, 1.3), (1.5, 1.8)
_PLATEAU = 1.4**2  # times the variance at the lowest of those frequencies: more at lower ones is texture
_NO_MORE = 1.3**2  # times the energy in the sum that independent noise has there, at sums 10 to 16: texture hides less
_SURER = 2.0  # times as sure as by the sum itself: the differences tell of noise that this has more of
_STEADY = 1.25  # ratio of the deviations at all brightnesses, of noise of one deviation
_BRIGHTNESSES = 5
_FEWEST = 64  # blocks
_MEANS = 9
_FLOOR = 1 / 4096  # of the mean variance


class Grain(NamedTuple):
    """Noise of a channel, as strong as in the parts of the picture where there is much of it.

    spectrum: of 256 variances, of mean 1. top, low: deviations at the highest frequencies and at those of the band, in
    flat blocks, of some of which `means` are the means. most: of what is new at the highest frequencies, exceeded in a
    quarter of all blocks. least, least_low: as top and low in the blocks with least that is new, whose means have the
    median `at`: noise is in all blocks, and texture that was not found again is not.
    """

    deviation: float
    spectrum: Spectrum
    top: float
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

    @property
    def white(self) -> bool:
        """Whether the noise is as strong at the highest frequencies as elsewhere."""
        return self.low < _WHITE * self.top


class Verdict(NamedTuple):
    """trust: 0 to 1, how sure it is that what is new in flat blocks is noise, and that it is anything but white.

    white: whether any channel has noise at the highest frequencies that is as strong as elsewhere.
    independent: deviation of the white noise that R, G and B have each for itself, told by their differences; 0 where
    these do not tell, where noise depends on the brightness, or where the three share white noise. textured: whether
    even the flattest blocks hold texture.
    """

    trust: float
    white: bool
    channels: tuple[Grain, ...]
    textured: bool
    independent: float = 0.0


def judge(evidence: list[News], to_bytes: float = 1.0) -> Verdict | None:
    """The noise that explains what is new; None where there are too few blocks.

    evidence: of every plane, before which the sum and the differences of R, G and B come if it is these. to_bytes:
    takes a plane to 0..255.

    What is new in flat blocks is noise if they hold nothing else: texture whose motion was not found shows in them too.
    Whether it is coloured is asked of those of the first three channels that have a good part of it.
    """
    guide = evidence[0]
    if len(guide.new) < _FEWEST:
        return None
    sums = frequency_sums(guide.new.device)
    odd = sums % 2 == 1
    band = (sums >= _BAND[0]) & (sums <= _BAND[1])
    flat = _flat(guide, odd, band)
    carried = _apart(guide, flat, odd, band)
    # A codec that carries noise on does so everywhere, at the lowest frequencies a little.
    slowest, noisier = sums == 1, _noisier(guide, odd, band)
    moving = _apart(guide, noisier, odd, slowest) / min(max(1.0, _apart(guide, flat, odd, slowest)), _CARRIED_LOW)
    held, share = _held(guide, flat, odd), _share(guide, flat, odd, band)
    pure = max(ramp(held, *_PURE), ramp(carried, *_INDEPENDENT) * ramp(held, *_TEXTURE_BESIDE))
    pure *= ramp(share, *_EVERYWHERE)
    thinned = ramp(held / max(share, 1e-12), *_TOGETHER) * ramp(share, *_LEAST_SHARE_NEW) * ramp(moving, *_SUBPIXEL)
    found, same = _was_found(guide, flat, odd, band, moving, carried)
    pure = max(pure, thinned * found) * same
    pure *= max(ramp(_moved(guide, flat, odd, band), *_IN_MOTION), ramp(moving, *_STOOD_STILL))
    carried = min(max(carried, 1.0), _MOST_CARRIED)
    newest = lowest(-guide.new[:, band].mean(1), _NEWEST)
    missed = _apart(guide, dict.fromkeys((True, False), newest), odd, band)
    # Noise that a codec carries on is held, as texture is.
    unsteady = (1 - ramp(moving, *_MOVING)) * ramp(held / carried, *_BARE) * ramp(missed, *_OF_NEWEST)
    first, most_times = _grain(guide, flat, odd, band, carried, unsteady)
    channels = (first, *(_grain(news, flat, odd, band, carried, unsteady, most_times)[0] for news in evidence[1:]))
    least = _LEAST_SHARE * channels[0].low
    telling = [grain for grain in channels[:3] if grain.low >= least and grain.top > 0]
    ratios = [grain.colour for grain in telling]
    colour = ramp(math.prod(ratios) ** (1 / len(ratios)), *_COLOURED) if ratios else 0.0
    if len(evidence) >= 6 and ratios:
        colour *= ramp(ratios[0], *_COLOURED_SUM)
    trust, white = pure * colour, any(grain.white for grain in telling)
    if len(evidence) < 6:
        return Verdict(trust, white, channels, held > _TEXTURED)
    proof, alike, told = _by_differences(evidence[:3], channels, odd, band, to_bytes)
    if proof and (alike or proof > _SURER * trust):
        trust, channels = max(proof, trust), (*told, *channels[3:])
    return Verdict(trust, white, channels, held > _TEXTURED, _independent(evidence[:3], odd, band))


def _by_differences(
    opponents: list[News], found: tuple[Grain, ...], odd: Tensor, band: Tensor, to_bytes: float
) -> tuple[float, bool, list[Grain]]:
    """Noise of R, G and B that was told by their differences, where theirs in the sum is hidden.

    Comes after how sure it is, and whether there is no more noise in their sum.

    The noise of a mosaic's sensors is independent from one to the next. So is that of R, G and B, whichever is
    interpolated from what, at all but the highest frequencies: their sum has as much as their differences in the mean.
    """
    sums = frequency_sums(odd.device)
    plain, lower = (sums >= _PLAIN[0]) & (sums <= _PLAIN[1]), (sums >= _PLAIN[0]) & (sums <= _MOST_PLAIN)
    variances, proof = [], 1.0
    for news in opponents:
        flat = _flat(news, odd, band)
        variance = of_halves(news.new, flat, odd)
        if news is not opponents[0]:
            deviation, top = float(variance[plain].mean()) ** 0.5, float(variance[sums >= _TOP].mean()) ** 0.5
            proof *= ramp(deviation * to_bytes, *_PROVEN) * ramp(_apart(news, flat, odd, plain), *_PROVEN_APART)
            proof *= ramp(deviation / max(top, 1e-12), *_PROVEN_FALL)
            most = _PLATEAU * variance[lower].mean()
            variance = torch.where(sums < _PLAIN[0], variance.minimum(most), variance)
        variances.append(_smoothed(variance))
    expected, finest = (variances[1] + variances[2]) / 2, plain & (sums > _MOST_PLAIN)
    alike = bool(variances[0][finest].mean() <= _NO_MORE * expected[finest].mean())
    variances[0] = variances[0].minimum(expected)
    return proof, alike, [_of_variance(grain, variance) for grain, variance in zip(found, variances, strict=False)]


class _Whiteness(NamedTuple):
    """Of a channel where it is flat: deviation at the highest frequencies, ratios as at `_FALL`, `_ALL`, `_APART`."""

    top: float
    fall: float
    all: float
    apart: float

    def holds(self, fall: float) -> bool:
        """Whether it is white noise and nothing else."""
        return self.fall <= fall and self.all <= _ALL and 1 / _APART <= self.apart <= _APART


def _independent(opponents: list[News], odd: Tensor, band: Tensor) -> float:
    """The deviation of white noise of R, G and B, from their sum and differences."""
    shared, *differences = (_whiteness(news, odd, band) for news in opponents)
    one, other = (difference.top for difference in differences)
    if min(one, other) <= 0 or max(one, other) > _ALIKE * min(one, other):
        return 0.0
    deviation = math.hypot(one, other) / 2**0.5
    if not all(difference.holds(_FALL) for difference in differences) or not _steady(opponents, odd):
        return 0.0
    return 0.0 if shared.top > _SHARED * deviation and shared.holds(_SHARED) else deviation


def _whiteness(news: News, odd: Tensor, band: Tensor) -> _Whiteness:
    flat = _flat(news, odd, band)
    new, apart, own = (of_halves(part, flat, odd) for part in (news.new, news.apart, news.own))
    sums = frequency_sums(odd.device)
    top, middle = sums >= _TOP, (sums >= _TELLING) & (sums < _TOP)
    energy = float(new[top].mean())
    if energy <= 0:
        return _Whiteness(0.0, 1.0, 1.0, 1.0)
    fall, own_share, apart_share = (float(part.mean()) / energy for part in (new[middle], own[top], apart[top]))
    return _Whiteness(energy**0.5, fall**0.5, own_share, apart_share)


def _steady(opponents: list[News], odd: Tensor) -> bool:
    """Whether the differences of R, G and B have as much noise at every brightness."""
    brightness, top = opponents[0].own[:, 0, 0], frequency_sums(odd.device) >= _TOP
    energy = sum((news.new[:, top].mean(1) for news in opponents[1:]), torch.zeros_like(brightness))
    order = brightness.argsort(stable=True)
    medians = [float(energy[part].median()) for part in order.chunk(_BRIGHTNESSES)]
    return max(medians) <= _STEADY**2 * min(medians)


def _share(guide: News, flat: dict[bool, Tensor], odd: Tensor, band: Tensor) -> float:
    """Of what is new in all blocks, what is new in flat ones: noise is everywhere, and not where motion was missed."""
    return float(of_halves(guide.new, flat, odd)[band].mean() / guide.new[:, band].mean().clamp_min(1e-12))


def _was_found(
    guide: News, flat: dict[bool, Tensor], odd: Tensor, band: Tensor, moving: float, carried: float
) -> tuple[float, float]:
    """How sure it is, 0 to 1, that blocks were found again; and that, if not, at least none was taken for another."""
    quiet, sums = of_halves(guide.new, flat, odd), frequency_sums(odd.device)
    low = (sums >= _LOW[0]) & (sums <= _LOW[1])
    found = ramp(float(guide.own[:, low].mean() / guide.new[:, low].mean().clamp_min(1e-12)), *_FOUND)
    steep = float(quiet[sums == 1].mean() / quiet[band].mean().clamp_min(1e-12))
    # Coarse grain is steep and independent; motion that was not found is steep, and the frames on both sides differ.
    as_grain = max(ramp(steep, *_STEEP_IN_MOTION), ramp(carried, *_INDEPENDENT_GRAIN))
    unmoved = ramp(steep, *_STEEP) * ramp(moving, *_UNMOVED) * as_grain
    return found, max(found, unmoved) * ramp(steep, *_TOO_STEEP)


def _flat(news: News, odd: Tensor, band: Tensor) -> dict[bool, Tensor]:
    """The blocks of least structure, by either half of the frequencies."""
    return {half: lowest(news.own[:, band & (odd == half)].mean(1), _FLAT) for half in (True, False)}


def lowest(values: Tensor, share: float) -> Tensor:
    """[N], which are the lowest."""
    count = max(1, round(share * len(values)))
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen[values.argsort(stable=True)[:count]] = True
    return chosen


def of_halves(energies: Tensor, blocks: dict[bool, Tensor], odd: Tensor) -> Tensor:
    """[16, 16]: mean energy at every frequency over the blocks that were chosen by the other half of them."""
    return torch.where(odd, energies[blocks[False]].mean(0), energies[blocks[True]].mean(0))


def _held(guide: News, flat: dict[bool, Tensor], odd: Tensor) -> float:
    """All that flat blocks hold at middle frequencies, to what is new in them."""
    sums = frequency_sums(odd.device)
    middle = (sums >= _MIDDLE[0]) & (sums <= _MIDDLE[1])
    new, own = (float(of_halves(part, flat, odd)[middle].mean()) for part in (guide.new, guide.own))
    return own / new if new > 0 else math.inf


def _apart(news: News, blocks: dict[bool, Tensor], odd: Tensor, band: Tensor) -> float:
    """How many times the energy of what is new is apart: 1 where noise is independent from frame to frame."""
    new, apart = (float(of_halves(part, blocks, odd)[band].mean()) for part in (news.new, news.apart))
    return apart / new if new > 0 and apart > 0 else 1.0


def _moved(news: News, blocks: dict[bool, Tensor], odd: Tensor, band: Tensor) -> float:
    """As `_apart`, where the blocks may have been chosen for having less noise than the frames beside them have.

    What is new is then that of the block, twice as much as of either of these in the second difference, and theirs.
    """
    new, apart, own = (float(of_halves(part, blocks, odd)[band].mean()) for part in (news.new, news.apart, news.own))
    expected = 3 * new - 2 * min(own, new)
    return apart / expected if expected > 0 and apart > 0 else 1.0


def _noisier(news: News, odd: Tensor, band: Tensor, without_tail: bool = False) -> dict[bool, Tensor]:
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


def _grain(
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
    top, low = float(quiet[sums >= _TOP].mean()) ** 0.5, float(quiet[band].mean()) ** 0.5
    most = float(news.new[:, sums >= _TOP].mean(1).quantile(0.75)) ** 0.5
    brightness = news.own[flat[True] | flat[False], 0, 0].sqrt() / SIDE
    means = tuple(brightness.quantile(torch.linspace(0, 1, _MEANS, device=brightness.device)).tolist())
    finest = sums >= _FINEST
    still = {half: lowest(news.new[:, finest & (odd == half)].mean(1), _LEAST_NEW) for half in (True, False)}
    calm = of_halves(news.new, still, odd)
    least, least_low = float(calm[sums >= _TOP].mean()) ** 0.5, float(calm[band].mean()) ** 0.5
    at = float(news.own[still[True] | still[False], 0, 0].sqrt().median()) / SIDE
    variance = torch.lerp(quiet, of_halves(news.new, _noisier(news, odd, band, without_tail=True), odd), unsteady)
    variance = torch.minimum(variance, _MOST * quiet.clamp_min(1e-12))
    times = float(variance.mean() / quiet.mean().clamp_min(1e-12))
    variance = variance * min(1.0, most_times / max(times, 1e-12))
    grain = Grain(0.0, (), top, low, most, means, least, least_low, at)
    return _of_variance(grain, carried * _smoothed(variance)), times


def _of_variance(grain: Grain, variance: Tensor) -> Grain:
    """The same with noise of these variances, [16, 16]."""
    mean = float(variance.mean())
    if mean <= 0:
        return grain._replace(deviation=0.0, spectrum=())
    variance = (variance / mean).clamp_min(_FLOOR)
    variance = variance / variance.mean()
    spectrum = tuple(round(float(value), 6) for value in variance.flatten())
    return grain._replace(deviation=mean**0.5, spectrum=spectrum)


def _smoothed(variance: Tensor) -> Tensor:
    """What the neighbouring frequencies say; brightness itself is taken from those beside it."""
    variance = variance.clone()
    variance[0, 0] = (variance[0, 1] + variance[1, 0]) / 2
    return functional.avg_pool2d(variance[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
