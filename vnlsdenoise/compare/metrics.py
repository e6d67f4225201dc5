"""How far one plane is from another: PSNR, SSIM, and how the difference changes from frame to frame."""

import math

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]
Errors = npt.NDArray[np.float32]

_WINDOW = 7  # of SSIM: a uniform one, as scikit-image takes by default
_K1, _K2 = 0.01, 0.03
_STILL = 2 / 255  # of the peak: pixels that change less from frame to frame stand still


def squared_error(one: Plane, other: Plane) -> float:
    """Mean squared difference of two planes [h, w]."""
    return float(np.square(one.astype(np.float64) - other).mean())


def psnr(error: float, peak: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error; infinite where there is none."""
    return 10 * math.log10(peak**2 / error) if error else math.inf


def ssim(one: Plane, other: Plane, peak: float) -> float:
    """Structural similarity of two planes [h, w] of at least 7x7, NaN for smaller ones.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004, with uniform
    windows of 7x7 and their unbiased variances, mean over all windows that lie inside.
    """
    if min(one.shape) < _WINDOW:
        return math.nan
    x, y = one.astype(np.float64), other.astype(np.float64)
    inside = slice(_WINDOW // 2, -(_WINDOW // 2))

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.blur(values, (_WINDOW, _WINDOW)), np.float64)[inside, inside]

    count = _WINDOW**2
    unbiased = count / (count - 1)
    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = (unbiased * (mean(v * v) - m * m) for v, m in ((x, mean_x), (y, mean_y)))
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def difference(one: Plane, other: Plane) -> Errors:
    """`one` minus `other`, as floats."""
    return one.astype(np.float32) - other.astype(np.float32)


def flicker(error: Errors, before: Errors, peak: float) -> float:
    """Mean absolute change of the error from one frame to the next, in code values of 8 bits."""
    return float(np.abs(error - before).mean()) * 255 / peak


def flicker_still(error: Errors, before: Errors, clean: Plane, clean_before: Plane, peak: float) -> float:
    """`flicker` of the pixels that stand still in the reference; NaN where none does."""
    still = np.abs(difference(clean, clean_before)) < _STILL * peak
    return float(np.abs(error - before)[still].mean()) * 255 / peak if still.any() else math.nan
