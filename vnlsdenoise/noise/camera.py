"""A simulated camera: clean pictures as a sensor under a mosaic of colours records them, developed to video.

Photons and read-out make noise of every sample by itself; demosaicing, colours, tone curve, scaling, the noise
reduction inside the camera and sharpening make of it what is found in video: correlated, of a deviation that changes
with the brightness, different in luma and colours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 49152.0  # of a raw sample from black to white
_BELOW_BLACK = -8192 / _LEVELS  # what a raw file can hold; noise at black is not cut off there
_FLAT = 0.02  # change of brightness, of 1, at which the reduction of noise is halved
_KNOTS = 64  # of the brightness, for the mean of the noise


@dataclass(frozen=True)
class Camera:
    """What it does to a picture.

    gain: variance of photon noise in linear light, of the signal. read: deviation of read-out noise, of white.
    edge_aware: whether green is filled in along edges. balance: what red and blue are multiplied by. saturation: how
    far colours are spread after the sensor, which mixes them. gamma: of the tone curve. scale: size of the sensor's
    picture beside that of the video. reduction: shares of the noise of luma and of colours, in flat places, that only
    its blurred version is left of, and `grain`: deviations of these blurs, in pixels. sharpening: share of the detail
    that is added once more.
    """

    gain: float
    read: float
    edge_aware: bool = True
    balance: tuple[float, float] = (1.0, 1.0)
    saturation: float = 0.0
    gamma: float = 2.2
    scale: float = 1.0
    reduction: tuple[float, float] = (0.0, 0.0)
    grain: tuple[float, float] = (1.0, 2.0)
    sharpening: float = 0.0

    def recorded(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """R, G, B [3, H, W], 0..1, of even height and width -> the same with noise, and without.

        What demosaicing, scaling and sharpening do to the picture is in both. Neither is rounded.
        """
        height, width = clean.shape[-2:]
        size = tuple(max(2, round(side * self.scale / 2) * 2) for side in (height, width))
        seen = _resized(clean, *size).clamp(0, 1)
        raw = _mosaic(self._to_sensor(seen**self.gamma))
        drawn = torch.empty_like(raw).normal_(generator=generator)
        exposed = raw + (self.gain * raw.clamp_min(0) + self.read**2).sqrt() * drawn
        wanted = _resized(self._developed(raw), height, width)
        noise = self._reduced(_resized(self._developed(exposed), height, width) - wanted, wanted)
        noisy = wanted + noise
        if self.sharpening:
            noisy, wanted = (p + self.sharpening * (p - blurred(p, 1.0)) for p in (noisy, wanted))
        return noisy.clamp(0, 1), wanted.clamp(0, 1)

    def _matrix(self, device: torch.device) -> Tensor:
        """What makes the colours of the picture of those of the sensor."""
        mixed = (1 + self.saturation) * torch.eye(3) - self.saturation / 3
        return (mixed * torch.tensor([self.balance[0], 1.0, self.balance[1]])).to(device)

    def _to_sensor(self, linear: Tensor) -> Tensor:
        return torch.einsum("cd,dhw->chw", torch.linalg.inv(self._matrix(linear.device)), linear)

    def _developed(self, raw: Tensor) -> Tensor:
        codes = (raw * _LEVELS).round() / _LEVELS
        colours = _demosaiced(codes.clamp(_BELOW_BLACK, 1 + 1 / 6), edge_aware=self.edge_aware)
        linear = torch.einsum("cd,dhw->chw", self._matrix(raw.device), colours)
        return linear.clamp(0, 1) ** (1 / self.gamma)

    def _reduced(self, noise: Tensor, picture: Tensor) -> Tensor:
        """The noise after the camera's own reduction, which spares edges."""
        if not any(self.reduction):
            return noise
        grey = picture.mean(0, keepdim=True)
        change = blurred((grey - blurred(grey, 1.5)).abs(), 1.5)
        flat = 1 / (1 + (change / _FLAT) ** 2)
        luma = noise.mean(0, keepdim=True)
        colours = noise - luma
        (of_luma, of_colours), (fine, coarse) = self.reduction, self.grain
        luma = torch.lerp(luma, blurred(luma, fine), of_luma * flat)
        return luma + torch.lerp(colours, blurred(colours, coarse), of_colours * flat)


def mean_of_noisy(clean: Tensor, noisy: Tensor) -> Tensor:
    """What the noise is centred on at every pixel of `clean`, [T, C, H, W], 0..1: its mean at every brightness.

    Noise that was clipped, or went through a tone curve, is not centred on what is clean.
    """
    means = []
    for before, after in zip(clean.unbind(1), noisy.unbind(1), strict=True):
        place = (before * (_KNOTS - 1)).flatten()
        low = place.floor().clamp(0, _KNOTS - 2)
        share, knot = place - low, low.long()
        shift = (after - before).flatten()
        sums, counts = (torch.zeros(_KNOTS, device=clean.device) for _ in range(2))
        for at, weight in ((knot, 1 - share), (knot + 1, share)):
            sums.scatter_add_(0, at, weight * shift)
            counts.scatter_add_(0, at, weight)
        table = sums / counts.clamp_min(1)
        means.append(before + torch.lerp(table[knot], table[knot + 1], share).view_as(before))
    return torch.stack(means, 1)


def _mosaic(colours: Tensor) -> Tensor:
    """[3, H, W] -> [H, W]: red and green in even rows, green and blue in odd ones."""
    raw = colours[1].clone()
    raw[::2, ::2] = colours[0, ::2, ::2]
    raw[1::2, 1::2] = colours[2, 1::2, 1::2]
    return raw


def _demosaiced(raw: Tensor, *, edge_aware: bool) -> Tensor:
    """[H, W] of `_mosaic` -> [3, H, W]: means of neighbours; of green those along which it changes less."""
    around = functional.pad(raw[None], (1, 1, 1, 1), mode="reflect")[0]
    up, down, left, right = around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]
    beside, above = (left + right) / 2, (up + down) / 2
    corners = (around[:-2, :-2] + around[:-2, 2:] + around[2:, :-2] + around[2:, 2:]) / 4
    steady = (left - right).abs() <= (up - down).abs()
    green = torch.where(steady, beside, above) if edge_aware else (beside + above) / 2
    red, blue = corners.clone(), corners.clone()
    green[::2, 1::2], green[1::2, ::2] = raw[::2, 1::2], raw[1::2, ::2]
    red[::2, ::2], red[::2, 1::2], red[1::2, ::2] = raw[::2, ::2], beside[::2, 1::2], above[1::2, ::2]
    blue[1::2, 1::2], blue[1::2, ::2], blue[::2, 1::2] = raw[1::2, 1::2], beside[1::2, ::2], above[::2, 1::2]
    return torch.stack((red, green, blue))


def _resized(picture: Tensor, height: int, width: int) -> Tensor:
    if picture.shape[-2:] == (height, width):
        return picture
    return functional.interpolate(picture[None], (height, width), mode="bicubic", antialias=True)[0]


def blurred(planes: Tensor, deviation: float) -> Tensor:
    """[C, h, w] through a Gaussian of so many pixels."""
    reach = max(1, round(2.5 * deviation))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=planes.device) / deviation) ** 2)
    taps = taps / taps.sum()
    padded = functional.pad(planes[:, None], (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))[:, 0]
