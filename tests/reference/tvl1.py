"""TV-L1 flow in plain torch, pixel for pixel what csrc/tvl1.h says; any dtype, meant for float64."""

import torch
import torch.nn.functional as functional
from torch import Tensor


def tvl1_flow(
    source: Tensor,
    target: Tensor,
    *,
    attachment: float = 0.1,
    tightness: float = 0.5,
    step: float = 0.25,
    levels: int,
    warps: int = 1,
    coarse_warps: int = 20,
    iterations: int = 10,
) -> Tensor:
    pyramid = [(source, target)]
    for _ in range(levels - 1):
        pyramid.append((halved(pyramid[-1][0]), halved(pyramid[-1][1])))
    pairs, height, width = pyramid[-1][0].shape
    flow = source.new_zeros(pairs, 2, height, width)
    for level in reversed(range(levels)):
        source, target = pyramid[level]
        if level < levels - 1:
            flow = doubled(flow, *source.shape[1:])
        dual_x, dual_y = torch.zeros_like(flow), torch.zeros_like(flow)
        for _ in range(coarse_warps if level else warps):
            constant, gradient = linearised(source, target, flow)
            inverse = 1 / ((gradient**2).sum(1) + 1e-9)
            for _ in range(iterations):
                residual = constant + (gradient * flow).sum(1)
                along = (-residual * inverse).clamp(-attachment * tightness, attachment * tightness)
                flow = flow + along[:, None] * gradient + tightness * divergence(dual_x, dual_y)
                slope_x, slope_y = differences(flow)
                scale = 1 + step / tightness * (slope_x**2 + slope_y**2).sqrt()
                dual_x = (dual_x + step / tightness * slope_x) / scale
                dual_y = (dual_y + step / tightness * slope_y) / scale
            flow = median(flow)
    return flow


def halved(images: Tensor) -> Tensor:
    """[N, H, W]: binomial low pass along both axes, every second sample, borders repeated."""

    def along_x(images: Tensor) -> Tensor:
        size = images.shape[-1]
        first = 2 * torch.arange((size + 1) // 2)
        taps = [(first + offset - 1).clamp(0, size - 1) for offset in range(4)]
        return sum(weight * images[..., tap] for weight, tap in zip((1 / 8, 3 / 8, 3 / 8, 1 / 8), taps, strict=True))

    return along_x(along_x(images).mT).mT


def doubled(flow: Tensor, height: int, width: int) -> Tensor:
    """[N, 2, h, w] -> [N, 2, height, width]: bilinear between samples at (x - 1/2) / 2, lengths doubled."""

    def along_x(flow: Tensor, size: int) -> Tensor:
        at = ((torch.arange(size, dtype=flow.dtype) - 0.5) / 2).clamp(0, flow.shape[-1] - 1)
        low = at.floor().long()
        high = (low + 1).clamp(max=flow.shape[-1] - 1)
        return flow[..., low] + (at - low) * (flow[..., high] - flow[..., low])

    return 2 * along_x(along_x(flow, width).mT, height).mT


def linearised(source: Tensor, target: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Residual = constant + gradient . flow: constant [N, H, W], gradient [N, 2, H, W]."""
    pairs, height, width = source.shape
    wanted_x = torch.arange(width, dtype=flow.dtype) + flow[:, 0]
    wanted_y = torch.arange(height, dtype=flow.dtype)[:, None] + flow[:, 1]
    x, y = wanted_x.clamp(0, width - 1), wanted_y.clamp(0, height - 1)
    weight = (1 - (wanted_x - x).abs() - (wanted_y - y).abs()).clamp(0, 1)
    left, top = x.floor().long(), y.floor().long()
    across, across_slope = catmull_rom(x - left)
    down, down_slope = catmull_rom(y - top)
    value, slope_x, slope_y = (torch.zeros_like(source) for _ in range(3))
    batch = torch.arange(pairs)[:, None, None]
    for j in range(4):
        for i in range(4):
            sample = target[batch, (top + j - 1).clamp(0, height - 1), (left + i - 1).clamp(0, width - 1)]
            value = value + down[j] * across[i] * sample
            slope_x = slope_x + down[j] * across_slope[i] * sample
            slope_y = slope_y + down_slope[j] * across[i] * sample
    gradient = weight[:, None] * torch.stack([slope_x, slope_y], 1)
    return weight * (value - source) - (gradient * flow).sum(1), gradient


def catmull_rom(t: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of the samples at -1, 0, 1, 2 for the value at t in [0, 1], and for its derivative."""
    weights = [
        (-(t**3) + 2 * t**2 - t) / 2,
        (3 * t**3 - 5 * t**2 + 2) / 2,
        (-3 * t**3 + 4 * t**2 + t) / 2,
        (t**3 - t**2) / 2,
    ]
    slopes = [
        (-3 * t**2 + 4 * t - 1) / 2,
        (9 * t**2 - 10 * t) / 2,
        (-9 * t**2 + 8 * t + 1) / 2,
        (3 * t**2 - 2 * t) / 2,
    ]
    return weights, slopes


def differences(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along x and y, zero across the border."""
    return (
        functional.pad(flow[..., :, 1:] - flow[..., :, :-1], (0, 1, 0, 0)),
        functional.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1)),
    )


def divergence(dual_x: Tensor, dual_y: Tensor) -> Tensor:
    """Minus the adjoint of `differences`, for fields that vanish across the border as its results do."""
    return (
        dual_x
        - functional.pad(dual_x[..., :, :-1], (1, 0, 0, 0))
        + dual_y
        - functional.pad(dual_y[..., :-1, :], (0, 0, 1, 0))
    )


def median(flow: Tensor) -> Tensor:
    """3x3, borders repeated."""
    height, width = flow.shape[-2:]
    padded = functional.pad(flow, (1, 1, 1, 1), mode="replicate")
    windows = [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return torch.stack(windows).median(0).values
