"""`vnlsdenoise compare`: films of other lengths, starts, depths and kinds; figures, tables, page."""

import csv
import json
import math
from pathlib import Path

import av
import numpy as np
import pytest
from browser import browser, opened
from calling import assert_error, call
from clips import write_clip
from films import pictures

from vnlsdenoise.compare.films import compare_films
from vnlsdenoise.compare.report import Shots, chosen_frames
from vnlsdenoise.compare.vmaf import find_ffmpeg
from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.video.frame import Frame, PlaneFormat

LAYOUT = PlaneFormat("yuv", 96, 64, 8, 1, 1)


def moving(count: int, layout: PlaneFormat = LAYOUT) -> list[Frame]:
    """Frames of which no two look the same."""
    frames = []
    for picture in pictures(count, (layout.width, layout.height)):
        luma = picture[..., 1].astype(np.uint16) << (layout.depth - 8)
        chroma = [picture[::2, ::2, c].astype(np.uint16) << (layout.depth - 8) for c in (0, 2)]
        planes = (luma, *chroma)
        frames.append(Frame(tuple(p.astype(np.uint8 if layout.depth == 8 else np.uint16) for p in planes)))
    return frames


def noisy(frames: list[Frame], sigma: float, seed: int = 0) -> list[Frame]:
    random = np.random.default_rng(seed)
    shaken = []
    for frame in frames:
        planes = [plane + sigma * random.standard_normal(plane.shape) for plane in frame.planes]
        shaken.append(Frame(tuple(plane.round().clip(0, 255).astype(np.uint8) for plane in planes)))
    return shaken


def write(path: Path, frames: list[Frame], pix_fmt: str = "yuv420p") -> Path:
    write_clip(path, pix_fmt, size=(96, 64), frames=frames, count=len(frames))
    return path


def test_figures_are_those_of_the_planes(tmp_path: Path) -> None:
    clean = moving(5)
    shaken = noisy(clean, 6)
    one, other = write(tmp_path / "a.mkv", clean), write(tmp_path / "b.mkv", shaken)
    shots = Shots(3, 3, LAYOUT)
    told = compare_films([one, other, one], shown=shots)
    assert told.planes == ("Y", "U", "V") and told.first == 0
    assert [shot.frame for shot in shots.shots] == [1, 2, 3] and shots.lossless
    assert told.seconds == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    first, same = told.others
    errors = [np.square(a.astype(float) - b).mean() for a, b in zip(shaken[2].planes, clean[2].planes, strict=True)]
    assert first.frames[2].psnr == pytest.approx([10 * math.log10(255**2 / error) for error in errors])
    whole = (errors[0] * 4 + errors[1] + errors[2]) / 6
    assert first.frames[2].whole == pytest.approx(10 * math.log10(255**2 / whole))
    # Of white noise the change of the error from frame to frame is sqrt(2) times, its mean magnitude sqrt(2 / pi).
    assert first.frames[1].flicker[0] == pytest.approx(6 * 2 / math.pi**0.5, rel=0.05)
    assert same.summary()["identical"] == 5 and same.summary()["psnr"] is None
    assert same.frames[0].ssim == pytest.approx((1, 1, 1))


def test_a_film_that_is_named_twice_has_its_own_frames_both_times(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a.mkv", moving(4)), write(tmp_path / "b.mkv", noisy(moving(4), 3))
    films = compare_films([one, other, other], places=[0, 0]).as_dict()["films"]
    assert [len(film["frames"]["psnr"]) for film in films] == [4, 4]


@pytest.mark.parametrize(("begin", "end"), [(7, 30), (0, 21), (3, 24)])
@pytest.mark.parametrize("first_is_cut", [False, True])
def test_films_that_begin_elsewhere_are_brought_together(
    begin: int, end: int, first_is_cut: bool, tmp_path: Path
) -> None:
    frames = moving(30)
    whole = write(tmp_path / "whole.mkv", frames)
    part = write(tmp_path / "part.mkv", noisy(frames, 9)[begin:end])
    paths = [part, whole] if first_is_cut else [whole, part]
    told = compare_films(paths)
    assert told.others[0].place.frames == (-begin if first_is_cut else begin)
    assert told.others[0].place.sure
    assert len(told.seconds) == end - begin
    assert 27 < told.others[0].summary()["psnr"] < 31
    given = compare_films(paths, places=[told.others[0].place.frames])
    assert given.others[0].frames == told.others[0].frames
    if first_is_cut and begin:
        assert f"its first {begin} frame(s)" in told.others[0].left_out


def test_a_film_that_stands_still_is_said_to_fit_anywhere(tmp_path: Path) -> None:
    still = moving(1) * 20
    one, other = write(tmp_path / "a.mkv", noisy(still, 4)), write(tmp_path / "b.mkv", noisy(still, 4, 1))
    shorter = write(tmp_path / "c.mkv", noisy(still, 4, 1)[:17])
    as_long, cut = compare_films([one, other, shorter]).others
    assert as_long.place.frames == 0 and as_long.place.sure
    assert cut.place.frames == 0 and not cut.place.sure


def test_other_depths_and_kinds(tmp_path: Path) -> None:
    eight, ten = moving(4), moving(4, PlaneFormat("yuv", 96, 64, 10, 1, 1))
    one = write(tmp_path / "8.mkv", eight)
    deep = write(tmp_path / "10.mkv", ten, "yuv420p10le")
    told = compare_films([one, deep])
    assert told.how == "samples of 10 bits" and told.peak == 1023 and told.others[0].summary()["identical"] == 4
    rgb = tmp_path / "rgb.mkv"
    write_clip(rgb, "bgr0", size=(96, 64), count=4)
    told = compare_films([rgb, one])
    assert told.planes == ("R", "G", "B") and told.how == "R, G and B of 8 bits"


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = write(tmp_path / "a.mkv", moving(4))
    write_clip(tmp_path / "small.mkv", size=(32, 24))
    with pytest.raises(UsageError, match="only one film"):
        compare_films([one])
    with pytest.raises(InputError, match="only films of one size"):
        compare_films([one, tmp_path / "small.mkv"])
    for how in ({"places": [90]}, {"frames": (2, 1)}):
        with pytest.raises(InputError, match="show no frame together"):
            compare_films([one, one], **how)
    with pytest.raises(UsageError, match="2 offsets"):
        compare_films([one, one], places=[1, 2])


def test_tables_and_pages_have_long_names_and_links_to_them_stay(tmp_path: Path) -> None:
    film = write(tmp_path / "a.mkv", moving(2))
    page, table = (tmp_path / ("n" * (255 - len(ending)) + ending) for ending in (".html", ".csv"))
    (tmp_path / "link.csv").symlink_to(table)
    wish = ("--page", page, "--csv", tmp_path / "link.csv", "--vmaf", "off", "-y")
    code, _, err = call("compare", film, film, *wish)
    assert code == 0, err
    assert (tmp_path / "link.csv").is_symlink() and len(list(csv.DictReader(table.read_text().splitlines()))) == 2
    assert sorted(tmp_path.iterdir()) == sorted([film, page, table, tmp_path / "link.csv"])


@pytest.mark.parametrize(("count", "pictures"), [(3, 12), (100, 12), (100, 3), (13, 12), (1000, 1)])
def test_chosen_frames_lie_within_the_film(count: int, pictures: int) -> None:
    runs = chosen_frames(10, count, pictures)
    numbers = [number for run in runs for number in run]
    assert len(set(numbers)) == len(numbers) == min(count, pictures)
    assert min(numbers) >= 10 and max(numbers) < 10 + count


def test_the_command_writes_page_table_and_json(tmp_path: Path) -> None:
    frames = moving(16)
    one, other = write(tmp_path / "a.mkv", frames), write(tmp_path / "b <i>.mkv", noisy(frames, 5))
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    code, out, err = call(
        "compare", one, other, "--page", page, "--csv", table, "--json", "--vmaf", "off", "--pictures", 8
    )
    assert code == 0, err
    told = json.loads(out)
    assert told["films"][0]["mean"]["psnr"] == pytest.approx(34.2, abs=0.5)
    assert len(told["films"][0]["frames"]["psnr_y"]) == 16 and told["films"][0]["frames"]["flicker_y"][0] is None
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 16 and float(rows[3]["psnr_y"]) == told["films"][0]["frames"]["psnr_y"][3]
    with browser() as started, opened(started, page) as shown:
        assert "b <i>.mkv" in shown.text_content("h1")
        assert shown.locator("#frame").get_attribute("max") == "7"
        assert shown.locator("figure").count() == 3
        shown.keyboard.press("4")
        assert "change from the frame beside" in str(shown.locator("#canvas").get_attribute("aria-label"))
    assert_error(call("compare", one, other, "--page", page), 2, "exists", "-y")
    assert_error(call("compare", one, other, "--csv", one, "-y"), 2, "is an input")
    assert_error(call("compare", one, other, "--page", tmp_path / "none" / "page.html"), 4, "is no folder")
    assert_error(call("compare", one, other, "--csv", "/dev/null", "-y"), 4, "it is no file")
    assert_error(call("compare", one), 2, "only one film")
    assert_error(call("compare", one, tmp_path / "none.mkv"), 3, "does not exist")
    code, out, _ = call("compare", one, other, "--frames", "4:8", "--vmaf", "off")
    assert code == 0 and out.startswith("4 frames against")


def test_vmaf_where_ffmpeg_has_it(tmp_path: Path) -> None:
    if find_ffmpeg() is None:
        pytest.skip("needs an ffmpeg with libvmaf: pip install imageio-ffmpeg")
    frames = moving(12)
    one, other = write(tmp_path / "a.mkv", frames), write(tmp_path / "it's [b]:c.mkv", noisy(frames, 25)[3:])
    code, out, err = call("compare", one, other, one, "--json")
    assert code == 0, err
    shaken, same = json.loads(out)["films"]
    assert len(shaken["frames"]["vmaf"]) == 9 and shaken["mean"]["vmaf"] < 90 < same["mean"]["vmaf"]


def test_vmaf_pairs_frames_of_containers_that_count_time_otherwise(tmp_path: Path) -> None:
    if find_ffmpeg() is None:
        pytest.skip("needs an ffmpeg with libvmaf: pip install imageio-ffmpeg")
    one, other = write(tmp_path / "a.mkv", moving(12)), tmp_path / "a.mp4"
    with av.open(one) as source, av.open(other, "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    (told,) = json.loads(call("compare", one, other, "--json")[1])["films"]
    assert len(told["frames"]["vmaf"]) == 12 and told["mean"]["vmaf"] > 90
