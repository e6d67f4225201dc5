"""Chained flow and shifted non-local search, query by query and candidate by candidate, in float64."""

import torch
from torch import Tensor


def clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def chain_flow(
    forward: list[Tensor], backward: list[Tensor], queries: Tensor, frame: int, size: tuple[int, int], scale: int
) -> Tensor:
    height, width = size
    centres = torch.zeros(len(queries), len(forward), 2, dtype=torch.int32)
    for n, start in enumerate(queries.tolist()):
        for fields, step in ((forward, 1), (backward, -1)):
            y, x = start
            t = frame
            centres[n, t] = torch.tensor([y, x])
            while 0 <= t + step < len(forward):
                field = fields[t].double()
                at = (min(y // scale, field.shape[1] - 1), min(x // scale, field.shape[2] - 1))
                dx, dy = (float(field[0][at]) * scale, float(field[1][at]) * scale)
                # Python's round is half to even, as the kernels'.
                y, x = clamp(round(y + dy), 0, height - 1), clamp(round(x + dx), 0, width - 1)
                t += step
                centres[n, t] = torch.tensor([y, x])
    return centres


def candidates(centre: tuple[int, int], side: int, patch: int, height: int, width: int) -> list[tuple[int, int]]:
    """Top left corners of a side x side window, moved inward at the borders, in raster order."""
    axes = []
    for c, n in zip(centre, (height, width), strict=True):
        positions = n - patch + 1
        first = clamp(c - side // 2, 0, max(positions - side, 0))
        axes.append(range(first, min(first + side, positions)))
    return [(y, x) for y in axes[0] for x in axes[1]]


def search(
    guide: list[Tensor],
    queries: Tensor,
    centres: Tensor,
    frame: int,
    patch: int,
    neighbors: int,
    side: int,
    side_other: int,
) -> tuple[Tensor, Tensor]:
    height, width = guide[0].shape
    images = [g.double() for g in guide]
    distances = torch.zeros(len(queries), neighbors, dtype=torch.float64)
    offsets = torch.zeros(len(queries), neighbors, 3, dtype=torch.int32)
    for n, (qy, qx) in enumerate(queries.tolist()):
        query = images[frame][qy : qy + patch, qx : qx + patch]
        found = []
        for t, image in enumerate(images):
            centre = tuple(centres[n, t].tolist())
            for y, x in candidates(centre, side if t == frame else side_other, patch, height, width):
                itself = (t, y, x) == (frame, qy, qx)
                distance = float(((image[y : y + patch, x : x + patch] - query) ** 2).sum())
                found.append((-1.0 if itself else distance, t, y, x))
        found.sort()
        for k in range(neighbors):
            distance, t, y, x = found[k % min(neighbors, len(found))]
            distances[n, k] = max(distance, 0.0)
            offsets[n, k] = torch.tensor([t - frame, y - qy, x - qx])
    return distances, offsets
