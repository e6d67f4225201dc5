"""A rectangle of every frame, denoised by itself and put back: the rest stays bit for bit as it is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from vnlsdenoise.errors import UsageError
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat

_MARGIN = 32  # pixels around it that patches may come from, too
_WHOLE = "whole"  # the planes of the frame that a rectangle was taken from, in `Frame.extra`


@dataclass(frozen=True)
class Region:
    """A rectangle in pixels as they are stored: x, y of its upper left corner, width and height."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at {self.x},{self.y}"


class Window:
    """What is cut out of frames of a format for a region: it, and a margin around. format: of what is cut out.

    fields: whether the frames hold two fields, of which each must keep whole rows. Raises UsageError where the region
    is not within the frame.
    """

    def __init__(self, region: Region, whole: PlaneFormat, fields: bool = False) -> None:
        right, bottom = region.x + region.width, region.y + region.height
        if (
            min(region.x, region.y) < 0
            or min(region.width, region.height) < 1
            or right > whole.width
            or bottom > whole.height
        ):
            raise UsageError(
                f"--roi {region} does not lie within frames of {whole.width}x{whole.height}; "
                "give X,Y,WIDTH,HEIGHT in pixels as they are stored, without any rotation"
            )
        across, down = 1 << whole.chroma_x, (2 if fields else 1) << whole.chroma_y
        left, top = (_down(max(0, at - _MARGIN), step) for at, step in ((region.x, across), (region.y, down)))
        right = min(whole.width, _up(right + _MARGIN, across))
        bottom = min(whole.height, _up(bottom + _MARGIN, down))
        self.format = replace(whole, width=right - left, height=bottom - top)
        self._region, self._whole = region, whole
        self._left, self._top = left, top

    def take(self, frame: Frame) -> Frame:
        """The part of a frame, which carries the whole along."""
        planes = []
        for index, (plane, (height, width)) in enumerate(zip(frame.planes, self.format.plane_shapes, strict=True)):
            x, y = self._shifts(index)
            top, left = self._top >> y, self._left >> x
            planes.append(cast(Plane, np.ascontiguousarray(plane[top : top + height, left : left + width])))
        return replace(frame, planes=tuple(planes), extra={**frame.extra, _WHOLE: frame.planes})

    def put_back(self, frame: Frame) -> Frame:
        """The whole frame with what became of the region; samples of chroma that reach beyond it stay as they are."""
        extra = dict(frame.extra)
        whole: tuple[Plane, ...] = extra.pop(_WHOLE)
        planes = []
        for index, (plane, done) in enumerate(zip(whole, frame.planes, strict=True)):
            x, y = self._shifts(index)
            region = self._region
            left, top = _up(region.x, 1 << x) >> x, _up(region.y, 1 << y) >> y
            right, bottom = (
                _inner_end(region.x + region.width, x, self._whole.width),
                _inner_end(region.y + region.height, y, self._whole.height),
            )
            changed = plane.copy()
            if left < right and top < bottom:
                own_left, own_top = left - (self._left >> x), top - (self._top >> y)
                inner = done[own_top : own_top + bottom - top, own_left : own_left + right - left]
                changed[top:bottom, left:right] = inner
            planes.append(changed)
        return replace(frame, planes=tuple(planes), extra=extra)

    def _shifts(self, index: int) -> tuple[int, int]:
        return (self._whole.chroma_x, self._whole.chroma_y) if index else (0, 0)


def within(
    window: Window | None, frames: Iterable[Frame], work: Callable[[Iterable[Frame]], Iterable[Frame]]
) -> Iterator[Frame]:
    """`work` on what a window shows of frames; on the frames themselves without one."""
    if window is None:
        yield from work(frames)
        return
    for frame in work(map(window.take, frames)):
        yield window.put_back(frame)


def _down(value: int, step: int) -> int:
    return value - value % step


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _inner_end(end: int, shift: int, size: int) -> int:
    """Of samples 1 << shift pixels wide the end of those that end before `end`; at the border of the picture all do."""
    return -(-size >> shift) if end == size else end >> shift
