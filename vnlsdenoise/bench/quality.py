"""Quality on clean clips with white noise added: PSNR, SSIM and flicker of the denoiser, and its CPU seconds.

The protocol is that of tests/benchmarks/quality.py, which prints the same figures.
"""

import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch

from vnlsdenoise.api import denoise
from vnlsdenoise.compare import metrics
from vnlsdenoise.learned.checkpoint import load_header
from vnlsdenoise.learned.methods import preset_of

Video = npt.NDArray[np.float32]  # [T, H, W, 3], R, G, B
_ENDINGS = (".mkv", ".mp4", ".mov", ".avi")


def clips_in(folder: Path) -> list[Path]:
    """The clips of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)


def load_clip(path: Path, frames: int | None, crop: tuple[int, ...] | None) -> Video:
    """The first `frames` of a clip as R, G, B; crop: (width, height) of the centre."""
    with av.open(path) as container:
        images = []
        for frame in container.decode(video=0):
            images.append(frame.to_ndarray(format="rgb24"))
            if len(images) == frames:
                break
    video = np.stack(images).astype(np.float32)
    if crop:
        width, height = crop
        top, left = (video.shape[1] - height) // 2, (video.shape[2] - width) // 2
        video = video[:, top : top + height, left : left + width]
    return video


def denoiser_of(name: str) -> dict[str, Any]:
    """A preset of the classic denoiser, "learned", "learned:WEIGHTS" or "learned:WEIGHTS:PRESET"."""
    method, weights, preset = (*name.split(":"), "", "")[:3]
    if method != "learned":
        return {"preset": name}
    weights = weights or "small"
    return {"method": method, "weights": weights, "preset": preset_of(preset, load_header(weights).preset)}


def add_noise(clean: Video, name: str, sigma: int) -> Video:
    """White noise, drawn once a clip from a seed of its name and sigma."""
    random = np.random.RandomState(zlib.crc32(f"{name}{sigma}".encode()) % 2**31)
    noisy = [frame + sigma * random.randn(*frame.shape)[..., ::-1].astype(np.float32) for frame in clean]
    return np.stack(noisy).astype(np.float32)


def psnr(video: Video, clean: Video) -> float:
    """Mean over frames of each frame's RGB PSNR, the output clipped to 0..255."""
    errors = ((video.clip(0, 255).astype(np.float64) - clean) ** 2).mean((1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / errors)))


def ssim(video: Video, clean: Video) -> float:
    """Mean over frames and channels, of 7x7 windows."""
    return float(np.mean([metrics.ssim(a[..., c], b[..., c], 255) for a, b in _pairs(video, clean) for c in range(3)]))


def _pairs(video: Video, clean: Video) -> Iterator[tuple[Video, Video]]:
    return zip(video.clip(0, 255), clean, strict=True)


def flicker(video: Video, clean: Video) -> dict[str, float]:
    """Mean change of the error between neighbouring frames: of all, of what stands still, and of what moves."""
    change = np.abs(np.diff(video.clip(0, 255) - clean, axis=0)).mean(-1)
    still = np.abs(np.diff(clean, axis=0)).mean(-1) < 2
    parts = {"flicker": change, "flicker_still": change[still], "flicker_moving": change[~still]}
    return {name: float(part.mean()) if part.size else 0.0 for name, part in parts.items()}


def measure(clean: Video, noisy: Video, sigma: int, denoiser: dict[str, Any], device: str) -> dict[str, float]:
    """All figures of a clip. denoiser: arguments of `vnlsdenoise.denoise`, as `denoiser_of` gives them."""
    tensor = torch.from_numpy(noisy.transpose(0, 3, 1, 2).copy())
    wall, cpu = time.perf_counter(), time.process_time()
    out = denoise(tensor, float(sigma), **denoiser, device=device, peak=255.0)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    video = out.cpu().numpy().transpose(0, 2, 3, 1)
    return {
        "psnr": psnr(video, clean),
        "ssim": ssim(video, clean),
        **flicker(video, clean),
        "seconds_per_frame": wall / len(clean),
        "cpu_seconds_per_frame": cpu / len(clean),
    }
