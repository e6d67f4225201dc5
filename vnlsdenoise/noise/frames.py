"""The noise of some frames, plane by plane, and what R, G and B share of it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from vnlsdenoise.noise.clipped_rgb import measure_clipped_rgb
from vnlsdenoise.noise.coded import with_what_codecs_leave
from vnlsdenoise.noise.estimate import ends_at_the_borders, estimate_sigma, measure_plane
from vnlsdenoise.noise.grain import Grain, Verdict, judge
from vnlsdenoise.noise.letters import has_letters, is_everywhere
from vnlsdenoise.noise.model import ClippedRgb, Evidence, NoiseModel, PlaneNoise
from vnlsdenoise.noise.picture import measure_picture
from vnlsdenoise.noise.stabilise import stabilisers_of
from vnlsdenoise.noise.temporal import find_news
from vnlsdenoise.planes import code_range, opponent_from_rgb
from vnlsdenoise.video.frame import PlaneFormat

# Ratio of the largest to the least deviation of the opponent channels: independent noise of R, G and B, clipped too,
# makes at most 1.2 of it. Noise of less than so much of the peak may be texture, which is the same in all three.
_DEPENDENT, _LEAST_DEPENDENT = 1.3, 2.4 / 255
_LEAST_OPPONENT = 1 / 8
_SEEN = 0.6  # of what is new in flat blocks, from which quiet areas have told it
_SEEN_RGB = 0.8  # the same, of every one of R, G and B
# Times that luma's noise is stronger at low frequencies: what quiet areas tell is a part of it then. All of it is no
# more than so many times that part: beyond that motion was missed.
_CLEARLY_COLOURED, _MOST_OF_PART = 2.8, 2.5
_SURE = 0.5  # trust in what is new, from which it is taken for the noise
_LEAST_GRAIN = 0.45 / 255  # of the peak, in flat areas: less is what codecs leave of clean video
_LEAST_CLIPPED = 1 / 255  # of the peak, in luma: less is what codecs leave of text
_FLOOR, _MOST_RAISED = 1.2 / 255, 1.5  # white noise of so much of the peak bounds what is said, so many times
_MOST_INDEPENDENT = 1.04  # times what differences of R, G and B tell of white noise
_BEFORE_CLIPPING = 1.7  # times what is left of noise that was clipped at its mean
_REACH_OF_NOISE = 2.5  # deviations: clipping further away than that leaves the deviation of noise as it is
_MOST_TIMES = 1.5  # what is new: a deviation of more is no noise
_MOST_OF_LEAST = 1.3  # times what is new in the blocks with least of it: white noise of more is texture
_AT_ODDS = 1.25  # times what is new in flat blocks: quiet areas that hold more may hold texture
# Times that the noise of chroma is stronger at low frequencies than at the highest: 1 as it was made, up to 1.8 where
# it was halved in size from R, G and B, from 1.9 on where a codec was.
_UNTOUCHED = 1.85
# The same of luma: 1.3 at the most where white noise lies on texture, 2.3 where there is little; 3.6 and more where
# noise is correlated.
_PLAIN, _LITTLE_PLAIN = 1.4, 2.3
_LEAST_KEPT = 0.26 / 255  # of the peak, in chroma: beside little noise codecs leave less at the highest frequencies
# Little noise of luma, of the peak, which texture hides, is no more than so many times what chroma has of it: 2 where
# R, G and B were averaged to half the size, 3.4 at the highest frequencies where they were reduced more smoothly.
_LITTLE, _MOST_OF_CHROMA = 2.5 / 255, 3.5
_MOST_OF_LITTLE = 1.15  # as `_MOST_OF_LEAST`
_MOST_HIDDEN = 1.35  # times the noise, that texture makes of it where there is more
_LEAST_LITTLE = 0.75  # of a step of the samples: chroma does not tell of less

F = TypeVar("F")


def measure_noise(
    frames: Sequence[F],
    planes: Callable[[F], list[Tensor]],
    layout: PlaneFormat,
    peak: float,
    *,
    white: bool = False,
    sigma: tuple[float, ...] | None = None,
    pairs: bool = False,
    step: float | None = None,
) -> NoiseModel:
    """The noise of every plane of some frames; white: as one deviation a plane, whatever else is found.

    sigma: the deviation of every plane, where it is known: of white noise. In both cases noise that was clipped is told
    all the same, since denoising must undo the shift of dark and bright areas that clipping has left.

    There are two witnesses: what is new in every frame (`temporal`, `grain`), at every frequency, and what quiet areas
    hold at the highest ones (`estimate`). Where the first is sure of noise that is not white, as a camera or a codec
    leaves it, and the second has hardly seen it, its spectrum is taken. Otherwise the second says what the noise is,
    and the first bounds it: texture and letters are none.

    pairs: the frames do not follow each other all, as those of a scene do, but by twos.
    planes: makes tensors of a frame's planes. Of all frames one plane at a time is on the device.
    step: of the quantiser of the codec that the frames come from (`coded.step_of`), None where none is known.
    """
    if white or sigma is not None:
        return _white(frames, planes, layout, peak, sigma, pairs)
    noise = _measured(frames, planes, layout, peak, pairs)
    if step is None or layout.family == "rgb":
        return noise
    return with_what_codecs_leave(noise, step, peak, lambda: has_letters(planes(frames[0])[0], peak))


def _measured(
    frames: Sequence[F], planes: Callable[[F], list[Tensor]], layout: PlaneFormat, peak: float, pairs: bool
) -> NoiseModel:
    """What the frames themselves tell."""
    if len(frames) == 1:
        picture = _of_picture(planes(frames[0]), layout, peak)
        if picture is not None:
            return replace(picture, evidence=Evidence("the shape of cameras' noise"))
    noise = _in_quiet_areas(frames, planes, layout, peak, pairs)
    evidence = Evidence("quiet areas", noise.sigma)
    if len(frames) == 1:
        shown = zip(planes(frames[0]), noise.planes, strict=True)
        if all(is_everywhere(plane, found, peak) for plane, found in shown):
            return replace(noise, evidence=evidence)
        return replace(NoiseModel.of_sigma([0.0] * len(noise.planes)), evidence=evidence)
    verdict = _what_is_new(frames, planes, layout, peak, pairs)
    if verdict is None:
        return replace(noise, evidence=evidence)
    told = verdict.channels[-len(noise.planes) :]
    new_top, new = tuple(channel.top for channel in told), tuple(channel.deviation for channel in told)
    calm = tuple(channel.least_low for channel in told)
    evidence = replace(evidence, new_top=new_top, new=new, trust=verdict.trust, calm=calm)
    own, quiet = verdict.channels[: len(noise.planes)], math.hypot(*noise.sigma)
    in_part = math.hypot(*(channel.deviation for channel in own)) < _MOST_OF_PART * quiet
    if layout.family == "rgb":
        # Of a mosaic of sensors one colour may have kept high frequencies.
        pairs_of = zip(noise.planes, verdict.channels[-3:], strict=True)
        unseen = any(plane.sigma < _SEEN_RGB * channel.low for plane, channel in pairs_of)
    else:
        unseen = quiet < _SEEN * math.hypot(*(channel.low for channel in own))
        unseen = unseen or (in_part and own[0].colour > _CLEARLY_COLOURED)
    # Quiet areas that see correlated noise do not resolve it as well, and of one plane may take it for white.
    unseen = unseen or (in_part and any(plane.spectrum for plane in noise.planes))
    least = _LEAST_GRAIN * peak * (3**0.5 if layout.family == "rgb" else 1)
    if unseen and verdict.trust >= _SURE and own[0].low >= least:
        return replace(_grainy(verdict, layout), evidence=replace(evidence, taken="what is new"))
    return replace(_bounded(noise, verdict, layout, frames, planes, peak), evidence=evidence)


def _white(
    frames: Sequence[F],
    planes: Callable[[F], list[Tensor]],
    layout: PlaneFormat,
    peak: float,
    sigma: tuple[float, ...] | None,
    pairs: bool,
) -> NoiseModel:
    """White noise, of the deviations given or else of those that quiet areas hold, with what clipping did to it."""
    if sigma is None:
        count = len(layout.plane_shapes)
        stacks = (_stacked((planes(frame)[index] for frame in frames), len(frames)) for index in range(count))
        sigma = tuple(estimate_sigma(stack, peak=peak) for stack in stacks)
    white = NoiseModel.of_sigma(sigma)
    if max(sigma) < _LEAST_CLIPPED * peak or not _may_be_clipped(frames, planes, layout, peak):
        return white
    found = measure_noise(frames, planes, layout, peak, pairs=pairs)
    own = (
        # What clipping did is told by the noise that is there, however much of it is to be removed.
        replace(plane, clipped=True, overstated=plane.sigma / measured.sigma) if measured.clipped else plane
        for plane, measured in zip(white.planes, found.planes, strict=True)
    )
    return replace(white, planes=tuple(own), clipped_rgb=found.clipped_rgb)


def _may_be_clipped(frames: Sequence[F], planes: Callable[[F], list[Tensor]], layout: PlaneFormat, peak: float) -> bool:
    """Whether it is worth measuring all of the noise, which costs as much as denoising some frames."""
    for index in range(len(layout.plane_shapes)):
        stack = _stacked((planes(frame)[index] for frame in frames), len(frames))
        if ends_at_the_borders(stack, peak):
            return True
        if index == 0 and layout.family == "yuv" and measure_clipped_rgb(stack, layout, peak, 1.0) is not None:
            return True
    return False


def _of_picture(planes: list[Tensor], layout: PlaneFormat, peak: float) -> NoiseModel | None:
    """The noise of a picture that quiet areas have not told, None where there is none; not of YUV."""
    if layout.family == "yuv":
        return None
    luma = opponent_from_rgb(planes)[0] if layout.family == "rgb" else planes[0]
    return measure_picture(luma, peak, len(planes))


def _what_is_new(
    frames: Sequence[F], planes: Callable[[F], list[Tensor]], layout: PlaneFormat, peak: float, pairs: bool
) -> Verdict | None:
    """The verdict on the planes; of R, G and B on their sum and differences first, then on themselves."""
    rgb = layout.family == "rgb"

    def channels(number: int) -> list[Tensor]:
        own = planes(frames[number])
        return [*opponent_from_rgb(own), *own] if rgb else own

    evidence = find_news(len(frames), channels, 255 / peak / (3**0.5 if rgb else 1), pairs)
    return None if evidence is None else judge(evidence, 255 / peak)


def _grainy(verdict: Verdict, layout: PlaneFormat) -> NoiseModel:
    """Noise of the spectra that were found."""
    if layout.family != "rgb":
        return NoiseModel(tuple(PlaneNoise(c.deviation, spectrum=c.spectrum) for c in verdict.channels))
    channels = verdict.channels[:3]
    sigma = (sum(c.deviation**2 for c in channels) / 3) ** 0.5
    return NoiseModel(
        (PlaneNoise(sigma),) * 3,
        opponent=tuple(max(c.deviation / sigma, _LEAST_OPPONENT) for c in channels),
        opponent_spectra=tuple(c.spectrum for c in channels),
    )


def _bounded(
    noise: NoiseModel,
    verdict: Verdict,
    layout: PlaneFormat,
    frames: Sequence[F],
    planes: Callable[[F], list[Tensor]],
    peak: float,
) -> NoiseModel:
    """No more noise than is new in every frame."""
    independent, own = verdict.independent, list(zip(noise.planes, verdict.channels[-len(noise.planes) :], strict=True))
    clipped = noise.clipped and any(_reaches_an_end(plane, news, peak) for plane, news in own)
    most_before = _MOST_INDEPENDENT * (_BEFORE_CLIPPING if clipped else 1.0)
    if independent and _in_flat_blocks(own) > most_before * independent:
        return NoiseModel.of_sigma([independent] * len(noise.planes))
    # A codec takes the high frequencies of chroma away first, and then has thinned those of luma as well.
    white = verdict.white if layout.family != "yuv" else all(channel.white for channel in verdict.channels[1:])
    bounded = []
    for index, (plane, news) in enumerate(own):
        # Of noise that no codec has touched, in R, G and B, all is new in flat blocks.
        there = _in_flat_blocks([(plane, news)])
        before = _BEFORE_CLIPPING if plane.clipped else 1.0
        raised = layout.family == "rgb" and news.top > _FLOOR * peak and there > before * _MOST_RAISED * news.top
        most = before * _MOST_TIMES * max(news.deviation, news.most)
        if raised or plane.sigma > most:
            stack = _stacked((planes(frame)[index] for frame in frames), len(frames))
            plane = PlaneNoise(min(estimate_sigma(stack, peak=peak), most))
        if white and not (plane.curve or plane.clipped or plane.spectrum):
            plane = PlaneNoise(min(plane.sigma, news.top))
        # Where there is no flat block; but of clipped noise dark and bright blocks hold less, and chroma of half the
        # size holds less at the highest frequencies.
        asked = verdict.textured and not plane.spectrum and (index == 0 or layout.family != "yuv")
        least, most_of_least = news.least, _MOST_OF_LEAST
        if layout.family == "yuv" and index == 0 and _is_untouched(verdict, peak):
            little = least < _LITTLE * peak
            asked = asked or little or there > _AT_ODDS * news.top
            least = min(least, max(_most_by_chroma(verdict), 0.0 if little else least / _MOST_HIDDEN))
            most_of_least = _MOST_OF_LITTLE
        if asked and not clipped and plane.deviation_at(news.at) > most_of_least * least:
            plane = PlaneNoise(least)
        bounded.append(plane)
    clipped_rgb = noise.clipped_rgb
    if clipped_rgb is not None:
        # What luma has of the noise of R, G and B is a half and more.
        span = code_range(layout, peak)
        said = clipped_rgb.noise.sigma * (span[1] - span[0]) / 2
        most = _MOST_TIMES * max(verdict.channels[0].most, verdict.channels[0].deviation)
        if said > most or bounded[0].sigma < _LEAST_CLIPPED * peak:
            clipped_rgb = None
    opponent = noise.opponent
    if opponent:
        # Texture in all three passes for noise that they share.
        shared, unit = verdict.channels[0], sum(noise.sigma) / len(noise.sigma)
        if opponent[0] * unit > _MOST_TIMES * (shared.top if white else max(shared.deviation, shared.most)):
            opponent = ()
    return replace(noise, planes=tuple(bounded), opponent=opponent, clipped_rgb=clipped_rgb)


def _is_untouched(verdict: Verdict, peak: float) -> bool:
    """Whether luma has noise that looks white, and chroma has some as no codec leaves it, of YUV."""
    luma, *chroma = verdict.channels
    least, little = min(channel.least for channel in chroma), luma.least < _LITTLE * peak
    if luma.colour > (_LITTLE_PLAIN if little else _PLAIN):
        return False
    if little and least >= _LEAST_KEPT * peak:
        return True
    return least > 0 and math.prod(channel.colour for channel in chroma) <= _UNTOUCHED**2


def _most_by_chroma(verdict: Verdict) -> float:
    """The most noise of luma, by that of chroma beyond what rounding leaves."""
    rounding = 1 / 12
    chroma = max(sum(channel.least**2 for channel in verdict.channels[1:]) / 2 - rounding, 0.0)
    # Noise of less than a step is hardly more than rounding leaves.
    return max(math.sqrt(_MOST_OF_CHROMA**2 * chroma + rounding), _LEAST_LITTLE)


def _reaches_an_end(plane: PlaneNoise, news: Grain, peak: float) -> bool:
    """Whether more than a few flat blocks of a plane are so dark or bright that clipping has changed their noise."""
    reach, (_, dark, *_, bright, _) = _REACH_OF_NOISE * plane.sigma, news.means
    return dark < reach or bright > peak - reach


def _in_flat_blocks(planes: Iterable[tuple[PlaneNoise, Grain]]) -> float:
    """The deviation of planes at the brightness of flat blocks."""
    found = [plane.deviation_at(mean) for plane, news in planes for mean in news.means]
    return math.hypot(*found) / math.sqrt(len(found))


def _in_quiet_areas(
    frames: Sequence[F],
    planes: Callable[[F], list[Tensor]],
    layout: PlaneFormat,
    peak: float,
    pairs: bool,
) -> NoiseModel:
    """The noise by what quiet areas hold."""
    measured: list[PlaneNoise] = []
    for index in range(len(layout.plane_shapes)):
        stack = _stacked((planes(frame)[index] for frame in frames), len(frames))
        luma = measured[0] if index and layout.family == "yuv" else None
        measured.append(measure_plane(stack, peak=peak, luma=luma, pairs=pairs))
        del stack
    clipped: ClippedRgb | None = None
    # Of correlated noise the quiet areas do not tell the deviation.
    if layout.family == "yuv" and measured[0].sigma and not measured[0].correlated:
        stack = _stacked((planes(frame)[0] for frame in frames), len(frames))
        clipped = measure_clipped_rgb(stack, layout, peak, measured[1].sigma / measured[0].sigma)
        if clipped and measured[0].clipped:
            measured[0] = measure_plane(stack, peak=peak, pairs=pairs, whole=True)
    noise = NoiseModel(tuple(measured), clipped_rgb=clipped)
    if layout.family != "rgb" or noise.correlated or min(noise.sigma) < _LEAST_DEPENDENT * peak:
        return noise
    return replace(noise, opponent=_opponent_deviations(frames, planes, noise, peak, pairs))


def _stacked(planes: Iterable[Tensor], count: int) -> Tensor:
    """`count` planes, taken one by one, as [count, H, W]."""
    stack = torch.empty(0)
    for number, plane in enumerate(planes):
        if number == 0:
            stack = plane.new_empty((count, *plane.shape))
        stack[number] = plane
    return stack


def _opponent_deviations(
    frames: Sequence[F], planes: Callable[[F], list[Tensor]], noise: NoiseModel, peak: float, pairs: bool
) -> tuple[float, ...]:
    """Of R, G and B, each in units of its noise; empty where they are nearly the same, as of independent noise."""
    stabilisers = stabilisers_of(noise, peak, "rgb")
    largest = sum(s.range for s in stabilisers) / len(stabilisers) ** 0.5
    measured: list[PlaneNoise] = []
    for channel in range(len(stabilisers)):
        units = ([s.forward(p) for p, s in zip(planes(frame), stabilisers, strict=True)] for frame in frames)
        stack = _stacked((opponent_from_rgb(unit)[channel] for unit in units), len(frames))
        luma = measured[0] if channel else None
        measured.append(measure_plane(stack, peak=largest, luma=luma, pairs=pairs))
    deviations = tuple(max(plane.sigma, _LEAST_OPPONENT) for plane in measured)
    return deviations if max(deviations) > _DEPENDENT * min(deviations) else ()
