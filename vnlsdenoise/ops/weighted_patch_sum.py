"""Weighted sums of neighbour patches, folded into a video, stacked, pooled, or scattered the other way."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_tensor
from vnlsdenoise.ops._neighbours import (
    FLOATING,
    channels_last,
    check_geometry,
    check_lists,
    check_sizes,
    coverage,
    inverse_coverage,
    list_type,
)
from vnlsdenoise.ops._patch_form import Form, gather, spread


def weighted_patch_sum(
    v: Tensor,
    weights: Tensor,
    offsets: Tensor,
    *,
    ps: int,
    stride0: int,
    stride_out: int | None = None,
    out_size: tuple[int, int] | None = None,
    pt: int = 1,
    dilation: int = 1,
    reflect_bounds: bool = True,
    use_adj: bool = False,
    merge_heads: bool = False,
) -> Tensor:
    """Weighted sum of every query's neighbour patches, overlapping patches averaged (NonLocalGatherAdd of stnls).

    With queries q = (nh, nw), taps u = dilation * (i - ps // 2, j - ps // 2) and R the mirror at the borders:

        out[t, :, p] = 1 / n[p] * sum over q, u with q * stride_out + u = p of
                       sum over k of weights[t, q, k] * v[R(t + dt_k), :, R(R(q * stride0 + (dy_k, dx_k)) + u)]

    n[p] counts the pairs (q, u), so weights that sum to 1 keep a constant video as it is; pixels that no patch covers
    are 0. Patch pixels that fall outside the result are dropped.

    Args:
        v: [B, T, C, H, W] (head = slow part of C) or [B, HD, T, C / HD, H, W]; float32, float64, or float16 and
            bfloat16, which are summed in float32.
        weights: [B, HD, T, nH, nW, K].
        offsets: [B, HD, T, nH, nW, K, 3], (dt, dy, dx) from the query, in frames and pixels. int32/int64: whole pixels;
            floating: bilinear samples, dt rounded, and a gradient for dy and dx. A neighbour with an offset of 1e7 or
            more, or NaN, does not count. Offsets that leave the video are mirrored, however far they lead.
        ps, pt: side and depth (in frames) of the patches. dilation: pixels between their taps.
        stride0: pixels between queries in v; stride_out: in the result (default: stride0).
        out_size: (height, width) of the result; default (H, W) enlarged by stride_out / stride0, rounded up.
        reflect_bounds: mirror taps that leave the frames of v (else they are dropped).
        use_adj: patches hang from their top left pixel instead of lying around their centre.
        merge_heads: return [B, T, C, H, W] instead of [B, HD, T, C / HD, H, W].

    Differentiable by v, weights and floating offsets; the same bytes in every run.
    """
    form, images, lists = _prepare(v, weights, offsets, ps, stride0, pt, dilation, reflect_bounds, use_adj)
    form = _folding(form, stride0 if stride_out is None else stride_out, out_size)
    out = gather(images, *lists, form) * _average(form, images)[..., None]
    out = _by_head(out, weights).permute(0, 1, 2, 5, 3, 4).to(v.dtype)
    return _merged(out) if merge_heads else out.contiguous()


def nonlocal_gather(
    v: Tensor,
    weights: Tensor,
    offsets: Tensor,
    *,
    ps: int,
    stride0: int,
    stride_out: int | None = None,
    out_size: tuple[int, int] | None = None,
    pt: int = 1,
    dilation: int = 1,
    reflect_bounds: bool = True,
    use_adj: bool = False,
) -> Tensor:
    """`weighted_patch_sum` without the sum over the neighbours: a stack [B, HD, K, T, C / HD, H, W].

    Arguments, units and gradients as there; the sum over K is its result.
    """
    form, images, (weights_, offsets_) = _prepare(
        v, weights, offsets, ps, stride0, pt, dilation, reflect_bounds, use_adj
    )
    form = _folding(form, stride0 if stride_out is None else stride_out, out_size)
    form = form._replace(lists=form.lists * form.neighbours, share=form.neighbours, neighbours=1)
    out = (
        gather(images, weights_.movedim(5, 2).contiguous(), offsets_.movedim(5, 2).contiguous(), form)
        * _average(form, images)[..., None]
    )
    return (
        out.view(*weights.shape[:2], weights.shape[5], *out.shape[1:])
        .permute(0, 1, 2, 3, 6, 4, 5)
        .to(v.dtype)
        .contiguous()
    )


def nonlocal_scatter_add(
    v: Tensor,
    weights: Tensor,
    offsets: Tensor,
    *,
    ps: int,
    stride0: int,
    pt: int = 1,
    dilation: int = 1,
    reflect_bounds: bool = True,
    use_adj: bool = False,
    merge_heads: bool = False,
) -> Tensor:
    """The adjoint of `weighted_patch_sum` without its averaging: adds every query's patch onto its neighbours.

        out[R(t + dt_k), :, R(R(q * stride0 + (dy_k, dx_k)) + u)] += weights[t, q, k] * v[t, :, q * stride0 + u]

    Arguments, shapes and gradients as there (bilinear offsets splat); patch pixels outside v do not count. Not
    normalised: divide by the same of a video of ones if you need an average. The sum runs in a fixed order: the same
    bytes in every run.
    """
    form, images, lists = _prepare(v, weights, offsets, ps, stride0, pt, dilation, reflect_bounds, use_adj)
    out = _by_head(spread(images, *lists, form), weights).permute(0, 1, 2, 5, 3, 4).to(v.dtype)
    return _merged(out) if merge_heads else out.contiguous()


def nonlocal_scatter(
    v: Tensor,
    weights: Tensor,
    offsets: Tensor,
    labels: Tensor,
    *,
    planes: int,
    ps: int,
    stride0: int,
    dilation: int = 1,
    reflect_bounds: bool = True,
    use_adj: bool = False,
) -> Tensor:
    """`nonlocal_scatter_add` into `planes` separate planes: neighbour k of query q adds to plane labels[q, k].

    With the labels of `scatter_labels` no two queries meet in a pixel of a plane (for ps = 1).

    Args:
        labels: [B, HD, T, nH, nW, K], int32 or int64; neighbours with a label outside 0 .. planes - 1 do not count.
        The rest: as `weighted_patch_sum`, whole patches of one frame.

    Returns: [B, HD, planes, T, C / HD, H, W]; differentiable by v, weights and floating offsets.
    """
    form, images, (weights_, offsets_) = _prepare(
        v, weights, offsets, ps, stride0, 1, dilation, reflect_bounds, use_adj
    )
    check_geometry(planes=planes)
    check_sizes("labels", labels, tuple(weights.shape), (torch.int32, torch.int64), v)
    # Plane s of frame t is frame s * T + t of a longer video, whose mirror then is never met: frames fold here.
    frames = form.frames
    period = max(2 * (frames - 1), 1)
    own = torch.arange(form.query_frames, device=v.device).view(-1, 1, 1, 1)
    goal = own + (torch.floor(offsets_[..., 0].detach().double() + 0.5)).clamp(-1e8, 1e8).nan_to_num(1e8).long()
    nowhere = (goal - own).abs() >= 10**7
    goal = goal.remainder(period)
    goal = torch.where(goal < frames, goal, period - goal)
    nowhere |= (labels < 0) | (labels >= planes)
    moved = (goal + labels.long() * frames - own).masked_fill(nowhere, 10**7).to(offsets_.dtype)
    offsets_ = torch.cat([moved[..., None], offsets_[..., 1:]], -1)
    out = spread(images, weights_, offsets_, form._replace(frames=planes * frames))
    out = out.view(*weights.shape[:2], planes, frames, *out.shape[2:])
    return out.permute(0, 1, 2, 3, 6, 4, 5).to(v.dtype).contiguous()


def pooled_patch_sum(
    v: Tensor,
    weights: Tensor,
    offsets: Tensor,
    *,
    ps: int,
    stride0: int,
    dilation: int = 1,
    reflect_bounds: bool = True,
    use_adj: bool = False,
    merge_heads: bool = False,
) -> Tensor:
    """The weighted patch of every query in a cell of its own, not overlapped: [B, HD, T, C / HD, ps * nH, ps * nW].

    Arguments, units and gradients as `weighted_patch_sum`.
    """
    form, images, lists = _prepare(v, weights, offsets, ps, stride0, 1, dilation, reflect_bounds, use_adj)
    form = form._replace(
        stride_out=ps, dilation_out=1, lead_out=0, out_height=ps * form.rows, out_width=ps * form.columns
    )
    out = _by_head(gather(images, *lists, form), weights).permute(0, 1, 2, 5, 3, 4).to(v.dtype)
    return _merged(out) if merge_heads else out.contiguous()


def normalise_distances(
    distances: Tensor, *, scale: float = 10.0, dist_type: str = "l2", k_agg: int | None = None
) -> Tensor:
    """softmax over the last dimension of -scale * distances ("l2") or scale * distances ("prod").

    Weights that favour near neighbours, [..., K] (or the first k_agg). Candidates at infinite distance get weight 0;
    where all are, so do all.
    """
    if dist_type not in ("l2", "prod"):
        raise ValueError(f"dist_type must be 'l2' or 'prod', got {dist_type!r}")
    check_tensor("distances", distances, "... K", FLOATING)
    if k_agg is not None:
        check_geometry(k_agg=k_agg)
        distances = distances[..., :k_agg]
    scores = distances * (-scale if dist_type == "l2" else scale)
    lost = (scores == -torch.inf).all(-1, keepdim=True)
    return torch.softmax(scores.masked_fill(lost, 0), -1).masked_fill(lost, 0)


def _prepare(
    v: Tensor,
    weights: Tensor,
    offsets: Tensor,
    ps: int,
    stride0: int,
    pt: int,
    dilation: int,
    reflect_bounds: bool,
    use_adj: bool,
) -> tuple[Form, Tensor, tuple[Tensor, Tensor]]:
    """Checked arguments, as the kernels read them. The form folds onto a video like v."""
    check_geometry(ps=ps, stride0=stride0, pt=pt, dilation=dilation)
    if not isinstance(v, Tensor):
        raise TypeError(f"v must be a torch.Tensor, got {type(v).__name__}")
    check_lists(weights, offsets, v)
    batch, heads, frames, rows, columns, count = weights.shape
    images = channels_last("v", v, heads)
    _, own_frames, height, width, channels = images.shape
    if images.shape[0] != batch * heads or own_frames != frames:
        raise ValueError(
            f"weights must have the batch and frames of v, [{v.shape[0]}, {heads}, {own_frames}, ...], "
            f"got {list(weights.shape)}"
        )
    if (rows - 1) * stride0 >= height or (columns - 1) * stride0 >= width:
        raise ValueError(
            f"weights must have at most {(height - 1) // stride0 + 1} x {(width - 1) // stride0 + 1} queries "
            f"for {height} x {width} pixels and stride0 = {stride0}, got {rows} x {columns}"
        )
    lead = 0 if use_adj else ps // 2
    form = Form(
        batch * heads, 1, frames, height, width, channels, frames, rows, columns, count, frames, height, width,
        ps, pt, stride0, stride0, dilation, dilation, lead, lead, int(reflect_bounds),
    )  # fmt: skip
    return form, images, (list_type(weights, images.dtype), list_type(offsets, images.dtype))


def _folding(form: Form, stride_out: int, out_size: tuple[int, int] | None) -> Form:
    check_geometry(stride_out=stride_out)
    if out_size is None:
        height, width = (-(-n * stride_out // form.stride_in) for n in (form.height, form.width))
    else:
        height, width = out_size
        check_geometry(out_height=height, out_width=width)
    return form._replace(stride_out=stride_out, out_height=height, out_width=width)


def _average(form: Form, images: Tensor) -> Tensor:
    taps = (torch.arange(form.patch, device=images.device) - form.lead_out) * form.dilation_out
    depth = torch.arange(form.depth, device=images.device)
    return inverse_coverage(
        coverage(form.out_frames, form.query_frames, 1, depth),
        coverage(form.out_height, form.rows, form.stride_out, taps),
        coverage(form.out_width, form.columns, form.stride_out, taps),
        images.dtype,
    )


def _by_head(out: Tensor, weights: Tensor) -> Tensor:
    return out.view(*weights.shape[:2], *out.shape[1:])


def _merged(out: Tensor) -> Tensor:
    """[B, HD, T, F, H, W] -> [B, T, HD * F, H, W]"""
    return out.transpose(1, 2).flatten(2, 3).contiguous()
