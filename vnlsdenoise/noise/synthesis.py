"""Realistic noise for a clean video: what the measurements and the denoiser are tested on."""

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


def clip_to_codes(noisy: Tensor, peak: float) -> Tensor:
    """What a file of integers keeps of it: rounded and clipped to 0 .. `peak`."""
    return noisy.round().clamp(0, peak)


def correlated(shape: tuple[int, ...], sigma: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise [..., H, W] of deviation `sigma` through a 3x3 binomial filter, as demosaicing leaves it."""
    *stack, height, width = shape
    white = torch.randn((*stack, height + 2, width + 2), generator=generator)
    row = torch.tensor([1.0, 2.0, 1.0])
    kernel = torch.outer(row, row)
    blurred = functional.conv2d(white.reshape(-1, 1, height + 2, width + 2), kernel[None, None])
    return sigma / float(kernel.norm()) * blurred.reshape(shape)
