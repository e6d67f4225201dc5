"""Plain torch, meant for float64: chained flow and the non-local search with its whole candidate volume."""

import math

import torch


def mirror(v, size):
    """Whole-sample mirror of any distance, of indices or of positions."""
    if size == 1:
        return torch.zeros_like(v)
    v = torch.remainder(v, 2 * (size - 1))
    return torch.where(v > size - 1, 2 * (size - 1) - v, v)


def neighbours(v):
    """The whole positions around v with their weights; one where all are whole, and nothing depends on it."""
    whole = v.detach().floor()
    both = ((whole, 1 - (v - whole)), (whole + 1, v - whole))
    return both if v.requires_grad or bool((v != whole).any()) else both[:1]


def sample(image, frame, y, x):
    """image [N, T, C, H, W] at frame, y, x, each [N, ...] -> [N, C, ...]: bilinear, samples mirrored at the borders."""
    n, _, c, h, w = image.shape
    flat = image.movedim(2, 0).reshape(c, -1)
    batch = torch.arange(n).reshape(n, *[1] * (y.ndim - 1))
    rows, columns = neighbours(y), neighbours(x)
    total = 0
    for yi, wy in rows:
        row = (batch * image.shape[1] + frame) * h + mirror(yi, h).long()
        for xi, wx in columns:
            total = total + (wy * wx) * flat[:, row * w + mirror(xi, w).long()]
    return total.movedim(0, 1)


def frame_order(t, frames, wt):
    length = min(2 * wt + 1, frames)
    first = min(max(t - wt, 0), frames - length)
    window = range(first, first + length)
    return [f for f in window if f >= t] + [f for f in reversed(window) if f < t]


def search_flow(fflow, bflow, wt, stride0):
    b, frames, _, h, w = fflow.shape
    y0, x0 = torch.meshgrid(torch.arange(0, h, stride0), torch.arange(0, w, stride0), indexing="ij")
    y0, x0 = (v.expand(b, -1, -1).to(fflow.dtype) for v in (y0, x0))
    out = []
    for t in range(frames):
        slots, previous = [], t
        y, x = y0, x0
        for frame in frame_order(t, frames, wt)[1:]:
            if frame < t < previous:
                y, x = y0, x0
            field, at = (fflow, frame - 1) if frame > t else (bflow, frame + 1)
            moved = sample(field, torch.tensor(at), y, x)
            x, y, previous = x + moved[:, 0], y + moved[:, 1], frame
            slots.append(torch.stack([x - x0, y - y0], 1))
        out.append(torch.stack(slots, 1) if slots else fflow.new_zeros((b, 0, 2, *y0.shape[1:])))
    return torch.stack(out, 1)


def window_start(c, step, ws, size, full):
    """How many steps before its centre a window starts."""
    o = (ws - 1) // 2
    if full:
        if c - step * o < 0:
            o = math.floor(c / step)
        if c + step * (ws - 1 - o) > size - 1:
            o = math.ceil((c - (size - 1)) / step + ws - 1)
    return o


def candidates(centres, q_grid, ws, stride1, height, width, full):
    """Rows [..., S, ws, 1] and columns [..., S, 1, ws], which are inside, and each window's start (y, x), for centres
    [..., S, 3]."""
    y = mirror(q_grid[0][..., None] + centres[..., 1], height)
    x = mirror(q_grid[1][..., None] + centres[..., 2], width)
    steps = torch.arange(ws, dtype=centres.dtype)
    axes = []
    for c, size in ((y, height), (x, width)):
        start = torch.tensor([window_start(float(v), stride1, ws, size, full) for v in c.detach().reshape(-1)])
        axes.append((c[..., None] + stride1 * (steps - start.reshape(c.shape)[..., None]), start.reshape(c.shape)))
    (py, oy), (px, ox) = axes
    py, px = py[..., :, None], px[..., None, :]
    inside = (py >= 0) & (py <= height - 1) & (px >= 0) & (px <= width - 1)
    return py, px, inside, oy, ox


def search(
    q, k, centres, *, ws, k_nearest, stride0=1, stride1=1.0, stride_q=None, ps=1, pt=1, dilation=1, prod=False,
    anchor=None, each=False, reflect=True, full=True, adj=False, off=(0, 0), ws_interior=0,
):  # fmt: skip
    """q [B, HD, T, F, H, W], k the same, centres [B, HD, T, nH, nW, S, 3] (dt, dy, dx) -> distances and offsets.

    anchor: None, "anchor", "anchor_each" or "remove". k_nearest <= 0: everything, unsorted.
    """
    b, hd, frames, _, qh, qw = q.shape
    kh, kw = k.shape[-2:]
    n_h, n_w, slots = centres.shape[3:6]
    stride_q = stride_q or stride0
    grid = torch.meshgrid(torch.arange(n_h), torch.arange(n_w), indexing="ij")
    ky, kx = (g.to(q.dtype).mul(stride0).expand(b, hd, frames, n_h, n_w) for g in grid)
    t = torch.arange(frames).reshape(1, 1, -1, 1, 1, 1)
    target = mirror(t + centres[..., 0].detach().round().long(), frames)
    py, px, inside, oy, ox = candidates(centres, (ky, kx), ws, stride1, kh, kw, full)
    dt = (target - t)[..., None, None].to(q.dtype)
    apart = (dt, py - ky[..., None, None, None], px - kx[..., None, None, None])
    offsets = torch.stack(torch.broadcast_tensors(*apart), -1)

    def rows(v):  # heads join the batch for `sample`
        return v.reshape(b * hd, *v.shape[2:])

    first = 0 if adj else -(ps // 2)
    distance = torch.zeros(inside.shape, dtype=q.dtype)
    for pk in range(pt):
        for i in range(ps):
            for j in range(ps):
                dy, dx = dilation * (i + first), dilation * (j + first)
                y = (grid[0] * stride_q + dy + off[0]).expand(b, hd, frames, n_h, n_w).to(q.dtype)
                x = (grid[1] * stride_q + dx + off[1]).expand(b, hd, frames, n_h, n_w).to(q.dtype)
                time = mirror(torch.arange(frames).reshape(1, -1, 1, 1) + pk, frames)
                u = sample(rows(q), time, rows(y), rows(x)).reshape(b, hd, -1, frames, n_h, n_w, 1, 1, 1)
                ty, tx = py + dy, px + dx
                time = mirror(rows(target.expand(centres.shape[:-1])) + pk, frames)[..., None, None]
                v = sample(rows(k), time, rows(ty), rows(tx)).reshape(b, hd, -1, *inside.shape[2:])
                term = (u * v if prod else (u - v) ** 2).sum(2)
                if not reflect:
                    seen = (y >= 0) & (y <= qh - 1) & (x >= 0) & (x <= qw - 1)
                    seen = seen[..., None, None, None] & (ty >= 0) & (ty <= kh - 1) & (tx >= 0) & (tx <= kw - 1)
                    term = torch.where(seen, term, torch.zeros_like(term))
                distance = distance + term
    worst = -math.inf if prod else math.inf
    distance = torch.where(inside, distance, torch.full_like(distance, worst))
    size = ws * ws
    distance, offsets = distance.flatten(-3), offsets.flatten(-4, -2)
    if each:
        lists, length = slots, size
    else:
        lists, length = 1, slots * size
    distance = distance.reshape(*distance.shape[:-1], lists, length)
    offsets = offsets.reshape(*offsets.shape[:-2], lists, length, 3)
    key = (-distance if prod else distance).detach().clone()
    first_of = None
    if anchor in ("anchor", "remove"):
        goal = offsets.detach().abs().sum(-1)
        first_of = goal.flatten(-2).argmin(-1)
        first_list, first_of = first_of // length, first_of % length
    elif anchor == "anchor_each":
        centre = (oy * ws + ox).long()
        first_of = centre if each else centre[..., :1]
    if first_of is not None:
        order = torch.arange(length).expand(key.shape).clone()
        for where in torch.cartesian_prod(*[torch.arange(n) for n in key.shape[:-2]]).reshape(-1, key.ndim - 2):
            at = tuple(where.tolist())
            for line in range(lists):
                if anchor == "anchor_each":
                    chosen = int(first_of[at][line])
                elif line == int(first_list[at]):
                    chosen = int(first_of[at])
                else:
                    continue
                key[at][line, chosen] = math.inf if anchor == "remove" else -math.inf
                if anchor == "anchor":
                    offsets = offsets.clone()
                    offsets[at][line, chosen] = 0
                if anchor == "remove":
                    distance = distance.clone()
                    distance[at][line, chosen] = worst
                order[at][line, chosen], order[at][line, 0] = order[at][line, 0].clone(), chosen
    if k_nearest > 0:
        order = key.sort(dim=-1, stable=True).indices[..., :k_nearest]
    elif first_of is None:
        order = torch.arange(length).expand(key.shape)
    distance = distance.gather(-1, order).flatten(-2)
    offsets = offsets.gather(-2, order[..., None].expand(*order.shape, 3)).flatten(-3, -2)
    return distance, offsets


def nonlocal_search(q, keys, flow, heads, wt, *, itype="float", topk_mode="all", self_action=None, **options):
    """The search on the arguments of the public function: videos [B, T, C, H, W] and flows (x, y)."""
    _, t, c, *_ = q.shape
    q, keys = (v.unflatten(2, (heads, c // heads)).transpose(1, 2) for v in (q, keys))
    order = [frame_order(frame, t, wt) for frame in range(t)]
    steps = torch.tensor([[f - i for f in row] for i, row in enumerate(order)]).to(q.dtype)
    flow = flow if flow.ndim == 7 else flow[:, None]
    flow = torch.nn.functional.pad(flow, (0, 0, 0, 0, 0, 0, 1, 0)) if flow.shape[3] < steps.shape[1] else flow
    where = flow.permute(0, 1, 2, 5, 6, 3, 4).flip(-1)
    centres = torch.cat((steps[:, None, None, :, None].expand(*where.shape[:-1], 1), where), -1)
    centres = centres.repeat(1, heads // centres.shape[1], *[1] * 5)
    if itype == "int":
        centres = centres.round()
    self_action = "anchor" if self_action == "anchor_self" else self_action
    if self_action == "remove_ref_frame":
        centres, self_action = centres[..., 1:, :], None
    names = {"k": "k_nearest", "reflect_bounds": "reflect", "full_ws": "full", "use_adj": "adj", "strideQ": "stride_q"}
    options = {names.get(name, name): value for name, value in options.items()}
    options["prod"] = options.pop("dist_type", "l2") == "prod"
    options["off"] = (options.pop("off_Hq", 0), options.pop("off_Wq", 0))
    each = topk_mode == "each" or (self_action == "anchor_each" and topk_mode == "none")
    distances, offsets = search(q, keys, centres, anchor=self_action, each=each, **options)
    if self_action == "remove" and options["k_nearest"] <= 0:
        return distances[..., 1:], offsets[..., 1:, :]
    return distances, offsets
