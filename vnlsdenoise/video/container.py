"""Opening a container, bounded against bombs; the video stream in it that is denoised, and what decodes that."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.logging
from av.audio.codeccontext import AudioCodecContext
from av.codec.context import ThreadType
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vnlsdenoise.errors import DeviceError, InputError, UsageError

MAX_PIXELS = 1 << 28
"""Frames of more samples a plane than this are refused: they are more likely an attack than a film."""
MAX_STREAMS = 1000
# Playlists and device-like inputs reach for other files or addresses; a film does neither.
_REFUSED_FORMATS = {
    "concat",
    "hls",
    "dash",
    "applehttp",
    "image2",
    "tty",
    "lavfi",
    "sdp",
    "rtsp",
    "imf",
    "webm_dash_manifest",
}
_STILL = Disposition.attached_pic | Disposition.timed_thumbnails
# The decoders that FFmpeg prefers for these know nothing of the alpha that Matroska keeps beside them.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Of these the decoder passes damaged frames on unflagged unless the detection is asked for. It is not asked of all:
# the zeros with which MPEG-2 is stuffed, which are legal, would count as damage.
_ASKED_FOR_DAMAGE = {"prores": "bitstream+buffer"}
# Sound that begins later than FFmpeg's usual 5 s is unknown to it: it is looked for once more, so far.
_LOOKED_AT_LONGER = {"probesize": str(32 << 20), "analyzeduration": str(3_600_000_000)}
_logging = threading.Lock()
# What FFmpeg says in other threads while one is listened to goes to this logger, which would print it.
logging.getLogger("libav").addHandler(logging.NullHandler())


def open_input(path: Path, whole: bool = False, gpu: bool = False) -> InputContainer:
    """Open a container for reading; raises InputError with the cause.

    whole: also give the packets that an edit list of MP4 and MOV cuts off at the ends. gpu: decode on the GPU, or raise
    DeviceError.
    """
    try:
        if not path.exists():
            raise InputError(f"input {path} does not exist; nothing to read; check the name")
        if path.is_dir():
            raise InputError(
                f"input {path} is a folder; a file was expected; for images give the folder that holds them"
            )
        if not path.is_file():
            raise InputError(
                f"input {path} is a device or a pipe, which cannot be read twice; save it to a file first, "
                "or put y4m through stdin: -"
            )
        if path.stat().st_size == 0:
            raise InputError(f"input {path} is empty (0 bytes); nothing to decode; copy or record it again")
        # A demuxer that reaches its limit stops without a word: one more than is allowed shows that it has.
        options = {"max_streams": str(MAX_STREAMS + 1), "protocol_whitelist": "file"}
        if whole:
            options["advanced_editlist"] = "0"
        container = _opened(path, options, gpu)
        if any(is_unknown(stream) for stream in container.streams):
            container.close()
            container = _opened(path, options | _LOOKED_AT_LONGER, gpu)
    except InputError:
        raise
    except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
        if gpu:
            raise DeviceError(
                f"no GPU decodes {path} here; {error}; use --decoder cpu, "
                "or a GPU with NVDEC, its driver, and a codec that it knows"
            ) from error
        raise InputError(f"cannot open {path}; {_cause(path, error)}") from error
    names = set(container.format.name.split(","))
    if names & _REFUSED_FORMATS:
        container.close()
        if "image2" in names:
            raise InputError(f"{path} is a picture of a kind that is not read; save it as PNG, TIFF, DPX or OpenEXR")
        raise InputError(f"cannot open {path}; it is {container.format.name}, not a video file; give the video itself")
    if len(container.streams) > MAX_STREAMS:
        container.close()
        raise InputError(f"cannot open {path}; it has more than {MAX_STREAMS} streams; remux it without those")
    return container


def _opened(path: Path, options: dict[str, str], gpu: bool) -> InputContainer:
    # "file:" keeps names with ":" or a leading "-" from being read as addresses or options.
    return av.open(
        f"file:{os.path.abspath(path)}",
        "r",
        options={"max_pixels": str(MAX_PIXELS)},
        container_options=options,
        metadata_errors="replace",
        hwaccel=HWAccel("cuda", allow_software_fallback=False) if gpu else None,
    )


def is_unknown(stream: Stream) -> bool:
    """Whether a stream is announced as sound, and nothing was found of it that tells of what kind."""
    context = stream.codec_context
    return isinstance(context, AudioCodecContext) and not context.sample_rate


def check_size(image: Path, width: int, height: int) -> None:
    """Raise InputError where an image has no pixels, or more than are taken."""
    if not 0 < width * height <= MAX_PIXELS or width < 1:
        raise InputError(f"image {image} is {width}x{height}; the limit is {MAX_PIXELS} pixels; scale it first")


def is_still(stream: Stream) -> bool:
    """Whether a stream is a cover or a preview picture, no film."""
    return bool(stream.disposition & _STILL)


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of the codec, whichever decoder is used; "" where it knows none."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


def kind_of(stream: Stream) -> str:
    """What a stream is: "video", "audio", "subtitle", "data", "attachment", or "cover picture"."""
    return "cover picture" if is_still(stream) else stream.type


def name_of(stream: Stream) -> str:
    """The codec of a stream, the kind of its data, or the name of the attached file; "" where none is known."""
    if stream.type in ("data", "attachment"):
        return stream.name or stream.metadata.get("handler_name", "").strip()
    return codec_of(stream)


def films_of(container: InputContainer) -> list[VideoStream]:
    """The video streams that move, or where none does those of one picture; no covers and previews."""
    videos = [stream for stream in container.streams.video if not is_still(stream)]
    # AVIF keeps one picture of a sequence in a stream of its own.
    return [stream for stream in videos if stream.frames != 1] or videos


def main_video(container: InputContainer, path: Path, index: int | None = None) -> VideoStream:
    """The stream to denoise; raises InputError where there is none, UsageError where `index` is none.

    index: of the stream in the container; None for the film: no cover picture; of several the one that the container
    calls default, of those the largest.
    """
    films = films_of(container)
    if index is not None:
        chosen = [stream for stream in films if stream.index == index]
        if not chosen:
            known = ", ".join(str(stream.index) for stream in films) or "none"
            raise UsageError(f"--video-stream {index}: {path} has no such video stream; there is: {known}; see info")
        films = chosen
    if not films:
        kinds = ", ".join(dict.fromkeys(kind_of(stream) for stream in container.streams)) or "no streams"
        raise InputError(f"{path} holds no video; found only {kinds}; give a file with a video stream")
    decodable = [stream for stream in films if stream.codec_context is not None]
    if not decodable:
        raise InputError(f"{path} has video of an unknown codec; no decoder for it; convert the file first")
    return max(decodable, key=_rank)


def _rank(stream: VideoStream) -> tuple[bool, int, int]:
    pixels = stream.codec_context.width * stream.codec_context.height
    return bool(stream.disposition & Disposition.default), pixels, -stream.index


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """A decoder of the packets of `stream`, one for each reader; it must be drained by `decode(None)` at the end."""
    context = stream.codec_context
    options = {"max_pixels": str(MAX_PIXELS)}
    if context.codec.canonical_name != "h264":  # which is asked otherwise (`quantiser`)
        options["export_side_data"] = "venc_params"
    alpha_decoder = _ALPHA_DECODERS.get(context.codec.canonical_name)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if alpha_decoder is not None and tags.get("alpha_mode") == "1":
        context = cast(VideoCodecContext, av.CodecContext.create(alpha_decoder, "r"))
        context.extradata = stream.codec_context.extradata
    if (asked := _ASKED_FOR_DAMAGE.get(context.codec.canonical_name)) is not None:
        options["err_detect"] = asked
    context.options = options
    return context


def use_threads(decoder: VideoCodecContext) -> None:
    """Have it decode on all cores, unless what it tells of the quantiser would then depend on how fast they are.

    Threads that work on several pictures of MPEG-4 tell that of a picture before all of its blocks are decoded.
    """
    if decoder.codec.canonical_name != "mpeg4":
        decoder.thread_type = ThreadType.AUTO


def decode_next(decoder: VideoCodecContext, packet: "Packet[Any] | None") -> list[VideoFrame]:
    """The frames that a packet completes, None for the rest; raises FFmpegError where the packet does not decode."""
    try:
        return decoder.decode(packet)
    except av.EOFError:
        return []


def packets_of(container: InputContainer, stream: Stream | None = None) -> "Iterator[Packet[Stream]]":
    """All packets of a file, or of one stream of it, and behind them an empty one of each; raises what PyAV raises.

    Streams that show up only within the file (.ts, .mpg, .flv) are not among them.
    """
    packets = container.demux() if stream is None else container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError):  # the latter where PyAV ends those that it has not met
            return
        yield packet


@contextmanager
def listening() -> Iterator[list[tuple[int, str, str]]]:
    """What FFmpeg says in this thread meanwhile, (level, who, text), by one at a time; nothing of it is printed."""
    with _logging, av.logging.Capture() as said:
        before = av.logging.get_level()
        # FFmpeg composes the text only as far as someone listens.
        av.logging.set_level(av.logging.INFO)
        try:
            yield said
        finally:
            av.logging.set_level(before)


def dumped(container: InputContainer) -> dict[int, list[str]]:
    """What FFmpeg says of every stream, by its index: PyAV gives no access to some of it, such as the crop."""
    with listening():
        av.logging.set_libav_level(av.logging.VERBOSE)
        text = cast(Any, container).dumps_format()
    found: dict[int, list[str]] = {}
    for line in _lines(text):
        if line.startswith("Stream #0:"):
            number = line.removeprefix("Stream #0:")
            digits = number[: len(number) - len(number.lstrip("0123456789"))]
            found[int(digits)] = []
        if found:
            found[max(found)].append(line)
    return found


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.splitlines())


def _cause(path: Path, error: Exception) -> str:
    """Why a file does not open, in words, and what to do."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free", b"skip"):
        return "its index (moov atom) is missing: it was cut off; copy it again or recover it with untrunc"
    printable = sum(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head)
    if head and printable > 0.95 * len(head):
        return "it holds text, not video; check that this is the right file"
    return f"it is no video that FFmpeg knows ({getattr(error, 'strerror', None) or error}); check or convert the file"


def timecode_rate(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Frames a second that the time code of a film counts, None where it has none.

    Not the mean rate, where frames come at uneven times.
    """
    tags = (name.lower() for tagged in (container, *container.streams) for name in tagged.metadata)
    return stream.guessed_rate or stream.average_rate if "timecode" in tags else None
