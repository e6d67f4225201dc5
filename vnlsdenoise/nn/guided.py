"""Attention of one frame to others, guided by flow, at places that a search finds."""

from torch import Tensor, nn

from vnlsdenoise import ops
from vnlsdenoise.nn.attention import ConvQKV, rescaled
from vnlsdenoise.nn.search import PairedSearch
from vnlsdenoise.ops._checks import check_positive, check_tensor
from vnlsdenoise.ops._neighbours import check_geometry

__all__ = ["GuidedAttention"]


class GuidedAttention(nn.Module):
    """A frame attends to others where a search around the flow finds it again.

    The guided deformable attention of RVRT (Liang et al., NeurIPS 2022) looks at places around the flow that a network
    predicts; here they are those that `ops.paired_search` finds, which need no training and are always at hand (after
    the shifted search of Gauen and Chan, arXiv 2309.16849). Every pixel of the frame gets the values of its k nearest
    keys in each of the other frames, weighted by one softmax over all of them.

    Args:
        embed_dim: channels of a head; the frames have nheads * embed_dim.
        nheads: heads; each searches by itself.
        ws: side of the window around the flow, in places stride1 pixels apart. k: places of each frame, of ws * ws.
        ps: side of the patches that are compared and averaged.
        dist_type: "l2" or "prod". itype: "float" for places between pixels, "int" for whole ones, which leave the flow
            without a gradient.
        qk_frac, qkv_bias, qkv_ngroups, normz_scale: as of `NonLocalAttention`.

    Call: (frame, others, flow).
        frame: [B, nheads * embed_dim, H, W], of the type and device of the parameters.
        others: [B, N, nheads * embed_dim, H, W]; any N of at least 1.
        flow: [B, N, 2, h, w], from the frame to each of the others in pixels of its own size (x, y); if that is not
            H x W it is resampled bilinearly and its displacements scaled.

    Returns:
        [B, nheads * embed_dim, H, W]: what the others know of the frame, through a last 1 x 1 convolution.
        Differentiable with respect to all tensors (the flow with itype "float") and parameters.

    Raises:
        ValueError, TypeError: an argument is not as above.
    """

    def __init__(
        self, embed_dim: int, nheads: int = 1, *, ws: int, k: int, ps: int = 1, stride1: float = 1,
        dist_type: str = "l2", itype: str = "float", qk_frac: float = 1.0, qkv_bias: bool = True,
        qkv_ngroups: int = 1, normz_scale: float = 10.0,
    ) -> None:  # fmt: skip
        super().__init__()
        check_geometry(embed_dim=embed_dim, nheads=nheads, k=k, qkv_ngroups=qkv_ngroups)
        check_positive(qk_frac=qk_frac, normz_scale=normz_scale)
        self.embed_dim, self.nheads, self.ps, self.normz_scale = embed_dim, nheads, ps, normz_scale
        self.qkv = ConvQKV(embed_dim, nheads, qk_frac, qkv_bias, qkv_ngroups)
        self.search = PairedSearch(ws, ps, k, nheads, dist_type, stride0=1, stride1=stride1, itype=itype)
        self.proj = nn.Conv2d(nheads * embed_dim, nheads * embed_dim, 1)

    def forward(self, frame: Tensor, others: Tensor, flow: Tensor) -> Tensor:
        """See the class."""
        weight = self.qkv.to_q.weight
        check_tensor("frame", frame, "B C H W", (weight.dtype,), weight)
        check_tensor("others", others, "B N C H W", (weight.dtype,), weight)
        expected = [len(frame), others.shape[1], self.nheads * self.embed_dim, *frame.shape[-2:]]
        if list(others.shape) != expected or frame.shape[1] != expected[2]:
            raise ValueError(
                f"frame and others must have nheads * embed_dim = {expected[2]} channels and one size and batch, "
                f"got {list(frame.shape)} and {list(others.shape)}"
            )
        flow = rescaled("flow", flow, others).flatten(0, 1)
        batch, count, _, height, width = others.shape
        # The frames of a clip are a batch to the operators: one call for all of them.
        queries = self.qkv.to_q(frame).repeat_interleave(count, 0)
        keys, values = self.qkv.to_k(others.flatten(0, 1)), self.qkv.to_v(others.flatten(0, 1))
        distances, offsets = self.search(queries, keys, flow)  # [B * N, HD, H, W, K(, 2)]
        lists = distances.view(batch, count, self.nheads, height, width, -1)
        weights = ops.normalise_distances(
            lists.movedim(1, -2).flatten(-2), scale=self.normz_scale, dist_type=self.search.options["dist_type"]
        )
        weights = weights.view(batch, self.nheads, height, width, count, -1).movedim(-2, 1).flatten(0, 1)[:, :, None]
        offsets = nn.functional.pad(offsets, (1, 0))[:, :, None]  # of frames: none
        seen = ops.weighted_patch_sum(values[:, None], weights, offsets, ps=self.ps, stride0=1, merge_heads=True)
        out: Tensor = self.proj(seen.view(batch, count, -1, height, width).sum(1))
        return out

    def extra_repr(self) -> str:
        """The arguments that no part shows."""
        return f"embed_dim={self.embed_dim}, nheads={self.nheads}, normz_scale={self.normz_scale}"
