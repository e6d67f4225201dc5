"""Every pixel format keeps every sample; what must be converted is converted by plain arithmetic."""

import av
import numpy as np
import pytest
from clips import random_frames

from vnlsdenoise.errors import InputError
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.pixels import Layout, layout_of, native_name, pack, to_video_frame, unpack

PACKED = ["rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "bgr0", "rgb48le", "rgba64le", "bgra64le", "ya8", "ya16le"]
PLANAR = [
    "gray",
    "gray10le",
    "gray16le",
    "yuv420p",
    "yuv422p10le",
    "yuv444p12le",
    "yuv440p",
    "yuva420p16le",
    "gbrp14le",
]


@pytest.mark.parametrize("name", PACKED + PLANAR)
@pytest.mark.parametrize("size", [(1, 1), (17, 5), (64, 2)])
def test_packing_and_unpacking_keep_every_sample(name: str, size: tuple[int, int]) -> None:
    layout = layout_of(name)
    format = layout.plane_format(*size)
    [frame] = random_frames(format, 1, layout.alpha)
    planes, alpha = unpack(pack(frame.planes, frame.extra.get("alpha"), layout, *size))
    assert [plane.shape for plane in planes] == list(format.plane_shapes)
    assert all(np.array_equal(got, want) for got, want in zip(planes, frame.planes, strict=True))
    assert (alpha is None) == (not layout.alpha)
    assert alpha is None or np.array_equal(alpha, frame.extra["alpha"])


@pytest.mark.parametrize("name", ["nv12", "nv16", "p210le", "yuyv422", "uyvy422", "gray10be", "yuv420p10be"])
def test_indirect_formats_keep_every_sample(name: str) -> None:
    layout = layout_of(name)
    format = layout.plane_format(16, 8)
    [frame] = random_frames(format, 1)
    arranged = pack(frame.planes, None, layout_of(native_name(format)), 16, 8).reformat(format=name, threads=1)
    planes, _ = unpack(arranged)
    assert all(np.array_equal(got, want) for got, want in zip(planes, frame.planes, strict=True))


def test_frame_after_frame_is_rearranged_alike() -> None:
    # With more threads than one, libswscale drops a row now and then.
    format = layout_of("p210le").plane_format(16, 8)
    [frame] = random_frames(format, 1)
    native = pack(frame.planes, None, layout_of(native_name(format)), 16, 8)
    arranged = native.reformat(format="p210le", threads=1)
    for _ in range(20_000):
        planes, _ = unpack(arranged)
        assert all(np.array_equal(got, want) for got, want in zip(planes, frame.planes, strict=True))


def test_p010_is_read_exactly() -> None:
    [want] = random_frames(PlaneFormat("yuv", 16, 8, 10, 1, 1), 1)
    frame = av.VideoFrame(16, 8, "p010le")
    luma, chroma = (
        np.frombuffer(plane, np.uint16).reshape(plane.height, plane.line_size // 2)[:, :16] for plane in frame.planes
    )
    luma[:] = want.planes[0] << 6
    chroma[:, 0::2], chroma[:, 1::2] = want.planes[1] << 6, want.planes[2] << 6
    planes, _ = unpack(frame)
    assert all(np.array_equal(got, sent) for got, sent in zip(planes, want.planes, strict=True))


@pytest.mark.parametrize("name", ["gbrpf32le", "xyz12le", "no_such_format"])
def test_unsupported_formats_are_named(name: str) -> None:
    with pytest.raises(InputError, match=name):
        layout_of(name)


def test_deeper_samples_are_shifted_and_shallower_rounded() -> None:
    format = PlaneFormat("yuv", 8, 4, 10, 1, 1)
    [frame] = random_frames(format, 1)
    deeper, _ = unpack(to_video_frame(frame.planes, None, format, layout_of("yuv420p12le")))
    assert np.array_equal(deeper[0], frame.planes[0] << 2)
    flatter, _ = unpack(to_video_frame(frame.planes, None, format, layout_of("yuv420p")))
    assert np.array_equal(flatter[1], np.minimum((frame.planes[1] + 2) >> 2, 255))


def test_finer_chroma_repeats_samples() -> None:
    format = PlaneFormat("yuv", 5, 3, 8, 1, 1)
    [frame] = random_frames(format, 1)
    planes, _ = unpack(to_video_frame(frame.planes, None, format, layout_of("yuv444p")))
    assert np.array_equal(planes[1][::2, ::2], frame.planes[1])
    assert np.array_equal(planes[1][:2, :2], np.full((2, 2), frame.planes[1][0, 0]))


def test_gray_becomes_luma_beside_neutral_chroma() -> None:
    format = PlaneFormat("gray", 6, 4, 8)
    [frame] = random_frames(format, 1)
    planes, _ = unpack(to_video_frame(frame.planes, None, format, layout_of("yuv420p")))
    assert np.array_equal(planes[0], frame.planes[0])
    assert np.all(planes[1] == 128)


def test_white_in_rgb_is_limited_range_white() -> None:
    format = PlaneFormat("rgb", 16, 16, 8)
    white = np.full((16, 16), 255, np.uint8)
    planes, _ = unpack(to_video_frame((white, white, white), None, format, layout_of("yuv444p")))
    assert np.all(planes[0] == 235)
    assert np.all(planes[1] == 128)


def test_every_format_of_ffv1_is_known() -> None:
    names = [format.name for format in av.Codec("ffv1", "w").video_formats or []]
    assert all(isinstance(layout_of(name), Layout) for name in names if "f16" not in name and "f32" not in name)
