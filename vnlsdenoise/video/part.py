"""A part of a film: its frames, and what stands beside them in the same time."""

import bisect
import re
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from av.packet import Packet
from av.stream import Stream

from vnlsdenoise.errors import UsageError
from vnlsdenoise.video.container import is_still, main_video, open_input, packets_of
from vnlsdenoise.video.damage import Damage
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.pipes import PipeReader
from vnlsdenoise.video.probe import Cut, VideoInfo
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.timeline import TimeKeeper

if TYPE_CHECKING:
    from av.container.core import Chapter


@dataclass(frozen=True)
class Part:
    """What is wanted of a film: seconds from its first frame, or numbers of frames from 0; ends are not included."""

    start: Fraction | None = None
    end: Fraction | None = None
    frames: tuple[int, int | None] | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and (self.start is not None or self.end is not None):
            raise UsageError("--frames and --start or --end both say which part is meant; give one of them")
        if self.end is not None and self.end <= (self.start or 0):
            raise UsageError(f"--end {float(self.end):g} is not after the start; nothing would be left")

    def __bool__(self) -> bool:
        return (self.start, self.end, self.frames) != (None, None, None)


def cut_out(reader: Any, part: Part) -> VideoInfo:
    """The facts of the part of what `reader` reads; raises UsageError where there is nothing of it.

    The frames of the whole film are looked through for their times, in a file by its packets where these tell them.
    """
    info: VideoInfo = reader.info
    if isinstance(reader, PipeReader):
        return replace(info, cut=_even_cut(info, part))
    times = _times(reader)
    if part.frames is not None:
        first, end = part.frames
        end = len(times) if end is None else min(end, len(times))
    else:
        first = bisect.bisect_left(times, times[0] + _ticks(part.start or Fraction(0), info))
        end = len(times) if part.end is None else bisect.bisect_left(times, times[0] + _ticks(part.end, info))
    if first >= end:
        raise _nothing_of(info, len(times), times[-1] - times[0])
    cut = Cut(times[first], times[end] if end < len(times) else None, times[first] - times[0])
    seconds = float((times[end - 1] - times[first]) * info.time_base) + (float(1 / info.rate) if info.rate else 0.0)
    return replace(info, cut=cut, frames=end - first, duration=seconds)


def _nothing_of(info: VideoInfo, count: int, length: int) -> UsageError:
    return UsageError(
        f"{info.path} has {count} frames, the last one at {float(length * info.time_base):.2f} s; nothing of it is in "
        "the part that --start, --end or --frames name; choose another"
    )


def _ticks(seconds: Fraction, info: VideoInfo) -> int:
    # Upwards: a frame that stands at the very moment, rounded to a tick, belongs to what follows.
    return -(-seconds // info.time_base) if seconds else 0


def _even_cut(info: VideoInfo, part: Part) -> Cut:
    """Of frames that come one a tick, of which the last one is not known."""
    step = round(1 / ((info.rate or 25) * info.time_base)) or 1
    if part.frames is not None:
        first, end = part.frames
        return Cut(first * step, None if end is None else end * step, first * step)
    begin = _ticks(part.start or Fraction(0), info)
    return Cut(begin, None if part.end is None else _ticks(part.end, info), begin)


def _times(reader: Any) -> list[int]:
    """The time of every frame, in order."""
    if isinstance(reader, VideoReader) and not reader.info.survey.decoding_order and not reader.info.interlaced:
        found = _packet_times(reader.path, reader.info)
        if found:
            return found
    # Only the frames themselves tell. The reader is not used up: another one reads for the work.
    return [frame.pts for frame in reader]


def _packet_times(path: Path, info: VideoInfo) -> list[int]:
    """The times of all packets of the video, sorted; nothing where not all have one of their own."""
    keeper = TimeKeeper(info.survey.timeline)
    times: list[int] = []
    with open_input(path) as container:
        stream = main_video(container, path, info.index)
        for packet in packets_of(container):
            if packet.size:
                keeper.move(packet)
                if packet.stream_index == stream.index and not packet.is_discard:
                    if packet.pts is None:
                        return []
                    times.append(packet.pts)
    return sorted(times) if len(set(times)) == len(times) else []


@dataclass
class PartReader:
    """Iterate over the part of what another reader reads that its `info.cut` says; same face. Raises UsageError where a
    pipe has ended before it.

    Time stamps are moved so that the part begins when the whole did.
    """

    whole: Any

    def __post_init__(self) -> None:
        self.info: VideoInfo = self.whole.info
        self.path: Path = self.whole.path

    @property
    def damage(self) -> Damage:
        """Of the whole, as far as it was read."""
        found: Damage = self.whole.damage
        return found

    @property
    def warnings(self) -> list[str]:
        """Of the whole."""
        found: list[str] = self.whole.warnings
        return found

    def __iter__(self) -> Iterator[Frame]:
        cut = self.info.cut
        assert cut is not None
        count = last = 0
        for frame in self.whole:
            count, last = count + 1, frame.pts
            if cut.end is not None and last >= cut.end:
                return
            if last >= cut.begin:
                frame.pts -= cut.shift
                yield frame
        # Of what comes through a pipe nobody knows the end before it is there.
        if isinstance(self.whole, PipeReader) and last < cut.begin and not self.whole.stop.is_set():
            raise _nothing_of(self.info, count, last)


class StreamCut:
    """What stands beside a part of a film, moved with it. timecode_rate: frames a second that its time code counts."""

    def __init__(self, cut: Cut, time_base: Fraction, timecode_rate: Fraction | None = None) -> None:
        self._timecode_rate = timecode_rate
        self._begin, self._shift = cut.begin * time_base, cut.shift * time_base
        self._end = None if cut.end is None else cut.end * time_base

    def keeps(self, packet: "Packet[Stream]") -> bool:
        """Whether a packet is in the part; it is moved, and one of text that reaches beyond is shortened."""
        base = packet.time_base
        if is_still(packet.stream):  # A cover is of every part.
            packet.pts = packet.dts = round((self._begin - self._shift) / base)
            return True
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            return False
        first, last = stamp * base, (stamp + (packet.duration or 0)) * base
        if self._end is not None and first >= self._end:
            return False
        shift = round(self._shift / base)
        if first < self._begin:
            # Sound goes by whole packets; a title that is on the screen stays there.
            if packet.stream.type != "subtitle" or last <= self._begin:
                return False
            begin = -(-self._begin // base)
            packet.duration, packet.pts = int(last / base) - begin, begin
            packet.dts = begin
        if packet.stream.type == "subtitle" and self._end is not None and last > self._end:
            packet.duration = int(self._end // base) - (packet.pts or 0)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        return True

    def move_timecode(self, tags: MutableMapping[str, str]) -> None:
        """Have the time code among the tags of a film say when the part begins."""
        rate = self._timecode_rate
        for name in [name for name in tags if name.lower() == "timecode"]:
            if rate is not None:
                tags[name] = later_timecode(tags[name], round(self._shift * rate), round(rate))

    def chapters(self, whole: "list[Chapter]") -> "list[Chapter]":
        """The chapters that reach into the part, shortened to it."""
        found = []
        for chapter in whole:
            base, begin, end = chapter["time_base"], chapter["start"], chapter["end"]
            if base is None or begin is None or end is None:
                continue
            first = max(begin * base, self._begin)
            last = end * base if self._end is None else min(end * base, self._end)
            if first < last:
                start, stop = (round((time - self._shift) / base) for time in (first, last))
                found.append(cast("Chapter", {**chapter, "start": start, "end": stop}))
        return found


def later_timecode(code: str, frames: int, rate: int) -> str:
    """A time code hh:mm:ss:ff of so many frames a second that much later; as it is where it is none, or rate is 0.

    Those with a semicolon leave out two frame numbers of 30 a second in every minute but the tenth (SMPTE 12M).
    """
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d)([:;.])(\d+)", code)
    if match is None or rate == 0:
        return code
    hours, minutes, seconds, number = (int(match[group]) for group in (1, 2, 3, 5))
    drops = 2 * rate // 30 if match[4] != ":" and rate % 30 == 0 else 0
    minutes += 60 * hours
    count = (60 * minutes + seconds) * rate + number - drops * (minutes - minutes // 10) + frames
    tens, rest = divmod(count, 600 * rate - 9 * drops)
    count += 9 * drops * tens + drops * (max(rest - drops, 0) // (60 * rate - drops))
    seconds, number = divmod(count, rate)
    return f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{match[4]}{number:02d}"
