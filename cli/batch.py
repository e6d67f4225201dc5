"""Many inputs one after another: what fails is told at the end and does not stop the others."""

import gc
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import click
from vnlsdenoise.cli.carry_out import Outcome
from vnlsdenoise.cli.faults import explain
from vnlsdenoise.cli.talk import one_line, talk

from vnlsdenoise.errors import BatchError, ContinuableError, DamagedInputError

if TYPE_CHECKING:
    from vnlsdenoise.job.inputs import Task

Status = Literal["done", "damaged", "skipped", "failed", "not tried"]


@dataclass(frozen=True)
class Result:
    """What became of one input. text: why, where it is not done. summary: what a run of it alone prints as JSON."""

    source: str
    output: str
    status: Status
    exit_code: int = 0
    text: str = ""
    seconds: float = 0.0
    summary: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {**vars(self), "text": self.text or None, "seconds": round(self.seconds, 3)}


Doing = Generator[tuple["Task", Callable[[], Outcome | None]]]
"""Tasks in the order in which they are done, each with what gives its outcome or raises what went wrong."""
Work = Callable[["Task"], Outcome | None]
"""Does one task and returns what came of it, None where there was nothing left to do; raises what went wrong."""


def one_by_one(tasks: Sequence["Task"], work: Work) -> Doing:
    """The tasks in their order, each with what does it."""
    return ((task, partial(work, task)) for task in tasks)


def run_all(tasks: Sequence["Task"], doing: Doing, *, fail_fast: bool, as_json: bool, at_a_time: bool = False) -> None:
    """Do all tasks, or with `fail_fast` those up to the first that fails, and tell what became of each.

    doing: every task with what gives its outcome, in the order in which they are done.
    as_json: one line of JSON a task on stdout, as soon as it is known. at_a_time: several are done at a time, so that
    those that did not end may have begun.
    Raises BatchError where some failed, DamagedInputError where none did but some inputs were damaged.
    """
    results: list[Result] = []
    known: set[Task] = set()
    with _table_whatever_happens(tasks, results):
        for task, work in doing:
            results.append(_result(task, work))
            known.add(task)
            if as_json:
                click.echo(json.dumps(results[-1].as_dict()))
            if fail_fast and results[-1].status == "failed":
                break
        doing.close()  # what is at work beside the one that failed ends
        rest = [task for task in tasks if task not in known]
        kept = "; what is finished of it is kept" if at_a_time else ""
        results += [Result(str(task.source), str(task.output), "not tried", text=f"--fail-fast{kept}") for task in rest]
        if as_json:
            for result in results[len(tasks) - len(rest) :]:
                click.echo(json.dumps(result.as_dict()))
    counts = Counter(result.status for result in results)
    if counts["failed"]:
        raise BatchError(
            f"{counts['failed']} of {len(results)} inputs failed ({_counted(counts)}); the others are complete; "
            "mend them and run it again: what is done is skipped"
        )
    if counts["damaged"]:
        raise DamagedInputError(f"{counts['damaged']} of {len(results)} inputs are damaged; check them")


def _result(task: "Task", work: Callable[[], Outcome | None]) -> Result:
    begin = time.monotonic()
    source, output = str(task.source), str(task.output)
    try:
        outcome = work()
    except ContinuableError:
        raise  # interrupted, not failed
    except Exception as error:
        text, code = explain(error)
        if talk.verbosity >= 2:
            traceback.print_exc()
        talk.error(text)
        failed = Result(source, output, "failed", code, text, time.monotonic() - begin)
    else:
        return _told(Result(source, output, "done", seconds=time.monotonic() - begin), outcome)
    _free_memory()
    return failed


def _told(result: Result, outcome: Outcome | None) -> Result:
    """What became of a task, from that it ended well; what cannot be said on stdout is not its fault, and raises."""
    if outcome is None:
        return replace(result, status="skipped")
    for line in outcome.lines:
        click.echo(line)
    # What others have done took its time elsewhere.
    seconds = max(result.seconds, outcome.summary.get("seconds", {}).get("all", 0.0))
    if outcome.damage:
        talk.warn(outcome.damage)
        code, text = DamagedInputError.exit_code, outcome.damage
        return replace(result, status="damaged", exit_code=code, text=text, seconds=seconds, summary=outcome.summary)
    return replace(result, seconds=seconds, summary=outcome.summary)


def _free_memory() -> None:
    """Let go of what a failed run held, so that the next one has it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@contextmanager
def _table_whatever_happens(tasks: Sequence["Task"], results: list[Result]) -> Iterator[None]:
    try:
        yield
    finally:
        for line in _table(results, len(tasks)):
            talk.row(line)


def _table(results: Sequence[Result], total: int) -> list[str]:
    """What is not simply done, one line each, under the counts of everything."""
    lines = [f"{len(results)} of {total} inputs: {_counted(Counter(result.status for result in results))}"]
    told = [result for result in results if result.status not in ("done", "skipped")]
    width = min(60, max((len(one_line(result.source)) for result in told), default=0))
    for result in told:
        lines.append(f"  {result.status:9}  {result.exit_code:3}  {one_line(result.source):{width}}  {result.text}")
    return lines


def _counted(counts: "Counter[Status]") -> str:
    order: tuple[Status, ...] = ("done", "damaged", "skipped", "failed", "not tried")
    return ", ".join(f"{counts[status]} {status}" for status in order if counts[status]) or "none finished"
