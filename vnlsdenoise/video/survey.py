"""One pass over a whole file before the work: its packets all, of its frames a few.

What shows only later in a film is known at the start: damage, times that start again, interlaced parts, captions.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vnlsdenoise.video.broken_off import breaks_off
from vnlsdenoise.video.container import decode_next, decoder_of, dumped, main_video, open_input, packets_of
from vnlsdenoise.video.pixels import range_of
from vnlsdenoise.video.side_data import kinds_of, names_of
from vnlsdenoise.video.sound import SoundForms
from vnlsdenoise.video.timeline import JumpFinder, Timeline, when
from vnlsdenoise.video.torn import is_torn

_BETWEEN_LOOKS = 0.2  # seconds between the frames that are decoded
# Of FFmpeg's tags of colour the one that says nothing, and what players take it for: ordinary television.
_UNSAID = {"primaries": 2, "transfer": 2, "matrix": 2, "range": 0}
_ORDINARY = {
    "primaries": {1, 4, 5, 6, 7},
    "transfer": {1, 4, 5, 6, 7, 13, 14, 15},
    "matrix": {1, 4, 5, 6, 7},
    "range": {1},
}
_FIELD_LOOKS = 8  # frames whose order of fields is asked for


@dataclass(frozen=True)
class Survey:
    """What a pass over a file found.

    packets: of the video. interlaced, progressive: of the frames looked at; interlaced_at: seconds of the first of the
    former; bottom_first: which lines of it were taken first. captions: whether frames carry some; side_data:
    what else they carry, in words.
    change: what becomes of size or pixel format within the file, "" for nothing. recolored: which tags of colour become
    others, and when; resounded: the same of codec and sample rate of sound. later: streams that show up only within
    the file, in FFmpeg's words. torn: a part of it between its ends cannot be read.
    decoding_order: time stamps are times of decoding, not of display. short_by: seconds missing at the end. cut: the
    file ends within a packet.
    """

    packets: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    interlaced: int = 0
    progressive: int = 0
    interlaced_at: float | None = None
    bottom_first: bool = False
    captions: bool = False
    side_data: tuple[str, ...] = ()
    change: str = ""
    decoding_order: bool = False
    short_by: float = 0.0
    cut: bool = False
    recolored: str = ""
    resounded: str = ""
    later: tuple[str, ...] = ()
    torn: bool = False


def survey(path: Path, index: int, rate: Fraction | None, colors: Mapping[str, int]) -> Survey:
    """Read all packets of a file and decode a key frame of its video stream `index` now and then; raises InputError.

    colors: what the first frame is tagged with, as `probe.ColorTags` has it.
    """
    with open_input(path) as container:
        stream = main_video(container, path, index)
        jumps = JumpFinder(index, container.format.name)
        ends, order = _Ends(container, stream, rate), _Order()
        looks = _Looks(decoder_of(stream), stream.time_base or Fraction(1, 1000), rate, colors)
        sounds = SoundForms(container)
        last: Packet[Stream] | None = None
        packets = 0
        try:
            for packet in packets_of(container):
                if not packet.size:
                    continue
                last = packet
                jumps.saw(packet)
                ends.saw(packet)
                sounds.saw(packet)
                if packet.stream_index == index:
                    packets += 1
                    order.saw(packet)
                    looks.saw(packet)
        except (av.FFmpegError, OSError):
            pass  # What cannot be read on is missing at the end.
        looks.close()
        timeline = jumps.timeline()
        torn = ends.lacks_frames(packets) or is_torn(path, container.format.name, bool(timeline))
        return Survey(
            packets,
            timeline,
            looks.interlaced,
            looks.progressive,
            looks.interlaced_at,
            looks.bottom > looks.top,
            looks.captions,
            names_of(looks.kinds),
            looks.change,
            looks.reordered and (container.format.name == "avi" or order.is_of_decoding()),
            0.0 if timeline else ends.short_by(),
            (last is not None and last.is_corrupt) or breaks_off(path, container.format.name, _end_of(last)),
            looks.recolored,
            sounds.change,
            _later(len(container.streams), dumped(container)),
            torn,
        )


def _later(known: int, words: Mapping[int, list[str]]) -> tuple[str, ...]:
    return tuple(lines[0].partition(": ")[2].partition(",")[0] for index, lines in words.items() if index >= known)


def _end_of(packet: "Packet[Stream] | None") -> int | None:
    """The byte of the file after a packet, None where it is not known."""
    return None if packet is None or packet.pos is None else packet.pos + packet.size


class _Looks:
    """Decodes a key frame now and then, by itself alone."""

    def __init__(
        self, decoder: VideoCodecContext, time_base: Fraction, rate: Fraction | None, colors: Mapping[str, int]
    ) -> None:
        self.interlaced = self.progressive = self.top = self.bottom = 0
        self.interlaced_at: float | None = None
        self.captions = self.reordered = False
        self.kinds: set[SideDataType] = set()
        self.change = self.recolored = ""
        self._decoder, self._time_base = decoder, time_base
        self._between = self._passed = max(1, round(_BETWEEN_LOOKS * (rate or 25)))
        self._first: tuple[int, int, str] | None = None
        self._colors = dict(colors)

    def saw(self, packet: "Packet[Stream]") -> None:
        # Counted in packets, because times may start again.
        self._passed += 1
        if packet.is_keyframe and self._passed >= self._between:
            self._passed = 0
            self._decode(packet)

    def _decode(self, packet: "Packet[Stream] | None") -> None:
        try:
            frames = decode_next(self._decoder, packet)
        except av.FFmpegError:
            return
        self.reordered |= getattr(self._decoder, "reorder_depth", 0) > 0
        for frame in frames:
            if not frame.is_corrupt:
                self._look(frame)

    def _look_at_colors(self, frame: VideoFrame) -> None:
        matrix = self._colors["matrix"] if frame.format.is_rgb else frame.colorspace  # RGB has none
        tags = {
            "primaries": frame.color_primaries,
            "transfer": frame.color_trc,
            "matrix": matrix,
            "range": range_of(frame),
        }
        others = [name for name, value in tags.items() if self._becomes_another(name, int(value))]
        if others and not self.recolored:
            self.recolored = f"{', '.join(others)}{when(frame.time)}"

    def _becomes_another(self, name: str, now: int) -> bool:
        before, unsaid = self._colors[name], _UNSAID[name]
        if before == unsaid:
            self._colors[name] = now
        guessed = unsaid in (before, now) and {before, now} - {unsaid} <= _ORDINARY[name]
        return now != before and not guessed

    def _look(self, frame: VideoFrame) -> None:
        frame.time_base = self._time_base  # which the last ones, out of the drained decoder, lack
        here = (frame.width, frame.height, frame.format.name)
        self._first = self._first or here
        if here != self._first and not self.change:
            before, now = (f"{width}x{height} {name}" for width, height, name in (self._first, here))
            self.change = f"from {before} to {now}{when(frame.time)}"
        self._look_at_colors(frame)
        kinds = kinds_of(frame)
        self.captions |= SideDataType.A53_CC in kinds
        self.kinds |= kinds
        if not frame.interlaced_frame:
            self.progressive += 1
            return
        self.interlaced += 1
        if self.interlaced_at is None:
            self.interlaced_at = frame.time
        if self.top + self.bottom < _FIELD_LOOKS:
            if top_first(frame):
                self.top += 1
            else:
                self.bottom += 1

    def close(self) -> None:
        self._decode(None)


def top_first(frame: VideoFrame) -> bool:
    """Whether the upper lines of an interlaced frame were taken first; PyAV itself tells only that there are fields."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("select", "eq(interlace_type,TOPFIRST)"), graph.add("buffersink")).configure()
    graph.push(frame)
    try:
        graph.pull()
    except (av.BlockingIOError, av.EOFError):
        return False
    return True


class _Order:
    """Tells whether a video has times of display of its own, or only such as were made of its times of decoding."""

    def __init__(self) -> None:
        self._offsets: set[int | None] = set()

    def saw(self, packet: "Packet[Stream]") -> None:
        if packet.dts is not None:
            self._offsets.add(None if packet.pts is None else packet.pts - packet.dts)

    def is_of_decoding(self) -> bool:
        """Whether the times of display were made of those of decoding, if frames are shown in another order."""
        return bool(self._offsets) and len(self._offsets - {None}) <= 1


class _Ends:
    """Where the streams really end, against where the container says they do."""

    def __init__(self, container: InputContainer, stream: VideoStream, rate: Fraction | None) -> None:
        self._container, self._stream, self._rate = container, stream, rate
        self._packets = 0
        self._video = self._all = self._gap = 0.0
        self._first: float | None = None
        self._last = 0.0
        self._open_ended = False

    def saw(self, packet: "Packet[Stream]") -> None:
        stamp = packet.dts if self._container.format.name == "avi" else packet.pts
        if stamp is None:
            return
        begin = float(stamp * packet.time_base)
        end = begin + float((packet.duration or 0) * packet.time_base)
        self._all = max(self._all, end)
        if packet.stream_index == self._stream.index:
            self._packets += 1
            self._gap = max(self._gap, begin - self._last) if self._first is not None else 0.0
            self._first = begin if self._first is None else min(self._first, begin)
            self._last = max(self._last, begin)
            self._video = max(self._video, end)
            self._open_ended = not packet.duration

    def lacks_frames(self, packets: int) -> bool:
        """Whether a container that counts its frames, at even times, has fewer than it says."""
        counted = self._stream.duration if self._container.format.name == "mxf" else None
        return counted is not None and packets < counted

    def short_by(self) -> float:
        """Seconds missing at the end; 0.0 within one and a half frames of the promised end."""
        stream, container = self._stream, self._container
        frame = float(1 / self._rate) if self._rate else 0.04
        # What FFmpeg calls the duration of a broadcast stream is made of the times that it finds, or another stream's.
        if container.format.name in ("mpegts", "mpeg") or (stream.frames and self._packets >= stream.frames):
            return 0.0
        promise = stream_duration(container, stream)
        if container.format.name == "avi" and stream.frames and self._rate:
            promise = float(stream.frames / self._rate)  # FFmpeg takes the duration of what there is
        # ASF promises every stream the length of the whole file.
        if promise is not None and container.format.name != "asf":
            name, first = container.format.name, self._first or 0.0
            # MP4 leaves what stands before zero out, Matroska counts from zero.
            origin = 0.0 if "matroska" in name else max(first, 0.0)
            missing = origin + promise - self._video
        elif container.duration is not None:
            # Without a promise for the video alone, any stream that reaches the end of the container will do.
            missing = (max(container.start_time or 0, 0) + container.duration) / 1_000_000 - self._all
        else:
            return 0.0
        slack = 1.5 * frame if stream.frames else max(3 * frame, 0.25)
        if self._open_ended:
            slack += self._gap  # The last frame may stand as long as any other did.
        return missing if missing > slack else 0.0


def stream_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds that the container promises for this one stream, None where it says nothing about it."""
    if stream.duration is not None and stream.time_base:
        return float(stream.duration * stream.time_base)
    # Matroska writers leave the length of every stream in a tag.
    tag = next((value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")), "")
    with suppress(ValueError):
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / 1_000_000
    return None
