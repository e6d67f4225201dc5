"""R, G and B as a camera records them, and what denoising brings."""

import math

import torch
from torch import Tensor

import vnlsdenoise
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.noise.camera import Camera

PEAK = 255.0


def recorded(clean: Tensor, gain: float) -> tuple[Tensor, Tensor]:
    """With the noise of a camera, and without."""
    random = torch.Generator().manual_seed(1)
    sides = zip(*(Camera(gain, gain / 2).recorded(picture / PEAK, random) for picture in clean), strict=True)
    noisy, wanted = (torch.stack(side) * PEAK for side in sides)
    return noisy, wanted


def gain_of(noise: NoiseModel, video: Tensor, clean: Tensor) -> float:
    """dB that denoising brings."""
    restored = vnlsdenoise.denoise(video, noise, preset="fast", device="cpu", peak=PEAK, scene_cuts=False)
    before, after = (float((side - clean).square().mean()) for side in (video, restored))
    return 10 * math.log10(before / after)
