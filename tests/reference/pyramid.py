"""Halving and doubling along the last axis, from the definition, in float64."""

import torch
from torch import Tensor

RIGHT = [0.6683598, 0.1653405, -0.1400679, -0.0357491, 0.0645601, 0.0022362, -0.0282031, 0.0106303]


def taps() -> Tensor:
    right = torch.tensor(RIGHT, dtype=torch.float64)
    return torch.cat((right.flip(0), right)) / 2**0.5


def mirrored(index: int, n: int) -> int:
    """Half-sample symmetric extension: -1 - i -> i, n + i -> n - 1 - i."""
    index %= 2 * n
    return index if index < n else 2 * n - 1 - index


def halve(video: Tensor) -> Tensor:
    n = video.shape[-1]
    h = taps()
    columns = [sum(h[k] * video[..., mirrored(2 * i + k - 7, n)] for k in range(16)) for i in range((n + 1) // 2)]
    return torch.stack(columns, -1)


def double(video: Tensor, size: int) -> Tensor:
    n = video.shape[-1]
    h = taps()
    columns = []
    for x in range(size):
        # Every i for which the tap index x - 2 i + 7 lies in 0..15.
        terms = [
            2 * h[x - 2 * i + 7] * video[..., mirrored(i, n)] for i in range(-20, n + 20) if 0 <= x - 2 * i + 7 < 16
        ]
        columns.append(sum(terms))
    return torch.stack(columns, -1)
