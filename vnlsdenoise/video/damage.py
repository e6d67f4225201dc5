"""What is wrong with an input, and which frames of it are missing."""

import heapq
from dataclasses import dataclass, field
from fractions import Fraction

from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

# A packet of MPEG-4 that says only "as before" (a VOP that is not coded) is no longer than this.
_EMPTY_VOP = 16
# The second of two fields that come in packets of their own stands half a frame after the first.
_HALF_A_FRAME = Fraction(3, 4)


@dataclass
class Damage:
    """What was wrong with an input.

    corrupt: frames that the decoder flagged; undecodable: packets it refused; lost: packets it took without giving
    their frames; short_by: seconds missing at the end; cut: the file ends within a packet; torn: a part of it between
    its ends cannot be read. frames: (first, last) of
    every run of frames, counted from 0, that stand in for damaged ones or are damaged themselves.
    """

    corrupt: int = 0
    undecodable: int = 0
    short_by: float = 0.0
    lost: int = 0
    cut: bool = False
    torn: bool = False
    frames: list[tuple[int, int]] = field(default_factory=list, compare=False)

    def note(self, number: int) -> None:
        """Note a frame of the output that does not show what the input should have held."""
        if self.frames and self.frames[-1][1] == number - 1:
            self.frames[-1] = (self.frames[-1][0], number)
        else:
            self.frames.append((number, number))

    def __bool__(self) -> bool:
        return bool(self.corrupt or self.undecodable or self.short_by or self.lost or self.cut or self.torn)

    def __str__(self) -> str:
        parts = []
        if self.corrupt:
            parts.append(f"{self.corrupt} corrupt frame(s) replaced by the frame before")
        if self.undecodable:
            parts.append(f"{self.undecodable} undecodable packet(s)")
        if self.lost:
            parts.append(f"{self.lost} frame(s) missing")
        if self.torn:
            parts.append("a part of the file cannot be read, and what it held is missing")
        if self.short_by:
            parts.append(f"the last {self.short_by:.2f} s are missing")
        elif self.cut:
            parts.append("the file was cut off within a packet")
        return ", ".join(parts) or "none"


class Expected:
    """The frames that the packets of a video promise: one each, at the packet's time, unless the packet shows none."""

    def __init__(self, codec: str, step: int) -> None:
        self._codec, self._step = codec, step
        self.packets = 0  # that should give a frame
        self._waiting: list[int] = []
        self._before: int | None = None
        self._fields = False

    def saw(self, packet: "Packet[Stream]") -> None:
        """Take note of one packet that goes to the decoder."""
        if packet.is_discard or (self._codec == "mpeg4" and packet.size <= _EMPTY_VOP):
            return
        self.packets += 1
        if packet.pts is not None:
            heapq.heappush(self._waiting, packet.pts)

    def missing_before(self, frame: VideoFrame) -> list[int]:
        """Times of the frames that should have come between the frame before and this one."""
        if frame.pts is None:
            return []
        passed = []
        while self._waiting and self._waiting[0] <= frame.pts:
            passed.append(heapq.heappop(self._waiting))
        # What stands before the first frame cannot be decoded without what was before the file.
        # VP8 keeps pictures that only others refer to next to one that is shown.
        near = frame.pts - self._step // 2 if self._codec == "vp8" else frame.pts
        missing = [pts for pts in passed if pts < near and self._before is not None and not self._is_field(pts)]
        self._before, self._fields = frame.pts, frame.interlaced_frame
        return missing

    def missing_at_end(self) -> list[int]:
        """Times of the frames that should have come after the last one."""
        if self._before is None:
            return []
        missing = [pts for pts in sorted(self._waiting) if pts > self._before and not self._is_field(pts)]
        self._waiting.clear()
        return missing

    def _is_field(self, pts: int) -> bool:
        assert self._before is not None
        beside = self._step // 2 if self._codec == "vp8" else _HALF_A_FRAME * self._step if self._fields else 0
        return pts == self._before or pts - self._before < beside
