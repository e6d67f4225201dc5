"""Variance stabilisation: noise of any curve becomes noise of deviation 1, and the way back without bias."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vnlsdenoise.noise.model import NoiseModel, PlaneNoise

_KNOTS = 2048  # of the forward table; the inverse has twice as many
_REACH = 6.0  # deviations of the noise that expectations are integrated over
_POINTS = 481  # of that integration
STABILISE_WORK = 9  # floats a sample that looking up a table allocates at most, its result included
_LEAST_OF_CURVE = 1 / 8  # of the plane's deviation: a curve is not followed below it, where g would be all slope
# Under this share of the range a noise deviation counts as none: the plane is returned as it is.
SMALLEST_SIGMA = 1 / 4096
# No plane is worked on as if it had less than this share of the noisiest one's deviation: in units of its noise it
# would dwarf the others. R, G and B are added up in these units, so that it matters more for them.
_LEAST_SHARE = {"gray": 1 / 64, "yuv": 1 / 64, "rgb": 1 / 8}

Array = npt.NDArray[np.float64]


class Stabiliser:
    """The samples of a plane to units of their noise, and estimates in these units back to the plane's scale.

    Forward: g(y) = integral from 0 to y of dI / sigma(I). Back: the inverse of x -> E[g(y) | x], the expectation of
    what g makes of a noisy, and where the model says so clipped, observation of x: inverting g itself would leave the
    bias that a curved g and clipping bring (after Makitalo, Foi, "A closed-form approximation of the exact unbiased
    inverse of the Anscombe variance-stabilizing transformation", IEEE TIP 2011, and Foi, "Clipped noisy images",
    Signal Processing 2009). For noise of one deviation that was not clipped both are a division and a product.

    floor: least deviation. peak: white in the scale of the plane. sigma: the deviation that becomes 1.
    """

    def __init__(self, noise: PlaneNoise, peak: float, floor: float) -> None:
        self.sigma = max(noise.sigma, floor)
        self._tables: tuple[Table, Table] | None = None
        if noise.curve or noise.clipped:
            self._tables = _tables(noise, peak, floor)
        self.range = peak / self.sigma if self._tables is None else self._tables[0].at(peak)

    @property
    def work(self) -> int:
        """Floats a sample that either way allocates at most, its result included."""
        return 1 if self._tables is None else STABILISE_WORK

    def forward(self, plane: Tensor) -> Tensor:
        """[h, w] samples -> the same in units of their noise."""
        return plane / self.sigma if self._tables is None else self._tables[0](plane)

    def back(self, units: Tensor) -> Tensor:
        """[h, w] estimates of stabilised samples -> unbiased estimates in the scale of the plane."""
        return units * self.sigma if self._tables is None else self._tables[1](units)


def stabilisers_of(noise: NoiseModel, peak: float, family: str) -> list[Stabiliser]:
    """What takes every plane to units of its noise, and back."""
    floor = max(SMALLEST_SIGMA * peak, max(noise.sigma) * _LEAST_SHARE[family])
    return [Stabiliser(plane, peak, floor) for plane in noise.planes]


class Table:
    """A piecewise linear function on equally spaced knots, going on straight beyond them."""

    def __init__(self, first: float, last: float, values: Array) -> None:
        self._first = first
        self._scale = (len(values) - 1) / (last - first)
        self._values = values
        self._on_device: dict[torch.device, Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        values = self._on_device.get(x.device)
        if values is None:
            values = torch.from_numpy(self._values).float().to(x.device)
            self._on_device[x.device] = values
        position = (x - self._first) * self._scale
        left = position.floor().clamp_(0, len(values) - 2)
        share = position.sub_(left)
        left = left.long()
        below, above = values[left], values[left + 1]
        return below + share * (above - below)

    def at(self, x: float) -> float:
        """The value at one place within the knots."""
        places = self._first + np.arange(len(self._values)) / self._scale
        return float(np.interp(x, places, self._values))


def unclipping(noise: PlaneNoise, peak: float) -> Table:
    """The mean of samples that were clipped to 0 .. `peak` -> what they are the noisy samples of."""
    x = np.linspace(0, peak, _KNOTS)
    levels, deviations = _knots(noise)
    return _inverse(x, _expectation(x, np.interp(x, levels, deviations), x, True))


def _knots(noise: PlaneNoise) -> tuple[Array, Array]:
    levels, deviations = zip(*(noise.curve or ((0.0, noise.sigma),)), strict=True)
    return np.array(levels, dtype=np.float64), np.array(deviations, dtype=np.float64)


def _inverse(x: Array, mean: Array) -> Table:
    # A mean that did not rise with the intensity could not be inverted: nothing a noise curve can do but by its ends.
    mean = np.maximum.accumulate(mean + np.arange(len(x)) * 1e-9 * (mean[-1] - mean[0]))
    units = np.linspace(mean[0], mean[-1], 2 * len(x))
    return Table(mean[0], mean[-1], np.interp(units, mean, x))


def _tables(noise: PlaneNoise, peak: float, floor: float) -> tuple[Table, Table]:
    levels, deviations = _knots(noise)
    deviations = np.maximum(deviations, noise.sigma * _LEAST_OF_CURVE)
    # Samples that were not clipped lie beyond black and white, too.
    margin = 0.0 if noise.clipped else _REACH * max(float(deviations.max()), floor)
    x = np.linspace(-margin, peak + margin, _KNOTS)
    said = np.interp(x, levels, deviations)
    sigma = np.maximum(said, floor)
    # Clipping leaves less noise near the borders; the curve is over the true intensity, and g is taken of samples.
    slope = 1 / sigma
    stabilised = np.concatenate(([0.0], np.cumsum((slope[1:] + slope[:-1]) / 2) * (x[1] - x[0])))
    stabilised -= np.interp(0.0, x, stabilised)
    mean = _expectation(x, said / noise.overstated, stabilised, noise.clipped)
    return Table(x[0], x[-1], stabilised), _inverse(x, mean)


def _expectation(x: Array, sigma: Array, stabilised: Array, clipped: bool) -> Array:
    """E[g(y)] where y = x + sigma n, clipped to the range of `x` if so asked; g beyond its knots goes on straight."""
    n = np.linspace(-_REACH, _REACH, _POINTS)
    weight = np.exp(-(n**2) / 2)
    weight /= weight.sum()
    mean = np.zeros_like(x)
    steps = (x[1] - x[0], stabilised[1] - stabilised[0], stabilised[-1] - stabilised[-2])
    for share, deviates in zip(weight, n, strict=True):
        y = x + sigma * deviates
        inside = np.clip(y, x[0], x[-1])
        value = np.interp(inside, x, stabilised)
        if not clipped:
            value += np.minimum(y - x[0], 0) * steps[1] / steps[0] + np.maximum(y - x[-1], 0) * steps[2] / steps[0]
        mean += share * value
    return mean
