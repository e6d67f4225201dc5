"""The noise that a codec has left: little of it at high frequencies, and what changes from frame to frame at low ones.

Quantisation takes the high frequencies of noise away first, those that noise is measured on otherwise; at low ones
texture is in the way. But texture moves, and is found again in the next frame, and noise is not.
"""

import math
from itertools import islice, pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.noise import blocks as cutting

_REACH = 3  # of the motion that is looked for, in samples of half the resolution
_SHARE = 0.06  # of the blocks of a frame: the quietest
_LEAST, _MOST = 32, 256  # blocks a frame
_BAND = (2, 9)  # sums u + v of the frequencies that are compared


class Change(NamedTuple):
    """What quiet blocks leave of their best matches in the next frame; both 0 where there is no pair of frames to tell.

    deviation: of the noise at low frequencies that explains it. share: of all that the blocks hold there.
    """

    deviation: float
    share: float


def change_between_frames(planes: Tensor, peak: float, pairs: bool) -> Change:
    """planes: [T, H, W]. pairs: they follow each other by twos only."""
    if min(planes.shape[1:]) < 2 * (cutting.SIDE + 2 * _REACH):
        return Change(0.0, 0.0)
    halves = (functional.avg_pool2d(frame[None, None], 2)[0, 0] for frame in planes)
    neighbors = islice(pairwise(halves), 0, None, 2 if pairs else 1)
    changes = [_change(frame, following, peak) for frame, following in neighbors]
    # Frames that a codec has repeated do not say that there is no noise.
    found = [change for change in changes if change.deviation > 0]
    return Change(*(sorted(values)[len(values) // 2] for values in zip(*found, strict=True)) if found else (0.0, 0.0))


def _change(frame: Tensor, following: Tensor, peak: float) -> Change:
    sums = cutting.frequency_sums(frame.device)
    band = (sums >= _BAND[0]) & (sums <= _BAND[1])
    # Blocks and matches are chosen by one half of the frequencies and compared by the other, as in `spectrum`.
    chosen_by, measured_by = band & (sums % 2 == 1), band & (sums % 2 == 0)
    inner = frame[_REACH:-_REACH, _REACH:-_REACH]
    grid, stride = cutting.cut_blocks(inner), cutting.block_stride(*inner.shape)
    worth = cutting.worth_measuring(grid, peak).nonzero()[:, 0]
    spectrum = cutting.spectrum_of(grid[worth])
    order = (spectrum[:, chosen_by] ** 2).mean(1).argsort(stable=True)
    chosen = order[: max(_LEAST, math.ceil(_SHARE * len(order)))]
    chosen = chosen[:: -(-len(chosen) // _MOST)]
    quiet = worth[chosen]
    across = (inner.shape[1] - cutting.SIDE) // stride + 1
    y, x = quiet // across * stride, quiet % across * stride
    moves = torch.arange(2 * _REACH + 1, device=frame.device)
    down, right = (m.flatten() for m in torch.meshgrid(moves, moves, indexing="ij"))
    places = following.unfold(0, cutting.SIDE, 1).unfold(1, cutting.SIDE, 1)
    candidates = places[y[:, None] + down, x[:, None] + right].flatten(2)
    left = cutting.spectrum_of(candidates - grid[quiet][:, None])
    best = (left[..., chosen_by] ** 2).sum(-1).argmin(1)
    changed = _deviation(left[torch.arange(len(quiet), device=frame.device), best][:, measured_by]) / math.sqrt(2)
    held = _deviation(spectrum[chosen][:, measured_by])
    return Change(changed, changed / held if held else 0.0)


def _deviation(coefficients: Tensor) -> float:
    # The mean of four samples has half their noise.
    return 2 * coefficients.abs().median().item() / cutting.GAUSSIAN_MAD
