"""The first second tells what will not work before the work starts; a good file is never refused after it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clips import Sound, write_clip

from vnlsdenoise.engine import local
from vnlsdenoise.errors import UsageError, VerificationError
from vnlsdenoise.job import verify
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.job.trial import worth_trying
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.frame import Frame


class _Counted:
    """An engine that changes nothing and counts what it was given."""

    def __init__(self) -> None:
        self.frames = 0

    def __call__(self, frames: Iterable[Frame], *_: Any) -> Iterator[Frame]:
        for frame in frames:
            self.frames += 1
            yield frame


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> _Counted:
    counted = _Counted()
    monkeypatch.setattr(local, "denoise_frames", counted)
    return counted


def test_what_will_not_verify_is_told_before_the_work(
    tmp_path: Path, engine: _Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "in.mkv", encoder="libx264", count=200, sound=Sound("aac"))
    plan = make_plan(Request(tmp_path / "in.mkv", tmp_path / "out.mp4", (5,), device="cpu"))

    def differs(*_: Any) -> Any:
        raise VerificationError("content of stream 1 differs")

    monkeypatch.setattr("vnlsdenoise.job.trial.verify_file", differs)
    with pytest.raises(VerificationError, match="first second, before the work"):
        run(plan)
    assert engine.frames == 0
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_the_trial_writes_a_second_and_leaves_nothing(
    tmp_path: Path, engine: _Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = verify.verify_file

    def watched(path: Path, final: Path, source: Any, choice: Any, written: Any) -> None:
        seen.append(len(written.pts))
        real(path, final, source, choice, written)

    monkeypatch.setattr("vnlsdenoise.job.trial.verify_file", watched)
    write_clip(tmp_path / "in.mkv", encoder="libx264", count=200, sound=Sound("aac", "subrip", True))
    for name in ("out.mp4", "out.mkv", "out.mov"):
        report = run(make_plan(Request(tmp_path / "in.mkv", tmp_path / name, (5,), device="cpu")))
        assert report.frames == 200
    assert seen == [25, 25, 25] and engine.frames == 600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.mkv", "out.mov", "out.mp4"]


def test_short_films_that_pass_through_are_not_written_twice(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", encoder="libx264", count=30)
    for strength, count, worth in ((0, 30, False), (1, 30, True), (0, 300, True)):
        write_clip(tmp_path / "in.mkv", encoder="libx264", count=count)
        request = Request(tmp_path / "in.mkv", tmp_path / "out.mkv", (5,), strength=strength, device="cpu")
        assert worth_trying(make_plan(request)) is worth


@pytest.mark.parametrize(
    ("name", "codec"),
    [("out.mov", "av1"), ("out.mov", "vp9"), ("out.mov", "ffv1"), ("out.mp4", "prores"), ("out.webm", "h264")],
)
def test_what_no_trial_is_worth_is_refused_before_the_work_all_the_same(
    name: str, codec: str, tmp_path: Path, engine: _Counted
) -> None:
    write_clip(tmp_path / "in.mkv", encoder="libx264")
    for strength in (0.0, 1.0):
        request = Request(
            tmp_path / "in.mkv", tmp_path / name, (5,), strength, encoding=Encoding(codec=codec), device="cpu"
        )
        with pytest.raises(UsageError, match="does not take the video"):
            make_plan(request)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_gray_is_not_refused_for_a_matrix_that_says_nothing_of_it(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", "gray", color_primaries=1, color_trc=1, colorspace=1, color_range=1)
    request = Request(
        tmp_path / "in.mkv", tmp_path / "out.mp4", strength=0, encoding=Encoding(codec="h264"), device="cpu"
    )
    assert run(make_plan(request)).frames == 6
