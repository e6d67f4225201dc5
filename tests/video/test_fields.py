"""Interlaced video: fields apart and together again, and the tags that say which comes first."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import random_frames, write_clip

from vnlsdenoise.errors import InputError
from vnlsdenoise.video.encoders import Encoding, choose
from vnlsdenoise.video.fields import field_format, split_fields, weave_fields
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.probe import probe
from vnlsdenoise.video.read import VideoReader
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
    with VideoWriter(tmp_path / name, info, choice, "video") as writer:
        for frame in VideoReader(source, interlaced="fields"):
            writer.write(frame)
    written = probe(tmp_path / name)
    assert (written.interlaced, written.bottom_first) == (True, order == "bff")


def test_an_encoder_that_cannot_say_it_is_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", encoder="libx264", options={"x264-params": "tff=1"}, size=(64, 32))
    choice = choose(tmp_path / "out.webm", probe(tmp_path / "in.mkv"), Encoding())
    assert any("interlaced" in text for text in choice.warnings)
