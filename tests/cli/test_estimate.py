"""`vnlsdenoise estimate`: scenes, planes, what is clipped, how sure, and the page."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import browser, opened
from calling import called_here
from clips import noisy_film, write_clip

from vnlsdenoise.errors import UsageError
from vnlsdenoise.noise import NoiseModel, PlaneNoise
from vnlsdenoise.noise.model import Evidence
from vnlsdenoise.noise.report import clipped_shares, spectrum_of
from vnlsdenoise.video.frame import PlaneFormat

LUMA = PlaneFormat("yuv", 8, 4, 8, 1, 1)


def test_every_scene_is_told_with_how_sure_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film, page = tmp_path / "in.mkv", tmp_path / "page.html"
    noisy_film(film)  # two scenes of deviation 6, from frames 0 and 35 on
    ask = ("estimate", film, "--device", "cpu")
    called_here(*ask, "--json", "--page", page)
    told = json.loads(capsys.readouterr().out)
    assert [(scene["first"], scene["frames"]) for scene in told["scenes"]] == [(0, 35), (35, 25)]
    for scene in told["scenes"]:
        assert scene["noise"]["planes"][0]["sigma"] == pytest.approx(6, rel=0.1)
        assert scene["noise"]["evidence"]["taken"] == "quiet areas" and scene["certainty"] > 0.8
    assert told["sigma"]["Y"] == pytest.approx(6, rel=0.1)
    called_here(*ask)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("frame 0, 0.00 s, 35 frames: by quiet areas; sure")
    assert lines[4].startswith("frame 35, 1.40 s, 25 frames") and lines[5].startswith("Y  ")
    called_here(*ask, "--sampled", "--json")
    out, err = capsys.readouterr()
    assert json.loads(out)["scenes"] is None and "--scenes" in err
    with browser() as started, opened(started, page) as shown:
        assert shown.locator("figure").count() == 3  # over time, and the curve of either scene
        assert shown.locator("#tables tbody tr").count() == 2
        assert shown.locator("#frame").get_attribute("max") == "3" and not shown.is_visible("#sides")
        assert "change from the frame beside" in str(shown.locator("#canvas").get_attribute("aria-label"))
    with pytest.raises(UsageError, match=r"exists.*-y"):
        called_here(*ask, "--page", page)


def test_a_single_frame_has_one_witness(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "one.mkv", count=1, size=(64, 64))
    called_here("estimate", tmp_path / "one.mkv", "--device", "cpu")
    assert "one witness only" in capsys.readouterr().out


def test_shares_at_black_and_white_are_those_of_the_range() -> None:
    luma = np.full((4, 8), 100, np.uint8)
    luma[0] = 16
    luma[1, :4] = 240
    chroma = np.full((2, 4), 128, np.uint8)
    chroma[0, 0] = 0
    limited = clipped_shares([(luma, chroma, chroma)], LUMA)
    assert limited == ((0.25, 0.125), (0.125, 0.0), (0.125, 0.0))
    assert clipped_shares([(luma, chroma, chroma)], replace(LUMA, full_range=True))[0] == (0.0, 0.0)


def test_agreement_of_the_witnesses() -> None:
    def agreement(quiet: float, top: float, new: float, taken: str = "quiet areas") -> float | None:
        return Evidence(taken, (quiet,), (top,), (new,), 0.7).agreement(255)  # type: ignore[arg-type]

    assert agreement(10, 9, 11) == 1
    assert agreement(20, 9, 9.5) == pytest.approx(10 / 20.5)
    assert agreement(0.1, 0, 0) == pytest.approx(0.5 / 0.6)
    assert agreement(1, 2, 9, "what is new") == 0.7
    assert Evidence("quiet areas", (3.0,)).agreement(255) is None


def test_evidence_travels_with_the_model_and_does_not_make_it_another() -> None:
    evidence = Evidence("quiet areas", (3.0,), (2.0,), (4.0,), 0.25)
    model = NoiseModel((PlaneNoise(3.0),), evidence=evidence)
    assert model == NoiseModel((PlaneNoise(3.0),))
    again = NoiseModel.from_json(json.loads(json.dumps(model.to_json())))
    assert again.evidence == evidence
    assert model.scaled(4).evidence == Evidence("quiet areas", (12.0,), (8.0,), (16.0,), 0.25)
    old = model.to_json()
    del old["evidence"]  # what earlier versions wrote
    del old["planes"][0]["assumed"]
    assert NoiseModel.from_json(old) == model


def test_the_spectrum_of_white_noise_is_flat() -> None:
    white = PlaneNoise(4.0, spectrum=(1.0,) * 64)
    frequencies, deviations = zip(*spectrum_of(white), strict=True)
    assert deviations == pytest.approx([4.0] * 14) and frequencies[-1] == pytest.approx(14 / 32)
