"""Realistic noise for a clean video: what the measurements and the denoiser are tested on."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def poisson_gaussian(clean: Tensor, a: float, b: float, generator: torch.Generator, *, gamma: float = 1.0) -> Tensor:
    """Photon and read-out noise: variance a I + b, I from 0 to 1, in linear light = clean ** gamma.

    clean: 0 .. 1. Returns: the same shape, not clipped where `gamma` is 1, clipped below 0 in linear light otherwise.
    """
    linear = clean.clamp_min(0) ** gamma
    noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    noisy = linear + (a * linear + b).sqrt() * noise
    return noisy if gamma == 1 else noisy.clamp_min(0) ** (1 / gamma)


def correlated(shape: torch.Size, sigma: float, generator: torch.Generator, taps: tuple[float, ...]) -> Tensor:
    """White noise through a separable filter, of deviation `sigma` after it; shape: [..., H, W]."""
    noise = torch.randn(shape, generator=generator)
    kernel = torch.tensor(taps)
    plane = noise.reshape(-1, 1, *shape[-2:])
    reach = len(taps) // 2
    plane = functional.pad(plane, (reach,) * 4, mode="circular")
    plane = functional.conv2d(functional.conv2d(plane, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return plane.reshape(shape) * (sigma / float((kernel**2).sum()))


def clip_to_codes(noisy: Tensor, peak: float) -> Tensor:
    """What a file of integers keeps of it: rounded and clipped to 0 .. `peak`."""
    return noisy.round().clamp(0, peak)


def exact_deviation(intensity: float, a: float, b: float) -> float:
    """The deviation of `poisson_gaussian` at one intensity, without gamma."""
    return math.sqrt(a * intensity + b)
