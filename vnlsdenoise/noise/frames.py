"""The noise of some frames, plane by plane, and what R, G and B share of it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from vnlsdenoise.noise.bounds import LEAST_CLIPPED, ROUNDING, bounded, with_coarse_chroma
from vnlsdenoise.noise.clipped_rgb import measure_clipped_rgb
from vnlsdenoise.noise.coded import with_what_codecs_leave, with_what_codecs_leave_in_rgb
from vnlsdenoise.noise.estimate import ends_at_the_borders, estimate_sigma, measure_plane, ramp
from vnlsdenoise.noise.letters import has_letters, is_everywhere
from vnlsdenoise.noise.model import ClippedRgb, Evidence, NoiseModel, PlaneNoise
from vnlsdenoise.noise.picture import measure_picture
from vnlsdenoise.noise.rows import with_offsets
from vnlsdenoise.noise.stabilise import stabilisers_of
from vnlsdenoise.noise.temporal import find_news
from vnlsdenoise.noise.verdict import Verdict, judge
from vnlsdenoise.planes import opponent_from_rgb
from vnlsdenoise.video.frame import PlaneFormat

# Ratio of the largest to the least deviation of the opponent channels: independent noise of R, G and B, clipped too,
# makes at most 1.2 of it. Noise of less than so much of the peak may be texture, which is the same in all three.
_DEPENDENT, _LEAST_DEPENDENT = 1.3, 2.4 / 255
_LEAST_OPPONENT = 1 / 8
_SEEN = 0.6  # of what is new in flat blocks, from which quiet areas have told it
# The same, of every one of R, G and B; of every other plane where it is surely so still.
_SEEN_IN_EACH = 0.8
_SURELY_STILL = 0.5
# Times that luma's noise is stronger at low frequencies: what quiet areas tell is a part of it then. All of it is no
# more than so many times that part: beyond that motion was missed.
_CLEARLY_COLOURED, _MOST_OF_PART = 2.0, 2.5
# Trust in what is new, from which on a part of it is taken for the noise, and all: clean films have less (of 47 clips
# through crf 18 to 28 all but one), cameras through a codec 0.3 to 0.5 where all is texture, and little else is told of
# their noise. Of YUV where so much of what is new is in flat blocks as well: of running water there is 0.1 to 0.2, and
# the step of the quantiser tells some noise. From `_SURE_YUV` on all.
_SURE, _EVERYWHERE, _SURE_YUV = (0.2, 0.4), (0.2, 0.35), 0.5
# Noise that frames share is in their mean as well: its variance there is (1 + share) / (1 - share) times that of
# independent noise. Best told is half of that, in decibels: 1.25 times the deviation of a frame where the share is 0.5,
# and 1.5 to 1.8 times where it is 0.8, by how much of the picture moves.
_MORE_OF_FADING = 1 / 4
_WHOLE = 1e-3  # of a step: samples so near to whole ones were rounded
_LEAST_GRAIN = 0.45 / 255  # of the peak, in flat areas: less is what codecs leave of clean video

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
    noise = _measured(frames, planes, layout, peak, pairs, coded=step is not None)
    if layout.family == "rgb":
        noise = with_what_codecs_leave_in_rgb(noise, peak, lambda: has_letters(planes(frames[0])[1], peak))
    elif step is not None:
        noise = with_what_codecs_leave(noise, step, peak, lambda: has_letters(planes(frames[0])[0], peak))
    return noise if pairs else with_offsets(noise, frames, planes, layout, peak)


def _measured(
    frames: Sequence[F],
    planes: Callable[[F], list[Tensor]],
    layout: PlaneFormat,
    peak: float,
    pairs: bool,
    *,
    coded: bool,
) -> NoiseModel:
    """What the frames themselves tell; coded: they have surely been through a codec."""
    if len(frames) == 1:
        return _of_one(frames[0], planes, layout, peak)
    verdict = _what_is_new(frames, planes, layout, peak, pairs)
    noise = _in_quiet_areas(frames, planes, layout, peak, pairs, verdict.fading if verdict else 0.0)
    evidence = Evidence("quiet areas", noise.sigma)
    if verdict is None:
        return replace(noise, evidence=evidence)
    told = verdict.channels[-len(noise.planes) :]
    new_top, new = tuple(channel.top for channel in told), tuple(channel.deviation for channel in told)
    calm = tuple(channel.least_low for channel in told)
    evidence = replace(evidence, new_top=new_top, new=new, trust=verdict.trust, calm=calm)
    evidence = replace(evidence, left=verdict.left, thinned=verdict.thinned)
    first = verdict.channels[0]
    least = _LEAST_GRAIN * peak * (3**0.5 if layout.family == "rgb" else 1)
    share = _share_taken(verdict, layout) if first.low >= least else 0.0
    in_part = share > 0 and _is_told_in_part(noise, verdict, layout)
    if not in_part or share < 1:
        rounding = _rounding(planes(frames[0])[0], peak / layout.peak)
        noise = bounded(noise, verdict, layout, partial(_estimated, frames, planes, peak), peak, rounding, coded)
        # What the bounds leave may be a part as well.
        in_part = in_part or (share > 0 and _is_told_in_part(noise, verdict, layout))
    grainy = _grainy(verdict, layout, share) if in_part else noise
    if in_part and (share == 1 or math.hypot(*grainy.sigma) > math.hypot(*noise.sigma)):
        noise, evidence = grainy, replace(evidence, taken="what is new")
    else:
        noise = with_coarse_chroma(noise, verdict, layout, peak)
    more = ((1 + verdict.fading) / (1 - verdict.fading)) ** _MORE_OF_FADING
    return replace(noise.times([more] * len(noise.planes)), evidence=evidence)


def _of_one(frame: F, planes: Callable[[F], list[Tensor]], layout: PlaneFormat, peak: float) -> NoiseModel:
    """What a frame by itself tells."""
    picture = _of_picture(planes(frame), layout, peak)
    if picture is not None:
        return replace(picture, evidence=Evidence("the shape of cameras' noise"))
    noise = _in_quiet_areas([frame], planes, layout, peak, pairs=False)
    evidence = Evidence("quiet areas", noise.sigma)
    if all(is_everywhere(plane, found, peak) for plane, found in zip(planes(frame), noise.planes, strict=True)):
        return replace(noise, evidence=evidence)
    return replace(NoiseModel.of_sigma([0.0] * len(noise.planes)), evidence=evidence)


def _share_taken(verdict: Verdict, layout: PlaneFormat) -> float:
    """Of the deviation of what is new, by how sure it is that it is noise."""
    share = ramp(verdict.trust, *_SURE)
    if layout.family == "rgb" or verdict.trust >= _SURE_YUV:
        return share
    return share * ramp(verdict.everywhere, *_EVERYWHERE)


def _is_told_in_part(noise: NoiseModel, verdict: Verdict, layout: PlaneFormat) -> bool:
    """Whether quiet areas have hardly seen the noise that is new, or a part of it."""
    own, quiet = verdict.channels[: len(noise.planes)], math.hypot(*noise.sigma)
    rgb = layout.family == "rgb"
    # Of a mosaic of sensors one colour may have kept high frequencies; where nothing moves, each plane tells by itself.
    by_plane = zip(noise.planes, verdict.channels[-len(noise.planes) :], strict=True)
    unseen = any(plane.sigma < _SEEN_IN_EACH * channel.low for plane, channel in by_plane)
    if unseen and (rgb or verdict.still >= _SURELY_STILL):
        return True
    if not rgb and quiet < _SEEN * math.hypot(*(channel.low for channel in own)):
        return True
    # Correlated noise they do not resolve as well, and of one plane they may take it for white; of the colours of R, G
    # and B that a codec has had they do.
    coloured = min(channel.colour for channel in (own[1:] if rgb else own[:1])) > _CLEARLY_COLOURED
    in_part = (coloured and (not rgb or verdict.thinned == 1)) or any(plane.spectrum for plane in noise.planes)
    return in_part and math.hypot(*(channel.deviation for channel in own)) < _MOST_OF_PART * quiet


def _rounding(plane: Tensor, step: float) -> float:
    """The variance that rounding to steps has left in samples; 0 where they are not whole steps."""
    steps = plane / step
    return ROUNDING * step**2 if bool(((steps - steps.round()).abs() < _WHOLE).all()) else 0.0


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
        sigma = tuple(_estimated(frames, planes, peak, index) for index in range(len(layout.plane_shapes)))
    white = NoiseModel.of_sigma(sigma)
    if max(sigma) < LEAST_CLIPPED * peak or not _may_be_clipped(frames, planes, layout, peak):
        return white
    found = _measured(frames, planes, layout, peak, pairs, coded=False)
    own = (
        # What clipping did is told by the noise that is there, however much of it is to be removed.
        replace(plane, clipped=True, overstated=plane.sigma / measured.sigma) if measured.clipped else plane
        for plane, measured in zip(white.planes, found.planes, strict=True)
    )
    return replace(white, planes=tuple(own), clipped_rgb=found.clipped_rgb)


def _estimated(frames: Sequence[F], planes: Callable[[F], list[Tensor]], peak: float, index: int) -> float:
    """The deviation of a plane, as that of white noise."""
    return estimate_sigma(_stacked((planes(frame)[index] for frame in frames), len(frames)), peak=peak)


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


def _grainy(verdict: Verdict, layout: PlaneFormat, share: float) -> NoiseModel:
    """Noise of the spectra that were found, with a share of its deviation."""
    if layout.family != "rgb":
        return NoiseModel(tuple(PlaneNoise(share * c.deviation, spectrum=c.spectrum) for c in verdict.channels))
    channels = verdict.channels[:3]
    sigma = (sum(c.deviation**2 for c in channels) / 3) ** 0.5
    return NoiseModel(
        (PlaneNoise(share * sigma),) * 3,
        opponent=tuple(max(c.deviation / sigma, _LEAST_OPPONENT) for c in channels),
        opponent_spectra=tuple(c.spectrum for c in channels),
    )


def _in_quiet_areas(
    frames: Sequence[F],
    planes: Callable[[F], list[Tensor]],
    layout: PlaneFormat,
    peak: float,
    pairs: bool,
    fading: float = 0.0,
) -> NoiseModel:
    """The noise by what quiet areas hold; fading: as of a `Verdict`."""
    measured: list[PlaneNoise] = []
    for index in range(len(layout.plane_shapes)):
        stack = _stacked((planes(frame)[index] for frame in frames), len(frames))
        luma = measured[0] if index and layout.family == "yuv" else None
        measured.append(measure_plane(stack, peak=peak, luma=luma, pairs=pairs, fading=fading))
        del stack
    clipped: ClippedRgb | None = None
    # Of correlated noise the quiet areas do not tell the deviation.
    if layout.family == "yuv" and measured[0].sigma and not measured[0].correlated:
        stack = _stacked((planes(frame)[0] for frame in frames), len(frames))
        clipped = measure_clipped_rgb(stack, layout, peak, measured[1].sigma / measured[0].sigma)
        if clipped and measured[0].clipped:
            measured[0] = measure_plane(stack, peak=peak, pairs=pairs, whole=True, fading=fading)
    noise = NoiseModel(tuple(measured), clipped_rgb=clipped)
    if layout.family != "rgb" or noise.correlated or min(noise.sigma) < _LEAST_DEPENDENT * peak:
        return noise
    return replace(noise, opponent=_opponent_deviations(frames, planes, noise, peak, pairs, fading))


def _stacked(planes: Iterable[Tensor], count: int) -> Tensor:
    """`count` planes, taken one by one, as [count, H, W]."""
    stack = torch.empty(0)
    for number, plane in enumerate(planes):
        if number == 0:
            stack = plane.new_empty((count, *plane.shape))
        stack[number] = plane
    return stack


def _opponent_deviations(
    frames: Sequence[F],
    planes: Callable[[F], list[Tensor]],
    noise: NoiseModel,
    peak: float,
    pairs: bool,
    fading: float,
) -> tuple[float, ...]:
    """Of R, G and B, each in units of its noise; empty where they are nearly the same, as of independent noise."""
    stabilisers = stabilisers_of(noise, peak, "rgb")
    largest = sum(s.range for s in stabilisers) / len(stabilisers) ** 0.5
    measured: list[PlaneNoise] = []
    for channel in range(len(stabilisers)):
        units = ([s.forward(p) for p, s in zip(planes(frame), stabilisers, strict=True)] for frame in frames)
        stack = _stacked((opponent_from_rgb(unit)[channel] for unit in units), len(frames))
        luma = measured[0] if channel else None
        measured.append(measure_plane(stack, peak=largest, luma=luma, pairs=pairs, fading=fading))
    deviations = tuple(max(plane.sigma, _LEAST_OPPONENT) for plane in measured)
    return deviations if max(deviations) > _DEPENDENT * min(deviations) else ()
