"""Which encoder, pixel format and options write a stream: the choices of the user, or what keeps the source best."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.video.pixels import Layout, layout_of
from vnlsdenoise.video.probe import ColorTags, VideoInfo

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
_SLOWEST_USEFUL = {"libsvtav1": {"preset": "6"}, "libvpx-vp9": {"row-mt": "1", "b": "0"}}
_X265_LEAST_SIDE = 16
_CARRIES_FIELDS = ("libx264", "libx265", "ffv1", "prores_ks")
# The others leave the shape of pixels to the container, and PyAV cannot tell it to Matroska.
_CARRIES_ASPECT = ("libx264", "libx265")


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
    """The encoder in use. exact: decoding gives back the very samples that were written."""

    container: str
    encoder: str
    layout: Layout
    options: dict[str, str]
    color: ColorTags
    exact: bool
    warnings: tuple[str, ...] = ()


def container_of(path: Path) -> str:
    """FFmpeg's name of the container for a file name; raises UsageError for other endings."""
    try:
        return CONTAINERS[path.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"output {path.name} has no known ending; expected one of {', '.join(CONTAINERS)}, "
            "or a folder or pattern of .png or .tif; "
            "rename it"
        ) from None


def choose(path: Path, info: VideoInfo, wish: Encoding) -> EncoderChoice:
    """The encoder for `path` that keeps the depth and chroma of `info`; raises UsageError where wishes contradict.

    8 bits go to H.264, more to HEVC, .webm to VP9, lossless to FFV1. What changes the samples is in `warnings`.
    """
    container = container_of(path)
    warnings: list[str] = []
    encoder = _encoder_name(container, info, wish)
    codec = _codec(encoder)
    supported = [layout for name in codec if (layout := _known_layout(name)) is not None]
    if wish.pix_fmt is not None:
        layout = layout_of(wish.pix_fmt)
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
        if not fitting:
            raise UsageError(
                f"{encoder} takes no frames of {info.format.width}x{info.format.height}; choose --codec ffv1 or vp9"
            )
        layout = min(fitting, key=lambda known: _cost(known, info))
        if _refuses_size(encoder, min(supported, key=lambda known: _cost(known, info)), info):
            warnings.append(
                f"{info.format.width}x{info.format.height} cannot be written with subsampled chroma by {encoder}; "
                f"the chroma is repeated to full size ({layout.name}); "
                "give --codec vp9, av1 or ffv1 to keep the subsampling"
            )
    warnings += _losses(layout, info, encoder)
    if wish.lossless and warnings:
        raise UsageError(f"--lossless is not possible: {warnings[0]}; choose FFV1 in .mkv, or leave --lossless out")
    options = _options(encoder, layout, info, wish)
    exact = (wish.lossless or encoder == "ffv1") and not warnings
    if (
        container in ("matroska", "webm")
        and encoder not in _CARRIES_ASPECT
        and info.sample_aspect is not None
        and info.sample_aspect != 1
    ):
        warnings.append(
            f"the pixel aspect ratio {info.sample_aspect} is lost: {encoder} in {path.suffix} does not carry it; "
            "--codec h264 or hevc does"
        )
    if info.interlaced and encoder not in _CARRIES_FIELDS:
        warnings.append(
            f"{encoder} cannot say that frames are interlaced; players will not know; --codec h264 or hevc says it"
        )
    return EncoderChoice(container, encoder, layout, options, _color(layout, info), exact, tuple(warnings))


def _encoder_name(container: str, info: VideoInfo, wish: Encoding) -> str:
    if wish.codec is not None:
        return _ENCODERS.get(wish.codec.lower(), wish.codec)
    if wish.lossless:
        if container != "matroska":
            raise UsageError(f"--lossless writes FFV1, which {container} does not take; name the output .mkv")
        return "ffv1"
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
    return [known.name for known in codec.video_formats or []]


def _known_layout(name: str) -> Layout | None:
    if name.startswith("yuvj"):
        return None
    try:
        layout = layout_of(name)
    except InputError:
        return None
    return layout if layout.exact else None


def _cost(layout: Layout, info: VideoInfo) -> tuple[int, ...]:
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


def _losses(layout: Layout, info: VideoInfo, encoder: str) -> list[str]:
    source = info.format
    found = []
    if source.family == "rgb" and layout.family != "rgb":
        found.append(f"RGB is written as {layout.name} (BT.709) by {encoder}; give --lossless to keep RGB")
    if source.family != "gray" and layout.family == "gray":
        found.append(f"colour is dropped: {layout.name} holds gray only")
    if source.family == "yuv" and (layout.chroma_x > source.chroma_x or layout.chroma_y > source.chroma_y):
        found.append(f"chroma is reduced: {layout.name} holds less than {info.pix_fmt}")
    if layout.depth < source.depth:
        found.append(
            f"{source.depth}-bit samples are rounded to {layout.depth} bits for {encoder}; give --lossless to keep them"
        )
    if info.alpha and not layout.alpha:
        found.append(f"the alpha channel is dropped: {layout.name} has none; give --lossless to keep it")
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
    own = {}
    if encoder == "libx264" and info.interlaced:
        own["x264-params"] = _joined("bff=1" if info.bottom_first else "tff=1", wish.options.get("x264-params"))
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


def _joined(*parameters: str | None) -> str:
    """Parameters of x264 or x265, the user's last, which win."""
    return ":".join(part for part in parameters if part)


def _color(layout: Layout, info: VideoInfo) -> ColorTags:
    if info.format.family == "rgb" and layout.family == "yuv":
        return ColorTags(info.color.primaries, info.color.transfer, matrix=1, range=1)
    if layout.family == "rgb":
        return ColorTags(info.color.primaries, info.color.transfer, matrix=0, range=info.color.range)
    return info.color
