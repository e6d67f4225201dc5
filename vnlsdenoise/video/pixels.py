"""Between FFmpeg's pixel formats and planes: which formats map one to one, and the exact copy in both directions."""

from dataclasses import dataclass
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from vnlsdenoise.errors import InputError
from vnlsdenoise.video.frame import Plane, PlaneFormat

_SUBSAMPLING = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
# Interleaved formats that are taken apart here, because their order of channels cannot be asked of FFmpeg through PyAV.
# "x" is padding.
_PACKED = {
    "rgb24": "RGB",
    "bgr24": "BGR",
    "rgba": "RGBA",
    "bgra": "BGRA",
    "argb": "ARGB",
    "abgr": "ABGR",
    "rgb0": "RGBx",
    "bgr0": "BGRx",
    "0rgb": "xRGB",
    "0bgr": "xBGR",
    "rgb48": "RGB",
    "bgr48": "BGR",
    "rgba64": "RGBA",
    "bgra64": "BGRA",
    "ya8": "YA",
    "ya16": "YA",
}
_NOT_INTEGER = ("f16", "f32", "xyz12", "bayer")
FULL_RANGE = 2  # of FFmpeg, where 1 is limited and 0 nothing that is said


@dataclass(frozen=True)
class Layout:
    """How FFmpeg's pixel format `name` holds samples.

    channels: for interleaved formats the order of channels ("BGRx"), "" for one plane a channel.
    exact: whether `unpack` and `pack` take it as it is; otherwise FFmpeg has to rearrange it first.
    """

    name: str
    family: Literal["gray", "yuv", "rgb"]
    depth: int
    chroma_x: int
    chroma_y: int
    alpha: bool
    channels: str = ""
    big_endian: bool = False
    exact: bool = True

    def plane_format(self, width: int, height: int) -> PlaneFormat:
        """The planes of a width x height frame of this layout."""
        return PlaneFormat(self.family, width, height, self.depth, self.chroma_x, self.chroma_y)


def range_of(frame: VideoFrame) -> int:
    """As FFmpeg numbers it: 0 where nothing is said, 1 limited, 2 full, which is in the name of JPEG's formats."""
    return FULL_RANGE if frame.format.name.startswith("yuvj") else int(frame.color_range)


def layout_of(name: str) -> Layout:
    """The layout of a pixel format; raises InputError for all but 1- to 16-bit integer Y, YUV and RGB samples."""
    try:
        described = VideoFormat(name)
    except ValueError as error:
        raise InputError(f"pixel format {name!r} is unknown; no frame can be read; convert the file first") from error
    if any(part in name for part in _NOT_INTEGER) or not described.components:
        raise InputError(
            f"pixel format {name} is not supported; expected integer gray, YUV or RGB samples of at most 16 bits; "
            "convert the file first, for example to yuv444p16le or gbrp16le"
        )
    if described.has_palette:
        return Layout(name, "rgb", 8, 0, 0, alpha=False, exact=False)
    components = [part for part in described.components if not part.is_alpha]
    alpha = len(components) < len(described.components)
    is_gray = len(components) == 1
    family: Literal["gray", "yuv", "rgb"] = "gray" if is_gray else "rgb" if described.is_rgb else "yuv"
    chroma_x = chroma_y = 0
    if family == "yuv":
        chroma_x = (64 // described.chroma_width(64)).bit_length() - 1
        chroma_y = (64 // described.chroma_height(64)).bit_length() - 1
        if (chroma_x, chroma_y) not in _SUBSAMPLING:
            raise InputError(
                f"pixel format {name} is not supported: its chroma subsampling has no planar twin; convert the file"
            )
    depth = max(8, max(part.bits for part in components))
    stem = name.removesuffix("le").removesuffix("be")
    channels = _PACKED.get(stem, "")
    planes = [part.plane for part in described.components]
    exact = bool(channels) or (
        len(set(planes)) == len(planes) and "msb" not in name and min(part.bits for part in components) >= 8
    )
    return Layout(name, family, depth, chroma_x, chroma_y, alpha, channels, described.is_big_endian, exact)


def native_name(format: PlaneFormat, alpha: bool = False) -> str:
    """FFmpeg's name of the planar little-endian pixel format that holds `format` as it is."""
    suffix = "" if format.depth == 8 else f"{format.depth}le"
    if format.family == "gray":
        if alpha:
            return "ya8" if format.depth == 8 else "ya16le"
        return f"gray{suffix}"
    if format.family == "rgb":
        return f"gbr{'a' if alpha else ''}p{suffix}"
    return f"yuv{'a' if alpha else ''}{_SUBSAMPLING[format.chroma_x, format.chroma_y]}p{suffix}"


def unpack(frame: VideoFrame) -> tuple[tuple[Plane, ...], Plane | None]:
    """The planes of a decoded frame, copied without padding, and its alpha plane where it has one.

    Formats without a direct plane layout (nv12, p010le, pal8, ...) go through FFmpeg's rearrangement at the same depth.
    """
    layout = layout_of(frame.format.name)
    if not layout.exact:
        twin = native_name(layout.plane_format(frame.width, frame.height), layout.alpha)
        frame = _rearranged(frame, twin)
        layout = layout_of(twin)
    if layout.channels:
        samples = _in_native_order(_rows(frame.planes[0], layout, len(layout.channels) * frame.width, frame.height))
        interleaved = samples.reshape(frame.height, frame.width, len(layout.channels))
        names = "Y" if layout.family == "gray" else "RGB"
        planes = [np.ascontiguousarray(interleaved[..., layout.channels.index(name)]) for name in names]
        alpha = np.ascontiguousarray(interleaved[..., layout.channels.index("A")]) if layout.alpha else None
        return tuple(planes), alpha
    planes = [
        _in_native_order(_rows(frame.planes[part.plane], layout, part.width, part.height).copy())
        for part in VideoFormat(layout.name, frame.width, frame.height).components
    ]
    return (tuple(planes[:-1]), planes[-1]) if layout.alpha else (tuple(planes), None)


def pack(
    planes: tuple[Plane, ...],
    alpha: Plane | None,
    layout: Layout,
    width: int,
    height: int,
    carrier: VideoFrame | None = None,
) -> VideoFrame:
    """A new frame of an exact `layout` that holds `planes`; a missing alpha is opaque. Samples must fit the depth.

    carrier: a frame of any size whose side data the new one has as well.
    """
    frame = VideoFrame(width, height, layout.name)
    if carrier is not None:
        frame = carrier.reformat(width, height, layout.name, interpolation="POINT")
    peak = (1 << layout.depth) - 1
    if layout.alpha and alpha is None:
        alpha = np.full_like(planes[0], peak)
    if layout.channels:
        view = _rows(frame.planes[0], layout, len(layout.channels) * width, height)
        interleaved = view.reshape(height, width, len(layout.channels))
        names = "Y" if layout.family == "gray" else "RGB"
        for index, channel in enumerate(layout.channels):
            if channel == "x":
                interleaved[..., index] = peak
            elif channel == "A":
                assert alpha is not None
                interleaved[..., index] = alpha
            else:
                interleaved[..., index] = planes[names.index(channel)]
        return frame
    components = VideoFormat(layout.name, width, height).components
    for part, plane in zip(components, (*planes, alpha) if alpha is not None and layout.alpha else planes, strict=True):
        _rows(frame.planes[part.plane], layout, part.width, part.height)[:] = plane
    return frame


def _rows(plane: Any, layout: Layout, count: int, height: int) -> npt.NDArray[Any]:
    """A (height, count) view of one plane of a frame, without the padding at the end of its lines."""
    wide = layout.depth > 8
    dtype = np.dtype(np.uint8) if not wide else np.dtype(">u2" if layout.big_endian else "<u2")
    lines = np.frombuffer(plane, dtype=np.uint8).reshape(height, abs(plane.line_size))
    # A negative line size means that the picture is stored bottom up.
    lines = lines[::-1] if plane.line_size < 0 else lines
    return lines[:, : count * dtype.itemsize].view(dtype)


def _in_native_order(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)


def adapt(
    planes: tuple[Plane, ...], alpha: Plane | None, source: PlaneFormat, target: Layout
) -> tuple[tuple[Plane, ...], Plane | None] | None:
    """Bring planes to the depth and chroma resolution of `target` where that is plain arithmetic, else None.

    Depth changes shift (upwards exactly), chroma is repeated, gray gets neutral chroma. RGB to YUV and coarser chroma
    are not done here.
    """
    if source.family != target.family and (source.family, target.family) != ("gray", "yuv"):
        return None
    if source.family == "yuv" and (target.chroma_x > source.chroma_x or target.chroma_y > source.chroma_y):
        return None
    result = [_to_depth(plane, source.depth, target.depth) for plane in planes]
    if source.family == "gray" and target.family == "yuv":
        shape = target.plane_format(source.width, source.height).plane_shapes[1]
        neutral = np.full(shape, 1 << (target.depth - 1), dtype=result[0].dtype)
        result += [neutral, neutral]
    elif (source.chroma_x, source.chroma_y) != (target.chroma_x, target.chroma_y):
        times_x, times_y = 1 << (source.chroma_x - target.chroma_x), 1 << (source.chroma_y - target.chroma_y)
        rows, columns = target.plane_format(source.width, source.height).plane_shapes[1]
        for index in (1, 2):
            result[index] = result[index].repeat(times_y, axis=0).repeat(times_x, axis=1)[:rows, :columns]
    return tuple(result), None if alpha is None else _to_depth(alpha, source.depth, target.depth)


def _to_depth(plane: Plane, source: int, target: int) -> Plane:
    if source == target:
        return plane
    wide: npt.NDArray[Any] = plane.astype(np.uint32)
    if target > source:
        wide = wide << (target - source)
    else:
        drop = source - target
        wide = np.minimum((wide + (1 << (drop - 1))) >> drop, (1 << target) - 1)
    return wide.astype(np.uint8) if target == 8 else wide.astype(np.uint16)


def to_video_frame(
    planes: tuple[Plane, ...],
    alpha: Plane | None,
    source: PlaneFormat,
    target: Layout,
    carrier: VideoFrame | None = None,
) -> VideoFrame:
    """A frame of pixel format `target.name` from planes of format `source`; exact wherever `target` holds `source`.

    RGB to YUV (BT.709, limited range) and coarser chroma go through FFmpeg's scaler. carrier: see `pack`.
    """
    adapted = adapt(planes, alpha, source, target) if target.exact else None
    if adapted is not None:
        return pack(*adapted, target, source.width, source.height, carrier)
    native = layout_of(native_name(source, alpha is not None))
    frame = pack(planes, alpha, native, source.width, source.height, carrier)
    return _rearranged(frame, target.name, to_video=source.family == "rgb" and target.family != "rgb")


def _rearranged(frame: VideoFrame, name: str, to_video: bool = False) -> VideoFrame:
    """`frame` in the pixel format `name` by FFmpeg's scaler; to_video: as BT.709 of limited range.

    In one thread: the slices of libswscale 9.5 race (a row of p210le chroma is lost once in some thousand frames).
    """
    matrix = av.video.reformatter.Colorspace.ITU709 if to_video else None
    color_range = av.video.reformatter.ColorRange.MPEG if to_video else None
    return frame.reformat(format=name, dst_colorspace=matrix, dst_color_range=color_range, threads=1)
