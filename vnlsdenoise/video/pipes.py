"""Frames through stdin and stdout: y4m, and raw video of a size that is told beforehand."""

import itertools
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vnlsdenoise.errors import InputError, OutputError, UsageError
from vnlsdenoise.video.carry import Fate
from vnlsdenoise.video.container import MAX_PIXELS, decode_next, decoder_of
from vnlsdenoise.video.encoders import EncoderChoice, Encoding, color_of, cost, known_layout, losses
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.pixels import layout_of
from vnlsdenoise.video.probe import VideoInfo, describe
from vnlsdenoise.video.read import VideoReader

PIPE = Path("-")
"""The name of stdin as an input and of stdout as an output."""
PipeFormat = Literal["y4m", "rawvideo"]
_MUXERS = {"y4m": "yuv4mpegpipe", "rawvideo": "rawvideo"}
_STDIN, _STDOUT = 0, 1
_POLL_SECONDS = 0.1
_BUFFER = 1 << 20
_MOST_AT_ONCE = select.PIPE_BUF  # bytes that a pipe takes without waiting once it says that it takes any
_DEPTHS = (9, 10, 12, 14, 16)
_RAW = (
    *(f"yuv{a}{chroma}p" for chroma in (420, 422, 444) for a in ("", "a")),
    *[
        "yuv411p",
        "yuv440p",
        "yuv410p",
        "gray",
        "ya8",
        "rgb24",
        "rgba",
        "gbrp",
        "gbrap",
        "rgb48le",
        "rgba64le",
        "ya16le",
    ],
    *(f"yuv{chroma}p{depth}le" for chroma in (420, 422, 444) for depth in _DEPTHS),
    *(f"yuva{chroma}p{depth}le" for chroma in (420, 422, 444) for depth in (9, 10, 16)),
    *(f"gbrp{depth}le" for depth in _DEPTHS),
    *(f"gray{depth}le" for depth in _DEPTHS),
)
_Y4M = (
    *("yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuva444p", "gray"),
    *(f"yuv{chroma}p{depth}le" for chroma in (420, 422, 444) for depth in _DEPTHS),
    *("gray9le", "gray10le", "gray12le", "gray16le"),
)
_BEGIN_OF_Y4M, _HEAD = b"YUV4MPEG2 ", 96


@dataclass(frozen=True)
class RawVideo:
    """What raw video on stdin does not say itself. format: FFmpeg's name of the pixel format."""

    width: int
    height: int
    format: str = "yuv420p"
    rate: Fraction = Fraction(25)


@dataclass
class PipeReader(VideoReader):
    """Iterate once over the frames that come through stdin; same face as `VideoReader`.

    raw: what raw video holds; None for y4m, which says so itself. stop: where it is set the frames end.
    Nothing is known of what comes after the first frame, and nothing can be read twice. Raises InputError.
    """

    raw: RawVideo | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self, known: VideoInfo | None) -> None:
        self._source = _Source(self.stop)
        self._first, self._container = self._opened()
        super().__post_init__(known or self._described())

    def _opened(self) -> "tuple[Packet[Stream], InputContainer]":
        raw = self.raw
        options = {} if raw is None else _raw_options(raw)
        try:
            container = av.open(
                self._source,
                "r",
                format=_MUXERS["y4m" if raw is None else "rawvideo"],
                options={"max_pixels": str(MAX_PIXELS)},
                container_options=options,
                buffer_size=_BUFFER,
            )
            first = next(packet for packet in container.demux() if packet.size)
        except (av.FFmpegError, StopIteration) as error:
            self._source.raise_interruption()
            if not self._source.taken:
                raise InputError(
                    "nothing came through stdin; there is no video; see what the program before it said"
                ) from error
            header = self._source.head.partition(b"\n")[0].decode("ascii", "replace")
            if raw is None and not isinstance(error, StopIteration) and header.startswith(_BEGIN_OF_Y4M.decode()):
                raise InputError(
                    f"what comes through stdin is y4m of a kind that is not read: {header}; 4:2:0, 4:2:2, 4:4:4, 4:1:1 "
                    f"and grey are, of 8 to 16 bits and up to {MAX_PIXELS >> 20} Mi pixels, with fields in every frame "
                    "or in none; convert it, send it raw, or see what broke it"
                ) from error
            what = "no whole frame" if raw is not None or isinstance(error, StopIteration) else "no y4m"
            raise InputError(
                f"what comes through stdin holds {what}; ffmpeg -i INPUT -f yuv4mpegpipe -strict -1 - writes y4m, "
                "and for raw video give --raw-size WIDTHxHEIGHT, --raw-format and --raw-rate"
            ) from error
        if raw is not None and bytes(first).startswith(_BEGIN_OF_Y4M):
            raise UsageError(
                "what comes through stdin is y4m, which tells its size, format and rate itself; leave --raw-size out"
            )
        return first, container

    def _described(self) -> VideoInfo:
        stream = self._container.streams.video[0]
        decoder = decoder_of(stream)
        try:
            frames = decode_next(decoder, self._first) or decode_next(decoder, None)
        except av.FFmpegError as error:
            raise InputError(
                f"the first frame through stdin is cut off ({error}); check the program before it"
            ) from error
        decoder.flush_buffers()
        info = describe(PIPE, self._container, stream, frames[0], decoder.name)
        return replace(info, frames=None, duration=None)  # FFmpeg makes up what it cannot know

    def opened(self) -> AbstractContextManager[InputContainer]:
        return nullcontext(self._container)

    def _packets(self, container: InputContainer, stream: VideoStream) -> "Iterator[Packet[Stream] | None]":
        # FFmpeg takes a frame that is cut off for the end, without a word.
        end = 0
        for packet in itertools.chain([self._first], super()._packets(container, stream)):
            if packet is not None:
                end = (packet.pos or 0) + packet.size
            elif not self.stop.is_set() and self._source.taken > end:
                self.damage.cut = True
                self._fail_on_damage("the last frame is cut off")
            yield packet

    def sample(self, places: int) -> list[tuple[Frame, Frame]]:
        """Nothing: every frame comes once, and is for the denoiser."""
        return []


def _raw_options(raw: RawVideo) -> dict[str, str]:
    layout_of(raw.format)
    return {
        "video_size": f"{raw.width}x{raw.height}",
        "pixel_format": raw.format,
        "framerate": f"{raw.rate.numerator}/{raw.rate.denominator}",
    }


class _Waiting:
    """Waits for a pipe until `stop` is set, and keeps what interrupts the wait: PyAV, which calls it, loses that."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self._interruption: BaseException | None = None

    def wait(self, reading: list[int], writing: list[int]) -> bool:
        """Whether one of the pipes is ready; False where there is no more waiting."""
        try:
            while not self.stop.is_set():
                ready = select.select(reading, writing, [], _POLL_SECONDS)
                if ready[0] or ready[1]:
                    return True
        except BaseException as interruption:  # Ctrl-C, or a signal
            self.stop.set()
            self._interruption = interruption
        return False

    def raise_interruption(self) -> None:
        """Go on with what interrupted the wait, if anything did."""
        if self._interruption is not None:
            raise self._interruption


class _Source(_Waiting):
    """stdin as a file for PyAV, that ends where `stop` is set. taken: bytes that were read; head: the first of them."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__(stop)
        if sys.stdin is None:
            raise InputError("input - is stdin, which is closed; nothing can come; put a program before it")
        if sys.stdin.isatty():
            raise UsageError(
                "input - is stdin, which is a terminal; nothing would come; put a program before it, or give a file"
            )
        self.taken, self.head = 0, b""

    def read(self, size: int) -> bytes:
        """What is there, at most `size` bytes; nothing at the end."""
        found = os.read(_STDIN, size) if self.wait([_STDIN], []) else b""
        self.taken += len(found)
        self.head += found[: max(0, _HEAD - len(self.head))]
        return found


class PipeSink(_Waiting):
    """stdout as a file for PyAV, that takes nothing more once `stop` is set. aspect: of the pixels, for y4m."""

    def __init__(self, stop: threading.Event, aspect: Fraction | None = None) -> None:
        super().__init__(stop)
        self._aspect = f" A{aspect.numerator}:{aspect.denominator} ".encode() if aspect else b""

    def write(self, data: bytes) -> int:
        """Write all of `data`; raises BrokenPipeError where nobody reads it any more."""
        size = len(data)
        if self._aspect:
            # PyAV gives FFmpeg's muxer no shape of pixels; the header is what comes first.
            data, self._aspect = bytes(data).replace(b" A0:0 ", self._aspect, 1), b""
        left = memoryview(data)
        # A write that waits for a reader could not be stopped.
        while left and self.wait([], [_STDOUT]):
            left = left[os.write(_STDOUT, left[:_MOST_AT_ONCE]) :]
        return size

    def finish(self) -> None:
        """The rest is to be written whatever has ended meanwhile."""
        self.stop = threading.Event()


def refuse_terminal() -> None:
    """Raise UsageError where stdout is a terminal, which video would only garble, OutputError where it is closed."""
    if sys.stdout is None or sys.stdout.closed:
        raise OutputError("output - is stdout, which is closed; nothing would be kept; put a program behind it")
    if sys.stdout.isatty():
        raise UsageError(
            "output - is stdout, which is a terminal; video would garble it; put a program behind it, or give a file"
        )


def choose_for_pipe(info: VideoInfo, wish: Encoding, form: PipeFormat) -> EncoderChoice:
    """How frames go through stdout: as they are where `form` has such samples, else as what is closest to them."""
    asked = {"--codec": wish.codec, "--crf": wish.crf, "--encoder-opt": wish.options}
    if given := [name for name, value in asked.items() if value]:
        raise UsageError(f"{given[0]} has no meaning for output -; {form} is not encoded; leave it out")
    names = _Y4M if form == "y4m" else (info.pix_fmt, *_RAW)
    if wish.pix_fmt is not None:
        if form == "y4m" and wish.pix_fmt not in names:
            raise UsageError(
                f"y4m does not hold --pix-fmt {wish.pix_fmt}; it takes {', '.join(names)}; choose one of these, "
                "or --pipe-format rawvideo"
            )
        layout = layout_of(wish.pix_fmt)
    else:
        layout = min((known for name in names if (known := known_layout(name))), key=lambda known: cost(known, info))
    fates = losses(layout, info, form)
    if wish.lossless and fates:
        raise UsageError(f"--lossless is not possible: {fates[0].why}; give --pipe-format rawvideo")
    exact = not fates
    if form == "rawvideo" and wish.pix_fmt is None and layout.name != info.pix_fmt.replace("yuvj", "yuv"):
        why = f"raw video comes out as {layout.name}, not as {info.pix_fmt}; tell the program behind, or give --pix-fmt"
        fates.append(Fate("pixel format", "converted", why))
    return EncoderChoice(_MUXERS[form], "rawvideo", layout, {}, color_of(layout, info), exact, fates=tuple(fates))
