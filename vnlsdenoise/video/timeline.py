"""Time that goes on: files whose time stamps start again in the middle, or lack an order, read as one film."""

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

from av.format import ContainerFormat, Flags
from av.packet import Packet
from av.stream import Stream

# Decoding times never fall. What falls by less is left to `Clock`; what rises by more in a broadcast stream, where
# times run on without gaps, has started again as well (ffmpeg's own limit).
_FALLS_BY, _RISES_BY = Fraction(1, 10), Fraction(10)
# A later time is none but damage. Both: ticks beyond are not exact in the arithmetic of others, nor would sums fit.
_LATEST_TICK, _LATEST_SECOND = 1 << 52, 1 << 33
_COARSEST_TICK = Fraction(1, 1000)  # seconds, of the containers that are written
_RUNS_ON = {"mpegts", "mpeg"}
# Streams that start again at one place jump by about the same: each ends at a moment of its own.
_TOGETHER = Fraction(3, 2)


def when(seconds: float | None) -> str:
    """A moment for a reader, "" where streams tell none."""
    return "" if seconds is None else f" at about {seconds:.2f} s"


@dataclass(frozen=True)
class Timeline:
    """Where time stamps start again.

    turns: for the index of every stream, pairs of (number of the first packet, seconds that are added from it on).
    jumps: seconds by which the stamps jumped at each place, in the order of the file.
    """

    turns: dict[int, tuple[tuple[int, Fraction], ...]] = field(default_factory=dict)
    jumps: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.jumps)

    def __str__(self) -> str:
        told = ", ".join(f"by {seconds:+.2f} s" for seconds in self.jumps[:3]) + (", .." if len(self.jumps) > 3 else "")
        return f"time stamps jump {len(self.jumps)} time(s) ({told}); what follows was moved, all streams together"


class TimeKeeper:
    """Moves the packets of one pass over a file as its timeline says; all of them, in the order of the file."""

    def __init__(self, timeline: Timeline) -> None:
        self._turns = {index: list(turns) for index, turns in timeline.turns.items()}
        self._seen: Counter[int] = Counter()
        self._added: dict[int, Fraction] = {}

    def move(self, packet: "Packet[Stream]") -> None:
        """Add to the packet's time stamps what they lack."""
        index = packet.stream_index
        turns = self._turns.get(index)
        while turns and turns[0][0] <= self._seen[index]:
            self._added[index] = turns.pop(0)[1]
        self._seen[index] += 1
        if added := self._added.get(index):
            ticks = round(added / packet.time_base)
            packet.pts = _moved(packet.pts, ticks)
            packet.dts = _moved(packet.dts, ticks)


def _moved(stamp: int | None, ticks: int) -> int | None:
    return None if stamp is None or max(abs(stamp), abs(stamp + ticks)) > _LATEST_TICK else stamp + ticks


@dataclass
class _Track:
    """One stream as far as it was read. step: between its last two packets; shown: the end of what is shown of it."""

    packets: int = 0
    last: Fraction | None = None
    step: Fraction = Fraction(0)
    shown: Fraction | None = None

    def lacks_to_show(self, packet: "Packet[Stream]") -> Fraction:
        """What the time of display of a new beginning lacks to follow what was shown: it may be decoded later."""
        if self.shown is None or packet.pts is None:
            return Fraction(0)
        return self.shown - packet.pts * packet.time_base


def _duration(packet: "Packet[Stream]") -> Fraction:
    return (packet.duration or 0) * packet.time_base


@dataclass
class _Jump:
    """One place where streams start again. lacks: what the first new stamp of each lacks to follow its last."""

    by: Fraction
    starts: dict[int, int]
    lacks: dict[int, Fraction]


class JumpFinder:
    """Fed with all packets of a file in order, finds its timeline. main: the stream that the sparse ones follow."""

    def __init__(self, main: int, container: str) -> None:
        self._main = main
        self._forward = bool(_RUNS_ON & set(container.split(",")))
        self._tracks: dict[int, _Track] = {}
        self._jumps: list[_Jump] = []

    def saw(self, packet: "Packet[Stream]") -> None:
        """Take note of one packet."""
        if packet.stream_index not in self._tracks:
            self._tracks[packet.stream_index] = _Track()
            if packet.stream.type not in ("video", "audio"):
                self._follow(packet.stream_index, self._jumps)
        track = self._tracks[packet.stream_index]
        number, track.packets = track.packets, track.packets + 1
        # Times of display rise and fall; some demuxers do not know those of decoding of the first packets.
        if packet.dts is None or packet.stream.type not in ("video", "audio"):
            return
        if abs(packet.dts * packet.time_base) > _LATEST_SECOND:
            return
        now = packet.dts * packet.time_base
        if track.last is not None:
            step = now - track.last
            if step < -_FALLS_BY or (self._forward and step > _RISES_BY):
                end = track.last + (_duration(packet) or track.step)
                self._jumped(packet.stream_index, number, now - end, max(end - now, track.lacks_to_show(packet)))
                track.shown = None
            elif step > 0:
                track.step = step
        track.last = now
        if packet.pts is not None:
            shown = packet.pts * packet.time_base + (_duration(packet) or track.step)
            track.shown = shown if track.shown is None else max(track.shown, shown)

    def _jumped(self, index: int, number: int, by: Fraction, lacks: Fraction) -> None:
        for jump in self._jumps[-2:]:
            if index not in jump.starts and abs(jump.by - by) < _TOGETHER:
                break
        else:
            jump = _Jump(by, {}, {})
            self._jumps.append(jump)
        jump.starts[index], jump.lacks[index] = number, lacks
        if index == self._main:
            for other, track in self._tracks.items():
                if track.last is None:
                    self._follow(other, [jump])

    def _follow(self, index: int, jumps: list[_Jump]) -> None:
        """Move a stream of few packets, which do not show where it starts again, where the main one is moved."""
        for jump in jumps:
            if self._main in jump.starts:
                jump.starts[index] = self._tracks[index].packets

    def timeline(self) -> Timeline:
        """What was found."""
        turns: dict[int, list[tuple[int, Fraction]]] = {}
        added: dict[int, Fraction] = {}
        for jump in self._jumps:
            # The stream that would overlap most decides for all, so that sound and picture stay together.
            shift = max(lack + added.get(index, Fraction(0)) for index, lack in jump.lacks.items())
            for index, number in jump.starts.items():
                turns.setdefault(index, []).append((number, shift))
                added[index] = shift
        jumps = tuple(float(jump.by) for jump in self._jumps)
        return Timeline({index: tuple(found) for index, found in turns.items()}, jumps)


class PacketOrder:
    """Puts packets of a stream that run backwards in time right after the one before: muxers take no others.

    container: that they are written to. late: how many did.
    """

    def __init__(self, stream: Stream, container: ContainerFormat) -> None:
        self.late = 0
        # Subtitles may be shown at one time. Ticks of Matroska are longer than some packets of sound (TrueHD), which
        # then stand at one time, and were they told apart their times would run away from the picture's.
        self._together = stream.type not in ("audio", "video") or _takes_equal_times(container)
        self._last: int | None = None

    def put(self, packet: "Packet[Stream]") -> None:
        """Give the next packet a time that a muxer takes."""
        if packet.dts is None:
            return
        last = self._last
        if last is not None and (packet.dts < last or (packet.dts == last and not self._together)):
            packet.dts = last + math.ceil(_COARSEST_TICK / packet.time_base)
            packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
            self.late += 1
        self._last = packet.dts


def _takes_equal_times(container: ContainerFormat) -> bool:
    return bool(container.flags & cast(int, Flags.ts_nonstrict.value))


class DisplayOrder:
    """Time stamps for frames in the order in which they are shown, where packets have only times of decoding.

    Frames are shown at the moments at which packets are decoded, only in another order. What FFmpeg calls the time of
    display is then made up, and in AVI, which knows no such time, late by the frames that are reordered.
    """

    def __init__(self, container: str) -> None:
        self._made_up = container == "avi"
        self._waiting: list[int] = []

    def saw(self, packet: "Packet[Stream]") -> None:
        """Take note of one packet of the video."""
        stamp = packet.dts if packet.pts is None or self._made_up else packet.pts
        if stamp is not None:
            heapq.heappush(self._waiting, stamp)

    def next(self) -> int | None:
        """The time of the next frame that is shown."""
        return heapq.heappop(self._waiting) if self._waiting else None


class Clock:
    """Gives every frame a time stamp later than the one before.

    step: ticks between frames where none are known. time_base: seconds of a tick.
    """

    def __init__(self, step: int, time_base: Fraction, warnings: list[str]) -> None:
        self._step = step
        self._latest = min(_LATEST_TICK, int(_LATEST_SECOND / time_base))
        self._warnings = warnings
        self._last: int | None = None
        self._warned = self._made_up = False

    def stamp(self, pts: int | None) -> int:
        """The time stamp to use for a frame that has `pts`."""
        last = self._last
        if pts is not None and abs(pts) > self._latest:
            pts = None
        if pts is None or (self._made_up and last is not None and pts <= last):
            # Where some frames have no time that of another one may stand at the wrong frame.
            self._made_up = True
            pts = 0 if last is None else last + self._step
            self._warn("the input lacks time stamps; they were made up from its frame rate")
        elif last is not None and pts <= last:
            pts = last + 1
            self._warn(
                "time stamps of the input repeat or run backwards; those frames were put one tick after the one before"
            )
        self._last = pts
        return pts

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warnings.append(text)
            self._warned = True
