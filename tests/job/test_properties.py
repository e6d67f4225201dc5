"""Whatever size, number of frames, length of pieces, samples and times there are: nothing is lost or moved."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from clips import Sound, packets, random_frames, write_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.engine.work import Span, Work
from vnlsdenoise.job.passing import make_pieces
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.job.workdir import WorkFolder
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.frame import Frame, PlaneFormat
from vnlsdenoise.video.read import VideoReader

FORMATS = [
    "yuv420p",
    "yuv422p10le",
    "yuv444p12le",
    "yuv411p",
    "gray",
    "gray12le",
    "gbrp12le",
    "gbrp16le",
    "yuva420p",
    "bgra",
]
REPEATABLE = settings(derandomize=True, deadline=None, database=None)

steps = st.one_of(
    st.integers(1, 90).map(lambda step: [step]),  # of one rate
    st.lists(st.sampled_from([1, 2, 33, 34, 100, 4000]), min_size=2, max_size=5),  # in a pattern
)


def times(count: int, first: int, pattern: list[int]) -> list[int]:
    """Rising times, by the steps of a pattern over and over."""
    found = [first]
    while len(found) < count:
        found.append(found[-1] + pattern[len(found) % len(pattern)])
    return found


def equal(one: Frame, other: Frame) -> bool:
    alphas = [frame.extra["alpha"] for frame in (one, other) if "alpha" in frame.extra]
    return (
        one.pts == other.pts
        and all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
        and (not alphas or np.array_equal(*alphas))
    )


@settings(REPEATABLE, max_examples=20)
@given(
    pix_fmt=st.sampled_from(FORMATS),
    size=st.tuples(st.integers(8, 70), st.integers(8, 50)),  # FFV1 takes no smaller ones of every format
    count=st.integers(1, 40),
    piece=st.integers(1, 45),
    first=st.sampled_from([0, 1, 7, 90000]),
    pattern=steps,
    sound=st.booleans(),
)
def test_every_sample_and_every_time_comes_through_pieces(
    pix_fmt: str, size: tuple[int, int], count: int, piece: int, first: int, pattern: list[int], sound: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "in.mkv"), Path(folder, "out.mkv")
        beside = Sound("flac") if sound else None
        stamps = times(count, first, pattern)
        write_clip(source, pix_fmt, size=size, count=count, pts=stamps, time_base=Fraction(1, 1000), sound=beside)
        request = Request(source, output, strength=0, piece=piece, encoding=Encoding(lossless=True), keep_workdir=True)
        report = run(make_plan(request))
        assert report.frames == count and not report.damage
        pieces = WorkFolder.of(output, None, False).pieces()
        assert [found.frames for found in pieces[:-1]] == [piece] * (len(pieces) - 1)
        frames = list(VideoReader(source))
        assert len(frames) == count
        assert all(equal(a, b) for a, b in zip(frames, VideoReader(output), strict=True))
        if sound:
            assert packets(source, "audio") == packets(output, "audio")


@settings(REPEATABLE, max_examples=8)
@given(
    codec=st.sampled_from(["h264", "hevc", "ffv1", "vp9"]),
    count=st.integers(2, 40),
    piece=st.integers(1, 30),
    stop=st.integers(0, 39),
    pattern=steps,
)
def test_a_run_that_stops_anywhere_goes_on_to_the_same_bytes(
    codec: str, count: int, piece: int, stop: int, pattern: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, output, whole = (Path(folder, name) for name in ("in.mkv", "out.mkv", "whole.mkv"))
        write_clip(source, size=(96, 96), count=count, pts=times(count, 0, pattern), time_base=Fraction(1, 1000))
        request = Request(source, output, strength=0, piece=piece, encoding=Encoding(codec))
        run(make_plan(replace(request, output=whole)))

        class Stopped(BaseException):
            pass

        def stopping(stage: str, done: int) -> None:
            if stage == "encoded" and done > stop:
                raise Stopped

        plan, work = make_plan(request), WorkFolder.of(output, None, False)
        work.path.mkdir()
        with suppress(Stopped):
            make_pieces(plan, work, [], stopping)
        kept, wrong = work.sound_pieces()
        assert not wrong
        if work.reading() is None:
            make_pieces(plan, work, kept)
        # What was done apart is what a run does.
        again = WorkFolder.of(whole, None, False)
        run(make_plan(replace(request, output=whole, keep_workdir=True)))
        ours, theirs = work.pieces(), again.pieces()
        assert [(p.first, p.frames, p.sha256) for p in ours] == [(p.first, p.frames, p.sha256) for p in theirs]
        report = run(make_plan(request))
        assert report.frames == count and output.read_bytes() == whole.read_bytes()


@st.composite
def films(draw: st.DrawFn) -> Iterator[object]:
    """(layout, frames, first and end of a range)."""
    family = draw(st.sampled_from(["gray", "yuv", "rgb"]))
    shifts = draw(st.sampled_from([(0, 0), (1, 1), (1, 0)])) if family == "yuv" else (0, 0)
    width, height = draw(st.integers(5, 50)), draw(st.integers(5, 44))
    layout = PlaneFormat(family, width, height, draw(st.sampled_from([8, 10])), *shifts)
    count = draw(st.integers(1, 70))
    frames = random_frames(layout, count, seed=draw(st.integers(0, 99)))
    for number in range(1, count):
        if draw(st.integers(0, 9)) == 0:
            frames[number] = replace(frames[number], planes=frames[number - 1].planes)
    first = draw(st.integers(0, count - 1))
    return layout, frames, first, draw(st.integers(first + 1, count))


@settings(REPEATABLE, max_examples=8)
@given(film=films())
def test_any_range_of_any_film_has_the_bytes_of_the_whole(film: tuple[PlaneFormat, list[Frame], int, int]) -> None:
    layout, frames, first, end = film
    how = DenoiseSettings((20.0,) * len(layout.plane_shapes), preset="fast")
    whole = list(denoise_frames(frames, layout, how))
    part = list(denoise_frames(frames, layout, how, Work([Span(first, end, whole[first].fed)])))
    assert [frame.number for frame in part] == list(range(first, end))
    for one, other in zip(part, whole[first:end], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
