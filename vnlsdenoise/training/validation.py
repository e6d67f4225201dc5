"""Validation on scenes that training never sees: the gain over the classic result."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vnlsdenoise.learned.denoiser import on_device
from vnlsdenoise.learned.network import Dimensions, Layout, Network
from vnlsdenoise.noise.camera import Camera
from vnlsdenoise.training.ahead import Ahead
from vnlsdenoise.training.degradation import Degraded, Mixture, Noise
from vnlsdenoise.training.measured import Measured, Recording
from vnlsdenoise.training.objective import squared_error
from vnlsdenoise.training.pool import MARGIN, Material, Plate, PlateMaker, Pool
from vnlsdenoise.training.scenery import Grid, Scenery

_SEED = 1234
_AT_ONCE = 10  # clips
# Layout and deviation of the noise, of 255.
CASES: tuple[tuple[Layout, int], ...] = (("444", 5), ("444", 10), ("444", 30), ("444", 50), ("420", 20))
# The same, and how coarsely it is coded.
CODED: tuple[tuple[Layout, int, int], ...] = (("420", 0, 22), ("420", 10, 18), ("420", 20, 22), ("420", 20, 27))
# A camera as they come, its video as it is and coded, and a picture of it.
_CAMERA = Camera(0.006, 0.003, balance=(1.8, 1.5), saturation=0.4, reduction=(0.5, 0.7))


def cases_of(scenery: Scenery, *, camera: bool, coded: bool) -> dict[str, Material]:
    """Clean scenery at fixed noise; camera, coded: recorded by a camera, and through a codec, too."""
    cases: dict[str, Material] = {}
    for layout, sigma in CASES:
        generator = torch.Generator(scenery.device).manual_seed(_SEED)
        noise = Noise((sigma / 255,) * 3, yuv=layout != "444", generator=generator)
        cases[f"{layout} {sigma}"] = Degraded(scenery, layout, Mixture(), noise)
    for layout, sigma, crf in CODED if coded else ():
        cases[f"{layout} {sigma} crf {crf}"] = Measured(scenery, layout, Recording(float(sigma), (crf, "veryfast")))
    if camera:
        cases["444 camera"] = Measured(scenery, "444", Recording(_CAMERA, None))
        cases["420 camera crf 18"] = Measured(scenery, "420", Recording(_CAMERA, (18, "veryfast")))
        cases["444 camera picture"] = Measured(scenery, "444", Recording(_CAMERA, None), (1,) * scenery.times)
    return cases


class Validation:
    """Crops of held-back scenes with their classic results, and the network that is tried on them.

    mosaics: of every case. preset: of the classic results. makers: threads that make the mosaics. target_variance: of
    the noise of what is wanted, in units of that of the input; 0 where it is clean.
    """

    def __init__(
        self,
        cases: Mapping[str, Material],
        mosaics: int,
        grid: Grid,
        times: int,
        side: int,
        dimensions: Dimensions,
        device: torch.device,
        preset: str,
        *,
        makers: int = 1,
        target_variance: float = 0.0,
    ) -> None:
        self._network = on_device(Network(dimensions), device).eval()
        self._times, self._side = times, side
        self._target_variance = target_variance
        self._pools: dict[str, Pool] = {}
        materials = list(cases.values())

        def made(case: int) -> list[Plate]:
            maker = PlateMaker(materials[case], preset)
            return [maker.make(np.random.default_rng([_SEED, number])) for number in range(mosaics)]

        with Ahead(device, [made] * makers, range(len(materials))) as ahead:
            for name, material in cases.items():
                self._pools[name] = Pool(material.layout, mosaics, times, grid, device)
                ahead.hand_over(partial(_fill, self._pools[name]))

    @torch.no_grad()
    def __call__(self, weights: dict[str, Tensor]) -> dict[str, float]:
        """Mean and worst gain in dB over the classic result, of the clips of every case.

        Where what is wanted is noisy too, the gain of all clips together, by what is left of their errors without it.
        """
        for name, parameter in self._network.named_parameters():
            parameter.copy_(weights[name])
        found: dict[str, float] = {}
        for name, pool in self._pools.items():
            before, after = self._errors(pool)
            if self._target_variance:
                left = [max(float(errors.mean()) - self._target_variance, 1e-6) for errors in (before, after)]
                found[name] = float(10 * np.log10(left[0] / left[1]))
                continue
            gains = 10 * (before / after).log10()
            found[name] = float(gains.mean())
            found[f"{name} worst"] = float(gains.min())
        return found

    def _errors(self, pool: Pool) -> tuple[Tensor, Tensor]:
        """Mean square errors of every clip, of the classic result and of the network's, in units of the noise."""
        grid = pool.grid
        mosaic, cell = np.divmod(np.arange(pool.plates * grid.cells), grid.cells)
        rows, columns = np.divmod(cell, grid.columns)
        top, left = rows * grid.height + MARGIN, columns * grid.width + MARGIN
        places = np.column_stack((mosaic, np.zeros_like(top), top, left))
        before, after = [], []
        for first in range(0, len(places), _AT_ONCE):
            batch = pool.crops(places[first : first + _AT_ONCE], self._times, self._side)
            [corrections] = self._network([batch.frames], batch.fields)
            before.append(squared_error([torch.zeros_like(error) for error in batch.error], batch))
            after.append(squared_error(corrections, batch))
        return torch.cat(before), torch.cat(after)


def _fill(pool: Pool, plates: list[Plate]) -> None:
    for place, plate in enumerate(plates):
        pool.put(place, plate)
