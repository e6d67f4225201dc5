"""What a file holds: the layout of its frames, their timing and tags, and the streams beside them."""

import math
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vnlsdenoise.errors import DeviceError, InputError
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.pixels import layout_of

MAX_PIXELS = 1 << 28
"""Frames of more samples a plane than this are refused: they are more likely an attack than a film."""
MAX_STREAMS = 64
_FULL_RANGE = 2  # of `ColorTags.range`
_PROGRESSIVE_ORDERS, _BOTTOM_FIRST_ORDERS = (0, 1), (3, 4)  # of FFmpeg's AVFieldOrder
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


@dataclass(frozen=True)
class ColorTags:
    """The colour of a stream in the code points of ISO/IEC 23091-2; range: 0 unknown, 1 limited, 2 full."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0


@dataclass(frozen=True)
class StreamInfo:
    """One stream of the container. codec is "" where FFmpeg knows none."""

    index: int
    kind: str
    codec: str
    language: str


@dataclass(frozen=True)
class VideoInfo:
    """What the input holds.

    rate: average frames a second, None where unknown. time_base: seconds a tick of the time stamps.
    display_matrix: the 9 numbers of the container's display matrix, None for an upright picture; rotation in degrees,
    counter-clockwise. frames: an estimate, None where the container tells nothing. duration: seconds of video.
    interlaced: frames hold two fields, of which the upper lines were taken first, or the lower ones (bottom_first).
    hdr_x265: mastering display and content light level in x265's notation, empty for none.
    """

    path: Path
    container: str
    codec: str
    pix_fmt: str
    format: PlaneFormat
    alpha: bool = False
    rate: Fraction | None = None
    time_base: Fraction = Fraction(1, 1000)
    color: ColorTags = ColorTags()
    sample_aspect: Fraction | None = None
    display_matrix: tuple[int, ...] | None = None
    rotation: int = 0
    interlaced: bool = False
    bottom_first: bool = False
    frames: int | None = None
    duration: float | None = None
    chapters: int = 0
    streams: tuple[StreamInfo, ...] = ()
    hdr_x265: tuple[tuple[str, str], ...] = ()
    index: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        shape = self.format
        return {
            "path": str(self.path),
            "container": self.container,
            "codec": self.codec,
            "pixel_format": self.pix_fmt,
            "family": shape.family,
            "width": shape.width,
            "height": shape.height,
            "depth": shape.depth,
            "chroma_subsampling": [1 << shape.chroma_x, 1 << shape.chroma_y],
            "alpha": self.alpha,
            "rate": str(self.rate) if self.rate else None,
            "time_base": str(self.time_base),
            "color": vars(self.color),
            "sample_aspect": str(self.sample_aspect) if self.sample_aspect else None,
            "rotation": self.rotation,
            "interlaced": self.interlaced,
            "bottom_first": self.bottom_first,
            "frames": self.frames,
            "duration": self.duration,
            "chapters": self.chapters,
            "streams": [vars(stream) for stream in self.streams],
        }


def open_input(path: Path, whole: bool = False, gpu: bool = False) -> InputContainer:
    """Open a container for reading, bounded against bombs; raises InputError with the cause.

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
        if path.stat().st_size == 0:
            raise InputError(f"input {path} is empty (0 bytes); nothing to decode; copy or record it again")
        options = {"max_streams": str(MAX_STREAMS), "protocol_whitelist": "file"}
        if whole:
            options["advanced_editlist"] = "0"
        # "file:" keeps names with ":" or a leading "-" from being read as addresses or options.
        container = av.open(
            f"file:{os.path.abspath(path)}",
            "r",
            options={"max_pixels": str(MAX_PIXELS)},
            container_options=options,
            metadata_errors="replace",
            hwaccel=HWAccel("cuda", allow_software_fallback=False) if gpu else None,
        )
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
        raise InputError(f"cannot open {path}; it is {container.format.name}, not a video file; give the video itself")
    if len(container.streams) > MAX_STREAMS:
        container.close()
        raise InputError(
            f"cannot open {path}; it has {len(container.streams)} streams, the limit is {MAX_STREAMS}; remux it"
        )
    return container


def main_video(container: InputContainer, path: Path) -> VideoStream:
    """The stream to denoise: the first one that is not a cover picture; raises InputError where there is none."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            if stream.codec_context is None:
                raise InputError(f"{path} has video of an unknown codec; no decoder for it; convert the file first")
            # Without the detection asked for, decoders pass damaged frames on unflagged.
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS), "err_detect": "bitstream+buffer"}
            return stream
    kinds = ", ".join(stream.type for stream in container.streams) or "no streams"
    raise InputError(f"{path} holds no video; found only {kinds}; give a file with a video stream")


def probe(path: Path) -> VideoInfo:
    """Read the header and the first frame of a video file; raises InputError."""
    with open_input(path) as container:
        stream = main_video(container, path)
        return describe(path, container, stream, _first_frame(container, stream, path))


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> VideoFrame:
    tried = 0
    packets = container.demux(stream)
    while tried < 300:
        try:
            packet = next(packets)
            for frame in packet.decode():
                return frame
        except StopIteration:
            break
        except av.FFmpegError:
            pass
        tried += 1
    name = stream.codec_context.name
    raise InputError(
        f"no frame of {path} could be decoded; its {name} stream is damaged or empty; recover the file first"
    )


def describe(path: Path, container: InputContainer, stream: VideoStream, first: VideoFrame) -> VideoInfo:
    """The facts of an open container whose first decoded frame is `first`; raises InputError for odd formats."""
    layout = layout_of(first.format.name)
    context = stream.codec_context
    if first.width * first.height > MAX_PIXELS:
        raise InputError(
            f"{path} has frames of {first.width}x{first.height}; the limit is {MAX_PIXELS} pixels; scale it first"
        )
    time_base = stream.time_base or Fraction(1, 1000)
    rate = stream.average_rate or stream.guessed_rate or None
    duration = stream_duration(container, stream)
    frames = stream.frames or None
    if frames is None and duration is not None and rate:
        frames = max(1, round(duration * rate))
    matrix = _display_matrix(first)
    aspect = stream.sample_aspect_ratio
    color = ColorTags(
        primaries=_known(int(first.color_primaries), context.color_primaries),
        transfer=_known(int(first.color_trc), context.color_trc),
        matrix=_known(int(first.colorspace), context.colorspace),
        range=_FULL_RANGE if first.format.name.startswith("yuvj") else int(first.color_range) or context.color_range,
    )
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=context.name,
        pix_fmt=first.format.name,
        format=replace(
            layout.plane_format(first.width, first.height), matrix=color.matrix, full_range=color.range == _FULL_RANGE
        ),
        alpha=layout.alpha,
        rate=rate,
        time_base=time_base,
        color=color,
        sample_aspect=aspect if aspect else None,
        display_matrix=matrix,
        rotation=int(first.rotation),
        interlaced=first.interlaced_frame or context.field_order not in _PROGRESSIVE_ORDERS,
        bottom_first=context.field_order in _BOTTOM_FIRST_ORDERS,
        frames=frames,
        duration=duration,
        chapters=len(container.chapters()),
        streams=tuple(
            StreamInfo(
                other.index, other.type, other.codec_context.name if other.codec_context else "", other.language or ""
            )
            for other in container.streams
        ),
        hdr_x265=_hdr(first),
        index=stream.index,
    )


def _known(first: int, second: int) -> int:
    """The colour code point of the frame, or of its stream where the frame says "unspecified"."""
    return first if first != 2 else int(second)


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


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    data = _side_data(frame, SideDataType.DISPLAYMATRIX)
    return struct.unpack("=9i", data[:36]) if len(data) >= 36 else None


def _side_data(frame: VideoFrame, kind: SideDataType) -> bytes:
    """The bytes of one kind of side data, empty where the frame has none."""
    return next((bytes(data) for data in cast("Iterator[SideData]", iter(frame.side_data)) if data.type == kind), b"")


def _hdr(frame: VideoFrame) -> tuple[tuple[str, str], ...]:
    """Mastering display (chromaticities in 1/50000, luminance in 1/10000 cd/m2) and light levels, as x265 options."""
    found: list[tuple[str, str]] = []
    mastering = _side_data(frame, SideDataType.MASTERING_DISPLAY_METADATA)
    if len(mastering) >= 88:
        numbers = struct.unpack("=22i", mastering[:88])
        values = [
            top / bottom if bottom else math.nan for top, bottom in zip(numbers[0:20:2], numbers[1:20:2], strict=True)
        ]
        if numbers[20] and numbers[21]:
            xy = [round(value * 50000) for value in values[:8]]
            low, high = (round(value * 10000) for value in values[8:])
            red, green, blue, white = (f"({x},{y})" for x, y in zip(xy[0::2], xy[1::2], strict=True))
            found.append(("master-display", f"G{green}B{blue}R{red}WP{white}L({high},{low})"))
    light = _side_data(frame, SideDataType.CONTENT_LIGHT_LEVEL)
    if len(light) >= 8:
        most, average = struct.unpack("=2I", light[:8])
        found.append(("max-cll", f"{most},{average}"))
    return tuple(found)


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
