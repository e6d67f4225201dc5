"""What a file holds: the layout of its frames, their timing and tags, and the streams beside them."""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vnlsdenoise.errors import InputError
from vnlsdenoise.video.container import (
    MAX_PIXELS,
    decode_next,
    decoder_of,
    dumped,
    films_of,
    kind_of,
    main_video,
    name_of,
    open_input,
    packets_of,
    timecode_rate,
)
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.pixels import FULL_RANGE, layout_of, range_of
from vnlsdenoise.video.side_data import (
    NAMES,
    chroma_location,
    crop,
    display_matrix,
    hdr,
    kinds_of,
    names_of,
    stereo_mode,
)
from vnlsdenoise.video.survey import Survey, stream_duration, survey
from vnlsdenoise.video.timecode import time_code

_PROGRESSIVE_ORDERS, _BOTTOM_FIRST_ORDERS = (0, 1), (3, 4)  # of FFmpeg's AVFieldOrder
_MOST_FRAMES_A_SECOND = 1000
_UNSAID, _UNKNOWN_RANGE, _LIMITED = 2, 0, 1  # of `ColorTags`
_FIRST_PACKETS = 300  # within which a frame must decode


@dataclass(frozen=True)
class ColorTags:
    """The colour of a stream in the code points of ISO/IEC 23091-2; range: 0 unknown, 1 limited, 2 full."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0


@dataclass(frozen=True)
class StreamInfo:
    """One stream of the container. codec: or the name of the data or the attached file; "" where none is known."""

    index: int
    kind: str
    codec: str
    language: str


@dataclass(frozen=True)
class Cut:
    """A part of a film, in ticks of its time base: begin <= pts, and pts < end (None: to its end).

    shift: what is taken from all time stamps, so that the part begins when the whole did.
    """

    begin: int
    end: int | None
    shift: int


@dataclass(frozen=True)
class VideoInfo:
    """What the input holds.

    rate: average frames a second, None where unknown. time_base: seconds a tick of the time stamps.
    display_matrix: the 9 numbers of the container's display matrix, None for an upright picture; rotation in degrees,
    counter-clockwise. frames: an estimate, None where the container tells nothing. duration: seconds of video.
    interlaced: frames hold two fields, of which the upper lines were taken first, or the lower ones (bottom_first).
    hdr_x265: mastering display and content light level in x265's notation, empty for none.
    format: of the frames that are given; crop: (top, bottom, left, right) pixels of the coded ones that the container
    hides, which are left out. chroma_location: FFmpeg's name, "" where it is not told. stereo_mode: Matroska's name, ""
    for one picture. side_data: what else frames have beside their samples, in words. decoder: FFmpeg's name.
    survey: what a pass over the file found. index: of the video stream in the container; video_streams: how many films
    there are. tags: of the file. timecode: of the first frame, which the video carries and the container does not, ""
    for none. timecode_rate: frames a second that the time code counts, of the one or the other. cut: the part of the
    film that is meant, None for all of it; frames and duration are then those of the part.
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
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    chroma_location: str = ""
    side_data: tuple[str, ...] = ()
    stereo_mode: str = ""
    decoder: str = ""
    survey: Survey = field(default_factory=Survey)
    video_streams: int = 1
    tags: tuple[tuple[str, str], ...] = ()
    timecode: str = ""
    timecode_rate: Fraction | None = None
    cut: Cut | None = None

    @property
    def mixed(self) -> bool:
        """Whether some frames hold two fields and others do not."""
        return self.survey.interlaced > 0 and self.survey.progressive > 0

    def warnings(self) -> tuple[str, ...]:
        """What about the file makes the output another one than might be expected, in words."""
        found, seen = [], self.survey
        if self.video_streams > 1:
            found.append(
                f"{self.video_streams} video streams: stream {self.index} ({self.format.width}x{self.format.height}) "
                "is denoised, the others are not; --video-stream N chooses another one"
            )
        if self.mixed and seen.interlaced_at is not None:
            found.append(f"some frames are interlaced (the first one at {seen.interlaced_at:.2f} s), others are not")
        if seen.timeline:
            found.append(str(seen.timeline))
        if seen.later:
            found.append(f"streams that begin only within the file are left out: {'; '.join(seen.later)}")
        if seen.recolored:
            found.append(
                f"the tags of colour change ({seen.recolored}); the output has those of the first frames, under which "
                "what follows is shown in other colours; split the file there"
            )
        if seen.resounded:
            found.append(
                f"the sound changes ({seen.resounded}); the output names it after its first kind, and players may "
                "not play what follows; split the file there"
            )
        if seen.torn:
            found.append("damaged: a part of the file cannot be read")
        if seen.short_by:
            found.append(f"damaged: the last {seen.short_by:.2f} s are missing")
        elif seen.cut:
            found.append("damaged: the file was cut off within a packet")
        return tuple(found)

    def notes(self) -> tuple[str, ...]:
        """Everything that is special about the file, in words."""
        found, seen = [*self.warnings()], self.survey
        if any(self.crop):
            top, bottom, left, right = self.crop
            found.append(
                f"the container hides {top}, {bottom}, {left}, {right} pixels at the top, bottom, left and right; "
                f"{self.format.width}x{self.format.height} are shown, and those are denoised and written"
            )
        if self.interlaced and not self.mixed:
            found.append(f"interlaced, the {'lower' if self.bottom_first else 'upper'} lines first")
        if seen.decoding_order and self.container == "avi":
            found.append("its time stamps say when frames are decoded; those of display are made of them")
        if seen.captions:
            found.append("closed captions within the video")
        if seen.change:
            found.append(f"the video changes {seen.change}")
        if self.alpha:
            found.append("transparency (an alpha channel)")
        found += (
            [f"the chroma samples stand {self.chroma_location}"] if self.chroma_location not in ("", "left") else []
        )
        return (*found, *(name for name in self.side_data if name != NAMES[SideDataType.A53_CC]))

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
            "crop": list(self.crop),
            "chroma_location": self.chroma_location or None,
            "video_stream": self.index,
            "tags": dict(self.tags),
            "notes": list(self.notes()),
            "streams": [vars(stream) for stream in self.streams],
        }


def probe(path: Path, index: int | None = None, whole: bool = True) -> VideoInfo:
    """Read the header and the first frame of a video file and survey the rest; raises InputError.

    index: of the video stream, None for the film. whole: False leaves the survey out.
    """
    with open_input(path) as container:
        stream = main_video(container, path, index)
        first, decoder, packet = _first_frame(container, stream, path)
        info = describe(path, container, stream, first, decoder)
        if info.timecode_rate is None and (code := time_code(info.codec, packet, first, info.rate)):
            info = replace(info, timecode=code, timecode_rate=stream.guessed_rate or info.rate)
    if not whole:
        return info
    seen = survey(path, info.index, info.rate, vars(info.color))
    if seen.interlaced and not info.interlaced:
        # Where the container calls the video interlaced its word counts: coders have written frames that contradict it.
        info = replace(info, interlaced=True, bottom_first=seen.bottom_first)
    beside = tuple(dict.fromkeys((*info.side_data, *seen.side_data)))
    return replace(info, survey=seen, frames=seen.packets or info.frames, side_data=beside)


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> tuple[VideoFrame, str, bytes]:
    """The first frame, the name of its decoder, and the first packet of a key frame."""
    decoder = decoder_of(stream)
    packets = packets_of(container, stream)
    key = b""
    for _ in range(_FIRST_PACKETS):
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError, OSError):
            break
        key = key or (bytes(packet) if packet.is_keyframe else b"")
        try:
            for frame in decode_next(decoder, packet if packet.size else None):
                return frame, decoder.name, key
        except av.FFmpegError:
            pass
    raise InputError(
        f"no frame of {path} could be decoded; its {decoder.name} stream is damaged or empty; recover the file first"
    )


def describe(path: Path, container: InputContainer, stream: VideoStream, first: VideoFrame, decoder: str) -> VideoInfo:
    """The facts of an open container whose first decoded frame is `first`; raises InputError for odd formats."""
    layout = layout_of(first.format.name)
    context = stream.codec_context
    if first.width * first.height > MAX_PIXELS:
        raise InputError(
            f"{path} has frames of {first.width}x{first.height}; the limit is {MAX_PIXELS} pixels; scale it first"
        )
    time_base = stream.time_base or Fraction(1, 1000)
    rates = [rate for rate in (stream.average_rate, stream.guessed_rate, context.framerate, stream.base_rate) if rate]
    # What some demuxers call the rate is that of their ticks.
    rate = next((rate for rate in rates if rate <= _MOST_FRAMES_A_SECOND), rates[0] if rates else None)
    duration = stream_duration(container, stream)
    frames = stream.frames or None
    if frames is None and duration is not None and rate:
        frames = max(1, round(duration * rate))
    matrix = display_matrix(first)
    words = dumped(container).get(stream.index, [])
    interlaced = context.field_order not in _PROGRESSIVE_ORDERS
    hidden = _aligned(crop(words), layout.plane_format(first.width, first.height), interlaced)
    aspect = stream.sample_aspect_ratio
    color = tags_of(first, context)
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=context.name,
        pix_fmt=first.format.name,
        format=replace(
            layout.plane_format(first.width - hidden[2] - hidden[3], first.height - hidden[0] - hidden[1]),
            matrix=color.matrix,
            full_range=color.range == FULL_RANGE,
        ),
        alpha=layout.alpha,
        rate=rate,
        time_base=time_base,
        color=color,
        sample_aspect=aspect if aspect else None,
        display_matrix=matrix,
        rotation=int(first.rotation),
        interlaced=interlaced,
        bottom_first=context.field_order in _BOTTOM_FIRST_ORDERS,
        frames=frames,
        duration=duration,
        chapters=len(container.chapters()),
        streams=tuple(
            StreamInfo(other.index, kind_of(other), name_of(other), other.language or "") for other in container.streams
        ),
        hdr_x265=hdr(first),
        index=stream.index,
        crop=hidden,
        chroma_location=chroma_location(words),
        side_data=names_of(kinds_of(first)),
        stereo_mode=stereo_mode(first),
        decoder=decoder,
        video_streams=len(films_of(container)),
        tags=tuple(container.metadata.items()),
        timecode_rate=timecode_rate(container, stream),
    )


def tags_of(first: VideoFrame, context: VideoCodecContext) -> ColorTags:
    """What the colours of a stream are called, by its first frame and its decoder."""
    return ColorTags(
        primaries=_known(int(first.color_primaries), context.color_primaries),
        transfer=_known(int(first.color_trc), context.color_trc),
        matrix=_known(int(first.colorspace), context.colorspace),
        range=range_of(first) or context.color_range,
    )


def lost_colors(want: ColorTags, got: ColorTags, written: str, read: str) -> list[tuple[str, int, int]]:
    """Which tags of a written stream say another thing than they should: (name, what they should say, what they say).

    written, read: families of samples, as which the stream was written and is read back: gray may come back as YUV.
    """
    told = [("colour primaries", want.primaries, got.primaries), ("transfer function", want.transfer, got.transfer)]
    # RGB of which nothing is said is RGB, and gray is gray.
    if written == "yuv" or got.matrix != _UNSAID:
        told.insert(0, ("colour matrix", want.matrix, got.matrix))
    lost = [tag for tag in told if tag[1] not in (tag[2], _UNSAID)]
    # YUV of which nothing is said is of limited range.
    usual = (_UNKNOWN_RANGE, _LIMITED) if read == "yuv" else (_UNKNOWN_RANGE,)
    if want.range not in (got.range, _UNKNOWN_RANGE) and not (want.range in usual and got.range in usual):
        lost.append(("colour range", want.range, got.range))
    return lost


def _known(first: int, second: int) -> int:
    """The colour code point of the frame, or of its stream where the frame says "unspecified"."""
    return first if first != _UNSAID else int(second)


def _aligned(hidden: tuple[int, int, int, int], coded: PlaneFormat, interlaced: bool) -> tuple[int, int, int, int]:
    """A crop that begins with whole samples of chroma, of both fields, and leaves a picture; none where it cannot."""
    top, bottom, left, right = hidden
    top, left = top - top % ((1 + interlaced) << coded.chroma_y), left - left % (1 << coded.chroma_x)
    if top + bottom >= coded.height or left + right >= coded.width:
        return 0, 0, 0, 0
    return top, bottom, left, right
