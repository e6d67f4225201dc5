"""What travels beside the samples of a frame or a stream, read and named: FFmpeg's side data."""

import math
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any, cast

from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame


def _learn(kinds: type[SideDataType], number: object) -> SideDataType:
    """A member for a kind that FFmpeg knows and PyAV does not."""
    kind = object.__new__(kinds)
    kind._name_, kind._value_ = f"KIND_{number}", cast(Any, number)
    kinds._value2member_map_[number] = kind
    return kind


# A frame that has side data of such a kind else gives none of it, but a ValueError.
SideDataType._missing_ = classmethod(_learn)  # type: ignore[method-assign,assignment]

CARRIED = (SideDataType.A53_CC, SideDataType.STEREO3D)
"""Side data of frames that is handed on to the encoder with the frame."""
NAMES = {
    SideDataType.A53_CC: "closed captions",
    SideDataType.STEREO3D: "stereoscopic layout",
    SideDataType.AFD: "active format description",
    SideDataType.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
    SideDataType.DYNAMIC_HDR_VIVID: "HDR Vivid metadata",
    SideDataType.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    SideDataType.DOVI_METADATA: "Dolby Vision metadata",
    SideDataType.SPHERICAL: "spherical projection",
    SideDataType.ICC_PROFILE: "colour profile",
    SideDataType.S12M_TIMECODE: "time code of frames",
    SideDataType.FILM_GRAIN_PARAMS: "film grain parameters",
    SideDataType.AMBIENT_VIEWING_ENVIRONMENT: "viewing environment",
    SideDataType(28): "LCEVC enhancement",
    SideDataType(30): "layout of 3D displays",
    SideDataType(31): "Exif data",
}
# By FFmpeg's number of the layout: the left eye first, or the right one.
_STEREO_MODES = {
    1: ("left_right", "right_left"),
    2: ("top_bottom", "bottom_top"),
    3: ("block_lr", "block_rl"),
    4: ("checkerboard_lr", "checkerboard_rl"),
    6: ("row_interleaved_lr", "row_interleaved_rl"),
    7: ("col_interleaved_lr", "col_interleaved_rl"),
}
_TURN = 1e-3  # by which the sides of what is turned may be off
_CHROMA_PLACES = {"left", "center", "topleft", "top", "bottomleft", "bottom"}


def kinds_of(frame: VideoFrame) -> set[SideDataType]:
    """The kinds of side data that a frame has."""
    return {data.type for data in cast("Iterator[SideData]", iter(frame.side_data))}


def names_of(kinds: set[SideDataType]) -> tuple[str, ...]:
    """What kinds of side data are called that mean something beside the picture, each name once."""
    return tuple(dict.fromkeys(NAMES[kind] for kind in NAMES if kind in kinds))


def bytes_of(frame: VideoFrame, kind: SideDataType) -> bytes:
    """The bytes of one kind of side data, empty where the frame has none."""
    return next((bytes(data) for data in cast("Iterator[SideData]", iter(frame.side_data)) if data.type == kind), b"")


def display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """The 9 numbers of the display matrix, None for an upright picture."""
    data = bytes_of(frame, SideDataType.DISPLAYMATRIX)
    return struct.unpack("=9i", data[:36]) if len(data) >= 36 else None


def is_turn(matrix: tuple[int, ...]) -> bool:
    """Whether a display matrix turns and mirrors the picture, and does nothing else to it."""
    a, b, u, c, d, v, _, _, w = matrix
    one = 1 << 16
    lengths = (math.hypot(a, c), math.hypot(b, d))
    straight = abs(a * b + c * d) < _TURN * one * one and all(abs(length - one) < _TURN * one for length in lengths)
    return straight and u == v == 0 and w == 1 << 30


def hdr(frame: VideoFrame) -> tuple[tuple[str, str], ...]:
    """Mastering display (chromaticities in 1/50000, luminance in 1/10000 cd/m2) and light levels, as x265 options."""
    found: list[tuple[str, str]] = []
    mastering = bytes_of(frame, SideDataType.MASTERING_DISPLAY_METADATA)
    if len(mastering) >= 88:
        numbers = struct.unpack("=22i", mastering[:88])
        values = [
            top / bottom if bottom else math.nan for top, bottom in zip(numbers[0:20:2], numbers[1:20:2], strict=True)
        ]
        if numbers[20] and numbers[21] and not any(map(math.isnan, values)):
            xy = [round(value * 50000) for value in values[:8]]
            low, high = (round(value * 10000) for value in values[8:])
            red, green, blue, white = (f"({x},{y})" for x, y in zip(xy[0::2], xy[1::2], strict=True))
            found.append(("master-display", f"G{green}B{blue}R{red}WP{white}L({high},{low})"))
    light = bytes_of(frame, SideDataType.CONTENT_LIGHT_LEVEL)
    if len(light) >= 8:
        most, average = struct.unpack("=2I", light[:8])
        found.append(("max-cll", f"{most},{average}"))
    return tuple(found)


def stereo_mode(frame: VideoFrame) -> str:
    """Matroska's name of how the pictures for both eyes lie in a frame, "" where there is but one."""
    data = bytes_of(frame, SideDataType.STEREO3D)
    if len(data) < 8:
        return ""
    kind, flags = struct.unpack("=iI", data[:8])
    return _STEREO_MODES.get(kind, ("", ""))[flags & 1]


def crop(lines: Sequence[str]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) pixels that the container hides, of FFmpeg's words on a stream."""
    for line in lines:
        if match := re.fullmatch(r"Frame [Cc]ropping: (\d+)/(\d+)/(\d+)/(\d+)", line):
            left, right, top, bottom = map(int, match.groups())
            return top, bottom, left, right
    return 0, 0, 0, 0


def chroma_location(lines: Sequence[str]) -> str:
    """FFmpeg's name of the place of the chroma samples, of FFmpeg's words on a stream; "" where it is not told."""
    # Such as "Stream #0:0: Video: h264 (High), yuv420p(tv, bt709, progressive, topleft), 192x128".
    for group in re.findall(r"\(([^()]*)\)", lines[0] if lines else ""):
        for word in group.split(", "):
            if word in _CHROMA_PLACES:
                return str(word)
    return ""
