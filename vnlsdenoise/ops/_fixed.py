"""Deterministic gradients: scattered terms are summed as integers, relative to their largest."""

import torch
from torch import Tensor

# The largest term takes 36 bits of 63, so 2^27 such terms may meet in one sum, and what is lost of each is below 2^-36.
_BITS = 36


def fixed_scale(largest: Tensor) -> Tensor:
    """The power of two by which terms up to `largest` are multiplied before rounding: a tensor of its type, [1]."""
    _, exponent = torch.frexp(largest.reshape(1))
    scale = torch.ldexp(torch.ones_like(largest.reshape(1)), _BITS - exponent)
    # Nothing to scatter: any scale does. A largest term that is not finite makes the gradient NaN.
    scale = torch.where(torch.isfinite(largest) & (scale < torch.inf), scale, torch.full_like(scale, torch.nan))
    return torch.where(largest.reshape(1) == 0, torch.ones_like(scale), scale)


def from_fixed(sums: Tensor, scale: Tensor) -> Tensor:
    """What integer `sums` stand for, in the type of `scale`."""
    return sums * scale.reciprocal()  # a power of two: only the sum itself is rounded
