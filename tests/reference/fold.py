"""Patches of a regular grid in plain float64 loops; fold is the transpose of unfold's matrix."""

import itertools

import torch
from reference.aggregation import mirror


def unfold(video, *, ps, coords=None, pt=1, stride=1, dilation=1, use_adj=False, only_full=False, border="reflect"):
    """video [T, C, H, W] -> [N, 1, pt, C, ps, ps]"""
    frames, channels, height, width = video.shape
    top, left, bottom, right = coords or (0, 0, height, width)
    over = dilation * (ps - 1) if only_full else 0
    lead = 0 if use_adj else ps // 2
    patches = []
    for t in range(frames):
        for y, x in itertools.product(range(top, bottom - over, stride), range(left, right - over, stride)):
            patch = torch.zeros(1, pt, channels, ps, ps, dtype=torch.float64)
            for d, i, j in itertools.product(range(pt), range(ps), range(ps)):
                row, column = y + dilation * (i - lead), x + dilation * (j - lead)
                if border == "reflect":
                    row, column = mirror(row, height), mirror(column, width)
                if 0 <= row < height and 0 <= column < width:
                    patch[0, d, :, i, j] = video[mirror(t + d, frames), :, row, column]
            patches.append(patch)
    return torch.stack(patches) if patches else torch.zeros(0, 1, pt, channels, ps, ps, dtype=torch.float64)


def fold(patches, shape, **options):
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(shape) + 1
    sources = unfold(numbers, ps=patches.shape[-1], pt=patches.shape[2], **options).long()
    video = torch.zeros(torch.Size(shape).numel() + 1, dtype=torch.float64)
    return video.index_add(0, sources.flatten(), patches.flatten())[1:].view(shape)
