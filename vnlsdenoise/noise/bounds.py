"""What bounds the noise that quiet areas tell: no more than is new in every frame, since texture may hide in them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from vnlsdenoise.noise.estimate import ramp
from vnlsdenoise.noise.grain import Grain
from vnlsdenoise.noise.model import NoiseModel, PlaneNoise
from vnlsdenoise.noise.verdict import FADING, Verdict
from vnlsdenoise.planes import code_range
from vnlsdenoise.video.frame import PlaneFormat

LEAST_CLIPPED = 1 / 255  # of the peak, in luma: less is what codecs leave of text
_FLOOR, _MOST_RAISED = 1.2 / 255, 1.5  # white noise of so much of the peak bounds what is said, so many times
_MOST_INDEPENDENT = 1.04  # times what differences of R, G and B tell of white noise
_BEFORE_CLIPPING = 1.7  # times what is left of noise that was clipped at its mean
_REACH_OF_NOISE = 2.5  # deviations: clipping further away than that leaves the deviation of noise as it is
_MOST_TIMES = 1.5  # what is new: a deviation of more is no noise
_MOST_OF_LEAST = 1.3  # times what is new in the blocks with least of it: white noise of more is texture
# All that flat blocks hold, of what is new in them: from which on it is doubtful whether there is a flat block, and
# there is none. A codec has thinned the highest frequencies of noise most where there is least of it: that bounds it
# where there is little but texture, which in clean films that tell of noise holds 16 times as much as is new and more.
_TEXTURED, _TEXTURED_CODED = (5.5, 8.5), (9.0, 14.0)
_AT_ODDS = 1.25  # times what is new in flat blocks: quiet areas that hold more may hold texture
# Times that the noise of chroma is stronger at low frequencies than at the highest: 1 as it was made, up to 1.8 where
# it was halved in size from R, G and B, from 1.9 on where a codec was.
_UNTOUCHED = 1.85
# The same of luma: 1.3 at the most where white noise lies on texture, 2.3 where there is little; 3.6 and more where
# noise is correlated.
_PLAIN, _LITTLE_PLAIN = 1.4, 2.3
# The same just below the highest frequencies, where texture whose motion was missed has little. Of luma: up to 1.28 in
# white noise, 1.6 and more in that of cameras. Of chroma that was halved in size, in the geometric mean: 1.2 to 1.33,
# from 1.36 on where a codec was.
_WHITE_BESIDE, _HALVED_BESIDE = 1.3, 1.34
# As `_HALVED_BESIDE` and `_WHITE_BESIDE`, of noise of cameras, of which making R, G and B of a mosaic of colours takes
# the high frequencies away: chroma's is no less than so much of the peak, and more thinned than by halving. Where flat
# blocks hold so little else, all noise of luma is so many times what the blocks with least of it have at the highest
# frequencies, times how much more there is beside those, and all noise of chroma so many times.
_MOSAIC_BESIDE, _MOSAIC_LUMA, _LEAST_MOSAIC = (1.38, 1.95), (1.3, 2.1), 0.42 / 255
_OF_MOSAIC, _OF_MOSAIC_CHROMA, _HELD_BY_MOSAIC = 1.45, 1.85, 3.0
_HALVED = 1.6  # of such chroma, at low frequencies to the highest: more is texture
# Chroma that was halved in size has more noise at low frequencies than at the highest. Taken for white it is restored
# best by 1.1 times its deviation, which is this times the mean of both; beside strong noise of luma, of so much of the
# peak, by more (20 clips, sigma 5 to 50; three quarters of that lose up to 6 dB).
_MOST_OF_MIDDLE, _MORE_OF_MIDDLE, _STRONG = 1.2, 1.5, (7 / 255, 11 / 255)
# Where JPEG has left nothing of chroma's noise at the highest frequencies (0.29 is rounding), it looks halved just
# below them, and there is 4 times as much and more at low ones.
_ROUNDING_ALONE, _MOST_HALVED = 0.4 / 255, 3.0
# Of noise of chroma a codec leaves the coarse, of which quiet areas tell next to nothing: so many times as much at low
# frequencies. Where it has surely left noise of luma (`Verdict.left`), and what is new is new in flat blocks as well
# (`Verdict.everywhere`), what is new is that.
_LEFT_COARSE, _IN_FLAT = (1.85, 2.2), (0.2, 0.35)
_LEAST_KEPT = 0.26 / 255  # of the peak, in chroma: beside little noise codecs leave less at the highest frequencies
# Little noise of luma, of the peak, which texture hides, is no more than so many times what chroma has of it: 2 where
# R, G and B were averaged to half the size, 3.4 at the highest frequencies where they were reduced more smoothly.
_LITTLE, _MOST_OF_CHROMA = 2.5 / 255, 3.5
_MOST_OF_LITTLE = 1.15  # as `_MOST_OF_LEAST`
_MOST_HIDDEN = 1.35  # times the noise, that texture makes of it where there is more
_LEAST_LITTLE = 0.75  # of a step of the samples: chroma does not tell of less
ROUNDING = 1 / 12  # variance that it leaves, of a step of the samples squared


def bounded(
    noise: NoiseModel,
    verdict: Verdict,
    layout: PlaneFormat,
    estimate: Callable[[int], float],
    peak: float,
    rounding: float,
    coded: bool,
) -> NoiseModel:
    """No more noise than is new in every frame.

    noise: by what quiet areas hold. estimate: the deviation of a plane by the number of it, as white noise.
    rounding: variance that the samples had before noise came, from being rounded: new as well, and not to be removed.
    coded: whether the frames have surely been through a codec.
    """
    independent, own = verdict.independent, list(zip(noise.planes, verdict.channels[-len(noise.planes) :], strict=True))
    clipped = noise.clipped and any(_reaches_an_end(plane, news, peak) for plane, news in own)
    most_before = _MOST_INDEPENDENT * (_BEFORE_CLIPPING if clipped else 1.0)
    if independent and _in_flat_blocks(own) > most_before * independent:
        return NoiseModel.of_sigma([_without(rounding, independent)] * len(noise.planes))
    # A codec takes the high frequencies of chroma away first, and then has thinned those of luma as well.
    white = verdict.white if layout.family != "yuv" else all(channel.white for channel in verdict.channels[1:])
    halved, mosaic, untouched = _kind_of(verdict, layout, peak)
    textured = ramp(verdict.held, *(_TEXTURED_CODED if coded else _TEXTURED))
    planes = []
    for index, (plane, news) in enumerate(own):
        # Of noise that no codec has touched, in R, G and B, all is new in flat blocks.
        there = _in_flat_blocks([(plane, news)])
        before = _BEFORE_CLIPPING if plane.clipped else 1.0
        raised = layout.family == "rgb" and news.top > _FLOOR * peak and there > before * _MOST_RAISED * news.top
        most = before * _MOST_TIMES * max(news.deviation, news.most)
        if raised or plane.sigma > most:
            plane = PlaneNoise(min(estimate(index), most))
        simple = not (plane.curve or plane.clipped or plane.spectrum)
        if simple and white:
            plane = PlaneNoise(min(plane.sigma, news.top))
        # Where there is no flat block; but of clipped noise dark and bright blocks hold less, and chroma of half the
        # size holds less at the highest frequencies.
        asked = 0.0 if plane.spectrum or (index and layout.family == "yuv") else textured
        least, most_of_least = news.least, _MOST_OF_LEAST
        if untouched and index == 0:
            little = least < _LITTLE * peak
            asked = 1.0 if little or there > _AT_ODDS * news.top else asked
            least = min(least, max(_most_by_chroma(verdict), 0.0 if little else least / _MOST_HIDDEN))
            most_of_least = _MOST_OF_LITTLE
        # Noise that a camera has filtered in time is least where it has done so most.
        asked *= 1 - ramp(verdict.fading, *FADING)
        if asked and not clipped and plane.deviation_at(news.at) > most_of_least * least:
            # Where it is sure, the curve is texture's as well.
            plane = plane.times(1 - asked * (1 - least / plane.sigma)) if asked < 1 else PlaneNoise(least)
        # Where texture hides noise from quiet areas, what is new at the highest frequencies is nearer.
        if simple and untouched and not (clipped or (noise.clipped_rgb and index == 0)):
            most = news.top if index == 0 else _most_by_middle(news, noise.sigma[0] / peak, halved)
            plane = PlaneNoise(min(plane.sigma, most))
        # Chroma of half the size was averaged before it was rounded, and is told more than it has.
        if simple and not clipped and (white if layout.family != "yuv" else untouched and index == 0):
            plane = PlaneNoise(_without(rounding, plane.sigma))
        if mosaic and not (plane.curve or plane.clipped or plane.spectrum):
            times = _OF_MOSAIC * news.beside / news.top if index == 0 else _OF_MOSAIC_CHROMA
            plane = PlaneNoise(max(plane.sigma, min(times * news.least, news.deviation)))
        planes.append(plane)
    clipped_rgb = noise.clipped_rgb
    if clipped_rgb is not None:
        # What luma has of the noise of R, G and B is a half and more.
        span = code_range(layout, peak)
        said = clipped_rgb.noise.sigma * (span[1] - span[0]) / 2
        most = _MOST_TIMES * max(verdict.channels[0].most, verdict.channels[0].deviation)
        if said > most or planes[0].sigma < LEAST_CLIPPED * peak:
            clipped_rgb = None
    opponent = noise.opponent
    if opponent:
        # Texture in all three passes for noise that they share.
        shared, unit = verdict.channels[0], sum(noise.sigma) / len(noise.sigma)
        if opponent[0] * unit > _MOST_TIMES * (shared.top if white else max(shared.deviation, shared.most)):
            opponent = ()
    return replace(noise, planes=tuple(planes), opponent=opponent, clipped_rgb=clipped_rgb)


def with_coarse_chroma(noise: NoiseModel, verdict: Verdict, layout: PlaneFormat, peak: float) -> NoiseModel:
    """No less noise of chroma than is new, where a codec has left the coarse of it alone.

    noise: bounded, and not told by what is new already.
    """
    _, mosaic, untouched = _kind_of(verdict, layout, peak)
    if layout.family != "yuv" or untouched or mosaic:
        return noise
    luma, *chroma = noise.planes
    planes = [luma]
    for plane, news in zip(chroma, verdict.channels[1:], strict=True):
        sure = verdict.left * ramp(verdict.everywhere, *_IN_FLAT) * ramp(news.colour, *_LEFT_COARSE)
        # Where it is sure, quiet areas that say more of it say so of white noise.
        told = plane.curve or plane.clipped or (sure < 1 and plane.sigma >= sure * news.deviation)
        planes.append(plane if told else PlaneNoise(sure * news.deviation, spectrum=news.spectrum))
    return replace(noise, planes=tuple(planes))


def _kind_of(verdict: Verdict, layout: PlaneFormat, peak: float) -> tuple[bool, bool, bool]:
    """Of YUV, whether chroma was halved from white noise; is that of a mosaic; and whether no codec was at either."""
    if layout.family != "yuv":
        return False, False, False
    halved = _is_halved(verdict, peak)
    mosaic = not halved and _is_of_mosaic(verdict, peak)
    return halved, mosaic, halved or (not mosaic and _is_untouched(verdict, peak))


def _is_untouched(verdict: Verdict, peak: float) -> bool:
    """Whether luma has noise that looks white, and chroma has some as no codec leaves it, of YUV."""
    luma, *chroma = verdict.channels
    least, little = min(channel.least for channel in chroma), luma.least < _LITTLE * peak
    if luma.colour > (_LITTLE_PLAIN if little else _PLAIN):
        return False
    if little and least >= _LEAST_KEPT * peak:
        return True
    return least > 0 and math.prod(channel.colour for channel in chroma) <= _UNTOUCHED**2


def _is_halved(verdict: Verdict, peak: float) -> bool:
    """Whether luma looks white and chroma halved in size from white noise, just below the highest frequencies."""
    luma, *chroma = verdict.channels
    if min(channel.least for channel in chroma) < _LEAST_KEPT * peak or not all(channel.top for channel in chroma):
        return False
    if all(channel.top < _ROUNDING_ALONE * peak and channel.colour > _MOST_HALVED for channel in chroma):
        return False
    beside = math.prod(channel.beside / channel.top for channel in chroma)
    return luma.beside <= _WHITE_BESIDE * luma.top and beside <= _HALVED_BESIDE**2


def _is_of_mosaic(verdict: Verdict, peak: float) -> bool:
    """Whether luma and chroma have noise of a mosaic of colours that no codec has thinned, flat blocks little else."""
    luma, *chroma = verdict.channels
    if min(channel.least for channel in chroma) < _LEAST_MOSAIC * peak or verdict.held > _HELD_BY_MOSAIC:
        return False
    bounds = (_MOSAIC_LUMA, _MOSAIC_BESIDE, _MOSAIC_BESIDE)
    return all(
        0 < low * c.top <= c.beside <= high * c.top for c, (low, high) in zip((luma, *chroma), bounds, strict=True)
    )


def _most_by_middle(chroma: Grain, luma: float, halved: bool) -> float:
    """The most noise of chroma, by what is new at low and at the highest frequencies; luma: its noise, of the peak."""
    times = _MOST_OF_MIDDLE + ramp(luma, *_STRONG) * (_MORE_OF_MIDDLE - _MOST_OF_MIDDLE)
    low = min(chroma.low, _HALVED * chroma.top) if halved else chroma.low
    return times * math.sqrt(chroma.top * low)


def _most_by_chroma(verdict: Verdict) -> float:
    """The most noise of luma, by that of chroma beyond what rounding leaves."""
    chroma = max(sum(channel.least**2 for channel in verdict.channels[1:]) / 2 - ROUNDING, 0.0)
    # Noise of less than a step is hardly more than rounding leaves.
    return max(math.sqrt(_MOST_OF_CHROMA**2 * chroma + ROUNDING), _LEAST_LITTLE)


def _without(variance: float, deviation: float) -> float:
    return math.sqrt(max(deviation**2 - variance, 0.0))


def _reaches_an_end(plane: PlaneNoise, news: Grain, peak: float) -> bool:
    """Whether more than a few flat blocks of a plane are so dark or bright that clipping has changed their noise."""
    reach, (_, dark, *_, bright, _) = _REACH_OF_NOISE * plane.sigma, news.means
    return dark < reach or bright > peak - reach


def _in_flat_blocks(planes: Iterable[tuple[PlaneNoise, Grain]]) -> float:
    """The deviation of planes at the brightness of flat blocks."""
    found = [plane.deviation_at(mean) for plane, news in planes for mean in news.means]
    return math.hypot(*found) / math.sqrt(len(found))
