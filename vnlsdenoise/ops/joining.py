"""What joins a level of the pyramid with the coarser one, each chain of operators in one call.

They give the very bits of the operators one by one, and spare a host the launch of each, which takes it longer than the
kernel takes a GPU.
"""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_positive, check_tensor
from vnlsdenoise.ops._operator import operator


def _image_fake(luma: Tensor, coarse: Tensor | None, weight: float) -> Tensor:
    return luma.new_empty(luma.shape)


@operator("search_image", _image_fake)
def _search_image(luma: Tensor, coarse: Tensor | None, weight: float) -> Tensor:
    out = _image_fake(luma, coarse, weight)
    height, width = luma.shape
    scratch = luma.new_empty(0 if coarse is None else _image_scratch(height, width))
    coarse = None if coarse is None else coarse.contiguous()
    torch.ops.vnlsdenoise.search_image_out(luma.contiguous(), coarse, weight, scratch, out)
    return out


def _frame_fake(noisy: Tensor, sums: Tensor, coarse: Tensor, sigma: float, fade: float, neighbors: int) -> Tensor:
    return noisy.new_empty(noisy.shape)


@operator("joined_frame", _frame_fake)
def _joined_frame(noisy: Tensor, sums: Tensor, coarse: Tensor, sigma: float, fade: float, neighbors: int) -> Tensor:
    out = _frame_fake(noisy, sums, coarse, sigma, fade, neighbors)
    scratch = noisy.new_empty(_frame_scratch(*noisy.shape))
    torch.ops.vnlsdenoise.joined_frame_out(
        noisy.contiguous(), sums.contiguous(), coarse.contiguous(), sigma, fade, neighbors, scratch, out
    )
    return out


def _halved(side: int) -> int:
    return (side + 1) // 2


def _half_way(height: int, width: int) -> int:
    """Samples of a plane that is halved, or not doubled yet, along one axis: whichever has more."""
    return max(height * _halved(width), _halved(height) * width)


def _image_scratch(height: int, width: int) -> int:
    """`search_image_scratch` of csrc/joining.h."""
    return 2 * height * width + _halved(height) * _halved(width) + _half_way(height, width)


def _frame_scratch(channels: int, height: int, width: int) -> int:
    """`joined_frame_scratch` of csrc/joining.h."""
    half = _halved(height) * _halved(width)
    quarter = _halved(_halved(height)) * _halved(_halved(width))
    return height * width + channels * (3 * height * width + half + quarter + _half_way(height, width))


def search_image(luma: Tensor, coarse: Tensor | None, weight: float) -> Tensor:
    """`guide` of what the coarser level found and of the band above it.

    That is guide(pyramid_up(coarse), luma - pyramid_up(pyramid_down(luma)), weight); guide(0, luma, weight) where there
    is no coarser level.

    Args:
        luma: [H, W], float32: noisy. coarse: [(H + 1) // 2, (W + 1) // 2], denoised.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices are not as above.
    """
    check_tensor("luma", luma, "H W", (torch.float32,))
    if coarse is not None:
        height, width = luma.shape
        check_tensor("coarse", coarse, f"{_halved(height)} {_halved(width)}", (torch.float32,), luma)
    return _search_image(luma, coarse, weight)  # type: ignore[no-any-return]


def joined_frame(
    noisy: Tensor, sums: Tensor, coarse: Tensor, *, sigma: float, neighbors: int, fade: float = 2.0
) -> Tensor:
    """`normalise`, then `recompose` with the low frequencies of the coarser level, then `fine_wiener`.

    What is recomposed with is pyramid_up twice of pyramid_down of coarse - pyramid_down(basic), basic the normalised
    frame; the variance, and what the fine band lies above, are those of pyramid_up(coarse).

    Args:
        noisy, sums, sigma: as in `normalise`. coarse: [C, (H + 1) // 2, (W + 1) // 2], float32, the coarser result.
        neighbors: as in `fine_wiener`. fade: as in `recompose`.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices are not as above.
    """
    check_tensor("noisy", noisy, "C H W", (torch.float32,))
    channels, height, width = noisy.shape
    check_tensor("sums", sums, f"{channels} {height} {width}", (torch.int64,), noisy)
    check_tensor("coarse", coarse, f"{channels} {_halved(height)} {_halved(width)}", (torch.float32,), noisy)
    check_positive(sigma=sigma, fade=fade, neighbors=neighbors)
    return _joined_frame(noisy, sums, coarse, sigma, fade, neighbors)  # type: ignore[no-any-return]
