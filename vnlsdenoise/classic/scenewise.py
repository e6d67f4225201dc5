"""A video scene by scene: each with the noise that was measured on its own first frames."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from torch import Tensor

from vnlsdenoise.classic.denoiser import DEFAULT_BATCH
from vnlsdenoise.classic.planar import PlanarDenoiser, tvl1_motion, untouched
from vnlsdenoise.classic.presets import Preset
from vnlsdenoise.learned.network import Network
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.noise.model import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

LONGEST_REPEAT = 64  # a frame repeated more often ends the wait of those before it
MEASURED_FRAMES = 12  # of a scene, that its noise is measured on; they wait as they came, off the device
F = TypeVar("F")


@dataclass(frozen=True)
class Scene:
    """Frames that were denoised with one noise model.

    first, frames: where the scene lies in the video. noise: as it was measured or given, before any strength.
    """

    first: int
    frames: int
    noise: NoiseModel


class SceneDenoiser(Generic[F]):
    """Frames in, denoised planes out, in order, some tens of frames later; constant memory.

    F is whatever holds a frame until `planes` makes float32 tensors [h, w] of it on the device, one a plane.

    noise: of every scene; None to measure it on each scene's first frames. white: measure one deviation a plane.
    strength: multiplies the noise of each plane. network: as in `PlanarDenoiser`.
    opened: told of every scene when its noise is known.
    Where a scene begins without noise (black before a fade), its first frames are returned as they are and the next
    ones are measured anew.
    """

    def __init__(
        self,
        layout: PlaneFormat,
        planes: Callable[[F], list[Tensor]],
        preset: Preset,
        *,
        peak: float,
        noise: NoiseModel | None = None,
        white: bool = False,
        strength: tuple[float, ...] | None = None,
        batch: int = DEFAULT_BATCH,
        pages: int | None = None,
        network: Network | None = None,
        opened: Callable[[Scene], None] | None = None,
    ) -> None:
        self._layout = layout
        self._planes = planes
        self._preset = preset
        self._peak = peak
        self._given = noise
        self._white = white
        self._strength = strength or (1.0,) * len(layout.plane_shapes)
        self._batch = batch
        self._pages = pages
        self._network = network
        self._motion = tvl1_motion(pages)
        self._opened = opened
        self._buffer: list[F] = []
        self._repeats: deque[list[F]] = deque()  # of every frame that is not out yet
        self._last: list[Tensor] = []  # the result that came out last
        self._untouched: list[bool] = []  # the planes that this scene leaves as they are
        self._denoiser: PlanarDenoiser | None = None
        self._seen = 0
        self._begins = True
        self.scenes: list[Scene] = []

    def push(self, frame: F, *, cut: bool = False, repeats: bool = False) -> Iterator[list[Tensor]]:
        """Add the next frame; yields finished frames.

        cut: it begins a scene. repeats: it is the frame before over again, noise and all: no evidence, so that it gets
        the same result and nothing else of it is used.
        """
        if cut:
            yield from self.flush()
            self._begins = True
        if repeats and not cut and self._seen:
            yield from self._repeat(frame)
            return
        self._seen += 1
        self._repeats.append([])
        if self._denoiser is not None:
            self._count(1)
            yield from self._released(self._denoiser.push(self._planes(frame)))
            return
        self._buffer.append(frame)
        if self._given is not None or len(self._buffer) == MEASURED_FRAMES:
            yield from self._open()

    def flush(self) -> Iterator[list[Tensor]]:
        """End the scene; yields what is left of it. The next frame begins a new one."""
        if self._buffer:
            yield from self._open()
        if self._denoiser is not None:
            yield from self._released(self._denoiser.flush())
            self._denoiser = None

    def _repeat(self, frame: F) -> Iterator[list[Tensor]]:
        if self._repeats and len(self._repeats[-1]) == LONGEST_REPEAT:
            yield from self.flush()  # a still: nothing newer will help the frames that wait
        self._seen += 1
        if not self._buffer:
            self._count(1)
        if self._repeats:
            self._repeats[-1].append(frame)
        else:
            yield self._like_last(frame)

    def _released(self, results: Iterator[list[Tensor]]) -> Iterator[list[Tensor]]:
        """Every result, and again for each repeat of its frame."""
        for self._last in results:
            yield self._last
            for frame in self._repeats.popleft():
                yield self._like_last(frame)

    def _like_last(self, frame: F) -> list[Tensor]:
        """The last result for a repeat of its frame, whose own planes are kept where nothing is denoised."""
        if not any(self._untouched):
            return self._last
        own = self._planes(frame)
        return [mine if kept else last for mine, last, kept in zip(own, self._last, self._untouched, strict=True)]

    def _open(self) -> Iterator[list[Tensor]]:
        """Measure the scene's noise and begin with the frames that have waited for it."""
        waiting, self._buffer = self._buffer, []
        noise = self._given
        if noise is None:
            noise = measure_noise(waiting, self._planes, self._layout, self._peak, white=self._white)
        held = len(waiting) + sum(map(len, self._repeats))
        if self._begins or self.scenes[-1].noise != noise:
            self.scenes.append(Scene(self._seen - held, 0, noise))
            if self._opened is not None:
                self._opened(self.scenes[-1])
        self._begins = False
        self._count(held)
        applied = noise.times(self._strength)
        self._untouched = untouched(applied, self._peak)
        if all(self._untouched):
            yield from self._released(self._planes(frame) for frame in waiting)
            return
        self._denoiser = PlanarDenoiser(
            self._layout,
            applied,
            self._preset,
            peak=self._peak,
            batch=self._batch,
            pages=self._pages,
            motion=self._motion,
            network=self._network,
        )
        for frame in waiting:
            yield from self._released(self._denoiser.push(self._planes(frame)))

    def _count(self, frames: int) -> None:
        self.scenes[-1] = replace(self.scenes[-1], frames=self.scenes[-1].frames + frames)
