"""Parts, places and residuals at the command line."""

from pathlib import Path

import numpy as np
import pytest
from calling import assert_error, call
from clips import write_clip

from vnlsdenoise.video.read import VideoReader

FAST = ("--sigma", 9, "--preset", "fast", "--device", "cpu", "--lossless")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_clip(tmp_path / "in.mkv", size=(48, 32), count=60)
    return tmp_path / "in.mkv"


def test_a_part_of_a_place_and_what_was_removed(clip: Path) -> None:
    output, removed = clip.with_name("out.mkv"), clip.with_name("removed.mkv")
    wish = ("--start", "0:01.2", "--end", "1.52s", "--roi", "8,8,16,16", "--residual", removed)
    code, _, err = call(clip, "-o", output, *wish, *FAST)
    assert code == 0, err
    whole, got, rest = (list(VideoReader(path)) for path in (clip, output, removed))
    assert len(got) == len(rest) == 8
    for noisy, clean, third in zip(whole[30:38], got, rest, strict=True):
        changed = noisy.planes[0] != clean.planes[0]
        assert changed[8:24, 8:24].mean() > 0.5 and changed.sum() == changed[8:24, 8:24].sum()
        assert np.array_equal(third.planes[0] != 128, changed)
    assert_error(call(clip, "-o", clip.with_name("b.mkv"), "--residual", removed, *FAST), 2, "residual", "exists")
    code, told, _ = call(clip, "--dry-run", "--roi", "8,8,16,16", "--frames", "3:5", *FAST)
    assert code == 0 and "region:   16x16 at 8,8" in told and "about 2 frames" in told


def test_what_cannot_be_meant(clip: Path) -> None:
    output = clip.with_name("out.mkv")
    for wish, words in (
        (("--roi", "1,2,3"), "X,Y,WIDTH,HEIGHT"),
        (("--roi", "40,0,20,20"), "does not lie within"),
        (("--frames", "5:5"), "A:B"),
        (("--frames", "1:5", "--start", "1"), "one of them"),
        (("--start", "soon"), "seconds"),
        (("--start", "9"), "nothing of it"),
    ):
        assert_error(call(clip, "-o", output, *wish, *FAST), 2, words)
    assert not output.exists()
