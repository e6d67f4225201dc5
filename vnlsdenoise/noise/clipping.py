"""Gaussian noise that was clipped at black or white: what is left of it, and what it was before."""

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]

_DISTANCES = np.linspace(-0.5, 6.0, 1301)  # of the true value from the border, in deviations of the noise
_ROUNDS = 3  # until what clipping leaves of the deviation, and the deviation, belong to each other


def _moments() -> tuple[Array, Array, Array]:
    """Mean and deviation of max(0, d + n), n ~ N(0, 1), at `_DISTANCES`; excess kurtosis less squared skewness."""
    density = np.exp(-(_DISTANCES**2) / 2) / np.sqrt(2 * np.pi)
    raw = [torch.special.ndtr(torch.from_numpy(_DISTANCES)).numpy()]
    raw.append(_DISTANCES * raw[0] + density)
    raw += [np.empty(0)] * 3
    for order in range(2, 5):
        raw[order] = _DISTANCES * raw[order - 1] + (order - 1) * raw[order - 2]
    _, mean, second, third, fourth = raw
    variance = second - mean**2
    kurtosis = (fourth - 4 * third * mean + 6 * second * mean**2 - 3 * mean**4) / variance**2 - 3
    squared_skewness = (third - 3 * second * mean + 2 * mean**3) ** 2 / variance**3
    return mean, np.sqrt(variance), kurtosis - squared_skewness


_MEAN, _DEVIATION, _BEYOND_SKEWNESS = _moments()
_RATIO = _MEAN / _DEVIATION  # ascending
LEAST_RATIO = float(np.interp(0.3, _DISTANCES, _RATIO))  # nearer to the border hardly any noise is left to measure


def unclipped(mean: Array, deviation: Array, peak: float) -> tuple[Array, Array]:
    """True intensity and true deviation from the mean and deviation of samples that were clipped to 0 .. `peak`.

    Only the nearer border is taken into account. Entries too near to it to be told are NaN.
    """
    dark, ratio, distance = _from_border(mean, deviation, peak)
    sigma = deviation / np.interp(distance, _DISTANCES, _DEVIATION)
    true = np.where(ratio >= _RATIO[-1], ratio * deviation, distance * sigma)
    sigma = np.where(ratio >= _RATIO[-1], deviation, sigma)
    told = ratio >= LEAST_RATIO
    return np.where(told, np.where(dark, true, peak - true), np.nan), np.where(told, sigma, np.nan)


def as_if_not_chosen(mean: Array, deviation: Array, chosen_by: Array, peak: float, samples: int, chosen: int) -> Array:
    """The deviation of all blocks of a mean, from what was measured on those that hold least at other frequencies.

    Energies of independent samples at two frequencies have the covariance k / N of their squared variance, N being the
    number of samples and k, among blocks of one mean, their excess kurtosis less their squared skewness. That is none
    for Gaussian noise, and less for clipped noise: blocks with little at some frequencies hold more at all others.

    chosen_by: energy of these blocks at the frequencies that they were chosen by, `chosen` of the `samples` that a
    block has. Where that is more than the noise is, it is texture and tells nothing.
    """
    variance = deviation**2
    energy = np.minimum(chosen_by, variance)
    for _ in range(_ROUNDS):
        _, ratio, distance = _from_border(mean, np.sqrt(variance), peak)
        common = np.where(ratio >= _RATIO[-1], 0.0, np.interp(distance, _DISTANCES, _BEYOND_SKEWNESS)) / samples
        slope = common / (2 / chosen + common)
        variance = (deviation**2 - slope * energy) / (1 - slope)
    return np.sqrt(variance)


def _from_border(mean: Array, deviation: Array, peak: float) -> tuple[npt.NDArray[np.bool_], Array, Array]:
    """Whether black is nearer; the mean's distance from the border in deviations, and the true value's in true ones."""
    dark = mean <= peak / 2
    ratio = np.where(dark, mean, peak - mean) / deviation
    return dark, ratio, np.interp(ratio, _RATIO, _DISTANCES)
