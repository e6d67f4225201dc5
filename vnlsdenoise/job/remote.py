"""What a worker of a fleet does: a whole film, the rest of one, or a range of one, whose pieces others take over."""

import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vnlsdenoise.engine.seconds import Seconds
from vnlsdenoise.engine.work import Span, Told, Work
from vnlsdenoise.engine.worker import Tell, Worker
from vnlsdenoise.errors import InputError
from vnlsdenoise.job.identity import identify
from vnlsdenoise.job.pace import Stage
from vnlsdenoise.job.passing import make_pieces, make_range
from vnlsdenoise.job.plan import Plan, make_plan
from vnlsdenoise.job.reading import reader_of
from vnlsdenoise.job.report import summary_of
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.job.workdir import RANGE, Piece, WorkFolder, delete
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.late import Looks, read_late

_SECONDS_BETWEEN = 0.5  # of what is told of progress
Measured = tuple[dict[int, NoiseModel], dict[int, NoiseModel]]


@dataclass(frozen=True)
class Place:
    """Where the pieces of a film go. token: name and content of a file in the work folder, by which a worker finds out
    whether it sees that folder. identity: of the input, as the driver sees it."""

    folder: Path
    token: tuple[str, str]
    identity: dict[str, Any]


@dataclass(frozen=True)
class RangeTask:
    """A range of a film. span: its frames. told, looks: what is known of them and of those around, where it need not be
    read from its start. measured: the noise of its scenes. again: whether the device failed at it before."""

    span: Span
    measured: Measured
    told: Told | None = None
    looks: Looks | None = None
    again: bool = False


def measured_here(worker: Worker, format: Any, settings: Any, frames: Sequence[Frame]) -> NoiseModel:
    """The noise of a scene, by its first frames."""
    from vnlsdenoise.engine import local

    return local.measure_scene(frames, format, replace(settings, device=worker.device))


def sees(_worker: Worker | None, file: Path, content: str) -> bool:
    """Whether a file can be read here that has this content."""
    try:
        return file.read_text() == content
    except OSError:
        return False


def make_film(worker: Worker, tell: Tell, request: Request) -> tuple[dict[str, Any], Seconds]:
    """The whole job of one film; gives its summary, and where the time went."""
    took = Seconds()
    wanted = replace(request, device=worker.device)
    plan = make_plan(wanted)
    told = _Throttled(lambda stage, count: tell(("progress", stage, count)))
    report = run(
        plan,
        told,
        None,
        lambda text: tell(("note", text)),
        partial(make_pieces, turn=worker.turn.taken, took=took),
    )
    damage = str(report.damage) if report.damage else ""
    return {**summary_of(plan, report), "report": report.facts, "told": damage}, took


def make_rest(worker: Worker, tell: Tell, plan: Plan, place: Place, kept: list[Piece]) -> tuple[None, Seconds]:
    """All pieces of a film that are missing; gives where the time went."""
    took = Seconds()
    with _Sending(plan, place, tell) as folder:
        told = _Throttled(lambda stage, count: tell(("progress", stage, count)))
        make_pieces(_here(plan, worker), folder, kept, told, None, worker.turn.taken, took)
    return None, took


def make_part(worker: Worker, tell: Tell, plan: Plan, place: Place, task: RangeTask) -> tuple[list[str], Seconds]:
    """The pieces of a range; gives warnings, and where the time went."""
    took = Seconds()
    count = (task.span.end or 0) - task.span.first
    last = None if task.told is None else task.told.first + len(task.told.cuts)
    throttled = _Throttled(lambda stage, done: tell(("progress", stage, done)))

    def told(stage: Stage, done: int) -> None:
        if stage == "analysed" and done == last:
            tell(("fed",))
        throttled(stage, done)

    reader = reader_of(plan)
    work = Work([task.span], task.measured, keep_sources=task.again, told=task.told)
    frames = reader if task.told is None or task.looks is None else read_late(reader, task.told.start, task.looks)
    with _Sending(plan, place, tell) as folder:
        return make_range(_here(plan, worker), folder, frames, work, count, told, worker.turn.taken, took), took


def _here(plan: Plan, worker: Worker) -> Plan:
    assert plan.settings is not None
    return replace(plan, settings=replace(plan.settings, device=worker.device))


class _Throttled:
    """Passes on how far the last stage has come, now and then."""

    def __init__(self, told: Callable[[Any, int], None]) -> None:
        self._told, self._last = told, 0.0

    def __call__(self, stage: Any, count: int) -> None:
        now = time.monotonic()
        if stage == "encoded" and now - self._last >= _SECONDS_BETWEEN:
            self._last = now
            self._told(stage, count)


class _Sending(WorkFolder):
    """A folder of a worker's own, whose pieces are sent on when they are finished: by name where the driver sees it.

    Raises InputError where the input is not what the driver sees.
    """

    def __init__(self, plan: Plan, place: Place, tell: Tell) -> None:
        host = socket.gethostname()
        try:
            found = identify(plan.request.input)
        except InputError as error:
            raise InputError(
                f"node {host} does not see {plan.request.input}; its storage is not shared with this machine; "
                "put the film where every node sees it under one name"
            ) from error
        if any(found[name] != place.identity[name] for name in ("size", "hash")):
            raise InputError(f"{plan.request.input} is another file on node {host}; give every node the same one")
        self.shared = sees(None, place.folder / place.token[0], place.token[1])
        name = f"{RANGE}{secrets.token_hex(6)}"
        super().__init__(place.folder / name if self.shared else Path(tempfile.mkdtemp(prefix=f"vnlsdenoise-{name}-")))
        self._tell = tell

    def __enter__(self) -> "_Sending":
        self.path.mkdir(exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.shared:
            shutil.rmtree(self.path, ignore_errors=True)

    def finish(self, first: int, frames: int, **known: Any) -> Piece:
        piece = super().finish(first, frames, **known)
        data = self.path if self.shared else self.contents(piece)
        self._tell(("piece", piece, data))
        if not self.shared:
            delete(self.path / piece.data)
        return piece

    def finish_reading(self, told: dict[str, Any]) -> None:
        self._tell(("reading", told))
