"""Letters and lines: whether there are any, and whether they were taken for noise, which is in all of a picture."""

import math

import torch
from torch import Tensor

from vnlsdenoise.noise import blocks as cutting
from vnlsdenoise.noise.model import PlaneNoise

_LEAST = 2.4 / 255  # deviation, of the peak: less harms no letter
# Of the deviation that is told for its brightness, what a block has at the highest frequencies in all blocks but so
# many: 0.7 in noise; 0.1 to 0.4 on a page that was taken for noise.
_ALL_BUT, _LEAST_THERE = 0.05, 0.45
_ENDS, _CLIPPED = 0.12, 0.5  # of the range: blocks of such brightness have so much left of noise that was clipped
_ENOUGH = 64  # blocks
# Deviation at the highest frequencies, of the peak, in so many of the blocks: up to 16 of 255 in photographed scenes,
# 90 on a page of letters.
_SHARP, _SHARP_BLOCKS = 30 / 255, 0.03


def has_letters(plane: Tensor, peak: float) -> bool:
    """Whether a plane [H, W] has much that is as sharp as letters are on a screen."""
    return bool(_deviation(cutting.cut_blocks(plane)).quantile(1 - _SHARP_BLOCKS) > _SHARP * peak)


def is_everywhere(plane: Tensor, noise: PlaneNoise, peak: float) -> bool:
    """Whether nearly all blocks of a plane [H, W] hold noise as strong as is told; too few blocks say nothing."""
    if noise.sigma < _LEAST * peak:
        return True
    blocks = cutting.cut_blocks(plane)
    mean = blocks.mean(1)
    at_ends = ((blocks <= 0) | (blocks >= peak)).float().mean(1)
    asked = (blocks.amin(1) < blocks.amax(1)) & (at_ends < 0.5)  # not borders, and what has been lost to black or white
    if int(asked.sum()) < _ENOUGH:
        return True
    blocks, mean = blocks[asked], mean[asked]
    levels, index = torch.unique(mean.round(), return_inverse=True)
    told = torch.tensor([noise.deviation_at(level) for level in levels.tolist()], device=plane.device)[index]
    if noise.clipped:
        told[(mean < _ENDS * peak) | (mean > (1 - _ENDS) * peak)] *= _CLIPPED
    share = (_deviation(blocks) / (told * _at_highest(noise))).quantile(_ALL_BUT)
    return bool(share >= _LEAST_THERE)


def _deviation(blocks: Tensor) -> Tensor:
    """[N]: what every block has at the highest frequencies."""
    return cutting.noise_part(cutting.spectrum_of(blocks)).square().mean(1).sqrt()


def _at_highest(noise: PlaneNoise) -> float:
    """The deviation at the highest frequencies, of the noise's."""
    if not noise.spectrum:
        return 1.0
    side = round(len(noise.spectrum) ** 0.5)
    scale = side // cutting.SIDE
    high = [
        variance
        for index, variance in enumerate(noise.spectrum)
        if cutting.measures_noise(torch.tensor((index // side + index % side) // scale))
    ]
    return math.sqrt(sum(high) / len(high))
