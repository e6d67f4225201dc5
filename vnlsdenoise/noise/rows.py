"""Noise of rows, and of columns: an offset that all samples of one share, another in every frame.

Reading a sensor out leaves it, where there is little light, and so does tape. Blocks do not tell it from edges that lie
along the rows: to them it is texture. But no edge is the same all along the rows and at all heights, without being
found in the frames beside it. It is asked on means of short pieces of the rows, less those of the rows around; what most
pieces of a row share is its offset. Half of the pieces are asked apart from the other half: white noise, of which each
has its own, is in none of the products of both.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.noise.model import NoiseModel, PlaneNoise, Spectrum
from vnlsdenoise.noise.stabilise import stabilisers_of
from vnlsdenoise.planes import opponent_from_rgb
from vnlsdenoise.video.frame import PlaneFormat

_PIECE, _FEWEST_PIECES = 8, 8  # samples, of which the mean is taken; of a row
_AROUND, _FEWEST_ROWS = 9, 48  # rows whose mean is the brightness around one of them; of a picture
_BANDS = 8  # of the height of the picture
# Of the deviation of offsets: least of it, of the peak and of that of white noise, below which it makes no difference;
# of its variance, least to that of the error that white noise leaves of an offset.
_LEAST, _LEAST_BESIDE, _LEAST_TOLD = 0.3 / 255, 0.18, 0.25
# Correlation of what is new in a frame with what is new in the next one: -1/2 in noise, which the frame between has
# part in. At any shift, and with the one after that: 0, but for chance up to 0.5 in small pictures. Clean films have
# 0.8 and more.
_TURNING, _MOST_ALIKE = -0.25, 0.6
# Of the variance of what is new: what a frame holds of offsets that those beside it do not hold at any shift; what is
# new in the least but one of the bands of the picture, and in the quarter of the frames with least of it.
_NEW, _NEW_OF_TWO, _EVERYWHERE, _ALWAYS = 0.4, 0.6, 0.4, 0.5
# Samples that one block of the coarser levels covers, over which the offset of a row adds up: of 4, 8, 16 and 32 this
# is best (side 8, three clips, rows of 2 and 4 beside white noise of 1 and 4).
_WIDE = 16
_SIDE = 8  # of the spectrum of noise that has been white
_LEAST_WHITE = 0.25  # of the deviation of offsets: beside less white noise they are told as if there were so much

F = TypeVar("F")


class _Offsets(NamedTuple):
    """[T, H]: what rows have more than those around them, by either half of their pieces."""

    one: Tensor
    other: Tensor

    def together(self) -> Tensor:
        """[T]: variance of what both have."""
        return (self.one * self.other).mean(1)

    def at(self, frames: slice) -> "_Offsets":
        """Those of some frames."""
        return _Offsets(self.one[frames], self.other[frames])


def with_offsets(
    noise: NoiseModel,
    frames: Sequence[F],
    planes: Callable[[F], list[Tensor]],
    layout: PlaneFormat,
    peak: float,
    pairs: bool,
) -> NoiseModel:
    """The noise with that of rows and columns, where frames prove that there is some; args as of `measure_noise`."""
    if len(frames) < 2:
        return noise
    rgb = layout.family == "rgb"
    stabilisers = stabilisers_of(noise, peak, layout.family)
    pieces: list[list[tuple[Tensor, Tensor]]] = []  # of every channel and frame: of rows and of columns
    for frame in frames:
        units = [s.forward(plane) for plane, s in zip(planes(frame), stabilisers, strict=True)]
        channels = opponent_from_rgb(units) if rgb else units
        pieces = pieces or [[] for _ in channels]
        for found, channel in zip(pieces, channels, strict=True):
            found.append((_pieces(channel).cpu(), _pieces(channel.T).cpu()))
    ranges = [s.range for s in stabilisers]
    white = [1.0] * len(pieces)
    if rgb:
        ranges = [sum(ranges) / len(ranges)] * len(ranges)
        white = list(noise.opponent) or white
    variances = []  # of every channel: of rows and of columns, over the frequencies
    for found, reach, beside in zip(pieces, ranges, white, strict=True):
        least = max(_LEAST * reach, _LEAST_BESIDE * beside)
        variances.append([_variances(torch.stack(along), least, pairs) for along in zip(*found, strict=True)])
    if not any(variance is not None for both in variances for variance in both):
        return noise
    if not rgb:
        told = (_plane_with(*part) for part in zip(noise.planes, (s.sigma for s in stabilisers), variances, strict=True))
        return replace(noise, planes=tuple(told))
    spectra = noise.opponent_spectra or ((),) * 3
    parts = [_added(*part) for part in zip(spectra, white, variances, strict=True)]
    unit = math.sqrt(sum(deviation**2 for deviation, _ in parts) / len(parts))
    return replace(
        noise,
        planes=tuple(_at_least(p, s.sigma).times(unit) for p, s in zip(noise.planes, stabilisers, strict=True)),
        opponent=tuple(deviation / unit for deviation, _ in parts),
        opponent_spectra=tuple(spectrum for _, spectrum in parts),
    )


def _pieces(plane: Tensor) -> Tensor:
    """[H, W] -> [H, W // 8]: means of pieces of every row."""
    height, width = plane.shape
    count = width // _PIECE
    return plane[:, : count * _PIECE].reshape(height, count, _PIECE).mean(2)


def _variances(pieces: Tensor, least: float, pairs: bool) -> list[float] | None:
    """The variance of offsets at every frequency along the columns, of mean that of them all; None where none is proven.

    pieces: [T, H, N] of frames. least: deviation.
    """
    if pieces.shape[1] < _FEWEST_ROWS or pieces.shape[2] < _FEWEST_PIECES:
        return None
    # What stands still is in no difference.
    step = 2 if pairs else 1
    new = _offsets(pieces[1::step] - pieces[:-1:step])
    kept = 2 * (1 - 1 / _AROUND)  # of the variance of offsets: differences of two, less the mean of those around
    together = new.together()
    level = float(together.median())
    error = float((new.one - new.other).square().mean()) / 4
    if level < kept * least**2 or level < _LEAST_TOLD * error:
        return None
    bands = [float((one * other).mean()) for one, other in zip(*(part.chunk(_BANDS, 1) for part in new), strict=True)]
    if sorted(bands)[1] < _EVERYWHERE * level or float(together.quantile(0.25)) < _ALWAYS * level:
        return None
    of_two = pairs or len(together) < 3
    if not of_two and not _turns(new, level):
        return None
    # What moves is new at its place.
    own = _offsets(pieces)
    before, after = slice(None, -1, step), slice(1, None, step)
    found = float((own.together()[before] - _most_alike(own.at(before), own.at(after))).median())
    if found < (_NEW_OF_TWO if of_two else _NEW) * level / 2:
        return None
    return _over_frequencies(new, level / kept)


def _turns(new: _Offsets, level: float) -> bool:
    """Whether what is new in every frame is all new in the next one."""
    first, second, third = slice(None, -1), slice(1, None), slice(2, None)
    one, other = new.at(first), new.at(second)
    turning = ((one.one * other.other + one.other * other.one) / 2).mean(1).median()
    if float(turning) > _TURNING * level:
        return False
    alike = _most_alike(one, other), _most_alike(new.at(slice(None, -2)), new.at(third))
    return max(float(part.median()) for part in alike) <= _MOST_ALIKE * level


def _offsets(pieces: Tensor) -> _Offsets:
    """Of [T, H, N]."""
    reach = _AROUND // 2
    padded = functional.pad(pieces.transpose(1, 2), (reach, reach), mode="reflect")
    pieces = pieces - padded.unfold(2, _AROUND, 1).mean(3).transpose(1, 2)
    one, other = (pieces[..., half::2].median(2).values.double() for half in (0, 1))
    return _Offsets(one, other)


def _most_alike(one: _Offsets, other: _Offsets) -> Tensor:
    """[T]: covariance of one with the other, at the shift along the columns where it is most."""
    count = one.one.shape[1]
    length = 2 * count

    def waves(offsets: Tensor) -> Tensor:
        spectrum: Tensor = torch.fft.rfft(offsets, length)
        return spectrum

    both = (waves(one.one).conj() * waves(other.other), waves(one.other).conj() * waves(other.one))
    return torch.stack([torch.fft.irfft(product, length).amax(1) for product in both]).amax(0) / count


def _over_frequencies(new: _Offsets, variance: float) -> list[float]:
    """The variance at every frequency of a DCT of 8 rows: of what a sensor's rows of two colours share there is less at
    high ones, and tape is read evenly."""
    power = (torch.fft.rfft(new.one).conj() * torch.fft.rfft(new.other)).real.mean(0)
    frequencies = torch.fft.rfftfreq(new.one.shape[1])
    passed = 1 - torch.sinc(_AROUND * frequencies.double()) / torch.sinc(frequencies.double())
    nearest = (frequencies * 2 * _SIDE).round().clamp_max(_SIDE - 1)
    found = [float(power[nearest == n].sum() / passed[nearest == n].square().sum()) for n in range(1, _SIDE)]
    found = [max(value, 0.0) for value in (found[0], *found)]
    mean = sum(found) / len(found)
    return [variance * value / mean for value in found]


def _plane_with(plane: PlaneNoise, unit: float, variances: Sequence[list[float] | None]) -> PlaneNoise:
    """A plane's noise with that of rows and columns; unit: the deviation that these are in units of."""
    deviation, spectrum = _added(plane.spectrum, 1.0, variances)
    return replace(_at_least(plane, unit).times(deviation), spectrum=spectrum) if spectrum else plane


def _at_least(plane: PlaneNoise, sigma: float) -> PlaneNoise:
    return plane if plane.sigma >= sigma else PlaneNoise(sigma)


def _added(
    spectrum: Spectrum, deviation: float, variances: Sequence[list[float] | None]
) -> tuple[float, Spectrum]:
    """The deviation and the spectrum with the offsets of rows and columns."""
    if all(variance is None for variance in variances):
        return deviation, spectrum
    most = max(sum(variance) / len(variance) for variance in variances if variance is not None)
    deviation = max(deviation, _LEAST_WHITE * math.sqrt(most))
    side = math.isqrt(len(spectrum)) or _SIDE
    table = torch.tensor(spectrum or (1.0,) * side**2, dtype=torch.float64).view(side, side) * deviation**2
    for of_rows, variance in zip((True, False), variances, strict=True):
        if variance is None:
            continue
        along = table if of_rows else table.T
        # Where they have been taken for noise of the spectrum, the frequencies beside tell what that is without them.
        along[:, :2] = along[:, :2].minimum(along[:, 2:3].maximum(along.T[:, :2])) if spectrum else along[:, :2]
        along[:, 0] += _WIDE * functional.interpolate(torch.tensor([[variance]]), side, mode="linear")[0, 0]
    mean = float(table.mean())
    return math.sqrt(mean), tuple(round(float(value), 6) for value in (table / mean).flatten())
