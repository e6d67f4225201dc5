"""Linear light, as floating point images hold it, in code values that noise is measured and removed in."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.floating[Any]]
Wide = npt.NDArray[np.float64]
_PEAK = 65535
_MOST, _LEAST = 99.5, 0.1  # percentiles that tell how far the samples of a film reach
_HEADROOM = 2.0  # how much further the codes go
_TOE, _KNEE = 1 / 32, 4.0  # of the median: where the square root begins, and where the logarithm does
_BINS, _FEW = 64, 64  # of brightness, and samples that say little of one
_SMALLEST = 1e-4  # of the largest sample: the median of a film that is mostly black


@dataclass(frozen=True)
class Light:
    """A curve between linear light and 16-bit codes: a square root, as photons count, and a logarithm for highlights.

    The variance of light grows with it: in its root noise is even (F. J. Anscombe, "The transformation of Poisson,
    binomial and negative-binomial data", Biometrika 1948), as the denoiser likes it best. Around black, below which
    noise reaches, the curve is straight; above the knee it spends less on what is far brighter than the picture, like
    hybrid log-gamma (ITU-R BT.2100).

    toe: where the root begins; knee: where the logarithm does. low, high: samples of the codes 0 and 65535; what lies
    beyond them keeps the difference.
    """

    toe: float
    knee: float
    low: float
    high: float

    @classmethod
    def of(cls, images: Iterable[Samples]) -> "Light":
        """The curve for a film, by some images of it."""
        found = np.concatenate(
            [np.zeros(0), *(image[np.isfinite(image)].ravel().astype(np.float64) for image in images)]
        )
        if not found.size or not found.any():
            return cls(_TOE, _KNEE, 0.0, 2 * _KNEE)
        least, middle, most = np.percentile(found, (_LEAST, 50, _MOST))
        largest = max(float(most), _SMALLEST * float(np.abs(found).max()))
        middle = max(float(middle), _SMALLEST * largest)
        low = min(0.0, float(least) * _HEADROOM)
        return cls(middle * _TOE, middle * _KNEE, low, max(largest, middle) * _HEADROOM)

    def codes(self, samples: Samples) -> npt.NDArray[np.uint16]:
        """Samples of any shape as codes; what is no number is black."""
        first, scale = self._scale()
        wide = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=self.high, neginf=self.low)
        return np.rint(np.clip((self._curve(wide) - first) * scale, 0, _PEAK)).astype(np.uint16)

    def changed(self, samples: Samples, codes: npt.NDArray[np.uint16]) -> Samples:
        """The samples with what their codes were changed by; bit for bit the same where that is nothing.

        A mean of roots is less than the root of a mean, by the variance of the noise: what that darkens is put back by
        what was removed.
        """
        before = self.codes(samples)
        same = (codes == before) | ~np.isfinite(samples)
        if same.all():
            return samples
        wide = np.where(same, 0.0, samples.astype(np.float64))
        moved = wide + self._light(codes) - self._light(before)
        # The mean light of codes that deviate so much, by three points of Gauss and Hermite, less that of their mean.
        away = (3 * _removed_variance(before.astype(np.float64) - codes, codes, ~same)) ** 0.5
        moved += (self._light(codes + away) + self._light(codes - away) - 2 * self._light(codes)) / 6
        most = np.finfo(samples.dtype).max
        return np.where(same, samples, np.clip(moved, -most, most).astype(samples.dtype))

    def _light(self, codes: npt.NDArray[np.uint16] | Wide) -> Wide:
        """The inverse of the curve, at codes."""
        first, scale = self._scale()
        value = codes / scale + first
        root = np.abs(value) + self.toe**0.5
        knee = (self.knee + self.toe) ** 0.5
        bright = (knee**2) * np.exp(np.minimum(2 * (root / knee - 1), 700.0))
        return np.asarray(np.sign(value) * (np.where(root > knee, bright, root**2) - self.toe))

    def _curve(self, light: Wide) -> Wide:
        above = np.abs(light) + self.toe
        knee = self.knee + self.toe
        bright = knee**0.5 * (1 + np.log(np.maximum(above, knee) / knee) / 2)
        return np.asarray(np.sign(light) * (np.where(above > knee, bright, above**0.5) - self.toe**0.5))

    def _scale(self) -> tuple[float, float]:
        first, last = self._curve(np.array([self.low, self.high]))
        return float(first), _PEAK / float(last - first)


def _removed_variance(difference: Wide, codes: npt.NDArray[np.uint16], changed: npt.NDArray[np.bool_]) -> Wide:
    """The variance of what was removed of codes, at the brightness of each."""
    step = (_PEAK + 1) // _BINS
    bins = codes[changed] // step
    counts = np.bincount(bins, minlength=_BINS)
    squares = np.bincount(bins, difference[changed] ** 2, minlength=_BINS)
    centres = (np.arange(_BINS) + 0.5) * step
    return np.asarray(np.interp(codes, centres, squares / (counts + _FEW)))
