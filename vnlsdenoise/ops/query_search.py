"""Shifted non-local search of a list of queries, in the layout of dnls: positions in, positions out."""

from typing import Any

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_tensor
from vnlsdenoise.ops._neighbours import check_geometry, check_sizes, working_dtype
from vnlsdenoise.ops._windows import WindowSearch
from vnlsdenoise.ops.nonlocal_search import VIDEO_DTYPES
from vnlsdenoise.ops.patches import gather_patches
from vnlsdenoise.ops.search_flow import check_reach, window_frames


def query_search(
    vid0: Tensor, vid1: Tensor, queries: Tensor, flows: Tensor | None = None, *, ws: int, wt: int, ps: int = 1,
    pt: int = 1, k: int = -1, stride1: float = 1, dilation: int = 1, use_adj: bool = False, **options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`nonlocal_search` of given queries instead of a grid (SearchNl of dnls; CrossSearchNl with dist_type "prod").

    A loop over parts of the list gives the bytes of one call.

    Args:
        vid0, vid1: queries and keys, [T, C, H, W]; float32, float64, or float16 and bfloat16, which are searched in
            float32.
        queries: [N, 3], int32 or int64, (t, y, x): pixels of vid0.
        flows: [T, W_t - 1, 2, H, W], channel 0 = x, in pixels: what `search_flow` chains with stride0 = 1, without its
            batch. Left out: 0.
        ws, wt, ps, pt, k, stride1, dilation, use_adj, and dist_type, topk_mode ("all", "each", "none"), full_ws, itype:
            as for `nonlocal_search`; patches of queries are mirrored at the borders.

    Returns:
        (distances [N, K], positions [N, K, 3]), positions = (t, y, x), absolute as `gather_patches` reads them: int32
        for itype "int", else floating. Differentiable with respect to vid0, vid1 and, for itype "float", flows.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or options are not as above, or a query lies outside vid0 (which
        waits for the device).
    """
    for name in options.keys() - {"dist_type", "topk_mode", "full_ws", "itype"}:
        raise TypeError(f"options must be dist_type, topk_mode, full_ws or itype, got {name}")
    check_geometry(ps=ps, pt=pt, dilation=dilation)
    lead = 0 if use_adj else dilation * (ps // 2)
    # stride0 = 0: every query is at the origin, so that offsets are positions.
    search = WindowSearch(
        ws=ws, ps=ps, k=k, stride0=0, stride1=stride1, dilation=dilation, use_adj=use_adj, off_Hq=lead, off_Wq=lead,
        strideQ=dilation * ps, **options,
    )  # fmt: skip
    check_tensor("vid0", vid0, "T C H W", VIDEO_DTYPES)
    check_tensor("vid1", vid1, "T C H W", (vid0.dtype,), vid0)
    if vid0.shape != vid1.shape or vid0.numel() == 0:
        raise ValueError(f"vid0 and vid1 must have one shape, not empty, got {[*vid0.shape]} and {[*vid1.shape]}")
    where, order = _windows(vid0, queries, flows, wt)
    packed, frame = _packed(vid0, queries, ps, pt, dilation, use_adj)
    # A query's patch lies in frame `frame` of the packed video, whatever its own: dt leads on from there.
    steps = (order - frame[:, None]).to(where.dtype)
    centres = torch.cat((steps[..., None], where), -1)
    columns, frames = packed.shape[-1] // (dilation * ps), vid0.shape[0]
    centres = torch.nn.functional.pad(centres, (0, 0, 0, 0, 0, frames * columns - len(centres)))
    centres = centres.view(1, 1, frames, 1, columns, -1, 3)
    distances, positions = search.search(packed, _deep(vid1, pt), centres, 1)
    distances, positions = (v.flatten(0, 4)[: len(queries)] for v in (distances, positions))
    moved = torch.nn.functional.pad(frame[:, None, None].to(positions.dtype), (0, 2))
    return distances, positions + moved


def _windows(video: Tensor, queries: Tensor, flows: Tensor | None, wt: int) -> tuple[Tensor, Tensor]:
    """Where every query's windows lie: (y, x) [N, W_t, 2] and frames [N, W_t]."""
    check_reach(wt)
    check_tensor("queries", queries, "N 3", (torch.int32, torch.int64), video)
    frames, _, height, width = video.shape
    sizes = torch.tensor((frames, height, width), device=queries.device)
    if not bool(((queries >= 0) & (queries < sizes)).all()):
        raise ValueError(f"queries (t, y, x) must lie within {frames} x {height} x {width}, got some that do not")
    t, y, x = queries.long().unbind(1)
    slots = window_frames(frames, wt)
    order = torch.tensor(slots, device=queries.device)[t]
    where = torch.stack((y, x), 1)[:, None].to(working_dtype(video))
    if flows is None:
        return where.expand(-1, len(slots[0]), 2), order
    check_sizes("flows", flows, (frames, len(slots[0]) - 1, 2, height, width), VIDEO_DTYPES, video)
    moved = flows[t, :, :, y, x].flip(-1)  # to (y, x)
    return where + torch.nn.functional.pad(moved, (0, 0, 1, 0)), order


def _packed(video: Tensor, queries: Tensor, ps: int, pt: int, dilation: int, use_adj: bool) -> tuple[Tensor, Tensor]:
    """The queries' patches side by side, one row in each of T frames [1, T, pt * C, .., ..], and the frame of each."""
    frames, channels = video.shape[:2]
    patches = gather_patches(video, queries[:, None], ps=ps, pt=pt, dilation=dilation, use_adj=use_adj)
    columns = max(1, -(-len(queries) // frames))
    patches = torch.nn.functional.pad(patches.flatten(1), (0, 0, 0, frames * columns - len(queries)))
    rows = patches.view(frames, columns, pt * channels, ps, ps).permute(0, 2, 3, 1, 4)
    # Taps lie `dilation` apart: what is between them is never read.
    rows = torch.nn.functional.pad(rows[:, :, :, None, :, :, None], (0, dilation - 1, 0, 0, 0, 0, 0, dilation - 1))
    packed = rows.reshape(1, frames, pt * channels, ps * dilation, columns * ps * dilation)
    return packed, torch.arange(len(queries), device=video.device) // columns


def _deep(video: Tensor, pt: int) -> Tensor:
    """Every frame with the pt - 1 that follow it, mirrored at the end, in its channels: [1, T, pt * C, H, W]."""
    frames = len(video)
    period = max(2 * (frames - 1), 1)
    folded = [[min(f % period, -f % period) for f in range(t, t + pt)] for t in range(frames)]
    return video[torch.tensor(folded, device=video.device)].flatten(1, 2)[None]
