"""The noise of some frames, plane by plane, and what R, G and B share of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from vnlsdenoise.noise.clipped_rgb import measure_clipped_rgb
from vnlsdenoise.noise.estimate import measure_plane
from vnlsdenoise.noise.model import ClippedRgb, NoiseModel, PlaneNoise
from vnlsdenoise.noise.stabilise import stabilisers_of
from vnlsdenoise.planes import opponent_from_rgb
from vnlsdenoise.video.frame import PlaneFormat

# Ratio of the largest to the least deviation of the opponent channels: independent noise of R, G and B, clipped too,
# makes at most 1.2 of it. Noise of less than so much of the peak may be texture, which is the same in all three.
_DEPENDENT, _LEAST_DEPENDENT = 1.3, 2.4 / 255
_LEAST_OPPONENT = 1 / 8

F = TypeVar("F")


def measure_noise(
    frames: Sequence[F],
    planes: Callable[[F], list[Tensor]],
    layout: PlaneFormat,
    peak: float,
    *,
    white: bool = False,
    pairs: bool = False,
) -> NoiseModel:
    """The noise of every plane of some frames; white: as one deviation a plane, whatever is found.

    pairs: the frames do not follow each other all, as those of a scene do, but by twos.
    planes: makes tensors of a frame's planes. Of all frames one plane at a time is on the device.
    """
    measured: list[PlaneNoise] = []
    for index in range(len(layout.plane_shapes)):
        stack = _stacked((planes(frame)[index] for frame in frames), len(frames))
        luma = measured[0] if index and layout.family == "yuv" else None
        measured.append(measure_plane(stack, peak=peak, white=white, luma=luma, pairs=pairs))
        del stack
    clipped: ClippedRgb | None = None
    # Of correlated noise the quiet areas do not tell the deviation.
    if layout.family == "yuv" and not white and measured[0].sigma and not measured[0].correlated:
        stack = _stacked((planes(frame)[0] for frame in frames), len(frames))
        clipped = measure_clipped_rgb(stack, layout, peak, measured[1].sigma / measured[0].sigma)
        if clipped and measured[0].clipped:
            measured[0] = measure_plane(stack, peak=peak, pairs=pairs, whole=True)
    noise = NoiseModel(tuple(measured), clipped_rgb=clipped)
    if layout.family != "rgb" or white or noise.correlated or min(noise.sigma) < _LEAST_DEPENDENT * peak:
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
