"""The operators as modules, with the parameter names that users of stnls know."""

from typing import Any

import torch
from torch import Tensor

from vnlsdenoise import ops


class _Search(torch.nn.Module):
    """Keeps the options of a search."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


class NonLocalSearch(_Search):
    """`vnlsdenoise.ops.nonlocal_search` as a module: (vid0, vid1, flows | fflow, bflow | nothing) -> lists."""

    def __init__(
        self, ws: int, wt: int, ps: int = 1, k: int = -1, nheads: int = 1, stride0: int = 1, stride1: float = 1,
        dist_type: str = "l2", dilation: int = 1, pt: int = 1, self_action: str | None = None, topk_mode: str = "all",
        ws_interior: int = 0, reflect_bounds: bool = True, full_ws: bool = True, use_adj: bool = False,
        normalize_bwd: bool = False, k_agg: int = -1, off_Hq: int = 0, off_Wq: int = 0, strideQ: int | None = None,
        itype: str = "float",
    ) -> None:  # fmt: skip
        super().__init__(
            ws=ws, wt=wt, ps=ps, k=k, nheads=nheads, stride0=stride0, stride1=stride1, dist_type=dist_type,
            dilation=dilation, pt=pt, self_action=self_action, topk_mode=topk_mode, ws_interior=ws_interior,
            reflect_bounds=reflect_bounds, full_ws=full_ws, use_adj=use_adj, normalize_bwd=normalize_bwd, k_agg=k_agg,
            off_Hq=off_Hq, off_Wq=off_Wq, strideQ=strideQ, itype=itype,
        )  # fmt: skip

    def forward(
        self, vid0: Tensor, vid1: Tensor, flows: Tensor | None = None, bflow: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """With three tensors the third is `flows`; with four the last two are `fflow` and `bflow`."""
        if bflow is not None:
            return ops.nonlocal_search(vid0, vid1, fflow=flows, bflow=bflow, **self.options)
        return ops.nonlocal_search(vid0, vid1, flows, **self.options)


class RefineSearch(_Search):
    """`vnlsdenoise.ops.refine_search` as a module. ws and wt are accepted, as users pass them, and not needed."""

    def __init__(
        self, ws: int, wt: int, wr: int, k: int, kr: float = -1, ps: int = 1, nheads: int = 1, stride0: int = 4,
        stride1: float = 1, dist_type: str = "l2", dilation: int = 1, pt: int = 1, self_action: str | None = None,
        topk_mode: str = "all", reflect_bounds: bool = True, full_ws: bool = True, use_adj: bool = False,
        normalize_bwd: bool = False, k_agg: int = -1, off_Hq: int = 0, off_Wq: int = 0, itype: str = "float",
    ) -> None:  # fmt: skip
        super().__init__(
            wr=wr, k=k, kr=kr, ps=ps, nheads=nheads, stride0=stride0, stride1=stride1, dist_type=dist_type,
            dilation=dilation, pt=pt, self_action=self_action, topk_mode=topk_mode, reflect_bounds=reflect_bounds,
            full_ws=full_ws, use_adj=use_adj, normalize_bwd=normalize_bwd, k_agg=k_agg, off_Hq=off_Hq, off_Wq=off_Wq,
            itype=itype,
        )  # fmt: skip

    def forward(self, vid0: Tensor, vid1: Tensor, flows: Tensor) -> tuple[Tensor, Tensor]:
        return ops.refine_search(vid0, vid1, flows, **self.options)


class PairedSearch(_Search):
    """`vnlsdenoise.ops.paired_search` as a module."""

    def __init__(
        self, ws: int, ps: int, k: int, nheads: int = 1, dist_type: str = "l2", stride0: int = 4, stride1: float = 1,
        dilation: int = 1, self_action: str | None = None, topk_mode: str = "all", reflect_bounds: bool = True,
        full_ws: bool = True, use_adj: bool = False, normalize_bwd: bool = False, k_agg: int = -1, off_Hq: int = 0,
        off_Wq: int = 0, itype: str = "float",
    ) -> None:  # fmt: skip
        super().__init__(
            ws=ws, ps=ps, k=k, nheads=nheads, dist_type=dist_type, stride0=stride0, stride1=stride1, dilation=dilation,
            self_action=self_action, topk_mode=topk_mode, reflect_bounds=reflect_bounds, full_ws=full_ws,
            use_adj=use_adj, normalize_bwd=normalize_bwd, k_agg=k_agg, off_Hq=off_Hq, off_Wq=off_Wq, itype=itype,
        )  # fmt: skip

    def forward(self, frame0: Tensor, frame1: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        return ops.paired_search(frame0, frame1, flow, **self.options)


class PairedRefine(_Search):
    """`vnlsdenoise.ops.paired_refine` as a module. ws is accepted, as users pass it, and not needed."""

    def __init__(
        self, ws: int, wr: int, k: int, kr: float = -1, ps: int = 1, nheads: int = 1, dist_type: str = "l2",
        stride0: int = 4, stride1: float = 1, dilation: int = 1, self_action: str | None = None,
        topk_mode: str = "each", reflect_bounds: bool = True, full_ws: bool = True, use_adj: bool = False,
        normalize_bwd: bool = False, k_agg: int = -1, off_Hq: int = 0, off_Wq: int = 0, itype: str = "float",
    ) -> None:  # fmt: skip
        super().__init__(
            wr=wr, k=k, kr=kr, ps=ps, nheads=nheads, dist_type=dist_type, stride0=stride0, stride1=stride1,
            dilation=dilation, self_action=self_action, topk_mode=topk_mode, reflect_bounds=reflect_bounds,
            full_ws=full_ws, use_adj=use_adj, normalize_bwd=normalize_bwd, k_agg=k_agg, off_Hq=off_Hq, off_Wq=off_Wq,
            itype=itype,
        )  # fmt: skip

    def forward(self, frame0: Tensor, frame1: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        return ops.paired_refine(frame0, frame1, flow, **self.options)
