"""Noise that went through a codec: clean mosaics made noisy, coded by H.264, and measured as the denoiser measures.

A codec drops the finest of the noise, keeps blocks of it from frame to frame, and what is measured of the rest is
an estimate; no drawn noise is like that. So mosaics go through libx264, and everything known of their noise is what
`vnlsdenoise.noise` finds in them.
"""

from fractions import Fraction
from io import BytesIO
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vnlsdenoise.classic.planar import PlanarDenoiser, untouched
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.network import Layout
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.training.degradation import Channels, Degraded, mean_of_clipped
from vnlsdenoise.training.scenery import Scenery
from vnlsdenoise.video.frame import Plane, PlaneFormat
from vnlsdenoise.video.pixels import unpack

_FAMILIES: dict[Layout, Literal["gray", "yuv", "rgb"]] = {"444": "rgb", "420": "yuv", "gray": "gray"}
_SIGMA = 3.0, 50.0  # of R, G and B before coding, of 255
_CRF = 16, 29
_SPEEDS = ("superfast", "veryfast", "faster")
_MEASURED = 540, 960  # rows and columns of a mosaic that are measured: as much as a user's clip has
_PEAK = 255.0


class PartlyCoded:
    """Degraded scenery, of which a share of the mosaics is coded.

    share: of the mosaics, 0 to 1; less, where a codec has left too little noise in one to measure.
    """

    def __init__(self, degraded: Degraded, scenery: Scenery, share: float) -> None:
        self.layout: Layout = degraded.layout
        self._degraded = degraded
        self._scenery = scenery
        self._share = share

    def draw(self, random: np.random.Generator) -> Channels:
        """A mosaic."""
        found = None
        if random.random() < self._share:
            sigma = float(np.exp(random.uniform(*np.log(_SIGMA))))
            crf, speed = int(random.integers(*_CRF)), str(random.choice(_SPEEDS))
            clean, seed = self._scenery.draw(random), int(random.integers(2**62))
            found = coded_mosaic(clean, self.layout, sigma, crf, speed, seed)
        return found or self._degraded.draw(random)


class Coded:
    """Mosaics that all went through the codec alike; as of `coded_mosaic`."""

    def __init__(self, scenery: Scenery, layout: Layout, sigma: float, crf: int) -> None:
        self.layout: Layout = layout
        self._scenery, self._sigma, self._crf = scenery, sigma, crf

    def draw(self, random: np.random.Generator) -> Channels:
        """A mosaic; raises InputError where nothing can be told of its noise."""
        clean, seed = self._scenery.draw(random), int(random.integers(2**62))
        found = coded_mosaic(clean, self.layout, self._sigma, self._crf, _SPEEDS[1], seed)
        if found is None:
            raise InputError("coded noise cannot be told on what is held back; give other footage, or --coded 0")
        return found


@torch.no_grad()
def coded_mosaic(clean: Tensor, layout: Layout, sigma: float, crf: int, speed: str, seed: int) -> Channels | None:
    """Clean R, G, B [T, 3, H, W], 0..1, even H and W, to what a denoiser is given of it, noisy and coded.

    sigma: of white noise in R, G and B before coding, of 255. None where no plane's noise can be told any more.
    """
    generator = torch.Generator(clean.device).manual_seed(seed)
    drawn = torch.empty_like(clean).normal_(generator=generator)
    codes = (_PEAK * clean + sigma * drawn).round().clamp(0, _PEAK).byte()
    # What the noise is centred on is what is wanted: shifts of what was clipped are undone elsewhere.
    centre = mean_of_clipped(clean / (sigma / _PEAK), torch.ones((), device=clean.device), _PEAK / sigma)
    wanted = (sigma * centre).clamp(0, _PEAK).round().byte()

    def tensors(frames: list[av.VideoFrame]) -> list[Tensor]:
        planes = [_planes(frame, layout) for frame in frames]
        return [torch.from_numpy(np.stack(plane)).to(clean.device).float() for plane in zip(*planes, strict=True)]

    noisy = tensors(through_h264(codes.permute(0, 2, 3, 1).cpu().numpy(), crf, speed))
    target = tensors([_halved_chroma(image) for image in wanted.permute(0, 2, 3, 1).cpu().numpy()])
    halved, (height, width) = int(layout == "420"), clean.shape[-2:]

    def format(height: int, width: int) -> PlaneFormat:
        return PlaneFormat(_FAMILIES[layout], width, height, 8, halved, halved)

    rows, columns = min(height, _MEASURED[0]), min(width, _MEASURED[1])
    shapes = format(rows, columns).plane_shapes
    shown = [plane[:, :down, :across] for plane, (down, across) in zip(noisy, shapes, strict=True)]
    times = range(len(clean))
    noise = measure_noise(times, lambda time: [plane[time] for plane in shown], format(rows, columns), _PEAK)
    if any(untouched(noise, _PEAK)):
        return None
    denoiser = PlanarDenoiser(format(height, width), noise, PRESETS["fast"], peak=_PEAK, captured=False)

    def channels(planes: list[Tensor]) -> list[Tensor]:
        pairs = [denoiser.channels([plane[time] for plane in planes]) for time in times]
        lists = zip(*pairs, strict=True)
        stacked = [torch.stack([c for c in of_size if c is not None]) for of_size in lists if of_size[0] is not None]
        # Without what the frame was enlarged by.
        return [c[..., : height >> level, : width >> level] for level, c in enumerate(stacked)]

    ranges = denoiser.ranges(noise)
    scale, centres = ([getattr(r, name) for r in ranges] for name in ("range", "centre"))
    return Channels(
        layout,
        channels(noisy),
        channels(target),
        torch.tensor(scale, device=clean.device),
        torch.tensor(centres, device=clean.device),
        _PEAK / denoiser.to_bytes,
    )


def through_h264(video: npt.NDArray[np.uint8], crf: int, speed: str) -> list[av.VideoFrame]:
    """What libx264 keeps of R, G, B frames [T, H, W, 3], 4:2:0."""
    file = BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream: Any = output.add_stream("libx264", Fraction(25), options={"crf": str(crf), "preset": speed})
        stream.height, stream.width, stream.pix_fmt = *video.shape[1:3], "yuv420p"
        for image in video:
            output.mux(stream.encode(_halved_chroma(image)))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as source:
        source.streams.video[0].thread_type = "AUTO"
        return list(source.decode(video=0))


def _halved_chroma(image: npt.NDArray[np.uint8]) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")


def _planes(frame: av.VideoFrame, layout: Layout) -> tuple[Plane, ...]:
    if layout == "444":
        return unpack(frame.reformat(format="gbrp"))[0]
    planes = unpack(frame)[0]
    return planes[:1] if layout == "gray" else planes
