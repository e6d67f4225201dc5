"""Patches of a regular grid of queries: unfold, fold, and both over a rectangle; exact adjoints of each other.

Queries are numbered in raster order (frame, row, column), so a video can be taken apart and put together again a range
of queries at a time: `fold` continues the sums of an earlier call, and the ranges together give the bytes of one call.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_int, check_tensor
from vnlsdenoise.ops._neighbours import FLOATING, check_geometry, check_sizes, working_dtype
from vnlsdenoise.ops._operator import operator

MOST_TAPS = 64  # kMostTaps of csrc/fold.h
MOST_STEP = 2**20  # so that taps have 32-bit coordinates


class Grid(NamedTuple):
    """Sizes and queries, in the order that csrc/fold_args.h reads."""

    batch: int
    frames: int
    channels: int
    height: int
    width: int
    patch: int
    depth: int
    dilation: int
    lead: int
    reflect: int
    top: int
    left: int
    stride: int
    rows: int
    columns: int
    start: int
    queries: int


def _unfold_fake(video: Tensor, grid: list[int]) -> Tensor:
    g = Grid(*grid)
    return video.new_empty(g.batch, g.queries, 1, g.depth, g.channels, g.patch, g.patch)


@operator("unfold", _unfold_fake)
def _unfold(video: Tensor, grid: list[int]) -> Tensor:
    patches = _unfold_fake(video, grid)
    torch.ops.vnlsdenoise.unfold_out(video.contiguous(), grid, patches)
    return patches


def _fold_fake(patches: Tensor, sums: Tensor, grid: list[int]) -> Tensor:
    return sums.new_empty(sums.shape)


@operator("fold_add", _fold_fake)
def _fold(patches: Tensor, sums: Tensor, grid: list[int]) -> Tensor:
    video = sums.clone(memory_format=torch.contiguous_format)
    torch.ops.vnlsdenoise.fold_add_out(patches.contiguous(), grid, video)
    return video


def _unfold_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    video, ctx.grid = inputs
    ctx.shape = video.shape


def _unfold_backward(ctx: Any, patches: Tensor) -> tuple[Tensor, None]:
    return _fold(patches, patches.new_zeros(ctx.shape), ctx.grid), None


def _fold_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.grid = inputs[2]


def _fold_backward(ctx: Any, video: Tensor) -> tuple[Tensor, Tensor, None]:
    return _unfold(video, ctx.grid), video.clone(), None


_unfold.register_autograd(_unfold_backward, setup_context=_unfold_setup)
_fold.register_autograd(_fold_backward, setup_context=_fold_setup)


def unfold(
    video: Tensor,
    start: int = 0,
    count: int | None = None,
    *,
    ps: int,
    pt: int = 1,
    stride: int = 1,
    dilation: int = 1,
    use_adj: bool = False,
) -> Tensor:
    """Patches around every stride-th pixel of every frame, borders mirrored (Unfold of dnls).

    Args:
        video: [T, C, H, W] or [B, T, C, H, W].
        start, count: the range of queries, in raster order over T x nH x nW with nH = (H - 1) // stride + 1; default
            all from `start` on.
        ps, pt: side (at most 64) and depth in frames, which lead on from the query's. dilation: pixels between taps.
        use_adj: patches hang from their top left pixel instead of lying around their centre.

    Returns: [count, 1, pt, C, ps, ps], with a leading B if the video has one. Differentiable.
    """
    return iunfold(video, start, count, ps=ps, pt=pt, stride=stride, dilation=dilation, use_adj=use_adj)


def fold(
    patches: Tensor,
    video_shape: tuple[int, ...],
    start: int = 0,
    *,
    stride: int = 1,
    dilation: int = 1,
    use_adj: bool = False,
    sums: Tensor | None = None,
) -> Tensor:
    """For every pixel the sum of all patches that cover it: the adjoint of `unfold`, mirrored borders included.

    Args:
        patches: [N, 1, pt, C, ps, ps] or [B, N, 1, pt, C, ps, ps], of the queries start .. start + N - 1.
        video_shape: (T, C, H, W) or (B, T, C, H, W).
        sums: the result of the calls for earlier queries, to continue; the sum then has the bytes of a single call.

    Returns: a video of sums (divide by the fold of ones for the average). Differentiable by patches and sums.
    """
    return ifold(patches, video_shape, start, stride=stride, dilation=dilation, use_adj=use_adj, sums=sums)


def iunfold(
    video: Tensor,
    start: int = 0,
    count: int | None = None,
    *,
    ps: int,
    coords: tuple[int, int, int, int] | None = None,
    pt: int = 1,
    stride: int = 1,
    dilation: int = 1,
    use_adj: bool = False,
    only_full: bool = False,
    border: str = "reflect",
) -> Tensor:
    """`unfold` whose queries lie in a rectangle (iUnfold of dnls). Taps may read outside of it.

    Args:
        coords: (top, left, bottom, right) of the queries in pixels, the last two exclusive; default the whole frame.
        only_full: leave out queries whose patch, hanging from its top left pixel, would leave the rectangle.
        border: "reflect" mirrors taps at the borders of the frame, "zero" reads zeros there.
        The rest: as `unfold`; queries are numbered within the rectangle.
    """
    batches = isinstance(video, Tensor) and video.dim() == 5
    check_tensor("video", video, "B T C H W" if batches else "T C H W", FLOATING)
    batched = video if batches else video[None]
    grid = _grid(tuple(batched.shape), ps, pt, stride, dilation, use_adj, coords, only_full, border)
    total = grid.frames * grid.rows * grid.columns
    check_int(start=start)
    count = total - start if count is None else count
    _check_range(start, count, total)
    grid = grid._replace(start=start, queries=count)
    patches: Tensor = _unfold(batched.to(working_dtype(video)), list(grid)).to(video.dtype)
    return patches if batches else patches[0]


def ifold(
    patches: Tensor,
    video_shape: tuple[int, ...],
    start: int = 0,
    *,
    coords: tuple[int, int, int, int] | None = None,
    stride: int = 1,
    dilation: int = 1,
    use_adj: bool = False,
    only_full: bool = False,
    border: str = "reflect",
    sums: Tensor | None = None,
) -> Tensor:
    """`fold` of the patches of `iunfold`, its adjoint: taps land where they were read, outside the rectangle too."""
    shape = tuple(video_shape)
    if len(shape) not in (4, 5):
        raise ValueError(f"video_shape must be (T, C, H, W) or (B, T, C, H, W), got {shape}")
    lead = "B " if len(shape) == 5 else ""
    check_sizes("patches", patches, (*lead.split(), "N", 1, "pt", shape[-3], "ps", "ps"), FLOATING)
    if patches.shape[-1] != patches.shape[-2] or patches.shape[:-6] != shape[:-4]:
        raise ValueError(
            f"patches must have shape [{lead}N, 1, pt, {shape[-3]}, ps, ps] of a video {list(shape)}, "
            f"got {list(patches.shape)}"
        )
    batched, whole = (patches, shape) if lead else (patches[None], (1, *shape))
    depth, side = patches.shape[-4], patches.shape[-1]
    grid = _grid(whole, side, depth, stride, dilation, use_adj, coords, only_full, border)
    count = batched.shape[1]
    _check_range(start, count, grid.frames * grid.rows * grid.columns)
    dtype = working_dtype(patches)
    if sums is None:
        base = patches.new_zeros(whole, dtype=dtype)
    else:
        check_sizes("sums", sums, shape, (patches.dtype,), patches)
        base = sums.to(dtype).reshape(whole)
    out: Tensor = _fold(batched.to(dtype), base, list(grid._replace(start=start, queries=count)))
    return out.reshape(shape).to(patches.dtype)


def _check_range(start: int, count: int, total: int) -> None:
    check_int(start=start, count=count)
    if start < 0 or count < 0 or start + count > total:
        raise ValueError(f"queries must lie within 0 .. {total}, got {start} .. {start + count}")


def _grid(
    shape: tuple[int, ...],
    ps: int,
    pt: int,
    stride: int,
    dilation: int,
    use_adj: bool,
    coords: tuple[int, int, int, int] | None,
    only_full: bool,
    border: str,
) -> Grid:
    check_geometry(ps=ps, pt=pt, stride=stride, dilation=dilation)
    if ps > MOST_TAPS or pt > MOST_TAPS:
        raise ValueError(f"ps and pt must be at most {MOST_TAPS}, got {ps} and {pt}")
    if max(stride, dilation) >= MOST_STEP:
        raise ValueError(f"stride and dilation must be less than 2^20, got {stride} and {dilation}")
    if border not in ("reflect", "zero"):
        raise ValueError(f"border must be 'reflect' or 'zero', got {border!r}")
    batch, frames, channels, height, width = shape
    top, left, bottom, right = (0, 0, height, width) if coords is None else coords
    if not (0 <= top <= bottom <= height and 0 <= left <= right <= width):
        raise ValueError(
            f"coords must be (top, left, bottom, right) within {height} x {width}, got {(top, left, bottom, right)}"
        )
    over = dilation * (ps - 1) if only_full else 0
    rows, columns = ((max(0, last - first - over) - 1) // stride + 1 for first, last in ((top, bottom), (left, right)))
    lead = 0 if use_adj else ps // 2
    return Grid(
        batch, frames, channels, height, width, ps, pt, dilation, lead, int(border == "reflect"), top, left, stride,
        rows, columns, 0, 0,
    )  # fmt: skip
