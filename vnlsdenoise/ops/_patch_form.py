"""The trilinear form of neighbour patches (csrc/patch_form.h): gather, spread and dots, each other's gradients.

Every operator that aggregates neighbour patches, and every gradient of one, is one of the three. Images come with their
channels last: v [planes, T, H, W, F], g [lists, To, Ho, Wo, F], weights [lists, Tq, nH, nW, K], offsets [..., K, 3].

Spread is a scatter through arbitrary offsets. To be the same in every run, and exact, it sorts the neighbours by the
pixel they point at and then gathers, each pixel in that fixed order, in the type of the data.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vnlsdenoise.ops._operator import operator

MOST_PIXELS = 2**30  # a code is twice a pixel's number (csrc/patch_form.h: code_of)
MOST_NEIGHBOURS = 2**31 - 1


class Form(NamedTuple):
    """Sizes and geometry, in the order that csrc/patch_args.h reads."""

    lists: int
    share: int  # how many lists share one plane of v
    frames: int
    height: int
    width: int
    channels: int
    query_frames: int
    rows: int
    columns: int
    neighbours: int
    out_frames: int
    out_height: int
    out_width: int
    patch: int
    depth: int
    stride_in: int
    stride_out: int
    dilation_in: int
    dilation_out: int
    lead_in: int
    lead_out: int
    reflect: int


def check_limits(form: Form) -> None:
    """Raise where the kernels' 32-bit coordinates and codes would not reach; all else is counted in 64 bits."""
    reach = form.patch * max(form.dilation_in, form.dilation_out)
    if reach >= MOST_PIXELS // 2 or max(form.rows, form.columns) * form.stride_out >= MOST_PIXELS:
        raise ValueError(
            f"patches must reach fewer than 2^29 pixels and queries span fewer than 2^30, got {reach} and "
            f"{form.rows} x {form.columns} queries {form.stride_out} pixels apart"
        )
    pixels = max(
        form.frames * form.height * form.width, form.share * form.out_frames * form.out_height * form.out_width
    )
    if pixels >= MOST_PIXELS:
        raise ValueError(f"a video must have fewer than 2^30 pixels per batch item, got {pixels}: cut it in time")
    entries = form.share * form.query_frames * form.rows * form.columns * form.neighbours
    if entries >= MOST_NEIGHBOURS:
        raise ValueError(f"lists must hold fewer than 2^31 neighbours per head, got {entries}: cut them in time")


def _locate(offsets: Tensor, dtype: torch.dtype, form: list[int]) -> tuple[Tensor, Tensor]:
    """Every neighbour's pixel of v, and what is left beyond it if offsets are not whole."""
    entries = offsets.numel() // 3
    codes = offsets.new_empty(entries, dtype=torch.int32)
    fractions = offsets.new_empty(2 * entries if offsets.is_floating_point() else 0, dtype=dtype)
    torch.ops.vnlsdenoise.patch_locate_out(offsets.contiguous(), form, codes, fractions)
    return codes, fractions


def _gather_fake(v: Tensor, weights: Tensor, offsets: Tensor, form: list[int]) -> Tensor:
    f = Form(*form)
    return v.new_empty(f.lists, f.out_frames, f.out_height, f.out_width, f.channels)


@operator("patch_gather", _gather_fake)
def _gather(v: Tensor, weights: Tensor, offsets: Tensor, form: list[int]) -> Tensor:
    out = _gather_fake(v, weights, offsets, form)
    located = _locate(offsets, v.dtype, form)
    torch.ops.vnlsdenoise.patch_gather_out(v.contiguous(), weights.contiguous(), *located, form, out)
    return out


def _spread_fake(g: Tensor, weights: Tensor, offsets: Tensor, form: list[int]) -> Tensor:
    f = Form(*form)
    return g.new_empty(f.lists // f.share, f.frames, f.height, f.width, f.channels)


@operator("patch_spread", _spread_fake)
def _spread(g: Tensor, weights: Tensor, offsets: Tensor, form: list[int]) -> Tensor:
    out = _spread_fake(g, weights, offsets, form)
    library, (codes, fractions) = torch.ops.vnlsdenoise, _locate(offsets, g.dtype, form)
    cells = out.numel() // max(out.shape[-1], 1)
    counts = codes.new_zeros(cells)
    starts = codes.new_zeros(cells + 1, dtype=torch.int64)
    entries = codes.new_empty(codes.numel())
    library.patch_count_out(codes, form, counts)
    torch.cumsum(counts, 0, out=starts[1:])
    library.patch_fill_out(codes, starts, form, counts, entries)
    weights = weights.contiguous()
    ordered, targets, ordered_weights = (torch.empty_like(like) for like in (entries, entries, weights))
    library.patch_order_out(entries, weights, codes, starts, form, ordered, targets, ordered_weights)
    library.patch_spread_out(g.contiguous(), ordered_weights, fractions, starts, ordered, targets, form, out)
    return out


def _dots_fake(v: Tensor, g: Tensor, weights: Tensor, offsets: Tensor, form: list[int]) -> tuple[Tensor, Tensor]:
    moving = offsets.is_floating_point()
    return weights.new_empty(weights.shape), v.new_empty(offsets.shape if moving else (0,))


@operator("patch_dots", _dots_fake)
def _dots(v: Tensor, g: Tensor, weights: Tensor, offsets: Tensor, form: list[int]) -> tuple[Tensor, Tensor]:
    of_weights, of_offsets = _dots_fake(v, g, weights, offsets, form)
    torch.ops.vnlsdenoise.patch_dots_out(
        v.contiguous(), g.contiguous(), weights.contiguous(), offsets.contiguous(), form, of_weights, of_offsets
    )
    return of_weights, of_offsets


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, weights, offsets, ctx.form = inputs
    ctx.save_for_backward(values, weights, offsets)


def _list_gradients(ctx: Any, v: Tensor, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    _, weights, offsets = ctx.saved_tensors
    if not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2]):
        return None, None
    of_weights, of_offsets = _dots(v, g, weights, offsets, ctx.form)
    return of_weights, of_offsets if offsets.is_floating_point() else None


def _gather_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    v, weights, offsets = ctx.saved_tensors
    of_v = _spread(g, weights, offsets, ctx.form) if ctx.needs_input_grad[0] else None
    return of_v, *_list_gradients(ctx, v, g), None


def _spread_backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
    g, weights, offsets = ctx.saved_tensors
    of_g = _gather(v, weights, offsets, ctx.form) if ctx.needs_input_grad[0] else None
    return of_g, *_list_gradients(ctx, v, g), None


_gather.register_autograd(_gather_backward, setup_context=_remember)
_spread.register_autograd(_spread_backward, setup_context=_remember)


def gather(v: Tensor, weights: Tensor, offsets: Tensor, form: Form) -> Tensor:
    """dS/dg: every pixel of the result sums the neighbours of the queries whose patches cover it."""
    check_limits(form)
    return _gather(v, weights, offsets, list(form))  # type: ignore[no-any-return]


def spread(g: Tensor, weights: Tensor, offsets: Tensor, form: Form) -> Tensor:
    """dS/dv, the adjoint of `gather`: every query adds its patch of g onto its neighbours."""
    check_limits(form)
    return _spread(g, weights, offsets, list(form))  # type: ignore[no-any-return]
