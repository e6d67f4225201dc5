"""Whether a file breaks off within one of the parts that its format is made of: it was cut, or never finished."""

from pathlib import Path
from typing import BinaryIO

from vnlsdenoise.video.matroska import breaks_off as matroska_breaks_off
from vnlsdenoise.video.torn import TS_PACKETS, gif_end, ts_packet

_PACK, _PACK_START = 0xBA, b"\0\0\1\xba"
_TAIL = 1 << 18
_OGG_PAGE, _OGG_HEAD = b"OggS", 27
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def breaks_off(path: Path, container: str, last: int | None) -> bool:
    """Whether a file ends within a packet, page or block.

    container: FFmpeg's name. last: the byte after the last packet that was read, None where it is not known.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(5 * max(TS_PACKETS))
        file.seek(max(0, size - _TAIL))
        tail = file.read()
        if container == "mpegts":
            return _transport_stream(head, tail, size)
        if container == "mpeg":
            return _program_stream(tail)
        if container == "ogg":
            return _ogg(tail)
        if container == "asf":
            file.seek(0)
            return _asf(file.read(_TAIL), size)
        if container == "gif":
            return _gif(file)
        if "matroska" in container:
            return matroska_breaks_off(file, size)
    # Nothing stands behind the last frame of these.
    return container == "yuv4mpegpipe" and last is not None and last < size


def _transport_stream(head: bytes, tail: bytes, size: int) -> bool:
    step, first = ts_packet(head)
    rest = size % step if step else 0
    # What does not begin as a packet is padding; a time of which no packet follows holds nothing.
    return rest > first and tail[len(tail) - rest + first] == ord("G")


def _program_stream(tail: bytes) -> bool:
    """Whether the last packet of an MPEG program stream says that it is longer than the file."""
    at = tail.find(_PACK_START)
    while at >= 0 and tail[at : at + 3] == b"\0\0\1" and at + 3 < len(tail):
        kind = tail[at + 3]
        if kind == _PACK:
            is_mpeg2 = tail[at + 4 : at + 5] >= b"\x40"
            at += 14 + (tail[at + 13] & 7 if at + 13 < len(tail) else 0) if is_mpeg2 else 12
        elif kind > _PACK:
            if at + 6 > len(tail):
                return True
            at += 6 + int.from_bytes(tail[at + 4 : at + 6])
        else:
            at += 4
    # What a start begins with was one: a muxer does not pad with less than four bytes.
    return at > len(tail) or (at < len(tail) and _PACK_START.startswith(tail[at:]))


def _ogg(tail: bytes) -> bool:
    """Whether the last page is longer than the file; a page tells the lengths of its segments."""
    at = tail.rfind(_OGG_PAGE)
    if at < 0:
        return False
    if at + _OGG_HEAD > len(tail):
        return True
    lengths = at + _OGG_HEAD + tail[at + _OGG_HEAD - 1]
    return lengths > len(tail) or lengths + sum(tail[at + _OGG_HEAD : lengths]) > len(tail)


def _gif(file: BinaryIO) -> bool:
    """Whether a GIF ends within a picture; the mark of its end may be missing, as some writers leave it out."""
    try:
        gif_end(file)
    except EOFError:
        return True
    return False


def _asf(head: bytes, size: int) -> bool:
    """Whether the header says that the file is longer; that of what was broadcast says nothing."""
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return False
    promised, flags = int.from_bytes(head[at + 40 : at + 48], "little"), head[at + 88]
    return promised > size and not flags & 1
