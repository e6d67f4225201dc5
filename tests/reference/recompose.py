"""Search image, local variance, recomposition and fine-band Wiener filter, from their definitions, in float64."""

import torch
from torch import Tensor


def mirrored(plane: Tensor, radius: int) -> Tensor:
    """Whole-sample symmetric extension of [..., H, W] by any radius: -1 -> 1, n -> n - 2."""
    for axis in (-2, -1):
        n = plane.shape[axis]
        period = max(2 * (n - 1), 1)
        index = torch.arange(-radius, n + radius) % period
        plane = plane.index_select(plane.dim() + axis, torch.where(index < n, index, period - index))
    return plane


def window_mean(plane: Tensor, side: int) -> Tensor:
    height, width = plane.shape[-2:]
    padded = mirrored(plane, side // 2)
    shifted = [padded[..., y : y + height, x : x + width] for y in range(side) for x in range(side)]
    return torch.stack(shifted).mean(0)


def guide(base: Tensor, band: Tensor, weight: float) -> Tensor:
    height, width = band.shape
    padded = mirrored(band, 1)
    kernel = (1, 2, 1)
    blurred = sum(kernel[y] * kernel[x] * padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
    return base + weight * blurred / 16


def local_variance(video: Tensor) -> Tensor:
    return (window_mean(video**2, 17) - window_mean(video, 17) ** 2).clamp_min(0).mean(0)


def recompose(basic: Tensor, low: Tensor, variance: Tensor, sigma: float, fade: float) -> Tensor:
    return basic + fade * sigma**2 / (variance + fade * sigma**2) * low


def fine_wiener(basic: Tensor, coarse: Tensor, variance: Tensor, sigma: float, neighbors: int) -> Tensor:
    band = basic - coarse
    energy = window_mean(band**2, 9)
    flat = 0.005 * sigma**2 / (variance + 0.005 * sigma**2)
    error = (0.03 + 0.35 * flat) * sigma**2 / neighbors
    return coarse + band * (energy - error).clamp_min(0) / energy.clamp_min(1e-30)
