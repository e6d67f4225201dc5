"""Noise that is measured: clean mosaics as a camera, or a codec, or both record them, told as the denoiser tells noise.

The noise of cameras is correlated and follows the brightness; a codec drops the finest of it and keeps blocks of it
from frame to frame; what is measured of either is an estimate. No drawn noise is like that. So mosaics go through a
simulated camera (`vnlsdenoise.noise.camera`) and through libx264, and everything known of their noise is what
`vnlsdenoise.noise` finds in them.
"""

from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Any, Literal

import av
import cv2
import numpy as np
import torch
from torch import Tensor

from vnlsdenoise.classic.planar import PlanarDenoiser, untouched
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.network import Layout
from vnlsdenoise.noise.camera import Camera, blurred, mean_of_noisy
from vnlsdenoise.noise.coded import mean_step
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.noise.model import NoiseModel
from vnlsdenoise.training.degradation import Channels, Degraded, mean_of_clipped, planes_of, rgb_of
from vnlsdenoise.training.scenery import Scenery
from vnlsdenoise.video.container import decode_next, decoder_of, use_threads
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.quantiser import HeaderSteps

_FAMILIES: dict[Layout, Literal["gray", "yuv", "rgb"]] = {"444": "rgb", "420": "yuv", "gray": "gray"}
_SIGMA = 2.0, 50.0  # of white noise in R, G and B before coding, of 255
_CLEAN = 0.2  # share of what is coded without a camera that has no noise: all there is to mend, the codec has made
_GAIN = 4e-4, 2e-2  # of a camera
_CRF = 16, 29
# Of the others: the share that is not coded, that of them which is blurred, by so many pixels, and that of all whose
# colours have other noise than luma.
_PLAIN, _BLURRED, _BLUR, _COLOURED, _COLOUR = 0.35, 0.7, (0.5, 1.2), 0.3, (0.3, 3.0)
_SPEEDS = ("superfast", "veryfast", "faster")
_CODED = 0.5  # share of the cameras whose video is coded
# Share of them whose pictures are kept as JPEG, how well, and as well as can be.
_JPEG, _QUALITY, _BEST = 0.5, (75, 99), 100
_TAKEN = 8  # pictures of the same, for what JPEG does to all of them
# Rows and columns of a mosaic that are measured: as much as a user's clip has, or a part of it.
_MEASURED = (540, 960), (360, 576), (360, 384)
# How many times the noise that is measured a mosaic to be trained on holds. What a codec did comes to it: in luma and
# in any channel at the most so many times. Else it is what there is, or near it: the reduction inside a camera spares
# edges, and where it is strong there is two to eight times as much there as flat parts tell. A network that meets that
# often removes more of all noise of cameras than there is; that of photographs is told rightly.
_MOST_OF_LUMA, _MOST = 4.0, 8.0
_UNCODED = 0.7, 1.6
_RECORDED = 3  # times at the most, for a mosaic whose noise is told
_DRAWN = 8  # mosaics, for one whose noise can be told: on one or two clips it sometimes cannot
_PEAK = 255.0
_BT709 = 1  # `PlaneFormat.matrix`


@dataclass(frozen=True)
class Recording:
    """How a mosaic is recorded.

    source: a camera, or the deviation of noise in R, G and B, of 255, 0 for none. blur: that noise is white, or through
    a Gaussian of so many pixels. colour: the deviation of its differences of R, G and B beside that of their sum. jpeg:
    the quality of JPEG in which a camera keeps its pictures, None if it does not. coding: the crf of libx264 and its
    preset, None for none. measured: rows and columns in which the noise is told, at the most. smooth_chroma: whether
    chroma of coded video is interpolated where R, G and B are made of it.
    """

    source: Camera | float
    coding: tuple[int, str] | None
    measured: tuple[int, int] = _MEASURED[0]
    smooth_chroma: bool = True
    blur: float = 0.0
    colour: float = 1.0
    jpeg: int | None = None


class PartlyMeasured:
    """Degraded scenery, of which shares of the mosaics are recorded.

    camera, coded: by a camera (half of them through a codec), and with white noise through a codec, or (a third)
    noise that is not coded but correlated, or of other strength in colours; together 0 to 1.
    Where what is measured in one is but a small part of what is wrong with it, another is recorded, up to thrice: a
    network that is told so little learns not to trust what it is told.
    """

    def __init__(self, degraded: Degraded, scenery: Scenery, camera: float, coded: float) -> None:
        self.layout: Layout = degraded.layout
        self._degraded = degraded
        self._scenery = scenery
        self._camera, self._coded = camera, coded

    def draw(self, random: np.random.Generator) -> Channels:
        """A mosaic."""
        drawn = random.random()
        for _ in range(_RECORDED if drawn < self._camera + self._coded else 0):
            recording = draw_recording(random, camera=bool(drawn < self._camera))
            scenes = self._degraded.draw_scenes(random)
            clean, seed = self._scenery.draw(random, alike=True), int(random.integers(2**62))
            found = recorded_mosaic(clean, self.layout, recording, seed, scenes)
            if found is not None and _is_told(found, coded=recording.coding is not None):
                return found
        return self._degraded.draw(random)


class Measured:
    """Mosaics that are all recorded alike; as of `recorded_mosaic`.

    Here as above a mosaic is of cells that are alike: what a codec leaves depends on the picture, and what is measured
    on a part is to be true of the rest.
    """

    def __init__(self, scenery: Scenery, layout: Layout, recording: Recording, scenes: tuple[int, ...] = ()) -> None:
        self.layout: Layout = layout
        self._scenery, self._recording, self._scenes = scenery, recording, scenes

    def draw(self, random: np.random.Generator) -> Channels:
        """A mosaic; raises InputError where nothing can be told of the noise of any that is drawn."""
        for _ in range(_DRAWN):
            clean, seed = self._scenery.draw(random, alike=True), int(random.integers(2**62))
            found = recorded_mosaic(clean, self.layout, self._recording, seed, self._scenes)
            if found is not None:
                return found
        raise InputError(
            "noise of cameras and codecs cannot be told on what is held back; give other footage, or --camera 0 "
            "--coded 0"
        )


def draw_recording(random: np.random.Generator, *, camera: bool) -> Recording:
    """How one mosaic is recorded."""

    def between(least: float, most: float) -> float:
        return float(np.exp(random.uniform(np.log(least), np.log(most))))

    source: Camera | float = draw_camera(random, between(*_GAIN)) if camera else between(*_SIGMA)
    coding = (int(random.integers(*_CRF)), str(random.choice(_SPEEDS)))
    coded = random.random() < (_CODED if camera else 1 - _PLAIN)
    if coded and not camera and random.random() < _CLEAN:
        source = 0.0
    measured = _MEASURED[int(random.integers(len(_MEASURED)))]
    blur = float(random.uniform(*_BLUR)) if not (camera or coded) and random.random() < _BLURRED else 0.0
    colour = between(*_COLOUR) if random.random() < _COLOURED else 1.0
    jpeg = int(random.integers(*_QUALITY)) if camera and random.random() < _JPEG else None
    return Recording(source, coding if coded else None, measured, bool(random.random() < 0.5), blur, colour, jpeg)


def draw_camera(random: np.random.Generator, gain: float) -> Camera:
    """A camera of this gain; a fifth do nothing but demosaic and tone.

    Of the others most leave little of the noise of colours, and that coarse: a quarter to nine tenths of luma's, of
    three to ten pixels, is what is found in photographs of which the mean of hundreds is known.
    """
    read = gain * float(random.uniform(0.2, 1.0))
    edge_aware = bool(random.random() < 0.6)
    if random.random() < 0.2:
        return Camera(gain, read, edge_aware)
    reduced, scaled, sharpened = random.random(3) < (0.85, 0.4, 0.3)
    return Camera(
        gain,
        read,
        edge_aware,
        balance=(float(random.uniform(1, 2.2)), float(random.uniform(1, 2.2))),
        saturation=float(random.uniform(0, 0.7)),
        gamma=float(random.uniform(1.8, 2.6)),
        scale=float(random.choice([random.uniform(0.6, 1), random.uniform(1, 2)])) if scaled else 1.0,
        reduction=(float(random.uniform(0, 0.8)), 1 - 0.4 * float(random.random()) ** 2) if reduced else (0.0, 0.0),
        grain=(float(random.uniform(0.5, 1.8)), float(random.uniform(1.5, 6))),
        sharpening=float(random.uniform(0.2, 1.0)) if sharpened else 0.0,
    )


@torch.no_grad()
def recorded_mosaic(
    clean: Tensor, layout: Layout, recording: Recording, seed: int, scenes: tuple[int, ...] = ()
) -> Channels | None:
    """Clean R, G, B [T, 3, H, W], 0..1, even H and W, to what a denoiser is given of it, recorded.

    scenes: as of `Channels`; noise is measured on the longest. None where no plane's noise can be told any more.
    """
    noisy, centre = _exposed(clean, recording, torch.Generator(clean.device).manual_seed(seed))
    step = None
    if recording.coding is None:
        given, wanted = (planes_of(p, layout, yuv=layout != "444") for p in (noisy, centre))
    else:
        crf, speed = recording.coding
        codes, step = through_h264(planes_of(noisy, "420", yuv=True), crf, speed)
        given = [p / _PEAK for p in codes]
        if layout == "444":
            given = list(rgb_of(given, smooth=recording.smooth_chroma).unbind(1))
        given, wanted = given[: 1 if layout == "gray" else 3], planes_of(centre, layout, yuv=layout != "444")
    given, wanted = [(_PEAK * p).round().clamp(0, _PEAK) for p in given], [_PEAK * p for p in wanted]
    rows, columns = (min(sides) for sides in zip(clean.shape[-2:], recording.measured, strict=True))
    own = format_of(layout, rows, columns)
    shown = [plane[:, :down, :across] for plane, (down, across) in zip(given, own.plane_shapes, strict=True)]
    scenes = scenes or (len(clean),)
    longest = int(np.argmax(scenes))
    first = sum(scenes[:longest])
    times = range(first, first + scenes[longest])
    noise = measure_noise(times, lambda time: [plane[time] for plane in shown], own, _PEAK, step=step)
    if any(untouched(noise, _PEAK)):
        return None
    return as_told(layout, given, noise, wanted, scenes)


def as_told(
    layout: Layout,
    given: list[Tensor],
    noise: NoiseModel,
    wanted: list[Tensor] | None = None,
    scenes: tuple[int, ...] = (),
) -> Channels:
    """Planes [T, h, w] of 0..255, noisy and as they are wanted, as a denoiser is given them that is told this noise.

    wanted: None for what is given. scenes: as of `Channels`.
    """
    height, width = given[0].shape[-2:]
    format = format_of(layout, height, width)
    denoiser = PlanarDenoiser(format, noise, PRESETS["fast"], peak=_PEAK, captured=False)

    def channels(planes: list[Tensor]) -> list[Tensor]:
        pairs = [denoiser.channels([plane[time] for plane in planes]) for time in range(len(planes[0]))]
        lists = zip(*pairs, strict=True)
        stacked = [torch.stack([c for c in of_size if c is not None]) for of_size in lists if of_size[0] is not None]
        # Without what the frame was enlarged by.
        return [c[..., : height >> level, : width >> level] for level, c in enumerate(stacked)]

    facts, noisy = denoiser.channel_facts(noise), channels(given)
    clean = noisy if wanted is None else channels(wanted)
    return Channels(layout, noisy, clean, facts, _PEAK / denoiser.to_bytes, scenes)


def format_of(layout: Layout, height: int, width: int) -> PlaneFormat:
    """Planes of 8 bits, of luma's even height and width."""
    halved = int(layout == "420")
    return PlaneFormat(_FAMILIES[layout], width, height, 8, halved, halved, matrix=_BT709)


def _is_told(channels: Channels, *, coded: bool) -> bool:
    """Whether the noise that was measured is what is there, of what is coded most of it."""
    pairs = zip(channels.noisy, channels.wanted, strict=True)
    errors = torch.cat([(noisy - wanted).square().mean((0, 2, 3)).sqrt() for noisy, wanted in pairs])
    if coded:
        return float(errors[0]) < _MOST_OF_LUMA and float(errors.max()) < _MOST
    least, most = _UNCODED
    return least < float(errors.min()) and float(errors.max()) < most


def _exposed(clean: Tensor, recording: Recording, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What is recorded, [T, 3, H, W], 0..1 in steps of 1/255, and what its noise is centred on.

    That is what is wanted: the denoiser undoes shifts of what was clipped behind the network.
    """
    source = recording.source
    if isinstance(source, Camera):
        noisy, wanted = _filmed(clean, source, generator)
        if recording.jpeg is not None:
            # What is lost of every picture in the same way is no noise: half of the chroma, and weak colours.
            taken = (_filmed(clean, source, generator)[0] for _ in range(_TAKEN))
            lost = sum(through_jpeg(other, _BEST) - through_jpeg(other, recording.jpeg) for other in taken) / _TAKEN
            noisy, wanted = through_jpeg(noisy, recording.jpeg), through_jpeg(wanted, _BEST) - lost
        return noisy, mean_of_noisy(wanted, noisy)
    if not source:
        return (_PEAK * clean).round() / _PEAK, clean
    sigma = source / _PEAK
    drawn = torch.empty_like(clean).normal_(generator=generator)
    if recording.blur:
        drawn = torch.stack([blurred(frame, recording.blur) for frame in drawn])
    grey = drawn.mean(1, keepdim=True)
    drawn = grey + recording.colour * (drawn - grey)
    drawn = drawn / drawn.std()
    noisy = (_PEAK * (clean + sigma * drawn)).round().clamp(0, _PEAK) / _PEAK
    return noisy, sigma * mean_of_clipped(clean / sigma, torch.ones((), device=clean.device), 1 / sigma)


def _filmed(clean: Tensor, camera: Camera, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Frames as of `Camera.recorded`, those with noise in steps of 1/255."""
    noisy, wanted = map(torch.stack, zip(*(camera.recorded(frame, generator) for frame in clean), strict=True))
    return (_PEAK * noisy).round() / _PEAK, wanted


def through_jpeg(pictures: Tensor, quality: int) -> Tensor:
    """R, G, B [T, 3, H, W], 0..1, as JPEG with halved chroma keeps them."""
    kept = []
    for picture in (_PEAK * pictures).round().clamp(0, _PEAK).byte().permute(0, 2, 3, 1).cpu().numpy():
        _, file = cv2.imencode(".jpg", picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
        found = cv2.imdecode(file, cv2.IMREAD_COLOR)
        assert found is not None
        kept.append(found[..., ::-1])
    return torch.from_numpy(np.stack(kept)).to(pictures.device).permute(0, 3, 1, 2) / _PEAK


def through_h264(planes: list[Tensor], crf: int, speed: str) -> tuple[list[Tensor], float | None]:
    """What libx264 keeps of Y, U and V of 4:2:0, [T, h, w], 0..1: the same as codes, 0..255; the quantiser's step."""
    height, width = planes[0].shape[-2:]
    # As PyAV takes planes: one after the other, in rows of luma's width.
    samples = torch.cat([(_PEAK * p).round().clamp(0, _PEAK).byte().flatten(1) for p in planes], 1)
    codes, device, file = samples.view(len(samples), -1, width).cpu().numpy(), samples.device, BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream: Any = output.add_stream("libx264", Fraction(25), options={"crf": str(crf), "preset": speed})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for image in codes:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="yuv420p")))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as source:
        decoder, headers = decoder_of(source.streams.video[0]), HeaderSteps.of(source.streams.video[0], int(_PEAK))
        use_threads(decoder)
        assert headers is not None
        decoded = []
        for packet in source.demux(video=0):
            if packet.size:
                headers.saw(packet)
            decoded += decode_next(decoder, packet)
        step = mean_step(headers.at(frame.pts) for frame in decoded)
    frames = [frame.to_ndarray() for frame in decoded]
    kept, size = torch.from_numpy(np.stack(frames)).to(device).float().flatten(1), height * width
    blue, red = kept[:, size : size * 5 // 4], kept[:, size * 5 // 4 :]
    halved = (len(kept), height // 2, width // 2)
    return [kept[:, :size].view(-1, height, width), blue.reshape(halved), red.reshape(halved)], step
