"""Mosaics of clean footage: cells of clips, and of photographs under a camera that moves, made on the device.

Every cell is a small clip of its own; they lie side by side in one large one, so that a single run of the classic
denoiser serves them all.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.training.footage import Footage

PHOTO_SHARE = 0.35  # of the cells
_STILL = 0.15  # share of the photographs that nothing moves in
_OCCLUDED = 0.5  # share of the photographs that another one moves in front of
_RECOLOURED = 0.3  # share of the cells with shuffled colours, and of those with another contrast
_FEW = (1, 2)  # clips, or photographs, of a mosaic whose cells are alike
_SPEEDS = (0.5, 2.0, 5.0)  # pixels a frame
_BLOBS = 5  # knots along a side of an occluding shape
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Cells of equal size in a mosaic."""

    rows: int
    columns: int
    height: int
    width: int

    @property
    def cells(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the mosaic."""
        return self.rows * self.height, self.columns * self.width

    def joined(self, cells: Tensor) -> Tensor:
        """[cells, T, C, h, w] -> [T, C, H, W]."""
        _, times, channels, height, width = cells.shape
        cells = cells.view(self.rows, self.columns, times, channels, height, width)
        return cells.permute(2, 3, 0, 4, 1, 5).reshape(times, channels, *self.size)


@dataclass
class Views:
    """How cells look at their sources: for cell n and time t, place = turn[n, t] (pixel - middle) + centre[n, t]."""

    sources: npt.NDArray[np.int64]  # [N]
    frames: npt.NDArray[np.int64]  # [N, T]
    turn: Array  # [N, T, 2, 2]
    centre: Array  # [N, T, 2], (x, y)


class Scenery:
    """Draws mosaics of a grid from footage; equal random generators draw equal ones."""

    def __init__(self, footage: Footage, grid: Grid, times: int) -> None:
        self._footage = footage
        self._grid = grid
        self.times = times

    @property
    def device(self) -> torch.device:
        """Where mosaics are made."""
        return self._footage.device

    def draw(self, random: np.random.Generator, *, alike: bool = False) -> Tensor:
        """A mosaic, float32 [T, 3, H, W], 0..1; alike: all of its cells are of one or two clips, or photographs."""
        footage, count = self._footage, self._grid.cells
        share = PHOTO_SHARE if len(footage.clips) else 1.0
        if not len(footage.photos):
            share = 0.0
        clips_used, photos_used = footage.clips, footage.photos
        if alike:
            share = float(random.random() < share)
            few = int(random.choice(_FEW))
            clips_used, photos_used = (random.choice(s, few) if len(s) else s for s in (clips_used, photos_used))
        photos = round(count * share)
        moving = self.of_clips(random, count - photos, clips_used), self._of_photos(random, photos, photos_used)
        cells = torch.cat([self.seen(views) for views in moving])
        hidden = round(photos * _OCCLUDED)
        if hidden:
            front = self._of_photos(random, hidden, photos_used)
            shape = self._shapes(random, front)
            cells[-hidden:] = torch.lerp(cells[-hidden:], self.seen(front), shape)
        order = torch.from_numpy(random.permutation(count)).to(footage.device)
        return self._grid.joined(self._recoloured(random, cells)[order])

    def of_clips(self, random: np.random.Generator, count: int, clips: npt.NDArray[np.int64]) -> Views:
        """Windows of these clips as they are: flipped, turned, played backwards, every frame or every second one."""
        footage, times = self._footage, self.times
        chosen = random.choice(clips, count) if count else np.zeros(0, np.int64)
        length = footage.frames[chosen]
        step = np.where((random.random(count) < 0.25) & (length > times), 2, 1)
        start = random.integers(0, np.maximum(2 * (length - 1), 1))
        fits = length - (times - 1) * step  # places to start from where the clip is long enough
        start = np.where(fits > 0, random.integers(0, np.maximum(fits, 1)), start)
        frames = start[:, None] + step[:, None] * np.arange(times)
        period = np.maximum(2 * (length - 1), 1)[:, None]
        frames = frames % period  # forth and back
        frames = np.where(frames >= length[:, None], period - frames, frames)
        frames = np.where(random.random((count, 1)) < 0.5, frames[:, ::-1], frames)
        turn = _orientations(random, count)
        spans = np.abs(turn) @ np.array([self._grid.width - 1, self._grid.height - 1])
        sides = np.stack((footage.widths[chosen], footage.heights[chosen]), -1)
        corner = np.floor(random.random((count, 2)) * np.maximum(sides - spans, 1))
        return self._moving(chosen, frames, turn[:, None], (corner + spans / 2)[:, None])

    def _of_photos(self, random: np.random.Generator, count: int, photos: npt.NDArray[np.int64]) -> Views:
        """These photographs under a camera that moves, turns and zooms, or stands still."""
        footage, times = self._footage, self.times
        chosen = random.choice(photos, count) if count else np.zeros(0, np.int64)
        time = (np.arange(times) - times // 2) * (random.random((count, 1)) >= _STILL)  # [N, T]
        angle = random.uniform(-0.012, 0.012, (count, 1)) * time
        zoom = random.uniform(0.7, 1.2, (count, 1)) * (1 + random.uniform(-0.012, 0.012, (count, 1)) * time)
        rotation = np.stack((np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)), -1)
        turn = zoom[..., None, None] * rotation.reshape(count, times, 2, 2) @ _orientations(random, count)[:, None]
        speed = random.normal(0, 1, (count, 2)) * random.choice(_SPEEDS, (count, 1))
        pull = random.normal(0, 0.2, (count, 2))
        sides = np.stack((footage.widths[chosen], footage.heights[chosen]), -1)
        path = speed[:, None] * time[..., None] + pull[:, None] * (time**2)[..., None] / 2
        centre = (random.uniform(0.25, 0.75, (count, 2)) * sides)[:, None] + path
        return self._moving(chosen, np.zeros((count, times), np.int64), turn, centre)

    def _moving(self, chosen: npt.NDArray[np.int64], frames: Array, turn: Array, centre: Array) -> Views:
        count, times = len(chosen), self.times
        return Views(
            chosen,
            frames.astype(np.int64),
            np.broadcast_to(turn, (count, times, 2, 2)),
            np.broadcast_to(centre, (count, times, 2)),
        )

    def _places(self, turn: Tensor, centre: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """x and y [N, h, w] of the pixels of cells, from [N, 2, 2] and [N, 2]."""
        y = torch.arange(height, device=turn.device, dtype=torch.float32)[:, None] - (height - 1) / 2
        x = torch.arange(width, device=turn.device, dtype=torch.float32) - (width - 1) / 2
        turn, centre = turn[..., None, None], centre[..., None, None]
        return (
            turn[:, 0, 0] * x + turn[:, 0, 1] * y + centre[:, 0],
            turn[:, 1, 0] * x + turn[:, 1, 1] * y + centre[:, 1],
        )

    def _on_device(self, array: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(self._footage.device)

    def seen(self, views: Views) -> Tensor:
        """[N, T, 3, h, w]."""
        footage, grid, chosen = self._footage, self._grid, views.sources
        table = np.stack((footage.offsets[chosen], footage.heights[chosen], footage.widths[chosen]), -1)
        sources = torch.from_numpy(table).to(footage.device)
        frames = torch.from_numpy(np.ascontiguousarray(views.frames)).to(footage.device)
        turn, centre = self._on_device(views.turn), self._on_device(views.centre)
        cells = torch.empty((len(chosen), self.times, 3, grid.height, grid.width), device=footage.device)
        for time in range(self.times):
            x, y = self._places(turn[:, time], centre[:, time], grid.height, grid.width)
            cells[:, time] = footage.sample(sources, frames[:, time], x, y)
        return cells

    def _shapes(self, random: np.random.Generator, views: Views) -> Tensor:
        """How much of every pixel the front covers, [N, T, 1, h, w]: blobs that move with it."""
        grid, count = self._grid, len(views.sources)
        heights = random.normal(0, 1, (count, 1, _BLOBS, _BLOBS)) - random.uniform(0.1, 0.5, (count, 1, 1, 1))
        knots = self._on_device(heights)
        side = 2 * max(grid.height, grid.width)
        blobs = functional.interpolate(knots, (side, side), mode="bicubic", align_corners=False)
        blobs = (blobs * (side / 12)).clamp(0, 1)
        turn, centre = self._on_device(views.turn), self._on_device(views.centre)
        start = centre[:, :1]
        shapes = []
        for time in range(self.times):
            x, y = self._places(turn[:, time], centre[:, time] - start[:, 0], grid.height, grid.width)
            places = torch.stack((x, y), -1) * (2 / side)
            shapes.append(functional.grid_sample(blobs, places, padding_mode="reflection", align_corners=False))
        return torch.stack(shapes, 1)

    def _recoloured(self, random: np.random.Generator, cells: Tensor) -> Tensor:
        """Some cells with their colours in another order, some darker, brighter or flatter."""
        count = len(cells)
        order = np.tile(np.arange(3), (count, 1))
        shuffled = random.random(count) < _RECOLOURED
        order[shuffled] = random.permuted(order[shuffled], axis=1)
        rows = torch.arange(count, device=cells.device)[:, None]
        cells = cells.transpose(1, 2)[rows, torch.from_numpy(order).to(cells.device)].transpose(1, 2)
        changed = random.random(count) < _RECOLOURED
        gain = np.where(changed, random.uniform(0.4, 1.1, count), 1.0)
        lift = random.uniform(0, 1, count) * np.maximum(1 - gain, 0)
        view = (count, 1, 1, 1, 1)
        return (cells * self._on_device(gain).view(view) + self._on_device(lift).view(view)).clamp_(0, 1)


def _orientations(random: np.random.Generator, count: int) -> Array:
    """The eight ways to lay down a square, [N, 2, 2]."""
    turn = np.zeros((count, 2, 2))
    swapped = random.random(count) < 0.5
    signs = random.choice((-1.0, 1.0), (count, 2))
    rows = np.arange(count)
    turn[rows, 0, swapped.astype(int)] = signs[:, 0]
    turn[rows, 1, 1 - swapped.astype(int)] = signs[:, 1]
    return turn
