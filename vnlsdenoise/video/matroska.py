"""What Matroska can say of a video and PyAV cannot tell its muxer: the shape of pixels and HDR10 metadata.

The elements (RFC 9559) are put into the finished file, in place: the title of the track, which stands beside them, is
made longer than it is before the file is written, and gives up that room afterwards.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from vnlsdenoise.errors import OutputError

_SEGMENT, _TRACKS, _TRACK, _NAME, _VIDEO, _COLOUR = 0x18538067, 0x1654AE6B, 0xAE, 0x536E, 0xE0, 0x55B0
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT, _ASPECT_RATIO = 0x54B0, 0x54BA, 0x54B2, 3
_MAX_CLL, _MAX_FALL, _MASTERING = 0x55BC, 0x55BD, 0x55D0
_PRIMARIES = {"R": (0x55D1, 0x55D2), "G": (0x55D3, 0x55D4), "B": (0x55D5, 0x55D6), "WP": (0x55D7, 0x55D8)}
_LUMINANCE_MAX, _LUMINANCE_MIN = 0x55D9, 0x55DA
_VOID, _CRC = 0xEC, 0xBF
# What a file and a segment are made of: the head, segments, their index, facts, tracks, clusters, cues, attachments,
# chapters, tags, and room.
_PARTS = tuple(
    bytes.fromhex(kind)
    for kind in (
        *("1A45DFA3", "18538067", "114D9B74", "1549A966", "1654AE6B", "1F43B675"),
        *("1C53BB6B", "1941A469", "1043A770", "1254C367", "EC", "BF"),
    )
)
_CLUSTER = _PARTS[5]
# And a cluster of: its time and place, blocks, groups of them, and what older versions knew.
_CLUSTER_PARTS = tuple(bytes.fromhex(kind) for kind in ("E7", "A7", "AB", "A3", "A0", "AF", "5854"))
_UNKNOWN = 1 << 62  # where an element ends that does not say it
_LONGEST_HEAD = 16  # bytes of the kind and the size of an element
_HEAD = 1 << 20  # bytes within which the tracks are described
_ROOM = 256  # more than all the elements take


@dataclass(frozen=True)
class VideoElements:
    """What is to be said.

    hdr: chromaticities by "R", "G", "B", "WP", luminance "L" (most and least cd/m2), and "light", the largest and the
    average light level; empty for nothing.
    """

    width: int
    height: int
    aspect: Fraction | None = None
    hdr: tuple[tuple[str, float, float], ...] = ()

    def __bool__(self) -> bool:
        return (self.aspect is not None and self.aspect != 1) or bool(self.hdr)


def with_room(title: str) -> str:
    """The title of the track, with room for the elements after it."""
    return title + " " * _ROOM


def put_elements(path: Path, title: str, elements: VideoElements) -> None:
    """Put the elements into the first track of a file whose title is `with_room(title)`; raises OutputError."""
    with path.open("r+b") as file:
        head = bytearray(file.read(_HEAD))
        try:
            begin, end = _find(head, 0, len(head), (_SEGMENT, _TRACKS))
            track_begin, track_end = _find(head, begin, end, (_TRACK,))
        except LookupError as error:
            raise OutputError(f"cannot write {path}; its tracks are not where they should be; report this") from error
        head[track_begin:track_end] = _rewritten(bytes(head[track_begin:track_end]), title, elements)
        kind, content, after = next(_elements(head, begin, end))
        if kind == _CRC:
            head[content:after] = struct.pack("<I", zlib.crc32(head[after:end]))
        file.seek(0)
        file.write(head)


def breaks_off(file: BinaryIO, size: int) -> bool:
    """Whether a file of so many bytes ends within an element.

    Segments of unknown size are walked through as far as their children tell theirs: a writer that was killed leaves
    such, and one that writes to the network leaves nothing but such. What begins as no part of a file is padding.
    """
    at, end = 0, _UNKNOWN
    while at < min(end, size):
        file.seek(at)
        head = file.read(_LONGEST_HEAD)
        if not any(part.startswith(head[: len(part)]) for part in _PARTS):
            return False
        try:
            kind, content, after = next(_elements(head, 0, _UNKNOWN))
        except IndexError:
            return True
        if kind == _SEGMENT and after == _UNKNOWN:
            at += content
        elif after == _UNKNOWN:
            return False
        else:
            at += after
            end = at if kind == _SEGMENT else end
    return at > size


def is_torn(file: BinaryIO) -> bool:
    """Whether something that is no element stands among those of a segment, or of its clusters."""
    size, at, end = file.seek(0, 2), 0, _UNKNOWN
    while at < min(end, size):
        file.seek(at)
        head = file.read(_LONGEST_HEAD)
        try:
            kind, content, after = next(_elements(head, 0, _UNKNOWN))
        except IndexError:
            return at + _LONGEST_HEAD < size and end < _UNKNOWN
        if not head.startswith(_PARTS + _CLUSTER_PARTS):
            # What stands behind a segment that does not tell its end may be anything.
            return end < _UNKNOWN or any(_CLUSTER in chunk for chunk in iter(lambda: file.read(_HEAD), b""))
        if kind == _SEGMENT:
            end = end if after == _UNKNOWN else at + after
        at += content if head.startswith(_CLUSTER) or kind == _SEGMENT else after
    return False


def alpha_document(side_data: bytes) -> bytes:
    """A Matroska file of one empty picture with this transparency beside it: FFmpeg's 8 bytes of a number, and data."""
    number, data = side_data[:8], side_data[8:]
    ids = {"head": 0x1A45DFA3, "kind": 0x4282, "info": 0x1549A966, "scale": 0x2AD7B1, "cluster": 0x1F43B675}
    video = _element(0xB0, b"\x10") + _element(0xBA, b"\x10") + _element(0x53C0, b"\x01")
    entry = _element(0xD7, b"\x01") + _element(0x73C5, b"\x01") + _element(0x83, b"\x01")
    entry += _element(0x86, b"V_VP9") + _element(0x55EE, number[-1:]) + _element(_VIDEO, video)
    more = _element(0xEE, number.lstrip(b"\0")) + _element(0xA5, data)
    group = _element(0xA1, b"\x81\0\0\0\0") + _element(0x75A1, _element(0xA6, more))
    content = _element(ids["info"], _element(ids["scale"], (1_000_000).to_bytes(3)))
    content += _element(_TRACKS, _element(_TRACK, entry))
    content += _element(ids["cluster"], _element(0xE7, b"\0") + _element(0xA0, group))
    return _element(ids["head"], _element(ids["kind"], b"matroska")) + _element(_SEGMENT, content)


def _rewritten(track: bytes, title: str, elements: VideoElements) -> bytes:
    """The children of a track entry with the elements, of the same length."""
    parts = []
    for kind, begin, end in _elements(track, 0, len(track)):
        content = track[begin:end]
        if kind == _NAME:
            content = title.encode()
        elif kind == _VIDEO:
            content = _video(content, elements)
        elif kind == _CRC:
            continue
        if content or kind != _NAME:
            parts.append(_element(kind, content))
    whole = b"".join(parts)
    room = len(track) - len(whole) - 3  # the head of what fills the rest
    if room < 0:
        raise ValueError("no room was left for the elements")
    return whole + bytes([_VOID]) + struct.pack(">H", 0x4000 | room) + bytes(room)


def _video(content: bytes, elements: VideoElements) -> bytes:
    children = [(kind, content[begin:end]) for kind, begin, end in _elements(content, 0, len(content))]
    said = {_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT} if elements.aspect is not None else set()
    children = [(kind, data) for kind, data in children if kind not in said]
    if elements.aspect is not None:
        children += _display(elements.width, elements.height, elements.aspect)
    if elements.hdr:
        colour = next((data for kind, data in children if kind == _COLOUR), b"") + _hdr(elements.hdr)
        children = [(kind, data) for kind, data in children if kind != _COLOUR] + [(_COLOUR, colour)]
    return b"".join(_element(kind, data) for kind, data in children)


def _display(width: int, height: int, aspect: Fraction) -> list[tuple[int, bytes]]:
    shown = (width * aspect, Fraction(height)) if aspect >= 1 else (Fraction(width), height / aspect)
    unit = []
    if any(side.denominator != 1 for side in shown):
        ratio = Fraction(width, height) * aspect
        shown, unit = (
            (Fraction(ratio.numerator), Fraction(ratio.denominator)),
            [(_DISPLAY_UNIT, bytes([_ASPECT_RATIO]))],
        )
    sides = [struct.pack(">I", int(side)) for side in shown]
    return [(_DISPLAY_WIDTH, sides[0]), (_DISPLAY_HEIGHT, sides[1]), *unit]


def _hdr(told: tuple[tuple[str, float, float], ...]) -> bytes:
    mastering, light = b"", b""
    for name, first, second in told:
        if name == "light":
            light = _element(_MAX_CLL, struct.pack(">I", int(first))) + _element(
                _MAX_FALL, struct.pack(">I", int(second))
            )
        else:
            kinds = _PRIMARIES.get(name, (_LUMINANCE_MAX, _LUMINANCE_MIN))
            mastering += b"".join(
                _element(kind, struct.pack(">d", value)) for kind, value in zip(kinds, (first, second), strict=True)
            )
    return light + (_element(_MASTERING, mastering) if mastering else b"")


def _element(kind: int, content: bytes) -> bytes:
    return kind.to_bytes((kind.bit_length() + 7) // 8) + struct.pack(">I", 0x10000000 | len(content)) + content


def _elements(data: bytes | bytearray, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(kind, begin and end of its content) of every element; one of unknown size reaches to the end."""
    at = begin
    while at < end:
        length = 9 - data[at].bit_length()
        kind = int.from_bytes(data[at : at + length])
        at += length
        length = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + length]) & ((1 << 7 * length) - 1)
        at += length
        after = end if size == (1 << 7 * length) - 1 else min(at + size, end)
        yield kind, at, after
        at = after


def _find(data: bytes | bytearray, begin: int, end: int, path: tuple[int, ...]) -> tuple[int, int]:
    """Begin and end of the content of the first element along a path of kinds; raises LookupError."""
    for wanted in path:
        begin, end = next(((b, e) for kind, b, e in _elements(data, begin, end) if kind == wanted), (-1, -1))
        if begin < 0:
            raise LookupError(hex(wanted))
    return begin, end
