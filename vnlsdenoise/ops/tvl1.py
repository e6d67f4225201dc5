"""TV-L1 optical flow between pairs of images, and the images to measure it on.

The flow (u, v) of a pair minimises, over the pixels x of the source,

    sum |grad u| + |grad v| + attachment |target(x + (u, v)) - source(x)|

(Zach, Pock, Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007; discretised as described
by Sanchez, Meinhardt-Llopis, Facciolo, "TV-L1 optical flow estimation", IPOL 2013), coarse to fine. At each level the
target is warped several times; after each warp the linearised problem is solved by a fixed number of iterations of

    primal:  u <- u + threshold(residual) gx + tightness div p
    dual:    p <- (p + step / tightness grad u) / (1 + step / tightness |grad u|)

and the flow is then cleaned by a 3x3 median.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as functional
from torch import Tensor

from vnlsdenoise.ops._checks import check_positive, check_tensor
from vnlsdenoise.ops._operator import operator
from vnlsdenoise.ops.pyramid import pyramid_down

_MAX_LEVELS = 16  # kMaxFlowLevels of csrc/tvl1.h
_COARSEST_SIDE = 16
_BLUR = 1.2  # of `flow_image`
# Its taps as a GPU computes them, whose exponential is not rounded as a CPU's. It would load seven kernels of a library
# for that, and be waited for: half of the time that a first frame takes to go in.
_HALF = tuple(map(float.fromhex, ("0x1.50f47ap-10", "0x1.deb1dcp-7", "0x1.53968p-4", "0x1.e12f68p-3")))
_CUDA_TAPS = (*_HALF, float.fromhex("0x1.547856p-2"), *_HALF[::-1])
# Planes of the size of an image that a pair needs beside its pyramids: kPlanes of the two tvl1 sources.
_PLANES = {"cpu": 12, "cuda": 16}


def _flow_fake(
    source: Tensor,
    target: Tensor,
    attachment: float,
    tightness: float,
    step: float,
    levels: int,
    warps: int,
    coarse_warps: int,
    iterations: int,
) -> Tensor:
    pairs, height, width = source.shape
    return source.new_empty((pairs, 2, height, width))


@operator("tvl1_flow", _flow_fake)
def _flow(
    source: Tensor,
    target: Tensor,
    attachment: float,
    tightness: float,
    step: float,
    levels: int,
    warps: int,
    coarse_warps: int,
    iterations: int,
) -> Tensor:
    settings = (attachment, tightness, step, levels, warps, coarse_warps, iterations)
    flow = _flow_fake(source, target, *settings)
    workspace = _workspace(source, levels)
    torch.ops.vnlsdenoise.tvl1_flow_out(source.contiguous(), target.contiguous(), *settings, workspace, flow)
    return flow


def _workspace(source: Tensor, levels: int) -> Tensor:
    pairs, height, width = source.shape
    elements = _PLANES[source.device.type] * height * width
    for _ in range(levels - 1):
        height, width = (height + 1) // 2, (width + 1) // 2
        elements += 2 * height * width
    slots = pairs
    if source.device.type == "cpu":
        # Each thread solves whole pairs in a slot of its own; with too few pairs for that, all threads share one pair.
        threads = torch.get_num_threads()
        slots = threads if pairs >= threads else 1
    return source.new_empty((slots, elements))


def tvl1_flow(
    source: Tensor,
    target: Tensor,
    *,
    attachment: float = 0.1,
    tightness: float = 0.5,
    step: float = 0.25,
    levels: int | None = None,
    warps: int = 1,
    coarse_warps: int = 20,
    iterations: int = 10,
) -> Tensor:
    """Optical flow of each pair: target(x + flow(x)) is close to source(x).

    The defaults are for noisy images that `flow_image` has prepared; they stop short of convergence, as suits a search
    that looks two pixels around where the flow points. `warps=10, coarse_warps=10` gets most of the rest.

    Args:
        source: [N, H, W], float32 or float64, intensities from 0 to 255 (the scale that `attachment` is in).
        target: the same shape, dtype and device.
        attachment: weight of the data term; smaller is smoother (0.05 suits very noisy images).
        tightness: how closely the auxiliary flow of the relaxed problem is tied to the flow (theta in the paper).
        step: time step of the dual update, stable up to 0.25 (tau in the paper).
        levels: of the pyramid, each half the size of the one before, 1 to 16; None for `flow_levels(H, W)`.
        warps: of the target at the finest level.
        coarse_warps: of the target at each coarser level, where they cost a quarter or less.
        iterations: after each warp.

    Returns:
        [N, 2, H, W] in pixels, channel 0 = x, channel 1 = y.

    Raises:
        ValueError, TypeError: an argument is not as above; the images are empty or hold 2^31 pixels or more.
    """
    check_tensor("source", source, "N H W")
    check_tensor("target", target, "N H W", (source.dtype,), source)
    if source.shape != target.shape:
        raise ValueError(f"target must have the shape of source, {list(source.shape)}, got {list(target.shape)}")
    height, width = source.shape[1:]
    if height == 0 or width == 0 or height * width >= 2**31:
        raise ValueError(f"source must hold images of 1 to 2^31 - 1 pixels, got {height} x {width}")
    check_positive(
        attachment=attachment,
        tightness=tightness,
        step=step,
        warps=warps,
        coarse_warps=coarse_warps,
        iterations=iterations,
    )
    if levels is None:
        levels = flow_levels(height, width)
    if not 1 <= levels <= _MAX_LEVELS:
        raise ValueError(f"levels must be 1 to {_MAX_LEVELS}, got {levels}")
    flow: Tensor = _flow(source, target, attachment, tightness, step, levels, warps, coarse_warps, iterations)
    return flow


def flow_levels(height: int, width: int) -> int:
    """Levels of the pyramid that leave the coarsest a short side of 16 to 31 pixels (one level if it has less)."""
    levels, short = 1, min(height, width)
    while short >= 2 * _COARSEST_SIDE and levels < _MAX_LEVELS:
        short = (short + 1) // 2
        levels += 1
    return levels


def flow_image(luma: Tensor, scale: float, *, blur: float = _BLUR) -> Tensor:
    """The images to measure flow on: half the resolution, smoothed, on the scale from 0 to 255.

    A flow between them, times 2 and resampled, is one between the frames: pixel x of the result lies at 2 x + 1/2.

    Args:
        luma: [T, H, W], float32 or float64, one plane of brightness.
        scale: factor that takes its values to 0..255, such as 255 / peak (and 1 / sqrt(3) of that for an orthonormal
            luma (R + G + B) / sqrt(3)).
        blur: deviation of the Gaussian in pixels of the result; 0 for none.

    Returns:
        [T, (H + 1) // 2, (W + 1) // 2].

    Raises:
        ValueError, TypeError: an argument is not as above.
    """
    check_tensor("luma", luma, "T H W")
    check_positive(scale=scale)
    if not 0 <= blur < math.inf:
        raise ValueError(f"blur must be 0 or more, got {blur}")
    half = pyramid_down(luma) * scale
    return half if blur == 0 else _gaussian(half, blur)


def _gaussian(images: Tensor, deviation: float) -> Tensor:
    # By sums of shifted images: cuDNN, for so small a convolution, takes 0.14 s before its first result.
    taps = _taps(deviation, images.dtype, images.device.type)
    radius = len(taps) // 2
    padded = functional.pad(images[:, None], (radius, radius, radius, radius), mode="replicate")[:, 0]
    return _filtered(_filtered(padded, taps, 2), taps, 1)


def _filtered(images: Tensor, taps: tuple[float, ...], axis: int) -> Tensor:
    """Where all taps lie inside along that axis."""
    length = images.shape[axis] - len(taps) + 1
    result = images.narrow(axis, 0, length) * taps[0]
    for first, tap in enumerate(taps[1:], 1):
        result.add_(images.narrow(axis, first, length), alpha=tap)
    return result


@lru_cache(maxsize=16)
def _taps(deviation: float, dtype: torch.dtype, device: str) -> tuple[float, ...]:
    if device == "cuda" and dtype == torch.float32 and deviation == _BLUR:
        return _CUDA_TAPS
    return computed_taps(deviation, dtype, device)


def computed_taps(deviation: float, dtype: torch.dtype, device: str) -> tuple[float, ...]:
    """Weights of a Gaussian, as the device computes them."""
    radius = math.ceil(3 * deviation)
    offsets = torch.arange(-radius, radius + 1, dtype=dtype, device=device)
    taps = torch.exp(-0.5 * (offsets / deviation) ** 2)
    return tuple((taps / taps.sum()).tolist())
