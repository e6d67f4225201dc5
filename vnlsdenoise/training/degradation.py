"""Clean footage to channels in units of their noise, as a denoiser is given them, with the noise drawn."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.learned.network import Layout
from vnlsdenoise.planes import opponent_from_rgb

_LEAST, _MOST, _LITTLE = 0.7, 75.0, 10.0  # deviation of the noise, of 255
_LITTLE_SHARE = 0.25  # of the mosaics have noise below `_LITTLE`
# Shares of the mosaics. What stabilisation, whitening and clipping make of a real video, and where they fall short:
_TONED = 0.15  # the picture through a curve, as stabilised noise leaves it
_FILTERED = 0.15  # the picture sharper or softer than the noise, as whitening leaves it
_TINTED = 0.15  # noise that is still a little correlated
_MISJUDGED = 0.1  # the deviation is a little wrong
_CLIPPED = 0.15  # the samples were clipped to black and white
_UNEVEN = 0.25  # R, G and B have noise of different strength
_YUV = 0.25  # of the mosaics with three planes of one size are luma and chroma instead of R, G and B
_BT709 = ((0.2126, 0.7152, 0.0722), (-0.1146, -0.3854, 0.5), (0.5, -0.4542, -0.0458))


@dataclass(frozen=True)
class Channels:
    """A clip as a denoiser is given it; every list has the planes of luma's size, then the halved ones.

    noisy, wanted: [T, planes, h, w] in units of the noise. scale, centre: [planes], the range of every channel in these
    units, and where the middle of its values lies in it. peak: of luma, in these units.
    """

    layout: Layout
    noisy: list[Tensor]
    wanted: list[Tensor]
    scale: Tensor
    centre: Tensor
    peak: float


@dataclass(frozen=True)
class Noise:
    """What is done to one mosaic. sigma: of every plane, of 1. The rest as the shares above, by default nothing."""

    sigma: tuple[float, float, float]
    yuv: bool = False
    gamma: float = 1.0
    sharper: float = 0.0
    tint: float = 0.0
    strength: float = 1.0
    clipped: bool = False
    generator: torch.Generator = field(default_factory=torch.Generator)


def draw_noise(random: np.random.Generator, layout: Layout, device: torch.device) -> Noise:
    """Settings of the noise of one mosaic."""

    def happens(share: float) -> bool:
        return bool(random.random() < share)

    if happens(_LITTLE_SHARE):
        sigma = float(np.exp(random.uniform(np.log(_LEAST), np.log(_LITTLE))))
    else:
        sigma = float(random.uniform(_LEAST, _MOST))
    yuv = layout != "444" or happens(_YUV)
    if yuv:
        shares = (1.0, float(random.uniform(0.4, 1.2)), float(random.uniform(0.4, 1.2)))
    else:
        shares = (1.0, 1.0, 1.0)
        if happens(_UNEVEN):
            a, b, c = random.uniform(0.6, 1.5, 3)
            shares = (float(a), float(b), float(c))
    filtered = happens(_FILTERED)
    return Noise(
        sigma=(sigma * shares[0] / 255, sigma * shares[1] / 255, sigma * shares[2] / 255),
        yuv=yuv,
        gamma=float(random.uniform(0.5, 1)) if happens(_TONED) else 1.0,
        sharper=float(random.uniform(-0.4, 1.5)) if filtered else 0.0,
        tint=float(random.uniform(0, 0.12)) if happens(_TINTED) else 0.0,
        strength=float(random.uniform(0.87, 1.15)) if happens(_MISJUDGED) else 1.0,
        clipped=happens(_CLIPPED) and not filtered,
        generator=torch.Generator(device).manual_seed(int(random.integers(2**62))),
    )


def degrade(clean: Tensor, layout: Layout, noise: Noise) -> Channels:
    """Clean R, G, B [T, 3, H, W], 0..1, to what a denoiser is given; H and W are even."""
    noisy, wanted = [], []
    for plane, sigma in zip(_planes(clean, layout, noise.yuv), noise.sigma, strict=False):
        units = plane.clamp(0, 1) ** noise.gamma / sigma
        if noise.sharper:
            units = units + noise.sharper * (units - _blurred(units, 0.25))
        drawn = torch.empty_like(units).normal_(generator=noise.generator)
        if noise.tint:
            share = noise.tint / (1 + 2 * noise.tint)
            drawn = _blurred(drawn, share) / ((1 - 2 * share) ** 2 + 2 * share**2)
        observed = units + noise.strength * drawn
        if noise.clipped:
            observed = observed.clamp(0, 1 / sigma)
            units = mean_of_clipped(units, noise.strength, 1 / sigma)
        noisy.append(observed)
        wanted.append(units)
    ranges = [1 / sigma for sigma in noise.sigma[: len(noisy)]]
    centre, peak = [0.5] * len(noisy), ranges[0]
    if layout == "444" and not noise.yuv:
        noisy, wanted = opponent_from_rgb(noisy), opponent_from_rgb(wanted)
        mean = sum(ranges) / 3
        ranges, centre, peak = opponent_ranges(mean), [0.5, 0.0, 0.0], 3**0.5 * mean
    sizes = (1, 2) if layout == "420" else (len(noisy),)

    def stacked(planes: list[Tensor]) -> list[Tensor]:
        return [torch.stack(planes[:1], 1), torch.stack(planes[1:], 1)] if sizes == (1, 2) else [torch.stack(planes, 1)]

    device = clean.device
    return Channels(
        layout,
        stacked(noisy),
        stacked(wanted),
        torch.tensor(ranges, device=device),
        torch.tensor(centre, device=device),
        peak,
    )


def opponent_ranges(mean: float) -> list[float]:
    """The ranges of the opponent channels of R, G and B whose range is `mean`."""
    return [3**0.5 * mean, mean, mean]


def mean_of_clipped(units: Tensor, sigma: float, peak: float) -> Tensor:
    """The mean of `units` plus Gaussian noise of deviation `sigma`, clipped to 0 .. `peak`."""
    low, high = -units / sigma, (peak - units) / sigma
    below, above = torch.special.ndtr(low), torch.special.ndtr(-high)

    def density(x: Tensor) -> Tensor:
        found: Tensor = torch.exp(-(x**2) / 2) / (2 * torch.pi) ** 0.5
        return found

    mean: Tensor = peak * above + units * (1 - below - above) + sigma * (density(low) - density(high))
    return mean


def _planes(clean: Tensor, layout: Layout, yuv: bool) -> list[Tensor]:
    if not yuv:
        return list(clean.unbind(1))
    spans = (219 / 255, 224 / 255, 224 / 255)
    planes: list[Tensor] = []
    for weights, span in zip(_BT709, spans, strict=True):
        weighted = torch.einsum("tchw,c->thw", clean, torch.tensor(weights, device=clean.device)) * span
        planes.append(weighted + (16 / 255 if not planes else 0.5))
    if layout == "gray":
        return planes[:1]
    return [planes[0], *(functional.avg_pool2d(c, 2) for c in planes[1:])] if layout == "420" else planes


def _blurred(planes: Tensor, share: float) -> Tensor:
    """[T, h, w]: each sample mixed with its neighbours by (share, 1 - 2 share, share) along both axes."""
    taps = torch.tensor([share, 1 - 2 * share, share], device=planes.device)
    padded = functional.pad(planes[:, None], (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(padded, torch.outer(taps, taps)[None, None])[:, 0]
