"""ASF (.wmv, .asf): whether packets of it are none, or what they hold has gaps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_OBJECT_HEAD, _DATA_HEAD = 24, 50
_FIELD_BYTES = (0, 1, 2, 4)  # by the two bits that tell of a field
_LARGEST_PACKET = 1 << 20


@dataclass(frozen=True)
class _Payload:
    """A part of a media object: of `size` bytes (None: not told), those from `offset` up to `end`."""

    stream: int
    number: int
    offset: int
    end: int
    size: int | None


class _NoPacketError(Exception):
    """What stands where a packet should is none."""


def is_torn(file: BinaryIO) -> bool:
    """Whether something else stands where a packet should, or a media object lacks a part between others of it."""
    file.seek(0)
    head = file.read(_OBJECT_HEAD)
    if not head.startswith(_HEADER):
        return False
    header = file.read(int.from_bytes(head[16:24], "little") - _OBJECT_HEAD)
    at = header.find(_PROPERTIES)
    size, largest = (int.from_bytes(header[at + place : at + place + 4], "little") for place in (92, 96))
    data = file.read(_DATA_HEAD)
    if at < 0 or size != largest or not 0 < size < _LARGEST_PACKET or not data.startswith(_DATA):
        return False
    left = int.from_bytes(data[16:24], "little") - _DATA_HEAD
    open_ended = left <= 0  # of what was broadcast
    last: dict[int, _Payload] = {}
    while (open_ended or left >= size) and len(packet := file.read(size)) == size:
        left -= size
        try:
            for payload in _payloads(packet):
                if _lacks_a_part(last.get(payload.stream), payload):
                    return True
                last[payload.stream] = payload
        except (_NoPacketError, IndexError):
            # Behind what was broadcast stands what it is no longer known where it begins.
            return not open_ended
    return False


def _lacks_a_part(before: _Payload | None, now: _Payload) -> bool:
    if before is None or before.size is None or now.size is None:
        return False
    if now.number == before.number and now.offset:
        return now.offset != before.end
    return before.end < before.size or now.offset > 0


def _payloads(packet: bytes) -> Iterator[_Payload]:
    """The parts of media objects in a packet; raises _NoPacketError and IndexError where it is none."""
    at = 0

    def number(size: int) -> int:
        nonlocal at
        if at + size > len(packet):
            raise _NoPacketError
        at += size
        return int.from_bytes(packet[at - size : at], "little")

    if packet[0] & 0x80:  # error correction
        at = 1 + (packet[0] & 0x0F)
    lengths, fields = number(1), number(1)
    if fields >> 6 != 1:  # of the number of the stream, which always has one byte
        raise _NoPacketError
    total = number(_FIELD_BYTES[lengths >> 5 & 3]) or len(packet)
    number(_FIELD_BYTES[lengths >> 1 & 3])
    padding = number(_FIELD_BYTES[lengths >> 3 & 3])
    number(6)  # when it is sent, and for how long
    many = number(1) if lengths & 1 else None
    for _ in range(1 if many is None else many & 0x3F):
        stream = number(1) & 0x7F
        if not stream:
            raise _NoPacketError
        own, offset = number(_FIELD_BYTES[fields >> 4 & 3]), number(_FIELD_BYTES[fields >> 2 & 3])
        told = number(_FIELD_BYTES[fields & 3])
        size = int.from_bytes(packet[at : at + 4], "little") if told >= 8 else None
        number(told)
        length = total - padding - at if many is None else number(_FIELD_BYTES[many >> 6])
        if length < 0:
            raise _NoPacketError
        number(length)
        yield _Payload(stream, own, offset, offset + length, size)
