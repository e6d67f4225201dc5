"""Films by a fleet of workers: one film shared among many, or many films, whose long ones are shared."""

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from vnlsdenoise.engine.ray import SLOTS, Fleet, News
from vnlsdenoise.engine.schedule import Part, Schedule
from vnlsdenoise.errors import DeviceError, DeviceFaultError, UsageError, VnlsError
from vnlsdenoise.job.identity import identify
from vnlsdenoise.job.looking import Look, support_of_plan
from vnlsdenoise.job.passing import Opened, Progress
from vnlsdenoise.job.plan import Plan, make_plan
from vnlsdenoise.job.publish import failure
from vnlsdenoise.job.remote import Place, make_film, make_part, make_rest, measured_here, sees
from vnlsdenoise.job.report import summary_of
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import MOST_FAULTS, run
from vnlsdenoise.job.workdir import Piece, WorkFolder
from vnlsdenoise.video.late import AnotherFrameError

_WAIT = 0.2  # seconds for news
_PUBLISHERS = 4  # films that are put together at a time, beside those that workers put together themselves
_LONG = 0.5  # of what every worker has to do: a film that is more work is shared


@dataclass
class _Film:
    """A film whose pieces are taken over here. given: parts at work."""

    plan: Plan
    folder: WorkFolder
    kept: list[Piece]
    progress: Progress | None
    place: Place
    look: Look | None = None
    looked: bool = False
    given: int = 0
    reached: dict[int, int] = field(default_factory=dict)  # frames that the parts at work have come to
    done: int = 0  # frames in pieces
    warnings: list[str] = field(default_factory=list)
    reading: dict[str, Any] | None = None
    error: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def tell(self) -> None:
        if self.progress is not None:
            self.progress("encoded", self.done + sum(self.reached.values()))


@dataclass(frozen=True)
class Ended:
    """What became of one of many films. summary: as of a run of it alone; error: where there is none."""

    number: int
    summary: dict[str, Any] | None = None
    error: Exception | None = None


@dataclass
class _Given:
    """A part at work.

    process: which of the processes of its worker it was given to. until: end of its pieces so far. begun: whether the
    worker has.
    """

    part: Part
    process: int
    until: int = 0
    begun: bool = False


class FilmFleet:
    """Gives the workers of a fleet what there is to do. What is called from the main thread drives the others.

    say: told in words what becomes of workers.
    """

    def __init__(self, fleet: Fleet, say: Callable[[str], None]) -> None:
        self._fleet, self._say = fleet, say
        self._schedule = Schedule(fleet.size)
        self._lock = threading.RLock()
        self._films: dict[Any, _Film] = {}
        self._requests: dict[int, Request] = {}
        self._given: dict[int, _Given] = {}
        self._busy = [0] * fleet.size
        self._processes = [0] * fleet.size
        self._ended: list[Ended] = []
        self._barren = 0  # workers that were lost before they began, one after the other
        self._stop = False

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
        # A worker has a folder of its own, from which names do not lead where they do here.
        plan = replace(plan, request=_absolute(plan.request), info=replace(plan.info, path=plan.info.path.absolute()))
        film = self._begun(plan, folder, kept, progress)
        key = id(film)
        if progress is not None and film.done:
            progress("encoded", film.done)
        with self._lock:
            self._films[key] = film
            self._add(key, film, opened)
        if threading.current_thread() is threading.main_thread():
            self._drive(film.over.is_set)
        film.over.wait()
        with self._lock:
            del self._films[key]
        with suppress(OSError):
            (folder.path / film.place.token[0]).unlink()
        if film.error is not None:
            raise film.error
        assert film.reading is not None
        folder.finish_reading(film.reading)

    def _begun(self, plan: Plan, folder: WorkFolder, kept: list[Piece], progress: Progress | None) -> _Film:
        name, content = f"seen-{secrets.token_hex(6)}", secrets.token_hex(16)
        try:
            (folder.path / name).write_text(content)
        except OSError as error:
            raise failure(folder.path / name, error) from error
        place = Place(folder.path.absolute(), (name, content), identify(plan.request.input))
        return _Film(plan, folder, kept, progress, place, done=sum(piece.frames for piece in kept))

    def _add(self, key: Any, film: _Film, opened: Opened | None) -> None:
        work = work_of(film.plan)
        frames = film.plan.info.frames or 1
        if self.size == 1 or film.plan.settings is None or frames < 2 * film.plan.request.piece:
            self._schedule.add(key, work)
            return
        film.look = Look(film.plan, film.kept, partial(self._measure, film.plan.settings), opened)
        self._schedule.share(key, frames, work, 2 * support_of_plan(film.plan))
        threading.Thread(target=self._looks, args=(key, film), name="look", daemon=True).start()

    def _measure(self, settings: Any, format: Any, frames: Any) -> Any:
        # Where the work is done: another kind of device has other last bits.
        return self._fleet.ask(measured_here, format, settings, [replace(frame, extra={}) for frame in frames])

    def _looks(self, key: Any, film: _Film) -> None:
        assert film.look is not None
        try:
            for piece in film.look.pieces():
                with self._lock:
                    if film.error is not None or self._stop:
                        return
                    self._schedule.found(key, piece)
            with self._lock:
                self._schedule.close(key)
                film.looked = True
                self._settle(film)
        except BaseException as error:
            with self._lock:
                self._fail(key, film, error)

    def _settle(self, film: _Film) -> None:
        """See whether a shared film is done."""
        if film.looked and film.error is None and not film.given:
            assert film.look is not None
            if film.done >= film.look.frames:
                film.reading = film.look.reading(film.warnings)
                film.over.set()

    def _fail(self, key: Any, film: _Film, error: BaseException) -> None:
        film.error = film.error or error
        self._schedule.drop(key)
        if not film.given:
            film.over.set()

    # --- many films

    def run_all(self, requests: Sequence[Request], told: Callable[[int, Any], None]) -> "Films":
        """Do many films; what became of each comes in the order in which they end. told: of the number of a film, what
        its worker tells."""
        return Films(self, requests, told)

    # --- what drives them

    def _drive(self, over: Callable[[], bool], told: Callable[[int, Any], None] | None = None) -> None:
        try:
            while not over():
                self._give_all()
                for news in self._fleet.news(_WAIT):
                    with self._lock:
                        self._heard(news, told)
        except BaseException:
            self._stop = True
            for film in list(self._films.values()):
                film.error = film.error or InterruptedError("stopped")
                film.over.set()
            raise

    def _give_all(self) -> None:
        with self._lock:
            for slot in range(SLOTS):
                for worker in range(self.size):
                    if self._busy[worker] != slot:
                        continue
                    part = self._schedule.next()
                    if part is None:
                        return
                    self._give(worker, part)

    def _give(self, worker: int, part: Part) -> None:
        film = self._films.get(part.film)
        if film is None:
            task = self._fleet.give(worker, make_film, self._requests[part.film])  # type: ignore[index]
        elif part.span is None:
            film.given += 1
            task = self._fleet.give(worker, make_rest, film.plan, film.place, film.folder.pieces())
        else:
            assert film.look is not None
            film.given += 1
            what = film.look.task(part.span.first, part.span.end, part.tries > 0)
            task = self._fleet.give(worker, make_part, film.plan, film.place, what)
        self._busy[worker] += 1
        self._given[task] = _Given(part, self._processes[worker], part.span.first if part.span else 0)

    def _heard(self, news: News, told: Callable[[int, Any], None] | None) -> None:
        given = self._given[news.task]
        film = self._films.get(given.part.film)
        if news.kind == "begun":
            given.begun, self._barren = True, 0
            return
        if news.kind == "told":
            if film is not None:
                self._told(film, news, given)
            elif told is not None:
                told(given.part.film, news.value)  # type: ignore[arg-type]
            return
        worker = self._fleet.worker_of(news.task)
        self._fleet.over(news.task)
        del self._given[news.task]
        self._busy[worker] -= 1
        if film is not None:
            film.given -= 1
            film.reached.pop(news.task, None)
        if news.kind == "done":
            self._done(film, given, news.value)
        else:
            self._went_wrong(film, given, news, worker)

    def _told(self, film: _Film, news: News, given: _Given) -> None:
        kind, *facts = news.value
        if kind == "piece":
            piece, data = facts
            try:
                film.folder.adopt(piece, data)
            except OSError as error:
                self._fail(given.part.film, film, failure(film.folder.path / piece.data, error))
                return
            except ValueError as error:
                self._fail(given.part.film, film, VnlsError(f"{error}; run it again"))
                return
            film.done += piece.frames
            film.reached[news.task] = max(0, film.reached.get(news.task, 0) - piece.frames)
            given.until = piece.end
        elif kind == "progress":
            before = given.until - (given.part.span.first if given.part.span else 0)
            film.reached[news.task] = max(0, facts[1] - (before if given.part.span else film.done))
        elif kind == "reading":
            film.reading = facts[0]
        film.tell()

    def _done(self, film: _Film | None, given: _Given, value: Any) -> None:
        if film is None:
            self._ended.append(Ended(given.part.film, value))  # type: ignore[arg-type]
        elif film.error is not None:
            self._fail(given.part.film, film, film.error)
        elif given.part.span is None:
            film.over.set()
        else:
            film.warnings += value
            self._settle(film)

    def _went_wrong(self, film: _Film | None, given: _Given, news: News, worker: int) -> None:
        part, error = given.part, news.value
        if film is not None and film.error is not None:
            self._fail(part.film, film, film.error)
            return
        if isinstance(error, AnotherFrameError) and film is not None and film.look is not None:
            self._say(f"{error}; it is read from its start instead")
            film.look.late = False
            self._again(part, given)
            return
        fault = news.kind == "lost" or isinstance(error, DeviceFaultError)
        if not fault:
            self._give_up(film, part, error)
            return
        if given.process == self._processes[worker]:
            # The process is gone, or its device is lost to it.
            self._say(f"worker {self._fleet.names[worker]} was lost ({error}); another one takes its place")
            self._processes[worker] += 1
            self._fleet.replace(worker)
        if not given.begun:
            # It had died before; that is no fault of what it was given.
            self._barren += 1
            if self._barren > MOST_FAULTS * self.size:
                raise DeviceError(f"workers die before they begin ({error}); see the logs of Ray")
            part = replace(part, tries=part.tries - 1)
        if part.tries + 1 >= MOST_FAULTS:
            why = error if isinstance(error, Exception) else f"its worker died: {error}"
            text = f"failed {MOST_FAULTS} times at one place ({why}); check the file"
            self._give_up(film, part, DeviceFaultError(text))
            return
        self._again(part, given)

    def _again(self, part: Part, given: _Given) -> None:
        if part.span is not None:
            if given.until >= part.span.end:
                film = self._films[part.film]
                self._settle(film)
                return
            part = replace(part, span=replace(part.span, first=given.until))
        self._schedule.lost(part)

    def _give_up(self, film: _Film | None, part: Part, error: Exception) -> None:
        if film is None:
            self._ended.append(Ended(part.film, error=error))  # type: ignore[arg-type]
        else:
            self._fail(part.film, film, error)


class Films:
    """Many films at work; iterate over what becomes of them."""

    def __init__(self, owner: FilmFleet, requests: Sequence[Request], told: Callable[[int, Any], None]) -> None:
        self._owner, self._requests, self._told = owner, requests, told

    def __iter__(self) -> Any:
        owner, left = self._owner, len(self._requests)
        plans: dict[int, Plan] = {}
        with ThreadPoolExecutor(8) as pool:
            made = [pool.submit(make_plan, request, elsewhere=owner.device) for request in self._requests]
            for number, future in enumerate(made):
                error = future.exception()
                if error is None:
                    plans[number] = future.result()
                elif isinstance(error, Exception):
                    owner._ended.append(Ended(number, error=error))
                else:
                    raise error
        share = sum(map(work_of, plans.values())) / owner.size
        publishers = ThreadPoolExecutor(_PUBLISHERS)
        try:
            for number, plan in plans.items():
                owner._requests[number] = _absolute(self._requests[number])
                if (work_of(plan) > _LONG * share and owner.size > 1) or not self._is_seen(plan):
                    publishers.submit(self._by_ranges, number, plan)
                else:
                    with owner._lock:
                        owner._schedule.add(number, work_of(plan))
            while left:
                owner._drive(lambda: bool(owner._ended), self._told)
                while owner._ended:
                    left -= 1
                    yield owner._ended.pop(0)
        finally:
            publishers.shutdown(wait=False, cancel_futures=True)

    def _is_seen(self, plan: Plan) -> bool:
        """Whether workers see where the output goes, as far as one of them tells."""
        assert plan.request.output is not None
        folder = plan.request.output.absolute().parent
        token, content = folder / f".seen-{secrets.token_hex(6)}", secrets.token_hex(16)
        try:
            token.write_text(content)
            return bool(self._owner._fleet.ask(sees, token, content))
        except OSError:
            return True  # which a worker then says, as a run does
        finally:
            with suppress(OSError):
                token.unlink()

    def _by_ranges(self, number: int, plan: Plan) -> None:
        owner = self._owner
        try:

            def progress(stage: Any, count: int) -> None:
                self._told(number, ("progress", stage, count))

            report = run(plan, progress, None, lambda text: self._told(number, ("note", text)), owner.make_pieces)
            told = str(report.damage) if report.damage else ""
            ended = Ended(number, {**summary_of(plan, report), "report": report.facts, "told": told})
        except Exception as error:
            ended = Ended(number, error=error)
        except BaseException:
            return  # the whole ends
        owner._ended.append(ended)


def _absolute(request: Request) -> Request:
    return Request.from_json(request.to_json())


def work_of(plan: Plan) -> float:
    """How much work a film is, in pixels."""
    return float(plan.info.frames or 1000) * plan.work_format.width * plan.work_format.height


def check_request(request: Request) -> None:
    """Raise UsageError where a request cannot be shared."""
    if str(request.input) == "-" or str(request.output) == "-":
        raise UsageError("what goes through a pipe is read once, by one process; leave --ray and --devices out")
    if request.device.startswith("cuda:"):
        raise UsageError(f"--device {request.device} is one device; choose several by --devices")
