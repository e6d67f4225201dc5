"""Flow chained over a temporal window: where each query of a grid lies in the frames around its own."""

from typing import Any

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_int, check_tensor
from vnlsdenoise.ops._fixed import fixed_scale, from_fixed
from vnlsdenoise.ops._neighbours import check_geometry
from vnlsdenoise.ops._operator import operator


def window_frames(frames: int, wt: int) -> list[list[int]]:
    """For every frame t, the frames of its temporal window in the order of their slots: t, t+1, ..., then t-1, ...

    The window holds min(2 * wt + 1, frames) frames: at the ends of the clip it slides instead of shrinking.
    """
    order = []
    for t in range(frames):
        end = t + wt - min(0, t - wt) - max(0, t + wt - (frames - 1))
        last = min(frames - 1, end)
        order.append([t + s if t + s <= last else last - s for s in range(min(2 * wt + 1, frames))])
    return order


def check_reach(wt: int) -> None:
    """Raise unless wt is an int of 0 or more."""
    check_int(wt=wt)
    if wt < 0:
        raise ValueError(f"wt must be 0 or more, got {wt}")


def _flows(fflow: Tensor, bflow: Tensor, wt: int, stride0: int) -> Tensor:
    batch, frames, _, height, width = fflow.shape
    grid = ((height - 1) // stride0 + 1, (width - 1) // stride0 + 1)
    return fflow.new_empty((batch, frames, min(2 * wt + 1, frames) - 1, 2, *grid))


@operator("search_flow", _flows)
def _search_flow(fflow: Tensor, bflow: Tensor, wt: int, stride0: int) -> Tensor:
    flows = _flows(fflow, bflow, wt, stride0)
    torch.ops.vnlsdenoise.search_flow_out(fflow.contiguous(), bflow.contiguous(), wt, stride0, flows)
    return flows


def _like_fields(
    gradient: Tensor, fflow: Tensor, bflow: Tensor, flows: Tensor, wt: int, stride0: int
) -> tuple[Tensor, Tensor]:
    return fflow.new_empty(fflow.shape), bflow.new_empty(bflow.shape)


@operator("search_flow_backward", _like_fields)
def _search_flow_backward(
    gradient: Tensor, fflow: Tensor, bflow: Tensor, flows: Tensor, wt: int, stride0: int
) -> tuple[Tensor, Tensor]:
    fields = (fflow.contiguous(), bflow.contiguous(), flows.contiguous())
    hops = torch.empty_like(fields[2])
    torch.ops.vnlsdenoise.search_flow_hops_out(*fields, gradient.contiguous(), wt, stride0, hops)
    scale = fixed_scale(hops.abs().amax() if hops.numel() else hops.new_zeros(()))
    sums = [torch.zeros(f.shape, dtype=torch.int64, device=f.device) for f in fields[:2]]
    torch.ops.vnlsdenoise.search_flow_scatter_(*fields, hops, scale, wt, stride0, *sums)
    return from_fixed(sums[0], scale), from_fixed(sums[1], scale)


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    fflow, bflow, ctx.wt, ctx.stride0 = inputs
    ctx.save_for_backward(fflow, bflow, output)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    forward, backward = _search_flow_backward(gradient, *ctx.saved_tensors, ctx.wt, ctx.stride0)
    return forward, backward, None, None


_search_flow.register_autograd(_backward, setup_context=_save)


def _check_fields(fflow: Tensor, bflow: Tensor) -> None:
    check_tensor("fflow", fflow, "B T 2 H W")
    check_tensor("bflow", bflow, "B T 2 H W", (fflow.dtype,), fflow)
    if fflow.shape != bflow.shape:
        raise ValueError(f"bflow must have the shape of fflow, {list(fflow.shape)}, got {list(bflow.shape)}")


def search_flow(fflow: Tensor, bflow: Tensor, wt: int, stride0: int = 1) -> Tensor:
    """Follow the flow from every query to the frames of its temporal window.

    A query (y, x) of frame t moves by the flow sampled (bilinearly, mirrored at the borders) where it is, frame by
    frame forward, then again from its own place backward. The window of frame t holds min(2 * wt + 1, T) frames in the
    order t, t+1, ..., t-1, t-2, ...; at the ends of the clip it slides. Positions are never moved back into the image.
    A position that is not finite (or beyond 2^30 pixels) moves no further.

    Args:
        fflow: [B, T, 2, H, W], float32 or float64, channel 0 = x, pixels: frame t -> t + 1. The last is never read.
        bflow: the same for t -> t - 1. The first is never read.
        wt: reach of the window to either side, in frames, 0 or more.
        stride0: spacing of the queries, in pixels: query (i, j) is pixel (i * stride0, j * stride0).

    Returns:
        [B, T, W_t - 1, 2, nH, nW]: displacement (x, y) of the query in frame slot s + 1 of its window, with
        W_t = min(2 * wt + 1, T) and nH = (H - 1) // stride0 + 1. Differentiable with respect to both flows; the
        gradient does not depend on the order of threads.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or numbers are not as above.
    """
    _check_fields(fflow, bflow)
    check_reach(wt)
    check_geometry(stride0=stride0)
    return _search_flow(fflow, bflow, min(wt, fflow.shape[1]), stride0)  # type: ignore[no-any-return]


def accumulate_flow(fflow: Tensor, bflow: Tensor, stride0: int = 1) -> tuple[Tensor, Tensor]:
    """Chain the flow between all pairs of frames.

    Args:
        fflow, bflow: as for `search_flow`.
        stride0: spacing of the queries, in pixels.

    Returns:
        (forward, backward), each [B, T, T - 1, 2, nH, nW]: entry [:, t, d - 1] is the displacement (x, y) from frame t
        to frame t + d (forward) or t - d (backward), 0 where there is no such frame. Differentiable.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or stride0 are not as above.
    """
    frames = fflow.shape[1] if isinstance(fflow, Tensor) and fflow.ndim == 5 else 1
    flows = search_flow(fflow, bflow, max(frames - 1, 0), stride0)
    # With that reach the slots of frame t are t+1, ..., T-1, t-1, ..., 0: split them where they turn.
    ahead, back = [], []
    for t in range(frames):
        after = frames - 1 - t
        ahead.append(_pad_slots(flows[:, t, :after], t))
        back.append(_pad_slots(flows[:, t, after:], after))
    return torch.stack(ahead, 1), torch.stack(back, 1)


def _pad_slots(flows: Tensor, missing: int) -> Tensor:
    return torch.nn.functional.pad(flows, (0, 0, 0, 0, 0, 0, 0, missing))


def extract_search_from_accumulated(fflow: Tensor, bflow: Tensor, wt: int) -> Tensor:
    """Pick from `accumulate_flow`'s pairs those that a search in a temporal window needs.

    Args:
        fflow, bflow: [B, T, T - 1, 2, nH, nW] from `accumulate_flow`.
        wt: reach of the window to either side, in frames.

    Returns:
        [B, T, W_t - 1, 2, nH, nW], equal to `search_flow` on the fields that were accumulated.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or wt are not as above.
    """
    check_tensor("fflow", fflow, "B T D 2 H W")
    check_tensor("bflow", bflow, "B T D 2 H W", (fflow.dtype,), fflow)
    frames = fflow.shape[1]
    if fflow.shape != bflow.shape or fflow.shape[2] != frames - 1:
        raise ValueError(
            f"fflow and bflow must both have shape [B, T, T - 1, 2, H, W], got {list(fflow.shape)} and "
            f"{list(bflow.shape)}"
        )
    check_reach(wt)
    if min(2 * wt + 1, frames) == 1:
        return fflow[:, :, :0]
    picked = [
        torch.stack([fflow[:, t, f - t - 1] if f > t else bflow[:, t, t - f - 1] for f in order[1:]], 1)
        for t, order in enumerate(window_frames(frames, wt))
    ]
    return torch.stack(picked, 1)
