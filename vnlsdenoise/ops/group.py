"""The two filters of groups of similar patches, each fused with the gathering and the aggregation of its groups."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_frames, check_positive, check_tensor
from vnlsdenoise.ops._operator import operator

NEIGHBOR_STEP = 16  # group sizes: kNeighborStep and kMaxNeighbors of csrc/group.h
MAX_NEIGHBORS = 64
MAX_PATCH = 16


def _nothing(*arguments: object) -> None:
    """What both filters return: they add to the sums in place."""


@operator("shrink_groups", _nothing, mutates=["sums"])
def _shrink_groups(
    noisy: list[Tensor],
    queries: Tensor,
    offsets: Tensor,
    frame: int,
    patch: int,
    sigma: float,
    mean_threshold: float,
    sums: list[Tensor],
) -> None:
    torch.ops.vnlsdenoise.shrink_groups_(
        [f.contiguous() for f in noisy],
        queries.contiguous(),
        offsets.contiguous(),
        frame,
        patch,
        sigma,
        mean_threshold,
        sums,
    )


@operator("wiener_groups", _nothing, mutates=["sums"])
def _wiener_groups(
    noisy: list[Tensor],
    basic: list[Tensor],
    queries: Tensor,
    offsets: Tensor,
    frame: int,
    patch: int,
    sigma: float,
    tau: float,
    flat: float,
    mean_bias: float,
    sums: list[Tensor],
) -> None:
    torch.ops.vnlsdenoise.wiener_groups_(
        [f.contiguous() for f in noisy],
        [f.contiguous() for f in basic],
        queries.contiguous(),
        offsets.contiguous(),
        frame,
        patch,
        sigma,
        tau,
        flat,
        mean_bias,
        sums,
    )


def shrink_groups(
    noisy: list[Tensor],
    queries: Tensor,
    offsets: Tensor,
    sums: list[Tensor],
    *,
    frame: int,
    patch: int,
    sigma: float,
    mean_threshold: float,
) -> None:
    """Step 1: shrink the singular values of each centred group, threshold its mean, add the result to the sums.

    The first channel is filtered alone, the other two with one common matrix. Gain of an eigenvalue of the group's Gram
    matrix: close to Gavish and Donoho's optimal shrinkage (IEEE Trans. Inf. Theory 63, 2017), by products and one
    inverse.

    Args:
        noisy: one frame [C, H, W] of each time of the window, float32, C = 1 (luma) or 3; noise of deviation `sigma`.
        queries: int32 [N, 2], (y, x). offsets: int32 [N, K, 3], (dt, dy, dx): from `search`; K = 16, 32, 48 or 64.
            A patch that does not lie inside the frames is moved to where it does.
        sums: one int64 tensor [C, H, W] a frame, added to in place (`normalise` reads them). Integer sums do not depend
            on the order of work, so calls may be cut anywhere.
        frame: the queries' frame, an index into the window. patch: side of a patch, at most 16.
        mean_threshold: in deviations of the group mean's noise, sigma / sqrt(K).

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or sizes are not as above.
    """
    _check_groups(noisy, queries, offsets, sums, frame, patch, sigma)
    _shrink_groups(list(noisy), queries, offsets, frame, patch, sigma, mean_threshold, list(sums))


def wiener_groups(
    noisy: list[Tensor],
    basic: list[Tensor],
    queries: Tensor,
    offsets: Tensor,
    sums: list[Tensor],
    *,
    frame: int,
    patch: int,
    sigma: float,
    tau: float = 1.0,
    flat: float = 0.3,
    mean_bias: float = 0.5,
) -> None:
    """Step 2: two-sided Wiener filter of each group with the basic estimate as oracle, added to the sums.

    Right side: gains l^2 / (l^2 + tau^2) on the eigenvalues l of the basic group's covariance. Left side, from the
    first channel alone: gains of the patches' Gram matrix against the noise that the right side leaves. The mean:
    Wiener gains of its DCT against the basic's; its DC is the basic's where the group is flat. Every patch of a group
    has the weight 1 / (its remaining noise). Where the first channel of a group differs from the noisy one by more than
    noise explains, a share of the difference goes back.

    Args:
        noisy, queries, offsets, sums, frame, patch, sigma: as in `shrink_groups`.
        basic: the basic estimate of the same frames.
        tau: regularisation of the right side where a group has much content; down to half of it where there is none.
        flat: content of a group under which it is flat. Both in sigma^2.
        mean_bias: noise left in the basic's group mean, in sigma^2 / K.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or sizes are not as above.
    """
    _check_groups(noisy, queries, offsets, sums, frame, patch, sigma)
    check_frames("basic", basic, "C H W", queries)
    if len(basic) != len(noisy) or basic[0].shape != noisy[0].shape or basic[0].dtype != torch.float32:
        raise ValueError(
            f"basic must be float32 frames of the number and shape of noisy, got {len(basic)} of {list(basic[0].shape)}"
        )
    check_positive(tau=tau, flat=flat)
    _wiener_groups(list(noisy), list(basic), queries, offsets, frame, patch, sigma, tau, flat, mean_bias, list(sums))


def _check_groups(
    noisy: list[Tensor], queries: Tensor, offsets: Tensor, sums: list[Tensor], frame: int, patch: int, sigma: float
) -> None:
    check_tensor("queries", queries, "N 2", (torch.int32,))
    check_frames("noisy", noisy, "C H W", queries)
    channels, height, width = noisy[0].shape
    if noisy[0].dtype != torch.float32:
        raise TypeError(f"noisy must be float32, got {str(noisy[0].dtype).removeprefix('torch.')}")
    if channels not in (1, 3):
        raise ValueError(f"noisy must have 1 or 3 channels, got {channels}")
    check_tensor("offsets", offsets, "N K 3", (torch.int32,), queries)
    if offsets.shape[0] != queries.shape[0]:
        raise ValueError(f"offsets must hold {queries.shape[0]} queries, got {offsets.shape[0]}")
    neighbors = offsets.shape[1]
    if neighbors % NEIGHBOR_STEP or not 0 < neighbors <= MAX_NEIGHBORS:
        raise ValueError(f"offsets must hold 16, 32, 48 or 64 patches a query, got {neighbors}")
    if not 1 <= patch <= min(MAX_PATCH, height, width):
        raise ValueError(f"patch must be from 1 to {min(MAX_PATCH, height, width)}, got {patch}")
    if len(sums) != len(noisy):
        raise ValueError(f"sums must hold {len(noisy)} frames, got {len(sums)}")
    check_frames("sums", sums, f"{channels} {height} {width}", queries, (torch.int64,))
    for index, frame_sums in enumerate(sums):
        if not frame_sums.is_contiguous():
            raise ValueError(f"sums[{index}] must be contiguous: it is added to in place")
    if not 0 <= frame < len(noisy):
        raise ValueError(f"frame must be from 0 to {len(noisy) - 1}, got {frame}")
    check_positive(sigma=sigma)
