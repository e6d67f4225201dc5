"""Which encoder, pixel format and options write a stream: the choices of the user, or what keeps the source best."""

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.video.carry import Fate, How
from vnlsdenoise.video.pixels import Layout, layout_of
from vnlsdenoise.video.priority import kept_priority
from vnlsdenoise.video.probe import ColorTags, VideoInfo, lost_colors, tags_of
from vnlsdenoise.video.side_data import is_turn

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_ENCODERS = {
    "h264": "libx264",
    "x264": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "x265": "libx265",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "prores": "prores_ks",
    "ffv1": "ffv1",
}
_DEFAULT_CRF = {"libx264": 16.0, "libx265": 16.0, "libvpx-vp9": 20.0, "libsvtav1": 18.0}
_WEB = ("libvpx", "libvpx-vp9")
_WEB_ALPHA = {"auto-alt-ref": "0"}  # which they do not know how to do with transparency
_WELL = {"qmin": "2", "qmax": "2"}  # the finest quantiser that old decoders take
_SLOWEST_USEFUL = {
    "mpeg1video": _WELL,
    "mpeg2video": _WELL,
    "mpeg4": _WELL,
    "libsvtav1": {"preset": "6"},
    "libvpx-vp9": {"row-mt": "1", "b": "0"},
}
_X265_LEAST_SIDE = 16
_CARRIES_FIELDS = ("libx264", "libx265", "ffv1", "prores_ks", "prores", "prores_aw", "mpeg2video")
MATROSKA = ("matroska", "webm")
_TELLS_FIELDS_OF_EACH = ("libx264", "libx265", "ffv1")
# The others leave the shape of pixels to the container.
CARRIES_ASPECT = ("libx264", "libx265", "mpeg2video", "mpeg4")
_CARRIES_CHROMA_LOCATION = ("libx264", "libx265", "libsvtav1")
_CARRIES_CAPTIONS = ("libx264", "libx265", "mpeg2video")
CARRIES_HDR = ("libx264", "libx265", "libsvtav1")
_CARRIES_STEREO = ("libx264", "mpeg2video")
_X264_HDR = {"master-display": "mastering-display", "max-cll": "cll"}
# Where the samples of chroma stand if nothing is said.
_USUAL_CHROMA_LOCATION = ("", "left")


@dataclass(frozen=True)
class Encoding:
    """What the user asks of the encoder; None and empty mean: choose.

    codec: "h264", "hevc", "vp9", "av1", "prores", "ffv1" or one of FFmpeg's encoders. crf: its quality scale.
    options: further private options of the encoder. pix_fmt: FFmpeg's name of the output's pixel format.
    """

    codec: str | None = None
    crf: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    pix_fmt: str | None = None
    lossless: bool = False


@dataclass(frozen=True)
class EncoderChoice:
    """The encoder in use. exact: decoding gives back the very samples that were written.

    display_matrix: as the container keeps it. fates: what becomes of the properties of the video.
    """

    container: str
    encoder: str
    layout: Layout
    options: dict[str, str]
    color: ColorTags
    exact: bool
    display_matrix: tuple[int, ...] | None = None
    fates: tuple[Fate, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is not kept of the video, in words."""
        return tuple(fate.why for fate in self.fates if fate.how != "kept")


def container_of(path: Path) -> str:
    """FFmpeg's name of the container for a file name; raises UsageError for other endings."""
    try:
        return CONTAINERS[path.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"output {path.name} has no known ending; expected one of {', '.join(CONTAINERS)}, "
            "or a folder, or a pattern of .png, .tif, .dpx or .exr; rename it"
        ) from None


def choose(path: Path, info: VideoInfo, wish: Encoding) -> EncoderChoice:
    """The encoder for `path` that keeps the depth and chroma of `info`; raises UsageError where wishes contradict.

    8 bits go to H.264, more to HEVC, .webm to VP9, lossless to FFV1, transparency to what keeps it.
    """
    container = container_of(path)
    fates: list[Fate] = []
    encoder = _encoder_name(container, info, wish)
    codec = _codec(encoder)
    supported = [layout for name in codec if (layout := known_layout(name)) is not None]
    if wish.pix_fmt is not None:
        try:
            layout = layout_of(wish.pix_fmt)
        except InputError as error:
            raise UsageError(
                f"--pix-fmt {wish.pix_fmt} cannot be written; choose another one, or leave it out"
            ) from error
        if supported and wish.pix_fmt not in [known.name for known in supported]:
            names = ", ".join(known.name for known in supported)
            raise UsageError(
                f"--pix-fmt {wish.pix_fmt} does not fit encoder {encoder}; it takes {names}; choose one of these"
            )
        if _refuses_size(encoder, layout, info):
            raise UsageError(
                _odd_size(encoder, layout, info) + "; choose a 4:4:4 pixel format, or --codec vp9, av1 or ffv1"
            )
    else:
        fitting = [known for known in supported if not _refuses_size(encoder, known, info)]
        if info.alpha and encoder in _WEB:  # whose transparency is what they are used for
            fitting = [known for known in fitting if known.alpha] or fitting
        if not supported:
            raise UsageError(
                f"{encoder} does not say what pixel formats it takes; give --pix-fmt {info.pix_fmt}, or another --codec"
            )
        if not fitting:
            raise UsageError(
                f"{encoder} takes no frames of {info.format.width}x{info.format.height}; choose --codec ffv1 or vp9"
            )
        layout = min(fitting, key=lambda known: cost(known, info))
        if _refuses_size(encoder, min(supported, key=lambda known: cost(known, info)), info):
            why = (
                f"{info.format.width}x{info.format.height} cannot be written with subsampled chroma by {encoder}; "
                f"the chroma is repeated to full size ({layout.name}); "
                "give --codec vp9, av1 or ffv1 to keep the subsampling"
            )
            fates.append(Fate("chroma", "converted", why))
    color = color_of(layout, info)
    _check_container(path, container, encoder, layout, color)
    fates += losses(layout, info, encoder)
    if wish.lossless and fates:
        raise UsageError(f"--lossless is not possible: {fates[0].why}; choose FFV1 in .mkv, or leave --lossless out")
    options = _options(encoder, layout, info, wish)
    exact = (wish.lossless or encoder == "ffv1") and not fates
    fates += _properties(encoder, container, layout, info)
    matrix = info.display_matrix if _keeps(container, info.display_matrix) else None
    return EncoderChoice(container, encoder, layout, options, color, exact, matrix, tuple(fates))


def _keeps(container: str, matrix: tuple[int, ...] | None) -> bool:
    return container not in MATROSKA or matrix is None or is_turn(matrix)


def _properties(encoder: str, container: str, layout: Layout, info: VideoInfo) -> list[Fate]:
    """What becomes of everything that is told about the video besides its samples."""
    fates = []

    def tell(what: str, kept: bool, why: str, how: How = "left out") -> None:
        fates.append(Fate(what, "kept") if kept else Fate(what, how, why))

    matroska = container in MATROSKA
    if info.sample_aspect is not None and info.sample_aspect != 1:
        tell("pixel aspect ratio", True, "")
    if info.display_matrix is not None:
        tell(
            "display matrix",
            _keeps(container, info.display_matrix),
            f"the display matrix is left out: {container} keeps what turns and mirrors the picture, and this one does "
            "something else to it; .mp4 and .mov keep it",
        )
    if info.interlaced:
        tell(
            "order of fields",
            encoder in _CARRIES_FIELDS,
            f"{encoder} cannot say that frames are interlaced; players will not know; --codec h264 or hevc says it",
        )
    if info.mixed:
        tell(
            "frames without fields among interlaced ones",
            encoder in _TELLS_FIELDS_OF_EACH,
            f"{encoder} calls all frames of a film interlaced if some are; --codec h264 or hevc tells of each",
            "converted",
        )
    if info.chroma_location not in _USUAL_CHROMA_LOCATION and layout.chroma_x:
        tell(
            "place of chroma samples",
            matroska or encoder in _CARRIES_CHROMA_LOCATION,
            f"the place of the chroma samples ({info.chroma_location}) is lost: {encoder} in {container} does "
            "not carry it; --codec h264 or hevc does",
        )
    if info.survey.captions:
        tell(
            "closed captions",
            encoder in _CARRIES_CAPTIONS,
            f"closed captions within the video are left out: {encoder} does not carry them; --codec h264 or hevc does",
        )
    if info.hdr_x265:
        tell(
            "HDR10 metadata",
            matroska or encoder in CARRIES_HDR,
            f"HDR10 metadata (mastering display, light level) is left out: {encoder} in {container} does not carry it; "
            "--codec hevc or av1 does, and .mkv",
        )
    if "stereoscopic layout" in info.side_data:
        tell(
            "stereoscopic layout",
            encoder in _CARRIES_STEREO or matroska,
            f"the stereoscopic layout is left out: {encoder} in {container} does not carry it; --codec h264 does",
        )
    if info.timecode:
        tell("time code of frames", True, "")
    # The container says it of the first frame, and those behind count on.
    told = ("stereoscopic layout", "closed captions", *(("time code of frames",) if info.timecode_rate else ()))
    for name in info.side_data:
        if name not in told:
            tell(name, False, f"{name} of the video is left out: no encoder here carries it")
    if any(info.crop):
        shown = f"{info.format.width}x{info.format.height}"
        tell("crop of the container", False, f"the crop of the container is applied: {shown} are written", "converted")
    return fates


def _encoder_name(container: str, info: VideoInfo, wish: Encoding) -> str:
    if wish.codec is not None:
        # FFmpeg takes names of codecs, too.
        with suppress(ValueError):
            return av.Codec(_ENCODERS.get(wish.codec.lower(), wish.codec), "w").name
        return wish.codec
    if wish.lossless:
        if container != "matroska":
            raise UsageError(f"--lossless writes FFV1, which {container} does not take; name the output .mkv")
        return "ffv1"
    if info.alpha and container == "mov":
        return "prores_ks"
    if info.alpha and container == "matroska" and info.format.depth == 8 and info.format.chroma_y:
        return "libvpx-vp9"
    if container == "webm":
        return "libvpx-vp9" if info.format.depth == 8 else "libsvtav1"
    if info.format.depth == 8 or min(info.format.width, info.format.height) < _X265_LEAST_SIDE:
        return "libx264"
    return "libx265"


def _codec(encoder: str) -> list[str]:
    try:
        codec = av.Codec(encoder, "w")
    except ValueError as error:
        known = ", ".join(sorted(set(_ENCODERS) - {"x264", "x265", "h265"}))
        raise UsageError(
            f"--codec {encoder} is not an encoder of this FFmpeg; expected {known} or an FFmpeg encoder"
        ) from error
    if codec.type != "video":
        raise UsageError(f"--codec {encoder} encodes {codec.type}, not video; choose a video encoder")
    return [known.name for known in codec.video_formats or [] if _takes(encoder, known.name)]


@cache
def _takes(encoder: str, pix_fmt: str) -> bool:
    """Whether an encoder opens with a pixel format that it names. Only transparency is tried: it is for other builds in
    some, in others an experiment that hardly anything plays."""
    layout = known_layout(pix_fmt)
    if layout is None or not layout.alpha:
        return True
    context: Any = av.CodecContext.create(encoder, "w")
    return _opens(context, encoder, pix_fmt)


def _opens(context: Any, encoder: str, pix_fmt: str) -> bool:
    """Whether an encoder opens for small frames of a pixel format."""
    quiet = {"x265-params": "log-level=none"} if encoder == "libx265" else {}
    context.width = context.height = 2 * _X265_LEAST_SIDE
    context.pix_fmt, context.time_base = pix_fmt, Fraction(1, 25)
    context.options = _WEB_ALPHA if encoder in _WEB else quiet
    try:
        with kept_priority():
            context.open()
    except av.FFmpegError:
        return False
    return True


def _check_container(path: Path, container: str, encoder: str, layout: Layout, color: ColorTags) -> None:
    """Raise UsageError where a container does not take what an encoder makes, or the two would tell other colours."""
    other = f"choose another --codec{'' if container == 'matroska' else ', or name the output .mkv'}"
    try:
        read = _tags_read_back(container, encoder, layout.name, color)
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path.suffix} does not take the video of {encoder} ({reason}); {other}") from error
    if read is None:
        return
    back, family = read
    for what, want, got in lost_colors(color, back, layout.family, family):
        raise UsageError(
            f"{encoder} in {path.suffix} cannot say the {what} of this video: {want} would be taken for {got}, "
            "which shows other colours; choose --codec h264, hevc, vp9 or av1"
        )


@cache
def _tags_read_back(container: str, encoder: str, pix_fmt: str, color: ColorTags) -> tuple[ColorTags, str] | None:
    """The tags of a small frame with these once it was written to memory and read back, and its family of samples.

    None where the encoder wants more than this small trial gives it. Raises FFmpegError and ValueError where the
    container does not take what the encoder makes.
    """
    memory = io.BytesIO()
    with av.open(memory, "w", format=container) as trial:
        stream: Any = trial.add_stream(encoder, rate=25)
        frame = av.VideoFrame(2 * _X265_LEAST_SIDE, 2 * _X265_LEAST_SIDE, pix_fmt)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for tagged in (stream.codec_context, frame):
            tagged.color_primaries, tagged.color_trc = color.primaries, color.transfer
            tagged.colorspace, tagged.color_range = color.matrix, color.range
        if not _opens(stream.codec_context, encoder, pix_fmt):
            return None
        frame.pts, frame.time_base = 0, stream.codec_context.time_base
        trial.start_encoding()
        try:
            trial.mux([*stream.encode(frame), *stream.encode(None)])
        except av.FFmpegError:
            return None
    with suppress(av.FFmpegError), av.open(io.BytesIO(memory.getvalue()), "r") as written:
        for first in written.decode(video=0):
            return tags_of(first, written.streams.video[0].codec_context), layout_of(first.format.name).family
    return None


def known_layout(name: str) -> Layout | None:
    """The layout of a pixel format that frames can be given in as they are, None for others."""
    if name.startswith("yuvj"):
        return None
    try:
        layout = layout_of(name)
    except InputError:
        return None
    return layout if layout.exact else None


def cost(layout: Layout, info: VideoInfo) -> tuple[int, ...]:
    """Smaller is better: first what would be lost, then what would be wasted."""
    source = info.format
    families = {"yuv": 1, "rgb": 2, "gray": 3} | {source.family: 0}
    coarser = (layout.chroma_x > source.chroma_x or layout.chroma_y > source.chroma_y) and source.family != "gray"
    wasted_chroma = abs(source.chroma_x - layout.chroma_x) + abs(source.chroma_y - layout.chroma_y)
    if source.family == "gray":
        wasted_chroma = 4 - layout.chroma_x - layout.chroma_y
    return (
        families.get(layout.family, 3),
        int(coarser),
        max(0, source.depth - layout.depth),
        int(info.alpha and not layout.alpha),
        wasted_chroma,
        max(0, layout.depth - source.depth),
        int(layout.alpha and not info.alpha),
    )


def _refuses_size(encoder: str, layout: Layout, info: VideoInfo) -> bool:
    width, height = info.format.width, info.format.height
    if encoder == "libx265" and min(width, height) < _X265_LEAST_SIDE:
        return True
    fields = int(info.interlaced)  # each of the two needs whole rows of chroma
    odd = bool((width % (1 << layout.chroma_x)) or (height % (1 << (layout.chroma_y + fields))))
    return odd and encoder in ("libx264", "libx265")


def _odd_size(encoder: str, layout: Layout, info: VideoInfo) -> str:
    return f"{encoder} cannot write {info.format.width}x{info.format.height} as {layout.name}"


def losses(layout: Layout, info: VideoInfo, encoder: str) -> list[Fate]:
    """What becomes of the samples where it is not the same."""
    source = info.format
    found = []
    if source.family == "rgb" and layout.family != "rgb":
        why = f"RGB is written as {layout.name} (BT.709) by {encoder}; give --lossless to keep RGB"
        found.append(Fate("RGB", "converted", why))
    if source.family == "yuv" and layout.family == "rgb":
        why = f"YUV is written as RGB ({layout.name}) by {encoder}; another --codec or --pix-fmt keeps YUV"
        found.append(Fate("YUV", "converted", why))
    if source.family != "gray" and layout.family == "gray":
        found.append(Fate("colour", "left out", f"colour is dropped: {layout.name} holds gray only"))
    if source.family == "yuv" and (layout.chroma_x > source.chroma_x or layout.chroma_y > source.chroma_y):
        why = f"chroma is reduced: {layout.name} holds less than {info.pix_fmt}"
        found.append(Fate("chroma", "converted", why))
    if layout.depth < source.depth:
        why = (
            f"{source.depth}-bit samples are rounded to {layout.depth} bits for {encoder}; give --lossless to keep them"
        )
        found.append(Fate("depth", "converted", why))
    if info.alpha and not layout.alpha:
        why = f"the alpha channel is dropped: {layout.name} has none; give --lossless to keep it"
        found.append(Fate("alpha", "left out", why))
    return found


def _options(encoder: str, layout: Layout, info: VideoInfo, wish: Encoding) -> dict[str, str]:
    options = dict(_SLOWEST_USEFUL.get(encoder, {}))
    if encoder == "ffv1":
        # Slices of FFV1 lose the last column of chroma four times coarser, unless the width is a multiple of four.
        options |= {"level": "1"} if layout.chroma_x > 1 else {"level": "3", "g": "1", "slicecrc": "1"}
    crf = wish.crf if wish.crf is not None else _DEFAULT_CRF.get(encoder)
    if wish.crf is not None and encoder not in _DEFAULT_CRF:
        raise UsageError(f"--crf has no meaning for {encoder}; it has no such quality scale; leave it out")
    if crf is not None:
        options["crf"] = f"{crf:g}"
    if encoder in _WEB and layout.alpha:
        options |= _WEB_ALPHA
    own = {}
    if encoder == "libx264":
        parts = [f"{_X264_HDR[key]}={value}" for key, value in info.hdr_x265]
        parts += ["bff=1" if info.bottom_first else "tff=1"] if info.interlaced else []
        if parts:
            own["x264-params"] = _joined(*parts, wish.options.get("x264-params"))
    if encoder == "libsvtav1" and info.hdr_x265:
        own["svtav1-params"] = _joined(*_svt_hdr(info), wish.options.get("svtav1-params"))
    if encoder == "libx265":
        parts = ["log-level=error"]
        parts += [f"{key}={value}" for key, value in info.hdr_x265]
        parts += ["hdr10=1"] if info.hdr_x265 else []
        if wish.lossless:
            parts.append("lossless=1")
        if info.interlaced:
            parts.append("interlace=bff" if info.bottom_first else "interlace=tff")
        own["x265-params"] = _joined(*parts, wish.options.get("x265-params"))
    elif wish.lossless and encoder in ("libx264", "libvpx-vp9"):
        options |= {"qp": "0"} if encoder == "libx264" else {"lossless": "1"}
        options.pop("crf")
    elif wish.lossless and encoder != "ffv1":
        raise UsageError(
            f"--lossless is not possible with {encoder}; choose --codec ffv1, h264, hevc or vp9, or leave --codec out"
        )
    return options | dict(wish.options) | own


def hdr_numbers(hdr_x265: tuple[tuple[str, str], ...]) -> tuple[tuple[str, float, float], ...]:
    """Chromaticities of "G", "B", "R", "WP", the most and least cd/m2 "L", and those of the levels of "light"."""
    units = {"G": 50000, "B": 50000, "R": 50000, "WP": 50000, "L": 10000}
    found = []
    for key, value in hdr_x265:
        for name, x, y in re.findall(r"([A-Z]+)\((\d+),(\d+)\)", value):
            found.append((name, int(x) / units[name], int(y) / units[name]))
        if key == "max-cll":
            most, average = map(float, value.split(","))
            found.append(("light", most, average))
    return tuple(found)


def _svt_hdr(info: VideoInfo) -> list[str]:
    """Mastering display and light levels in the words of SVT-AV1."""
    numbers = hdr_numbers(info.hdr_x265)
    display = "".join(f"{name}({x:.4f},{y:.4f})" for name, x, y in numbers if name != "light")
    light = [f"content-light={most:.0f},{average:.0f}" for name, most, average in numbers if name == "light"]
    return ([f"mastering-display={display}"] if display else []) + light


def _joined(*parameters: str | None) -> str:
    """Parameters of x264 or x265, the user's last, which win."""
    return ":".join(part for part in parameters if part)


def color_of(layout: Layout, info: VideoInfo) -> ColorTags:
    """What the colours of `info` are called once they are written as `layout`."""
    if info.format.family == "rgb" and layout.family == "yuv":
        return ColorTags(info.color.primaries, info.color.transfer, matrix=1, range=1)
    if layout.family == "rgb":
        return ColorTags(info.color.primaries, info.color.transfer, matrix=0, range=info.color.range)
    return info.color
