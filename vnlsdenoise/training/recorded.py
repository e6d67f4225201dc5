"""Footage that is noisy already: with its clean counterpart, or alone.

What is known of the noise is what `vnlsdenoise.noise` measures, one deviation a plane. Where there is nothing clean,
every mosaic is corrupted twice more (Recorrupted-to-Recorrupted: Pang et al., CVPR 2021): y + a z is what the network
is given, y - z / a what is wanted of it, z drawn anew with the deviation of the noise of y. The noise of the two is
independent if that of y is Gaussian and has this deviation, so that the network learns what it would from clean
targets, of noise sqrt(1 + a^2) times as strong.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.network import Layout
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.training.degradation import Channels, channels_of, planes_of
from vnlsdenoise.training.footage import Footage, Images, Source
from vnlsdenoise.training.scenery import Grid, Scenery
from vnlsdenoise.video.frame import PlaneFormat

# a: more makes the input noisier than what the network will meet, less the target. Drawn for every mosaic, on a
# logarithmic scale; in validation it is always the same.
RECORRUPTION, _VALIDATION = (0.35, 1.0), 0.7
TARGET_VARIANCE = _VALIDATION**-2  # of what validation compares to, in units of the noise that the network is given
_MEASURED = 12  # frames of a clip
_FAMILIES: dict[Layout, Literal["gray", "yuv", "rgb"]] = {"444": "rgb", "420": "yuv", "gray": "gray"}
_LEAST = 0.5 / 255  # deviation of noise that is worth removing


class Recorded:
    """Mosaics of one layout, each of windows of one clip.

    clean: in the order of `noisy`, None where there is none. validates: whether they are to compare by.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        noisy: Sequence[Images],
        clean: Sequence[Images] | None,
        grid: Grid,
        times: int,
        layout: Layout,
        device: torch.device,
        *,
        validates: bool = False,
    ) -> None:
        check_recorded(sources, noisy, clean)
        self.layout: Layout = layout
        self._grid = grid
        self._sources, self._videos = sources, noisy
        footage = Footage(noisy, device)
        self._device = device
        self._noisy = Scenery(footage, grid, times)
        self._clean = None if clean is None else Scenery(Footage(clean, device), grid, times)
        self._recorruption = (_VALIDATION,) * 2 if validates else RECORRUPTION
        self._sigma: dict[int, list[float]] = {}

    def draw(self, random: np.random.Generator) -> Channels:
        """A mosaic; raises InputError where its clip has no noise."""
        clip = int(random.integers(len(self._videos)))
        views = self._noisy.of_clips(random, self._grid.cells, np.array([clip]))
        sigma = self._deviations(clip)
        noisy = self._units(self._noisy.seen(views), sigma)
        if self._clean is not None:
            wanted = self._units(self._clean.seen(views), sigma)
            return channels_of(self.layout, noisy, wanted, sigma, yuv=self.layout != "444")
        generator = torch.Generator(self._device).manual_seed(int(random.integers(2**62)))
        least, most = self._recorruption
        strength = least * (most / least) ** float(random.random())
        factor = (1 + strength**2) ** 0.5
        given, wanted = [], []
        for plane in noisy:
            drawn = torch.empty_like(plane).normal_(generator=generator)
            given.append((plane + strength * drawn) / factor)
            wanted.append((plane - drawn / strength) / factor)
        return channels_of(self.layout, given, wanted, [s * factor for s in sigma], yuv=self.layout != "444")

    def _units(self, cells: Tensor, sigma: list[float]) -> list[Tensor]:
        planes = planes_of(self._grid.joined(cells), self.layout, yuv=self.layout != "444")
        return [plane / s for plane, s in zip(planes, sigma, strict=True)]

    def _deviations(self, clip: int) -> list[float]:
        """Of the noise of every plane, of 1."""
        if clip not in self._sigma:
            source, video = self._sources[clip], self._videos[clip][:_MEASURED]
            height, width = (side // 2 * 2 for side in video.shape[-2:])
            frames = torch.from_numpy(video[..., :height, :width]).to(self._device).float() / 255
            planes = planes_of(frames, self.layout, yuv=self.layout != "444")
            family = _FAMILIES[self.layout]
            halved = int(self.layout == "420")
            format = PlaneFormat(family, width, height, 8, halved, halved)
            found = measure_noise(
                range(len(video)), lambda frame: [255 * plane[frame] for plane in planes], format, 255, white=True
            )
            if min(found.sigma) < 255 * _LEAST:
                raise InputError(f"{source.path} holds too little noise to learn from; take it out")
            self._sigma[clip] = [sigma / 255 for sigma in found.sigma]
        return self._sigma[clip]


def check_recorded(sources: Sequence[Source], noisy: Sequence[Images], clean: Sequence[Images] | None) -> None:
    """Raises InputError where footage is no clip, too small, or no pair."""
    for index, (source, video) in enumerate(zip(sources, noisy, strict=True)):
        if len(video) < 2 or min(video.shape[-2:]) < 32:
            raise InputError(f"{source.path} must be a clip of at least 2 frames and 32 x 32 pixels; take it out")
        if clean is not None and clean[index].shape != video.shape:
            one, other = (f"{len(v)} frames of {v.shape[3]}x{v.shape[2]}" for v in (video, clean[index]))
            raise InputError(f"{source.path} has {one} and its clean counterpart {other}; cut them to the same frames")
