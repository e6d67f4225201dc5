"""A video scene by scene: each with the noise that was measured on its own first frames."""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from torch import Tensor

from vnlsdenoise.classic.denoiser import DEFAULT_BATCH
from vnlsdenoise.classic.planar import NETWORK_LANES, PlanarDenoiser, first_needed, tvl1_motion, untouched
from vnlsdenoise.classic.presets import Preset
from vnlsdenoise.learned.network import Network
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.noise.model import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

LONGEST_REPEAT = 64  # a frame repeated more often ends the wait of those before it
MEASURED_FRAMES = 12  # of a scene, that its noise is measured on; they wait as they came, off the device
F = TypeVar("F")
R = TypeVar("R")


@dataclass(frozen=True)
class Scene:
    """Frames that were denoised with one noise model.

    first, frames: where the scene lies in the video. noise: as it was measured or given, before any strength.
    """

    first: int
    frames: int
    noise: NoiseModel


@dataclass(frozen=True)
class Range:
    """Frames of a video whose results are wanted: first <= number, and number < end (None: to the last).

    fed: number of the frame from which on the denoiser is fed, so that they get the bits of the whole run: what
    `Result.fed` said of the first of them, or of one before it.
    """

    first: int
    end: int | None
    fed: int

    def wants(self, number: int) -> bool:
        """Whether a frame is one of them."""
        return self.first <= number and (self.end is None or number < self.end)

    def needs(self, number: int) -> bool:
        """Whether a frame is fed for them, at the least."""
        return self.fed <= number and (self.end is None or number < self.end)


WHOLE = Range(0, None, 0)


@dataclass(frozen=True)
class Result:
    """Denoised planes, and the number of the frame that must be fed at the latest to get them once more; no planes of a
    frame that was left out."""

    planes: list[Tensor]
    fed: int


@dataclass
class _Waiting(Generic[F]):
    """A frame whose result is not out yet, and its repeats, which come right after it."""

    number: int
    fed: int
    repeats: list[F] = field(default_factory=list)


class SceneDenoiser(Generic[F]):
    """Frames in, the result of each out, in order, some tens of frames later; constant memory.

    F is whatever holds a frame until `planes` makes float32 tensors [h, w] of it on the device, one a plane.

    noise: of every scene; None to measure it on each scene's first frames. white: measure one deviation a plane.
    sigma: the deviations of white noise, of which only whether it was clipped is left to measure.
    strength: multiplies the noise of each plane. network: as in `PlanarDenoiser`.
    opened: told of every scene when its noise is known.
    wanted: frames whose results are asked for, in ascending order; the others give None or no planes, and only those
    that are needed are denoised. All frames are to be pushed, from frame `number` on, which begins the film or a scene.
    measured: noise by the number of the first frame that it was measured on; what is there is not measured again, what
    is measured is added. measure: what measures it on the first frames of a scene, None to do it here.
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
        sigma: tuple[float, ...] | None = None,
        strength: tuple[float, ...] | None = None,
        batch: int = DEFAULT_BATCH,
        burst: int = 1,
        pages: int | None = None,
        captured: bool = True,
        beside: bool = True,
        network: Network | None = None,
        opened: Callable[[Scene], None] | None = None,
        wanted: Sequence[Range] = (WHOLE,),
        number: int = 0,
        measured: dict[int, NoiseModel] | None = None,
        measure: Callable[[list[F]], NoiseModel] | None = None,
    ) -> None:
        self._layout = layout
        self._planes = planes
        self._preset = preset
        self._peak = peak
        self._given = noise
        self._measure = measure or (
            lambda frames: measure_noise(frames, planes, layout, peak, white=white, sigma=sigma)
        )
        self._strength = strength or (1.0,) * len(layout.plane_shapes)
        self._batch = batch
        self._burst = burst
        self._pages = pages
        self._network = network
        self._motion = tvl1_motion(preset, captured, 1 if network is None else NETWORK_LANES)
        self._beside = beside
        self._opened = opened
        self._wanted = wanted
        self._measured = {} if measured is None else measured
        self._buffer: list[F] = []
        self._waiting: deque[_Waiting[F]] = deque()
        self._repeated = 0  # times that the last frame that is no repeat was repeated
        self._last: Result | None = None  # the result that came out last; None where it was not needed
        self._untouched: list[bool] = []  # the planes that this scene leaves as they are
        self._applied: NoiseModel | None = None  # what is being removed; None where frames are returned as they are
        self._denoiser: PlanarDenoiser | None = None  # None also where no frame is needed
        self._fed = array("q")  # numbers of the frames that were, or would have been, fed since the last scene began
        self._seen = number
        self._begins = True
        self.scenes: list[Scene] = []

    def push(self, frame: F, *, cut: bool = False, repeats: bool = False) -> Iterator[Result | None]:
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
        number = self._seen
        self._seen += 1
        self._repeated = 0
        self._waiting.append(_Waiting(number, number))
        if self._applied is not None:
            self._count(1)
            yield from self._feed(frame, self._waiting[-1])
            return
        self._buffer.append(frame)
        if self._given is not None or len(self._buffer) == MEASURED_FRAMES:
            yield from self._open()

    def flush(self) -> Iterator[Result | None]:
        """End the scene; yields what is left of it. The next frame begins a new one."""
        if self._buffer:
            yield from self._open()
        if self._denoiser is not None:
            yield from self._released(self._denoiser.flush())
        self._applied = self._denoiser = None

    def repeated(self, step: Callable[[], R]) -> R:
        """What `step` returns, which takes memory of the device; see `Pager.repeated`."""
        return step() if self._denoiser is None else self._denoiser.repeated(step)

    def _repeat(self, frame: F) -> Iterator[Result | None]:
        if self._repeated == LONGEST_REPEAT:
            yield from self.flush()  # a still: nothing newer will help the frames that wait
        number = self._seen
        self._seen += 1
        self._repeated += 1
        if not self._buffer:
            self._count(1)
        if self._waiting:
            self._waiting[-1].repeats.append(frame)
        else:
            yield self._like_last(frame, number)

    def _feed(self, frame: F, waiting: _Waiting[F]) -> Iterator[Result | None]:
        """Give the denoiser a frame of the scene, if it is needed; `waiting` is what stands for it among the others."""
        position = len(self._fed)
        self._fed.append(waiting.number)
        waiting.fed = self._fed[first_needed(self._layout, self._preset, self._network is not None, position)]
        if self._denoiser is None and any(range.needs(waiting.number) for range in self._wanted):
            assert self._applied is not None
            self._denoiser = PlanarDenoiser(
                self._layout,
                self._applied,
                self._preset,
                peak=self._peak,
                batch=self._batch,
                burst=self._burst,
                pages=self._pages,
                beside=self._beside,
                motion=self._motion,
                network=self._network,
                number=position,
            )
        if self._denoiser is None:
            yield from self._left_out()
            return
        yield from self._released(self._denoiser.push(self.repeated(lambda: self._planes(frame))))
        next_out = self._waiting[0].number if self._waiting else self._seen
        if not any(range.fed < self._seen and range.needs(max(next_out, range.fed)) for range in self._wanted):
            self._denoiser = None
            while self._waiting and self._waiting[0].number <= waiting.number:
                yield from self._left_out()

    def _left_out(self) -> Iterator[Result]:
        self._last = None
        waiting = self._waiting.popleft()
        yield from [Result([], waiting.fed)] * (1 + len(waiting.repeats))

    def _released(self, results: Iterator[list[Tensor]]) -> Iterator[Result | None]:
        """Every result, and again for each repeat of its frame."""
        for planes in results:
            waiting = self._waiting.popleft()
            self._last = Result(planes, waiting.fed)
            yield self._last if self._wants(waiting.number) else None
            for number, frame in enumerate(waiting.repeats, waiting.number + 1):
                yield self._like_last(frame, number)

    def _wants(self, number: int) -> bool:
        return any(range.wants(number) for range in self._wanted)

    def _like_last(self, frame: F, number: int) -> Result | None:
        """The last result for a repeat of its frame, whose own planes are kept where nothing is denoised."""
        if self._last is None or not self._wants(number):
            return None
        if not any(self._untouched):
            return self._last
        own = self._planes(frame)
        planes = [mine if kept else p for mine, p, kept in zip(own, self._last.planes, self._untouched, strict=True)]
        return Result(planes, self._last.fed)

    def _open(self) -> Iterator[Result | None]:
        """Measure the scene's noise and begin with the frames that have waited for it."""
        buffer, self._buffer = self._buffer, []
        first = self._waiting[0].number
        noise = self._given or self._measured.get(first)
        if noise is None:
            noise = self._measure(buffer)
            self._measured[first] = noise
        if self._begins or self.scenes[-1].noise != noise:
            self.scenes.append(Scene(first, 0, noise))
            if self._opened is not None:
                self._opened(self.scenes[-1])
        self._begins = False
        self._count(self._seen - first)
        applied = noise.times(self._strength)
        self._untouched = untouched(applied, self._peak)
        self._fed = array("q")
        if all(self._untouched):
            yield from self._released(self._planes(frame) for frame in buffer)
            return
        self._applied = applied
        for frame, waiting in zip(buffer, list(self._waiting), strict=True):
            yield from self._feed(frame, waiting)

    def _count(self, frames: int) -> None:
        self.scenes[-1] = replace(self.scenes[-1], frames=self.scenes[-1].frames + frames)
