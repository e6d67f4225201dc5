"""Films by a fleet of workers: gives them what there is to do, hears how they get on, and does again what is lost."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from vnlsdenoise.engine.queues import Queues
from vnlsdenoise.engine.ray import SLOTS, Fleet, News
from vnlsdenoise.engine.schedule import Part, Schedule, Span
from vnlsdenoise.engine.seconds import Seconds
from vnlsdenoise.engine.speeds import Speeds
from vnlsdenoise.errors import DeviceFaultError, UsageError
from vnlsdenoise.job.looking import Look, support_of_plan
from vnlsdenoise.job.passing import Opened, Progress
from vnlsdenoise.job.plan import Plan
from vnlsdenoise.job.remote import make_film, make_part, make_rest, measured_here, sees
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import MOST_FAULTS
from vnlsdenoise.job.sharing import SharedFilm, can_be_shared, look_through, measure_by, work_of
from vnlsdenoise.job.workdir import Piece, WorkFolder
from vnlsdenoise.video.late import AnotherFrameError

_FED = 0.5  # of a short part is done when the denoiser has all of its frames, of which none is out yet
_WAIT = 0.05  # seconds for news, in which a piece that was found meanwhile waits


@dataclass(frozen=True)
class Ended:
    """What became of one of many films. summary: as of a run of it alone; error: where there is none."""

    number: int
    summary: dict[str, Any] | None = None
    error: Exception | None = None


@dataclass
class Spent:
    """Where the time of a fleet went. workers: of each, added up. began, ended: when (`time.time`) the pieces of a film
    were first begun, and last done. look: seconds until a shared film was looked through. parts: how many were given.
    twice: frames beside those that were wanted."""

    workers: list[Seconds]
    began: float = math.inf
    ended: float = 0.0
    look: float = 0.0
    parts: int = 0
    twice: int = 0


@dataclass
class _Given:
    """A part at work. process: which of those of its worker it was given to. until: end of its pieces so far."""

    part: Part
    process: int
    until: int = 0
    at: float = field(default_factory=time.monotonic)


class FilmFleet:
    """Gives the workers of a fleet what there is to do. What is called from the main thread drives the others.

    say: told in words what becomes of workers. spent: of all that was done so far.
    """

    def __init__(self, fleet: Fleet, say: Callable[[str], None]) -> None:
        self._fleet, self._say = fleet, say
        self._schedule, self._speeds = Schedule(fleet.size), Speeds(fleet.size)
        self._lock = threading.RLock()
        self._films: dict[Any, SharedFilm] = {}
        self._requests: dict[int, Request] = {}
        self._given: dict[int, _Given] = {}
        self._queues = Queues(fleet.size, SLOTS, self._speeds)
        self._processes = [0] * fleet.size
        self._ended: list[Ended] = []
        self._stopped = False
        self.spent = Spent([Seconds() for _ in range(fleet.size)])

    @property
    def device(self) -> str:
        """What the workers work on, "cuda" or "cpu"."""
        return self._fleet.device

    @property
    def size(self) -> int:
        """How many workers there are."""
        return self._fleet.size

    # --- one film

    def make_pieces(
        self, plan: Plan, folder: WorkFolder, kept: list[Piece], progress: Progress | None, opened: Opened | None
    ) -> None:
        """As `passing.make_pieces`, by the workers; from the main thread, or any while that drives."""
        self.spent.began = min(self.spent.began, time.time())
        film = self._begun(plan, folder, kept, progress)
        key = id(film)
        with self._lock:
            self._films[key] = film
            if self._stopped:
                film.fail(InterruptedError("stopped"))
            elif can_be_shared(film.plan, self.size):
                self._share(key, film, opened)
            else:
                self._schedule.add(key, work_of(film.plan))
        if threading.current_thread() is threading.main_thread():
            self._drive(film.over.is_set)
        film.over.wait()
        with self._lock:
            del self._films[key]
        self.spent.twice += film.twice
        self.spent.ended = time.time()
        film.tidy()
        folder.finish_reading(film.result())

    _begun = staticmethod(SharedFilm.begun)

    def _share(self, key: Any, film: SharedFilm, opened: Opened | None) -> None:
        plan, began = film.plan, time.monotonic()
        measure = measure_by(self._fleet.ask, measured_here, plan.settings, self.size)
        film.look = Look(plan, film.kept, measure, opened)
        self._schedule.share(key, plan.info.frames or 1, work_of(plan), 2 * support_of_plan(plan))

        def found(piece: Span) -> bool:
            with self._lock:
                if film.error is None:
                    self._schedule.found(key, piece)
                return film.error is None

        def over(error: BaseException | None) -> None:
            with self._lock:
                self.spent.look += time.monotonic() - began
                if error is not None:
                    self._fail(key, film, error)
                elif film.error is None:
                    self._schedule.close(key)
                    film.looked = True
                    film.settle()

        look_through(film, found, over)

    def _fail(self, key: Any, film: SharedFilm, error: BaseException) -> None:
        self._schedule.drop(key)
        film.fail(error)

    # --- many films

    def add(self, number: int, request: Request, work: float) -> None:
        """Have one worker do all of a film; what becomes of it comes by `ended`."""
        with self._lock:
            self._requests[number] = request
            self._schedule.add(number, work)

    def end(self, ended: Ended) -> None:
        """What became of a film that was done elsewhere."""
        self._ended.append(ended)

    def ended(self, told: Callable[[int, Any], None]) -> Iterator[Ended]:
        """What became of films, at least of one, for which it waits. told: of the number of a film, what its worker
        tells."""
        self._drive(lambda: bool(self._ended), told)
        while self._ended:
            yield self._ended.pop(0)

    def sees(self, file: Any, content: str) -> bool:
        """Whether a worker, whichever has time, reads this in a file."""
        return bool(self._fleet.ask(sees, file, content))

    def stop(self) -> None:
        """Give nothing more, and end the films that are waited for; workers go on until the fleet ends."""
        with self._lock:
            self._stopped = True
            for film in list(self._films.values()):
                film.error = film.error or InterruptedError("stopped")
                film.over.set()

    # --- what drives them

    def _drive(self, over: Callable[[], bool], told: Callable[[int, Any], None] | None = None) -> None:
        try:
            while not over():
                self._give_all()
                for news in self._fleet.news(_WAIT):
                    with self._lock:
                        self._heard(news, told)
        except BaseException:
            self.stop()
            raise

    def _give_all(self) -> None:
        with self._lock:
            for beside, workers in ((False, self._queues.idle()), (True, self._queues.next_free())):
                for worker in workers:
                    if self._is_free(worker):
                        part = self._schedule.next(self._speeds.of(worker), beside)
                        if part is not None:
                            self._give(worker, part)

    def _is_free(self, worker: int) -> bool:
        """Whether a worker may be given something, beside what it has."""
        # Whoever may kill its process is alone there.
        alone = any(self._given[task].part.tries for task in self._queues.of(worker))
        return self._fleet.is_up(worker) and not alone

    def _give(self, worker: int, part: Part) -> None:
        film = self._films.get(part.film)
        if film is None:
            task = self._fleet.give(worker, make_film, self._requests[part.film])  # type: ignore[index]
        elif part.span is None:
            film.given += 1
            task = self._fleet.give(worker, make_rest, film.plan, film.place, film.folder.pieces())
        else:
            film.given += 1
            task = self._fleet.give(worker, make_part, film.plan, film.place, film.task(part))
        self.spent.parts += 1
        self._queues.add(worker, task, part.work, time.monotonic())
        self._given[task] = _Given(part, self._processes[worker], part.span.first if part.span else 0)

    def _heard(self, news: News, told: Callable[[int, Any], None] | None) -> None:
        given, worker = self._given[news.task], self._fleet.worker_of(news.task)
        film = self._films.get(given.part.film)
        if news.kind == "told":
            if film is not None:
                self._told(film, news, given, worker)
            elif told is not None:
                told(given.part.film, news.value)  # type: ignore[arg-type]
            return
        self._fleet.over(news.task)
        del self._given[news.task]
        self._queues.over(worker, news.task, time.monotonic())
        if film is not None:
            film.given -= 1
            film.reached.pop(news.task, None)
        if news.kind == "done":
            value, took = news.value
            self.spent.workers[worker].add(took)
            self._speeds.done(worker, given.part.work, took["held"])
            self._done(film, given, value)
        else:
            self._went_wrong(film, given, news, worker)

    def _told(self, film: SharedFilm, news: News, given: _Given, worker: int) -> None:
        kind, *facts = news.value
        part = given.part
        if kind == "piece":
            piece, data = facts
            try:
                film.adopt(piece, data)
            except Exception as error:
                self._fail(part.film, film, error)
                return
            film.reached[news.task] = max(0, film.reached.get(news.task, 0) - piece.frames)
            given.until = piece.end
        elif kind == "progress":
            before = given.until - (part.span.first if part.span else 0)
            film.reached[news.task] = max(0, facts[1] - (before if part.span else film.done))
            if part.span is not None and 2 * facts[1] >= part.span.frames:
                work = part.work * facts[1] / part.span.frames
                self._speeds.guess(worker, work, time.monotonic() - given.at)
        elif kind == "fed" and self._speeds.of(worker) is None:
            self._speeds.guess(worker, _FED * part.work, time.monotonic() - given.at)
        elif kind == "reading":
            film.reading = facts[0]
        film.tell()

    def _done(self, film: SharedFilm | None, given: _Given, value: Any) -> None:
        if film is None:
            self._ended.append(Ended(given.part.film, value))  # type: ignore[arg-type]
        elif film.error is not None:
            self._fail(given.part.film, film, film.error)
        elif given.part.span is None:
            film.over.set()
        else:
            film.warnings += value
            film.settle()

    def _went_wrong(self, film: SharedFilm | None, given: _Given, news: News, worker: int) -> None:
        part, error = given.part, news.value
        fault = news.kind == "lost" or isinstance(error, DeviceFaultError)
        if fault and given.process == self._processes[worker]:
            # The process is gone, or its device is lost to it.
            self._say(f"worker {self._fleet.names[worker]} was lost ({error}); another one takes its place")
            self._processes[worker] += 1
            self._speeds.forget(worker)
            self._fleet.replace(worker)
        if film is not None and film.error is not None:
            self._fail(part.film, film, film.error)
        elif isinstance(error, AnotherFrameError) and film is not None and film.look is not None:
            self._say(f"{error}; it is read from its start instead")
            film.look.late = False
            self._again(part, given)
        elif not fault:
            self._give_up(film, part, error)
        elif part.tries + 1 >= MOST_FAULTS and not self._got_on(given):
            why = error if isinstance(error, Exception) else f"its worker died: {error}"
            text = f"failed {MOST_FAULTS} times at one place ({why}); check the file"
            self._give_up(film, part, DeviceFaultError(text))
        else:
            self._again(part, given)

    @staticmethod
    def _got_on(given: _Given) -> bool:
        """Whether pieces of a range were finished before it was lost."""
        return given.part.span is not None and given.until > given.part.span.first

    def _again(self, part: Part, given: _Given) -> None:
        if part.span is not None and self._got_on(given):
            if given.until >= part.span.end:
                self._films[part.film].settle()
                return
            left = replace(part.span, first=given.until)
            # Another place, at which nothing failed before.
            part = replace(part, span=left, work=part.work * left.frames / part.span.frames, tries=0)
        self._schedule.lost(part)

    def _give_up(self, film: SharedFilm | None, part: Part, error: Exception) -> None:
        if film is None:
            self._ended.append(Ended(part.film, error=error))  # type: ignore[arg-type]
        else:
            self._fail(part.film, film, error)


def check_request(request: Request) -> None:
    """Raise UsageError where a request cannot be shared."""
    if str(request.input) == "-" or str(request.output) == "-":
        raise UsageError("what goes through a pipe is read once, by one process; leave --ray and --devices out")
    if request.device.startswith("cuda:"):
        raise UsageError(f"--device {request.device} is one device; choose several by --devices")
