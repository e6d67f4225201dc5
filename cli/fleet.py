"""Work on several devices and machines, as the command line shows it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from vnlsdenoise.cli.batch import Doing
from vnlsdenoise.cli.carry_out import Choices, Outcome, damage_told, is_there, make_folder
from vnlsdenoise.cli.progress import Overall, Place, Progress
from vnlsdenoise.cli.talk import talk

if TYPE_CHECKING:
    from vnlsdenoise.job.fleet import FilmFleet
    from vnlsdenoise.job.inputs import Task
    from vnlsdenoise.job.request import Request


@contextmanager
def fleet_of(ray: str | None, devices: str | None, request: "Request") -> "Iterator[FilmFleet | None]":
    """The workers that --ray and --devices mean, None where neither was given; raises UsageError and DeviceError."""
    if ray is None and devices is None:
        yield None
        return
    from vnlsdenoise.engine.cluster import Devices
    from vnlsdenoise.engine.ray import Fleet
    from vnlsdenoise.job.fleet import FilmFleet

    meant = Devices.parse(devices or "all")
    with Fleet(ray or "local", meant, request.device, talk.note, request.max_memory) as fleet:
        talk.note(f"{fleet.size} worker(s): {', '.join(fleet.names)}", least=1)
        yield FilmFleet(fleet, talk.note)


def workers_meant(ray: str | None, devices: str | None, request: "Request") -> int | None:
    """How many they are, without starting them; None where neither was given."""
    if ray is None and devices is None:
        return None
    from vnlsdenoise.engine.cluster import Devices, count_workers

    return count_workers(ray or "local", Devices.parse(devices or "all"), request.device, request.max_memory)


def films_of(
    tasks: "Sequence[Task]", requested: "Callable[[Task], Request]", choices: Choices, fleet: "FilmFleet"
) -> Doing:
    """Every task when it has ended, with what gives its outcome, or raises what went wrong."""
    from vnlsdenoise.job.many import run_films
    from vnlsdenoise.job.pace import Pace, Steps

    requests: list[Request] = []
    left: list[Task] = []
    for task in tasks:
        request = requested(task)
        try:
            done = is_there(request, choices, many=True)
            if not done and request.output is not None:
                make_folder(request.output.parent)
        except Exception as error:
            yield task, partial(_raised, error)
            continue
        if done:
            yield task, lambda: None
        else:
            requests.append(request)
            left.append(task)
    places = [Place(tasks.index(task) + 1, len(tasks), task.source.name) for task in left]
    counts: dict[int, int] = {}
    # Films of which it is not known how long they are: frames are counted, not shares.
    with (
        Overall(choices.progress, len(tasks)) as overall,
        Progress(choices.progress, Pace(None, Steps()), {"files": len(tasks), "workers": fleet.size}) as progress,
    ):

        def told(number: int, what: Any) -> None:
            kind, *facts = what
            if kind == "progress":
                counts[number] = facts[1]
                progress("analysed", sum(counts.values()))
                progress("encoded", sum(counts.values()))
            elif kind == "note":
                talk.note(f"{places[number]}{facts[0]}")
                progress.event("note", file=places[number].number, text=facts[0])

        for ended in run_films(fleet, requests, told):
            place = places[ended.number]
            overall.step()
            if ended.error is not None:
                progress.event("failed", file=place.number, text=str(ended.error))
                yield left[ended.number], partial(_raised, ended.error)
                continue
            assert ended.summary is not None
            summary = dict(ended.summary)
            facts, damage = summary.pop("report"), summary.pop("told")
            counts[ended.number] = summary["frames"]
            progress.event("file", file=place.number, frames=summary["frames"])
            for text in summary["warnings"]:
                talk.warn(f"{place}{text}")
            damage = damage_told(summary["output"], damage) if damage else ""
            yield left[ended.number], partial(Outcome, summary, (), damage, facts)


def _raised(error: Exception) -> None:
    raise error
