"""The peer of the search: a database of unfolded patches and a matrix product with gathered candidates.

As in Ploetz and Roth, "Neural nearest neighbors networks" (NeurIPS 2018): every patch of the keys is written out once,
each query's candidates are gathered from there, and distances come from inner products and norms. In plain torch.
"""

import torch
from torch.nn import functional

from vnlsdenoise.ops.search_flow import window_frames

GATHERED = 2**27  # floats gathered at once: 512 MiB


def database(video: torch.Tensor, ps: int) -> torch.Tensor:
    """[T, F, H, W] -> [T, H, W, F * ps * ps]: the patch around every pixel, mirrored at the borders."""
    before, after = ps // 2, (ps - 1) // 2
    padded = functional.pad(video, (before, after, before, after), mode="reflect")
    patches = functional.unfold(padded, ps)
    return patches.transpose(1, 2).reshape(len(video), *video.shape[-2:], -1)


def mirror(v: torch.Tensor, size: int) -> torch.Tensor:
    v = v.abs().remainder(2 * (size - 1))
    return torch.where(v > size - 1, 2 * (size - 1) - v, v)


def candidates(flows: torch.Tensor, height: int, width: int, ws: int, wt: int, stride0: int) -> torch.Tensor:
    """(t, y, x) of all candidates [T, nH, nW, W_t * ws * ws, 3] for flows [T, W_t - 1, 2, nH, nW], rounded."""
    frames, _, _, rows, columns = flows.shape
    flows = functional.pad(flows.round().long(), (0, 0, 0, 0, 0, 0, 1, 0))
    steps, axes = torch.arange(ws, device=flows.device), []
    for channel, size, grid in ((1, height, torch.arange(rows)[:, None]), (0, width, torch.arange(columns))):
        centre = mirror(grid.to(flows.device) * stride0 + flows[:, :, channel], size)
        axes.append((centre - (ws - 1) // 2).clamp(0, size - ws)[..., None] + steps)
    y, x = torch.broadcast_tensors(axes[0][..., :, None], axes[1][..., None, :])
    order = torch.tensor(window_frames(frames, wt), device=flows.device)
    t = order[:, :, None, None, None, None].expand(y.shape)
    return torch.stack((t, y, x), -1).permute(0, 2, 3, 1, 4, 5, 6).flatten(3, 5)


def patch_database_search(
    vid0: torch.Tensor,
    vid1: torch.Tensor,
    flows: torch.Tensor,
    *,
    ws: int,
    wt: int,
    ps: int,
    k: int,
    nheads: int = 1,
    stride0: int = 1,
    itype: str = "int",
) -> tuple[torch.Tensor, torch.Tensor]:
    """`ops.nonlocal_search` for whole steps, squared differences and a batch of one."""
    if itype != "int":
        raise ValueError(f"a patch database holds whole positions: itype must be 'int', got {itype!r}")
    frames, _, height, width = vid0.shape[1:]
    places = candidates(flows[0], height, width, ws, wt, stride0)
    grid = places.shape[:3]
    places = places.flatten(0, 2)
    at = (places[..., 0] * height + places[..., 1]) * width + places[..., 2]
    y, x = torch.arange(grid[1], device=at.device) * stride0, torch.arange(grid[2], device=at.device) * stride0
    own = torch.cartesian_prod(torch.arange(frames, device=at.device), y, x)
    found = []
    for queries, keys in zip(vid0[0].chunk(nheads, 1), vid1[0].chunk(nheads, 1), strict=True):
        rows = database(queries, ps)[:, ::stride0, ::stride0].flatten(0, 2)
        patches = database(keys, ps).flatten(0, 2)
        row_norms, norms = rows.square().sum(1, keepdim=True), patches.square().sum(1)
        size = max(1, GATHERED // (at.shape[1] * patches.shape[1]))
        lists = []
        for part in range(0, len(at), size):
            some = slice(part, part + size)
            products = torch.bmm(patches[at[some]], rows[some, :, None])[..., 0]
            distances = row_norms[some] + norms[at[some]] - 2 * products
            best, order = distances.topk(k, largest=False)
            lists.append((best, places[some].gather(1, order[..., None].expand(-1, -1, 3)) - own[some, None]))
        found.append([torch.cat(v).unflatten(0, grid) for v in zip(*lists, strict=True)])
    distances, offsets = (torch.stack(v)[None] for v in zip(*found, strict=True))
    return distances, offsets.int()
