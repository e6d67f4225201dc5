"""The one search behind the family: the best patches in windows around given centres, with its gradient."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_int, check_positive
from vnlsdenoise.ops._fixed import fixed_scale, from_fixed
from vnlsdenoise.ops._neighbours import check_geometry
from vnlsdenoise.ops._operator import operator

# Order as in enum Self of csrc/nonlocal.h.
_SELF_ACTIONS = {None: 0, "anchor": 1, "anchor_self": 1, "anchor_each": 2, "remove": 3}

MOST_REACH = 2**29  # so that taps have 32-bit coordinates
MOST_CANDIDATES = 2**31  # of a query: their ordinals are int32


@dataclass(frozen=True)
class Settings:
    """What the kernels are told; order as in NonlocalSettings of csrc/nonlocal.h."""

    heads: int
    ws: int
    ws_interior: int
    ps: int
    pt: int
    dilation: int
    prod: bool
    reflect: bool
    full: bool
    bilinear: bool
    stride0: int
    stride_q: int
    first_tap: int
    off_h: int
    off_w: int
    self_action: int
    lists: int
    keep: int
    differentiable: int
    channels_last: bool = False  # of the videos; the gradient's are

    def numbers(self) -> list[int]:
        """In the order of the fields; spelled out, as torch.compile does not trace loops over them."""
        return [
            int(value)
            for value in (
                self.heads,
                self.ws,
                self.ws_interior,
                self.ps,
                self.pt,
                self.dilation,
                self.prod,
                self.reflect,
                self.full,
                self.bilinear,
                self.stride0,
                self.stride_q,
                self.first_tap,
                self.off_h,
                self.off_w,
                self.self_action,
                self.lists,
                self.keep,
                self.differentiable,
                self.channels_last,
            )
        ]


def _lists(
    queries: Tensor,
    keys: Tensor,
    centres: Tensor,
    settings: list[int],
    stride1: float,
    neighbors: int,
    normalised: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, _, frames, rows, columns = centres.shape[:5]
    shape = (batch, settings[0], frames, rows, columns, neighbors)
    return (
        queries.new_empty(shape),
        queries.new_empty((*shape, 3)),
        queries.new_empty(shape, dtype=torch.int32),
    )


@operator("nonlocal_search", _lists)
def _search(
    queries: Tensor,
    keys: Tensor,
    centres: Tensor,
    settings: list[int],
    stride1: float,
    neighbors: int,
    normalised: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    out = _lists(queries, keys, centres, settings, stride1, neighbors, normalised)
    torch.ops.vnlsdenoise.nonlocal_search_out(
        queries.contiguous(), keys.contiguous(), centres.contiguous(), settings, stride1, *out
    )
    return out


def _coverage(size: int, spacing: int, ps: int, dilation: int, first_tap: int, like: Tensor) -> Tensor:
    """How many patches of a grid with that spacing cover each position of an axis; at least 1."""
    starts = torch.arange(0, size, spacing, device=like.device)
    taps = dilation * (torch.arange(ps, device=like.device) + first_tap)
    at = (starts[:, None] + taps).flatten()
    counts = (at == torch.arange(size, device=like.device)[:, None]).sum(1)
    return counts.clamp(min=1).to(like.dtype)


def _like_inputs(
    queries: Tensor,
    keys: Tensor,
    centres: Tensor,
    ordinals: Tensor,
    gradient: Tensor,
    gradient_offsets: Tensor | None,
    settings: list[int],
    stride1: float,
    normalised: bool,
    wants_centres: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        queries.new_empty(queries.shape),
        keys.new_empty(keys.shape),
        centres.new_empty(centres.shape if wants_centres else (0,)),
    )


@operator("nonlocal_search_backward", _like_inputs)
def _search_backward(
    queries: Tensor,
    keys: Tensor,
    centres: Tensor,
    ordinals: Tensor,
    gradient: Tensor,
    gradient_offsets: Tensor | None,
    settings: list[int],
    stride1: float,
    normalised: bool,
    wants_centres: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    settings = [*settings[:-1], 1]
    videos = [v.permute(0, 1, 3, 4, 2).contiguous() for v in (queries, keys)]
    gradient = torch.where(ordinals >= 0, gradient, torch.zeros_like(gradient))
    peaks = [torch.linalg.vector_norm(v, torch.inf) if v.numel() else v.new_zeros(()) for v in (*videos, gradient)]
    prod = bool(settings[6])
    largest = peaks[2] * torch.maximum(peaks[0], peaks[1]) if prod else 2 * peaks[2] * (peaks[0] + peaks[1])
    scale = fixed_scale(largest)
    sums = [torch.zeros(v.shape, dtype=torch.int64, device=v.device) for v in videos]
    heads, shared = settings[0], centres.shape[1]
    owed = None
    if wants_centres:
        owed = centres.new_empty((centres.shape[0], heads, *centres.shape[2:]))
    torch.ops.vnlsdenoise.nonlocal_search_gradients_(
        *videos,
        centres.contiguous(),
        ordinals,
        gradient.contiguous(),
        None if gradient_offsets is None else gradient_offsets.contiguous(),
        scale,
        settings,
        stride1,
        *sums,
        owed,
    )
    gradients = [from_fixed(s, scale).permute(0, 1, 4, 2, 3) for s in sums]
    if normalised:
        ps, dilation, first_tap = settings[3], settings[5], settings[12]
        for index, spacing in enumerate((settings[11], max(1, int(stride1)))):
            down, across = (
                _coverage(size, spacing, ps, dilation, first_tap, gradients[index])
                for size in gradients[index].shape[-2:]
            )
            gradients[index] = gradients[index] / (down[:, None] * across)
    if owed is None:
        owed = centres.new_empty((0,))
    elif shared != heads:  # heads that share a centre: head h takes that of h % shared
        owed = owed.reshape(owed.shape[0], heads // shared, shared, *owed.shape[2:]).sum(1)
    return gradients[0].contiguous(), gradients[1].contiguous(), owed


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    queries, keys, centres, ctx.settings, ctx.stride1, _, ctx.normalised = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(queries, keys, centres, output[1], output[2])


def _backward(
    ctx: Any, gradient: Tensor | None, gradient_offsets: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    queries, keys, centres, offsets, ordinals = ctx.saved_tensors
    wants_centres = ctx.needs_input_grad[2]
    if gradient is None:
        gradient = torch.zeros(ordinals.shape, dtype=queries.dtype, device=queries.device)
    if not wants_centres:
        gradient_offsets = None
    elif gradient_offsets is not None and ctx.settings[15] in (1, 3):
        # The anchor's offset is exactly zero, whatever the flow.
        gradient_offsets = gradient_offsets * (offsets != 0).any(-1, keepdim=True)
    found = _search_backward(
        queries,
        keys,
        centres,
        ordinals,
        gradient,
        gradient_offsets,
        ctx.settings,
        ctx.stride1,
        ctx.normalised,
        wants_centres,
    )
    return found[0], found[1], found[2] if wants_centres else None, None, None, None, None


_search.register_autograd(_backward, setup_context=_save)


@dataclass(frozen=True)
class WindowSearch:
    """The options that all searches of the family share, checked, and the search itself."""

    ws: int
    ps: int
    k: int
    stride0: int
    stride1: float
    dist_type: str = "l2"
    dilation: int = 1
    pt: int = 1
    self_action: str | None = None
    topk_mode: str = "all"
    ws_interior: int = 0
    reflect_bounds: bool = True
    full_ws: bool = True
    use_adj: bool = False
    normalize_bwd: bool = False
    k_agg: int = -1
    off_Hq: int = 0
    off_Wq: int = 0
    strideQ: int | None = None
    itype: str = "float"

    def __post_init__(self) -> None:
        check_geometry(ws=self.ws, ps=self.ps, dilation=self.dilation, pt=self.pt)
        check_int(k=self.k, k_agg=self.k_agg, ws_interior=self.ws_interior, off_Hq=self.off_Hq, off_Wq=self.off_Wq)
        if not isinstance(self.stride1, (int, float)):
            raise TypeError(f"stride1 must be an int or a float, got {type(self.stride1).__name__}")
        check_positive(stride1=self.stride1)
        reach = self.ps * self.dilation + max(abs(self.off_Hq), abs(self.off_Wq))
        if reach >= MOST_REACH:
            raise ValueError(f"patches must reach fewer than 2^29 pixels from their query, got {reach}")
        for name, choices in (
            ("dist_type", ("l2", "prod")),
            ("topk_mode", ("all", "each", "none")),
            ("itype", ("float", "int")),
            ("self_action", (*_SELF_ACTIONS, "remove_ref_frame")),
        ):
            if getattr(self, name) not in choices:
                listed = ", ".join(repr(c) for c in choices)
                raise ValueError(f"{name} must be one of {listed}, got {getattr(self, name)!r}")
        if self.topk_mode == "none" and self.k > 0:
            raise ValueError(f"k must be 0 or less with topk_mode='none', which keeps every candidate, got {self.k}")
        if self.itype == "int" and self.stride1 != int(self.stride1):
            raise ValueError(f"stride1 must be a whole number with itype='int', got {self.stride1}")
        if self.strideQ is not None:
            check_geometry(strideQ=self.strideQ)
        if self.ws_interior < 0 or self.ws_interior > self.ws:
            raise ValueError(f"ws_interior must be from 0 to ws = {self.ws}, got {self.ws_interior}")
        if self.ws_interior and self.k <= 0:
            raise ValueError(f"ws_interior needs k greater than 0, got {self.k}")
        if self.normalize_bwd and self.stride1 != int(self.stride1):
            raise ValueError(f"normalize_bwd needs a stride1 that is a whole number, got {self.stride1}")

    @property
    def bilinear(self) -> bool:
        return self.itype == "float"

    def search(self, queries: Tensor, keys: Tensor, centres: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        """Distances [B, HD, T, nH, nW, K] and offsets [..., K, 3] of the best candidates.

        queries, keys [B, T, C, H, W] of one floating type; centres [B, HD_c, T, nH, nW, S, 3], offsets (dt, dy, dx).
        """
        windows, keep = centres.shape[5], max(self.k, 0)
        each = (self.topk_mode == "each" and keep > 0) or (self.self_action == "anchor_each" and keep == 0)
        lists = windows if each else 1
        action = _SELF_ACTIONS.get(self.self_action, 0)
        side = self.ws_interior or self.ws
        most = windows * side * side // max(lists, 1) - (self.self_action == "remove")
        if windows * self.ws**2 >= MOST_CANDIDATES:
            raise ValueError(f"a query must have fewer than 2^31 candidates, got {windows} windows of {self.ws}^2")
        if keep > most:
            raise ValueError(f"k must be at most the number of candidates, {most}, got {keep}")
        settings = Settings(
            heads=heads,
            ws=self.ws,
            ws_interior=self.ws_interior,
            ps=self.ps,
            pt=self.pt,
            dilation=self.dilation,
            prod=self.dist_type == "prod",
            reflect=self.reflect_bounds,
            full=self.full_ws,
            bilinear=self.bilinear,
            stride0=self.stride0,
            stride_q=self.strideQ or self.stride0,
            first_tap=0 if self.use_adj else -(self.ps // 2),
            off_h=self.off_Hq,
            off_w=self.off_Wq,
            self_action=action,
            lists=lists,
            keep=keep,
            differentiable=self.k_agg if self.k_agg > 0 else 2**31 - 1,
        )
        dtype = torch.float64 if queries.dtype == torch.float64 else torch.float32
        centres = centres.to(dtype)
        # Only the lists are held on to: what else it returns is as large as the distances.
        distances, offsets = _search(
            queries.to(dtype),
            keys.to(dtype),
            centres if self.bilinear else centres.detach(),
            settings.numbers(),
            float(self.stride1),
            lists * keep if keep else windows * self.ws * self.ws,
            self.normalize_bwd,
        )[:2]
        if self.k_agg > 0 and keep:
            # Distances of the others are differentiated by nobody: the kernel leaves them out.
            offsets = _first_of_lists(offsets, lists, self.k_agg)
        if self.self_action == "remove" and not keep:
            distances, offsets = distances[..., 1:], offsets[..., 1:, :]
        return distances, offsets if self.bilinear else offsets.to(torch.int32)


def _first_of_lists(offsets: Tensor, lists: int, first: int) -> Tensor:
    """The same offsets, detached beyond the first of every list."""
    split = offsets.reshape(*offsets.shape[:-2], lists, -1, 3)
    return torch.cat((split[..., :first, :], split[..., first:, :].detach()), -2).flatten(-3, -2)
