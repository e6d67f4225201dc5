"""A filter with a kernel for each pixel: gathered from, or splatted onto, the neighbourhood."""

import math
from typing import Any

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_tensor
from vnlsdenoise.ops._neighbours import FLOATING, check_sizes, working_dtype
from vnlsdenoise.ops._operator import operator


def _filter_fake(images: Tensor, weights: Tensor, side: int, splat: bool) -> Tensor:
    return images.new_empty(images.shape)


@operator("weighted_filter", _filter_fake)
def _filter(images: Tensor, weights: Tensor, side: int, splat: bool) -> Tensor:
    out = _filter_fake(images, weights, side, splat)
    torch.ops.vnlsdenoise.weighted_filter_out(images.contiguous(), weights.contiguous(), side, splat, out)
    return out


def _dots_fake(images: Tensor, targets: Tensor, side: int) -> Tensor:
    return images.new_empty(images.shape[0], side * side, *images.shape[2:])


@operator("weighted_filter_dots", _dots_fake)
def _dots(images: Tensor, targets: Tensor, side: int) -> Tensor:
    of_weights = _dots_fake(images, targets, side)
    torch.ops.vnlsdenoise.weighted_filter_dots_out(images.contiguous(), targets.contiguous(), side, of_weights)
    return of_weights


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    images, weights, ctx.side, ctx.splat = inputs
    ctx.save_for_backward(images, weights)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    images, weights = ctx.saved_tensors
    of_images = of_weights = None
    if ctx.needs_input_grad[0]:
        of_images = _filter(gradient, weights, ctx.side, not ctx.splat)
    if ctx.needs_input_grad[1]:
        pair = (gradient, images) if ctx.splat else (images, gradient)
        of_weights = _dots(*pair, ctx.side)
    return of_images, of_weights, None, None


_filter.register_autograd(_backward, setup_context=_setup)


def weighted_filter(images: Tensor, weights: Tensor, *, bias: Tensor | None = None, splat: bool = False) -> Tensor:
    """Filters every pixel with its own N x N kernel, shared by the channels; zeros outside; no normalisation.

    Gather: out[c, y, x] = bias[c] + sum over i, j of weights[i * N + j, y, x] * images[c, y + i - r, x + j - r].
    Splat: out[c, y + i - r, x + j - r] += weights[i * N + j, y, x] * images[c, y, x] + bias; r = N // 2.

    Args:
        images: [B, C, H, W]; float32, float64, or float16 and bfloat16, which are summed in float32.
        weights: [B, N * N, H, W], N odd. bias: [C].

    Differentiable by images, weights and bias; no atomics, the same bytes in every run.
    """
    check_tensor("images", images, "B C H W", FLOATING)
    batch, channels, height, width = images.shape
    check_sizes("weights", weights, (batch, "N*N", height, width), FLOATING, images)
    side = math.isqrt(weights.shape[1])
    if side * side != weights.shape[1] or side % 2 == 0:
        raise ValueError(f"weights must have N * N channels with N odd, got {weights.shape[1]}")
    dtype = working_dtype(images)
    out = _filter(images.to(dtype), weights.to(dtype), side, splat)
    if bias is not None:
        check_sizes("bias", bias, (channels,), FLOATING, images)
        out = out + bias.to(dtype)[:, None, None]
    return out.to(images.dtype)  # type: ignore[no-any-return]
