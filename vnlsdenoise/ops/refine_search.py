"""Refinement of a search: small windows around neighbours that are already known."""

from typing import Any

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_tensor
from vnlsdenoise.ops._windows import WindowSearch
from vnlsdenoise.ops.nonlocal_search import VIDEO_DTYPES, check_pair, split_heads


def kept_inputs(inputs: Tensor, kr: float) -> Tensor:
    """The first kr neighbours [..., Ks, n] (int), or that fraction of them (float, rounded down, at least one)."""
    count = inputs.shape[-2]
    if isinstance(kr, float) and 0 < kr <= 1:
        return inputs[..., : max(1, int(kr * count)), :]
    return inputs[..., : int(kr), :] if kr > 0 else inputs


def check_refinable(search: WindowSearch) -> None:
    if search.self_action == "remove_ref_frame":
        raise ValueError("self_action='remove_ref_frame' needs windows that name their frames: use nonlocal_search")


def refine_search(
    vid0: Tensor, vid1: Tensor, flows: Tensor, *, wr: int, k: int = -1, kr: float = -1, ps: int = 1, nheads: int = 1,
    stride0: int = 4, stride1: float = 1, **options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Search wr x wr candidates around every given neighbour of every query.

    Args:
        vid0, vid1, ps, nheads, stride0, stride1 and the other options: as for `nonlocal_search`, but for
            its ws and wt. The frame of a neighbour is its query's, plus dt rounded, mirrored at the ends of the clip.
        flows: [B, HD_f, T, nH, nW, Ks, 3], offsets (dt, dy, dx) of known neighbours, such as a search returns;
            floating or integer; HD_f divides the heads. One that is not finite or beyond 1e8 is skipped.
        wr: side of a window, in candidates.
        k: length of the lists: over all neighbours, or with topk_mode "each" of each; 0 or less: every candidate.
        kr: use only the first kr neighbours (int) or that fraction of them (float up to 1); 0 or less: all.

    Returns:
        (distances [B, HD, T, nH, nW, K], offsets [B, HD, T, nH, nW, K, 3]) as `nonlocal_search`; differentiable with
        respect to flows (dy and dx) too, for itype "float".

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or options are not as above.
    """
    search = WindowSearch(ws=wr, ps=ps, k=k, stride0=stride0, stride1=stride1, **options)
    check_refinable(search)
    queries, heads = split_heads("vid0", vid0, nheads)
    keys, _ = split_heads("vid1", vid1, nheads, queries)
    grid = check_pair(queries, keys, search)
    check_tensor("flows", flows, "B HD T nH nW Ks 3", (*VIDEO_DTYPES, torch.int32, torch.int64), queries)
    expected = [queries.shape[0], flows.shape[1], queries.shape[1], *grid]
    if list(flows.shape[:5]) != expected or heads % flows.shape[1] or flows.shape[5] < 1:
        raise ValueError(
            f"flows must have shape [{expected[0]}, 1 or a divisor of {heads}, {expected[2]}, {grid[0]}, {grid[1]}, "
            f"Ks, 3], got {list(flows.shape)}"
        )
    return search.search(queries, keys, kept_inputs(flows, kr), heads)
