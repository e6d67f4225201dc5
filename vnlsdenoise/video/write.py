"""Encode frames into a container, with the input's time stamps and tags, beside the copied streams."""

import logging
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from vnlsdenoise.errors import OutputError, UsageError
from vnlsdenoise.video.encoders import EncoderChoice
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.pixels import to_video_frame
from vnlsdenoise.video.probe import VideoInfo
from vnlsdenoise.video.streams import CopiedStream, StreamCopier

_TIMESCALE_LIMIT = 1 << 31
_TOP_FIRST, _BOTTOM_FIRST = 2, 3  # of FFmpeg's AVFieldOrder


@dataclass
class Written:
    """What a finished file must hold: one pts a frame in ticks of `time_base`, and tallies of the copied streams."""

    time_base: Fraction
    pts: "array[int]" = field(default_factory=lambda: array("q"))
    copied: dict[int, CopiedStream] = field(default_factory=dict)


class VideoWriter:
    """Write frames of `info.format` to `path` as `choice` says; use it in a `with` block.

    streams: "copy" takes along everything beside the video of `info.path`, "video" only the video. Nothing is complete
    before `close`. Raises OutputError where the file cannot be written, UsageError where the encoder refuses.
    """

    def __init__(self, path: Path, info: VideoInfo, choice: EncoderChoice, streams: str = "copy") -> None:
        self.path, self.info, self.choice = path, info, choice
        self.warnings: list[str] = list(choice.warnings)
        self.written = Written(info.time_base)
        self._copier: StreamCopier | None = None
        self._closed = False
        options = {}
        if (
            choice.container in ("mp4", "mov")
            and info.time_base.numerator == 1
            and info.time_base.denominator < _TIMESCALE_LIMIT
        ):
            options["video_track_timescale"] = str(info.time_base.denominator)
        try:
            self._output: OutputContainer = av.open(
                str(path.absolute()), "w", format=choice.container, container_options=options
            )
            self._stream = self._add_video()
            if streams == "copy":
                self._copier = StreamCopier(info.path, self._output, self._stream, choice.container)
                self.warnings += self._copier.warnings
                self.written.copied = self._copier.copied
            self._open_encoder()
            self._output.start_encoding()
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._failure(error) from error

    def _add_video(self) -> VideoStream:
        info, choice = self.info, self.choice
        try:
            stream = self._output.add_stream(choice.encoder, rate=info.rate or 25, options=choice.options)
        except ValueError as error:
            raise UsageError(
                f"{self.path.suffix} does not take {choice.encoder}; {error}; choose another --codec or ending"
            ) from error
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = info.format.width, info.format.height
        context.pix_fmt = choice.layout.name
        context.time_base = info.time_base
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
        return stream

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
            encoded = to_video_frame(frame.planes, frame.extra.get("alpha"), self.info.format, self.choice.layout)
            encoded.pts = frame.pts
            encoded.time_base = self.info.time_base
            encoded.duration = frame.duration or 0
            encoded.colorspace, encoded.color_range = self.choice.color.matrix, self.choice.color.range
            encoded.color_primaries, encoded.color_trc = self.choice.color.primaries, self.choice.color.transfer
            self._mux(self._stream.encode(encoded))
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error
        self.written.pts.append(frame.pts)

    def _mux(self, packets: list[Packet]) -> None:  # type: ignore[type-arg]
        for packet in packets:
            if self._copier is not None and packet.dts is not None:
                self._copier.advance(float(packet.dts * packet.time_base))
            self._output.mux_one(packet)

    def close(self) -> None:
        """Flush the encoder, copy the rest of the other streams and finish the file."""
        if self._closed:
            return
        try:
            self._mux(self._stream.encode(None))
            if self._copier is not None:
                self._copier.advance(None)
            self._output.close()
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._failure(error) from error
        self._closed = True
        if self._copier is not None:
            self._copier.close()

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
        return OutputError(f"cannot write {self.path}; {reason}; free space or choose another place for the output")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self.abort()
