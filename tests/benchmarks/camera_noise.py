"""Noise as cameras make it: clips of photographs with their clean means, and a simulated camera on clean clips."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from coded_noise import through_h264

from vnlsdenoise.bench.quality import Video
from vnlsdenoise.noise.camera import Camera

Image = npt.NDArray[np.float32]  # [H, W, 3], R, G, B, 0 .. 255
GAINS = (0.0005, 0.002, 0.006, 0.02)  # variance of photon noise in linear light, of the signal; read noise beside it
CRFS = (18, 23)


class NoisyClip(NamedTuple):
    kind: str
    name: str
    clean: Video
    noisy: Video


def photographed(folder: pathlib.Path, frames: int, pairs: set[str]) -> Iterator[NoisyClip]:
    """Of every pair NAME_real.png, NAME_mean.png: a still scene, a pan, both through H.264, and the single picture.

    The difference of the pair is the noise; in every frame it is rolled to another place, and stays with the sensor
    where the picture moves. pairs: names of those to use; none for all.
    """
    for path in sorted(folder.glob("*_real.png")):
        name = path.name.removesuffix("_real.png")
        if pairs and name not in pairs:
            continue
        clean = _read(path.with_name(f"{name}_mean.png"))
        noise = _read(path) - clean
        yield NoisyClip("single", name, clean[None], (clean + noise)[None])
        noises = [np.roll(noise, (16 * t, 24 * t), (0, 1)) for t in range(frames)]
        for kind, step in (("still", 0.0), ("pan", 1.0)):
            moved = [_shifted(clean, 1.3 * step * t, 2.7 * step * t) for t in range(frames)]
            edge = 32 if step else 0
            inside = slice(0, clean.shape[0] - edge), slice(0, clean.shape[1] - edge)
            wanted = _codes([picture[inside] for picture in moved])
            noisy = _codes([(p + n)[inside] for p, n in zip(moved, noises, strict=True)])
            yield NoisyClip(kind, name, wanted, noisy)
            yield from _coded(kind, name, wanted, noisy)


def simulated(name: str, clean: Video, seed: int) -> Iterator[NoisyClip]:
    """Photon and read noise of a Bayer sensor in linear light at every gain, demosaiced, toned; and through H.264."""
    for gain in GAINS:
        generator = torch.Generator().manual_seed(seed + round(gain * 1e6))
        camera = Camera(gain, gain / 2)
        pictures = torch.from_numpy(clean).permute(0, 3, 1, 2)[
            ..., : clean.shape[1] // 2 * 2, : clean.shape[2] // 2 * 2
        ]
        # What demosaicing does to the picture is no noise.
        pairs = [camera.recorded(picture.contiguous() / 255, generator) for picture in pictures]
        noisy, wanted = (
            _codes([255 * picture.permute(1, 2, 0).numpy() for picture in side]) for side in zip(*pairs, strict=True)
        )
        yield NoisyClip(f"camera, gain {gain:g}", name, wanted, noisy)
        yield from _coded(f"camera, gain {gain:g}", name, wanted, noisy, crfs=(20,))


def _coded(kind: str, name: str, clean: Video, noisy: Video, crfs: tuple[int, ...] = CRFS) -> Iterator[NoisyClip]:
    for crf in crfs:
        frames = through_h264(noisy.astype(np.uint8), crf)
        yield NoisyClip(
            f"{kind}, crf {crf}",
            name,
            clean,
            np.stack([f.to_ndarray(format="rgb24") for f in frames]).astype(np.float32),
        )


def _codes(frames: list[Image]) -> Video:
    return np.stack([np.clip(np.rint(frame), 0, 255) for frame in frames]).astype(np.float32)


def _shifted(picture: Image, down: float, right: float) -> Image:
    matrix = np.array([[1, 0, -right], [0, 1, -down]], np.float32)
    height, width = picture.shape[:2]
    moved: Image = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC)
    return moved


def _read(path: pathlib.Path) -> Image:
    picture: Image = cv2.imread(str(path))[..., ::-1].astype(np.float32)
    return np.ascontiguousarray(picture)
