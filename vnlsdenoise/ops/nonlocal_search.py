"""Shifted non-local search: for every query of a grid, the best patches in windows that follow the flow."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_tensor
from vnlsdenoise.ops._neighbours import check_geometry
from vnlsdenoise.ops._windows import WindowSearch
from vnlsdenoise.ops.search_flow import check_reach, search_flow, window_frames

VIDEO_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def split_heads(name: str, video: Tensor, nheads: int, like: Tensor | None = None) -> tuple[Tensor, int]:
    """A video [B, T, C, H, W] or [B, HD, T, C/HD, H, W] as [B, T, C, H, W], and its number of heads."""
    check_geometry(nheads=nheads)
    dtypes = VIDEO_DTYPES if like is None else (like.dtype,)
    if isinstance(video, Tensor) and video.ndim == 6:
        check_tensor(name, video, "B HD T F H W", dtypes, like)
        if nheads not in (1, video.shape[1]):
            raise ValueError(f"{name} has {video.shape[1]} heads: nheads must be 1 or that, got {nheads}")
        return video.transpose(1, 2).flatten(2, 3), video.shape[1]
    check_tensor(name, video, "B T C H W", dtypes, like)
    if video.shape[2] % nheads:
        raise ValueError(f"nheads must divide the {video.shape[2]} channels of {name}, got {nheads}")
    return video, nheads


def check_pair(queries: Tensor, keys: Tensor, search: WindowSearch) -> tuple[int, int]:
    """The grid (nH, nW) of queries for videos of agreeing shapes."""
    check_geometry(stride0=search.stride0)
    if queries.shape[:3] != keys.shape[:3]:
        raise ValueError(
            f"vid1 must agree with vid0 in batch, frames and channels, {list(queries.shape[:3])}, "
            f"got {list(keys.shape[:3])}"
        )
    if queries.shape[-2:] != keys.shape[-2:] and search.strideQ is None:
        raise ValueError(
            f"vid1 must have the size of vid0, {list(queries.shape[-2:])}, unless strideQ says how far apart the "
            f"queries lie in vid0; got {list(keys.shape[-2:])}"
        )
    if min(*queries.shape[-3:], *keys.shape[-3:]) < 1:
        raise ValueError(f"videos must hold at least one channel and pixel, got {list(queries.shape)}")
    rows, columns = ((n - 1) // search.stride0 + 1 for n in keys.shape[-2:])
    spacing = search.strideQ or search.stride0
    if (rows - 1) * spacing >= queries.shape[-2] or (columns - 1) * spacing >= queries.shape[-1]:
        raise ValueError(
            f"{rows} x {columns} queries {spacing} pixels apart must lie inside vid0, {list(queries.shape[-2:])}"
        )
    return rows, columns


def _centres(
    flows: Tensor | None, order: list[list[int]], batch: int, heads: int, grid: tuple[int, int], like: Tensor
) -> Tensor:
    """Flows [B, (HD,) T, W_t - 1 or W_t, 2, nH, nW], (x, y), as offsets [B, HD, T, nH, nW, W_t, 3], (dt, dy, dx)."""
    frames, slots = len(order), len(order[0])
    steps = torch.tensor([[f - t for f in row] for t, row in enumerate(order)], device=like.device)
    if flows is None:
        flows = torch.zeros((batch, 1, frames, slots, 2, *grid), dtype=like.dtype, device=like.device)
    if flows.ndim == 6:
        flows = flows[:, None]
    expected = [batch, flows.shape[1], frames, slots, 2, *grid]
    if list(flows.shape) not in (expected, [*expected[:3], slots - 1, *expected[4:]]) or heads % flows.shape[1]:
        raise ValueError(
            f"flows must have shape [B, heads, T, W_t - 1 or W_t, 2, nH, nW] = [{batch}, 1 or a divisor of {heads}, "
            f"{frames}, {slots - 1} or {slots}, 2, {grid[0]}, {grid[1]}] (heads may be left out), got "
            f"{list(flows.shape)}"
        )
    if flows.shape[3] == slots - 1:  # the query's own frame needs no flow
        flows = torch.nn.functional.pad(flows, (0, 0, 0, 0, 0, 0, 1, 0))
    where = flows.permute(0, 1, 2, 5, 6, 3, 4).flip(-1)
    when = steps.to(where.dtype)[:, None, None, :, None].expand(*where.shape[:-1], 1)
    return torch.cat((when, where), -1)


def nonlocal_search(
    vid0: Tensor,
    vid1: Tensor,
    flows: Tensor | None = None,
    *,
    fflow: Tensor | None = None,
    bflow: Tensor | None = None,
    ws: int,
    wt: int,
    ps: int = 1,
    k: int = -1,
    nheads: int = 1,
    stride0: int = 1,
    stride1: float = 1,
    dist_type: str = "l2",
    dilation: int = 1,
    pt: int = 1,
    self_action: str | None = None,
    topk_mode: str = "all",
    ws_interior: int = 0,
    reflect_bounds: bool = True,
    full_ws: bool = True,
    use_adj: bool = False,
    normalize_bwd: bool = False,
    k_agg: int = -1,
    off_Hq: int = 0,
    off_Wq: int = 0,
    strideQ: int | None = None,
    itype: str = "float",
) -> tuple[Tensor, Tensor]:
    """Find each query's best patches in a window of every frame of its temporal window, centred where the flow leads.

    Query (i, j) of frame t is the patch of vid0 at (i * stride0, j * stride0). In each of the W_t = min(2 * wt + 1, T)
    frames around t (order and sliding at the ends of the clip as in `search_flow`) the candidates are ws x ws patches
    of vid1, stride1 apart, around query + flow (mirrored into the image). Distances are sums over the patch, without
    mean or root. Ties are broken by (frame, row, column). No candidate volume is made when k is greater than 0.

    Args:
        vid0, vid1: queries and keys, [B, T, C, H, W] or [B, HD, T, C/HD, H, W]; float32, float64, or float16 and
            bfloat16, which are searched in float32.
        flows: [B, T, S, 2, nH, nW] or with heads [B, HD_f, T, S, 2, nH, nW], channel 0 = x, in pixels, S = W_t - 1 (as
            from `search_flow`) or W_t; HD_f divides the heads. Left out: 0.
        fflow, bflow: [B, T, 2, H, W]: instead of flows, flow between neighbouring frames, chained here.
        ws: side of a window, in candidates; even sides lean to the top left. wt: reach in frames.
        ps: side of a patch; even sides lean to the top left. pt: depth of a patch, in frames. dilation: spacing of its
            pixels. Pixels outside the image are mirrored.
        k: length of the lists; 0 or less keeps every candidate, unsorted, ordered by (frame, row, column).
        nheads: heads that the channels of 5-dimensional videos are split into; each searches by itself.
        stride0: spacing of queries. stride1: spacing of candidates; any positive number with itype "float".
        dist_type: "l2", sum of squared differences, ascending; or "prod", sum of products, descending.
        self_action: None; "anchor": the candidate with offset 0 comes first, whatever its distance; "anchor_each": the
            centre of each window comes first (of each frame with topk_mode "each"); "remove": the query itself is no
            candidate; "remove_ref_frame": its whole frame is not searched.
        topk_mode: "all": one list over all frames; "each": k of every frame, concatenated; "none": every candidate.
        ws_interior: side of the window of queries that are not in the last row or column; 0 = ws.
        reflect_bounds: False leaves pixels of patches outside the image out of the sum instead of mirroring them.
        full_ws: windows slide into the image, keeping their lattice; False leaves them centred. Candidates outside
            have an infinite distance (minus infinity for "prod").
        use_adj: patches are anchored at their top left pixel instead of their middle.
        normalize_bwd: divide the gradients of vid0 and vid1 by how many patches cover each pixel.
        k_agg: only the first k_agg neighbours of a list receive gradient; 0 or less: all.
        off_Hq, off_Wq: shift of the query patch.
        strideQ: spacing of queries in vid0 where it has another size than vid1; the grid is that of vid1.
        itype: "float": candidates at fractional positions, sampled bilinearly; "int": flows are rounded (half to even)
            and stride1 is whole.

    Returns:
        (distances [B, HD, T, nH, nW, K], offsets [B, HD, T, nH, nW, K, 3]), offsets = (dt, dy, dx) from the query,
        floating for itype "float", else int32. A window whose centre is not finite has no candidates (distance
        infinite, offset 0). Distances are differentiable with respect to vid0 and vid1 and, for itype "float", flows;
        offsets with respect to flows. Gradients do not depend on the order of threads.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or options are not as above, or k exceeds the candidates.

    After Gauen and Chan, "Soft search, shifted non-local search" (arXiv 2309.16849); unlike that work's code, clips may
    be shorter than the temporal window and flows are mirrored at any distance.
    """
    search = WindowSearch(
        ws=ws,
        ps=ps,
        k=k,
        stride0=stride0,
        stride1=stride1,
        dist_type=dist_type,
        dilation=dilation,
        pt=pt,
        self_action=self_action,
        topk_mode=topk_mode,
        ws_interior=ws_interior,
        reflect_bounds=reflect_bounds,
        full_ws=full_ws,
        use_adj=use_adj,
        normalize_bwd=normalize_bwd,
        k_agg=k_agg,
        off_Hq=off_Hq,
        off_Wq=off_Wq,
        strideQ=strideQ,
        itype=itype,
    )
    check_reach(wt)
    queries, heads = split_heads("vid0", vid0, nheads)
    keys, _ = split_heads("vid1", vid1, nheads, queries)
    grid = check_pair(queries, keys, search)
    if flows is not None and (fflow is not None or bflow is not None):
        raise ValueError("give either flows or fflow and bflow, not both")
    if (fflow is None) != (bflow is None):
        raise ValueError("fflow and bflow must be given together")
    if fflow is not None and bflow is not None:
        flows = search_flow(fflow, bflow, wt, stride0)
    if flows is not None:
        check_tensor("flows", flows, "... T S 2 nH nW", VIDEO_DTYPES, queries)
    order = window_frames(queries.shape[1], wt)
    like = queries if queries.dtype == torch.float64 else queries.new_empty(0, dtype=torch.float32)
    centres = _centres(flows, order, queries.shape[0], heads, grid, like)
    if self_action == "remove_ref_frame":
        if centres.shape[5] < 2:
            raise ValueError("self_action='remove_ref_frame' needs wt greater than 0 and more than one frame")
        centres = centres[..., 1:, :]
    return search.search(queries, keys, centres, heads)
