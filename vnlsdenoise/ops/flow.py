"""Chained flow: where a query's window lies in every frame of a temporal window."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_frames, check_positive, check_tensor
from vnlsdenoise.ops._operator import operator


def _centres(
    forward: list[Tensor], backward: list[Tensor], queries: Tensor, frame: int, scale: int, height: int, width: int
) -> Tensor:
    return queries.new_empty((queries.shape[0], len(forward), 2))


@operator("chain_flow", _centres)
def _chain_flow(
    forward: list[Tensor], backward: list[Tensor], queries: Tensor, frame: int, scale: int, height: int, width: int
) -> Tensor:
    out = _centres(forward, backward, queries, frame, scale, height, width)
    torch.ops.vnlsdenoise.chain_flow_out(
        [f.contiguous() for f in forward],
        [f.contiguous() for f in backward],
        queries.contiguous(),
        frame,
        scale,
        height,
        width,
        out,
    )
    return out


def chain_flow(
    forward: list[Tensor],
    backward: list[Tensor],
    queries: Tensor,
    *,
    frame: int,
    size: tuple[int, int],
    scale: int = 1,
) -> Tensor:
    """Follow queries from frame to frame along the flow, rounding at each hop.

    Args:
        forward: one flow field [2, h, w] a frame of the window, channel 0 = x, in pixels of the field: frame f to
            f + 1. The last is never read.
        backward: the same for f -> f - 1. The first is never read.
        queries: int32 [N, 2], (y, x) in the full frame.
        frame: the queries' frame, an index into the window.
        size: (height, width) of the full frame; positions are kept inside.
        scale: the full frame's size over the field's; the nearest sample is read, the displacement multiplied.

    Returns:
        int32 [N, frames, 2], (y, x): the query itself at `frame`. Where the flow is NaN or leads outside, the position
        is moved to the border.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or the frame are not as above.
    """
    check_tensor("queries", queries, "N 2", (torch.int32,))
    check_frames("forward", forward, "2 H W", queries)
    check_frames("backward", backward, "2 H W", queries)
    if len(forward) != len(backward) or forward[0].shape != backward[0].shape:
        raise ValueError(
            f"forward and backward must hold the same number of fields of one shape, got {len(forward)} of "
            f"{list(forward[0].shape)} and {len(backward)} of {list(backward[0].shape)}"
        )
    if not 0 <= frame < len(forward):
        raise ValueError(f"frame must be from 0 to {len(forward) - 1}, got {frame}")
    height, width = size
    check_positive(scale=scale, height=height, width=width)
    return _chain_flow(list(forward), list(backward), queries, frame, scale, height, width)  # type: ignore[no-any-return]
