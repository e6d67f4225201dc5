"""Checksums that codecs give their pictures, where FFmpeg's decoder shows what is wrong by none of its flags."""

import hashlib
import zlib
from typing import Protocol

import numpy as np
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from vnlsdenoise.video.frame import Plane
from vnlsdenoise.video.pixels import unpack

_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FOOTER = 8  # of a slice: 3 bytes of its length, one for errors, 4 of the checksum
_HASH_MESSAGE = b"\x50\x01\x84"  # of HEVC: a suffix message (SEI), of a hash of the decoded picture
_MD5, _CHECKSUM = 0, 2
_HASH_BYTES = {_MD5: 16, _CHECKSUM: 4}
_LONGEST_MESSAGE = 100
_TRIED = 8  # pictures, none of which is what its hash says: it is not of what the decoder gives


def crc32_from_the_top(data: bytes) -> int:
    """CRC-32 with the polynomial of zlib, but from the other end of every byte, and from 0; its bits are turned."""
    return zlib.crc32(data.translate(_TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF


def turned(number: bytes) -> int:
    """Four bytes, the lowest first, as `crc32_from_the_top` gives such a number."""
    return int.from_bytes(number.translate(_TURNED), "big")


class Sums(Protocol):
    """Checksums of one stream."""

    def saw(self, packet: "Packet[Stream]") -> None:
        """Note one packet, before it is decoded."""

    def is_wrong(self, decoded: VideoFrame) -> bool:
        """Whether a decoded frame is damaged."""


def sums_of(codec: str) -> Sums | None:
    """The checksums that a stream of this codec may have, None where none are known."""
    if codec == "ffv1":
        return SliceSums()
    return PictureHashes() if codec == "hevc" else None


class SliceSums:
    """Which frames of FFV1 (RFC 9043, version 3) have slices that are not what their checksum says, by their times.

    Those that go on from such a frame, up to the next key frame, are as wrong.
    """

    def __init__(self) -> None:
        self._has_sums = self._goes_on = False
        self._wrong: set[int] = set()

    def saw(self, packet: "Packet[Stream]") -> None:
        """Note one packet, which is one frame."""
        # Checksums may be left out, which shows by that no slice has one.
        is_right = _are_right(bytes(packet))
        self._has_sums |= is_right
        self._goes_on = not is_right or (self._goes_on and not packet.is_keyframe)
        if self._goes_on and packet.pts is not None:
            self._wrong.add(packet.pts)

    def is_wrong(self, decoded: VideoFrame) -> bool:
        """Whether the frame of this time is damaged."""
        return self._has_sums and decoded.pts in self._wrong


class PictureHashes:
    """Which pictures of HEVC are not what the hash says that its encoder gave them (MD5 or checksum), if it did."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, list[bytes]]] = {}
        self._right = self._wrong = 0

    def saw(self, packet: "Packet[Stream]") -> None:
        """Note one packet, which is one picture."""
        found = _hashes(bytes(packet))
        if found is not None and packet.pts is not None and (self._right or self._wrong < _TRIED):
            self._told[packet.pts] = found

    def is_wrong(self, decoded: VideoFrame) -> bool:
        """Whether the picture of this time is another one; never where none was right, as of those that are cropped."""
        told = self._told.pop(decoded.pts, None) if decoded.pts is not None else None
        if told is None:
            return False
        kind, hashes = told
        planes = unpack(decoded)[0]
        if len(hashes) != len(planes):
            return False
        made = _md5 if kind == _MD5 else _checksum
        is_right = all(made(plane) == hash for plane, hash in zip(planes, hashes, strict=True))
        self._right, self._wrong = self._right + is_right, self._wrong + (not is_right)
        return not is_right and self._right > 0


def _hashes(packet: bytes) -> tuple[int, list[bytes]] | None:
    """The kind of the hashes of a picture, and one of each of its planes."""
    at = packet.rfind(_HASH_MESSAGE)
    if at < 0:
        return None
    message = packet[at + len(_HASH_MESSAGE) : at + _LONGEST_MESSAGE].replace(b"\0\0\3", b"\0\0")
    length, kind, content = message[0], message[1], message[2:]
    size = _HASH_BYTES.get(kind)
    if size is None or (length - 1) % size or len(content) < length - 1:
        return None
    return kind, [content[place : place + size] for place in range(0, length - 1, size)]


def _md5(plane: Plane) -> bytes:
    return hashlib.md5(np.ascontiguousarray(plane).data, usedforsecurity=False).digest()


def _checksum(plane: Plane) -> bytes:
    rows, columns = (np.arange(length) for length in plane.shape)
    mask = ((rows & 255 ^ rows >> 8)[:, None] ^ (columns & 255 ^ columns >> 8)).astype(np.uint8)
    total = sum(int((part ^ mask).sum(dtype=np.uint64)) for part in _bytes_of(plane))
    return (total & 0xFFFFFFFF).to_bytes(4)


def _bytes_of(plane: Plane) -> list[Plane]:
    """The lower bytes of the samples, and the upper ones where they have two."""
    return [plane] if plane.dtype == np.uint8 else [plane.astype(np.uint8), (plane >> 8).astype(np.uint8)]


def _are_right(frame: bytes) -> bool:
    """Whether the slices of a frame, each of which tells its length at its end, are what their checksums say."""
    end = len(frame)
    while end >= _FOOTER:
        begin = end - _FOOTER - int.from_bytes(frame[end - _FOOTER : end - _FOOTER + 3])
        if begin < 0 or crc32_from_the_top(frame[begin:end]) != 0:
            return False
        end = begin
    return end == 0
