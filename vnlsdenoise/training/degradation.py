"""Clean footage to channels in units of their noise, as a denoiser is given them, with the noise drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.learned.denoiser import Channel
from vnlsdenoise.learned.network import Layout
from vnlsdenoise.noise.model import Spectrum
from vnlsdenoise.noise.spectrum import flatness
from vnlsdenoise.planes import opponent_from_rgb
from vnlsdenoise.training.scenery import Scenery

_LEAST, _MOST, _LITTLE = 0.7, 75.0, 15.0  # deviation of the noise, of 255
_BRIEF = (1, 1, 6)  # frames of the longest of brief scenes
_LEAST_WEIGHT = 0.1
_PATCH = 48  # pixels, over which it changes
_BT709 = ((0.2126, 0.7152, 0.0722), (-0.1146, -0.3854, 0.5), (0.5, -0.4542, -0.0458))
_SPANS = (219 / 255, 224 / 255, 224 / 255)  # of luma and chroma


@dataclass(frozen=True)
class Mixture:
    """Shares of the mosaics, of what stabilisation, whitening and clipping make of a real video, or fall short in.

    little: noise of a deviation below 15 of 255. toned: the picture through a curve, as stabilised noise leaves it.
    filtered: the picture sharper or softer than the noise, as whitening leaves it. tinted: noise that is still a little
    correlated. misjudged: the deviation is a little wrong. clipped: to black and white. unsteady: noise of a camera, in
    most of the picture less than is known of it. uneven: R, G and B have noise of different strength. yuv: of mosaics
    with three planes of one size, luma and chroma instead of R, G and B. brief: of scenes of few frames, or of one.
    """

    little: float = 0.35
    toned: float = 0.15
    filtered: float = 0.15
    tinted: float = 0.15
    misjudged: float = 0.1
    clipped: float = 0.15
    unsteady: float = 0.2
    uneven: float = 0.25
    yuv: float = 0.25
    brief: float = 0.15


@dataclass(frozen=True)
class Channels:
    """A clip as a denoiser is given it; every list has the planes of luma's size, then the halved ones.

    noisy, wanted: [T, planes, h, w] in units of the noise. facts: of every channel. peak: of luma, in these units.
    scenes: the numbers of frames of the scenes that the clip is cut into; empty for one.
    """

    layout: Layout
    noisy: list[Tensor]
    wanted: list[Tensor]
    facts: Sequence[Channel]
    peak: float
    scenes: tuple[int, ...] = ()

    @property
    def scale(self) -> Tensor:
        """[planes]: the range of every channel."""
        return self._of_planes([fact.range for fact in self.facts])

    @property
    def centre(self) -> Tensor:
        """[planes]: where the middle of a channel's values lies in its range."""
        return self._of_planes([fact.centre for fact in self.facts])

    @property
    def most(self) -> Tensor:
        """[planes]: how much of what the classic denoiser removed a correction is at the most, as of `Channel`."""
        return self._of_planes([fact.most for fact in self.facts])

    @property
    def traits(self) -> Tensor:
        """[planes, TRAITS], as of `Frames`."""
        return self._of_planes([fact.traits for fact in self.facts])

    def _of_planes(self, values: Sequence[object]) -> Tensor:
        return torch.tensor(values, device=self.noisy[0].device)

    @property
    def weight(self) -> Tensor:
        """[planes]: what an error of every channel, in units of its noise, counts beside the others, 1 in the mean.

        Of R, G and B as much as it does in their PSNR, and a tenth of the most at the least; planes of luma and
        chroma, whose errors are told apart, count the same.
        """
        if self.layout != "444" or self.facts[1].centre:  # the differences of R, G and B are centred on 0
            return torch.ones_like(self.scale)
        reach = torch.tensor(opponent_ranges(1.0), device=self.scale.device)
        variance = (reach / self.scale) ** 2
        weight = variance.clamp_min(_LEAST_WEIGHT * float(variance.max()))
        return weight / weight.mean()


@dataclass(frozen=True)
class Noise:
    """What is done to one mosaic. sigma: of every plane, of 1. The rest as in `Mixture`, by default nothing."""

    sigma: tuple[float, float, float]
    yuv: bool = False
    gamma: float = 1.0
    sharper: float = 0.0
    tint: float = 0.0
    strength: float = 1.0
    clipped: bool = False
    unsteady: float = 0.0
    generator: torch.Generator = field(default_factory=torch.Generator)


class Degraded:
    """Clean scenery with noise of a mixture, or with one noise."""

    def __init__(self, scenery: Scenery, layout: Layout, mixture: Mixture, noise: Noise | None = None) -> None:
        self.layout: Layout = layout
        self._scenery = scenery
        self._mixture = mixture
        self._noise = noise

    def draw(self, random: np.random.Generator) -> Channels:
        """A mosaic."""
        if self._noise is not None:
            return degrade(self._scenery.draw(random), self.layout, self._noise)
        noise = draw_noise(random, self.layout, self._mixture, self._scenery.device)
        scenes = self.draw_scenes(random)
        return replace(degrade(self._scenery.draw(random), self.layout, noise), scenes=scenes)

    def draw_scenes(self, random: np.random.Generator) -> tuple[int, ...]:
        """How long the scenes of one mosaic are, as of `Channels`."""
        left = self._scenery.times
        if random.random() >= self._mixture.brief:
            return (left,)
        longest = int(random.choice(_BRIEF))
        scenes: list[int] = []
        while left:
            scenes.append(min(left, int(random.integers(1, longest + 1))))
            left -= scenes[-1]
        return tuple(scenes)


def draw_noise(random: np.random.Generator, layout: Layout, mixture: Mixture, device: torch.device) -> Noise:
    """Settings of the noise of one mosaic."""

    def happens(share: float) -> bool:
        return bool(random.random() < share)

    if happens(mixture.little):
        sigma = float(np.exp(random.uniform(np.log(_LEAST), np.log(_LITTLE))))
    else:
        sigma = float(random.uniform(_LEAST, _MOST))
    yuv = layout != "444" or happens(mixture.yuv)
    if yuv:
        shares = (1.0, float(random.uniform(0.4, 1.2)), float(random.uniform(0.4, 1.2)))
    else:
        shares = (1.0, 1.0, 1.0)
        if happens(mixture.uneven):
            a, b, c = random.uniform(0.6, 1.5, 3)
            shares = (float(a), float(b), float(c))
    filtered = happens(mixture.filtered)
    return Noise(
        sigma=(sigma * shares[0] / 255, sigma * shares[1] / 255, sigma * shares[2] / 255),
        yuv=yuv,
        gamma=float(random.uniform(0.5, 1)) if happens(mixture.toned) else 1.0,
        sharper=float(random.choice([random.uniform(-0.4, 1.5), random.uniform(1.5, 5)])) if filtered else 0.0,
        tint=float(random.uniform(0, 0.25)) if happens(mixture.tinted) else 0.0,
        strength=float(random.uniform(0.87, 1.15)) if happens(mixture.misjudged) else 1.0,
        clipped=happens(mixture.clipped) and not filtered,
        unsteady=float(random.uniform(0.2, 0.8)) if happens(mixture.unsteady) else 0.0,
        generator=torch.Generator(device).manual_seed(int(random.integers(2**62))),
    )


def degrade(clean: Tensor, layout: Layout, noise: Noise) -> Channels:
    """Clean R, G, B [T, 3, H, W], 0..1, to what a denoiser is given; H and W are even."""
    noisy, wanted = [], []
    strength: Tensor | None = None
    for plane, sigma in zip(planes_of(clean, layout, yuv=noise.yuv), noise.sigma, strict=False):
        units = plane.clamp(0, 1) ** noise.gamma / sigma
        if noise.sharper:
            units = units + noise.sharper * (units - _blurred(units, 0.25))
        drawn = torch.empty_like(units).normal_(generator=noise.generator)
        if noise.tint:
            share = noise.tint / (1 + 2 * noise.tint)
            drawn = _blurred(drawn, share) / ((1 - 2 * share) ** 2 + 2 * share**2)
        if strength is None:
            strength = _strength(units, noise)
        # Planes of half the size see the same parts of the picture.
        here = functional.interpolate(strength[None, None], units.shape[-2:], mode="area")[0, 0]
        observed = units + here * drawn
        if noise.clipped:
            observed = observed.clamp(0, 1 / sigma)
            units = mean_of_clipped(units, here, 1 / sigma)
        noisy.append(observed)
        wanted.append(units)
    yuv, flat = layout != "444" or noise.yuv, flatness(_whitened(noise.sharper))
    return channels_of(layout, noisy, wanted, noise.sigma[: len(noisy)], yuv=yuv, flat=flat)


def channels_of(
    layout: Layout,
    noisy: list[Tensor],
    wanted: list[Tensor],
    sigma: Sequence[float],
    *,
    yuv: bool,
    flat: float = 1.0,
) -> Channels:
    """Planes [T, h, w] in units of their noise, of deviation sigma of 1, as channels; yuv: they are not R, G and B.

    flat: how flat the spectrum of the noise was before it was whitened.
    """
    ranges = [1 / s for s in sigma]
    centre, peak = [0.5] * len(noisy), ranges[0]
    if not yuv:
        noisy, wanted = opponent_from_rgb(noisy), opponent_from_rgb(wanted)
        mean = sum(ranges) / 3
        ranges, centre, peak = opponent_ranges(mean), [0.5, 0.0, 0.0], 3**0.5 * mean

    def stacked(planes: list[Tensor]) -> list[Tensor]:
        sizes = [planes[:1], planes[1:]] if layout == "420" else [planes]
        return [torch.stack(of_size, 1) for of_size in sizes]

    facts = [
        Channel(reach, middle, colour=index > 0, flatness=flat)
        for index, (reach, middle) in enumerate(zip(ranges, centre, strict=True))
    ]
    return Channels(layout, stacked(noisy), stacked(wanted), facts, peak)


def opponent_ranges(mean: float) -> list[float]:
    """The ranges of the opponent channels of R, G and B whose range is `mean`."""
    return [3**0.5 * mean, mean, mean]


def mean_of_clipped(units: Tensor, sigma: Tensor, peak: float) -> Tensor:
    """The mean of `units` plus Gaussian noise of deviation `sigma`, clipped to 0 .. `peak`."""
    low, high = -units / sigma, (peak - units) / sigma
    below, above = torch.special.ndtr(low), torch.special.ndtr(-high)

    def density(x: Tensor) -> Tensor:
        found: Tensor = torch.exp(-(x**2) / 2) / (2 * torch.pi) ** 0.5
        return found

    mean: Tensor = peak * above + units * (1 - below - above) + sigma * (density(low) - density(high))
    return mean


def planes_of(clean: Tensor, layout: Layout, *, yuv: bool) -> list[Tensor]:
    """R, G, B [T, 3, h, w], 0..1, as planes [T, h, w]; yuv: as luma and chroma, as 4:2:0 and grey must."""
    if not yuv:
        return list(clean.unbind(1))
    planes: list[Tensor] = []
    for weights, span in zip(_BT709, _SPANS, strict=True):
        weighted = torch.einsum("tchw,c->thw", clean, torch.tensor(weights, device=clean.device)) * span
        planes.append(weighted + (16 / 255 if not planes else 0.5))
    if layout == "gray":
        return planes[:1]
    return [planes[0], *(functional.avg_pool2d(c, 2) for c in planes[1:])] if layout == "420" else planes


def rgb_of(planes: list[Tensor], *, smooth: bool) -> Tensor:
    """Y, U and V of 4:2:0 as `planes_of` makes them, [T, h, w] and [T, h / 2, w / 2] -> R, G, B [T, 3, h, w].

    smooth: chroma is interpolated; else every sample of it is repeated.
    """
    mode = "bilinear" if smooth else "nearest"
    chroma = [functional.interpolate(c[:, None], scale_factor=2.0, mode=mode)[:, 0] for c in planes[1:]]
    offsets, device = (16 / 255, 0.5, 0.5), planes[0].device
    parts = zip((planes[0], *chroma), offsets, _SPANS, strict=True)
    unit = torch.stack([(plane - offset) / span for plane, offset, span in parts], 1)
    return torch.einsum("tchw,dc->tdhw", unit, torch.linalg.inv(torch.tensor(_BT709)).to(device))


def _strength(like: Tensor, noise: Noise) -> Tensor:
    """[H, W]: deviation of the noise in units of what is known of it; where it is unsteady, from patch to patch."""
    height, width = like.shape[-2:]
    strength = torch.full((height, width), noise.strength, device=like.device)
    if noise.unsteady:
        knots = torch.rand(
            (1, 1, height // _PATCH + 2, width // _PATCH + 2), generator=noise.generator, device=like.device
        )
        strength *= 1 - noise.unsteady * functional.interpolate(knots, (height, width), mode="bilinear")[0, 0]
    return strength


def _whitened(sharper: float) -> Spectrum:
    """Of noise whose whitening makes the picture so much sharper, at the frequencies of an 8x8 DCT."""
    along = 0.5 + 0.5 * np.cos(np.pi * np.arange(8) / 8)  # what the blur leaves of every frequency
    return tuple((1 + sharper * (1 - np.outer(along, along).ravel())) ** -2.0)


def _blurred(planes: Tensor, share: float) -> Tensor:
    """[T, h, w]: each sample mixed with its neighbours by (share, 1 - 2 share, share) along both axes."""
    taps = torch.tensor([share, 1 - 2 * share, share], device=planes.device)
    padded = functional.pad(planes[:, None], (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(padded, torch.outer(taps, taps)[None, None])[:, 0]
