"""Whether a part of a file between its ends cannot be read: what that held is missing, and its times alone say so."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from vnlsdenoise.video.checksums import crc32_from_the_top, turned
from vnlsdenoise.video.matroska import is_torn as matroska_is_torn

_CHUNK = 1 << 20
_BOX_HEAD = 8
TS_PACKETS = (188, 192, 204)
"""Bytes of the packets of transport streams, all of one size."""
_TS_NOTHING, _TS_ERROR, _TS_BEGINS = 0x1FFF, 0x80, 0x40
_OGG_PAGE, _OGG_HEAD, _OGG_BEGINS = b"OggS", 27, 2
_GIF_IMAGE, _GIF_EXTENSION, _GIF_END = 0x2C, 0x21, 0x3B
_FLV_HEAD, _FLV_TAG, _FLV_KINDS = 9, 11, (8, 9, 18)


def is_torn(path: Path, container: str) -> bool:
    """Whether a part of a file between its ends is nothing that its format is made of.

    container: FFmpeg's name, whose demuxer goes on without a word where it finds the next part.
    """
    walk = next((walk for name, walk in _WALKS.items() if name in container.split(",")), None)
    if walk is None:
        return False
    with path.open("rb") as file:
        return walk(file)


def _flv(file: BinaryIO) -> bool:
    """Whether something else stands where a tag should, other than zeroes up to the end."""
    head = file.read(_FLV_HEAD)
    at = int.from_bytes(head[5:9]) + 4
    file.seek(at)
    streams = set()  # one number, which ought to be zero
    while len(head := file.read(_FLV_TAG)) == _FLV_TAG:
        streams.add(head[8:])
        if head[0] & 0x1F not in _FLV_KINDS or len(streams) > 1:
            return any(map(any, (head, *_chunks(file))))
        file.seek(int.from_bytes(head[1:4]) + 4, 1)
    return False


def ts_packet(head: bytes) -> tuple[int, int]:
    """Bytes of a packet of a transport stream, and of what stands before its first one; (0, 0) where it is none."""
    for step in TS_PACKETS:
        first = step - 188 if step == 192 else 0  # packets of 192 bytes begin with a time
        if all(head[place : place + 1] in (b"G", b"") for place in range(first, len(head), step)):
            return step, first
    return 0, 0


def _transport_stream(file: BinaryIO) -> bool:
    """Whether packets are missing within what they are parts of, by their numbers, or something else stands among them.

    One with which something new begins need not go on from the one before: segments that were put together.
    """
    step, first = ts_packet(file.read(5 * max(TS_PACKETS)))
    if not step:
        return False
    file.seek(0)
    numbers: dict[int, int] = {}
    goes_on = re.compile(b"G" + 3 * (b".{%d}G" % (step - 1)), re.DOTALL)
    while chunk := file.read(step * (_CHUNK // step)):
        heads = np.frombuffer(chunk, np.uint8, len(chunk) // step * step).reshape(-1, step)[:, first : first + 6]
        known = heads[:, 0] == ord("G")
        at = len(known) if known.all() else int(np.argmin(known))
        if _misses_packets(heads[:at], numbers):
            return True
        if at < len(known):
            return any(goes_on.search(rest) for rest in (chunk[at * step :], *_chunks(file)))
    return False


def _misses_packets(heads: "npt.NDArray[np.uint8]", numbers: dict[int, int]) -> bool:
    """heads: first 6 bytes of packets. numbers: the last one of every stream, which those of these are put into."""
    streams = (heads[:, 1].astype(int) & 0x1F) << 8 | heads[:, 2]
    for stream in map(int, np.unique(streams[streams != _TS_NOTHING])):
        own = heads[streams == stream]
        if (own[:, 1] & _TS_ERROR).any():
            return True
        own_jumps = ((own[:, 3] & 0x20) != 0) & (own[:, 4] > 0) & ((own[:, 5] & 0x80) != 0)
        own = own[(own[:, 3] & 0x10) != 0]  # the others hold nothing
        now = own[:, 3].astype(int) & 15
        before = np.concatenate(([numbers.get(stream, now[0] if len(now) else 0)], now[:-1]))[: len(now)]
        gone = ((now - before) % 16 > 1) & ((own[:, 1] & _TS_BEGINS) == 0)
        if gone.any() and not own_jumps.any():
            return True
        if len(now):
            numbers[stream] = int(now[-1])
    return False


def _boxes(file: BinaryIO) -> bool:
    """Of MP4 and MOV in fragments: whether the row of boxes ends where more fragments follow."""
    at = 0
    while len(head := file.read(16)) >= _BOX_HEAD:
        size, kind = int.from_bytes(head[:4]), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:])
        is_named = all(32 <= byte < 127 for byte in kind)
        if size == 0 and is_named:
            return False  # to the end
        if size < _BOX_HEAD or not is_named:
            return _holds(file, b"moof")
        at += size
        file.seek(at)
    return False


def _ogg(file: BinaryIO) -> bool:
    """Whether a page is not what its checksum says or missing by its number, or something else stands between them."""
    numbers: dict[bytes, int] = {}
    while len(head := file.read(_OGG_HEAD)) == _OGG_HEAD:
        if not head.startswith(_OGG_PAGE):
            return _holds(file, _OGG_PAGE)
        serial, number = head[14:18], int.from_bytes(head[18:22], "little")
        lengths = file.read(head[26])
        content = file.read(sum(lengths))
        if len(content) < sum(lengths):
            return False  # it was cut off
        is_first = head[5] & _OGG_BEGINS or serial not in numbers
        if not (is_first or numbers[serial] + 1 == number):
            return True
        if crc32_from_the_top(head[:22] + bytes(4) + head[26:] + lengths + content) != turned(head[22:26]):
            return True
        numbers[serial] = number
    return False


def _gif(file: BinaryIO) -> bool:
    """Whether something that is no block stands among the blocks."""
    try:
        behind = gif_end(file)
    except EOFError:
        return False  # it was cut off
    return behind not in (None, _GIF_END) and any(any(chunk) for chunk in _chunks(file))


def gif_end(file: BinaryIO) -> int | None:
    """What stands behind the last block of a GIF that is whole: the mark of its end, another byte, or nothing.

    Raises EOFError where the file ends within a block.
    """
    file.seek(0)
    head = file.read(13)

    def skip_colours(flags: int) -> None:
        if flags & 0x80:
            file.seek(3 << (1 + (flags & 7)), 1)

    skip_colours(head[10])
    while block := file.read(1):
        if block[0] == _GIF_IMAGE:
            told = file.read(9)
            if len(told) < 9:
                raise EOFError
            skip_colours(told[8])
            file.read(1)
        elif block[0] == _GIF_EXTENSION:
            file.read(1)
        else:
            return block[0]
        while length := file.read(1):
            if not length[0]:
                break
            file.seek(length[0], 1)
        else:
            raise EOFError
    return None


def _chunks(file: BinaryIO) -> Iterable[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


def _holds(file: BinaryIO, mark: bytes) -> bool:
    """Whether the rest of a file has a mark in it."""
    end = b""
    for chunk in _chunks(file):
        if mark in end + chunk:
            return True
        end = chunk[-len(mark) :]
    return False


_WALKS: dict[str, Callable[[BinaryIO], bool]] = {
    "mov": _boxes,
    "mpegts": _transport_stream,
    "matroska": matroska_is_torn,
    "ogg": _ogg,
    "gif": _gif,
    "flv": _flv,
}
