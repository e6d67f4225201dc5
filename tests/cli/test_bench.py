"""`vnlsdenoise bench`: speed, memory, quality, and the page."""

import json
from pathlib import Path

import pytest
from browser import browser, opened
from calling import called_here
from clips import write_clip

from vnlsdenoise.bench.quality import add_noise, load_clip, psnr, ssim
from vnlsdenoise.bench.speed import SIZES
from vnlsdenoise.errors import InputError, UsageError


def test_speed_and_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(SIZES, "240p", (72, 128))
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips" / "a.mkv", "bgr0", size=(64, 48), count=3)
    page = tmp_path / "page.html"
    asked = ("--sizes", "240p", "--presets", "fast", "--frames", 1, "--device", "cpu")
    quality = ("--clips", tmp_path / "clips", "--sigma", "30", "--crop", "48x32", "--clip-frames", 2)
    called_here("bench", *asked, *quality, "--json", "--page", page)
    told = json.loads(capsys.readouterr().out)
    [speed] = told["speed"]
    assert speed["pixels"] == 72 * 128 and speed["frames_per_second"] > 0
    assert speed["predicted_MiB"] > 0 and speed["peak_MiB"] > 0
    noisy, fast = told["quality"]
    assert noisy["denoiser"] == "noisy" and noisy["psnr"] == pytest.approx(19.1, abs=0.4)  # of values that are clipped
    assert fast["denoiser"] == "fast" and fast["cpu_seconds_per_frame"] > 0
    with browser() as started, opened(started, page) as shown:
        assert shown.locator("figure").count() == 2 and shown.locator("table").count() >= 2
        assert not shown.is_visible("#viewer")


def test_what_cannot_be_measured(tmp_path: Path) -> None:
    for error, words, more in (
        (UsageError, "no such size", ("--sizes", "9k")),
        (UsageError, "no such preset", ("--presets", "quick")),
        (InputError, "holds no clips", ("--sizes", "none", "--clips", tmp_path)),
    ):
        with pytest.raises(error, match=words):
            called_here("bench", *more)


def test_the_protocol_of_quality(tmp_path: Path) -> None:
    skimage = pytest.importorskip("skimage.metrics")
    write_clip(tmp_path / "a.mkv", "bgr0", size=(40, 30), count=4)
    clean = load_clip(tmp_path / "a.mkv", 2, (32, 24))
    assert clean.shape == (2, 24, 32, 3)
    noisy = add_noise(clean, "a", 20)
    assert psnr(noisy, noisy.clip(0, 255) + 1) == pytest.approx(48.13, abs=0.01)
    expected = [
        skimage.structural_similarity(a.clip(0, 255).astype(float), b.astype(float), channel_axis=-1, data_range=255)
        for a, b in zip(noisy, clean, strict=True)
    ]
    assert ssim(noisy, clean) == pytest.approx(sum(expected) / 2, abs=1e-6)
