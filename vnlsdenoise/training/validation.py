"""Validation on scenes that training never sees: the gain over the classic result at fixed noise."""

import numpy as np
import torch
from torch import Tensor

from vnlsdenoise.learned.denoiser import on_device
from vnlsdenoise.learned.network import Dimensions, Layout, Network
from vnlsdenoise.training.degradation import Noise
from vnlsdenoise.training.footage import Footage
from vnlsdenoise.training.objective import squared_error
from vnlsdenoise.training.pool import MARGIN, PlateMaker, Pool
from vnlsdenoise.training.scenery import Grid, Scenery

_SEED = 1234
_AT_ONCE = 10  # clips
# Layout and deviation of the noise, of 255.
CASES: tuple[tuple[Layout, int], ...] = (("444", 5), ("444", 10), ("444", 30), ("444", 50), ("420", 20))


class Validation:
    """Crops of held-back scenes with their classic results, and the network that is tried on them."""

    def __init__(self, footage: Footage, grid: Grid, times: int, side: int, dimensions: Dimensions) -> None:
        device = footage.device
        self._network = on_device(Network(dimensions), device).eval()
        self._times, self._side = times, side
        self._pools: dict[str, Pool] = {}
        scenery = Scenery(footage, grid, times)
        for layout, sigma in CASES:
            noise = Noise((sigma / 255,) * 3, yuv=layout != "444", generator=torch.Generator(device).manual_seed(_SEED))
            pool = Pool(layout, 1, times, grid, device)
            pool.put(0, PlateMaker(scenery, layout, device).make(np.random.default_rng(_SEED), noise))
            self._pools[f"{layout} {sigma}"] = pool

    @torch.no_grad()
    def __call__(self, weights: dict[str, Tensor]) -> dict[str, float]:
        """Mean and worst gain in dB over the classic result, of the clips of every case."""
        for name, parameter in self._network.named_parameters():
            parameter.copy_(weights[name])
        found: dict[str, float] = {}
        for name, pool in self._pools.items():
            gains = self._gains(pool)
            found[name] = float(gains.mean())
            found[f"{name} worst"] = float(gains.min())
        return found

    def _gains(self, pool: Pool) -> Tensor:
        grid = pool.grid
        rows, columns = np.divmod(np.arange(grid.cells), grid.columns)
        top, left = rows * grid.height + MARGIN, columns * grid.width + MARGIN
        places = np.column_stack((np.zeros_like(top), np.zeros_like(top), top, left))
        gains = []
        for first in range(0, grid.cells, _AT_ONCE):
            batch = pool.crops(places[first : first + _AT_ONCE], self._times, self._side)
            [corrections] = self._network([batch.frames], batch.fields)
            before = squared_error([torch.zeros_like(error) for error in batch.error], batch)
            gains.append(10 * (before / squared_error(corrections, batch)).log10())
        return torch.cat(gains)
