"""Frames as R, G and B of full range: what a screen shows, and what films of different kinds are compared in."""

import av
import numpy as np
import numpy.typing as npt

from vnlsdenoise.video.frame import Plane, PlaneFormat
from vnlsdenoise.video.pixels import layout_of, native_name, pack, unpack

Picture = npt.NDArray[np.uint8]  # [H, W, 3], R, G, B

_Space, _Range = av.video.reformatter.Colorspace, av.video.reformatter.ColorRange
_SPACES = {1: _Space.ITU709, 4: _Space.FCC, 5: _Space.ITU601, 6: _Space.ITU601, 7: _Space.SMPTE240M, 9: _Space.BT2020}
_HIGH_DEFINITION = 576  # lines: more, or 1280 pixels a line, are BT.709 where no matrix is told


def rgb_planes(planes: tuple[Plane, ...], layout: PlaneFormat, depth: int = 8) -> tuple[Plane, ...]:
    """R, G and B of `depth` bits (8 or 16), by the frame's own matrix and range; curves of light stay as they are."""
    if layout.family != "yuv":
        scaled = tuple(_scaled(plane, layout.peak, (1 << depth) - 1) for plane in planes)
        return scaled * 3 if layout.family == "gray" else scaled
    large = layout.width >= 1280 or layout.height > _HIGH_DEFINITION
    space = _SPACES.get(layout.matrix, _Space.ITU709 if large else _Space.ITU601)
    frame = pack(planes, None, layout_of(native_name(layout)), layout.width, layout.height)
    told = frame.reformat(
        format="gbrp" if depth == 8 else "gbrp16le",
        src_colorspace=space,
        src_color_range=_Range.JPEG if layout.full_range else _Range.MPEG,
        dst_color_range=_Range.JPEG,
        threads=1,
    )
    return unpack(told)[0]


def picture(planes: tuple[Plane, ...], layout: PlaneFormat) -> Picture:
    """[H, W, 3]: a frame as a screen shows it."""
    shown: Picture = np.stack(rgb_planes(planes, layout), axis=-1)
    return shown


def _scaled(plane: Plane, peak: int, white: int) -> Plane:
    if peak == white:
        return plane
    wide = (plane.astype(np.uint64) * white + peak // 2) // peak
    return wide.astype(np.uint8) if white == 255 else wide.astype(np.uint16)
