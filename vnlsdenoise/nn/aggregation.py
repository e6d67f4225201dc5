"""The aggregation operators as modules, with the parameter names of stnls, dnls and layerdenoise."""

import torch
from torch import Tensor, nn

from vnlsdenoise import ops
from vnlsdenoise.ops._checks import check_tensor
from vnlsdenoise.ops._neighbours import FLOATING, check_geometry

__all__ = [
    "Fold",
    "NonLocalGather",
    "NonLocalGatherAdd",
    "NonLocalScatter",
    "NonLocalScatterAdd",
    "PooledPatchSum",
    "Unfold",
    "WeightedFilter",
    "WeightedPatchSum",
    "iFold",
    "iUnfold",
]


def _offsets(offsets: Tensor, itype: str | None) -> Tensor:
    """itype "int" rounds floating offsets (halves to even), "float" samples between pixels, None asks their type."""
    if itype not in (None, "int", "float"):
        raise ValueError(f"itype must be 'int', 'float' or None, got {itype!r}")
    if itype == "int" and offsets.is_floating_point():
        return offsets.nan_to_num(1e8, 1e8, -1e8).clamp(-1e8, 1e8).round().int()
    return offsets.float() if itype == "float" and not offsets.is_floating_point() else offsets


class _Neighbours(nn.Module):
    """What all modules on lists of neighbours hold."""

    def __init__(self, ps: int, dilation: int, reflect_bounds: bool, use_adj: bool, itype: str | None) -> None:
        super().__init__()
        check_geometry(ps=ps, dilation=dilation)
        if itype not in (None, "int", "float"):
            raise ValueError(f"itype must be 'int', 'float' or None, got {itype!r}")
        self.ps, self.dilation, self.itype = ps, dilation, itype
        self.reflect_bounds, self.use_adj = reflect_bounds, use_adj

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in vars(self).items() if key[0] != "_" and key != "training")


class NonLocalGatherAdd(_Neighbours):
    """`ops.weighted_patch_sum`: (vid [B, T, C, H, W], weights [B, HD, T, nH, nW, K], flows [..., K, 3] = (dt, dy, dx)).

    strideIn, strideOut: pixels between queries in vid and in the result; outH, outW: its size (0: as strides imply).
    Returns [B, HD, T, C / HD, H, W], or [B, T, C, H, W] with merge_heads.
    """

    def __init__(
        self,
        ps: int,
        strideIn: int,
        strideOut: int,
        outH: int = 0,
        outW: int = 0,
        pt: int = 1,
        dilation: int = 1,
        reflect_bounds: bool = True,
        use_adj: bool = False,
        itype: str | None = None,
        merge_heads: bool = False,
    ) -> None:
        super().__init__(ps, dilation, reflect_bounds, use_adj, itype)
        check_geometry(strideIn=strideIn, strideOut=strideOut, pt=pt)
        if (outH > 0) != (outW > 0):
            raise ValueError(f"outH and outW must be given together, got {outH} and {outW}")
        self.strideIn, self.strideOut, self.outH, self.outW, self.pt = strideIn, strideOut, outH, outW, pt
        self.merge_heads = merge_heads

    def forward(self, vid: Tensor, weights: Tensor, flows: Tensor) -> Tensor:
        return ops.weighted_patch_sum(
            vid, weights, _offsets(flows, self.itype), ps=self.ps, stride0=self.strideIn, stride_out=self.strideOut,
            out_size=(self.outH, self.outW) if self.outH else None, pt=self.pt, dilation=self.dilation,
            reflect_bounds=self.reflect_bounds, use_adj=self.use_adj, merge_heads=self.merge_heads,
        )  # fmt: skip


class WeightedPatchSum(NonLocalGatherAdd):
    """`NonLocalGatherAdd` with one stride."""

    def __init__(
        self,
        ps: int,
        stride0: int = 1,
        pt: int = 1,
        dilation: int = 1,
        reflect_bounds: bool = True,
        use_adj: bool = False,
        itype: str | None = None,
        merge_heads: bool = False,
    ) -> None:
        super().__init__(ps, stride0, stride0, 0, 0, pt, dilation, reflect_bounds, use_adj, itype, merge_heads)


class NonLocalGather(_Neighbours):
    """`ops.nonlocal_gather`: the same without the sum over neighbours, [B, HD, K, T, C / HD, H, W]."""

    def __init__(
        self,
        ps: int,
        stride0: int,
        pt: int = 1,
        dilation: int = 1,
        reflect_bounds: bool = True,
        use_adj: bool = False,
        itype: str | None = None,
    ) -> None:
        super().__init__(ps, dilation, reflect_bounds, use_adj, itype)
        check_geometry(stride0=stride0, pt=pt)
        self.stride0, self.pt = stride0, pt

    def forward(self, vid: Tensor, weights: Tensor, flows: Tensor) -> Tensor:
        return ops.nonlocal_gather(
            vid, weights, _offsets(flows, self.itype), ps=self.ps, stride0=self.stride0, pt=self.pt,
            dilation=self.dilation, reflect_bounds=self.reflect_bounds, use_adj=self.use_adj,
        )  # fmt: skip


class NonLocalScatterAdd(NonLocalGather):
    """`ops.nonlocal_scatter_add`: the adjoint direction, [B, HD, T, C / HD, H, W], not normalised."""

    def forward(self, vid: Tensor, weights: Tensor, flows: Tensor) -> Tensor:
        return ops.nonlocal_scatter_add(
            vid, weights, _offsets(flows, self.itype), ps=self.ps, stride0=self.stride0, pt=self.pt,
            dilation=self.dilation, reflect_bounds=self.reflect_bounds, use_adj=self.use_adj,
        )  # fmt: skip


class NonLocalScatter(_Neighbours):
    """`ops.nonlocal_scatter`: (vid, weights, flows, labels) -> `planes` separate planes [B, HD, S, T, C / HD, H, W]."""

    def __init__(
        self,
        ps: int,
        stride0: int,
        planes: int,
        dilation: int = 1,
        reflect_bounds: bool = True,
        use_adj: bool = False,
        itype: str | None = None,
    ) -> None:
        super().__init__(ps, dilation, reflect_bounds, use_adj, itype)
        check_geometry(stride0=stride0, planes=planes)
        self.stride0, self.planes = stride0, planes

    def forward(self, vid: Tensor, weights: Tensor, flows: Tensor, labels: Tensor) -> Tensor:
        return ops.nonlocal_scatter(
            vid, weights, _offsets(flows, self.itype), labels, planes=self.planes, ps=self.ps, stride0=self.stride0,
            dilation=self.dilation, reflect_bounds=self.reflect_bounds, use_adj=self.use_adj,
        )  # fmt: skip


class PooledPatchSum(_Neighbours):
    """`ops.pooled_patch_sum`: every query's weighted patch in a cell of its own, [B, HD, T, C / HD, ps nH, ps nW]."""

    def __init__(
        self,
        ps: int,
        stride0: int,
        dilation: int = 1,
        reflect_bounds: bool = True,
        use_adj: bool = False,
        itype: str | None = None,
    ) -> None:
        super().__init__(ps, dilation, reflect_bounds, use_adj, itype)
        check_geometry(stride0=stride0)
        self.stride0 = stride0

    def forward(self, vid: Tensor, weights: Tensor, flows: Tensor) -> Tensor:
        return ops.pooled_patch_sum(
            vid, weights, _offsets(flows, self.itype), ps=self.ps, stride0=self.stride0, dilation=self.dilation,
            reflect_bounds=self.reflect_bounds, use_adj=self.use_adj,
        )  # fmt: skip


class iUnfold(nn.Module):
    """`ops.iunfold`: (vid [T, C, H, W], start, count) -> patches [count, 1, pt, C, ps, ps] of a rectangle's queries."""

    def __init__(
        self,
        ps: int,
        coords: tuple[int, int, int, int] | None = None,
        pt: int = 1,
        stride: int = 1,
        dilation: int = 1,
        use_adj: bool = False,
        only_full: bool = False,
        border: str = "reflect",
    ) -> None:
        super().__init__()
        check_geometry(ps=ps, pt=pt, stride=stride, dilation=dilation)
        self.ps, self.coords, self.pt, self.stride, self.dilation = ps, coords, pt, stride, dilation
        self.use_adj, self.only_full, self.border = use_adj, only_full, border

    def forward(self, vid: Tensor, start: int = 0, count: int | None = None) -> Tensor:
        return ops.iunfold(
            vid, start, count, ps=self.ps, coords=self.coords, pt=self.pt, stride=self.stride, dilation=self.dilation,
            use_adj=self.use_adj, only_full=self.only_full, border=self.border,
        )  # fmt: skip


class Unfold(iUnfold):
    """`ops.unfold`: `iUnfold` of the whole frame."""

    def __init__(self, ps: int, pt: int = 1, stride: int = 1, dilation: int = 1, use_adj: bool = False) -> None:
        super().__init__(ps, None, pt, stride, dilation, use_adj)


class iFold(nn.Module):
    """`ops.ifold`: (patches, start) -> the sums so far. The sums of the calls are kept in `vid` until `reset()`.

    As in dnls, a loop over ranges of queries leaves in `vid` what one call would, to the last bit.
    """

    vid: Tensor | None

    def __init__(
        self,
        vid_shape: tuple[int, ...],
        coords: tuple[int, int, int, int] | None = None,
        stride: int = 1,
        dilation: int = 1,
        use_adj: bool = False,
        only_full: bool = False,
        border: str = "reflect",
    ) -> None:
        super().__init__()
        check_geometry(stride=stride, dilation=dilation)
        self.vid_shape, self.coords, self.stride, self.dilation = tuple(vid_shape), coords, stride, dilation
        self.use_adj, self.only_full, self.border = use_adj, only_full, border
        self.vid = None

    def reset(self) -> None:
        """Start a new video."""
        self.vid = None

    def forward(self, patches: Tensor, start: int = 0) -> Tensor:
        self.vid = ops.ifold(
            patches, self.vid_shape, start, coords=self.coords, stride=self.stride, dilation=self.dilation,
            use_adj=self.use_adj, only_full=self.only_full, border=self.border, sums=self.vid,
        )  # fmt: skip
        return self.vid


class Fold(iFold):
    """`ops.fold`: `iFold` of the whole frame."""

    def __init__(self, vid_shape: tuple[int, ...], stride: int = 1, dilation: int = 1, use_adj: bool = False) -> None:
        super().__init__(vid_shape, None, stride, dilation, use_adj)


class WeightedFilter(nn.Module):
    """`ops.weighted_filter`: (input [B, channels, H, W], weight [B, kernel_size^2, H, W]); bias starts at zero."""

    def __init__(self, channels: int, kernel_size: int, bias: bool = True, splat: bool = False) -> None:
        super().__init__()
        check_geometry(channels=channels, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.channels, self.kernel_size, self.splat = channels, kernel_size, splat
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, input: Tensor, weight: Tensor) -> Tensor:
        check_tensor("input", input, f"B {self.channels} H W", FLOATING, self.bias)
        check_tensor("weight", weight, f"B {self.kernel_size**2} H W", FLOATING, input)
        return ops.weighted_filter(input, weight, bias=self.bias, splat=self.splat)

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.kernel_size}, bias={self.bias is not None}, splat={self.splat}"
