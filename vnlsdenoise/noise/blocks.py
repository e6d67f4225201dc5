"""Overlapping 8x8 blocks of a frame in the DCT domain: what noise is measured on."""

import math

import torch
from torch import Tensor

from vnlsdenoise.planes import pad_by_reflection

SIDE = 8
_BLOCKS_A_FRAME = 65536  # at most about; a denser grid adds work, hardly certainty
# Sums u + v of the frequencies that tell texture from quiet, and of those that measure the noise. The two are disjoint,
# and independent where the noise is white: choosing quiet blocks does not choose blocks of little noise.
_TEXTURE, _NOISE = (2, 9), 10
TEXTURE_FREQUENCIES = sum(_TEXTURE[0] <= u + v <= _TEXTURE[1] for u in range(SIDE) for v in range(SIDE))
_MID_TONES = (35 / 255, 220 / 255)  # of the peak: means of blocks whose noise is hardly clipped, at any usual sigma
# Blocks of a frame to measure on, while there are as many: they overlap, and say as much as a quarter that lie apart.
ENOUGH = 512
GAUSSIAN_MAD = 0.6744897501960817  # median of |x| for x ~ N(0, 1)


def cut_blocks(frame: Tensor) -> Tensor:
    """[H, W] -> [N, 64]: overlapping blocks on a grid; a frame under 8x8 is mirrored."""
    frame = pad_by_reflection(frame, SIDE, SIDE)
    stride = block_stride(*frame.shape)
    return frame.unfold(0, SIDE, stride).unfold(1, SIDE, stride).reshape(-1, SIDE * SIDE)


def block_samples(height: int, width: int) -> int:
    """Samples of all blocks that `cut_blocks` makes of a frame, at most."""
    stride = block_stride(height, width)
    return (height // stride + 1) * (width // stride + 1) * SIDE * SIDE


def block_stride(height: int, width: int) -> int:
    """Of the grid of `cut_blocks`."""
    # Odd, so that blocks lie at every phase to the grid of whatever codec the video has been through.
    return max(3, math.ceil(math.sqrt(height * width / _BLOCKS_A_FRAME)) | 1)


def spectrum_of(blocks: Tensor) -> Tensor:
    """[N, 64] blocks -> [N, 64] DCT coefficients."""
    return blocks @ _dct(blocks).T


def blocks_of(spectrum: Tensor) -> Tensor:
    """The inverse of `spectrum_of`."""
    return spectrum @ _dct(spectrum)


def frequency_sums(device: torch.device) -> Tensor:
    """[64]: u + v of every coefficient."""
    order = torch.arange(SIDE, device=device)
    return (order[:, None] + order).flatten()


def texture_of(spectrum: Tensor) -> Tensor:
    """[N]: mean energy of every block at the frequencies that tell texture."""
    sums = frequency_sums(spectrum.device)
    return (spectrum[:, (sums >= _TEXTURE[0]) & (sums <= _TEXTURE[1])] ** 2).mean(1)


def noise_part(spectrum: Tensor) -> Tensor:
    """[N, 15]: the coefficients that measure the noise."""
    return spectrum[:, measures_noise(frequency_sums(spectrum.device))]


def measures_noise(sums: Tensor) -> Tensor:
    """Whether coefficients of these u + v measure the noise."""
    return sums >= _NOISE


def not_graphic(blocks: Tensor) -> Tensor:
    """[N], whether a block is a camera's: a line of one value is not; such a block would pass for a quiet one."""
    square = blocks.view(-1, SIDE, SIDE)
    return ~((square.amin(1) == square.amax(1)).any(1) | (square.amin(2) == square.amax(2)).any(1))


def worth_measuring(blocks: Tensor, peak: float) -> Tensor:
    """[N]: the best set that is large enough: blocks of middle brightness, else free of clipped pixels, else all."""
    mean = blocks.mean(1)
    mid_tones = (mean >= _MID_TONES[0] * peak) & (mean <= _MID_TONES[1] * peak)
    unclipped = (blocks.amin(1) > 0) & (blocks.amax(1) < peak)
    noisy = not_graphic(blocks)
    for chosen in (noisy & mid_tones, noisy & unclipped, noisy):
        if chosen.sum() >= ENOUGH:
            return chosen
    return torch.ones_like(noisy)


def dct_matrix(side: int, like: Tensor) -> Tensor:
    """[side, side]: orthonormal DCT-II, frequency u in row u."""
    n = torch.arange(side, dtype=like.dtype, device=like.device)
    cosines = torch.cos(math.pi / side * (n + 0.5) * n[:, None]) * math.sqrt(2 / side)
    cosines[0] *= math.sqrt(0.5)
    return cosines


def _dct(like: Tensor) -> Tensor:
    """[64, 64]: orthonormal 2-D DCT-II of a flattened 8x8 block, frequency (u, v) at row 8 u + v."""
    cosines = dct_matrix(SIDE, like)
    return torch.kron(cosines, cosines)
