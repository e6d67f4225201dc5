"""Patches at absolute positions: gather, scatter, and weighted sums of them, in the layout of dnls."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_tensor
from vnlsdenoise.ops._neighbours import FLOATING, OFFSETS, check_geometry, check_sizes, list_type, working_dtype
from vnlsdenoise.ops._patch_form import Form, gather, spread


def gather_patches(
    video: Tensor,
    positions: Tensor,
    *,
    ps: int,
    pt: int = 1,
    dilation: int = 1,
    reflect_bounds: bool = True,
    use_adj: bool = False,
) -> Tensor:
    """The patches at given positions: [N, K, pt, C, ps, ps] (ScatterNl of dnls).

    Args:
        video: [T, C, H, W].
        positions: [N, K, 3], absolute (t, y, x) in frames and pixels: int32/int64, or floating for bilinear samples.
            Positions outside the video are mirrored; with a coordinate of 1e7 or more the patch is 0.
        reflect_bounds: mirror taps that leave the frame (else they read 0).
        ps, pt, dilation, use_adj: as `weighted_patch_sum`.

    Differentiable by video and floating positions.
    """
    check_tensor("video", video, "T C H W", FLOATING)
    check_tensor("positions", positions, "N K 3", OFFSETS, video)
    ones = positions.new_ones(positions.shape[:2], dtype=video.dtype)
    patches = weighted_patches(
        video, ones.reshape(-1, 1), positions.reshape(-1, 1, 3),
        ps=ps, pt=pt, dilation=dilation, reflect_bounds=reflect_bounds, use_adj=use_adj,
    )  # fmt: skip
    return patches.reshape(*positions.shape[:2], *patches.shape[1:])


def weighted_patches(
    video: Tensor,
    weights: Tensor,
    positions: Tensor,
    *,
    ps: int,
    pt: int = 1,
    dilation: int = 1,
    reflect_bounds: bool = True,
    use_adj: bool = False,
) -> Tensor:
    """out[n] = sum over k of weights[n, k] * the patch at positions[n, k] (WeightedPatchSum of dnls).

    weights: [N, K]. The rest as `gather_patches`. Returns [N, pt, C, ps, ps].
    Differentiable by video, weights and floating positions.
    """
    check_tensor("video", video, "T C H W", FLOATING)
    check_tensor("weights", weights, "N K", FLOATING, video)
    form, lists = _lists(
        tuple(video.shape), weights, positions, working_dtype(video), ps, pt, dilation, reflect_bounds, use_adj
    )
    out = gather(video.permute(0, 2, 3, 1)[None].to(working_dtype(video)).contiguous(), *lists, form)
    cells = out.reshape(pt, form.rows, ps, ps, form.channels)
    return cells.permute(1, 0, 4, 2, 3).to(video.dtype).contiguous()


def scatter_patches(
    patches: Tensor,
    positions: Tensor,
    video_shape: tuple[int, int, int, int],
    weights: Tensor | None = None,
    *,
    dilation: int = 1,
    reflect_bounds: bool = True,
    use_adj: bool = False,
) -> tuple[Tensor, Tensor]:
    """Adds every patch onto its position: the adjoint of `gather_patches` (GatherNl of dnls).

    Args:
        patches: [N, K, pt, C, ps, ps]. positions: [N, K, 3], as `gather_patches`. video_shape: (T, C, H, W).
        weights: [N, K], of each patch; default 1.
        reflect_bounds: mirror taps that leave the frame (else they are dropped).

    Returns: the weighted sums [T, C, H, W], and [T, 1, H, W], the sums of the weights, to divide by. Differentiable by
    patches, weights and floating positions; the same bytes in every run.
    """
    if len(video_shape) != 4:
        raise ValueError(f"video_shape must be (T, C, H, W), got {tuple(video_shape)}")
    check_sizes("patches", patches, ("N", "K", "pt", video_shape[1], "ps", "ps"), FLOATING)
    number, count, pt, channels, ps, width = patches.shape
    if ps != width:
        raise ValueError(f"patches must be square, got {ps} x {width}")
    check_sizes("positions", positions, (number, count, 3), OFFSETS, patches)
    if weights is None:
        weights = patches.new_ones(number, count)
    check_sizes("weights", weights, (number, count), FLOATING, patches)
    dtype = working_dtype(patches)
    form, lists = _lists(
        tuple(video_shape),
        weights.reshape(-1, 1),
        positions.reshape(-1, 1, 3),
        dtype,
        ps,
        pt,
        dilation,
        reflect_bounds,
        use_adj,
    )
    cells = patches.to(dtype).reshape(-1, pt, channels, ps, ps).permute(1, 0, 3, 4, 2)
    # One channel more carries the weights.
    cells = torch.cat([cells, torch.ones_like(cells[..., :1])], -1)
    cells = cells.reshape(1, pt, form.out_height, ps, channels + 1)
    out = spread(cells, *lists, form._replace(channels=channels + 1))[0].permute(0, 3, 1, 2).to(patches.dtype)
    return out[:, :channels].contiguous(), out[:, channels:].contiguous()


def _lists(
    shape: tuple[int, ...],
    weights: Tensor,
    positions: Tensor,
    dtype: torch.dtype,
    ps: int,
    pt: int,
    dilation: int,
    reflect_bounds: bool,
    use_adj: bool,
) -> tuple[Form, tuple[Tensor, Tensor]]:
    """One column of queries at the origin, so that offsets are positions; their patches lie below each other."""
    check_geometry(ps=ps, pt=pt, dilation=dilation)
    check_sizes("positions", positions, (*weights.shape, 3), OFFSETS, weights)
    frames, channels, height, width = shape
    rows, count = weights.shape
    form = Form(
        1, 1, frames, height, width, channels, 1, rows, 1, count, pt, rows * ps, ps,
        ps, pt, 0, ps, dilation, 1, 0 if use_adj else ps // 2, 0, int(reflect_bounds),
    )  # fmt: skip
    weights, positions = (list_type(x, dtype)[None, None, :, None].contiguous() for x in (weights, positions))
    return form, (weights, positions)
