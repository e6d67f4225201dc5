"""A denoiser on a video's own planes: grey, RGB, and luma with chroma of any subsampling."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from vnlsdenoise import ops
from vnlsdenoise.classic.denoiser import DEFAULT_BATCH, ClassicDenoiser, level_sizes, support_of
from vnlsdenoise.classic.motion import CapturedFlow, Motion, Tvl1Motion
from vnlsdenoise.classic.page import Page
from vnlsdenoise.classic.pager import Pager, repeatable
from vnlsdenoise.classic.presets import Preset
from vnlsdenoise.learned.chunks import first_seen
from vnlsdenoise.learned.denoiser import Channel, LearnedDenoiser
from vnlsdenoise.learned.network import Layout, Network
from vnlsdenoise.noise.clipped_rgb import UNCLIP_WORK, Unclipper
from vnlsdenoise.noise.model import NoiseModel, Spectrum
from vnlsdenoise.noise.spectrum import flatness
from vnlsdenoise.noise.stabilise import SMALLEST_SIGMA, stabilisers_of
from vnlsdenoise.noise.whiten import Whitener
from vnlsdenoise.planes import opponent_from_rgb, pad_by_reflection, rgb_from_opponent
from vnlsdenoise.video.frame import PlaneFormat

R = TypeVar("R")
SMALLEST_SIDE = 32  # a smaller frame is padded by reflection, so that every preset's patches fit in


def padded_size(height: int, width: int) -> tuple[int, int]:
    """The size that a frame is worked on at."""
    return max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)


def transit_bytes(layout: PlaneFormat, stabilise: int, whiten: int) -> int:
    """What a frame's planes take at most while they become channels, or channels planes, results included.

    stabilise, whiten: floats a sample that these allocate for a plane, the latter or what undoes clipping.
    """
    samples = [height * width for height, width in map(padded_size, *zip(*layout.plane_shapes, strict=True))]
    # At most four copies: the planes in units of their noise, white, as opponent channels, stacked.
    return 4 * (4 * sum(samples) + (stabilise + whiten) * max(samples))


def untouched(noise: NoiseModel, peak: float) -> list[bool]:
    """Of every plane, whether it has so little noise that it is returned as it is."""
    return [sigma < SMALLEST_SIGMA * peak for sigma in noise.sigma]


def halves_chroma(layout: PlaneFormat, preset: Preset) -> bool:
    """Whether chroma of luma's size is halved, to enter one level down, and enlarged again."""
    return preset.halved_chroma and layout.family != "gray" and layout.chroma_x + layout.chroma_y == 0


def chroma_is_below(layout: PlaneFormat, preset: Preset) -> bool:
    """Whether chroma enters the pyramid one level down: that of 4:2:0, and that which is halved."""
    return (layout.chroma_y, layout.chroma_x) == (1, 1) or halves_chroma(layout, preset)


def chroma_is_beside(layout: PlaneFormat) -> bool:
    """Whether chroma is denoised by itself, beside luma of its own size: that of 4:2:2, 4:4:0, 4:1:1 and 4:1:0."""
    return (layout.chroma_y, layout.chroma_x) not in ((0, 0), (1, 1))


def _shrunk_range(layout: PlaneFormat) -> float:
    """By how much luma that is shrunk to the size of such chroma, its noise back at 1, has its range enlarged."""
    return float(2 ** ((layout.chroma_y + layout.chroma_x) / 2))


def first_needed(layout: PlaneFormat, preset: Preset, learned: bool, number: int) -> int:
    """The frame that a `PlanarDenoiser` must be fed from, at the latest, so that frame `number` gets the bits that it
    has in the whole scene; both numbered in their scene. It may also be fed from any earlier one."""
    sizes = level_sizes(preset, *padded_size(layout.height, layout.width), chroma_is_below(layout, preset))
    # Chroma denoised by itself is smaller, and so of no more levels.
    return max(0, (first_seen(number) if learned else number) - support_of(preset, sizes))


def _deviation_of_mean(spectrum: Spectrum) -> float:
    """What whitening divides the mean of a picture by: the deviation of the noise at frequency 0."""
    return spectrum[0] ** 0.5 if spectrum else 1.0


def tvl1_motion(preset: Preset, captured: bool, lanes: int = 1) -> Callable[[float], Motion]:
    """What makes the flow estimators of a video: quick ones (`CapturedFlow`, which has so many lanes), or thrifty
    ones."""
    graphs = CapturedFlow(lanes, coarse_warps=preset.flow.coarse_warps) if captured else None
    return partial(Tvl1Motion, captured=graphs, field=preset.flow)


NETWORK_LANES = 2  # where a network follows: the flow of a frame is measured beside that of the result of another


class PlanarDenoiser:
    """Planes in, the same planes denoised out, in order, some tens of frames later; constant memory.

    A frame is a list of float32 tensors [h, w]: luma; luma and two chroma planes; or R, G, B. Each plane has its own
    noise and is worked on in units of it (R, G and B first, then their sum and differences). 4:2:0 chroma is never
    enlarged: it enters the pyramid one level down. Chroma of any other size than luma's is denoised beside luma shrunk
    to it, luma by itself.

    layout: sizes, subsampling and family of the planes. noise: of each plane, in the planes' own scale, whose largest
    value is `peak`; a plane of no noise is returned as it is. motion: makes the flow estimator, from the factor that
    takes a luma to 0..255; None for `tvl1_motion`, captured or not. beside: as in `ClassicDenoiser`. network: on the
    device of the planes, to correct the classic result; None for none. number: of the first frame in its scene, where
    those before it are left out (`first_needed`).
    """

    def __init__(
        self,
        layout: PlaneFormat,
        noise: NoiseModel,
        preset: Preset,
        *,
        peak: float,
        batch: int = DEFAULT_BATCH,
        burst: int = 1,
        pages: int | None = None,
        captured: bool = True,
        beside: bool = True,
        motion: Callable[[float], Motion] | None = None,
        network: Network | None = None,
        number: int = 0,
    ) -> None:
        if len(noise.planes) != len(layout.plane_shapes):
            raise ValueError(f"noise must be of {len(layout.plane_shapes)} planes, got {len(noise.planes)}")
        self._layout = layout
        self._untouched = untouched(noise, peak)
        self._stabilisers = stabilisers_of(noise, peak, layout.family)
        self._whiteners = [Whitener(plane.spectrum) for plane in noise.planes]
        self._unclip: Unclipper | None = None
        if noise.clipped_rgb is not None and not self._untouched[0]:
            self._unclip = Unclipper(noise.clipped_rgb, layout, peak)
        self._originals: deque[list[Page | None]] = deque()  # the planes that are to be returned as they are
        motion = motion or tvl1_motion(preset, captured, 1 if network is None else NETWORK_LANES)
        height, width = padded_size(layout.height, layout.width)
        # Deviations of the opponent channels of R, G and B, if they are not 1.
        self._opponent = noise.opponent
        self._opponent_whiteners = [Whitener(spectrum) for spectrum in noise.opponent_spectra]
        # The opponent luma of R, G and B is their sum over sqrt(3).
        lumas = [s.range for s in self._stabilisers] if layout.family == "rgb" else [self._stabilisers[0].range]
        to_bytes = 255 * len(lumas) ** 0.5 / sum(lumas)
        if self._opponent:
            to_bytes *= self._opponent[0]
        self.to_bytes = to_bytes  # takes the first channel to 0..255
        self._halved = halves_chroma(layout, preset)
        self._subsampled = chroma_is_below(layout, preset)
        self._pager = Pager(pages)
        if pages is not None:
            # Pieces that are left over from other work are handed out again though they be larger than what is asked.
            torch.cuda.empty_cache()
        self._main: ClassicDenoiser | LearnedDenoiser = ClassicDenoiser(
            preset,
            height,
            width,
            motion(to_bytes),
            subsampled_chroma=self._subsampled,
            batch=batch,
            burst=burst,
            pager=self._pager,
            beside=beside,
            number=number,
        )
        self._beside: ClassicDenoiser | LearnedDenoiser | None = None
        self._size = (height, width)
        shrunk_range = _shrunk_range(layout)
        if chroma_is_beside(layout):
            self._chroma_size = padded_size(*layout.plane_shapes[1])
            self._beside = ClassicDenoiser(
                preset,
                *self._chroma_size,
                motion(to_bytes / shrunk_range),
                batch=batch,
                burst=burst,
                pager=self._pager,
                beside=beside,
                number=number,
            )
        if network is not None:
            # Luma by itself, and beside its chroma, where it is shrunk and its noise is back at 1.
            luma, *chroma = self.channel_facts(noise)
            main = [luma] if self._beside is not None else [luma, *chroma]
            kind: Layout = "gray" if len(main) == 1 else "420" if self._subsampled else "444"
            self._main = LearnedDenoiser(
                self._main, network, kind, height, width, main, motion(to_bytes), self._pager, number
            )
            if self._beside is not None:
                shrunk = [replace(luma, range=luma.range * shrunk_range), *chroma]
                self._beside = LearnedDenoiser(
                    self._beside, network, "444", *self._chroma_size, shrunk, motion(to_bytes / shrunk_range),
                    self._pager, number,
                )  # fmt: skip
        whiten = max(w.work for w in (*self._whiteners, *self._opponent_whiteners))
        if self._unclip is not None:
            whiten = max(whiten, UNCLIP_WORK)
        self._transit = transit_bytes(layout, max(s.work for s in self._stabilisers), whiten)
        self._luma: deque[Page] = deque()
        self._chroma: deque[Page] = deque()

    def channel_facts(self, noise: NoiseModel) -> list[Channel]:
        """Where the values of every channel lie, in units of its noise, and how much of them a network corrects."""
        ranges = [
            s.range / _deviation_of_mean(plane.spectrum)
            for s, plane in zip(self._stabilisers, noise.planes, strict=True)
        ]
        if self._layout.family != "rgb":
            return [
                Channel(reach, 0.5, index > 0, plane.assumed, flatness(plane.spectrum))
                for index, (reach, plane) in enumerate(zip(ranges, noise.planes, strict=True))
            ]
        assumed = any(plane.assumed for plane in noise.planes)  # every channel is of all three
        mean, deviations = sum(ranges) / 3, self._opponent or (1.0, 1.0, 1.0)
        spectra = noise.opponent_spectra or ((), (), ())
        return [
            Channel(
                reach * mean / (deviation * _deviation_of_mean(spectrum)),
                centre,
                colour,
                assumed,
                flatness(spectrum),
            )
            for reach, deviation, spectrum, centre, colour in zip(
                (3**0.5, 1.0, 1.0), deviations, spectra, (0.5, 0.0, 0.0), (False, True, True), strict=True
            )
        ]

    def push(self, planes: list[Tensor]) -> Iterator[list[Tensor]]:
        """Add the next frame; yields finished frames."""
        self._add(planes)
        return self._advance()  # without the planes, so that they need not wait on the device

    @property
    def moved(self) -> int:
        """Bytes of frames copied so far, from the device and to it."""
        return self._pager.moved

    def repeated(self, step: Callable[[], R]) -> R:
        """See `Pager.repeated`: for what is done with its frames on the device before they are pushed, or after."""
        return self._pager.repeated(step)

    @torch.no_grad()
    def _add(self, planes: list[Tensor]) -> None:
        self._pager.next_frame()
        frame, chroma = self.channels(planes)
        self._originals.append(
            [self._pager.keep(p) if kept else None for p, kept in zip(planes, self._untouched, strict=True)]
        )
        if self._beside is None:
            self._main.add(frame, chroma)
            return
        assert chroma is not None
        waiting = self._pager.keep(chroma)
        del chroma
        self._main.add(frame)
        self._beside.add(*self._pager.open([waiting])[0])

    @repeatable
    def channels(self, planes: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """What the main denoiser takes as a frame, and the chroma that goes in with it or is denoised beside it."""
        self._pager.reserve(self._transit)
        height, width = self._size
        units = [s.forward(plane) for plane, s in zip(planes, self._stabilisers, strict=True)]
        units = [w.forward(unit) for unit, w in zip(units, self._whiteners, strict=True)]
        if self._layout.family == "rgb":
            units = opponent_from_rgb(units)
            if self._opponent:
                units = [u / d for u, d in zip(units, self._opponent, strict=True)]
            if self._opponent_whiteners:
                units = [w.forward(unit) for unit, w in zip(units, self._opponent_whiteners, strict=True)]
        if self._beside is not None:
            luma, *chroma = units
            return pad_by_reflection(luma[None], height, width), self._with_shrunk_luma(luma, chroma)
        if self._subsampled:
            chroma_planes = torch.stack(units[1:])
            if self._halved:  # its noise back at 1
                chroma_planes = ops.pyramid_down(pad_by_reflection(chroma_planes, height, width)) * 2
            else:
                chroma_planes = pad_by_reflection(chroma_planes, (height + 1) // 2, (width + 1) // 2)
            return pad_by_reflection(units[0][None], height, width), chroma_planes
        return pad_by_reflection(torch.stack(units), height, width), None

    @torch.no_grad()
    def _advance(self) -> Iterator[list[Tensor]]:
        yield from self._finished(lambda denoiser: denoiser.advance())

    @torch.no_grad()
    def flush(self) -> Iterator[list[Tensor]]:
        """End the clip; yields what is left. The next frame begins a new clip."""
        yield from self._finished(lambda denoiser: denoiser.flush())

    def _finished(
        self, results: Callable[[ClassicDenoiser | LearnedDenoiser], Iterator[tuple[Page, Page | None]]]
    ) -> Iterator[list[Tensor]]:
        if self._beside is None:
            yield from map(self._delivered, results(self._main))
            return
        self._luma.extend(done for done, _ in results(self._main))
        self._chroma.extend(done for done, _ in results(self._beside))
        while self._luma and self._chroma:
            yield self._delivered((self._luma.popleft(), self._chroma.popleft()))

    def _with_shrunk_luma(self, luma: Tensor, chroma: list[Tensor]) -> Tensor:
        """Luma at the chroma's size, its noise back at 1, and the chroma planes."""
        for axis, times in ((-2, self._layout.chroma_y), (-1, self._layout.chroma_x)):
            for _ in range(times):
                luma = ops.halve(luma, axis) * 2**0.5
        return pad_by_reflection(torch.stack([luma, *chroma]), *self._chroma_size)

    def _delivered(self, result: tuple[Page, Page | None]) -> list[Tensor]:
        return self._restored(result, self._originals.popleft())

    @repeatable
    def _restored(self, result: tuple[Page, Page | None], originals: list[Page | None]) -> list[Tensor]:
        """Finished channels back to the planes' own sizes, scales and colours."""
        pages = [page for page in (*result, *originals) if page is not None]
        [channels, *others], _ = self._pager.open(pages, work=self._transit)
        units = list(channels)
        if result[1] is not None:
            # Chroma that was denoised beside shrunk luma has that luma first.
            chroma = others.pop(0)[-2:]
            units += ops.pyramid_up(chroma, *self._size) / 2 if self._halved else chroma
        units = [u[:height, :width] for u, (height, width) in zip(units, self._layout.plane_shapes, strict=True)]
        if self._layout.family == "rgb":
            if self._opponent_whiteners:
                units = [w.back(unit) for unit, w in zip(units, self._opponent_whiteners, strict=True)]
            if self._opponent:
                units = [u * d for u, d in zip(units, self._opponent, strict=True)]
            units = rgb_from_opponent(units)
        units = [w.back(unit) for unit, w in zip(units, self._whiteners, strict=True)]
        planes = [s.back(unit) for unit, s in zip(units, self._stabilisers, strict=True)]
        if self._unclip is not None:
            # Chroma that keeps its noise would bring it into the luma: that is taken for grey.
            grey = self._unclip.neutral
            planes = self._unclip(
                *(
                    torch.full_like(plane, grey) if kept else plane
                    for plane, kept in zip(planes, self._untouched, strict=True)
                )
            )
        return [plane if original is None else others.pop(0) for plane, original in zip(planes, originals, strict=True)]
