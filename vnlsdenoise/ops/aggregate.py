"""The end of an aggregation: fixed-point sums of all groups' estimates, to a frame."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_positive, check_tensor
from vnlsdenoise.ops._operator import operator


def new_sums(frame: Tensor) -> Tensor:
    """Zero sums for one frame [C, H, W]: int64, weight in the high half, weighted change in the low (csrc/group.h)."""
    return torch.zeros_like(frame, dtype=torch.int64, memory_format=torch.contiguous_format)


def _normalise_fake(noisy: Tensor, sums: Tensor, sigma: float) -> Tensor:
    return noisy.new_empty(noisy.shape)


@operator("normalise", _normalise_fake)
def _normalise(noisy: Tensor, sums: Tensor, sigma: float) -> Tensor:
    out = _normalise_fake(noisy, sums, sigma)
    torch.ops.vnlsdenoise.normalise_out(noisy.contiguous(), sums.contiguous(), sigma, out)
    return out


def normalise(noisy: Tensor, sums: Tensor, sigma: float) -> Tensor:
    """The weighted mean of all estimates of each sample; the noisy sample where there is none.

    Args:
        noisy: [C, H, W], float32: the frame that the groups were taken from.
        sums: int64 of the same shape, filled by `shrink_groups` or `wiener_groups` with the same `sigma`.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices are not as above.
    """
    check_tensor("noisy", noisy, "C H W", (torch.float32,))
    check_tensor("sums", sums, " ".join(str(n) for n in noisy.shape), (torch.int64,), noisy)
    check_positive(sigma=sigma)
    return _normalise(noisy, sums, sigma)  # type: ignore[no-any-return]
