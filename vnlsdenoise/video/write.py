"""Encode frames into a container, with the input's time stamps and tags, beside the copied streams."""

import errno
import logging
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vnlsdenoise.errors import OutputError, ReaderGoneError, UsageError
from vnlsdenoise.video.carry import Carry, Tally
from vnlsdenoise.video.encoders import CARRIES_ASPECT, CARRIES_HDR, MATROSKA, EncoderChoice, hdr_numbers
from vnlsdenoise.video.fields import says_fields_itself, with_fields
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.matroska import VideoElements, put_elements, with_room
from vnlsdenoise.video.pixels import to_video_frame
from vnlsdenoise.video.probe import VideoInfo
from vnlsdenoise.video.streams import StreamCopier

if TYPE_CHECKING:
    from vnlsdenoise.video.pipes import PipeSink

_TIMESCALE_LIMIT = 1 << 31
_TOP_FIRST, _BOTTOM_FIRST = 2, 3  # of FFmpeg's AVFieldOrder
# These know only a few frame rates, and times in frames.
_COUNT_FRAMES = ("mpeg1video", "mpeg2video")
_WITHOUT_TIMES = ("yuv4mpegpipe", "rawvideo")
# Errors that another place or more space can cure.
_PLACE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.EISDIR,
    errno.EPIPE,
}


@dataclass
class Written:
    """What a finished file must hold: one pts a frame in ticks of `time_base`, and tallies of the copied streams."""

    time_base: Fraction
    pts: "array[int]" = field(default_factory=lambda: array("q"))
    copied: dict[int, Tally] = field(default_factory=dict)


class VideoWriter:
    """Write frames of `info.format` to `path` as `choice` says; use it in a `with` block.

    carry: what becomes of everything beside the video of `info.path`; None takes nothing along. until: seconds after
    which nothing beside the video is taken along, None for none. sink: what takes the bytes in place of a file, as they
    come. Nothing is complete before `close`. Raises OutputError where the file cannot be written, UsageError where the
    encoder refuses.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        choice: EncoderChoice,
        carry: Carry | None = None,
        until: float | None = None,
        sink: "PipeSink | None" = None,
    ) -> None:
        self.path, self.info, self.choice = path, info, choice
        self.warnings: list[str] = []
        self.written = Written(info.time_base)
        self._sink = sink
        self._copier: StreamCopier | None = None
        self._closed = False
        self._elements = _elements_of(info, choice)
        self._counts = choice.encoder in _COUNT_FRAMES
        self._stamps: dict[str, Graph] = {}
        self._are_interlaced: dict[int, bool] = {}  # frames in the encoder, by their time
        options = dict(carry.options) if carry is not None else {}
        if (
            choice.container in ("mp4", "mov")
            and info.time_base.numerator == 1
            and info.time_base.denominator < _TIMESCALE_LIMIT
        ):
            options["video_track_timescale"] = str(info.time_base.denominator)
        if choice.container == "yuv4mpegpipe":
            options["strict"] = "-1"  # which more than 8 bits need
        # "file:" keeps names with ":" from being read as addresses.
        target: Any = f"file:{path.absolute()}" if sink is None else sink
        try:
            self._output: OutputContainer = av.open(target, "w", format=choice.container, container_options=options)
            self._stream = self._add_video()
            if carry is not None:
                self._copier = StreamCopier(
                    info.path, self._output, self._stream, info.index, carry, info.survey.timeline, until
                )
                self.written.copied = self._copier.copied
            self._title = self._stream.metadata.get("title", "")
            if self._elements:
                self._stream.metadata["title"] = with_room(self._title)
            self._open_encoder()
            self._output.start_encoding()
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._failure(error) from error

    def _add_video(self) -> VideoStream:
        info, choice = self.info, self.choice
        try:
            stream = self._output.add_stream(choice.encoder, rate=info.rate or 25, options=self._options())
        except ValueError as error:
            raise UsageError(
                f"{self.path.suffix} does not take {choice.encoder}; {error}; choose another --codec or ending"
            ) from error
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = info.format.width, info.format.height
        context.pix_fmt = choice.layout.name
        context.time_base = 1 / (info.rate or Fraction(25)) if self._counts else info.time_base
        stream.time_base = info.time_base
        context.flags |= Flags.frame_duration
        if info.interlaced:
            context.flags |= Flags.interlaced_dct
            context.field_order = _BOTTOM_FIRST if info.bottom_first else _TOP_FIRST
        context.color_primaries, context.color_trc = choice.color.primaries, choice.color.transfer
        context.colorspace, context.color_range = choice.color.matrix, choice.color.range
        if info.sample_aspect:
            context.sample_aspect_ratio = info.sample_aspect
        if info.display_matrix is not None:
            stream.set_display_matrix(info.display_matrix)
        if info.stereo_mode and choice.container in ("matroska", "webm"):
            stream.metadata["stereo_mode"] = info.stereo_mode
        return stream

    def _options(self) -> dict[str, str]:
        options = dict(self.choice.options)
        if self.info.chroma_location and self.choice.layout.family == "yuv":
            options["chroma_sample_location"] = self.info.chroma_location
        if self.choice.encoder == "libx265":
            options.setdefault("a53cc", "1")  # closed captions, which it leaves out unless it is told
        return options

    def _open_encoder(self) -> None:
        asked = dict(self.choice.options)
        try:
            self._stream.codec_context.open()
        except av.FFmpegError as error:
            raise UsageError(
                f"encoder {self.choice.encoder} refused {self.info.format.width}x{self.info.format.height} "
                f"{self.choice.layout.name} with options {asked} ({error.strerror}); "
                "change --encoder-opt, --pix-fmt or --codec"
            ) from error
        ignored = sorted(set(asked) & set(self._stream.codec_context.options))
        if ignored:
            self.warnings.append(
                f"encoder {self.choice.encoder} does not know the option(s) {', '.join(ignored)}; ignored"
            )

    def write(self, frame: Frame) -> None:
        """Encode one frame; its pts, in ticks of the input, must be later than the one before."""
        if frame.pts is None:
            raise ValueError("a frame to write needs a pts, got None")
        try:
            alpha, carrier = frame.extra.get("alpha"), frame.extra.get("carrier")
            encoded = to_video_frame(frame.planes, alpha, self.info.format, self.choice.layout, carrier)
            encoded = self._stamped(encoded, bool(frame.extra.get("interlaced")))
            encoded.pts, encoded.duration, encoded.time_base = frame.pts, frame.duration or 0, self.info.time_base
            if self._counts:
                encoded.pts, encoded.duration = len(self.written.pts), 1
                encoded.time_base = self._stream.codec_context.time_base
            encoded.colorspace, encoded.color_range = self.choice.color.matrix, self.choice.color.range
            encoded.color_primaries, encoded.color_trc = self.choice.color.primaries, self.choice.color.transfer
            if self.info.interlaced and says_fields_itself(self.choice.encoder):
                self._are_interlaced[frame.pts] = bool(frame.extra.get("interlaced")) or not self.info.mixed
            self.written.pts.append(frame.pts)
            self._mux(self._stream.encode(encoded))
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _stamped(self, encoded: VideoFrame, interlaced: bool) -> VideoFrame:
        """The frame with the order of its fields, which PyAV does not let one say."""
        info = self.info
        if not info.interlaced:
            return encoded
        # Of the encoders only FFV1 takes frames of both kinds; the others would go by any one of them.
        progressive = self.choice.encoder == "ffv1" and info.mixed and not interlaced
        order = "prog" if progressive else "bff" if info.bottom_first else "tff"
        if order not in self._stamps:
            self._stamps[order] = _field_setter(encoded, info.time_base, order)
        encoded.pts, encoded.time_base = 0, info.time_base
        self._stamps[order].push(encoded)
        return self._stamps[order].vpull()

    def _mux(self, packets: "list[Packet[VideoStream]]") -> None:
        for packet in packets:
            if self._counts:
                self._uncount(packet)
            if self._copier is not None and packet.dts is not None:
                self._copier.advance(float(packet.dts * packet.time_base))
            if packet.pts is not None and (interlaced := self._are_interlaced.pop(packet.pts, None)) is not None:
                packet.update(with_fields(packet, self.choice.encoder, interlaced, self.info.bottom_first))
            self._output.mux_one(packet)

    def _uncount(self, packet: "Packet[VideoStream]") -> None:
        """Give a packet the times of the frames whose numbers it has."""
        pts = self.written.pts
        step = max(1, round(1 / ((self.info.rate or 25) * self.info.time_base)))

        def time(number: int | None) -> int | None:
            if number is None:
                return None
            return pts[number] if number >= 0 else pts[0] + number * step

        packet.pts, packet.dts, packet.duration = time(packet.pts), time(packet.dts), step
        packet.time_base = self.info.time_base

    def close(self) -> None:
        """Flush the encoder, copy the rest of the other streams and finish the file."""
        if self._closed:
            return
        if self._sink is not None:
            self._sink.finish()
        try:
            self._mux(self._stream.encode(None))
            if self._copier is not None:
                self._copier.advance(None)
            self._output.close()
            if self._elements:
                put_elements(self.path, self._title, self._elements)
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._failure(error) from error
        self._closed = True
        if self._sink is not None:
            self._sink.raise_interruption()
        if self.choice.container in _WITHOUT_TIMES and not self._even():
            self.warnings.append(
                f"the frames do not come at even times, which {self.choice.container} cannot say: it has one rate "
                f"({self.info.rate or 25} a second)"
            )
        if self._copier is not None:
            self.warnings += self._copier.warnings
            self._copier.close()

    def _even(self) -> bool:
        """Whether all frames stand within one frame of where their rate puts them."""
        pts, step = self.written.pts, float(1 / ((self.info.rate or 25) * self.info.time_base))
        return all(abs(stamp - pts[0] - index * step) < step for index, stamp in enumerate(pts))

    def abort(self) -> None:
        """Let go of the file without finishing it; the caller removes it."""
        self._closed = True
        if self._copier is not None:
            self._copier.close()
        # Closing writes a trailer, which fails again where writing failed before.
        with suppress(av.FFmpegError, OSError, AttributeError, ValueError):
            logging.getLogger("libav").disabled = True
            self._output.close()

    def _failure(self, error: Exception) -> OutputError:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, BrokenPipeError):
            return ReaderGoneError(f"nobody reads {self.path} any more; the rest was not written; run it again")
        if getattr(error, "errno", None) in _PLACE_ERRORS:
            return OutputError(f"cannot write {self.path}; {reason}; free space or choose another place for the output")
        return OutputError(
            f"cannot write {self.path}; {self.choice.container} does not take the {self.choice.encoder} video or one "
            f"of the streams beside it ({reason}); choose another ending or --codec, or --streams video"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self.abort()


def _field_setter(like: VideoFrame, time_base: Fraction, order: str) -> Graph:
    """A filter that marks frames like this one: "tff", "bff", or "prog" for no fields."""
    graph = Graph()
    source = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=time_base)
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
    return graph


def _elements_of(info: VideoInfo, choice: EncoderChoice) -> VideoElements:
    """What a Matroska file must be told of the video after it was written; nothing for other containers."""
    shape = info.format
    if choice.container not in MATROSKA:
        return VideoElements(shape.width, shape.height)
    aspect = info.sample_aspect if choice.encoder not in CARRIES_ASPECT else None
    told = () if choice.encoder in CARRIES_HDR else hdr_numbers(info.hdr_x265)
    return VideoElements(shape.width, shape.height, aspect, told)
