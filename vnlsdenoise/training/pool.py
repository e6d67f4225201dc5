"""What the network is trained on: mosaics with their classic results, made ahead and kept on the device."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vnlsdenoise.classic.denoiser import ClassicDenoiser
from vnlsdenoise.classic.motion import CapturedFlow, Tvl1Motion
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.learned.network import PLANES, TRAITS, Frames, Layout
from vnlsdenoise.training.degradation import Channels
from vnlsdenoise.training.scenery import Grid

MARGIN = 8  # pixels along the borders of a cell that no crop takes: what lies beyond has come into their result
_STEPS = 2.0**14  # of the range, in which classic results are kept


@dataclass
class Plate:
    """One mosaic; every list has the planes of luma's size, then the halved ones.

    classic, removed, error: [T, planes, h, w]: the classic result over the range of its channel, around 0; noisy minus
    classic, and classic minus wanted, in units of the noise. fields: [T - 1, 4, h, w], flow of the classic result to
    the next frame and back, NaN where that begins a scene. scale, traits: as in `Frames`. weight, most: as of
    `Channels`.
    """

    classic: list[Tensor]
    removed: list[Tensor]
    error: list[Tensor]
    fields: Tensor
    scale: Tensor
    traits: Tensor
    weight: Tensor
    most: Tensor


class Material(Protocol):
    """What mosaics of one layout are drawn from; equal random generators draw equal ones."""

    layout: Layout

    def draw(self, random: np.random.Generator) -> Channels:
        """A mosaic, noisy and as it is wanted."""
        ...


class PlateMaker:
    """Makes plates of what it is given, with the classic results of a preset."""

    def __init__(self, material: Material, preset: str) -> None:
        self._material = material
        self._settings = PRESETS[preset]
        self._captured = CapturedFlow()  # the flow of noisy frames and of results, one after the other

    @torch.no_grad()
    def make(self, random: np.random.Generator) -> Plate:
        """A new plate."""
        channels = self._material.draw(random)
        results = self._denoised(channels)
        # Removed and error do not bear the precision that the range would leave them.
        removed = [noisy - result for noisy, result in zip(channels.noisy, results, strict=True)]
        error = [result - wanted for result, wanted in zip(results, channels.wanted, strict=True)]
        first, classic, scale, centre = 0, [], channels.scale, channels.centre
        for result in results:
            of_size = slice(first, first + result.shape[1])
            first = of_size.stop
            view = (1, -1, 1, 1)
            classic.append(result / scale[of_size].view(view) - centre[of_size].view(view))
        fields = self._flow(results[0][:, 0], channels)
        return Plate(classic, removed, error, fields, scale, channels.traits, channels.weight, channels.most)

    def _denoised(self, channels: Channels) -> list[Tensor]:
        height, width = channels.noisy[0].shape[-2:]
        denoiser = ClassicDenoiser(
            self._settings,
            height,
            width,
            Tvl1Motion(255 / channels.peak, self._captured),
            subsampled_chroma=self._material.layout == "420",
        )
        pages, starts = [], _starts(channels)
        for time, frame in enumerate(zip(*channels.noisy, strict=True)):
            if time in starts:
                pages += list(denoiser.flush())
            denoiser.add(*frame)
            pages += list(denoiser.advance())
        pages += list(denoiser.flush())
        results = [[page.here for page in pair if page is not None] for pair in pages]
        return [torch.stack([t for t in planes if t is not None]) for planes in zip(*results, strict=True)]

    def _flow(self, luma: Tensor, channels: Channels) -> Tensor:
        motion = Tvl1Motion(255 / channels.peak, self._captured)
        height, width = luma.shape[-2:]
        fields = luma.new_full((len(luma) - 1, 4, height // 2, width // 2), torch.nan)
        starts = _starts(channels)
        for time, frame in enumerate(luma):
            if time in starts:
                motion.reset()
            pair = motion.push(frame)
            if pair is not None:
                pair.wait()
                fields[time - 1] = pair.fields.flatten(0, 1)
        return fields


def _starts(channels: Channels) -> set[int]:
    """The frames that begin a scene, but the first."""
    return set(accumulate(channels.scenes[:-1]))


@dataclass
class Batch:
    """Crops of clips, times before clips. error: what is wrong with the classic result, as `Frames.removed`."""

    frames: Frames
    error: list[Tensor]
    fields: Tensor  # [T - 1, clips, 2, 2, h, w]
    weight: Tensor  # [clips, planes]: of the planes' errors, as of `Channels`
    most: Tensor  # [clips, planes]: of corrections, as of `Channels`


class Pool:
    """Plates of one layout, and crops of them by batched indexing."""

    def __init__(self, layout: Layout, plates: int, times: int, grid: Grid, device: torch.device) -> None:
        self.layout: Layout = layout
        self.grid = grid
        self.plates = plates
        self._times = times
        self._device = device
        height, width = grid.size
        whole, half = PLANES[layout]
        shapes = [(plates, times, whole, height, width)]
        if half:
            shapes.append((plates, times, half, height // 2, width // 2))

        def room(dtype: torch.dtype) -> list[Tensor]:
            return [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]

        # Half precision would not do for a result over a range of hundreds of deviations: fixed point.
        self._classic, self._removed, self._error = room(torch.int16), room(torch.float16), room(torch.float16)
        self._fields = torch.zeros((plates, times - 1, 4, height // 2, width // 2), dtype=torch.float16, device=device)
        self._scale, self._weight, self._most = (torch.ones((plates, whole + half), device=device) for _ in range(3))
        self._traits = torch.zeros((plates, whole + half, TRAITS), device=device)

    def put(self, place: int, plate: Plate) -> None:
        """Keep a plate in place of another."""
        for kept, classic in zip(self._classic, plate.classic, strict=True):
            kept[place] = (classic * _STEPS).round().clamp(-(2**15), 2**15 - 1).short()
        for kept, removed in zip(self._removed, plate.removed, strict=True):
            kept[place] = removed.half()
        for kept, error in zip(self._error, plate.error, strict=True):
            kept[place] = error.half()
        self._fields[place] = plate.fields.half()
        self._scale[place] = plate.scale
        self._traits[place] = plate.traits
        self._weight[place] = plate.weight
        self._most[place] = plate.most

    def draw(self, random: np.random.Generator, count: int, times: int, side: int) -> Batch:
        """Square crops of `times` frames at random places of random plates, turned at random."""
        grid = self.grid
        free = np.array([grid.height, grid.width]) - side - 2 * MARGIN
        corner = random.integers(0, [grid.rows, grid.columns], (count, 2)) * [grid.height, grid.width]
        corner = corner + MARGIN + 2 * random.integers(0, free // 2 + 1, (count, 2))
        place = random.integers(0, self.plates, count)
        start = random.integers(0, self._times - times + 1, count)
        return self.crops(np.column_stack((place, start, corner)), times, side, random.integers(0, 2, (count, 4)))

    def crops(
        self,
        places: npt.NDArray[np.int64],
        times: int,
        side: int,
        turns: npt.NDArray[np.int64] | None = None,
    ) -> Batch:
        """Crops at given places: rows of plate, first frame, top, left; the latter two even.

        turns: [crops, 4] of 0 or 1, whether a crop's rows go upwards in the plate, its columns to the left, its rows
        and columns change places, and time runs backwards; None for crops as they lie. A crop has sixteen views, none
        of which helps to learn another by heart.
        """
        count = len(places)
        plate, start, top, left = torch.from_numpy(places.astype(np.int64)).to(self._device).unbind(1)
        turned = np.zeros((count, 4), bool) if turns is None else turns.astype(bool)
        upwards, leftwards, swapped, backwards = torch.from_numpy(turned).to(self._device).unbind(1)

        def samples(shrunk: int) -> tuple[Tensor, Tensor]:
            """Rows and columns in the plate, [1, crops, 1, rows, columns] each."""
            size = side // shrunk
            span = torch.arange(size, device=self._device)

            def place(first: Tensor, along: Tensor, across: Tensor, reverse: Tensor) -> Tensor:
                found = torch.where(swapped[:, None, None], across, along)  # [crops, rows, columns]
                found = torch.where(reverse[:, None, None], size - 1 - found, found)
                return ((first // shrunk)[:, None, None] + found)[None, :, None]

            return place(top, span[:, None], span, upwards), place(left, span, span[:, None], leftwards)

        whole, half = samples(1), samples(2)

        def cut(kept: Tensor, planes: Tensor, times: int, at: tuple[Tensor, Tensor]) -> Tensor:
            """planes: [crops or 1, planes], which of those that are kept. at: as of `samples`."""
            time = torch.arange(times, device=self._device)[:, None]
            time = start + torch.where(backwards, times - 1 - time, time)
            return kept[
                plate.view(1, count, 1, 1, 1), time.view(times, count, 1, 1, 1), planes[None, ..., None, None], *at
            ]

        def planes(kept: list[Tensor]) -> list[Tensor]:
            cuts = []
            for of_size, at in zip(kept, (whole, half), strict=False):
                every = torch.arange(of_size.shape[2], device=self._device)[None]
                cuts.append(cut(of_size, every, times, at).flatten(0, 1).float())
            return cuts

        classic = [plane / _STEPS for plane in planes(self._classic)]
        scale, traits = self._scale[plate].repeat(times, 1), self._traits[plate].repeat(times, 1, 1)
        component = torch.arange(4, device=self._device)  # of the flow to the next frame and back, along x and y
        axis = component % 2 ^ swapped[:, None].long()
        fields = cut(self._fields, 2 * (component // 2 ^ backwards[:, None].long()) + axis, times - 1, half).float()
        against = torch.where(axis == 0, leftwards[:, None], upwards[:, None])
        fields = torch.where(against[..., None, None], -fields, fields)
        fields = fields.view(times - 1, count, 2, 2, *fields.shape[-2:])
        return Batch(
            Frames(self.layout, classic, planes(self._removed), scale, traits),
            planes(self._error),
            fields,
            self._weight[plate],
            self._most[plate],
        )
