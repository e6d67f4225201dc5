"""Whether a part of a file between its ends cannot be read: what that held is missing, and its times alone say so."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from vnlsdenoise.video.asf import is_torn as asf_is_torn
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
_NUT_SYNCPOINT = bytes.fromhex("4e4be4adeeca4569")
_NUT_LONG = 4096  # bytes of packets of which the head has a checksum
_AVI_LISTS = (b"AVI ", b"AVIX", b"movi", b"rec ")
_AVI_CHUNK = re.compile(rb"\d\d(?:dc|db|wb)")
_PACK, _PROGRAM_END = b"\0\0\1\xba", 0xB9


def is_torn(path: Path, container: str, joined: bool = False) -> bool:
    """Whether a part of a file between its ends is nothing that its format is made of.

    container: FFmpeg's name, whose demuxer goes on without a word where it finds the next part. joined: its times start
    again, and recordings that were joined need not begin with what goes on from the one before.
    """
    walks = {"mpegts": _is_holed_transport_stream} if joined else _WALKS
    walk = next((walk for name, walk in walks.items() if name in container.split(",")), None)
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


def _is_holed_transport_stream(file: BinaryIO) -> bool:
    """Whether there are zeroes in place of a packet, and packets again behind them."""
    step, first = ts_packet(file.read(5 * max(TS_PACKETS)))
    if not step:
        return False
    file.seek(0)
    hole = False
    while chunk := file.read(step * (_CHUNK // step)):
        packets = np.frombuffer(chunk, np.uint8, len(chunk) // step * step).reshape(-1, step)
        filled = np.flatnonzero(packets[:, first] == ord("G"))
        empty = np.flatnonzero(~packets.any(axis=1))
        if len(filled) and (hole or (len(empty) and empty[0] < filled[-1])):
            return True
        hole = hole or len(empty) > 0
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


def _program_stream(file: BinaryIO) -> bool:
    """Whether something else stands between the packets, and packs again behind it."""
    file.seek(0)
    while len(head := file.read(4)) == 4:
        if not head.startswith(b"\0\0\1") or head[3] < _PROGRAM_END:
            return _holds(file, _PACK)
        if head[3] == _PROGRAM_END:
            continue
        if head == _PACK:
            rest = file.read(10)
            is_mpeg2 = rest[:1] >= b"\x40"
            file.seek(rest[-1] & 7 if is_mpeg2 and rest else -2, 1)
            continue
        length = int.from_bytes(file.read(2))
        if not length:
            return False  # to where the next one begins
        file.seek(length, 1)
    return False


def _nut(file: BinaryIO) -> bool:
    """Whether a point to begin at does not stand as far behind an earlier one as it says."""
    file.seek(0)
    points: set[int] = set()
    at, rest = 0, b""
    while chunk := file.read(_CHUNK):
        chunk, begin = rest + chunk, at - len(rest)
        at += len(chunk) - len(rest)
        place = chunk.find(_NUT_SYNCPOINT)
        while 0 <= place <= len(chunk) - 64:
            own, back = begin + place, _nut_distance(chunk[place + 8 : place + 64])
            if back and points and not any(own - 16 * back - late in points for late in range(16)):
                return True
            points.add(own)
            place = chunk.find(_NUT_SYNCPOINT, place + 8)
        rest = chunk[place:] if place >= 0 else chunk[-len(_NUT_SYNCPOINT) :]
    return False


def _nut_distance(packet: bytes) -> int:
    """By how many times 16 bytes a point to begin at says that the one stands before it that all begins from."""
    at = 0

    def number() -> int:
        nonlocal at
        value = 0
        while at < len(packet):
            value, at = value << 7 | packet[at] & 0x7F, at + 1
            if not packet[at - 1] & 0x80:
                break
        return value

    if number() > _NUT_LONG:
        at += 4
    number()  # its time
    return number()


def _avi(file: BinaryIO) -> bool:
    """Whether something else stands where a chunk should, and chunks of streams again behind it."""
    file.seek(0)
    while len(head := file.read(8)) == 8:
        if not _is_named(head[:4]):
            file.seek(-9, 1)  # some writers leave out the byte that makes lengths even
            head = file.read(8)
            if not _is_named(head[:4]):
                return any(_AVI_CHUNK.search(chunk) for chunk in _chunks(file))
        length = int.from_bytes(head[4:], "little")
        if head[:4] in (b"RIFF", b"LIST") and (kind := file.read(4)) not in _AVI_LISTS:
            file.seek(-len(kind), 1)
        elif head[:4] in (b"RIFF", b"LIST"):
            continue
        file.seek(length + length % 2, 1)
    return False


def _is_named(kind: bytes) -> bool:
    return all(32 <= byte < 127 for byte in kind)


def _boxes(file: BinaryIO) -> bool:
    """Of MP4 and MOV in fragments: whether the row of boxes ends where more fragments follow."""
    at = 0
    while len(head := file.read(16)) >= _BOX_HEAD:
        size, kind = int.from_bytes(head[:4]), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:])
        if size == 0 and _is_named(kind):
            return False  # to the end
        if size < _BOX_HEAD or not _is_named(kind):
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
    "mpeg": _program_stream,
    "asf": asf_is_torn,
    "nut": _nut,
    "avi": _avi,
    "matroska": matroska_is_torn,
    "ogg": _ogg,
    "gif": _gif,
    "flv": _flv,
}
