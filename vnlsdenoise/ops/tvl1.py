"""TV-L1 optical flow between pairs of images, and the images to measure it on."""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

from vnlsdenoise.ops._checks import check_positive, check_tensor
from vnlsdenoise.ops._operator import operator
from vnlsdenoise.ops.pyramid import pyramid_down

# Planes of the size of an image that the kernels need for a pair, beside its pyramids: kPlanes of the two tvl1 sources.
_PLANES = {"cpu": 12, "cuda": 16}
_MAX_LEVELS = 16
_COARSEST_SIDE = 16


def _flow_fake(
    source: Tensor,
    target: Tensor,
    attachment: float,
    tightness: float,
    step: float,
    levels: int,
    warps: int,
    iterations: int,
) -> Tensor:
    pairs, height, width = source.shape
    return source.new_empty(pairs, 2, height, width)


@operator("tvl1_flow", _flow_fake)
def _flow(
    source: Tensor,
    target: Tensor,
    attachment: float,
    tightness: float,
    step: float,
    levels: int,
    warps: int,
    iterations: int,
) -> Tensor:
    flow = _flow_fake(source, target, attachment, tightness, step, levels, warps, iterations)
    workspace = _workspace(source, levels)
    torch.ops.vnlsdenoise.tvl1_flow_out(
        source.contiguous(),
        target.contiguous(),
        attachment,
        tightness,
        step,
        levels,
        warps,
        iterations,
        workspace,
        flow,
    )
    return flow


def _workspace(source: Tensor, levels: int) -> Tensor:
    pairs, height, width = source.shape
    elements = _PLANES[source.device.type] * height * width
    for _ in range(levels - 1):
        height, width = (height + 1) // 2, (width + 1) // 2
        elements += 2 * height * width
    slots = pairs
    if source.device.type == "cpu":
        # A thread solves whole pairs in a slot of its own; where that would leave threads idle, all share one pair.
        threads = torch.get_num_threads()
        slots = threads if pairs >= threads else 1
    return source.new_empty(slots, elements)


def tvl1_flow(
    source: Tensor,
    target: Tensor,
    *,
    attachment: float = 0.15,
    tightness: float = 0.3,
    step: float = 0.25,
    levels: int | None = None,
    warps: int = 5,
    iterations: int = 30,
) -> Tensor:
    check_tensor("source", source, "N H W")
    check_tensor("target", target, "N H W", (source.dtype,), source)
    return _flow(source, target, attachment, tightness, step, levels or flow_levels(*source.shape[1:]), warps, iterations)


def flow_levels(height: int, width: int) -> int:
    """Levels of the pyramid down to a short side of about 16: halving goes on while it leaves 16 or more."""
    levels = 1
    short = min(height, width)
    while short >= 2 * _COARSEST_SIDE and levels < _MAX_LEVELS:
        short = (short + 1) // 2
        levels += 1
    return levels
