"""How noisy a video is, measured on the video itself."""

import math

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_positive, check_tensor

_SIDE = 8
_MID_TONES = (35 / 255, 220 / 255)  # of the peak: means of blocks whose noise is hardly clipped, at any usual sigma
# Sums u + v of the frequencies that tell texture from quiet, and of those that measure the noise. The two are disjoint,
# and independent where the noise is white: choosing quiet blocks does not choose blocks of little noise.
_TEXTURE, _NOISE = (2, 9), 10
_QUIETEST = 0.02  # share of the blocks of a frame
_FEWEST = 512  # blocks to measure on, while there are as many: overlapping, they say as much as a quarter of that apart
_BLOCKS_A_FRAME = 65536  # at most about; a denser grid adds work, hardly certainty
_GAUSSIAN_MAD = 0.6744897501960817  # median of |x| for x ~ N(0, 1)


def estimate_sigma(planes: Tensor, *, peak: float) -> float:
    """Standard deviation of additive white noise in a plane.

    Per frame, overlapping 8x8 blocks are taken to the DCT domain, those of least energy at low and middle frequencies
    are kept, and sigma is the median magnitude of their high frequencies over 0.6745; then the median over the frames
    (after Ponomarenko et al., "An automatic approach to lossy compression of AVIRIS images", IGARSS 2007, and Colom,
    Buades, "Analysis and extension of the Ponomarenko et al. method", IPOL 2013). Blocks that are very dark or very
    bright, where clipping has taken away noise, and blocks that reach into a flat graphic or border count only where
    there are not enough others.

    Args:
        planes: [T, H, W], float32 or float64, one plane of each frame, on any device; frames under 8x8 are mirrored.
        peak: white in the scale of `planes` (255 for 8-bit codes, 255 sqrt(3) for (R + G + B) / sqrt(3) of them).

    Returns:
        sigma in the scale of `planes`. Fine texture and the source's own noise count as noise: on a clean 8-bit video
        it says 0 to 1.5 of 255.

    Raises:
        ValueError, TypeError: shape, dtype or peak are not as above, or there is no pixel.
    """
    check_tensor("planes", planes, "T H W")
    check_positive(peak=peak)
    if planes.numel() == 0:
        raise ValueError(f"planes must hold at least one pixel, got shape {list(planes.shape)}")
    return torch.stack([_sigma_of_frame(_at_least_a_block(frame), peak) for frame in planes]).median().item()


def _sigma_of_frame(frame: Tensor, peak: float) -> Tensor:
    height, width = frame.shape
    # Odd, so that blocks lie at every phase to the grid of whatever codec the video has been through.
    stride = max(3, math.ceil(math.sqrt(height * width / _BLOCKS_A_FRAME)) | 1)
    blocks = frame.unfold(0, _SIDE, stride).unfold(1, _SIDE, stride).reshape(-1, _SIDE * _SIDE)
    blocks = _worth_measuring(blocks, peak)
    spectrum = blocks @ _dct(frame).T
    order = torch.arange(_SIDE, device=frame.device)
    frequency = (order[:, None] + order).flatten()
    texture = (spectrum[:, (frequency >= _TEXTURE[0]) & (frequency <= _TEXTURE[1])] ** 2).sum(1)
    count = min(len(blocks), max(_FEWEST, round(_QUIETEST * len(blocks))))
    quietest = texture.topk(count, largest=False).indices
    return spectrum[quietest][:, frequency >= _NOISE].abs().median() / _GAUSSIAN_MAD


def _worth_measuring(blocks: Tensor, peak: float) -> Tensor:
    """The best set of blocks that is large enough: of middle brightness, else free of clipped pixels, else all."""
    mean = blocks.mean(1)
    mid_tones = (mean >= _MID_TONES[0] * peak) & (mean <= _MID_TONES[1] * peak)
    unclipped = (blocks.amin(1) > 0) & (blocks.amax(1) < peak)
    square = blocks.view(-1, _SIDE, _SIDE)
    # A line of one value is no camera's noise; a block that lies partly in a flat graphic would pass for a quiet one.
    noisy = ~((square.amin(1) == square.amax(1)).any(1) | (square.amin(2) == square.amax(2)).any(1))
    for chosen in (noisy & mid_tones, noisy & unclipped, noisy):
        if chosen.sum() >= _FEWEST:
            return blocks[chosen]
    return blocks


def _dct(like: Tensor) -> Tensor:
    """[64, 64]: orthonormal 2-D DCT-II of a flattened 8x8 block, frequency (u, v) at row 8 u + v."""
    n = torch.arange(_SIDE, dtype=like.dtype, device=like.device)
    cosines = torch.cos(math.pi / _SIDE * (n + 0.5) * n[:, None]) * math.sqrt(2 / _SIDE)
    cosines[0] *= math.sqrt(0.5)
    return torch.kron(cosines, cosines)


def _at_least_a_block(frame: Tensor) -> Tensor:
    for axis in (0, 1):
        size = frame.shape[axis]
        if size < _SIDE:
            period = max(1, 2 * (size - 1))
            at = torch.arange(_SIDE, device=frame.device) % period
            frame = frame.index_select(axis, torch.minimum(at, period - at))
    return frame
