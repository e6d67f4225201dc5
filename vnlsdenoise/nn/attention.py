"""Attention over the neighbours that a shifted non-local search finds, with learned queries, keys and values."""

import torch
from torch import Tensor, nn

from vnlsdenoise import ops
from vnlsdenoise.nn.aggregation import NonLocalGather, WeightedPatchSum
from vnlsdenoise.nn.search import NonLocalSearch
from vnlsdenoise.ops._checks import check_positive, check_tensor
from vnlsdenoise.ops._neighbours import check_geometry

__all__ = ["NonLocalAttention", "NonLocalAttentionStack"]


class ConvQKV(nn.Module):
    """Queries, keys and values by 1 x 1 convolutions; qk_frac of the channels for the first two, one a head or more."""

    def __init__(self, embed_dim: int, nheads: int, qk_frac: float, qkv_bias: bool, qkv_ngroups: int) -> None:
        super().__init__()
        channels, searched = nheads * embed_dim, nheads * max(int(qk_frac * embed_dim), 1)
        for name, size in (("channels", channels), ("channels of queries and keys", searched)):
            if size % qkv_ngroups:
                raise ValueError(f"qkv_ngroups must divide the {size} {name}, got {qkv_ngroups}")
        self.to_q = nn.Conv2d(channels, searched, 1, groups=qkv_ngroups, bias=qkv_bias)
        self.to_k = nn.Conv2d(channels, searched, 1, groups=qkv_ngroups, bias=qkv_bias)
        self.to_v = nn.Conv2d(channels, channels, 1, groups=qkv_ngroups, bias=qkv_bias)

    def forward(self, vid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = vid.flatten(0, 1)
        q, k, v = (layer(images).unflatten(0, vid.shape[:2]) for layer in (self.to_q, self.to_k, self.to_v))
        return q, k, v


class _Attention(nn.Module):
    """What both attentions share: all up to the weights of the neighbours."""

    def __init__(
        self, embed_dim: int, nheads: int, search: NonLocalSearch, qk_frac: float, qkv_bias: bool, qkv_ngroups: int,
        normz_scale: float, normz_drop_rate: float, k_agg: int, use_norm_layer: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        check_geometry(embed_dim=embed_dim, nheads=nheads, qkv_ngroups=qkv_ngroups)
        check_positive(qk_frac=qk_frac, normz_scale=normz_scale)
        if k_agg > search.options["k"]:
            raise ValueError(f"k_agg must be at most k = {search.options['k']}, got {k_agg}")
        self.embed_dim, self.nheads = embed_dim, nheads
        self.normz_scale, self.k_agg = normz_scale, k_agg
        self.norm_layer = nn.LayerNorm(embed_dim * nheads, eps=1e-6) if use_norm_layer else None
        self.qkv = ConvQKV(embed_dim, nheads, qk_frac, qkv_bias, qkv_ngroups)
        self.search = search
        self.normz_drop = nn.Dropout(normz_drop_rate)

    def attend(self, vid: Tensor, flows: Tensor | None, bflow: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Values [B, T, C, H, W], weights [B, HD, T, nH, nW, K] and offsets [..., K, 3]."""
        check_tensor("vid", vid, "B T C H W", (self.qkv.to_q.weight.dtype,), self.qkv.to_q.weight)
        if vid.shape[2] != self.nheads * self.embed_dim:
            raise ValueError(
                f"vid must have nheads * embed_dim = {self.nheads * self.embed_dim} channels, got {vid.shape[2]}"
            )
        if bflow is not None:
            if flows is None:
                raise ValueError("bflow must be given together with fflow")
            flows, bflow = (rescaled(name, f, vid) for name, f in (("fflow", flows), ("bflow", bflow)))
        if self.norm_layer is not None:
            vid = self.norm_layer(vid.movedim(2, -1)).movedim(-1, 2)
        q, k, v = self.qkv(vid)
        distances, offsets = self.search(q, k, flows, bflow)
        count = self.k_agg if self.k_agg > 0 else None
        weights = ops.normalise_distances(
            distances, scale=self.normz_scale, dist_type=self.search.options["dist_type"], k_agg=count
        )
        return v, self.normz_drop(weights), offsets[..., :count, :]

    def extra_repr(self) -> str:
        names = ("embed_dim", "nheads", "normz_scale", "k_agg")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


def rescaled(name: str, flow: Tensor, vid: Tensor) -> Tensor:
    """Flow [B, T, 2, h, w] resampled to the size of vid, its displacements in pixels of vid."""
    check_tensor(name, flow, "B T 2 H W", like=vid)
    if flow.shape[:2] != vid.shape[:2]:
        raise ValueError(f"{name} must have the batch and frames of vid, {list(vid.shape[:2])}, got {list(flow.shape)}")
    size, old = vid.shape[-2:], flow.shape[-2:]
    if size == old:
        return flow
    images = nn.functional.interpolate(flow.flatten(0, 1), size, mode="bilinear", align_corners=False)
    across, down = images.view(*flow.shape[:3], *size).unbind(2)
    return torch.stack((across * (size[1] / old[1]), down * (size[0] / old[0])), 2)


class NonLocalAttention(_Attention):
    """Every query gathers the values of its nearest neighbours along the flow, weighted by their nearness.

    Queries, keys and values are 1 x 1 convolutions of the video. For each query of a grid, `ops.nonlocal_search` finds
    the k best keys, `ops.normalise_distances` turns distances into weights (the nearest weigh most), and
    `ops.weighted_patch_sum` averages the neighbours' patches of values; a last 1 x 1 convolution mixes the channels.

    Args:
        embed_dim: channels of a head; the video has nheads * embed_dim.
        nheads: heads; each searches by itself.
        ws, wt, ps, k, stride0, stride1, dist_type, dilation, pt, self_action, topk_mode, reflect_bounds, full_ws,
            use_adj, normalize_bwd, itype: of the search (`ops.nonlocal_search`). ps, pt, dilation, reflect_bounds and
            use_adj are those of the aggregation too; with stride0 greater than ps, pixels between the patches are 0
            before the last convolution. Clips may be of any length that holds k candidates: a window of ws * ws in
            each of min(2 * wt + 1, T) frames.
        qk_frac: channels of queries and keys, as a fraction of embed_dim (rounded down, one a head at least).
        qkv_bias: whether the three convolutions have biases. qkv_ngroups: their groups.
        normz_scale: factor of the distances in the softmax. normz_drop_rate: dropout of the weights.
        k_agg: use only the first k_agg neighbours, k at most; 0 or less: all.
        use_norm_layer: normalise the channels of each pixel (LayerNorm) first.
        use_attn_projection: False leaves the last convolution out. drop_rate_proj: dropout after it.

    Call: (vid), (vid, flows) or (vid, fflow, bflow).
        vid: [B, T, nheads * embed_dim, H, W], of the type and device of the parameters.
        flows: [B, (HD,) T, W_t - 1 or W_t, 2, nH, nW], as for `ops.nonlocal_search`.
        fflow, bflow: [B, T, 2, h, w], flow between neighbouring frames in pixels of its own size (x, y); if that is not
            H x W it is resampled bilinearly and its displacements scaled. Without flow: 0.

    Returns:
        [B, T, nheads * embed_dim, H, W]. Differentiable with respect to vid and all parameters and, with itype "float",
        the flow. The search and the aggregation repeat bit for bit, backward too; torch's convolutions and its
        resampling on CUDA do so if torch is told to (torch.use_deterministic_algorithms).

    Raises:
        ValueError, TypeError: an argument is not as above.

    After the attention of Gauen and Chan, "Soft search, shifted non-local search" (arXiv 2309.16849).
    """

    def __init__(
        self, embed_dim: int, nheads: int = 1, *, ws: int, wt: int, ps: int = 1, k: int = -1, stride0: int = 1,
        stride1: float = 1, dist_type: str = "l2", dilation: int = 1, pt: int = 1, self_action: str | None = None,
        topk_mode: str = "all", reflect_bounds: bool = True, full_ws: bool = True, use_adj: bool = False,
        normalize_bwd: bool = False, itype: str = "float", qk_frac: float = 1.0, qkv_bias: bool = True,
        qkv_ngroups: int = 1, normz_scale: float = 10.0, normz_drop_rate: float = 0.0, k_agg: int = -1,
        use_norm_layer: bool = False, use_attn_projection: bool = True, drop_rate_proj: float = 0.0,
    ) -> None:  # fmt: skip
        search = NonLocalSearch(
            ws, wt, ps, k, nheads, stride0, stride1, dist_type, dilation, pt, self_action, topk_mode,
            reflect_bounds=reflect_bounds, full_ws=full_ws, use_adj=use_adj, normalize_bwd=normalize_bwd, itype=itype,
        )  # fmt: skip
        super().__init__(
            embed_dim, nheads, search, qk_frac, qkv_bias, qkv_ngroups, normz_scale, normz_drop_rate, k_agg,
            use_norm_layer,
        )  # fmt: skip
        self.agg = WeightedPatchSum(ps, stride0, pt, dilation, reflect_bounds, use_adj, merge_heads=True)
        channels = nheads * embed_dim
        self.proj = nn.Conv2d(channels, channels, 1) if use_attn_projection else nn.Identity()
        self.proj_drop = nn.Dropout(drop_rate_proj)

    def forward(self, vid: Tensor, flows: Tensor | None = None, bflow: Tensor | None = None) -> Tensor:
        """With two tensors the second is `flows`; with three the last two are `fflow` and `bflow`."""
        mixed = self.agg(*self.attend(vid, flows, bflow))
        out: Tensor = self.proj_drop(self.proj(mixed.flatten(0, 1))).unflatten(0, vid.shape[:2])
        return out


class NonLocalAttentionStack(_Attention):
    """`NonLocalAttention` whose aggregation is learned: the block of the space-time attention network STAN.

    `ops.nonlocal_gather` stacks the weighted patches of every neighbour, [K, T, C, H, W], and a three-dimensional
    convolution with a kernel (K, ps, ps), a group a head, zeros outside, makes one video of them. The stack holds as
    many values as K videos.

    Args, call, result and errors: as `NonLocalAttention`, without topk_mode and the last convolution, whose place the
    learned aggregation takes. K is k_agg, or k if that is 0 or less; k must be greater than 0, and ps must be odd.
    """

    def __init__(
        self, embed_dim: int, nheads: int = 1, *, ws: int, wt: int, ps: int = 1, k: int = -1, stride0: int = 1,
        stride1: float = 1, dist_type: str = "l2", dilation: int = 1, pt: int = 1, self_action: str | None = None,
        reflect_bounds: bool = True, full_ws: bool = True, use_adj: bool = False, normalize_bwd: bool = False,
        itype: str = "float", qk_frac: float = 1.0, qkv_bias: bool = True, qkv_ngroups: int = 1,
        normz_scale: float = 10.0, normz_drop_rate: float = 0.0, k_agg: int = -1, use_norm_layer: bool = False,
        drop_rate_proj: float = 0.0,
    ) -> None:  # fmt: skip
        search = NonLocalSearch(
            ws, wt, ps, k, nheads, stride0, stride1, dist_type, dilation, pt, self_action,
            reflect_bounds=reflect_bounds, full_ws=full_ws, use_adj=use_adj, normalize_bwd=normalize_bwd, itype=itype,
        )  # fmt: skip
        super().__init__(
            embed_dim, nheads, search, qk_frac, qkv_bias, qkv_ngroups, normz_scale, normz_drop_rate, k_agg,
            use_norm_layer,
        )  # fmt: skip
        check_geometry(k=k)
        if ps % 2 == 0:
            raise ValueError(f"ps must be odd, so that the convolution keeps the size of the frames, got {ps}")
        self.stack = NonLocalGather(ps, stride0, pt, dilation, reflect_bounds, use_adj)
        channels, depth = nheads * embed_dim, k_agg if k_agg > 0 else k
        self.proj = nn.Conv3d(
            channels, channels, (depth, ps, ps), (depth, 1, 1), (0, ps // 2, ps // 2), groups=nheads
        )  # fmt: skip
        self.proj_drop = nn.Dropout(drop_rate_proj)

    def forward(self, vid: Tensor, flows: Tensor | None = None, bflow: Tensor | None = None) -> Tensor:
        """With two tensors the second is `flows`; with three the last two are `fflow` and `bflow`."""
        stack = self.stack(*self.attend(vid, flows, bflow))  # [B, HD, K, T, F, H, W]
        images = stack.permute(0, 3, 1, 4, 2, 5, 6).flatten(2, 3).flatten(0, 1)  # [B * T, HD * F, K, H, W]
        out: Tensor = self.proj_drop(self.proj(images)[:, :, 0]).unflatten(0, vid.shape[:2])
        return out
