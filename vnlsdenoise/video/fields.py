"""Interlaced frames taken apart, and what says of a frame which of its two fields comes first.

Each field is a picture of its own moment, of every second line.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from av.packet import Packet

from vnlsdenoise.errors import InputError
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat

# How a coded picture is shown (pic_struct of the supplemental information "picture timing"). HEVC knows no frames of
# two fields, only fields: FFmpeg takes a frame that calls itself the upper field for one whose upper field comes first.
_FRAME, _H264_TOP_FIRST, _H264_BOTTOM_FIRST, _HEVC_TOP, _HEVC_BOTTOM = 0, 3, 4, 1, 2
_PICTURE_TIMING = 1
_H264_SEI, _HEVC_PREFIX_SEI = 6, 39


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
    return replace(frame, planes=upper), replace(frame, planes=lower, extra={})


def weave_fields(upper: Frame, lower: Frame) -> Frame:
    """The frame whose lines alternate between the two fields; the inverse of `split_fields`."""
    planes = tuple(_woven(one, other) for one, other in zip(upper.planes, lower.planes, strict=True))
    return replace(upper, planes=planes, fed=(*upper.fed, *lower.fed))


def _woven(upper: Plane, lower: Plane) -> Plane:
    height, width = upper.shape
    plane = np.empty((2 * height, width), upper.dtype)
    plane[0::2], plane[1::2] = upper, lower
    return plane


def says_fields_itself(encoder: str) -> bool:
    """Whether the coded pictures of an encoder need `with_fields` to say of each frame what it is."""
    return encoder in ("libx264", "libx265")


def with_fields(packet: "Packet[Any]", encoder: str, interlaced: bool, bottom_first: bool) -> bytes:
    """A coded picture (Annex B) of libx264 or libx265 that says whether it holds two fields, and in which order.

    libx264 calls all frames of an interlaced stream interlaced, libx265 takes frames for fields and names them in turn.
    """
    data = bytearray(bytes(packet))
    hevc = encoder == "libx265"
    if not interlaced:
        shown = _FRAME
    elif hevc:
        shown = _HEVC_BOTTOM if bottom_first else _HEVC_TOP
    else:
        shown = _H264_BOTTOM_FIRST if bottom_first else _H264_TOP_FIRST
    for place in _picture_timings(data, hevc):
        data[place] = (shown << 4) | (data[place] & 0x0F)
    return bytes(data)


def _picture_timings(data: bytearray, hevc: bool) -> Iterator[int]:
    """Places of the payloads "picture timing" in an Annex B stream without the delays of a hypothetical decoder."""
    place = data.find(b"\0\0\1")
    while place >= 0:
        place += 3
        following = data.find(b"\0\0\1", place)
        end = following if following >= 0 else len(data)
        kind = (data[place] >> 1) & 0x3F if hevc else data[place] & 0x1F
        if kind == (_HEVC_PREFIX_SEI if hevc else _H264_SEI):
            at = place + (2 if hevc else 1)
            while at + 2 < end and data[at] != 0x80:
                payload, at = _number(data, at)
                size, at = _number(data, at)
                if payload == _PICTURE_TIMING and at < end:
                    yield at
                at += size
        place = following


def _number(data: bytearray, at: int) -> tuple[int, int]:
    """A number of bytes of 255 and a last one, and the place after it."""
    total = 0
    while at < len(data) - 1 and data[at] == 0xFF:
        total, at = total + 255, at + 1
    return total + data[at], at + 1
