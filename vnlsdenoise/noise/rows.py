"""Noise of rows, and of columns: an offset that all samples of one share, another in every frame.

Reading a sensor out leaves it, where there is little light, and so does tape. Blocks do not tell it from edges that lie
along the rows: to them it is texture. But no edge is the same all along the rows, at all heights, and nowhere to be
found in the frames beside. It is asked on means of short pieces of the rows, less those of the rows around; what most
pieces of a row share is its offset. The halves of the pieces are asked apart: of white noise each has its own, which no
product of the two has a part of.
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

_PIECE = 8  # samples of a row, of which the mean is taken, at the least
_FEWEST_PIECES, _PIECES = 8, 128  # of a row; about so many of a long one
_AROUND, _FEWEST_ROWS = 9, 48  # rows whose mean is the brightness around one of them; of a picture
_BANDS = 8  # of the height of the picture
# The least deviation of offsets, of the peak and of the other noise: less makes no difference. The least variance, of
# what other noise makes of it.
_LEAST, _LEAST_BESIDE, _LEAST_TOLD = 0.3 / 255, 0.18, 0.25
# Correlation of the difference of two frames with the next one: -1/2 in noise, both having that of the frame between.
# The most at any shift, and with the one after: by chance up to 0.5 in small pictures, 0.8 and more in clean films.
_TURNING, _MOST_ALIKE = -0.25, 0.6
# Of the variance of offsets: of what a frame holds that the next one does not hold at any shift; in the band of the
# picture that has least but one; and in a quarter of the frames.
_NEW, _EVERYWHERE, _ALWAYS = 0.4, 0.5, 0.5
# Of the variance at all frequencies along the columns, that at the upper half of them: 1 in noise, 0.15 in that of a
# colour which only every second row of a sensor has; 0.05 and less in what rushed by, all along the rows.
_FINE = 0.1
_FEWEST_FRAMES = 4  # that follow each other: pairs do not prove that what is new in one is all new in the next
# Samples along which an offset adds up in a patch, for the spectrum: 8 and 10 at the finest level, twice as many at the
# next. Of 4, 8, 16 and 32 this is best.
_WIDE = 16
_SIDE = 8  # of the spectrum, where noise was white without them
# Of their deviation: beside less white noise they are told as if there were so much. Dividing by more would make errors
# that many times larger on the way back.
_LEAST_WHITE = 0.7

F = TypeVar("F")


class _Offsets(NamedTuple):
    """[T, H], on the CPU: what rows have more than those around them, by either half of their pieces."""

    one: Tensor
    other: Tensor


def with_offsets(
    noise: NoiseModel,
    frames: Sequence[F],
    planes: Callable[[F], list[Tensor]],
    layout: PlaneFormat,
    peak: float,
) -> NoiseModel:
    """The noise with that of rows and columns, where frames that follow each other prove that there is some.

    noise: without. Other args: as of `measure_noise`.
    """
    if len(frames) < _FEWEST_FRAMES:
        return noise
    rgb = layout.family == "rgb"
    stabilisers = stabilisers_of(noise, peak, layout.family)
    pieces: list[list[tuple[Tensor, Tensor]]] = []  # of every channel and frame: of rows and of columns
    for frame in frames:
        units = [s.forward(plane) for plane, s in zip(planes(frame), stabilisers, strict=True)]
        channels = opponent_from_rgb(units) if rgb else units
        pieces = pieces or [[] for _ in channels]
        for found, channel in zip(pieces, channels, strict=True):
            found.append((_pieces(channel), _pieces(channel.T)))
    ranges = [s.range for s in stabilisers]
    white = [1.0] * len(pieces)
    if rgb:
        ranges = [sum(ranges) / len(ranges)] * len(ranges)
        white = list(noise.opponent) or white
    variances = []  # of every channel: of rows and of columns, over the frequencies
    for found, reach, beside in zip(pieces, ranges, white, strict=True):
        least = max(_LEAST * reach, _LEAST_BESIDE * beside)
        variances.append([_variances(torch.stack(along), least) for along in zip(*found, strict=True)])
    if not any(map(any, variances)):
        return noise
    own = [_at_least(plane, s.sigma) for plane, s in zip(noise.planes, stabilisers, strict=True)]
    spectra = (noise.opponent_spectra or ((),) * 3) if rgb else [plane.spectrum for plane in noise.planes]
    parts = [_added(*part) for part in zip(spectra, white, variances, strict=True)]
    if rgb:
        unit = math.sqrt(sum(deviation**2 for deviation, _ in parts) / len(parts))
        return replace(
            noise,
            planes=tuple(plane.times(unit) for plane in own),
            opponent=tuple(deviation / unit for deviation, _ in parts),
            opponent_spectra=tuple(spectrum for _, spectrum in parts),
        )
    told = (
        replace(plane.times(deviation), spectrum=spectrum) if any(both) else before
        for before, plane, (deviation, spectrum), both in zip(noise.planes, own, parts, variances, strict=True)
    )
    return replace(noise, planes=tuple(told))


def _pieces(plane: Tensor) -> Tensor:
    """[H, W] -> [H, N]: means of pieces of every row."""
    height, width = plane.shape
    side = max(_PIECE, width // _PIECES)
    count = width // side
    return plane[:, : count * side].reshape(height, count, side).mean(2)


def _variances(pieces: Tensor, least: float) -> list[float] | None:
    """The variance of offsets at every frequency along the columns; None where none are proven.

    pieces: [T, H, N] of frames. least: deviation.
    """
    if pieces.shape[1] < _FEWEST_ROWS or pieces.shape[2] < _FEWEST_PIECES:
        return None
    # What stands still is in no difference.
    new = _offsets(pieces[1:] - pieces[:-1])
    kept = 2 * (1 - 1 / _AROUND)  # of the variance of offsets: differences of two, less the mean of those around
    together = (new.one * new.other).mean(1)
    level = float(together.median())
    error = float((new.one - new.other).square().mean()) / 4
    if level < kept * least**2 or level < _LEAST_TOLD * error:
        return None
    bands = [float((one * other).mean()) for one, other in zip(*(part.chunk(_BANDS, 1) for part in new), strict=True)]
    if sorted(bands)[1] < _EVERYWHERE * level or float(together.quantile(0.25)) < _ALWAYS * level:
        return None
    if not _turns(new, level):
        return None
    # What moves is new where it is, and not where it comes from.
    own = _offsets(pieces)
    found = float(((own.one * own.other).mean(1)[:-1] - _most_alike(own, 1)).median())
    if found < _NEW * level / 2:
        return None
    shares = _over_frequencies(new)
    return [share * level / kept for share in shares] if sum(shares[_SIDE // 2 :]) >= _FINE * _SIDE / 2 else None


def _turns(new: _Offsets, level: float) -> bool:
    """Whether what is new in every frame is all new in the next one."""
    following = (new.one[:-1] * new.other[1:] + new.other[:-1] * new.one[1:]).mean(1) / 2
    if float(following.median()) > _TURNING * level:
        return False
    return all(float(_most_alike(new, frames).median()) <= _MOST_ALIKE * level for frames in (1, 2))


def _offsets(pieces: Tensor) -> _Offsets:
    """Of [T, H, N]."""
    reach = _AROUND // 2
    padded = functional.pad(pieces.transpose(1, 2), (reach, reach), mode="reflect")
    pieces = pieces - padded.unfold(2, _AROUND, 1).mean(3).transpose(1, 2)
    one, other = (pieces[..., half::2].median(2).values.double().cpu() for half in (0, 1))
    return _Offsets(one, other)


def _most_alike(offsets: _Offsets, frames: int) -> Tensor:
    """[T - frames]: covariance with those of so many frames later, at the shift along the columns where it is most."""
    count = offsets.one.shape[1]
    one, other = (torch.fft.rfft(part, 2 * count) for part in offsets)
    both = (one[:-frames].conj() * other[frames:], other[:-frames].conj() * one[frames:])
    return torch.stack([torch.fft.irfft(product, 2 * count).amax(1) for product in both]).amax(0) / count


def _over_frequencies(new: _Offsets) -> list[float]:
    """The variance at every frequency of a DCT of 8 rows, in its mean."""
    power = (torch.fft.rfft(new.one).conj() * torch.fft.rfft(new.other)).real.mean(0)
    frequencies = torch.fft.rfftfreq(new.one.shape[1])
    passed = 1 - torch.sinc(_AROUND * frequencies.double()) / torch.sinc(frequencies.double())
    nearest = (frequencies * 2 * _SIDE).round().clamp_max(_SIDE - 1)
    found = [float(power[nearest == n].sum() / passed[nearest == n].square().sum()) for n in range(1, _SIDE)]
    found = [max(value, 0.0) for value in (found[0], *found)]
    mean = sum(found) / len(found)
    return [value / mean for value in found] if mean > 0 else [0.0] * _SIDE


def _at_least(plane: PlaneNoise, sigma: float) -> PlaneNoise:
    return plane if plane.sigma >= sigma else PlaneNoise(sigma)


def _added(spectrum: Spectrum, deviation: float, variances: Sequence[list[float] | None]) -> tuple[float, Spectrum]:
    """Deviation and spectrum of a channel with the offsets of its rows and its columns."""
    if not any(variances):
        return deviation, spectrum
    most = max(sum(variance) / len(variance) for variance in variances if variance)
    side = math.isqrt(len(spectrum)) or _SIDE
    table = torch.tensor(spectrum or (1.0,) * side**2, dtype=torch.float64).view(side, side) * deviation**2
    table.clamp_min_(_LEAST_WHITE**2 * most)
    for along, variance in zip((table, table.T), variances, strict=True):
        if not variance:
            continue
        # A spectrum that was measured has seen them: what they come on top of is told by the frequencies beside.
        offsets = _WIDE * functional.interpolate(torch.tensor([[variance]]), side, mode="linear")[0, 0]
        along[:, 0] = along[:, 0].maximum(along[:, 2] + offsets)
    mean = float(table.mean())
    return math.sqrt(mean), tuple(round(float(value), 6) for value in (table / mean).flatten())
