"""Checksums that codecs give their pictures, where FFmpeg's decoder shows what is wrong by none of its flags."""

import zlib

from av.packet import Packet
from av.stream import Stream

_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FOOTER = 8  # of a slice: 3 bytes of its length, one for errors, 4 of the checksum


def crc32_from_the_top(data: bytes) -> int:
    """CRC-32 with the polynomial of zlib, but from the other end of every byte, and from 0; its bits are turned."""
    return zlib.crc32(data.translate(_TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF


def turned(number: bytes) -> int:
    """Four bytes, the lowest first, as `crc32_from_the_top` gives such a number."""
    return int.from_bytes(number.translate(_TURNED), "big")


class SliceSums:
    """Which frames of FFV1 (RFC 9043, version 3) have slices that are not what their checksum says, by their times.

    Those that go on from such a frame, up to the next key frame, are as wrong.
    """

    def __init__(self) -> None:
        self._has_sums = self._goes_on = False
        self._wrong: set[int] = set()

    @staticmethod
    def of(codec: str) -> "SliceSums | None":
        """Those of a stream of FFV1, None for other codecs."""
        return SliceSums() if codec == "ffv1" else None

    def saw(self, packet: "Packet[Stream]") -> None:
        """Note one packet, which is one frame."""
        # Checksums may be left out, which shows by that no slice has one.
        is_right = _are_right(bytes(packet))
        self._has_sums |= is_right
        self._goes_on = not is_right or (self._goes_on and not packet.is_keyframe)
        if self._goes_on and packet.pts is not None:
            self._wrong.add(packet.pts)

    def is_wrong(self, pts: int | None) -> bool:
        """Whether the frame of this time is damaged."""
        return self._has_sums and pts in self._wrong


def _are_right(frame: bytes) -> bool:
    """Whether the slices of a frame, each of which tells its length at its end, are what their checksums say."""
    end = len(frame)
    while end >= _FOOTER:
        begin = end - _FOOTER - int.from_bytes(frame[end - _FOOTER : end - _FOOTER + 3])
        if begin < 0 or crc32_from_the_top(frame[begin:end]) != 0:
            return False
        end = begin
    return end == 0
