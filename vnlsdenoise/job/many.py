"""Many films by a fleet: each whole by one worker, but for the longest, and those whose output workers do not see."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from vnlsdenoise.job.fleet import Ended, FilmFleet
from vnlsdenoise.job.plan import Plan, make_plan
from vnlsdenoise.job.report import summary_of
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.job.sharing import absolute, work_of

_PUBLISHERS = 4  # films that are put together at a time, beside those that workers put together themselves
_PLANNERS = 8
_LONG = 0.5  # of what every worker has to do: a film that is more work is shared
Told = Callable[[int, Any], None]


def run_films(fleet: FilmFleet, requests: Sequence[Request], told: Told) -> Iterator[Ended]:
    """Do many films; what became of each comes in the order in which they end. told: of the number of a film, what
    its worker tells. Where it is closed before the end nothing more is begun, and what is finished of films is kept."""
    left, plans = len(requests), _plans(fleet, requests)
    share = sum(map(work_of, plans.values())) / fleet.size
    publishers = ThreadPoolExecutor(_PUBLISHERS)
    try:
        for number, plan in plans.items():
            if (work_of(plan) > _LONG * share and fleet.size > 1) or not _is_seen(fleet, plan):
                publishers.submit(_by_ranges, fleet, number, plan, told)
            else:
                fleet.add(number, absolute(requests[number]), work_of(plan))
        while left:
            for ended in fleet.ended(told):
                left -= 1
                yield ended
    finally:
        if left:
            fleet.stop()
        publishers.shutdown(wait=False, cancel_futures=True)


def _plans(fleet: FilmFleet, requests: Sequence[Request]) -> dict[int, Plan]:
    """Those that can be made, by number; the others have ended."""
    plans: dict[int, Plan] = {}
    with ThreadPoolExecutor(_PLANNERS) as pool:
        made = [pool.submit(make_plan, request, elsewhere=fleet.device) for request in requests]
        for number, future in enumerate(made):
            error = future.exception()
            if error is None:
                plans[number] = future.result()
            elif isinstance(error, Exception):
                fleet.end(Ended(number, error=error))
            else:
                raise error
    return plans


def _is_seen(fleet: FilmFleet, plan: Plan) -> bool:
    """Whether workers see where the output goes, as far as one of them tells."""
    assert plan.request.output is not None
    folder = plan.request.output.absolute().parent
    token, content = folder / f".seen-{secrets.token_hex(6)}", secrets.token_hex(16)
    try:
        token.write_text(content)
        return fleet.sees(token, content)
    except OSError:
        return True  # which a worker then says, as a run does
    finally:
        with suppress(OSError):
            token.unlink()


def _by_ranges(fleet: FilmFleet, number: int, plan: Plan, told: Told) -> None:
    try:
        report = run(
            plan,
            lambda stage, count: told(number, ("progress", stage, count)),
            None,
            lambda text: told(number, ("note", text)),
            fleet.make_pieces,
        )
        damage = str(report.damage) if report.damage else ""
        ended = Ended(number, {**summary_of(plan, report), "report": report.facts, "told": damage})
    except Exception as error:
        ended = Ended(number, error=error)
    except BaseException:
        return  # the whole ends
    fleet.end(ended)
