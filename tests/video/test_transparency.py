"""Transparency, and RGB, into every container and encoder: what they take is written, what they do not is told."""

from pathlib import Path

import av
import pytest
from calling import call
from clips import write_clip

from vnlsdenoise.video.probe import probe

SAME = ("--strength", 0, "--report", "none")


@pytest.mark.parametrize(
    ("source", "ending", "wish", "found", "keeps_alpha", "told"),
    [
        ("bgra", ".webm", (), "vp9", True, "RGB is written as yuva420p"),
        ("yuva444p", ".webm", (), "vp9", True, "chroma is reduced: yuva420p holds less"),
        ("yuva420p", ".webm", ("--codec", "vp8"), "vp8", True, ""),
        ("yuva420p", ".mp4", ("--codec", "hevc"), "hevc", False, "alpha channel is dropped: yuv420p has none"),
        ("bgra", ".mov", ("--codec", "qtrle"), "qtrle", True, ""),
        ("yuv420p", ".mkv", ("--codec", "libx264rgb"), "h264", False, "YUV is written as RGB (bgr0)"),
    ],
)
def test_transparency_and_rgb_go_where_they_can(
    source: str, ending: str, wish: tuple[str, ...], found: str, keeps_alpha: bool, told: str, tmp_path: Path
) -> None:
    write_clip(tmp_path / "in.mkv", source, size=(64, 48), count=3)
    out = tmp_path / f"out{ending}"
    code, _, said = call(tmp_path / "in.mkv", "-o", out, *wish, *SAME)
    assert code == 0, said
    assert told in said and (told or "warning" not in said)
    info = probe(out)
    assert (info.codec, info.alpha) == (found, keeps_alpha)
    with av.open(str(out)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 3


def test_an_encoder_that_names_no_pixel_formats_wants_one(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(64, 48), count=3)
    code, _, said = call(tmp_path / "in.mkv", "-o", tmp_path / "out.mkv", "--codec", "rawvideo", *SAME)
    assert code == 2 and "give --pix-fmt yuv420p" in said
