"""Noise of any spectrum to white noise of deviation 1, and exactly back."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.noise.model import Spectrum

# Floats a sample that filtering a plane allocates at most, its result included: the plane mirrored along both axes (4),
# its waves twice over (8), both transformed back (4), and the transform's own workspace.
WHITEN_WORK = 24
GAIN = 2  # floats a sample that a filter takes for good


class Whitener:
    """Divides a plane's frequencies by the deviation that the noise has there, and multiplies an estimate's by it.

    Both are symmetric filters of the plane continued by its mirror image, where they are products in the Fourier
    domain: one undoes the other up to rounding, at the borders too. Nothing is done where `spectrum` is empty.
    """

    def __init__(self, spectrum: Spectrum) -> None:
        self._spectrum = spectrum
        self._gain: Tensor | None = None  # [2 H, W + 1], of the plane's size and device

    @property
    def work(self) -> int:
        """Floats a sample that either way allocates at most, its result included."""
        return WHITEN_WORK if self._spectrum else 0

    def forward(self, plane: Tensor) -> Tensor:
        """[H, W] -> the same with its noise white."""
        return self._filtered(plane, True) if self._spectrum else plane

    def back(self, plane: Tensor) -> Tensor:
        """[H, W], the inverse of `forward`."""
        return self._filtered(plane, False) if self._spectrum else plane

    def _filtered(self, plane: Tensor, inverse: bool) -> Tensor:
        height, width = plane.shape
        gain = self._gain_of(height, width, plane.device)
        mirrored = torch.cat((plane, plane.flip(1)), 1)
        mirrored = torch.cat((mirrored, mirrored.flip(0)), 0)
        waves = torch.fft.rfft2(mirrored)
        del mirrored
        waves = waves.div_(gain) if inverse else waves.mul_(gain)
        filtered: Tensor = torch.fft.irfft2(waves, s=(2 * height, 2 * width))
        return filtered[:height, :width].contiguous()

    def _gain_of(self, height: int, width: int, device: torch.device) -> Tensor:
        """The deviation of the noise at every frequency of the mirrored plane, between those that were measured."""
        if self._gain is None:
            side = math.isqrt(len(self._spectrum))
            table = torch.tensor(self._spectrum).view(1, 1, side, side)
            rows = torch.fft.fftfreq(2 * height).abs() * 2 * side
            columns = torch.fft.rfftfreq(2 * width) * 2 * side
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            grid = torch.stack((x, y), -1) * (2 / (side - 1)) - 1
            variance = functional.grid_sample(table, grid[None], padding_mode="border", align_corners=True)[0, 0]
            self._gain = variance.sqrt().to(device)
        return self._gain
