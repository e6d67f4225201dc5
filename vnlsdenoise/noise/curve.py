"""The noise curve: the deviation at every intensity, measured on the quiet blocks of that brightness."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vnlsdenoise.noise import blocks as cutting
from vnlsdenoise.noise.clipping import as_if_not_chosen, unclipped
from vnlsdenoise.noise.model import PlaneNoise

_BINS = 32  # of block means, over 0 .. peak
_FEWEST = 200  # blocks a bin, else it is not measured
_QUIETEST = 0.03  # share of the blocks of a bin
_OVERLAP = 4  # overlapping blocks say as much as one in so many that lie apart
_MODEL_ERROR = 0.04  # relative deviation of a bin's variance beyond what chance explains
_TEXTURED = 1.5  # times as much texture for its noise as the quietest bins have: such a bin measures texture
_STIFFNESS = 0.3  # weight of the curvature of the variance; at infinity the fit is affine, as photon noise is
_OUTLIER = 3.0  # deviations of a bin above the fit from which it no longer counts
_LEAST_CONTRAST = 1.15  # ratio of the largest to the smallest deviation, else the noise has one
_EXTRAPOLATED = 4.0  # most that the variance changes, as a ratio, beyond the intensities that it was measured at
_LEAST_GAIN = 12.0  # of chi square over noise of one deviation, else it has one
# Deviations from black and white within which R, G and B that were clipped have less noise, and luma with them: what
# lies between tells whether noise depends on the intensity by itself, if so many of its bins were measured.
_REACH_OF_CLIPPING, _FEWEST_BINS = 2.5, 3
_BLACK, _WHITE = 16 / 256, 235 / 256  # of the peak

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class QuietBlocks:
    """The quietest blocks of every brightness, of some frames of a plane."""

    spectrum: Tensor  # [N, 64]
    mean: Tensor  # [N]
    bin: Tensor  # [N], of the mean
    population: Tensor  # [bins], blocks of every brightness, quiet or not


@dataclass(frozen=True)
class MeasuredCurve:
    """level, deviation: knots of the fit over the true intensity. share: of the blocks, around each knot.

    gain: of chi square over noise of one deviation. levelled: the same where its fall near black and white is that of
    clipping, and it is level between them.
    """

    level: Array
    deviation: Array
    share: Array
    gain: float
    levelled: "MeasuredCurve | None" = None

    @property
    def sigma(self) -> float:
        """Root mean square over the picture."""
        return float(np.sqrt((self.share * self.deviation**2).sum() / self.share.sum()))

    @property
    def contrast(self) -> float:
        """Ratio of the largest to the smallest deviation."""
        return float(self.deviation.max() / self.deviation.min())

    @property
    def varies(self) -> bool:
        """Whether the deviation depends on the intensity by more than chance."""
        return self.contrast > _LEAST_CONTRAST and self.gain > _LEAST_GAIN

    def noise(self, peak: float, clipped: bool) -> PlaneNoise:
        """What was measured, as the noise of a plane that reaches to `peak`."""
        return PlaneNoise(self.sigma, self._knots(peak) if self.varies else (), clipped=clipped)

    def noise_between(self, peak: float) -> PlaneNoise:
        """The same of noise that was not clipped, level between black and white if it is."""
        level = self.levelled
        return PlaneNoise(level.sigma, level._knots(peak)) if level else self.noise(peak, clipped=False)

    def _knots(self, peak: float) -> tuple[tuple[float, float], ...]:
        """(level, deviation) of every knot, and the variance drawn on straight to black and white."""
        level, variance = self.level, self.deviation**2
        knots = [(float(at), float(value) ** 0.5) for at, value in zip(level, variance, strict=True)]
        # Drawn on as far again as it was measured: a few dark levels do not tell of white.
        span = float(level[-1] - level[0])
        for end, near, far in ((0.0, 0, 1), (peak, -1, -2)):
            if abs(end - level[near]) > 1e-3 * peak:
                slope = (variance[near] - variance[far]) / (level[near] - level[far])
                value = variance[near] + slope * min(max(end - level[near], -span), span)
                value = min(max(value, variance[near] / _EXTRAPOLATED), variance[near] * _EXTRAPOLATED)
                knots.append((end, float(value) ** 0.5))
        return tuple(sorted(knots))


def quiet_blocks(frames: list[Tensor], peak: float) -> QuietBlocks:
    """The blocks of least texture among those of like brightness, frame by frame; frames: [H, W] each."""
    spectra, means, bins, populations = [], [], [], []
    for frame in frames:
        blocks = cutting.cut_blocks(frame)
        blocks = blocks[cutting.not_graphic(blocks)]
        mean = blocks.mean(1)
        bin = (mean * (_BINS / peak)).floor().clamp(0, _BINS - 1).long()
        spectrum = cutting.spectrum_of(blocks)
        count = torch.bincount(bin, minlength=_BINS)
        quota = (count * _QUIETEST).ceil().clamp_min(-(-2 * _FEWEST // len(frames)))
        order = cutting.texture_of(spectrum).argsort(stable=True)
        order = order[bin[order].argsort(stable=True)]
        rank = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[bin[order]]
        chosen = order[rank < quota[bin[order]]]
        spectra.append(spectrum[chosen])
        means.append(mean[chosen])
        bins.append(bin[chosen])
        populations.append(count)
    return QuietBlocks(torch.cat(spectra), torch.cat(means), torch.cat(bins), torch.stack(populations).sum(0))


def measure_curve(quiet: QuietBlocks, peak: float, clipped: bool, *, sums: bool = False) -> MeasuredCurve | None:
    """The deviation over the intensity; None where no bin holds enough blocks.

    sums: the samples are sums of what was clipped, luma of R, G and B: nearer to Gaussian noise, of which the quietest
    blocks tell the deviation (to 1 % in tests).
    """
    bins = [measured_bin(quiet, index) for index in range(_BINS)]
    table = np.array([row for row in bins if row is not None], dtype=np.float64).reshape(-1, 5)
    level, deviation, texture, count, share = table.T
    if len(table) == 0 or not (deviation > 0).any():
        return None
    if clipped:
        if not sums:
            deviation = as_if_not_chosen(level, deviation, texture, peak, cutting.SIDE**2, cutting.TEXTURE_FREQUENCIES)
        level, deviation = unclipped(level, deviation, peak)
    # A bin without quiet blocks measures its texture: white noise has as much energy at all frequencies.
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = texture / np.maximum(table[:, 1] ** 2, 1e-12)
    told = np.isfinite(deviation) & (deviation > 0)
    if not told.any():
        return None
    told &= excess <= _TEXTURED * excess[told].min()
    level, deviation, count, share = level[told], deviation[told], count[told], share[told]
    variance = deviation**2
    # The median magnitude of n values is known to 1.17 / sqrt(2 n) of itself, its square to twice that.
    chance = 2 * 1.17 / np.sqrt(2 * 15 * count / _OVERLAP)
    weight = 1 / (chance**2 + _MODEL_ERROR**2)
    fit, used = _fitted(level, variance, weight, peak)
    whole = MeasuredCurve(level, np.sqrt(fit), share, _gain(variance, fit, used * weight))
    return replace(whole, levelled=None if clipped or not whole.varies else _levelled(whole, variance, weight, peak))


def _gain(variance: Array, fit: Array, weight: Array) -> float:
    """Of chi square, of a fit over a constant."""
    constant = (weight * variance).sum() / weight.sum()
    return float((weight * ((variance / constant - 1) ** 2 - (variance / fit - 1) ** 2)).sum())


def _levelled(whole: MeasuredCurve, variance: Array, weight: Array, peak: float) -> MeasuredCurve | None:
    """The same, level between black and white; None where noise is not the same there.

    A smooth curve through all would draw the fall on to where there is none.
    """
    level, share = whole.level, whole.share
    reach = _REACH_OF_CLIPPING * whole.sigma
    ends = np.array([_BLACK * peak + reach, _WHITE * peak - reach])
    inner = (level > ends[0]) & (level < ends[1])
    if inner.sum() < _FEWEST_BINS:
        return None
    own, trust = variance[inner], weight[inner]
    fit, used = _fitted(level[inner], own, trust, peak)
    if MeasuredCurve(level[inner], np.sqrt(fit), share[inner], _gain(own, fit, used * trust)).varies:
        return None
    constant = (used * trust * own).sum() / (used * trust).sum()
    drawn = np.where(inner, constant, (whole.deviation**2).clip(max=constant))
    # What a codec has thinned is told by the noisier intensities, too: there is as much of it as before.
    drawn *= whole.sigma**2 / ((share * drawn).sum() / share.sum())
    gain, constant = _gain(variance, drawn, weight), drawn[inner][0]
    # It is level up to there, whatever intensities were measured.
    level, drawn, share = np.append(level, ends), np.append(drawn, [constant] * 2), np.append(share, [0.0] * 2)
    order = level.argsort()
    return MeasuredCurve(level[order], np.sqrt(drawn[order]), share[order], gain)


class MeasuredBin(NamedTuple):
    """Mean, deviation, texture and number of the quiet blocks of one brightness, and how many blocks it has in all."""

    mean: float
    deviation: float
    texture: float
    blocks: float
    population: float


def measured_bin(quiet: QuietBlocks, index: int) -> MeasuredBin | None:
    """What the blocks of one bin tell; None where they are too few."""
    own = quiet.bin == index
    count = int(own.sum())
    if count < _FEWEST:
        return None
    spectrum = quiet.spectrum[own]
    deviation = cutting.noise_part(spectrum).abs().median() / cutting.GAUSSIAN_MAD
    texture = cutting.texture_of(spectrum).median()
    mean, population = float(quiet.mean[own].mean()), float(quiet.population[index])
    return MeasuredBin(mean, float(deviation), float(texture), count, population)


def _fitted(level: Array, variance: Array, weight: Array, peak: float) -> tuple[Array, Array]:
    """A smooth curve through the variances, and how far each was trusted: those far above it measure texture."""
    used = np.ones_like(level)
    order = np.argsort(level)
    x, fit = level / peak, variance.copy()
    for _ in range(8):
        # Relative errors: weights refer to the fit, which the first round does not have.
        scale = np.maximum(fit, 1e-3 * variance.max()) if _ else np.full_like(variance, np.median(variance))
        fit = _smooth(x, variance, used * weight / scale**2, order, float(np.mean(scale)))
        fit = np.maximum(fit, 0.05 * np.median(variance))
        excess = (variance / fit - 1) * np.sqrt(weight)
        used = np.where(excess > 0, 1 / (1 + (excess / _OUTLIER) ** 4), 1 / (1 + (excess / (2 * _OUTLIER)) ** 4))
    return fit, used


def _smooth(x: Array, y: Array, weight: Array, order: npt.NDArray[np.intp], scale: float) -> Array:
    """Weighted least squares with a penalty on the change of slope."""
    n = len(x)
    xs = x[order]
    penalty = np.zeros((n, n))
    for k in range(1, n - 1):
        row = np.zeros(n)
        left, right = xs[k] - xs[k - 1], xs[k + 1] - xs[k]
        row[k - 1], row[k], row[k + 1] = 1 / left, -1 / left - 1 / right, 1 / right
        penalty += np.outer(row, row) * 2 / (left + right)
    system = np.diag(weight[order]) + _STIFFNESS / scale**2 * penalty
    fit = np.empty(n)
    fit[order] = np.linalg.lstsq(system, weight[order] * y[order], rcond=None)[0]
    return fit
