"""Interlaced video: fields apart and together again, and the tags that say which comes first."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.filter import Graph
from clips import random_frames, write_clip
from films import write_film

from vnlsdenoise.errors import InputError
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.video.encoders import Encoding, choose
from vnlsdenoise.video.fields import field_format, split_fields, weave_fields
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.probe import probe
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.survey import top_first
from vnlsdenoise.video.write import VideoWriter


@pytest.mark.parametrize("format", [PlaneFormat("yuv", 6, 8, 10, 1, 1), PlaneFormat("rgb", 5, 6, 8)])
def test_fields_are_the_odd_and_even_lines(format: PlaneFormat) -> None:
    [frame] = random_frames(format, 1, alpha=True)
    upper, lower = split_fields(frame)
    for field, first in ((upper, 0), (lower, 1)):
        assert tuple(plane.shape for plane in field.planes) == field_format(format).plane_shapes
        assert all(
            np.array_equal(part, whole[first::2]) for part, whole in zip(field.planes, frame.planes, strict=True)
        )
    back = weave_fields(upper, lower)
    assert all(np.array_equal(got, want) for got, want in zip(back.planes, frame.planes, strict=True))
    assert (back.pts, back.duration, back.extra) == (frame.pts, frame.duration, frame.extra)


def test_heights_that_do_not_split_are_refused() -> None:
    with pytest.raises(InputError, match="multiple of 4"):
        field_format(PlaneFormat("yuv", 8, 10, 8, 1, 1))


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize(
    ("name", "wish"),
    [
        ("out.mp4", Encoding()),
        ("out.mkv", Encoding(codec="hevc")),
        ("out.mkv", Encoding(lossless=True)),
        ("out.mov", Encoding(codec="prores")),
    ],
)
def test_the_order_of_fields_is_kept(tmp_path: Path, order: str, name: str, wish: Any) -> None:
    source = tmp_path / "in.mkv"
    write_clip(source, encoder="libx264", options={"x264-params": f"{order}=1"}, size=(64, 32))
    info = probe(source)
    assert (info.interlaced, info.bottom_first) == (True, order == "bff")
    choice = choose(tmp_path / name, info, wish)
    with VideoWriter(tmp_path / name, info, choice) as writer:
        for frame in VideoReader(source, interlaced="fields"):
            writer.write(frame)
    written = probe(tmp_path / name)
    assert (written.interlaced, written.bottom_first) == (True, order == "bff")


def test_an_encoder_that_cannot_say_it_is_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", encoder="libx264", options={"x264-params": "tff=1"}, size=(64, 32))
    choice = choose(tmp_path / "out.webm", probe(tmp_path / "in.mkv"), Encoding())
    assert any("interlaced" in text for text in choice.warnings)


def write_fields(path: Path, encoder: str, pix_fmt: str, order: str, count: int = 12) -> None:
    """A film of two moments a frame, each field lighter than the one before."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 64, pix_fmt
        stream.codec_context.flags |= Flags.interlaced_dct
        stream.codec_context.field_order = 2 if order == "tff" else 3
        graph = Graph()
        source = graph.add_buffer(width=128, height=64, format=pix_fmt, time_base=Fraction(1, 25))
        graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
        for index in range(count):
            moments = [50 + 8 * index, 54 + 8 * index]
            lines = np.repeat(np.array(moments if order == "tff" else moments[::-1], np.uint8)[:, None], 128, 1)
            picture = np.repeat(np.tile(lines, (32, 1))[..., None], 3, -1)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            graph.push(frame)
            output.mux(stream.encode(graph.vpull()))
        output.mux(stream.encode(None))


def flags(path: Path) -> str:
    """Of every decoded frame T or B for the field that comes first, P where there is but one moment."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        for frame in frames:
            frame.time_base = Fraction(1, 25)
        return "".join(("T" if top_first(f) else "B") if f.interlaced_frame else "P" for f in frames)


def field_brightness(path: Path) -> list[float]:
    """The mean brightness of the fields in the order in which a player shows them."""
    means = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frame.time_base = Fraction(1, 25)
            gray = frame.to_ndarray(format="gray").astype(float)
            fields = [gray[0::2].mean(), gray[1::2].mean()]
            means += fields if top_first(frame) else fields[::-1]
    return means


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize(
    ("name", "wish"),
    [
        ("out.mkv", {}),
        ("out.mp4", {}),
        ("out.mov", {}),
        ("out.mkv", {"pix_fmt": "yuv420p10le", "codec": "h264"}),
        ("out.mkv", {"codec": "hevc"}),
        ("out.mp4", {"codec": "hevc"}),
        ("out.mkv", {"codec": "hevc", "pix_fmt": "yuv420p10le"}),
        ("out.mov", {"codec": "prores"}),
        ("out.mkv", {"codec": "prores"}),
        ("out.mkv", {"lossless": True}),
        ("out.mkv", {"codec": "mpeg2video"}),
        ("out.mov", {"codec": "mpeg2video"}),
    ],
)
@pytest.mark.parametrize(("source", "pix_fmt"), [("mpeg2video", "yuv420p"), ("prores_ks", "yuv422p10le")])
def test_frames_coded_pictures_and_container_agree(
    source: str, pix_fmt: str, name: str, wish: dict[str, Any], order: str, tmp_path: Path
) -> None:
    path, output = tmp_path / "in.mkv", tmp_path / name
    write_fields(path, source, pix_fmt, order)
    letter = "T" if order == "tff" else "B"
    assert flags(path) == letter * 12
    request = Request(path, output, strength=0, interlaced="fields", encoding=Encoding(**wish))
    assert run(make_plan(request)).frames == 12
    assert flags(output) == letter * 12
    brightness = field_brightness(output)
    assert all(after > before for before, after in itertools.pairwise(brightness))
    with av.open(str(output)) as container:
        assert container.streams.video[0].codec_context.field_order == (2 if order == "tff" else 3)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Frames without fields, then frames with two."""
    write_film(tmp_path / "0.ts", count=20, size=(128, 64))
    write_fields(tmp_path / "1.ts", "libx264", "yuv420p", "tff", 20)
    (tmp_path / "in.ts").write_bytes((tmp_path / "0.ts").read_bytes() + (tmp_path / "1.ts").read_bytes())
    return tmp_path / "in.ts"


def test_an_interlaced_part_is_found_and_told_at_the_start(mixed: Path) -> None:
    with pytest.raises(InputError, match=r"interlaced from \d"):
        make_plan(Request(mixed, None, strength=0))
    info = probe(mixed)
    assert info.interlaced and info.mixed
    assert any("some frames are interlaced" in warning for warning in info.warnings())


@pytest.mark.parametrize(
    ("wish", "expected"),
    [({}, "P" * 20), ({"codec": "hevc"}, "P" * 20), ({"lossless": True}, "P" * 20), ({"codec": "mpeg2video"}, "")],
)
def test_parts_with_and_without_fields_stay_what_they_are(mixed: Path, wish: dict[str, Any], expected: str) -> None:
    output = mixed.with_name("out.mkv")
    report = run(make_plan(Request(mixed, output, strength=0, interlaced="fields", encoding=Encoding(**wish))))
    assert any("some frames are interlaced" in warning for warning in report.warnings)
    assert flags(output).startswith(expected) and set(flags(output)[20:]) == {"T"}


def test_fields_are_kept_through_the_denoiser(mixed: Path) -> None:
    output = mixed.with_name("out.mkv")
    run(make_plan(Request(mixed, output, (5,), preset="fast", device="cpu", interlaced="fields")))
    assert flags(output) == "P" * 20 + "T" * 20


def test_a_progressive_film_stays_progressive(tmp_path: Path) -> None:
    write_film(tmp_path / "in.ts", "mpeg2video")
    run(make_plan(Request(tmp_path / "in.ts", tmp_path / "out.mkv", strength=0, interlaced="fields")))
    assert set(flags(tmp_path / "out.mkv")) == {"P"}
