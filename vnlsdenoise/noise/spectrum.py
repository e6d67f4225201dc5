"""How noise is spread over the spatial frequencies, measured on quiet blocks; and whether it is anything but white."""

import math
from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean, geometric_mean
from typing import NamedTuple

import torch
from torch import Tensor

from vnlsdenoise.noise import blocks as cutting
from vnlsdenoise.noise.model import Spectrum

_SHARES = (0.03, 0.12)  # of the blocks of a frame: noise is the same in both, texture is not
# Sums u + v over which blurred noise falls off, while white noise does not, and texture hardly matters.
_MIDDLE = (5, 9)
# Ratio of the variances there to those above. Chance makes at most 1.1 of it; fine texture, and compressed noise, 2 to
# 4.4: the latter is not stationary, and whitening it helps on most clips but costs up to 0.4 dB on others.
_LEAST_FALL = 4.5
# Growth between the shares, over the fall: the steeper this is, the less is texture alone what explains it.
_MOST_GROWTH = 1 / 6
_LOW = (1, 4)  # sums u + v: what `change_between_frames` compares at half the resolution
_FLOOR = 1 / 256  # of the mean variance: what lies below holds nothing that dividing by it could bring back


class Told(NamedTuple):
    """spectrum (8x8), deviation in the units given: empty and 1 unless the noise is correlated.

    fall: how many times the variance at middle frequencies is that at high ones.
    low: deviation at low frequencies, of noise and texture, in the units given.
    """

    spectrum: Spectrum
    deviation: float
    fall: float
    low: float


def measure_spectrum(frames: Iterable[tuple[Tensor, Tensor]], peak: float) -> Told:
    """The spectrum of the noise of a plane.

    frames: each as samples [H, W] and as the same in units of their noise; taken one by one.
    """
    # Blocks are chosen by one half of the frequencies and measured on the other: u + v even, u + v odd. The two are
    # uncorrelated in any noise that looks the same in a mirror, so that the choice does not lower what is measured.
    odd = cutting.frequency_sums(torch.device("cpu")) % 2 == 1
    quiet: dict[tuple[float, bool], list[Tensor]] = defaultdict(list)
    for frame, unit in frames:
        spectrum = _quiet(frame, unit, peak)
        for is_odd in (True, False):
            half = (odd if is_odd else ~odd).to(spectrum.device)
            texture = cutting.texture_of(torch.where(half, 0, spectrum))
            for share in _SHARES:
                chosen = texture.topk(math.ceil(share * len(texture)), largest=False).indices
                quiet[share, is_odd].append(spectrum[chosen][:, half])
    return _told(*(_variance(quiet[share, True], quiet[share, False], odd) for share in _SHARES))


def flatness(spectrum: Spectrum) -> float:
    """The geometric mean of a spectrum over its mean: 1 where noise is white, next to nothing where it is coarse."""
    return geometric_mean(spectrum) / fmean(spectrum) if spectrum else 1.0


def _variance(of_odd: list[Tensor], of_even: list[Tensor], odd: Tensor) -> Tensor:
    """[64], from the coefficients of the quiet blocks of every frame: [N, 32] of either half."""
    variance = torch.empty(64, dtype=torch.float64)
    for half, parts in ((odd, of_odd), (~odd, of_even)):
        deviation = torch.cat(parts).abs().median(0).values / cutting.GAUSSIAN_MAD
        variance[half] = deviation.double().cpu() ** 2
    return variance


def _quiet(frame: Tensor, unit: Tensor, peak: float) -> Tensor:
    """The coefficients of the blocks worth measuring on."""
    return cutting.spectrum_of(cutting.cut_blocks(unit)[cutting.worth_measuring(cutting.cut_blocks(frame), peak)])


def _told(variance: Tensor, quiet: Tensor) -> Told:
    sums = cutting.frequency_sums(variance.device)
    high = float(variance[cutting.measures_noise(sums)].mean())
    middle = float(variance[(sums >= _MIDDLE[0]) & (sums <= _MIDDLE[1])].median())
    wider = float(quiet[(sums >= _MIDDLE[0]) & (sums <= _MIDDLE[1])].median())
    # Brightness is no noise, and slopes pass for noise at the two frequencies beside it.
    table = variance.clone().view(8, 8)
    around = (table[1, 1] + table[0, 2] + table[2, 0]) / 3
    table[0, 1], table[1, 0] = table[0, 1].clamp_max(around), table[1, 0].clamp_max(around)
    table[0, 0] = (table[0, 1] + table[1, 0]) / 2
    low = float(table.flatten()[(sums >= _LOW[0]) & (sums <= _LOW[1])].mean()) ** 0.5
    if not middle > _LEAST_FALL * high > 0 or wider / middle - 1 > _MOST_GROWTH * middle / high:
        return Told((), 1.0, middle / high if high > 0 else 1.0, low)
    mean = table.mean()
    table = (table / mean).clamp_min(_FLOOR)
    table /= table.mean()
    return Told(tuple(round(float(value), 6) for value in table.flatten()), float(mean) ** 0.5, middle / high, low)
