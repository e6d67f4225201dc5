"""Noise as phones film it: a sensor's, demosaiced, toned, and through H.264."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from clips import write_clip
from yuv import planes_of

from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.noise.camera import Camera
from vnlsdenoise.video.frame import Frame, PlaneFormat
from vnlsdenoise.video.read import VideoReader

LAYOUT = PlaneFormat("yuv", 240, 160, 8, 1, 1)
GIVEN = (1.5, 3.0, 5.0, 8.0)


def luma_psnr(frames: list[Frame], wanted: list[Frame]) -> float:
    errors = [(a.planes[0].astype(float) - b.planes[0]) ** 2 for a, b in zip(frames, wanted, strict=True)]
    return float(10 * np.log10(255**2 / np.mean(errors)))


@pytest.mark.parametrize(
    ("gain", "crf", "less"), [(0.0005, 18, 1.1), (0.002, 18, 0.5), (0.006, 18, 0.5), (0.002, 23, 0.6)]
)
def test_measured_noise_comes_near_the_best_deviation_given(gain: float, crf: int, less: float, tmp_path: Path) -> None:
    photograph = torch.from_numpy(skimage.data.coffee().astype(np.float32) / 255).permute(2, 0, 1)
    camera, random = Camera(gain, gain / 2), torch.Generator().manual_seed(1)
    views = [photograph[:, 100 + 2 * t : 260 + 2 * t, 150 + 3 * t : 390 + 3 * t].contiguous() for t in range(6)]
    noisy, wanted = (
        [Frame(p) for p in planes_of(255 * torch.stack(side))]
        for side in zip(*(camera.recorded(v, random) for v in views), strict=True)
    )
    options = {"bit_rate": 0, "options": {"crf": str(crf)}}
    write_clip(tmp_path / "a.mkv", encoder="libx264", size=(240, 160), frames=noisy, count=6, **options)
    frames = list(VideoReader(tmp_path / "a.mkv"))

    def restored(sigma: tuple[float, ...] | None) -> float:
        settings = DenoiseSettings(sigma, preset="fast", device="cpu", scene_cuts=False)
        return luma_psnr(list(denoise_frames(iter(frames), LAYOUT, settings)), wanted)

    best = max(restored((s, s / 2, s / 2)) for s in GIVEN)
    assert restored(None) > best - less
