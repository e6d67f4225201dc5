"""Parts of a film and places in its frames: everything else stays what it is, bit for bit, and at its time."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import Sound, packets, random_frames, write_clip
from films import encoded, pictures

from vnlsdenoise.errors import UsageError
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.residual import check_residual, write_residual
from vnlsdenoise.job.run import run
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.part import Part, later_timecode
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.region import Region, Window
from vnlsdenoise.video.sequences import list_images
from vnlsdenoise.video.stills import Told, write_still

LOSSLESS = Encoding(lossless=True)


def carried_out(source: Path, output: Path, **wish: Any) -> Any:
    wish = {"strength": 0.0, "encoding": LOSSLESS, **wish}
    return run(make_plan(Request(source, output, **wish)))


def frames_of(path: Path) -> list[Any]:
    return list(VideoReader(path, interlaced="ignore"))


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))


@pytest.mark.parametrize(
    ("part", "first", "end"),
    [
        (Part(start=Fraction(1)), 25, 60),
        (Part(end=Fraction("0.4")), 0, 10),
        (Part(Fraction("0.41"), Fraction("1.2")), 11, 30),
        (Part(frames=(7, 19)), 7, 19),
        (Part(frames=(50, None)), 50, 60),
        (Part(frames=(58, 99)), 58, 60),
    ],
)
@pytest.mark.parametrize("name", ["in.mkv", "in.mov"])
def test_picture_and_sound_are_cut_alike(name: str, part: Part, first: int, end: int, tmp_path: Path) -> None:
    source, output = tmp_path / name, tmp_path / "out.mkv"
    codec = {"in.mkv": ("ffv1", "flac"), "in.mov": ("libx264", "aac")}[name]
    write_clip(source, encoder=codec[0], count=60, sound=Sound(audio=codec[1]), options={"bf": "2"} if first else {})
    report = carried_out(source, output, part=part)
    assert report.frames == end - first
    whole, got = frames_of(source), frames_of(output)
    assert len(got) == end - first and all(same(a, b) for a, b in zip(got, whole[first:end], strict=True))
    ticks = [float(frame.pts * VideoReader(output).info.time_base) for frame in got]
    assert ticks == pytest.approx([ticks[0] + index / 25 for index in range(end - first)], abs=0.0011)
    begin, stop = first / 25, end / 25
    shift = begin - ticks[0]
    wanted = [(data, time - shift) for data, time in packets(source, "audio") if begin <= time < stop]
    heard = packets(output, "audio")
    assert [data for data, _ in heard] == [data for data, _ in wanted] and (heard or end - first < 3)
    assert [time for _, time in heard] == pytest.approx([time for _, time in wanted], abs=0.0021)


def test_subtitles_and_chapters_are_shortened_to_the_part(tmp_path: Path) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    write_clip(source, count=10, sound=Sound(subtitles="subrip", chapters=True))  # a title from 40 to 120 ms
    carried_out(source, output, part=Part(frames=(2, 4)))  # 80 to 160 ms; chapters 0 to 100 to 200 ms
    with av.open(str(output)) as container:
        chapters = [(c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in container.chapters()]
        assert chapters == [(0, Fraction(20, 1000)), (Fraction(20, 1000), Fraction(80, 1000))]
        titles = [packet for packet in container.demux(subtitles=0) if packet.size]
        assert [(float(p.pts * p.time_base), float(p.duration * p.time_base)) for p in titles] == [(0.0, 0.04)]
    carried_out(source, tmp_path / "later.mkv", part=Part(frames=(4, 8)))
    assert packets(tmp_path / "later.mkv", "subtitle") == []


def test_variable_rates_images_and_nothing_left(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    times = [0, 40, 80, 1000, 1033, 2000]
    written = write_clip(source, pts=times, time_base=Fraction(1, 1000))
    carried_out(source, tmp_path / "out.mkv", part=Part(Fraction("0.08"), Fraction(2)))
    got = frames_of(tmp_path / "out.mkv")
    assert [frame.pts - got[0].pts for frame in got] == [0, 920, 953] and same(got[0], written[2])
    with pytest.raises(UsageError, match="nothing of it"):
        make_plan(Request(source, tmp_path / "x.mkv", part=Part(frames=(6, None))))
    with pytest.raises(UsageError, match="one of them"):
        Part(start=Fraction(1), frames=(0, 1))
    with pytest.raises(UsageError, match="not after"):
        Part(Fraction(2), Fraction(2))
    (tmp_path / "shot").mkdir()
    for number in range(1001, 1011):
        write_still(tmp_path / "shot" / f"a.{number}.png", np.full((8, 8), number % 256, np.uint8), Told())
    run(make_plan(Request(tmp_path / "shot", tmp_path / "o" / "a.%d.png", strength=0.0, part=Part(frames=(2, 5)))))
    assert [path.name for path in list_images(tmp_path / "o")] == ["a.1003.png", "a.1004.png", "a.1005.png"]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p16le", "gray", "gbrp10le"])
@pytest.mark.parametrize(
    "roi", [Region(16, 8, 24, 20), Region(0, 0, 33, 21), Region(31, 41, 64 - 31, 50 - 41), Region(5, 5, 1, 1)]
)
def test_outside_the_rectangle_nothing_changes_inside_everything_does(
    pix_fmt: str, roi: Region, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    whole = write_clip(source, pix_fmt, size=(64, 50), count=4)
    plan = make_plan(Request(source, output, (30.0,), preset="fast", device="cpu", encoding=LOSSLESS, roi=roi))
    run(plan)
    for noisy, clean in zip(whole, frames_of(output), strict=True):
        for index, (before, after) in enumerate(zip(noisy.planes, clean.planes, strict=True)):
            x, y = (plan.info.format.chroma_x, plan.info.format.chroma_y) if index else (0, 0)
            rows, columns = (np.arange(size) for size in before.shape)
            # Pixels that a sample stands for; at the border there are only those of the picture.
            down = (rows << y >= roi.y) & (np.minimum((rows + 1) << y, 50) <= roi.y + roi.height)
            across = (columns << x >= roi.x) & (np.minimum((columns + 1) << x, 64) <= roi.x + roi.width)
            inside = down[:, None] & across[None]
            assert np.array_equal(before[~inside], after[~inside])
            assert inside.sum() < 9 or (before[inside] != after[inside]).mean() > 0.5


def test_a_rectangle_is_denoised_like_the_whole(tmp_path: Path) -> None:
    """Far from its border, where no patch of the whole's is missing, the difference is small."""
    random = np.random.default_rng(0)
    format = PlaneFormat("gray", 160, 120, 8)
    y, x = np.mgrid[:120, :160]
    frames = random_frames(format, 6)
    for index, frame in enumerate(frames):
        clean = 128 + 60 * np.sin((x + 2 * index) / 9) * np.cos(y / 11)
        frame.planes = (np.clip(clean + 12 * random.standard_normal(clean.shape), 0, 255).astype(np.uint8),)
    write_clip(tmp_path / "in.mkv", "gray", size=(160, 120), frames=frames)
    wish = {"sigma": (12.0,), "strength": 1.0, "preset": "fast", "device": "cpu"}
    carried_out(tmp_path / "in.mkv", tmp_path / "whole.mkv", **wish)
    carried_out(tmp_path / "in.mkv", tmp_path / "part.mkv", roi=Region(40, 40, 60, 50), **wish)
    for whole, part in zip(frames_of(tmp_path / "whole.mkv"), frames_of(tmp_path / "part.mkv"), strict=True):
        one, other = (frame.planes[0][40:90, 40:100].astype(float) for frame in (whole, part))
        assert np.abs(one - other).mean() < 1.5


def test_a_rectangle_outside_is_refused() -> None:
    for region in (Region(60, 0, 10, 10), Region(0, 0, 10, 51), Region(0, 50, 1, 1)):
        with pytest.raises(UsageError, match="does not lie within"):
            Window(region, PlaneFormat("yuv", 64, 50, 8, 1, 1))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gray12le", "gbrp16le"])
def test_output_and_residual_make_the_input(pix_fmt: str, tmp_path: Path) -> None:
    source, output, removed = tmp_path / "in.mkv", tmp_path / "out.mkv", tmp_path / "removed.mkv"
    whole = write_clip(source, pix_fmt, size=(40, 32), count=5)
    wish: dict[str, Any] = {"preset": "fast", "device": "cpu", "encoding": LOSSLESS, "part": Part(frames=(1, 4))}
    plan = make_plan(Request(source, output, (6.0,), residual=removed, **wish))
    check_residual(plan, overwrite=False)
    run(plan)
    clipped = write_residual(plan)
    middle = 1 << (plan.info.format.depth - 1)
    parts = zip(whole[1:4], frames_of(output), frames_of(removed), strict=True)
    wrong = 0
    for noisy, clean, rest in parts:
        for one, other, third in zip(noisy.planes, clean.planes, rest.planes, strict=True):
            wrong += int((other.astype(int) + third - middle != one).sum())
            assert third.std() > 0
    assert wrong == clipped
    with pytest.raises(UsageError, match="exists"):
        check_residual(plan, overwrite=False)
    check_residual(plan, overwrite=True)


def test_a_residual_that_could_not_be_written_is_refused_before(tmp_path: Path) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    write_clip(source, "gbrp10le", count=3)
    for residual, encoding, words in (
        (output, LOSSLESS, "the output itself"),
        (source, LOSSLESS, "the input itself"),
        (tmp_path / "r.mkv", Encoding(codec="h264"), "same kind of samples"),
    ):
        plan = make_plan(Request(source, output, (5.0,), residual=residual, encoding=encoding, device="cpu"))
        with pytest.raises(UsageError, match=words):
            check_residual(plan, overwrite=True)


@pytest.mark.parametrize("ending", ["mov", "mp4", "mkv"])
def test_the_time_code_of_a_part_is_that_of_its_first_frame(ending: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mov"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.metadata["timecode"] = "01:00:59:24"
        container.mux(list(encoded(stream, pictures(6))))
    carried_out(tmp_path / "in.mov", tmp_path / f"out.{ending}", part=Part(frames=(2, 6)), encoding=Encoding())
    with av.open(str(tmp_path / f"out.{ending}")) as container:
        tags = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
    assert tags["timecode"] == "01:01:00:01"


@pytest.mark.parametrize("ending", ["mov", "mp4", "mkv"])
def test_a_time_code_counts_by_the_rate_of_uneven_frames_without_their_gaps(ending: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mov"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.metadata["timecode"] = "01:00:59:29"
        for index, picture in enumerate(pictures(12)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index + 2 * (index // 3), Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for part, code in ((Part(), "01:00:59:29"), (Part(frames=(6, 12)), "01:01:00:09")):
        carried_out(tmp_path / "in.mov", tmp_path / f"out.{ending}", part=part, encoding=Encoding())
        with av.open(str(tmp_path / f"out.{ending}")) as container:
            tags = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
        assert tags["timecode"] == code


@pytest.mark.parametrize(
    ("code", "frames", "rate", "later"),
    [
        ("01:02:03:04", 13, 25, "01:02:03:17"),
        ("23:59:59:23", 1, 24, "00:00:00:00"),
        ("00:00:59:29", 1, 30, "00:01:00:00"),
        ("00:00:59;29", 1, 30, "00:01:00;02"),
        ("00:09:59;29", 1, 30, "00:10:00;00"),
        ("01:00:00;00", 107892, 30, "02:00:00;00"),
        ("00:00:59;59", 1, 60, "00:01:00;04"),
        ("00:01:00;02", 1798, 30, "00:02:00;02"),
        ("later", 5, 25, "later"),
        ("01:00:00:00", 5, 0, "01:00:00:00"),
    ],
)
def test_time_codes_count_on(code: str, frames: int, rate: int, later: str) -> None:
    assert later_timecode(code, frames, rate) == later
