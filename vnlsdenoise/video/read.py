"""Decode a video file into frames of native planes, and keep count of what was damaged."""

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import InitVar, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vnlsdenoise.errors import DeviceError, InputError
from vnlsdenoise.video.checksums import Sums, sums_of
from vnlsdenoise.video.container import decode_next, decoder_of, main_video, open_input, packets_of, use_threads
from vnlsdenoise.video.damage import Damage, Expected
from vnlsdenoise.video.frame import Frame, Plane
from vnlsdenoise.video.pixels import layout_of, unpack
from vnlsdenoise.video.probe import VideoInfo, probe
from vnlsdenoise.video.quantiser import HeaderSteps, quantiser_step
from vnlsdenoise.video.side_data import CARRIED, kinds_of
from vnlsdenoise.video.timeline import Clock, DisplayOrder, TimeKeeper, when

Interlaced = Literal["error", "fields", "ignore"]
"""What to do with frames of two fields."""
Decoder = Literal["cpu", "gpu"]
MAX_FAILURES_IN_A_ROW = 32
"""So many undecodable packets without one good frame between them end the run, if a second key frame, where a decoder
finds its way again, is among them; `_LONGEST_GROUP` do in any case."""
_LINEAR_LIMIT = 64
_DECODE_AFTER_SEEK = 48
_LONGEST_GROUP = 600  # frames from a key frame to the one that was asked for, at most


@dataclass
class VideoReader:
    """Iterate once over the frames of a video file, in display order and with strictly increasing pts.

    interlaced: "error" raises InputError at the first interlaced frame; "ignore" and "fields" take frames as they are,
    the latter for those who split them (`video.fields`).
    on_damage: "conceal" repeats the last good frame for a damaged one and counts it in `damage`; "fail" raises.
    decoder: "gpu" decodes on an NVIDIA GPU or raises DeviceError. The samples are the same; damage within a frame goes
    unnoticed there.
    known: what an earlier `probe` of the file found, which is then not done again. stream: index of the video stream,
    None for the film.
    `warnings` fills while iterating. In `Frame.extra` travel: "alpha", a plane of the luma's shape; "interlaced", True
    where a frame holds two fields; "carrier", a small picture that holds the side data of the frame for the encoder.
    """

    path: Path
    interlaced: Interlaced = "error"
    on_damage: Literal["conceal", "fail"] = "conceal"
    decoder: Decoder = "cpu"
    damage: Damage = field(default_factory=Damage)
    warnings: list[str] = field(default_factory=list)
    stream: int | None = None
    known: InitVar[VideoInfo | None] = None

    def __post_init__(self, known: VideoInfo | None) -> None:
        self.info: VideoInfo = known or probe(self.path, self.stream)
        self._headers: HeaderSteps | None = None
        self._sums: Sums | None = None
        if self.info.interlaced:
            self._refuse_interlaced()
        if self.info.survey.short_by:
            self._fail_on_damage(f"it ends {self.info.survey.short_by:.2f} s before its container says")
        if self.info.survey.torn:
            self._fail_on_damage("a part of the file cannot be read")
        if self.info.survey.cut:
            self._fail_on_damage("it was cut off within a packet")

    def _refuse_interlaced(self) -> None:
        if self.interlaced == "error":
            at = self.info.survey.interlaced_at
            where = f" from {at:.2f} s on" if self.info.mixed and at is not None else ""
            raise InputError(
                f"{self.path} is interlaced{where}; its frames hold two moments each, which denoising would smear; "
                "give --interlaced fields to denoise each field among its like, or ignore to treat frames as they are"
            )

    def __iter__(self) -> Iterator[Frame]:
        return self._whole()

    def _whole(self) -> Generator[Frame, None, None]:
        clock = Clock(self._step, self.info.time_base, self.warnings)
        good: Frame | None = None
        number = 0
        with self.opened() as container:
            stream = main_video(container, self.path, self.info.index)
            for decoded, pts in self._decode(container, stream):
                is_corrupt = decoded is not None and (decoded.is_corrupt or self._is_wrong(decoded))
                if is_corrupt:
                    self.damage.corrupt += 1
                    self._fail_on_damage(f"the frame at {_seconds(pts, stream)} is corrupt")
                if decoded is None or (is_corrupt and good is not None):
                    if good is None:
                        continue
                    frame = Frame(good.planes, None, good.duration, dict(good.extra), damage="concealed")
                else:
                    frame = good = self.frame_of(decoded)
                    frame.damage = "kept" if is_corrupt else ""
                if frame.damage:
                    self.damage.note(number)
                frame.pts = clock.stamp(pts)
                number += 1
                yield frame
            if good is None:
                raise InputError(
                    f"no frame of {self.path} could be decoded; the video stream is damaged; recover the file first"
                )
        self.damage.torn = self.info.survey.torn
        self.damage.short_by = self.info.survey.short_by
        self.damage.cut = self.damage.cut or self.info.survey.cut

    def opened(self) -> AbstractContextManager[InputContainer]:
        """The container, opened once more."""
        return open_input(self.path, gpu=self.decoder == "gpu")

    @property
    def _step(self) -> int:
        info = self.info
        return max(1, round(1 / (info.rate * info.time_base))) if info.rate else 1

    def frame_of(self, decoded: VideoFrame) -> Frame:
        """What a decoded frame holds; raises InputError where it is of another kind than the film."""
        if decoded.interlaced_frame:
            self._refuse_interlaced()
        info, (top, bottom, left, right) = self.info, self.info.crop
        width, height = info.format.width + left + right, info.format.height + top + bottom
        # A GPU gives the samples in an order of its own (nv12, p010le).
        same = decoded.format.name == info.pix_fmt or self.decoder == "gpu"
        coded = layout_of(decoded.format.name).plane_format(width, height)
        if not same or (decoded.width, decoded.height) != (width, height) or coded.depth != info.format.depth:
            raise self._change(
                f"from {width}x{height} {info.pix_fmt} "
                f"to {decoded.width}x{decoded.height} {decoded.format.name}{when(decoded.time)}"
            )
        planes, alpha = unpack(decoded)
        extra: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
        if any(info.crop):
            planes, extra = self._cropped(planes, extra)
        if decoded.interlaced_frame:
            extra["interlaced"] = True
        if kinds_of(decoded) & set(CARRIED):
            extra["carrier"] = decoded.reformat(16, 16, "gray", interpolation="POINT")
        step = quantiser_step(decoded, info.format.peak)
        if step is None and self._headers is not None:
            step = self._headers.at(decoded.pts)
        return Frame(planes, decoded.pts, decoded.duration or None, extra, step=step)

    def _cropped(self, planes: tuple[Plane, ...], extra: dict[str, Any]) -> tuple[tuple[Plane, ...], dict[str, Any]]:
        format, (top, _, left, _) = self.info.format, self.info.crop

        def shown(plane: Plane, shape: tuple[int, int], down: int, across: int) -> Plane:
            y, x = top >> down, left >> across
            return cast(Plane, np.ascontiguousarray(plane[y : y + shape[0], x : x + shape[1]]))

        shapes = format.plane_shapes
        shifts = [(0, 0), *[(format.chroma_y, format.chroma_x)] * (len(planes) - 1)]
        planes = tuple(shown(plane, shape, *shift) for plane, shape, shift in zip(planes, shapes, shifts, strict=True))
        return planes, {name: shown(plane, shapes[0], 0, 0) for name, plane in extra.items()}

    def refuse_change(self) -> None:
        """Raise InputError where the survey saw size or pixel format change, which else is raised where it is read."""
        if self.info.survey.change:
            raise self._change(self.info.survey.change)

    def _change(self, how: str) -> InputError:
        return InputError(f"{self.path} changes {how}; one output cannot hold both; split the file there first")

    def _fail_on_damage(self, what: str) -> None:
        if self.on_damage == "fail":
            raise InputError(
                f"{self.path} is damaged: {what}; stopped by --on-damage fail; give --on-damage conceal to go on"
            )

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[VideoFrame | None, int | None]]:
        """Decoded frames with their pts; (None, pts) stands where a packet should have given a frame and did not."""
        decoder = decoder_of(stream)
        if not decoder.is_open:
            use_threads(decoder)
        self._headers = HeaderSteps.of(stream, self.info.format.peak)
        self._sums = sums_of(stream.codec_context.codec.canonical_name)
        expected = Expected(stream.codec_context.codec.canonical_name, self._step)
        order = DisplayOrder(container.format.name) if self.info.survey.decoding_order else None
        frames = refused = in_a_row = key_frames = 0
        by_times = order is None  # Else what is missing is known only in number.
        for packet in self._packets(container, stream):
            if packet is not None:
                key_frames += packet.is_keyframe
                expected.saw(packet)
                if self._sums is not None:
                    self._sums.saw(packet)
                if self._headers is not None:
                    self._headers.saw(packet)
                if order is not None:
                    order.saw(packet)
            try:
                decoded_frames = decode_next(decoder, packet)
            except av.FFmpegError as error:
                if self.decoder == "gpu" and not frames:
                    raise DeviceError(
                        f"the GPU does not decode {self.path} ({self.info.codec}, {self.info.pix_fmt}); {error}; "
                        "use --decoder cpu"
                    ) from error
                self.damage.undecodable += 1
                refused, in_a_row = refused + 1, in_a_row + 1
                pts = packet.pts if packet is not None else None
                self._fail_on_damage(f"the packet at {_seconds(pts, stream)} does not decode")
                if in_a_row > (MAX_FAILURES_IN_A_ROW if key_frames > 1 else _LONGEST_GROUP):
                    raise InputError(
                        f"{self.path} cannot be decoded on from {_seconds(pts, stream)}; "
                        f"{in_a_row} packets in a row failed; recover the file first"
                    ) from error
                if order is not None:
                    yield None, order.next()
                continue
            for frame in decoded_frames:
                frames, in_a_row, key_frames = frames + 1, 0, 0
                if order is not None:
                    yield frame, order.next()
                    continue
                by_times = by_times and frame.pts is not None
                for pts in expected.missing_before(frame):
                    refused = self._miss(refused, pts, stream)
                    yield None, pts
                yield frame, frame.pts
        for pts in expected.missing_at_end() if by_times else ():
            refused = self._miss(refused, pts, stream)
            yield None, pts
        # Of interlaced video two packets may give one frame.
        if not by_times and not self.info.interlaced and expected.packets > frames + refused:
            self.damage.lost += expected.packets - frames - refused
            self._fail_on_damage(f"{self.damage.lost} frame(s) are missing")

    def _is_wrong(self, decoded: VideoFrame) -> bool:
        # A GPU gives the samples in an order of its own.
        return self._sums is not None and self.decoder == "cpu" and self._sums.is_wrong(decoded)

    def _packets(self, container: InputContainer, stream: VideoStream) -> "Iterator[Packet[Stream] | None]":
        """The packets of the video with the times that go on, then None, which drains the decoder."""
        keeper = TimeKeeper(self.info.survey.timeline)
        packets = packets_of(container)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.FFmpegError, OSError) as error:
                self.damage.cut = True
                self._fail_on_damage(f"it cannot be read on ({error})")
                break
            if packet.size:
                keeper.move(packet)
                if packet.stream_index == stream.index:
                    yield packet
        yield None

    def _miss(self, refused: int, pts: int, stream: VideoStream) -> int:
        """Count a frame that did not come, unless the decoder has said so by refusing its packet."""
        if refused:
            return refused - 1
        self.damage.lost += 1
        self._fail_on_damage(f"the frame at {_seconds(pts, stream)} is missing")
        return 0

    def sample(self, places: int) -> list[tuple[Frame, Frame]]:
        """Pairs of neighbouring frames from at most so many places of the file; a lone frame is its own neighbour.

        Long files are sought, short ones read through.
        """
        total = self.info.frames
        if total is None or total <= _LINEAR_LIMIT or self.info.duration is None:
            return self._sample_linear(places, min(total or _LINEAR_LIMIT, _LINEAR_LIMIT))
        found: dict[int, tuple[Frame, Frame]] = {}
        with open_input(self.path) as container:
            stream = main_video(container, self.path, self.info.index)
            decoder = decoder_of(stream)
            start = stream.start_time or 0
            for part in range(places):
                target = start + int(self.info.duration * (part + 0.5) / places / self.info.time_base)
                try:
                    container.seek(target, stream=stream)
                    decoder.flush_buffers()
                    one, other = self._decode_to(container, stream, decoder, target)
                except av.FFmpegError:
                    continue
                if one is not None and other is not None and one.pts is not None:
                    found[one.pts] = self.frame_of(one), self.frame_of(other)
        return [found[pts] for pts in sorted(found)] or self._sample_linear(places, _LINEAR_LIMIT)

    def clip(self, share: float, length: int) -> list[Frame]:
        """Up to `length` neighbouring frames from about this share of the film on, 0 to 1; long files are sought."""
        total = self.info.frames
        if total is None or total <= _LINEAR_LIMIT or self.info.duration is None:
            return self._clip_linear(min(int(share * (total or 0)), max((total or 0) - length, 0)), length)
        found: list[Frame] = []
        with open_input(self.path) as container:
            stream = main_video(container, self.path, self.info.index)
            decoder = decoder_of(stream)
            use_threads(decoder)
            target = (stream.start_time or 0) + int(share * self.info.duration / self.info.time_base)
            with suppress(av.FFmpegError):
                container.seek(target, stream=stream)
                decoder.flush_buffers()
            for index, decoded in enumerate(self._frames(container, stream, decoder)):
                before = decoded.pts is not None and decoded.pts < target and index < _LONGEST_GROUP
                if not (before or decoded.is_corrupt):
                    found.append(self.frame_of(decoded))
                if len(found) == length:
                    break
        return found or self._clip_linear(0, length)

    def _frames(
        self, container: InputContainer, stream: VideoStream, decoder: VideoCodecContext
    ) -> Iterator[VideoFrame]:
        """What decodes of a video from here on, whatever is wrong with the rest."""
        self._headers = HeaderSteps.of(stream, self.info.format.peak)
        try:
            for packet in packets_of(container, stream):
                if packet.size and self._headers is not None:
                    self._headers.saw(packet)
                with suppress(av.FFmpegError):
                    yield from decode_next(decoder, packet if packet.size else None)
        except (av.FFmpegError, OSError):
            return

    def _clip_linear(self, first: int, length: int) -> list[Frame]:
        with closing(self._whole()) as frames:
            return list(islice(frames, first, first + length))

    def _decode_to(
        self, container: InputContainer, stream: VideoStream, decoder: VideoCodecContext, target: int
    ) -> tuple[VideoFrame | None, VideoFrame | None]:
        """The frame at `target` and the next, or the last two before it."""
        before: VideoFrame | None = None
        now: VideoFrame | None = None
        for index, decoded in enumerate(self._frames(container, stream, decoder)):
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
            stream = main_video(container, self.path, self.info.index)
            for index, decoded in enumerate(self._frames(container, stream, decoder_of(stream))):
                if not decoded.is_corrupt:
                    if before is not None and (index - 1 in chosen or not pairs):
                        pairs.append((before, decoded))
                    before = decoded
                if index > total:
                    break
        if not pairs and before is not None:
            pairs.append((before, before))
        return [(self.frame_of(one), self.frame_of(other)) for one, other in pairs[-places:]]


def _seconds(pts: int | None, stream: VideoStream) -> str:
    return "an unknown time" if pts is None or stream.time_base is None else f"{float(pts * stream.time_base):.3f} s"
