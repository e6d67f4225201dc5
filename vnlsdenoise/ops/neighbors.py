"""Lists of neighbours: offsets and absolute positions, candidates without a search, the best of a list."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import FLOATING, check_int, check_positive, check_tensor
from vnlsdenoise.ops._neighbours import check_geometry
from vnlsdenoise.ops.search_flow import search_flow, window_frames


def _origins(offsets: Tensor, stride0: int) -> Tensor:
    frames, rows, columns = offsets.shape[2:5]
    axes = [torch.arange(n, device=offsets.device) for n in (frames, rows, columns)]
    t, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack((t, y * stride0, x * stride0), -1)[:, :, :, None].to(offsets.dtype)


def absolute_from_offsets(offsets: Tensor, stride0: int = 1) -> Tensor:
    """Positions (t, y, x) of neighbours given by offsets (dt, dy, dx) from their queries.

    Args:
        offsets: [B, HD, T, nH, nW, K, 3], floating or integer. stride0: spacing of the queries.

    Returns:
        The same shape and type. Differentiable.

    Raises:
        ValueError, TypeError: the shape or stride0 is not as above.
    """
    check_tensor("offsets", offsets, "B HD T nH nW K 3", (*FLOATING, torch.float16, torch.int32, torch.int64))
    check_geometry(stride0=stride0)
    return offsets + _origins(offsets, stride0)


def offsets_from_absolute(positions: Tensor, stride0: int = 1) -> Tensor:
    """The inverse of `absolute_from_offsets`."""
    check_tensor("positions", positions, "B HD T nH nW K 3", (*FLOATING, torch.float16, torch.int32, torch.int64))
    check_geometry(stride0=stride0)
    return positions - _origins(positions, stride0)


def _mirror(v: Tensor, size: int) -> Tensor:
    if size == 1:
        return torch.zeros_like(v)
    v = torch.remainder(v, 2 * (size - 1))
    return torch.where(v > size - 1, 2 * (size - 1) - v, v)


def _axis(centre: Tensor, stride1: float, ws: int, size: int, full_ws: bool) -> Tensor:
    start = torch.full_like(centre, (ws - 1) // 2, dtype=torch.float64)
    where = centre.detach().double()
    if full_ws:
        start = torch.where(where - stride1 * start < 0, torch.floor(where / stride1), start)
        over = where + stride1 * (ws - 1 - start) > size - 1
        start = torch.where(over, torch.ceil((where - (size - 1)) / stride1 + ws - 1), start)
    steps = torch.arange(ws, device=centre.device) - start[..., None]
    return centre[..., None] + stride1 * steps.to(centre.dtype)


def non_local_inds(
    fflow: Tensor, bflow: Tensor, ws: int, wt: int, stride0: int = 1, stride1: float = 1, full_ws: bool = True
) -> Tensor:
    """Where every candidate of `nonlocal_search` lies, without a search. Holds all of them: for small videos.

    Args:
        fflow, bflow: [B, T, 2, H, W], flow between neighbouring frames, channel 0 = x. The rest as `nonlocal_search`.

    Returns:
        [B, T * nH * nW, W_t, ws, ws, 3], positions (t, y, x) in the type of the flow. Differentiable.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or options are not as above.
    """
    check_geometry(ws=ws)
    check_positive(stride1=stride1)
    flows = search_flow(fflow, bflow, wt, stride0)
    batch, frames, _, _, rows, columns = flows.shape
    height, width = fflow.shape[-2:]
    flows = torch.nn.functional.pad(flows, (0, 0, 0, 0, 0, 0, 1, 0))
    y = torch.arange(rows, device=flows.device)[:, None] * stride0 + flows[:, :, :, 1]
    x = torch.arange(columns, device=flows.device) * stride0 + flows[:, :, :, 0]
    py = _axis(_mirror(y, height), stride1, ws, height, full_ws)[..., :, None]
    px = _axis(_mirror(x, width), stride1, ws, width, full_ws)[..., None, :]
    shape = (*py.shape[:-1], ws)
    py, px = py.expand(shape), px.expand(shape)
    when = torch.tensor(window_frames(frames, wt), device=flows.device, dtype=flows.dtype)
    pt = when[None, :, :, None, None, None, None].expand(py.shape)
    found = torch.stack((pt, py, px), -1)  # [B, T, W_t, nH, nW, ws, ws, 3]
    return found.permute(0, 1, 3, 4, 2, 5, 6, 7).reshape(batch, frames * rows * columns, -1, ws, ws, 3)


def topk(dists: Tensor, inds: Tensor, k: int, anchor: bool = False, descending: bool = False) -> tuple[Tensor, Tensor]:
    """The k best of lists of neighbours, sorted; ties keep their order.

    Args:
        dists: [..., K]. inds: [..., K, n]. k: how many to keep, from 1 to K.
        anchor: the first of each list stays first, whatever its distance. descending: the largest are the best.

    Returns:
        (dists [..., k], inds [..., k, n]). Differentiable.

    Raises:
        ValueError, TypeError: shapes or k are not as above.
    """
    check_tensor("dists", dists, "... K", (*FLOATING, torch.float16, torch.bfloat16))
    check_tensor("inds", inds, "... K n", (*FLOATING, torch.float16, torch.bfloat16, torch.int32, torch.int64), dists)
    check_int(k=k)
    if inds.shape[:-1] != dists.shape:
        raise ValueError(f"inds must have shape {[*dists.shape, 'n']}, got {list(inds.shape)}")
    if not 1 <= k <= dists.shape[-1]:
        raise ValueError(f"k must be from 1 to {dists.shape[-1]}, got {k}")
    key = dists.detach()
    if anchor:
        first = torch.full_like(key[..., :1], torch.inf if descending else -torch.inf)
        key = torch.cat((first, key[..., 1:]), -1)
    order = torch.sort(key, dim=-1, descending=descending, stable=True).indices[..., :k]
    return dists.gather(-1, order), inds.gather(-2, order[..., None].expand(*order.shape, inds.shape[-1]))
