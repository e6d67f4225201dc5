"""The neighbour lists as a graph: from the list of each query to the list of each pixel that was found.

Number the queries that found a pixel (`scatter_labels`) and every edge has a place of its own on either side, so values
move from query to pixel (`scatter_tensor`) and back (`gather_tensor`) without collision.
"""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_tensor
from vnlsdenoise.ops._neighbours import FLOATING, check_geometry, check_sizes

_WHOLE = (torch.int32, torch.int64)


def scatter_labels(offsets: Tensor, *, stride0: int, stride1: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Numbers, for every pixel of the key grid, the queries that found it: 0, 1, ... in raster order of the queries.

    Args:
        offsets: [B, HD, T, nH, nW, K, 3], int32 or int64: (dt, dy, dx) from the query at
            (t, nh * stride0, nw * stride0) to a pixel of the key grid, whose coordinates stride1 divides.
        stride0, stride1: pixels between queries and between keys. height, width: of the frames.

    Returns:
        labels: [B, HD, T, nH, nW, K], int64; -1 where the offset leaves the video or the grid.
        names: [B, HD, S, T, nH1, nW1, 2], int64: (query, neighbour) of every label, the query in raster order over
            T x nH x nW; -1 where there is none. S is the longest list, so this call waits for the device.
    """
    keys, count = _key_pixels(offsets, stride0, stride1, height, width)
    batch, heads, frames, _, _, neighbours = offsets.shape[:-1]
    # Edges of one pixel stand together after a stable sort; an edge's label is its distance from the first of them.
    ordered, order = torch.sort(keys, dim=-1, stable=True)
    place = torch.arange(keys.shape[-1], device=keys.device).expand_as(keys)
    first = torch.searchsorted(ordered, ordered)
    labels = torch.empty_like(keys).scatter_(-1, order, place - first).masked_fill_(keys == count, -1)
    size = int(labels.max()) + 1 if labels.numel() else 0
    edges = torch.stack([place // neighbours, place % neighbours], -1)
    names = _to_keys(edges, keys, labels, count, size, -1)
    grid = (frames, (height - 1) // stride1 + 1, (width - 1) // stride1 + 1)
    return labels.view(offsets.shape[:-1]), names.transpose(2, 3).reshape(batch, heads, size, *grid, 2)


def scatter_tensor(
    values: Tensor,
    offsets: Tensor,
    labels: Tensor,
    *,
    stride0: int,
    stride1: int,
    height: int,
    width: int,
    size: int | None = None,
    invalid: float = 0.0,
) -> Tensor:
    """out[pixel, labels[q, k]] = values[q, k], with pixel = q + offset: the lists of the pixels, [B, HD, Q1, S].

    Args:
        values: [B, HD, T, nH, nW, K]. offsets, strides, height, width: as `scatter_labels`; labels: its result.
        size: S; default the longest list (which waits for the device). Edges beyond it are left out.
        invalid: what stands where a list is shorter.

    Q1 counts the pixels of the key grid in raster order over T x nH1 x nW1. Differentiable by values: a copy.
    """
    keys, count = _key_pixels(offsets, stride0, stride1, height, width)
    check_sizes("values", values, tuple(offsets.shape[:-1]), (*FLOATING, *_WHOLE), offsets)
    check_sizes("labels", labels, tuple(offsets.shape[:-1]), _WHOLE, offsets)
    flat = labels.reshape(keys.shape).long()
    if size is None:
        size = int(flat.max()) + 1 if flat.numel() else 0
        if size > flat.shape[-1]:
            raise ValueError(f"labels must be less than the number of edges, {flat.shape[-1]}, got {size - 1}")
    return _to_keys(values.reshape(keys.shape)[..., None], keys, flat, count, size, invalid)[..., 0]


def gather_tensor(
    values: Tensor,
    offsets: Tensor,
    labels: Tensor,
    *,
    stride0: int,
    stride1: int,
    height: int,
    width: int,
    invalid: float = 0.0,
) -> Tensor:
    """The inverse of `scatter_tensor`: from the lists of the pixels, [B, HD, Q1, S], back to [B, HD, T, nH, nW, K]."""
    keys, count = _key_pixels(offsets, stride0, stride1, height, width)
    check_sizes("values", values, (*offsets.shape[:2], count, "S"), (*FLOATING, *_WHOLE), offsets)
    check_sizes("labels", labels, tuple(offsets.shape[:-1]), _WHOLE, offsets)
    size = values.shape[-1]
    flat = labels.reshape(keys.shape).long()
    held = (flat >= 0) & (flat < size) & (keys < count)
    if size == 0:
        return values.new_full(offsets.shape[:-1], invalid)
    places = torch.where(held, keys * size + flat, 0)
    found = values.flatten(2).gather(2, places)
    return found.masked_fill(~held, invalid).view(offsets.shape[:-1])


def scatter_topk(
    weights: Tensor,
    offsets: Tensor,
    labels: Tensor,
    k: int,
    *,
    stride0: int,
    stride1: int,
    height: int,
    width: int,
    descending: bool = False,
) -> tuple[Tensor, Tensor]:
    """The k smallest (descending: largest) values of every pixel's list, and where they came from.

    Args: weights, [B, HD, T, nH, nW, K], float; the rest as `scatter_tensor`.

    Returns:
        values: [B, HD, T, nH1, nW1, k], sorted, filled up with inf (descending: -inf); ties keep the order of labels.
        offsets: [B, HD, T, nH1, nW1, k, 3], int64: (dt, dy, dx) from the pixel to the query; 0 where there is none.
    Differentiable by weights.
    """
    check_geometry(k=k)
    check_tensor("offsets", offsets, "B HD T nH nW K 3", _WHOLE)
    check_sizes("weights", weights, tuple(offsets.shape[:-1]), FLOATING, offsets)
    where = {"stride0": stride0, "stride1": stride1, "height": height, "width": width}
    worst = -torch.inf if descending else torch.inf
    lists = scatter_tensor(weights, offsets, labels, **where, invalid=worst)
    back = torch.stack([scatter_tensor(-offsets[..., axis].long(), offsets, labels, **where) for axis in range(3)], -1)
    if lists.shape[-1] < k:
        missing = k - lists.shape[-1]
        lists = torch.nn.functional.pad(lists, (0, missing), value=worst)
        back = torch.nn.functional.pad(back, (0, 0, 0, missing))
    order = torch.sort(lists.detach(), dim=-1, descending=descending, stable=True).indices[..., :k]
    values = lists.gather(-1, order)
    moves = back.gather(-2, order[..., None].expand(*order.shape, 3))
    batch, heads, frames = offsets.shape[:3]
    grid = (batch, heads, frames, (height - 1) // stride1 + 1, (width - 1) // stride1 + 1, k)
    return values.view(grid), moves.view(*grid, 3)


def _key_pixels(offsets: Tensor, stride0: int, stride1: int, height: int, width: int) -> tuple[Tensor, int]:
    """The key-grid pixel of every edge, [B, HD, E], and how many there are; that number itself stands for none."""
    check_geometry(stride0=stride0, stride1=stride1, height=height, width=width)
    check_tensor("offsets", offsets, "B HD T nH nW K 3", _WHOLE)
    frames, rows, columns = offsets.shape[2:5]
    t, y, x = offsets.long().unbind(-1)

    def along(size: int, step: int, axis: int) -> Tensor:
        return (torch.arange(size, device=offsets.device) * step).view([-1 if d == axis else 1 for d in range(6)])

    t, y, x = t + along(frames, 1, 2), y + along(rows, stride0, 3), x + along(columns, stride0, 4)
    inside = (t >= 0) & (t < frames) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    inside &= (y % stride1 == 0) & (x % stride1 == 0)
    down, across = (height - 1) // stride1 + 1, (width - 1) // stride1 + 1
    keys = (t * down + y // stride1) * across + x // stride1
    count = frames * down * across
    return torch.where(inside, keys, count).flatten(2), count


def _to_keys(values: Tensor, keys: Tensor, labels: Tensor, count: int, size: int, invalid: float) -> Tensor:
    """values [B, HD, E, D] to [B, HD, count, size, D]; no two edges share a place, so the order cannot matter."""
    held = (labels >= 0) & (labels < size) & (keys < count)
    places = torch.where(held, keys * size + labels, count * size)[..., None].expand(*keys.shape, values.shape[-1])
    values = values.expand(*keys.shape, -1)
    out = values.new_full((*keys.shape[:2], count * size + 1, values.shape[-1]), invalid)
    out = out.scatter(2, places, values)[:, :, :-1]
    return out.reshape(*keys.shape[:2], count, size, values.shape[-1])
