"""White and coloured noise that R, G and B have each for itself, told by their differences."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vnlsdenoise.noise.estimate import ramp
from vnlsdenoise.noise.grain import TOP, Grain, apart_of, flat_blocks, of_halves, of_variance, smoothed
from vnlsdenoise.noise.temporal import News, frequency_sums

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
# Of a mosaic of sensors, interpolation makes colours of fine texture that are others in every frame. Where that is all
# over the picture, what is new grows with the texture from the start: what there would be without any is the noise.
# Sums of the frequencies of luma that tell texture; parts of the blocks by it, how many are asked, blocks in each.
_TEXTURE, _PARTS, _ASKED, _FEWEST = (6, 14), 16, 3, 16
_STEADY = 1.25  # ratio of the deviations at all brightnesses, of noise of one deviation
_BRIGHTNESSES = 5


def told_by_differences(
    opponents: list[News], found: tuple[Grain, ...], odd: Tensor, band: Tensor, to_bytes: float
) -> tuple[float, bool, list[Grain]]:
    """Noise of R, G and B that was told by their differences, where theirs in the sum is hidden.

    Comes after how sure it is, and whether there is no more noise in their sum.

    The noise of a mosaic's sensors is independent from one to the next. So is that of R, G and B, whichever is
    interpolated from what, at all but the highest frequencies: their sum has as much as their differences in the mean.
    """
    sums = frequency_sums(odd.device)
    plain, lower = (sums >= _PLAIN[0]) & (sums <= _PLAIN[1]), (sums >= _PLAIN[0]) & (sums <= _MOST_PLAIN)
    textured = (sums >= _TEXTURE[0]) & (sums <= _TEXTURE[1])
    texture = (opponents[0].own - opponents[0].new)[:, textured].mean(1).clamp_min(0)
    variances, proof = [], 1.0
    for news in opponents:
        flat = flat_blocks(news, odd, band)
        variance = of_halves(news.new, flat, odd)
        if news is not opponents[0]:
            deviation, top = float(variance[plain].mean()) ** 0.5, float(variance[sums >= TOP].mean()) ** 0.5
            proof *= ramp(deviation * to_bytes, *_PROVEN) * ramp(apart_of(news, flat, odd, plain), *_PROVEN_APART)
            proof *= ramp(deviation / max(top, 1e-12), *_PROVEN_FALL)
            most = _PLATEAU * variance[lower].mean()
            variance = torch.where(sums < _PLAIN[0], variance.minimum(most), variance)
        variances.append(smoothed(variance))
    expected, finest = (variances[1] + variances[2]) / 2, plain & (sums > _MOST_PLAIN)
    alike = bool(variances[0][finest].mean() <= _NO_MORE * expected[finest].mean())
    for index in (1, 2):
        without = _without_texture(opponents[index].new[:, plain].mean(1), texture)
        # Less than a straight line says: the first of the texture makes most of what is new.
        variances[index] *= min(without / max(float(variances[index][plain].mean()), 1e-12), 1.0) ** 2
    variances[0] = variances[0].minimum((variances[1] + variances[2]) / 2)
    return proof, alike, [of_variance(grain, variance) for grain, variance in zip(found, variances, strict=False)]


def _without_texture(new: Tensor, texture: Tensor) -> float:
    """What would be new, [N], where there is no texture: drawn on from the blocks with least of it, at least 0."""
    order = texture.argsort(stable=True)
    if len(order) < _PARTS * _FEWEST:
        return math.inf
    parts = order.chunk(_PARTS)[:_ASKED]
    held = torch.stack([texture[part].mean() for part in parts])
    found = torch.stack([new[part].mean() for part in parts])
    apart = held - held.mean()
    slope = float((apart * (found - found.mean())).sum() / apart.square().sum().clamp_min(1e-12))
    return max(float(found.mean()) - max(slope, 0.0) * float(held.mean()), 0.0)


def independent_deviation(opponents: list[News], odd: Tensor, band: Tensor) -> float:
    """The deviation of white noise of R, G and B, from their sum and differences."""
    shared, *differences = (_whiteness(news, odd, band) for news in opponents)
    one, other = (difference.top for difference in differences)
    if min(one, other) <= 0 or max(one, other) > _ALIKE * min(one, other):
        return 0.0
    deviation = math.hypot(one, other) / 2**0.5
    if not all(difference.holds(_FALL) for difference in differences) or not _steady(opponents, odd):
        return 0.0
    return 0.0 if shared.top > _SHARED * deviation and shared.holds(_SHARED) else deviation


class _Whiteness(NamedTuple):
    """Of a channel where it is flat: deviation at the highest frequencies, ratios as at `_FALL`, `_ALL`, `_APART`."""

    top: float
    fall: float
    all: float
    apart: float

    def holds(self, fall: float) -> bool:
        """Whether it is white noise and nothing else."""
        return self.fall <= fall and self.all <= _ALL and 1 / _APART <= self.apart <= _APART


def _whiteness(news: News, odd: Tensor, band: Tensor) -> _Whiteness:
    flat = flat_blocks(news, odd, band)
    new, apart, own = (of_halves(part, flat, odd) for part in (news.new, news.apart, news.own))
    sums = frequency_sums(odd.device)
    top, middle = sums >= TOP, (sums >= _TELLING) & (sums < TOP)
    energy = float(new[top].mean())
    if energy <= 0:
        return _Whiteness(0.0, 1.0, 1.0, 1.0)
    fall, own_share, apart_share = (float(part.mean()) / energy for part in (new[middle], own[top], apart[top]))
    return _Whiteness(energy**0.5, fall**0.5, own_share, apart_share)


def _steady(opponents: list[News], odd: Tensor) -> bool:
    """Whether the differences of R, G and B have as much noise at every brightness."""
    brightness, top = opponents[0].own[:, 0, 0], frequency_sums(odd.device) >= TOP
    energy = sum((news.new[:, top].mean(1) for news in opponents[1:]), torch.zeros_like(brightness))
    order = brightness.argsort(stable=True)
    medians = [float(energy[part].median()) for part in order.chunk(_BRIGHTNESSES)]
    return max(medians) <= _STEADY**2 * min(medians)
