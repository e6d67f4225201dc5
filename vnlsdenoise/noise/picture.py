"""The noise of a single picture, where nothing is told by what is new: a known shape, tried on what quiet areas hold.

The noise of cameras (demosaiced, reduced, compressed) falls exponentially over the frequencies u + v of 16x16 blocks,
that of differences of colours much faster than that of luma (fitted to photographs of which the mean of hundreds is
known). Quiet areas show such a shape, and all of them the same amount of it; texture has no least amount.
"""

import math

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
_QUIETEST, _QUIET, _WIDER = 0.02, 0.1, 0.2  # shares of the blocks
# Deviation at middle frequencies to that at the highest, where white noise, and what scaling leaves of it, has 1 to 3;
# and in the wider share of the blocks to the quietest.
_FALLEN, _SAME = (2.8, 3.4), (1.75, 1.45)
_LEAST = 0.5 / 255  # of the peak, of luma
_NOISIER = 1.2  # there is more of it elsewhere than in quiet areas


def measure_picture(luma: Tensor, peak: float, channels: int) -> NoiseModel | None:
    """The noise of cameras in a picture, None where it does not look like that.

    luma: [H, W], of three `channels` their opponent luma, whose largest value is then `peak` times sqrt(3).
    """
    if min(luma.shape) < SIDE or channels not in (1, 3):
        return None
    energies = _energies(luma)
    sums = frequency_sums(luma.device)
    middle = (sums >= _MIDDLE[0]) & (sums <= _MIDDLE[1])
    quietest, quiet, wider = (_quiet(energies, middle, share) for share in (_QUIETEST, _QUIET, _WIDER))
    least, level, more = (float(table[middle].mean()) ** 0.5 for table in (quietest, quiet, wider))
    top = float(quiet[sums >= _TOP].mean()) ** 0.5
    unit = 3**0.5 if channels == 3 else 1.0
    if level < _LEAST * peak * unit or not least or not top:
        return None
    if ramp(level / top, *_FALLEN) * ramp(more / least, *_SAME) < 0.5:
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
