"""One film that several workers share: what is known of it here, and what becomes of what they send."""

import secrets
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from vnlsdenoise.engine.schedule import Part, Schedule, Span
from vnlsdenoise.errors import VnlsError
from vnlsdenoise.job.identity import identify
from vnlsdenoise.job.looking import Look, support_of_plan
from vnlsdenoise.job.passing import Progress
from vnlsdenoise.job.plan import Plan, Sharing
from vnlsdenoise.job.publish import failure
from vnlsdenoise.job.remote import Place, RangeTask
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.workdir import SEEN, Piece, WorkFolder


def work_of(plan: Plan) -> float:
    """How much work a film is, in pixels."""
    return float(plan.info.frames or 1000) * plan.work_format.width * plan.work_format.height


def can_be_shared(plan: Plan, workers: int) -> bool:
    """Whether ranges of a film are work for more than one."""
    return workers > 1 and plan.settings is not None and (plan.info.frames or 1) >= 2 * plan.request.piece


def planned_sharing(plan: Plan, workers: int) -> Sharing:
    """How so many equal workers would share a film, if no range of it ended at a cut."""
    frames, piece = plan.info.frames or 0, plan.request.piece
    if not can_be_shared(plan, workers):
        return Sharing(workers, None)
    support, schedule = support_of_plan(plan), Schedule(workers)
    schedule.share("film", frames, float(frames), 2 * support)
    for first in range(0, frames, piece):
        schedule.found("film", Span(first, min(first + piece, frames), False))
    schedule.close("film")
    ends: list[int] = []
    while (part := schedule.next(None if len(ends) < workers else 1.0)) is not None and part.span is not None:
        ends.append(part.span.end)
    return Sharing(workers, sum(min(support, at) + min(support, frames - at) for at in ends[:-1]))


def absolute(request: Request) -> Request:
    """The same request for a process with another working folder."""
    return Request.from_json(request.to_json())


@dataclass
class SharedFilm:
    """A film whose pieces are taken over here.

    given: parts at work. reached: frames that these have come to. done: frames in pieces. twice: frames that were given
    beside those that are wanted. over: set in the end, when `error` or `reading` is there.
    """

    plan: Plan
    folder: WorkFolder
    kept: list[Piece]
    progress: Progress | None
    place: Place
    look: Look | None = None
    looked: bool = False
    given: int = 0
    reached: dict[int, int] = field(default_factory=dict)
    done: int = 0
    twice: int = 0
    warnings: list[str] = field(default_factory=list)
    reading: dict[str, Any] | None = None
    error: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def begun(cls, plan: Plan, folder: WorkFolder, kept: list[Piece], progress: Progress | None) -> "SharedFilm":
        """With a file in the work folder by which workers find out whether they see it; raises OutputError."""
        # A worker has a folder of its own, from which names do not lead where they do here.
        plan = replace(plan, request=absolute(plan.request), info=replace(plan.info, path=plan.info.path.absolute()))
        name, content = f"{SEEN}{secrets.token_hex(6)}", secrets.token_hex(16)
        try:
            (folder.path / name).write_text(content)
        except OSError as error:
            raise failure(folder.path / name, error) from error
        place = Place(folder.path.absolute(), (name, content), identify(plan.request.input))
        film = cls(plan, folder, kept, progress, place, done=sum(piece.frames for piece in kept))
        if film.done:
            film.tell()
        return film

    def tidy(self) -> None:
        """Take away what only workers needed."""
        with suppress(OSError):
            (self.folder.path / self.place.token[0]).unlink()

    def tell(self) -> None:
        """Tell how far all have come."""
        if self.progress is not None:
            self.progress("encoded", self.done + sum(self.reached.values()))

    def task(self, part: Part) -> RangeTask:
        """What a worker is told of a range."""
        assert self.look is not None and part.span is not None
        task = self.look.task(part.span.first, part.span.end, part.tries > 0)
        if task.told is not None:
            last = task.told.first + len(task.told.cuts)
            self.twice += last - task.told.start - part.span.frames
        return task

    def adopt(self, piece: Piece, data: Any) -> None:
        """Take over a piece; raises OutputError, and VnlsError where it is not what was sent."""
        try:
            self.folder.adopt(piece, data)
        except OSError as error:
            raise failure(self.folder.path / piece.data, error) from error
        except ValueError as error:
            raise VnlsError(f"{error}; run it again") from error
        self.done += piece.frames

    def settle(self) -> None:
        """See whether all ranges are done."""
        if self.looked and self.error is None and not self.given:
            assert self.look is not None
            if self.done >= self.look.frames:
                self.reading = self.look.reading(self.warnings)
                self.over.set()

    def fail(self, error: BaseException) -> None:
        """End with an error, as soon as nobody works on it."""
        self.error = self.error or error
        if not self.given:
            self.over.set()

    def result(self) -> dict[str, Any]:
        """What reading it told, once it is over; raises what went wrong."""
        if self.error is not None:
            raise self.error
        assert self.reading is not None
        return self.reading


def look_through(film: SharedFilm, found: Callable[[Span], bool], over: Callable[[BaseException | None], None]) -> None:
    """Look for the pieces of a film in a thread of its own, until `found` gives False."""
    assert film.look is not None
    pieces = film.look.pieces()

    def look() -> None:
        try:
            with closing(pieces):
                if all(map(found, pieces)):
                    over(None)
        except BaseException as error:
            over(error)

    threading.Thread(target=look, name="look", daemon=True).start()


def measure_by(ask: Callable[..., Any], measured_here: Any, settings: Any, most: int) -> Callable[..., Any]:
    """What measures the noise of a scene where the work is done: another kind of device has other last bits.

    most: scenes that are measured at a time; others wait here, and not in the object store.
    """
    room = threading.Semaphore(most)

    def measure(format: Any, frames: Any) -> Any:
        with room:
            return ask(measured_here, format, settings, [replace(frame, extra={}) for frame in frames])

    return measure
