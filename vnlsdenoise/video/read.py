"""Decode a video file into frames of native planes, and keep count of what was damaged."""

import heapq
from collections.abc import Iterator
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vnlsdenoise.errors import DeviceError, InputError
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.pixels import layout_of, unpack
from vnlsdenoise.video.probe import VideoInfo, main_video, open_input, probe

Interlaced = Literal["error", "fields", "ignore"]
"""What to do with frames of two fields."""
Decoder = Literal["cpu", "gpu"]
MAX_FAILURES_IN_A_ROW = 32
"""So many undecodable packets without one good frame between them end the run."""
_LINEAR_LIMIT = 64
_DECODE_AFTER_SEEK = 48


@dataclass
class Damage:
    """What was wrong with an input.

    corrupt: frames that the decoder flagged; undecodable: packets it refused; short_by: seconds missing at the end.
    """

    corrupt: int = 0
    undecodable: int = 0
    short_by: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.corrupt or self.undecodable or self.short_by)

    def __str__(self) -> str:
        parts = []
        if self.corrupt:
            parts.append(f"{self.corrupt} corrupt frame(s) replaced by the frame before")
        if self.undecodable:
            parts.append(f"{self.undecodable} undecodable packet(s)")
        if self.short_by:
            parts.append(f"the last {self.short_by:.2f} s are missing")
        return ", ".join(parts) or "none"


@dataclass
class VideoReader:
    """Iterate once over the frames of a video file, in display order and with strictly increasing pts.

    interlaced: "error" raises InputError at the first interlaced frame; "ignore" and "fields" take frames as they are,
    the latter for those who split them (`video.fields`).
    on_damage: "conceal" repeats the last good frame for a damaged one and counts it in `damage`; "fail" raises.
    decoder: "gpu" decodes on an NVIDIA GPU or raises DeviceError. The samples are the same; damage within a frame goes
    unnoticed there.
    known: what an earlier `probe` of the file found, which is then not done again.
    `warnings` fills while iterating. Alpha travels in `Frame.extra["alpha"]` as a plane of the luma's shape.
    """

    path: Path
    interlaced: Interlaced = "error"
    on_damage: Literal["conceal", "fail"] = "conceal"
    decoder: Decoder = "cpu"
    damage: Damage = field(default_factory=Damage)
    warnings: list[str] = field(default_factory=list)
    known: InitVar[VideoInfo | None] = None

    def __post_init__(self, known: VideoInfo | None) -> None:
        self.info: VideoInfo = known or probe(self.path)
        if self.info.interlaced:
            self._refuse_interlaced()

    def _refuse_interlaced(self) -> None:
        if self.interlaced == "error":
            raise InputError(
                f"{self.path} is interlaced; its frames hold two moments each, which denoising would smear; "
                "give --interlaced fields to denoise each field among its like, or ignore to treat frames as they are"
            )

    def __iter__(self) -> Iterator[Frame]:
        clock = _Clock(self)
        good: Frame | None = None
        with open_input(self.path, gpu=self.decoder == "gpu") as container:
            stream = main_video(container, self.path)
            stream.thread_type = "AUTO"
            for decoded, pts in self._decode(container, stream):
                if decoded is not None and decoded.is_corrupt:
                    self.damage.corrupt += 1
                    self._fail_on_damage(f"the frame at {_seconds(pts, stream)} is corrupt")
                if decoded is None or (decoded.is_corrupt and good is not None):
                    if good is None:
                        continue
                    frame = Frame(good.planes, pts, good.duration, dict(good.extra))
                else:
                    frame = good = self._frame(decoded)
                yield clock.stamp(frame)
            if good is None:
                raise InputError(
                    f"no frame of {self.path} could be decoded; the video stream is damaged; recover the file first"
                )

    def _frame(self, decoded: VideoFrame) -> Frame:
        if decoded.interlaced_frame:
            self._refuse_interlaced()
        shape = self.info.format
        # A GPU gives the samples in an order of its own (nv12, p010le).
        same = decoded.format.name == self.info.pix_fmt or self.decoder == "gpu"
        if not same or layout_of(decoded.format.name).plane_format(decoded.width, decoded.height) != shape:
            raise InputError(
                f"{self.path} changes from {shape.width}x{shape.height} {self.info.pix_fmt} "
                f"to {decoded.width}x{decoded.height} {decoded.format.name} at {decoded.time} s; "
                "one output cannot hold both; split the file there first"
            )
        planes, alpha = unpack(decoded)
        extra = {} if alpha is None else {"alpha": alpha}
        return Frame(planes, decoded.pts, decoded.duration or None, extra)

    def _fail_on_damage(self, what: str) -> None:
        if self.on_damage == "fail":
            raise InputError(
                f"{self.path} is damaged: {what}; stopped by --on-damage fail; give --on-damage conceal to go on"
            )

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[VideoFrame | None, int | None]]:
        """Decoded frames with their pts; (None, pts) stands where a refused packet should have given a frame."""
        waiting: list[int] = []
        owed = in_a_row = 0
        any_frame = False
        ends = _Ends(stream)
        for packet in container.demux():
            ends.saw(packet)
            if packet.stream_index != stream.index or (packet.size == 0 and packet.dts is not None):
                continue
            if packet.pts is not None and not packet.is_discard:
                heapq.heappush(waiting, packet.pts)
            try:
                frames = stream.decode(packet)
            except av.FFmpegError as error:
                if isinstance(error, av.error.EOFError):
                    continue
                if self.decoder == "gpu" and not any_frame:
                    raise DeviceError(
                        f"the GPU does not decode {self.path} ({self.info.codec}, {self.info.pix_fmt}); {error}; "
                        "use --decoder cpu"
                    ) from error
                self.damage.undecodable += 1
                owed, in_a_row = owed + 1, in_a_row + 1
                self._fail_on_damage(f"the packet at {_seconds(packet.pts, stream)} does not decode")
                if in_a_row > MAX_FAILURES_IN_A_ROW:
                    raise InputError(
                        f"{self.path} cannot be decoded on from {_seconds(packet.pts, stream)}; "
                        f"{in_a_row} packets in a row failed; recover the file first"
                    ) from error
                continue
            for frame in frames:
                in_a_row, any_frame = 0, True
                while waiting and frame.pts is not None and waiting[0] <= frame.pts:
                    pts = heapq.heappop(waiting)
                    if pts < frame.pts and owed:
                        owed -= 1
                        yield None, pts
                yield frame, frame.pts
        while owed and waiting:
            owed -= 1
            yield None, heapq.heappop(waiting)
        self.damage.short_by = ends.short_by(container, self.info)
        if self.damage.short_by:
            self._fail_on_damage(f"it ends {self.damage.short_by:.2f} s before its container says")

    def sample(self, places: int) -> list[tuple[Frame, Frame]]:
        """Pairs of neighbouring frames from at most so many places of the file; a lone frame is its own neighbour.

        Long files are sought, short ones read through.
        """
        total = self.info.frames
        if total is None or total <= _LINEAR_LIMIT or self.info.duration is None:
            return self._sample_linear(places, min(total or _LINEAR_LIMIT, _LINEAR_LIMIT))
        found: dict[int, tuple[Frame, Frame]] = {}
        with open_input(self.path) as container:
            stream = main_video(container, self.path)
            start = stream.start_time or 0
            for part in range(places):
                target = start + int(self.info.duration * (part + 0.5) / places / self.info.time_base)
                try:
                    container.seek(target, stream=stream)
                    one, other = self._decode_to(container, stream, target)
                except av.FFmpegError:
                    continue
                if one is not None and other is not None and one.pts is not None:
                    found[one.pts] = self._frame(one), self._frame(other)
        return [found[pts] for pts in sorted(found)] or self._sample_linear(places, _LINEAR_LIMIT)

    def _decode_to(
        self, container: InputContainer, stream: VideoStream, target: int
    ) -> tuple[VideoFrame | None, VideoFrame | None]:
        """The frame at `target` and the next, or the last two before it."""
        before: VideoFrame | None = None
        now: VideoFrame | None = None
        for index, decoded in enumerate(container.decode(stream)):
            if decoded.is_corrupt:
                continue
            before, now = now, decoded
            if before is not None and (before.pts is None or before.pts >= target or index >= _DECODE_AFTER_SEEK):
                break
        return before, now

    def _sample_linear(self, places: int, total: int) -> list[tuple[Frame, Frame]]:
        chosen = {(2 * part + 1) * total // (2 * places) for part in range(places)}
        pairs: list[tuple[VideoFrame, VideoFrame]] = []
        before: VideoFrame | None = None
        with open_input(self.path) as container:
            stream = main_video(container, self.path)
            index = 0
            for packet in container.demux(stream):
                try:
                    decoded_frames = packet.decode()
                except av.FFmpegError:
                    continue
                for decoded in decoded_frames:
                    if not decoded.is_corrupt:
                        if before is not None and (index - 1 in chosen or not pairs):
                            pairs.append((before, decoded))
                        before = decoded
                    index += 1
                if index > total:
                    break
        if not pairs and before is not None:
            pairs.append((before, before))
        return [(self._frame(one), self._frame(other)) for one, other in pairs[-places:]]


class _Clock:
    """Gives every frame a pts, strictly later than the one before."""

    def __init__(self, reader: VideoReader) -> None:
        info = reader.info
        self._warnings = reader.warnings
        self._step = max(1, round(1 / (info.rate * info.time_base))) if info.rate else 1
        self._last: int | None = None
        self._warned = False

    def stamp(self, frame: Frame) -> Frame:
        last = self._last
        if frame.pts is None:
            frame.pts = 0 if last is None else last + self._step
            self._warn("the input lacks time stamps; they were made up from its frame rate")
        elif last is not None and frame.pts <= last:
            frame.pts = last + 1
            self._warn(
                "time stamps of the input repeat or run backwards; those frames were put one tick after the one before"
            )
        self._last = frame.pts
        return frame

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warnings.append(text)
            self._warned = True


class _Ends:
    """Where the streams really end, against where the container says they do."""

    def __init__(self, stream: VideoStream) -> None:
        self._index = stream.index
        self._packets = 0
        self._stream = stream
        self._video = self._all = 0.0
        self._first: float | None = None

    def saw(self, packet: "Packet[av.stream.Stream]") -> None:
        if packet.pts is None or packet.size == 0:
            return
        end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
        self._all = max(self._all, end)
        if packet.stream_index == self._index:
            self._packets += 1
            begin = float(packet.pts * packet.time_base)
            self._first = begin if self._first is None else min(self._first, begin)
            self._video = max(self._video, end)

    def short_by(self, container: InputContainer, info: VideoInfo) -> float:
        """Seconds missing at the end; 0.0 within one and a half frames of the promised end."""
        frame = float(1 / info.rate) if info.rate else 0.04
        if self._stream.frames and self._packets >= self._stream.frames:
            return 0.0
        if info.duration is not None:
            origin = max(self._first or 0.0, 0.0) if "matroska" not in info.container else 0.0
            missing = origin + info.duration - self._video
        elif container.duration is not None:
            # Without a promise for the video alone, any stream that reaches the end of the container will do.
            missing = (max(container.start_time or 0, 0) + container.duration) / 1_000_000 - self._all
        else:
            return 0.0
        slack = 1.5 * frame if self._stream.frames else max(3 * frame, 0.25)
        return missing if missing > slack else 0.0


def _seconds(pts: int | None, stream: VideoStream) -> str:
    return "an unknown time" if pts is None or stream.time_base is None else f"{float(pts * stream.time_base):.3f} s"
