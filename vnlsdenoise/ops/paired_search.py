"""Non-local search between two frames, and its refinement."""

from typing import Any

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_tensor
from vnlsdenoise.ops._windows import WindowSearch
from vnlsdenoise.ops.nonlocal_search import VIDEO_DTYPES, check_pair, split_heads
from vnlsdenoise.ops.refine_search import check_refinable, kept_inputs


def _as_videos(frame0: Tensor, frame1: Tensor, nheads: int, flow_heads: int) -> tuple[Tensor, Tensor, int]:
    """Frames [B, C, H, W] or [B, HD, C/HD, H, W] as videos of one frame; one head is repeated for many of flow."""
    videos = []
    for name, frame in (("frame0", frame0), ("frame1", frame1)):
        like = frame0 if name == "frame1" else None
        dims = "B HD F H W" if isinstance(frame, Tensor) and frame.ndim == 5 else "B C H W"
        check_tensor(name, frame, dims, VIDEO_DTYPES if like is None else (like.dtype,), like)
        videos.append(frame.unsqueeze(-4))
    queries, heads = split_heads("frame0", videos[0], nheads)
    keys, _ = split_heads("frame1", videos[1], nheads, queries)
    if heads == 1 and flow_heads > 1:
        return queries.repeat(1, 1, flow_heads, 1, 1), keys.repeat(1, 1, flow_heads, 1, 1), flow_heads
    return queries, keys, heads


def _check_flow(flow: Tensor, expected: list[int], heads: int, spelled: str) -> None:
    if list(flow.shape[: len(expected)]) != expected or heads % flow.shape[1]:
        raise ValueError(
            f"flow must have shape {spelled} = {expected} with heads that divide {heads}, got {list(flow.shape)}"
        )


def paired_search(
    frame0: Tensor, frame1: Tensor, flow: Tensor, *, ws: int, ps: int = 1, k: int = -1, nheads: int = 1,
    stride0: int = 4, stride1: float = 1, **options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Search every patch of one frame in a window of another, centred where the flow leads.

    Args:
        frame0, frame1: queries and keys, [B, C, H, W] or [B, HD, C/HD, H, W].
        flow: [B, 2, nH, nW] or [B, HD_f, 2, nH, nW], channel 0 = x, in pixels. Frames with one head are searched once a
            head of the flow.
        ws, ps, k, nheads, stride0, stride1 and the other options: as for `nonlocal_search`.

    Returns:
        (distances [B, HD, nH, nW, K], offsets [B, HD, nH, nW, K, 2]), offsets = (dy, dx). Differentiable as
        `nonlocal_search`.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or options are not as above.
    """
    search = WindowSearch(ws=ws, ps=ps, k=k, stride0=stride0, stride1=stride1, **options)
    check_refinable(search)
    check_tensor("flow", flow, "... 2 nH nW", VIDEO_DTYPES)
    flow = flow[:, None] if flow.ndim == 4 else flow
    check_tensor("flow", flow, "B HD 2 nH nW", VIDEO_DTYPES)
    queries, keys, heads = _as_videos(frame0, frame1, nheads, flow.shape[1])
    check_tensor("flow", flow, "B HD 2 nH nW", VIDEO_DTYPES, queries)
    grid = check_pair(queries, keys, search)
    _check_flow(flow, [queries.shape[0], flow.shape[1], 2, *grid], heads, "[B, HD, 2, nH, nW]")
    where = torch.nn.functional.pad(flow.permute(0, 1, 3, 4, 2).flip(-1), (1, 0))
    distances, offsets = search.search(queries, keys, where[:, :, None, :, :, None], heads)
    return distances[:, :, 0], offsets[:, :, 0, ..., 1:]


def paired_refine(
    frame0: Tensor, frame1: Tensor, flow: Tensor, *, wr: int, k: int = -1, kr: float = -1, ps: int = 1, nheads: int = 1,
    stride0: int = 4, stride1: float = 1, topk_mode: str = "each", **options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Search wr x wr candidates of another frame around every given neighbour of every query.

    Args:
        frame0, frame1: as for `paired_search`.
        flow: [B, HD_f, nH, nW, Ks, 2], offsets (dy, dx) of known neighbours, floating or integer.
        wr, k, kr: as for `refine_search`; the other options as for `nonlocal_search`.

    Returns:
        (distances [B, HD, nH, nW, K], offsets [B, HD, nH, nW, K, 2]), offsets = (dy, dx). Differentiable as
        `refine_search`.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or options are not as above.
    """
    search = WindowSearch(ws=wr, ps=ps, k=k, stride0=stride0, stride1=stride1, topk_mode=topk_mode, **options)
    check_refinable(search)
    check_tensor("flow", flow, "B HD nH nW Ks 2", (*VIDEO_DTYPES, torch.int32, torch.int64))
    queries, keys, heads = _as_videos(frame0, frame1, nheads, flow.shape[1])
    check_tensor("flow", flow, "B HD nH nW Ks 2", (*VIDEO_DTYPES, torch.int32, torch.int64), queries)
    grid = check_pair(queries, keys, search)
    _check_flow(flow, [queries.shape[0], flow.shape[1], *grid], heads, "[B, HD, nH, nW, Ks, 2]")
    where = torch.nn.functional.pad(kept_inputs(flow, kr), (1, 0))
    distances, offsets = search.search(queries, keys, where[:, :, None], heads)
    return distances[:, :, 0], offsets[:, :, 0, ..., 1:]
