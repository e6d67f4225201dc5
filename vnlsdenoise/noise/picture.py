"""The noise of a single picture, where nothing is told by what is new: a known shape, tried on what quiet areas hold.

The noise of cameras (demosaiced, reduced, compressed) falls exponentially over the frequencies u + v of 16x16 blocks,
that of differences of colours much faster than that of luma (fitted to photographs of which the mean of hundreds is
known). Quiet areas of most brightnesses show such a shape, and at every brightness all of them the same amount of it,
which differs from one to another; texture has no least amount.
"""

import math
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from vnlsdenoise.noise.blocks import dct_matrix
from vnlsdenoise.noise.estimate import ramp
from vnlsdenoise.noise.grain import lowest, of_halves
from vnlsdenoise.noise.model import NoiseModel, PlaneNoise, Spectrum
from vnlsdenoise.noise.temporal import SIDE, frequency_sums

_BLOCKS = 4096  # at most about
_MIDDLE, _TOP = (6, 14), 23  # sums u + v
_FALL, _FALL_OF_COLOUR = 10.0, 4.0  # of u + v, over which the deviation falls by e
# Deviations of the differences of colours beside luma's at u + v = 0, and of what is left of them everywhere.
_COLOUR, _COLOUR_FLOOR = 0.8, 0.02
_PARTS, _FEWEST = 5, 64  # of the blocks by their brightness; of blocks in each
_QUIETEST, _QUIET, _WIDER = 0.02, 0.1, 0.2  # shares of the blocks of a part
# Deviation at middle frequencies to that at the highest, where white noise, and what scaling leaves of it, has 1 to 3:
# what is left of noise there, and the rounding to 255 steps (of the sum of three channels). Of what is expected:
_LEFT, _ROUNDING = 0.145, 0.29 / 255
_FALLEN, _TOO_FALLEN = (0.74, 0.82), (1.46, 1.3)
# Deviation in the wider share of a part's blocks to that in the quietest, at the most; and in the median of parts.
_SAME, _SAME_IN_MOST = (1.75, 1.45), (1.38, 1.26)
_LEAST_PARTS = 3
_LEAST = 0.5 / 255  # of the peak, of luma
_NOISIER = 1.2  # there is more of it elsewhere than in quiet areas


def measure_picture(luma: Tensor, peak: float, channels: int) -> NoiseModel | None:
    """The noise of cameras in a picture, None where it does not look like that.

    luma: [H, W], of three `channels` their opponent luma, whose largest value is then `peak` times sqrt(3).
    """
    if min(luma.shape) < SIDE or channels not in (1, 3):
        return None
    energies = _energies(luma)
    if len(energies) < _PARTS * _FEWEST:
        return None
    sums = frequency_sums(luma.device)
    middle = (sums >= _MIDDLE[0]) & (sums <= _MIDDLE[1])
    unit = 3**0.5 if channels == 3 else 1.0
    rounding = _ROUNDING * peak * (1.0 if channels == 3 else 1 / 3**0.5)
    by_brightness = energies[energies[:, 0, 0].argsort(stable=True)].chunk(_PARTS)
    parts = [part for part in (_of_part(blocks, middle) for blocks in by_brightness) if part.is_noise(rounding)]
    if len(parts) < _LEAST_PARTS or ramp(median(part.same for part in parts), *_SAME_IN_MOST) < 0.5:
        return None
    level = median(part.level for part in parts)
    if level < _LEAST * peak * unit:
        return None
    shape = torch.exp(-sums / _FALL)
    strength = _NOISIER * level / float(shape[middle].square().mean()) ** 0.5
    deviation, spectrum = _of_shape(strength * shape)
    if channels == 1:
        return NoiseModel((PlaneNoise(deviation, spectrum=spectrum),))
    colour, of_colour = _of_shape(strength * (_COLOUR * torch.exp(-sums / _FALL_OF_COLOUR) + _COLOUR_FLOOR))
    sigma = math.hypot(deviation, colour, colour) / 3**0.5
    return NoiseModel(
        (PlaneNoise(sigma),) * 3,
        opponent=(deviation / sigma, colour / sigma, colour / sigma),
        opponent_spectra=(spectrum, of_colour, of_colour),
    )


class _Part(NamedTuple):
    """Quiet blocks among those of a brightness: their deviations at middle frequencies and at the highest.

    same: times that there is more at middle frequencies in the wider share of them than in the quietest.
    """

    level: float
    top: float
    same: float

    def is_noise(self, rounding: float) -> bool:
        """Whether they hold noise of the shape that is known."""
        if not self.top:
            return False
        fallen = math.hypot(rounding, _LEFT * self.level) / self.top
        return ramp(fallen, *_FALLEN) * ramp(fallen, *_TOO_FALLEN) * ramp(self.same, *_SAME) >= 0.5


def _of_part(energies: Tensor, middle: Tensor) -> _Part:
    quietest, quiet, wider = (_quiet(energies, middle, share) for share in (_QUIETEST, _QUIET, _WIDER))
    least, level, more = (float(table[middle].mean()) ** 0.5 for table in (quietest, quiet, wider))
    top = float(quiet[frequency_sums(energies.device) >= _TOP].mean()) ** 0.5
    return _Part(level, top, more / max(least, 1e-12))


def _energies(plane: Tensor) -> Tensor:
    """[N, 16, 16]: of the DCT of overlapping blocks."""
    stride = max(3, math.ceil((plane.numel() / _BLOCKS) ** 0.5) | 1)
    blocks = plane.unfold(0, SIDE, stride).unfold(1, SIDE, stride).reshape(-1, SIDE, SIDE)
    transform = dct_matrix(SIDE, plane)
    energies: Tensor = (transform @ blocks @ transform.T).square()
    return energies


def _quiet(energies: Tensor, middle: Tensor, share: float) -> Tensor:
    """[16, 16]: mean energy of the blocks of least, chosen by one half of the frequencies and measured on the other."""
    odd = frequency_sums(energies.device) % 2 == 1
    chosen = {half: lowest(energies[:, middle & (odd == half)].mean(1), share) for half in (True, False)}
    return of_halves(energies, chosen, odd)


def _of_shape(deviations: Tensor) -> tuple[float, Spectrum]:
    """The deviation of a table of them, and its spectrum."""
    variance = deviations.double().square()
    mean = float(variance.mean())
    return mean**0.5, tuple(round(float(value), 6) for value in (variance / mean).flatten())
