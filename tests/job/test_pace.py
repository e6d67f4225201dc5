"""How much is done and how long the rest takes, on recorded runs: what came to each stage, and when."""

import json
from pathlib import Path

import pytest

from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.job.pace import Pace, Steps, steps_of
from vnlsdenoise.video.frame import PlaneFormat

RUNS = json.loads(Path(__file__).with_name("timelines.json").read_text())["runs"]


@pytest.mark.parametrize("name", RUNS)
def test_what_is_left_is_right_within_a_fifth_after_the_first_tenth(name: str) -> None:
    preset, size = name.split()
    width, height = map(int, size.split("x"))
    events = RUNS[name]
    end, frames, _ = events[-1]
    steps = steps_of(PlaneFormat("yuv", width, height, 8, 1, 1), DenoiseSettings(None, preset=preset))
    pace = Pace(frames, steps)
    # Of a film that is hardly longer than what is in flight, most passes have done nothing yet at a tenth.
    told = 0.1 if frames > 2.5 * steps.lag else 0.15
    shares, checked = [0.0], 0
    for now, analysed, denoised in events:
        if analysed is None:
            pace.opened(denoised, now)
            continue
        pace.saw("analysed", analysed, now)
        pace.saw("denoised", denoised, now)
        pace.saw("encoded", denoised, now)
        assert pace.share is not None and pace.share >= shares[-1]
        shares.append(pace.share)
        left = pace.left(now)
        if told < pace.share < 1:
            # Of the last seconds, a share of all.
            assert left == pytest.approx(end - now, rel=0.2, abs=0.05 * end), (now, analysed, denoised)
            checked += 1
    assert checked > 100
    assert pace.share == 1 and pace.left(end) == 0
    assert shares[5] > 0  # long before the first frame comes out


def test_a_run_that_changes_nothing_counts_what_is_written() -> None:
    pace = Pace(100, steps_of(PlaneFormat("gray", 64, 64, 8), None))
    assert pace.left(0.0) is None
    for count in range(1, 51):
        pace.saw("analysed", min(100, count + 8), count / 10)
        pace.saw("encoded", count, count / 10)
    assert pace.share == pytest.approx(0.5)
    assert pace.left(5.0) == pytest.approx(5.0, rel=0.05)
    assert pace.speed(5.0) == pytest.approx(10.0, rel=0.05)


def test_scenes_begin_anew_and_unknown_lengths_have_no_share() -> None:
    steps = Steps(steps_of(PlaneFormat("gray", 64, 64, 8), DenoiseSettings((1.0,), preset="fast")).steps, 40)
    pace = Pace(None, steps)
    pace.opened(0, 0.0)
    for count in range(1, 31):
        pace.saw("analysed", count, float(count))
    for count in range(1, 31):
        pace.saw("denoised", count, 30.0 + count)
    assert pace.work == pytest.approx(30.0)
    pace.opened(30, 61.0)
    pace.saw("analysed", 60, 90.0)
    assert 30 < pace.work < 60
    assert pace.share is None and pace.left(90.0) is None and pace.speed(90.0) > 0


def test_frames_of_an_earlier_run_count_but_say_nothing_of_the_speed() -> None:
    pace = Pace(200, steps_of(PlaneFormat("gray", 64, 64, 8), DenoiseSettings((1.0,), preset="fast")))
    pace.saw("encoded", 100, 0.0)
    assert pace.share == 0.5
    for count in range(1, 101):  # decoded once more, quickly
        pace.saw("analysed", count, count / 1000)
    assert pace.share == 0.5
    pace.opened(60, 0.2)
    for count in range(101, 201):
        pace.saw("analysed", count, 0.2 + (count - 100) / 10)
        if count > 140:
            pace.saw("denoised", count - 40, 0.2 + (count - 100) / 10)
            pace.saw("encoded", count - 40, 0.2 + (count - 100) / 10)
    assert pace.share is not None and 0.7 < pace.share < 1
    left = pace.left(10.2)
    assert left is not None and left == pytest.approx((200 - pace.work) / 10, rel=0.25)
