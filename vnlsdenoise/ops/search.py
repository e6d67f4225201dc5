"""Shifted non-local search: the most similar patches around where the flow says each patch went."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_frames, check_positive, check_tensor
from vnlsdenoise.ops._operator import operator

MAX_NEIGHBORS = 128  # what one warp keeps in registers


def _lists(
    guide: list[Tensor],
    queries: Tensor,
    centres: Tensor,
    frame: int,
    patch: int,
    side: int,
    side_other: int,
    neighbors: int,
) -> tuple[Tensor, Tensor]:
    count = queries.shape[0]
    return guide[0].new_empty((count, neighbors)), queries.new_empty((count, neighbors, 3))


@operator("search", _lists)
def _search(
    guide: list[Tensor],
    queries: Tensor,
    centres: Tensor,
    frame: int,
    patch: int,
    side: int,
    side_other: int,
    neighbors: int,
) -> tuple[Tensor, Tensor]:
    distances, offsets = _lists(guide, queries, centres, frame, patch, side, side_other, neighbors)
    torch.ops.vnlsdenoise.search_out(
        [g.contiguous() for g in guide],
        queries.contiguous(),
        centres.contiguous(),
        frame,
        patch,
        side,
        side_other,
        distances,
        offsets,
    )
    return distances, offsets


def _along_flow_fake(
    guide: list[Tensor],
    fields: list[Tensor],
    queries: Tensor,
    frame: int,
    scale: int,
    patch: int,
    side: int,
    side_other: int,
    neighbors: int,
) -> tuple[Tensor, Tensor]:
    return _lists(guide, queries, queries, frame, patch, side, side_other, neighbors)


@operator("search_along_flow", _along_flow_fake)
def _search_along_flow(
    guide: list[Tensor],
    fields: list[Tensor],
    queries: Tensor,
    frame: int,
    scale: int,
    patch: int,
    side: int,
    side_other: int,
    neighbors: int,
) -> tuple[Tensor, Tensor]:
    distances, offsets = _lists(guide, queries, queries, frame, patch, side, side_other, neighbors)
    torch.ops.vnlsdenoise.search_along_flow_out(
        [g.contiguous() for g in guide],
        [f.contiguous() for f in fields],
        queries.contiguous(),
        frame,
        scale,
        patch,
        side,
        side_other,
        queries.new_empty((queries.shape[0], len(guide), 2)),
        distances,
        offsets,
    )
    return distances, offsets


def search(
    guide: list[Tensor],
    queries: Tensor,
    centres: Tensor,
    *,
    frame: int,
    patch: int,
    neighbors: int,
    side: int,
    side_other: int,
) -> tuple[Tensor, Tensor]:
    """Find each query's nearest patches, by summed squared difference, in a window of every frame.

    Patches are named by their top left pixel. A window is a square of candidates around its centre, moved inward at
    the borders so that every patch lies inside the frame. The query itself is first, with distance 0 (if the window of
    its own frame holds it, as `chain_flow` places it); ties are broken by (t, y, x). If there are fewer candidates than
    `neighbors` the list is repeated from its start.

    Args:
        guide: one search image [H, W] a frame of the window, in order of time; float32 (or float64 on the CPU).
        queries: int32 [N, 2], (y, x); one whose patch does not lie inside the frame is moved to where it does.
        centres: int32 [N, frames, 2], (y, x): from `chain_flow`.
        frame: the queries' frame, an index into the window.
        patch: side of a patch. neighbors: length of the list. side, side_other: odd window sides in the queries' frame
            and in the others.

    Returns:
        (distances [N, neighbors] ascending, offsets int32 [N, neighbors, 3]), offsets = (dt, dy, dx) from the query.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or sizes are not as above.
    """
    check_frames("guide", guide, "H W")
    check_tensor("queries", queries, "N 2", (torch.int32,), guide[0])
    check_tensor("centres", centres, f"N {len(guide)} 2", (torch.int32,), guide[0])
    if centres.shape[0] != queries.shape[0]:
        raise ValueError(f"centres must hold {queries.shape[0]} queries, got {centres.shape[0]}")
    _check_search(guide, frame, patch, neighbors, side, side_other)
    return _search(list(guide), queries, centres, frame, patch, side, side_other, neighbors)  # type: ignore[no-any-return]


def search_along_flow(
    guide: list[Tensor],
    fields: list[Tensor],
    queries: Tensor,
    *,
    frame: int,
    scale: int = 1,
    patch: int,
    neighbors: int,
    side: int,
    side_other: int,
) -> tuple[Tensor, Tensor]:
    """`chain_flow`, and `search` around the centres that it gives, in one call.

    Args:
        guide, queries, frame, patch, neighbors, side, side_other: as in `search`, guide float32.
        fields: one flow [2, 2, h, w] between two neighbours of the window, in order of time, float32: forward, then
            backward. scale: as in `chain_flow`.

    Returns:
        As `search`.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or sizes are not as above.
    """
    check_frames("guide", guide, "H W", dtypes=(torch.float32,))
    check_tensor("queries", queries, "N 2", (torch.int32,), guide[0])
    if len(fields) != len(guide) - 1:
        raise ValueError(f"fields must hold {len(guide) - 1} flows, one less than frames, got {len(fields)}")
    if fields:
        check_frames("fields", fields, "2 2 H W", queries, (torch.float32,))
    check_positive(scale=scale)
    _check_search(guide, frame, patch, neighbors, side, side_other)
    return _search_along_flow(  # type: ignore[no-any-return]
        list(guide), list(fields), queries, frame, scale, patch, side, side_other, neighbors
    )


def _check_search(guide: list[Tensor], frame: int, patch: int, neighbors: int, side: int, side_other: int) -> None:
    if not 0 <= frame < len(guide):
        raise ValueError(f"frame must be from 0 to {len(guide) - 1}, got {frame}")
    check_positive(neighbors=neighbors, patch=patch)
    if neighbors > MAX_NEIGHBORS:
        raise ValueError(f"neighbors must be at most {MAX_NEIGHBORS}, got {neighbors}")
    for name, value in (("side", side), ("side_other", side_other)):
        if value < 1 or value % 2 == 0:
            raise ValueError(f"{name} must be odd and at least 1, got {value}")
    if min(guide[0].shape) < patch:
        raise ValueError(f"frames must be at least patch = {patch} on each side, got {list(guide[0].shape)}")
