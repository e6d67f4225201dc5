"""Encode frames into a container, with the input's time stamps and tags, beside the copied streams."""

import errno
import logging
from array import array
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from vnlsdenoise.errors import MemoryLimitError, OutputError, ReaderGoneError, VnlsError
from vnlsdenoise.video.carry import Carry, Tally
from vnlsdenoise.video.encode import WITHOUT_TIMES, VideoEncoder
from vnlsdenoise.video.encoders import CARRIES_ASPECT, CARRIES_HDR, MATROSKA, EncoderChoice, hdr_numbers
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.matroska import VideoElements, put_elements, with_room
from vnlsdenoise.video.part import StreamCut
from vnlsdenoise.video.probe import VideoInfo
from vnlsdenoise.video.streams import StreamCopier

if TYPE_CHECKING:
    from vnlsdenoise.video.pipes import PipeSink

_TIMESCALE_LIMIT = 1 << 31
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
        self._encoded = False
        options = dict(carry.options) if carry is not None else {}
        if choice.container in MATROSKA:
            options["fflags"] = "+bitexact"  # without numbers that are drawn anew for every file
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
            self._encoder = VideoEncoder(self._output, info, choice)
            stream = self._encoder.stream
            if carry is not None:
                cut = None if info.cut is None else StreamCut(info.cut, info.time_base, info.timecode_rate)
                self._copier = StreamCopier(
                    info.path, self._output, stream, info.index, carry, info.survey.timeline, until, cut
                )
                self.written.copied = self._copier.copied
            self._title = stream.metadata.get("title", "")
            if self._elements:
                stream.metadata["title"] = with_room(self._title)
            self._encoder.open()
            self.warnings += self._encoder.warnings
            self._output.start_encoding()
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._failure(error) from error

    def write(self, frame: Frame) -> None:
        """Encode one frame; its pts, in ticks of the input, must be later than the one before."""
        if frame.pts is None:
            raise ValueError("a frame to write needs a pts, got None")
        try:
            self._encoded = True
            self.written.pts.append(frame.pts)
            for packet in self._encoder.encode(frame):
                self._mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    @property
    def headers(self) -> bytes:
        """What the encoder says of all its packets."""
        return self._encoder.stream.codec_context.extradata or b""

    def append(self, packets: "Iterable[Packet[VideoStream]]", pts: Iterable[int]) -> None:
        """Write packets that an encoder of the same `choice` made, and note the times of their frames."""
        try:
            self.written.pts.extend(pts)
            for packet in packets:
                packet.stream = self._encoder.stream
                self._mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _mux(self, packet: "Packet[VideoStream]") -> None:
        if self._copier is not None and packet.dts is not None:
            self._copier.advance(float(packet.dts * packet.time_base))
        self._output.mux_one(packet)

    def close(self) -> None:
        """Flush the encoder, copy the rest of the other streams and finish the file."""
        if self._closed:
            return
        if self._sink is not None:
            self._sink.finish()
        try:
            for packet in self._encoder.encode(None) if self._encoded else ():
                self._mux(packet)
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
        if self.choice.container in WITHOUT_TIMES and not self._even():
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

    def _failure(self, error: Exception) -> VnlsError:
        return failure(self.path, self.choice, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self.abort()


def failure(path: Path, choice: EncoderChoice, error: Exception) -> VnlsError:
    """What an error of FFmpeg or the system while `path` is written means for the user."""
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, BrokenPipeError):
        return ReaderGoneError(f"nobody reads {path} any more; the rest was not written; run it again")
    if getattr(error, "errno", None) == errno.ENOMEM:
        return MemoryLimitError(f"no memory is left to write {path}; close other programs, or choose another --codec")
    if getattr(error, "errno", None) in _PLACE_ERRORS:
        return OutputError(f"cannot write {path}; {reason}; free space or choose another place for the output")
    return OutputError(
        f"cannot write {path}; {choice.container} does not take the {choice.encoder} video or one "
        f"of the streams beside it ({reason}); choose another ending or --codec, or --streams video"
    )


def _elements_of(info: VideoInfo, choice: EncoderChoice) -> VideoElements:
    """What a Matroska file must be told of the video after it was written; nothing for other containers."""
    shape = info.format
    if choice.container not in MATROSKA:
        return VideoElements(shape.width, shape.height)
    aspect = info.sample_aspect if choice.encoder not in CARRIES_ASPECT else None
    told = () if choice.encoder in CARRIES_HDR else hdr_numbers(info.hdr_x265)
    return VideoElements(shape.width, shape.height, aspect, told)
