"""What is told of a video besides its samples: crop, chroma location, captions, HDR10, stereo, transparency, range."""

import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type as SideDataType
from clips import random_frames, write_clip
from films import encoded, pictures, write_film

from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import Report, run
from vnlsdenoise.video import matroska
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.pixels import layout_of, pack
from vnlsdenoise.video.probe import probe
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.side_data import bytes_of


def passed(source: Path, output: Path, **wish: Any) -> Report:
    return run(make_plan(Request(source, output, strength=0, encoding=Encoding(**wish))))


@pytest.mark.parametrize(
    ("name", "codec"),
    [("o.mkv", "h264"), ("o.mp4", "h264"), ("o.mp4", "hevc"), ("o.mkv", "av1"), ("o.mkv", "ffv1"), ("o.webm", "vp9")],
)
@pytest.mark.parametrize("place", ["topleft", "center", "left"])
def test_the_place_of_chroma_samples_is_kept(name: str, codec: str, place: str, tmp_path: Path) -> None:
    if (codec, place) == ("av1", "center"):
        pytest.skip("AV1 knows no such place")
    write_film(tmp_path / "in.mkv", options={"chroma_sample_location": place}, count=3)
    assert probe(tmp_path / "in.mkv").chroma_location == place
    assert passed(tmp_path / "in.mkv", tmp_path / name, codec=codec).warnings == ()
    assert probe(tmp_path / name).chroma_location == place
    if place != "left":
        assert any(place in note for note in probe(tmp_path / "in.mkv").notes())
        [warning] = passed(tmp_path / "in.mkv", tmp_path / "lost.mp4", codec="vp9").warnings
        assert place in warning


def with_clap(path: Path, shown: tuple[int, int], right: int, down: int) -> None:
    """Put a clean aperture into the first video track of an MP4 whose index stands at its end."""
    data = path.read_bytes()
    begin, end, parents = 0, len(data), []
    for wanted in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        at, size = begin, 0
        while data[at + 4 : at + 8] != wanted:
            at += struct.unpack(">I", data[at : at + 4])[0]
        size = struct.unpack(">I", data[at : at + 4])[0]
        parents.append(at)
        begin, end = at + {b"stsd": 16, b"avc1": 86}.get(wanted, 8), at + size
    box = struct.pack(">I4s4I4i", 40, b"clap", shown[0], 1, shown[1], 1, right, 1, down, 1)
    changed = bytearray(data[:end] + box + data[end:])
    for at in parents:
        struct.pack_into(">I", changed, at, struct.unpack(">I", changed[at : at + 4])[0] + len(box))
    path.write_bytes(changed)


@pytest.mark.parametrize(("right", "down", "first"), [(0, 0, (6, 8)), (4, -2, (4, 12))])
def test_a_clean_aperture_is_applied(right: int, down: int, first: tuple[int, int], tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    write_film(source, count=3)
    whole = list(VideoReader(source))
    with_clap(source, (80, 52), right, down)
    reader = VideoReader(source)
    assert (reader.info.format.width, reader.info.format.height) == (80, 52)
    y, x = first
    for frame, uncut in zip(reader, whole, strict=True):
        assert np.array_equal(frame.planes[0], uncut.planes[0][y : y + 52, x : x + 80])
        assert np.array_equal(frame.planes[1], uncut.planes[1][y // 2 : y // 2 + 26, x // 2 : x // 2 + 40])
    report = passed(source, tmp_path / "out.mkv", lossless=True)
    assert any("crop" in warning for warning in report.warnings)
    assert probe(tmp_path / "out.mkv").format.width == 80 and not any(probe(tmp_path / "out.mkv").crop)


def test_the_crop_of_matroska_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.metadata["title"] = matroska.with_room("")
        container.mux(list(encoded(stream, pictures(2))))
    whole = list(VideoReader(source))
    hidden = {0x54BB: 4, 0x54AA: 6, 0x54CC: 10, 0x54DD: 8}  # top, bottom, left, right
    boxes = b"".join(matroska._element(kind, bytes([count])) for kind, count in hidden.items())
    monkeypatch.setattr(matroska, "_video", lambda content, _: content + boxes)
    matroska.put_elements(source, "", matroska.VideoElements(96, 64))
    reader = VideoReader(source)
    assert reader.info.crop == (4, 6, 10, 8)
    for frame, uncut in zip(reader, whole, strict=True):
        assert np.array_equal(frame.planes[0], uncut.planes[0][4:-6, 10:-8])


def captioned(path: Path) -> None:
    """H.264 whose every picture carries a closed caption."""
    plain = path.with_suffix(".plain.h264")
    write_film(plain, options={"bf": "0", "x264-params": "aud=1:slices=1:sliced-threads=0"})
    head, *units = plain.read_bytes().split(b"\0\0\0\1\x09")
    parts = [head]
    for index, unit in enumerate(units):
        slices = min(at for at in (unit.find(b"\0\0\1" + kind) for kind in (b"\x65", b"\x41", b"\x01")) if at > 0)
        cut = slices - (unit[slices - 1 : slices] == b"\0")
        user = b"\xb5\x00\x31GA94\x03\x41\xff\xfc" + (b"\x94\x20" if index % 2 else b"\xc8\xe5") + b"\xff"
        caption = b"\0\0\0\1\x06\x04" + bytes([len(user)]) + user + b"\x80"
        parts.append(b"\0\0\0\1\x09" + unit[:cut] + caption + unit[cut:])
    path.write_bytes(b"".join(parts))


def captions(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes_of(frame, SideDataType.A53_CC) for frame in container.decode(video=0)]


def test_closed_captions_are_kept_or_told(tmp_path: Path) -> None:
    source = tmp_path / "in.h264"
    captioned(source)
    want = captions(source)
    assert all(want) and any("captions" in note for note in probe(source).notes())
    for name, codec in [("a.mkv", "h264"), ("a.mov", "h264"), ("b.mp4", "hevc"), ("c.mkv", "mpeg2video")]:
        passed(source, tmp_path / name, codec=codec)
        assert captions(tmp_path / name) == want
    # From one coder to another, and through the denoiser.
    passed(tmp_path / "c.mkv", tmp_path / "d.mp4")
    assert captions(tmp_path / "d.mp4") == want
    run(make_plan(Request(tmp_path / "a.mkv", tmp_path / "e.mkv", (5,), preset="fast", device="cpu")))
    assert captions(tmp_path / "e.mkv") == want
    assert any("captions" in warning for warning in passed(source, tmp_path / "f.webm").warnings)


HDR = (
    ("master-display", "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"),
    ("max-cll", "1000,400"),
)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("o.mkv", "hevc"),
        ("o.mp4", "hevc"),
        ("o.mp4", "h264"),
        ("o.mp4", "av1"),
        ("o.mkv", "ffv1"),
        ("o.webm", "av1"),
        ("o.mkv", "prores"),
        ("o.mkv", "vp9"),
    ],
)
def test_hdr10_is_kept(name: str, codec: str, tmp_path: Path) -> None:
    parameters = "log-level=none:hdr10=1:" + ":".join(f"{key}={value}" for key, value in HDR)
    write_clip(tmp_path / "in.mkv", "yuv420p10le", "libx265", (64, 48), 3, options={"x265-params": parameters})
    assert probe(tmp_path / "in.mkv").hdr_x265 == HDR
    warnings = passed(tmp_path / "in.mkv", tmp_path / name, codec=codec).warnings
    assert not any("HDR" in warning for warning in warnings)
    assert probe(tmp_path / name).hdr_x265 == HDR


def test_hdr10_that_is_lost_is_told(tmp_path: Path) -> None:
    parameters = "log-level=none:hdr10=1:" + ":".join(f"{key}={value}" for key, value in HDR)
    write_clip(tmp_path / "in.mkv", "yuv420p10le", "libx265", (64, 48), 3, options={"x265-params": parameters})
    assert any(
        "HDR10" in warning for warning in passed(tmp_path / "in.mkv", tmp_path / "o.mov", codec="prores").warnings
    )


@pytest.mark.parametrize("packing", [3, 4])
def test_the_stereoscopic_layout_is_kept(packing: int, tmp_path: Path) -> None:
    write_film(tmp_path / "in.mp4", options={"x264-params": f"frame-packing={packing}"}, count=3)
    info = probe(tmp_path / "in.mp4")
    assert info.stereo_mode == {3: "left_right", 4: "top_bottom"}[packing]
    for name, codec in (("o.mp4", "h264"), ("o.mkv", "ffv1"), ("o.webm", "vp9")):
        assert passed(tmp_path / "in.mp4", tmp_path / name, codec=codec).warnings == ()
        assert probe(tmp_path / name).stereo_mode == info.stereo_mode
    [warning] = passed(tmp_path / "in.mp4", tmp_path / "o.mp4", codec="vp9").warnings
    assert "stereoscopic" in warning


@pytest.mark.parametrize("encoder", ["libvpx", "libvpx-vp9"])
def test_transparency_of_webm_is_read_and_written(encoder: str, tmp_path: Path) -> None:
    frames = random_frames(layout_of("yuva420p").plane_format(64, 48), 4, alpha=True)
    with av.open(str(tmp_path / "in.webm"), "w") as container:
        stream: Any = container.add_stream(encoder, rate=25, options={"auto-alt-ref": "0", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuva420p", 8_000_000
        for frame in frames:
            picture = pack(frame.planes, frame.extra["alpha"], layout_of("yuva420p"), 64, 48)
            picture.pts, picture.time_base = frame.pts, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    reader = VideoReader(tmp_path / "in.webm")
    assert reader.info.alpha and any("transparency" in note for note in reader.info.notes())
    read = [frame.extra["alpha"] for frame in reader]
    assert passed(tmp_path / "in.webm", tmp_path / "o.mkv", lossless=True).warnings == ()
    for frame, alpha in zip(VideoReader(tmp_path / "o.mkv"), read, strict=True):
        assert np.array_equal(frame.extra["alpha"], alpha)
    for name in ("o.webm", "p.mkv", "o.mov"):
        passed(tmp_path / "in.webm", tmp_path / name)
        assert probe(tmp_path / name).alpha
    assert any("alpha" in warning for warning in passed(tmp_path / "in.webm", tmp_path / "o.mp4").warnings)


@pytest.mark.parametrize("pix_fmt", ["bgr0", "bgra", "gray", "yuv444p", "yuva444p10le", "gbrp12le"])
def test_prores_takes_what_becomes_4444(pix_fmt: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", pix_fmt, size=(64, 48), count=3)
    passed(tmp_path / "in.mkv", tmp_path / "out.mov", codec="prores")
    back = probe(tmp_path / "out.mov")
    assert back.format.depth >= 10 and back.alpha == ("a" in pix_fmt.replace("gray", ""))
    passed(tmp_path / "out.mov", tmp_path / "again.mov")
    assert probe(tmp_path / "again.mov").alpha == back.alpha


@pytest.mark.parametrize("color_range", [0, 1, 2])
@pytest.mark.parametrize(
    ("source", "encoder"),
    [("webm", "libvpx-vp9"), ("ts", "mpeg2video"), ("mpg", "mpeg1video"), ("mkv", "libsvtav1"), ("mkv", "ffv1")],
)
def test_a_range_without_other_tags_is_no_reason_to_refuse(
    source: str, encoder: str, color_range: int, tmp_path: Path
) -> None:
    if encoder.startswith("mpeg") and color_range == 2:
        pytest.skip("which MPEG-1 and -2 do not know")
    write_film(tmp_path / f"in.{source}", encoder, count=3, color_range=color_range)
    for name in ("o.mp4", "o.mov", "o.mkv"):
        assert passed(tmp_path / f"in.{source}", tmp_path / name).warnings == ()
        assert (probe(tmp_path / name).color.range == 2) == (color_range == 2)


def turned(degrees: float, scale: float = 1.0, far: int = 1 << 30) -> tuple[int, ...]:
    """A display matrix."""
    a, b = (round(65536 * scale * f(math.radians(degrees))) for f in (math.cos, math.sin))
    return (a, -b, 0, b, a, 0, 0, 0, far)


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize(
    ("matrix", "is_turn"),
    [(turned(90), True), (turned(33), True), (turned(90, 2.0), False), (turned(180, far=1 << 29), False)],
)
def test_display_matrices_are_kept_or_told(matrix: tuple[int, ...], is_turn: bool, ending: str, tmp_path: Path) -> None:
    source, output = tmp_path / "in.mp4", tmp_path / f"out.{ending}"
    with av.open(str(source), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_matrix(matrix)
        for packet in encoded(stream, pictures(3)):
            film.mux(packet)
    options = {"preset": "ultrafast"} if ending != "webm" else {"cpu-used": "8", "deadline": "realtime"}
    report = run(make_plan(Request(source, output, strength=0, encoding=Encoding(options=options))))
    told = [text for text in report.warnings if "display matrix is left out" in text]
    kept = is_turn or ending in ("mp4", "mov")
    assert bool(told) != kept
    assert probe(output).display_matrix == (matrix if ending in ("mp4", "mov") else ANY if kept else None)
    assert probe(output).rotation == (probe(source).rotation if kept else 0)
