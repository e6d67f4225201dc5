"""Gaussian noise that was clipped at black or white: what is left of it, and what it was before."""

import numpy as np
import numpy.typing as npt
import torch

_DISTANCES = np.linspace(-0.5, 6.0, 1301)  # of the true value from the border, in deviations of the noise


def _moments() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and deviation of max(0, d + n), n ~ N(0, 1), at `_DISTANCES`."""
    density = np.exp(-(_DISTANCES**2) / 2) / np.sqrt(2 * np.pi)
    share = torch.special.ndtr(torch.from_numpy(_DISTANCES)).numpy()
    mean = _DISTANCES * share + density
    return mean, np.sqrt((1 + _DISTANCES**2) * share + _DISTANCES * density - mean**2)


_MEAN, _DEVIATION = _moments()
_RATIO = _MEAN / _DEVIATION  # ascending
LEAST_RATIO = float(np.interp(0.3, _DISTANCES, _RATIO))  # nearer to the border hardly any noise is left to measure


def unclipped(
    mean: npt.NDArray[np.float64], deviation: npt.NDArray[np.float64], peak: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """True intensity and true deviation from the mean and deviation of samples that were clipped to 0 .. `peak`.

    Only the nearer border is taken into account. Entries too near to it to be told are NaN.
    """
    dark = mean <= peak / 2
    ratio = np.where(dark, mean, peak - mean) / deviation
    distance = np.interp(ratio, _RATIO, _DISTANCES)
    sigma = deviation / np.interp(distance, _DISTANCES, _DEVIATION)
    true = np.where(ratio >= _RATIO[-1], ratio * deviation, distance * sigma)
    sigma = np.where(ratio >= _RATIO[-1], deviation, sigma)
    told = ratio >= LEAST_RATIO
    return np.where(told, np.where(dark, true, peak - true), np.nan), np.where(told, sigma, np.nan)
