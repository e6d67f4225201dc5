"""Still images mean what they say: every kind of TIFF and PNG, and what is told about them, in and out."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from vnlsdenoise.errors import InputError
from vnlsdenoise.job.plan import existing_output, make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import Report, run
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.open import open_reader
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.stills import Told, read_still, write_still

RAMP = (np.arange(32)[None, :] * 5 + np.arange(24)[:, None] * 3).astype(np.uint8)
COLOURS = np.stack([RAMP, RAMP[::-1], np.full_like(RAMP, 90)], axis=-1)


def passed(source: Path, output: Path, **wishes: Any) -> Report:
    return run(make_plan(Request(source, output, **{"strength": 0, **wishes})))


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd", "lzma", "jpeg2000", "webp"])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"planarconfig": "separate"}, {"byteorder": ">"}])
def test_every_compression_and_layout_of_tiff_is_read(
    compression: str | None, layout: dict[str, Any], tmp_path: Path
) -> None:
    if compression == "webp" and "planarconfig" in layout:
        pytest.skip("WebP holds all colours together")
    path, samples = tmp_path / "in.tif", COLOURS
    options = {"compressionargs": {"lossless": True, "level": 100}} if compression == "webp" else {}
    stored = np.moveaxis(samples, -1, 0) if "planarconfig" in layout else samples
    tifffile.imwrite(path, stored, photometric="rgb", compression=compression, **layout, **options)
    assert np.array_equal(read_still(path).samples, samples)


def test_jpeg_in_tiff_is_read(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, COLOURS, photometric="rgb", compression="jpeg", compressionargs={"level": 95})
    assert np.abs(read_still(path).samples.astype(int) - COLOURS).mean() < 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_that_is_zero_is_turned_over(dtype: type, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    samples = RAMP.astype(dtype) * (1 if dtype == np.uint8 else 257)
    tifffile.imwrite(tmp_path / "in" / "f1.tif", samples, photometric="miniswhite")
    report = passed(tmp_path / "in", tmp_path / "out" / "f%d.png")
    assert np.array_equal(read_still(tmp_path / "out" / "f1.png").samples, np.iinfo(dtype).max - samples)
    assert any("white is zero" in warning for warning in report.warnings)


def test_bilevel_and_palette(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "bits.tif", RAMP > 60, photometric="miniswhite")
    assert np.array_equal(read_still(tmp_path / "bits.tif").samples, np.where(RAMP > 60, 0, 255))
    colormap = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 7)]).astype(np.uint16)
    for name, scale, dtype in (("p8", 257, np.uint8), ("shifted", 256, np.uint8), ("p16", 255, np.uint16)):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, RAMP, photometric="palette", colormap=colormap * np.uint16(scale))
        want = np.moveaxis(colormap, 0, -1)[RAMP] * (1 if dtype == np.uint8 else scale)
        assert np.array_equal(read_still(path).samples, want.astype(dtype))
    Image.fromarray(COLOURS).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    assert read_still(tmp_path / "palette.png").samples.shape == COLOURS.shape


def profile_of_inks() -> bytes:
    """An ICC profile in which every ink, C, M, Y or K, takes light away, and has no colour."""
    corners = [[(index >> bit) & 1 for bit in (3, 2, 1, 0)] for index in range(16)]
    grid = b"".join(bytes([round(255 * (1 - k) * (3 - c - m - y) / 3), 128, 128]) for c, m, y, k in corners)
    identity = struct.pack(">9i", *(65536 if index % 4 == 0 else 0 for index in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + bytes(range(256)) * 4 + grid + bytes(range(256)) * 3
    text = b"text" + bytes(4) + b"none\0"
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    label = b"desc" + bytes(4) + struct.pack(">I", 5) + b"inks\0" + bytes(78)
    contents = {b"A2B0": table, b"cprt": text, b"wtpt": white, b"desc": label}
    at, entries, body = 128 + 4 + 12 * len(contents), b"", b""
    for kind, content in contents.items():
        content += bytes(-len(content) % 4)
        entries += kind + struct.pack(">II", at + len(body), len(content))
        body += content
    head = (
        struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12) + b"acsp"
    )
    light = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(68, b"\0") + light + bytes(48) + struct.pack(">I", len(contents)) + entries + body


def test_inks_are_converted_by_their_profile_or_refused(tmp_path: Path) -> None:
    inks = np.dstack([255 - COLOURS, np.zeros_like(RAMP)])
    for index in range(2):
        tifffile.imwrite(tmp_path / f"f{index}.tif", inks, photometric="separated")
    with pytest.raises(InputError, match=r"CMYK.*without a profile"):
        list(open_reader(tmp_path))
    for name, profile in (
        ("of-light", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        ("no", b"x"),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", inks, photometric="separated", iccprofile=profile)
        with pytest.raises(InputError, match="cannot read"):
            read_still(tmp_path / f"{name}.tif")
    inks = np.zeros((24, 32, 4), np.uint8)
    inks[:, 16:, 3] = 255
    inks[:, 8:16, :3] = 255
    tifffile.imwrite(tmp_path / "inks.tif", inks, photometric="separated", iccprofile=profile_of_inks())
    still = read_still(tmp_path / "inks.tif")
    assert still.samples.shape == (24, 32, 3) and "profile" in still.converted
    assert still.samples[:, :8].min() > 250 and still.samples[:, 8:].max() < 5
    assert still.told.profile and still.told.profile != profile_of_inks()


def test_other_colours_are_refused(tmp_path: Path) -> None:
    for name in ("cielab", "ycbcr", "logluv"):
        tifffile.imwrite(tmp_path / f"{name}.tif", COLOURS, photometric=name)
        with pytest.raises(InputError, match="neither gray nor RGB"):
            read_still(tmp_path / f"{name}.tif")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint32])
def test_float_and_wide_samples_become_16_bits(dtype: type, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    unit = RAMP.astype(np.float64) / 255
    samples = (unit * np.iinfo(dtype).max).astype(dtype) if dtype == np.uint32 else unit.astype(dtype)
    tifffile.imwrite(tmp_path / "in" / "f1.tif", samples, photometric="minisblack")
    report = passed(tmp_path / "in", tmp_path / "out" / "f%d.tif")
    got = read_still(tmp_path / "out" / "f1.tif").samples
    assert got.dtype == np.uint16 and np.abs(got - unit * 65535).max() < (40 if dtype == np.float16 else 2)
    assert any("became 16 bits" in warning for warning in report.warnings)


@pytest.mark.parametrize("samples", [RAMP.astype(np.float32), RAMP.astype(np.int16), RAMP.astype(np.complex64)])
def test_samples_of_no_known_range_are_refused(samples: np.ndarray[Any, Any], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", samples, photometric="minisblack")
    with pytest.raises(InputError, match=r"in\.tif"):
        read_still(tmp_path / "in.tif")


def test_pages_are_frames(tmp_path: Path) -> None:
    stack = np.stack([RAMP + index for index in range(6)])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    report = passed(tmp_path / "stack.tif", tmp_path / "out.mkv", encoding=Encoding(lossless=True))
    back = [frame.planes[0] for frame in VideoReader(tmp_path / "out.mkv")]
    assert report.frames == 6 and np.array_equal(back, stack)
    assert any("pages" in warning for warning in report.warnings)
    passed(tmp_path / "stack.tif", tmp_path / "images")
    assert np.array_equal(read_still(tmp_path / "images" / "frame_000006.png").samples, stack[5])
    # Smaller copies of a picture are no frames.
    with tifffile.TiffWriter(tmp_path / "preview.tif") as file:
        file.write(COLOURS, photometric="rgb")
        file.write(COLOURS[::2, ::2], photometric="rgb", subfiletype=1)
    assert open_reader(tmp_path / "preview.tif").info.frames == 1


def test_stacks_in_one_page_are_refused_not_cut(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([RAMP] * 5), imagej=True, metadata={"axes": "TYX"})
    assert open_reader(tmp_path / "stack.tif").info.frames == 5
    tifffile.imwrite(tmp_path / "volume.tif", np.stack([RAMP] * 16), photometric="minisblack", volumetric=True)
    with pytest.raises(InputError, match="one page"):
        open_reader(tmp_path / "volume.tif")


PROFILE = b"made-up profile " * 20
CHUNKS = {b"iCCP": b"name\0\0" + zlib.compress(PROFILE), b"pHYs": struct.pack(">IIB", 11811, 11811, 1)}


def chunked_png(path: Path, samples: Any) -> None:
    memory = BytesIO()
    Image.fromarray(samples).save(memory, "png")
    data = memory.getvalue()
    told = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in CHUNKS.items()
    )
    path.write_bytes(data[:33] + told + data[33:])


def test_profile_resolution_and_orientation_travel(tmp_path: Path) -> None:
    (tmp_path / "png").mkdir()
    chunked_png(tmp_path / "png" / "f1.png", COLOURS)
    passed(tmp_path / "png", tmp_path / "a" / "f%d.png")
    data = (tmp_path / "a" / "f1.png").read_bytes()
    assert all(kind + content in data for kind, content in CHUNKS.items())
    passed(tmp_path / "png", tmp_path / "b" / "f%d.tif")
    told = read_still(tmp_path / "b" / "f1.tif").told
    assert told.profile == PROFILE and told.resolution == pytest.approx((11811, 11811), rel=1e-4)
    (tmp_path / "tif").mkdir()
    write_still(tmp_path / "tif" / "f1.tif", COLOURS, Told(PROFILE, (11811.0, 5905.5), 6))
    for ending in ("tif", "png"):
        passed(tmp_path / "tif", tmp_path / "c" / f"f%d.{ending}")
        path = tmp_path / "c" / f"f1.{ending}"
        with Image.open(path) as image:
            assert image.info["icc_profile"] == PROFILE and image.getexif()[274] == 6
            assert image.info["dpi"] == pytest.approx((300, 150), rel=1e-3)
        assert np.array_equal(read_still(path).samples, COLOURS)
    # Players of video turn the picture by its display matrix.
    for orientation, degrees in ((1, 0), (3, -180), (6, -90), (8, 90)):
        write_still(tmp_path / "tif" / "f1.tif", COLOURS, Told(orientation=orientation))
        passed(tmp_path / "tif", tmp_path / f"{orientation}.mp4")
        assert open_reader(tmp_path / f"{orientation}.mp4").info.rotation == degrees


def test_a_profile_is_not_lost_in_silence_in_video(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    chunked_png(tmp_path / "in" / "f1.png", COLOURS)
    report = passed(tmp_path / "in", tmp_path / "out.mkv")
    assert any("colour profile" in warning for warning in report.warnings)


@pytest.mark.parametrize("names", [[1001, 1002, 1003], [5, 6, 7], [120000, 120500, 121000], [10, 20, 30], [0, 1, 2]])
def test_numbers_are_kept(names: list[int], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index, number in enumerate(names):
        write_still(tmp_path / "in" / f"shot.{number:06d}.png", RAMP + index, Told())
    output = tmp_path / "far" / "away" / "o.%04d.png"
    assert existing_output(output) is None
    assert passed(tmp_path / "in", output).frames == 3
    found = sorted(output.parent.iterdir(), key=lambda path: int(path.stem.split(".")[1]))
    assert [path.name for path in found] == [f"o.{number:04d}.png" for number in names]
    assert all(np.array_equal(read_still(path).samples, RAMP + index) for index, path in enumerate(found))
    assert existing_output(output) in found


def test_gaps_are_refused_unless_they_are_meant(tmp_path: Path) -> None:
    for number in (1, 2, 5):
        write_still(tmp_path / f"f{number}.png", RAMP, Told())
    with pytest.raises(InputError, match=r"3 to 4.*--gaps ignore"):
        open_reader(tmp_path)
    assert open_reader(tmp_path, gaps="ignore").info.frames == 3


def test_mixes_become_alike_or_are_refused_by_name(tmp_path: Path) -> None:
    kinds = {"gray": RAMP, "la": np.dstack([RAMP, RAMP]), "rgb": COLOURS, "rgba": np.dstack([COLOURS, RAMP])}
    for index, samples in enumerate(kinds.values()):
        write_still(tmp_path / f"f{index}.png", samples, Told())
    write_still(tmp_path / "f4.png", RAMP.astype(np.uint16) * np.uint16(257), Told())
    reader = open_reader(tmp_path)
    assert (reader.info.format.family, reader.info.alpha, reader.info.format.depth) == ("rgb", True, 16)
    assert any("f0.png" in warning and "f1.png" in warning for warning in reader.warnings)
    gray, with_alpha, rgb, rgba, wide = list(reader)
    for frame in (gray, wide):
        assert all(np.array_equal(plane, RAMP.astype(np.uint16) * 257) for plane in frame.planes)
    assert np.array_equal(with_alpha.extra["alpha"], RAMP.astype(np.uint16) * 257)
    assert np.array_equal(rgb.planes[1], COLOURS[..., 1].astype(np.uint16) * 257) and rgb.extra["alpha"].min() == 65535
    assert np.array_equal(rgba.extra["alpha"], RAMP.astype(np.uint16) * 257)
    write_still(tmp_path / "f5.png", RAMP[1:], Told())
    with pytest.raises(InputError, match=r"f5.png.*f0.png"):
        open_reader(tmp_path)


def test_gray_with_alpha_stays_so(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    samples = np.dstack([RAMP, RAMP[::-1]])
    write_still(tmp_path / "in" / "1.png", samples, Told())
    for name in ("a/%d.png", "b/%d.tif"):
        passed(tmp_path / "in", tmp_path / name)
        assert np.array_equal(read_still(tmp_path / (name % 1)).samples, samples)


@pytest.mark.parametrize("kind", ["png", "gif", "webp"])
@pytest.mark.parametrize("name", ["film.own", "film.png", "film.tif"])
def test_pictures_that_move_are_known_by_their_content(kind: str, name: str, tmp_path: Path) -> None:
    first, *rest = [Image.fromarray(np.roll(COLOURS, 3 * index, axis=1)) for index in range(5)]
    stands = [40, 80, 40, 120, 60]
    lossless = {"lossless": True} if kind == "webp" else {}
    first.save(tmp_path / "own", kind, save_all=True, append_images=rest, duration=stands, **lossless)
    path = tmp_path / name
    (tmp_path / "own").rename(path)
    assert passed(path, tmp_path / "out.mkv", encoding=Encoding(lossless=True)).frames == 5
    back = list(VideoReader(tmp_path / "out.mkv"))
    assert [frame.pts for frame in back] == [0, 40, 120, 160, 280]
    if kind != "gif":  # which has but 256 colours
        for frame, image in zip(back, [first, *rest], strict=True):
            assert np.array_equal(np.stack(frame.planes, axis=-1), np.asarray(image))


def test_a_broken_animation_is_an_input_error(tmp_path: Path) -> None:
    first, *rest = [Image.fromarray(np.roll(COLOURS, 3 * index, axis=1)) for index in range(5)]
    first.save(tmp_path / "film.webp", save_all=True, append_images=rest, duration=40, lossless=True)
    data = (tmp_path / "film.webp").read_bytes()
    (tmp_path / "film.webp").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"film\.webp"):
        list(open_reader(tmp_path / "film.webp"))
