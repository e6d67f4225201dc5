"""Halving and doubling of planes with a local half-band filter: the steps of the denoiser's pyramid."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_tensor
from vnlsdenoise.ops._operator import operator


def _resized(video: Tensor, axis: int, size: int) -> Tensor:
    shape = list(video.shape)
    shape[axis] = size
    return video.new_empty(shape)


def _halve_fake(video: Tensor, axis: int) -> Tensor:
    return _resized(video, axis, (video.shape[axis] + 1) // 2)


@operator("halve", _halve_fake)
def _halve(video: Tensor, axis: int) -> Tensor:
    out = _halve_fake(video, axis)
    torch.ops.vnlsdenoise.halve_out(video.contiguous(), axis, out)
    return out


def _double_fake(video: Tensor, axis: int, size: int) -> Tensor:
    return _resized(video, axis, size)


@operator("double", _double_fake)
def _double(video: Tensor, axis: int, size: int) -> Tensor:
    out = _double_fake(video, axis, size)
    torch.ops.vnlsdenoise.double_out(video.contiguous(), axis, out)
    return out


def halve(video: Tensor, axis: int = -1) -> Tensor:
    """Low-pass and keep every second sample along one axis.

    out[i] = sum over k of h[k] video[2 i + k - 7], k = 0..15, the borders extended half-sample symmetrically. h is
    symmetric with sum 1 and nearly orthonormal to its even shifts: white noise stays white, its deviation divided by
    sqrt(2) an axis.

    Args:
        video: [..., H, W], float32 or float64.
        axis: -1 (along x) or -2 (along y).

    Returns:
        The same with n -> (n + 1) // 2 samples along `axis`.

    Raises:
        ValueError, TypeError: shape, axis or dtype are not as above.
    """
    check_tensor("video", video, "... H W")
    return _halve(video, _axis(video, axis))  # type: ignore[no-any-return]


def double(video: Tensor, size: int, axis: int = -1) -> Tensor:
    """Interpolate to twice the samples along one axis: out[x] = 2 sum over i of h[x - 2 i + 7] video[i].

    Args:
        video: [..., H, W], float32 or float64.
        size: samples along `axis` of the result, 2 n or 2 n - 1.
        axis: -1 (along x) or -2 (along y).

    Raises:
        ValueError, TypeError: shape, size, axis or dtype are not as above.
    """
    check_tensor("video", video, "... H W")
    axis = _axis(video, axis)
    if (size + 1) // 2 != video.shape[axis]:
        raise ValueError(f"size must be {2 * video.shape[axis]} or one less, got {size}")
    return _double(video, axis, size)  # type: ignore[no-any-return]


def pyramid_down(video: Tensor) -> Tensor:
    """[..., H, W] -> [..., (H+1)//2, (W+1)//2]: `halve` along both axes; white noise of deviation s becomes s/2."""
    return halve(halve(video, -1), -2)


def pyramid_up(video: Tensor, height: int, width: int) -> Tensor:
    """[..., h, w] -> [..., height, width], the sizes that `pyramid_down` takes to h and w."""
    return double(double(video, width, -1), height, -2)


def _axis(video: Tensor, axis: int) -> int:
    if axis not in (-1, -2):
        raise ValueError(f"axis must be -1 or -2, got {axis}")
    return video.dim() + axis
