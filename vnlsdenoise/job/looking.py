"""What a film is made of, found by a pass that denoises nothing and runs ahead of those that do."""

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from vnlsdenoise.engine.schedule import Span as Pieces
from vnlsdenoise.engine.work import Span, Told, Work
from vnlsdenoise.job.passing import Opened
from vnlsdenoise.job.pieces import is_full
from vnlsdenoise.job.plan import Plan
from vnlsdenoise.job.reading import reader_of
from vnlsdenoise.job.remote import Measured, RangeTask
from vnlsdenoise.job.workdir import Piece
from vnlsdenoise.video.frame import Frame, PlaneFormat
from vnlsdenoise.video.late import Looks, can_be_late

if TYPE_CHECKING:
    from vnlsdenoise.noise import NoiseModel

_MORE = 32  # frames beside the support: those that wait for the noise of a scene, and a chunk of the network
Measure = Callable[[PlaneFormat, list[Frame]], "NoiseModel"]


def support_of_plan(plan: Plan) -> int:
    """Frames to each side that a range within a scene needs beside its own."""
    from vnlsdenoise.classic.denoiser import level_sizes, support_of
    from vnlsdenoise.classic.planar import padded_size
    from vnlsdenoise.classic.presets import PRESETS

    assert plan.settings is not None
    format, preset = plan.work_format, PRESETS[plan.settings.preset]
    sizes = level_sizes(preset, *padded_size(format.height, format.width), (format.chroma_y, format.chroma_x) == (1, 1))
    return support_of(preset, sizes)


class Look:
    """What is known of a film so far. Facts of a frame are some twenty bytes, whatever becomes of the frame."""

    def __init__(self, plan: Plan, kept: list[Piece], measure: Measure, opened: Opened | None) -> None:
        from vnlsdenoise.noise import NoiseModel

        self._plan = plan
        self._kept = {piece.first for piece in kept}
        measured: Measured = (
            {first: NoiseModel.from_json(noise) for piece in kept for first, noise in piece.measured[0]},
            {first: NoiseModel.from_json(noise) for piece in kept for first, noise in piece.measured[1]},
        )
        self._work = Work((), measured, opened, looks=True, measure=measure)
        self._reader = reader_of(plan)
        self._looks = Looks()
        self._begins = array("q", [0])  # frames that scenes begin with, and the end of the film
        self._cuts, self._repeats = bytearray(), bytearray()
        self._fresh = array("q", [0])  # before every frame, how many are no repeats
        self._fed: dict[int, tuple[int, ...]] = {}  # where pieces are fed from
        self._needed = support_of_plan(plan) + _MORE
        self.frames, self.over = 0, False
        self.late = plan.settings is not None and not plan.settings.fields

    def pieces(self) -> Generator[Pieces, None, None]:
        """The pieces that are not kept, each as soon as all is known that it needs."""
        waiting: deque[Pieces] = deque()
        first = count = 0
        for frame in self._looked():
            if count and is_full(count, frame.begins, self._plan.request.piece):
                waiting.append(Pieces(first, frame.number, frame.begins))
                first, count = frame.number, 0
            if not count:
                self._fed[frame.number] = frame.fed
            self._cuts.append(frame.begins)
            self._repeats.append(frame.repeats)
            self._fresh.append(self._fresh[-1] + (not frame.repeats))
            if frame.begins and self._begins[-1] < frame.number:
                self._begins.append(frame.number)
            count, self.frames = count + 1, frame.number + 1
            if frame.ends:
                self._begins.append(self.frames)
                if is_full(count, True, self._plan.request.piece):
                    waiting.append(Pieces(first, self.frames, True))
                    first, count = self.frames, 0
            while waiting and self._is_known(waiting[0]):
                yield from self._wanted(waiting.popleft())
        if count:
            waiting.append(Pieces(first, self.frames, True))
        self.over = True
        for piece in waiting:
            yield from self._wanted(piece)

    def _wanted(self, piece: Pieces) -> Iterator[Pieces]:
        if piece.first not in self._kept:
            yield piece

    def _is_known(self, piece: Pieces) -> bool:
        return piece.cut or self._begins[-1] >= piece.end or self._fresh[-1] - self._fresh[piece.end] >= self._needed

    def _looked(self) -> Iterator[Frame]:
        from vnlsdenoise.engine import local

        plan = self._plan
        assert plan.settings is not None
        shown: Iterable[Frame] = self._noted()
        if plan.window is not None:
            shown = map(plan.window.take, shown)
        return local.denoise_frames(shown, plan.work_format, replace(plan.settings, device="cpu"), self._work)

    def _noted(self) -> Iterator[Frame]:
        for frame in self._reader:
            if self.late:
                self._looks.add(frame)
            yield frame

    def task(self, first: int, end: int, again: bool) -> RangeTask:
        """What a worker must know for the pieces that frames first to end are."""
        from_, late = self._fed[first], self.late and can_be_late(self._reader)
        begin = self._begins[bisect_right(self._begins, min(from_)) - 1]
        next_cut = bisect_left(self._begins, end)
        until, closed = self.frames, self.over
        if next_cut < len(self._begins):
            until, closed = self._begins[next_cut], True
        enough = bisect_left(self._fresh, self._fresh[end] + self._needed)
        if enough < until:
            until, closed = enough, False
        measured = tuple(
            {number: noise for number, noise in dict(found).items() if (begin if late else 0) <= number < until}
            for found in self._work.measured
        )
        told = looks = None
        if late:
            start = min(from_)
            cuts, repeats = bytes(self._cuts[begin:until]), bytes(self._repeats[begin:until])
            told, looks = Told(begin, start, cuts, repeats, closed), self._looks.part(start, until)
        return RangeTask(Span(first, end, from_), (measured[0], measured[1]), told, looks, again)

    def reading(self, warnings: Iterable[str]) -> dict[str, Any]:
        """What is noted of the whole input, once all is read. warnings: of the encoders."""
        told = dict.fromkeys((*self._plan.warnings, *self._reader.warnings, *warnings))
        scenes = self._work.scenes
        return {
            "frames": self.frames,
            "damage": asdict(self._reader.damage),
            "warnings": list(told),
            "scenes": [{"first": s.first, "frames": s.frames, "noise": s.noise.to_json()} for s in scenes],
        }
