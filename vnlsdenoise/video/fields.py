"""Interlaced frames taken apart: each of the two fields is a picture of its own moment, of every second line."""

from dataclasses import replace

import numpy as np

from vnlsdenoise.errors import InputError
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat


def field_format(format: PlaneFormat) -> PlaneFormat:
    """The layout of one field; raises InputError where the lines of a plane cannot be shared out evenly."""
    if format.height % (2 << format.chroma_y):
        raise InputError(
            f"frames of {format.width}x{format.height} cannot be split into fields; the height must be a multiple of "
            f"{2 << format.chroma_y}; give --interlaced ignore to treat the frames as they are"
        )
    return replace(format, height=format.height // 2)


def split_fields(frame: Frame) -> tuple[Frame, Frame]:
    """The field of the upper lines (0, 2, ..) and that of the lower ones; what travels beside stays with the first."""
    upper, lower = (tuple(plane[first::2].copy() for plane in frame.planes) for first in (0, 1))
    return Frame(upper, frame.pts, frame.duration, frame.extra), Frame(lower, frame.pts, frame.duration)


def weave_fields(upper: Frame, lower: Frame) -> Frame:
    """The frame whose lines alternate between the two fields; the inverse of `split_fields`."""
    planes = tuple(_woven(one, other) for one, other in zip(upper.planes, lower.planes, strict=True))
    return Frame(planes, upper.pts, upper.duration, upper.extra)


def _woven(upper: Plane, lower: Plane) -> Plane:
    height, width = upper.shape
    plane = np.empty((2 * height, width), upper.dtype)
    plane[0::2], plane[1::2] = upper, lower
    return plane
