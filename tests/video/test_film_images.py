"""OpenEXR and DPX: samples, other channels, types and headers are kept; linear light is denoised as light."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import OpenEXR
import pytest

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.exr import read_light
from vnlsdenoise.video.light import Light
from vnlsdenoise.video.sequences import SequenceReader
from vnlsdenoise.video.stills import Told, read_still, write_still

SIZE = (40, 56)


def scene(index: int, exposure: float = 1.0) -> Any:
    """Linear light of a moving scene: black, middle grey, a highlight far above white."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    base = 0.18 * 2 ** (2.5 * np.sin((x + 2 * index) / 9) * np.cos(y / 7))
    base[:8] = 0.002
    base[-6:, -6:] = 30.0
    return exposure * np.stack([base, base * 0.8, base * 1.1], axis=-1)


def noisy(clean: Any, random: np.random.Generator, exposure: float = 1.0) -> Any:
    """Photon and read noise, which reaches below black."""
    deviation = np.sqrt(0.002 * exposure * clean + (0.004 * exposure) ** 2)
    return clean + deviation * random.standard_normal(clean.shape)


def write_exr(path: Path, rgb: Any, type_: Any = np.float16, **beside: Any) -> None:
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "owner": "unit b",
        "framesPerSecond": (24, 1),
        "displayWindow": (np.array([-4, -2], np.int32), np.array([99, 79], np.int32)),
        "dataWindow": (np.array([0, 0], np.int32), np.array([SIZE[1] - 1, SIZE[0] - 1], np.int32)),
    }
    channels = (
        dict(zip("RGB", np.moveaxis(rgb.astype(type_), -1, 0), strict=True))
        if rgb.ndim == 3
        else {"Y": rgb.astype(type_)}
    )
    OpenEXR.File(header, {name: np.ascontiguousarray(plane) for name, plane in (channels | beside).items()}).write(
        str(path)
    )


def contents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attributes and channels of a file."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        header = {key: str(value) for key, value in file.header().items()}
        return header, {name: channel.pixels.copy() for name, channel in file.channels().items()}


def denoise(source: Path, output: Path, **wish: Any) -> None:
    run(make_plan(Request(source, output, **{"preset": "fast", "device": "cpu", **wish})))


@pytest.mark.parametrize("type_", [np.float16, np.float32])
def test_only_the_picture_of_an_exr_changes(type_: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    (tmp_path / "in").mkdir()
    for index in range(4):
        picture = noisy(scene(index), random)
        picture[20, 20] = (np.inf, np.nan, -3.0)
        depth = random.random(SIZE).astype(np.float32)
        ids = random.integers(0, 1 << 32, SIZE, dtype=np.uint32)
        write_exr(tmp_path / "in" / f"shot.{1001 + index}.exr", picture, type_, A=depth, Z=depth, id=ids)
    denoise(tmp_path / "in", tmp_path / "out")
    for index in range(4):
        before, had = contents(tmp_path / "in" / f"shot.{1001 + index}.exr")
        after, has = contents(tmp_path / "out" / f"frame_{1001 + index:06d}.exr")
        assert before == after
        assert {name: plane.dtype for name, plane in had.items()} == {name: plane.dtype for name, plane in has.items()}
        assert all(np.array_equal(had[name], has[name]) for name in ("A", "Z", "id"))
        assert not np.array_equal(had["R"], has["R"])
        assert has["R"][20, 20] == np.inf and np.isnan(has["G"][20, 20])


@pytest.mark.parametrize("exposure", [1.0, 0.01, 300.0])
def test_noise_of_linear_light_is_removed_where_it_is_and_brightness_stays(exposure: float, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    for index in range(8):
        write_exr(tmp_path / f"{index}.exr", noisy(scene(index, exposure), random, exposure), np.float32)
    reader = SequenceReader(tmp_path)
    assert reader.info.color.transfer == 8
    denoise(tmp_path, tmp_path / "out")
    for area in (np.s_[2:6], np.s_[10:30]):
        clean, had, got = (
            np.stack([image(index)[area] for index in range(2, 6)]) / exposure
            for image in (
                lambda index: scene(index, exposure),
                lambda index: read_light(tmp_path / f"{index}.exr").astype(float),
                lambda index: read_light(tmp_path / "out" / f"frame_{index:06d}.exr").astype(float),
            )
        )
        error, before = np.abs(got - clean).mean(), np.abs(had - clean).mean()
        assert error < 0.45 * before
        assert abs((got - clean).mean()) < max(0.02 * clean.mean(), 0.05 * before)


def test_nothing_changed_is_the_same_file(tmp_path: Path) -> None:
    write_exr(tmp_path / "a.1.exr", scene(0))
    write_exr(tmp_path / "a.2.exr", scene(1))
    denoise(tmp_path / "a.%d.exr", tmp_path / "out" / "b.%d.exr", strength=0.0)
    for number in (1, 2):
        assert (tmp_path / f"a.{number}.exr").read_bytes() == (tmp_path / "out" / f"b.{number}.exr").read_bytes()


def test_parts_and_gray(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    for index in range(3):
        planes = np.moveaxis(noisy(scene(index), random).astype(np.float16), -1, 0)
        parts = [
            OpenEXR.Part({"name": "normals"}, {"N": planes[0] * 2}, "normals"),
            OpenEXR.Part(
                {"name": "beauty"}, dict(zip("RGB", map(np.ascontiguousarray, planes), strict=True)), "beauty"
            ),
        ]
        OpenEXR.File(parts).write(str(tmp_path / f"parts.{index}.exr"))
        write_exr(tmp_path / f"gray.{index}.exr", scene(index)[..., 0])
    denoise(tmp_path / "parts.%d.exr", tmp_path / "out")
    with OpenEXR.File(str(tmp_path / "out" / "frame_000001.exr"), separate_channels=True) as file:
        assert [part.name() for part in file.parts] == ["normals", "beauty"]
        with OpenEXR.File(str(tmp_path / "parts.1.exr"), separate_channels=True) as had:
            assert np.array_equal(file.parts[0].channels["N"].pixels, had.parts[0].channels["N"].pixels)
            assert not np.array_equal(file.parts[1].channels["R"].pixels, had.parts[1].channels["R"].pixels)
    assert SequenceReader(tmp_path / "gray.%d.exr").info.format.family == "gray"


def test_a_code_is_finer_than_a_step_of_half() -> None:
    steps = np.arange(0x0400, 0x5400, dtype=np.uint16).view(np.float16)  # every half from the smallest normal one to 64
    light = Light.of([scene(0)])
    inside = steps[(steps > 4 * light.toe) & (steps < light.high)].astype(np.float32)
    codes = light.codes(inside)
    assert (np.diff(codes.astype(int)) >= 1).all()
    moved = light.changed(inside, codes + np.uint16(1))
    assert (np.abs(moved / inside - 1) < 2**-10).all() and (moved > inside).all()


@pytest.mark.parametrize(
    "images", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), -1.0), np.eye(9) * 1e-30]
)
def test_odd_light_has_a_curve(images: Any) -> None:
    light = Light.of([images.astype(np.float32)])
    codes = light.codes(images)
    assert np.array_equal(light.changed(images, codes), images, equal_nan=True)
    assert np.isfinite(light.changed(np.float32([0.0]), np.uint16([40000]))).all()


def test_light_and_codes_are_not_mixed(tmp_path: Path) -> None:
    write_exr(tmp_path / "a.1.exr", scene(0))
    write_still(tmp_path / "b.1.png", np.zeros((*SIZE, 3), np.uint8), Told())
    with pytest.raises(InputError, match="different kinds"):
        SequenceReader(tmp_path)
    for source, output, words in (
        ("a.%d.exr", "out/%d.png", "linear light"),
        ("a.%d.exr", "out.mkv", "linear light"),
        ("b.%d.png", "out/%d.exr", "codes"),
    ):
        with pytest.raises(UsageError, match=words):
            make_plan(Request(tmp_path / source, tmp_path / output, sigma=(1.0,)))
    OpenEXR.File({}, {"Z": np.zeros(SIZE, np.float32)}).write(str(tmp_path / "c.1.exr"))
    with pytest.raises(InputError, match="channels are Z"):
        SequenceReader(tmp_path / "c.%d.exr")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_an_exr_that_is_cut_off_is_refused(share: float, tmp_path: Path) -> None:
    write_exr(tmp_path / "a.1.exr", noisy(scene(0), np.random.default_rng(0)))
    data = (tmp_path / "a.1.exr").read_bytes()
    (tmp_path / "a.1.exr").write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="cannot read"):
        list(SequenceReader(tmp_path / "a.%d.exr"))


LAYOUTS = [
    "gbrp10be",
    "gbrp10le",
    "gbrp12be",
    "gbrp12le",
    "rgb48be",
    "rgb48le",
    "rgba64be",
    "gray16be",
    "rgb24",
    "rgba",
]


def write_dpx(path: Path, pix_fmt: str, index: int) -> None:
    """A DPX of random samples as FFmpeg writes it, with words of our own in its header and behind its samples."""
    random = np.random.default_rng(index)
    frame = av.VideoFrame(33, 17, "rgb48le")
    frame.planes[0].update(random.integers(0, 256, frame.planes[0].buffer_size, dtype=np.uint8).tobytes())
    encoder: Any = av.CodecContext.create("dpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 33, 17, pix_fmt, Fraction(1, 24)
    frame = frame.reformat(format=pix_fmt)
    frame.pts = 0
    data = bytearray(bytes(encoder.encode(frame)[0]))
    data[160:175] = b"scanner no. 3 A"  # the creator
    path.write_bytes(bytes(data) + b"behind")


@pytest.mark.parametrize("pix_fmt", LAYOUTS)
def test_dpx_is_kept_byte_for_byte_and_its_header_in_any_case(pix_fmt: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(3):
        write_dpx(tmp_path / "in" / f"a.{86400 + index}.dpx", pix_fmt, index)
    denoise(tmp_path / "in", tmp_path / "same" / "a.%d.dpx", strength=0.0)
    denoise(tmp_path / "in", tmp_path / "clean" / "a.%d.dpx", sigma=(20.0,))
    for source in sorted((tmp_path / "in").iterdir()):
        data, clean = source.read_bytes(), (tmp_path / "clean" / source.name).read_bytes()
        assert (tmp_path / "same" / source.name).read_bytes() == data
        assert len(clean) == len(data) and clean != data
        begin = int.from_bytes(data[4:8], "big" if data[:4] == b"SDPX" else "little")
        assert clean[:begin] == data[:begin] and clean.endswith(b"behind")
        had, got = read_still(source).samples, read_still(tmp_path / "clean" / source.name).samples
        assert had.shape == got.shape
        if had.ndim == 3 and had.shape[2] == 4:
            assert np.array_equal(had[..., 3], got[..., 3])


def test_dpx_to_and_from_other_images(tmp_path: Path) -> None:
    for index in range(2):
        write_dpx(tmp_path / f"a.{index}.dpx", "gbrp10be", index)
    denoise(tmp_path / "a.%d.dpx", tmp_path / "tif" / "%d.tif", strength=0.0)
    denoise(tmp_path / "a.%d.dpx", tmp_path / "film.mkv", strength=0.0, encoding=Encoding(lossless=True))
    denoise(tmp_path / "tif", tmp_path / "dpx" / "%d.dpx", strength=0.0)
    denoise(tmp_path / "film.mkv", tmp_path / "back" / "%d.dpx", strength=0.0)
    had = read_still(tmp_path / "a.1.dpx").samples
    assert np.array_equal(read_still(tmp_path / "tif" / "1.tif").samples, had << 6)
    assert np.array_equal(read_still(tmp_path / "dpx" / "1.dpx").samples, had << 6)
    assert np.array_equal(read_still(tmp_path / "back" / "2.dpx").samples, had)
    broken = tmp_path / "broken.0.dpx"
    broken.write_bytes((tmp_path / "a.0.dpx").read_bytes()[:2500])
    with pytest.raises(InputError, match="broken"):
        SequenceReader(tmp_path / "broken.%d.dpx")


def test_headers_that_ask_for_too_much_are_refused(tmp_path: Path) -> None:
    write_exr(tmp_path / "a.1.exr", scene(0))
    data = bytearray((tmp_path / "a.1.exr").read_bytes())
    window = data.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
    data[window + 8 : window + 16] = np.array([70000, 70000], "<i4").tobytes()
    (tmp_path / "a.1.exr").write_bytes(bytes(data))
    with pytest.raises(InputError):
        SequenceReader(tmp_path / "a.%d.exr")
    write_dpx(tmp_path / "b.1.dpx", "rgb24", 0)
    good = (tmp_path / "b.1.dpx").read_bytes()
    end = ">" if good[:4] == b"SDPX" else "<"
    for place, value, words in ((772, 1 << 30, "limit"), (772, 0, "limit"), (776, 40, "no whole picture")):
        data = bytearray(good)
        data[place : place + 4] = np.array([value], f"{end}u4").tobytes()
        (tmp_path / "b.1.dpx").write_bytes(bytes(data))
        with pytest.raises(InputError, match=f"{words}|cannot read"):
            SequenceReader(tmp_path / "b.%d.dpx")
