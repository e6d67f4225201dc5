"""What joins a level of the pyramid with the coarser one: search image, recomposition, fine-band Wiener filter."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_positive, check_tensor
from vnlsdenoise.ops._operator import operator


def _guide_fake(base: Tensor, band: Tensor, weight: float) -> Tensor:
    return base.new_empty(base.shape)


@operator("guide", _guide_fake)
def _guide(base: Tensor, band: Tensor, weight: float) -> Tensor:
    out = _guide_fake(base, band, weight)
    torch.ops.vnlsdenoise.guide_out(base.contiguous(), band.contiguous(), weight, out)
    return out


def _variance_fake(video: Tensor) -> Tensor:
    return video.new_empty(video.shape[1:])


@operator("local_variance", _variance_fake)
def _local_variance(video: Tensor) -> Tensor:
    out = _variance_fake(video)
    torch.ops.vnlsdenoise.local_variance_out(video.contiguous(), out)
    return out


def _recompose_fake(basic: Tensor, low: Tensor, variance: Tensor, sigma: float, fade: float) -> Tensor:
    return basic.new_empty(basic.shape)


@operator("recompose", _recompose_fake)
def _recompose(basic: Tensor, low: Tensor, variance: Tensor, sigma: float, fade: float) -> Tensor:
    out = _recompose_fake(basic, low, variance, sigma, fade)
    torch.ops.vnlsdenoise.recompose_out(basic.contiguous(), low.contiguous(), variance.contiguous(), sigma, fade, out)
    return out


def _fine_fake(basic: Tensor, coarse: Tensor, variance: Tensor, sigma: float, neighbors: int) -> Tensor:
    return basic.new_empty(basic.shape)


@operator("fine_wiener", _fine_fake)
def _fine_wiener(basic: Tensor, coarse: Tensor, variance: Tensor, sigma: float, neighbors: int) -> Tensor:
    out = _fine_fake(basic, coarse, variance, sigma, neighbors)
    torch.ops.vnlsdenoise.fine_wiener_out(
        basic.contiguous(), coarse.contiguous(), variance.contiguous(), sigma, neighbors, out
    )
    return out


def guide(base: Tensor, band: Tensor, weight: float) -> Tensor:
    """The search image base + weight * blur(band), blur = [1 2 1]/4 along both axes, borders mirrored.

    Args:
        base: [H, W], float32 or float64: what is already denoised (zeros at the coarsest level).
        band: [H, W]: what is still noisy.
    """
    check_tensor("base", base, "H W")
    check_tensor("band", band, " ".join(str(n) for n in base.shape), (base.dtype,), base)
    return _guide(base, band, weight)  # type: ignore[no-any-return]


def local_variance(video: Tensor) -> Tensor:
    """[C, H, W] -> [H, W]: variance in a 17 x 17 window, borders mirrored, mean over the channels."""
    check_tensor("video", video, "C H W")
    return _local_variance(video)  # type: ignore[no-any-return]


def recompose(basic: Tensor, low: Tensor, variance: Tensor, *, sigma: float, fade: float = 2.0) -> Tensor:
    """basic + fade sigma^2 / (variance + fade sigma^2) * low: low frequencies of the coarser level where it is flat.

    Args:
        basic: [C, H, W], float32 or float64. low: the same shape, low-pass of (coarser result - basic).
        variance: [H, W], of `local_variance`. sigma: the noise deviation at this level.
    """
    check_tensor("basic", basic, "C H W")
    shape = " ".join(str(n) for n in basic.shape)
    check_tensor("low", low, shape, (basic.dtype,), basic)
    check_tensor("variance", variance, " ".join(str(n) for n in basic.shape[1:]), (basic.dtype,), basic)
    check_positive(sigma=sigma, fade=fade)
    return _recompose(basic, low, variance, sigma, fade)  # type: ignore[no-any-return]


def fine_wiener(basic: Tensor, coarse: Tensor, variance: Tensor, *, sigma: float, neighbors: int) -> Tensor:
    """Keep of basic - coarse what its local energy says is signal: removes faint gratings from flat areas.

    With h = basic - coarse, E its mean square in a 9 x 9 window (borders mirrored) and q the error expected of step 1,
    (0.03 + 0.35 f) sigma^2 / neighbors, f = 0.005 sigma^2 / (variance + 0.005 sigma^2): coarse + h max(E - q, 0) / E.

    Args:
        basic: [C, H, W], float32 or float64. coarse: the same shape, the coarser level's result, enlarged.
        variance: [H, W], of `local_variance(coarse)`. sigma: the noise deviation at this level.
        neighbors: size of the groups that made `basic`.
    """
    check_tensor("basic", basic, "C H W")
    check_tensor("coarse", coarse, " ".join(str(n) for n in basic.shape), (basic.dtype,), basic)
    check_tensor("variance", variance, " ".join(str(n) for n in basic.shape[1:]), (basic.dtype,), basic)
    check_positive(sigma=sigma, neighbors=neighbors)
    return _fine_wiener(basic, coarse, variance, sigma, neighbors)  # type: ignore[no-any-return]
