"""Linear light, as floating point images hold it, in code values that noise is measured and removed in."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.floating[Any]]
_PEAK = 65535
_MOST, _LEAST = 99.9, 0.1  # percentiles that tell how far the samples of a film reach
_HEADROOM = 4.0  # how much further the codes go
_TOE = 1 / 8  # of the median: where the curve turns from a straight line to a logarithm
_SMALLEST_TOE = 1 / 64  # of the largest sample, where most are black


@dataclass(frozen=True)
class Light:
    """A curve between linear light and 16-bit codes: straight around black, logarithmic above, as films are coded.

    Noise of light is larger where there is more of it, and reaches below black: in codes it is about even, and the
    picture is spread over them as the eye (and the denoiser) expects. A code is finer than a step of half precision.

    toe: where the logarithm begins. low, high: samples of the codes 0 and 65535; what lies beyond keeps the difference.
    """

    toe: float
    low: float
    high: float

    @classmethod
    def of(cls, images: Iterable[Samples]) -> "Light":
        """The curve for a film, by some images of it."""
        found = np.concatenate(
            [image[np.isfinite(image)].ravel().astype(np.float64) for image in images] or [np.zeros(0)]
        )
        if not found.size or not found.any():
            return cls(_SMALLEST_TOE, 0.0, 1.0)
        least, middle, most = np.percentile(found, (_LEAST, 50, _MOST))
        largest = max(float(most), float(np.abs(found).max()) / 1e6)
        toe = max(float(middle) * _TOE, largest * _SMALLEST_TOE * _SMALLEST_TOE) or 1.0
        if middle <= 0:
            toe = largest * _SMALLEST_TOE
        return cls(toe, min(0.0, float(least) * _HEADROOM), largest * _HEADROOM)

    def codes(self, samples: Samples) -> npt.NDArray[np.uint16]:
        """Samples of any shape as codes; what is no number is black."""
        first, scale = self._scale()
        wide = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=self.high, neginf=self.low)
        codes = (np.arcsinh(wide / (2 * self.toe)) - first) * scale
        return np.rint(np.clip(codes, 0, _PEAK)).astype(np.uint16)

    def changed(self, samples: Samples, codes: npt.NDArray[np.uint16]) -> Samples:
        """The samples with what their codes were changed by; bit for bit the same where that is nothing."""
        before = self.codes(samples)
        difference = self._light(codes) - self._light(before)
        most = np.finfo(samples.dtype).max
        with np.errstate(invalid="ignore"):
            moved = np.clip(samples.astype(np.float64) + difference, -most, most).astype(samples.dtype)
        return np.where((codes == before) | ~np.isfinite(samples), samples, moved)

    def _light(self, codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
        first, scale = self._scale()
        return np.asarray(2 * self.toe * np.sinh(codes / scale + first))

    def _scale(self) -> tuple[float, float]:
        first, last = (float(np.arcsinh(end / (2 * self.toe))) for end in (self.low, self.high))
        return first, _PEAK / (last - first)
