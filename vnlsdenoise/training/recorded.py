"""Footage that is noisy already: with its clean counterpart, or alone.

What is known of the noise is what `vnlsdenoise.noise` measures, and mosaics are in units of it, as the denoiser has
them: white, and of one deviation at every brightness. Where there is nothing clean, every mosaic is corrupted twice
more (Recorrupted-to-Recorrupted: Pang et al., CVPR 2021): y + a z is what the network is given, y - z / a what is
wanted of it, z drawn anew with the deviation of the noise of y. The noise of the two is independent if that of y is
Gaussian, white and has this deviation, so that the network learns what it would from clean targets, of noise
sqrt(1 + a^2) times as strong.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.network import Layout
from vnlsdenoise.noise.camera import mean_of_noisy
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.noise.model import NoiseModel
from vnlsdenoise.training.degradation import Channels, planes_of
from vnlsdenoise.training.footage import Footage, Images, Source
from vnlsdenoise.training.measured import as_told, format_of
from vnlsdenoise.training.scenery import Grid, Scenery

# a: more makes the input noisier than what the network will meet, less the target. Drawn for every mosaic, on a
# logarithmic scale; in validation it is always the same.
RECORRUPTION, _VALIDATION = (0.35, 1.0), 0.7
TARGET_VARIANCE = _VALIDATION**-2  # of what validation compares to, in units of the noise that the network is given
_MEASURED = 12  # frames of a clip
_PEAK = 255.0
_LEAST = 0.5  # deviation of noise that is worth removing


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
        self._noise: dict[int, NoiseModel] = {}

    def draw(self, random: np.random.Generator) -> Channels:
        """A mosaic; raises InputError where its clip has no noise."""
        clip = int(random.integers(len(self._videos)))
        views = self._noisy.of_clips(random, self._grid.cells, np.array([clip]))
        noise, noisy = self._noise_of(clip), self._grid.joined(self._noisy.seen(views))
        given = self._planes(noisy)
        if self._clean is not None:
            clean = self._grid.joined(self._clean.seen(views))
            # The denoiser undoes shifts of what was clipped behind the network.
            wanted = mean_of_noisy(clean, noisy) if noise.clipped else clean
            return as_told(self.layout, given, noise, self._planes(wanted))
        told = as_told(self.layout, given, noise)
        generator = torch.Generator(self._device).manual_seed(int(random.integers(2**62)))
        least, most = self._recorruption
        strength = least * (most / least) ** float(random.random())
        factor = (1 + strength**2) ** 0.5
        pairs = []
        for values in told.noisy:
            drawn = torch.empty_like(values).normal_(generator=generator)
            pairs.append(((values + strength * drawn) / factor, (values - drawn / strength) / factor))
        facts = [replace(fact, range=fact.range / factor) for fact in told.facts]
        noisier, targets = (list(side) for side in zip(*pairs, strict=True))
        return Channels(self.layout, noisier, targets, facts, told.peak / factor)

    def _planes(self, mosaic: Tensor) -> list[Tensor]:
        return [_PEAK * plane for plane in planes_of(mosaic, self.layout, yuv=self.layout != "444")]

    def _noise_of(self, clip: int) -> NoiseModel:
        """Of every plane, of 255."""
        if clip not in self._noise:
            source, video = self._sources[clip], self._videos[clip][:_MEASURED]
            height, width = (side // 2 * 2 for side in video.shape[-2:])
            planes = self._planes(torch.from_numpy(video[..., :height, :width]).to(self._device).float() / _PEAK)
            format = format_of(self.layout, height, width)
            found = measure_noise(range(len(video)), lambda frame: [plane[frame] for plane in planes], format, _PEAK)
            if min(found.sigma) < _LEAST:
                raise InputError(f"{source.path} holds too little noise to learn from; take it out")
            self._noise[clip] = found
        return self._noise[clip]


def check_recorded(sources: Sequence[Source], noisy: Sequence[Images], clean: Sequence[Images] | None) -> None:
    """Raises InputError where footage is no clip, too small, or no pair."""
    for index, (source, video) in enumerate(zip(sources, noisy, strict=True)):
        if len(video) < 2 or min(video.shape[-2:]) < 32:
            raise InputError(f"{source.path} must be a clip of at least 2 frames and 32 x 32 pixels; take it out")
        if clean is not None and clean[index].shape != video.shape:
            one, other = (f"{len(v)} frames of {v.shape[3]}x{v.shape[2]}" for v in (video, clean[index]))
            raise InputError(f"{source.path} has {one} and its clean counterpart {other}; cut them to the same frames")
