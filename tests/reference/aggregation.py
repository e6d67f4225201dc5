"""Aggregation of neighbour patches in plain float64 loops, obviously right; gradients by autograd."""

import itertools
import math

import torch


def mirror(i, n):
    """Whole-sample mirror of a position (whole or not) for any distance."""
    if n == 1:
        return 0 * i
    i = i % (2 * (n - 1))
    return i if i <= n - 1 else 2 * (n - 1) - i


def mirror_tensor(s, n):
    if n == 1:
        return 0 * s
    s = s.remainder(2 * (n - 1))
    return torch.where(s <= n - 1, s, 2 * (n - 1) - s)


def sample(image, y, x):
    """image [F, H, W] at a position that may be a tensor with a gradient: bilinear."""
    height, width = image.shape[-2:]
    y0, x0 = (min(math.floor(float(p.detach())), n - 1) for p, n in ((y, height), (x, width)))
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    above = (1 - fx) * image[:, y0, x0] + fx * image[:, y0, x1]
    below = (1 - fx) * image[:, y1, x0] + fx * image[:, y1, x1]
    return (1 - fy) * above + fy * below


def terms(v, offsets, query_frames, rows, columns, *, ps, pt, stride_in, stride_out, out, dilation, reflect, adj):
    """Every ((t, y, x) of the query, k, (t, y, x) of the result, patch pixel [F]) of v [T, F, H, W]."""
    frames, _, height, width = v.shape
    lead = 0 if adj else ps // 2
    for t, a, b, k in itertools.product(range(query_frames), range(rows), range(columns), range(offsets.shape[3])):
        dt, dy, dx = offsets[t, a, b, k]
        if not bool((offsets[t, a, b, k].detach().abs() < 1e7).all()):
            continue
        anchor_t = mirror(t + round(float(dt.detach())), frames)
        ay, ax = mirror_tensor(a * stride_in + dy, height), mirror_tensor(b * stride_in + dx, width)
        for d, i, j in itertools.product(range(pt), range(ps), range(ps)):
            ty, tx = dilation * (i - lead), dilation * (j - lead)
            to, oy, ox = t + d, a * stride_out + ty, b * stride_out + tx
            if not (to < out[0] and 0 <= oy < out[1] and 0 <= ox < out[2]):
                continue
            y, x = ay + ty, ax + tx
            if reflect:
                y, x = mirror_tensor(y, height), mirror_tensor(x, width)
            if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
                continue
            yield (t, a, b), k, (to, oy, ox), (mirror(anchor_t + d, frames), y, x)


def weighted_patch_sum(v, weights, offsets, *, ps, stride0, stride_out=None, out_size=None, pt=1, dilation=1,
                       reflect_bounds=True, use_adj=False, stack=False):  # fmt: skip
    """One head: v [T, F, H, W], weights [T, nH, nW, K], offsets [..., 3] -> [T, F, H, W], or [K, T, F, H, W]."""
    stride_out = stride_out or stride0
    frames, channels, height, width = v.shape
    out = (frames, *(out_size or (-(-n * stride_out // stride0) for n in (height, width))))
    rows, columns, count = weights.shape[1:]
    sums = {}
    lead = 0 if use_adj else ps // 2
    number = torch.zeros(out, dtype=torch.float64)
    for t, a, b, d, i, j in itertools.product(*map(range, (frames, rows, columns, pt, ps, ps))):
        at = (t + d, a * stride_out + dilation * (i - lead), b * stride_out + dilation * (j - lead))
        if all(0 <= p < n for p, n in zip(at, out, strict=True)):
            number[at] += 1
    for query, k, at, (f, y, x) in terms(
        v, offsets, frames, rows, columns, ps=ps, pt=pt, stride_in=stride0, stride_out=stride_out, out=out,
        dilation=dilation, reflect=reflect_bounds, adj=use_adj,
    ):  # fmt: skip
        key = (k, *at)
        sums[key] = sums.get(key, 0) + weights[(*query, k)] * sample(v[f], y, x)
    zero = torch.zeros(channels, dtype=torch.float64)
    pixels = [
        sums.get(at, zero) / max(float(number[at[1:]]), 1.0) for at in itertools.product(range(count), *map(range, out))
    ]
    result = torch.stack(pixels).view(count, *out, channels).permute(0, 1, 4, 2, 3)
    return result if stack else result.sum(0)


def nonlocal_scatter_add(v, weights, offsets, *, ps, stride0, pt=1, dilation=1, reflect_bounds=True, use_adj=False):
    """One head, as the adjoint of the gather: the gradient of <gather(x), v> by x."""
    frames, _, height, width = v.shape
    x = torch.zeros_like(v, requires_grad=True)
    total = 0
    for query, k, (t, oy, ox), (f, y, x_) in terms(
        v, offsets, frames, *weights.shape[1:3], ps=ps, pt=pt, stride_in=stride0, stride_out=stride0,
        out=(frames, height, width), dilation=dilation, reflect=reflect_bounds, adj=use_adj,
    ):  # fmt: skip
        total = total + (weights[(*query, k)] * sample(x[f], y, x_) * v[t, :, oy, ox]).sum()
    (result,) = torch.autograd.grad(total, x)
    return result
