"""A fleet without machines: the schedule that real workers are given, on a clock that is only a number.

    python tests/benchmarks/fleet_simulation.py --workers 1000 --films 10000 --json fleet-simulation.json
    python tests/benchmarks/fleet_simulation.py --shared

Films of lengths as folders have them (log-normal, 20 s to 3 h), some of 2 hours and more; their seconds from measured
speeds (an H200, 1080p, balanced: 41 frames a second; a task costs 0.6 s of its own: opening, seeking, filling and
draining). Workers differ: a quarter has half the speed. Ranges within scenes pay their support. The ideal is all work
over all speeds. Told are the makespan against it where speeds are measured as the driver does, and where all workers
are taken for alike; the most objects that the schedule held; the seconds that it took of the driver, a part: constant
in the number of parts that are finished, if nothing is linear in them.

With --shared: one film of many scenes or of one by a few workers, and where their time goes at its start and at its
end. The film is looked through as it is worked on, the noise of each scene is measured by a worker, which does nothing
else then, and workers have two parts at a time. Efficiency is against one worker that does all of it. How long frames
and noise take is given: --frame, --noise, --look, --own, --jitter.
"""

import argparse
import heapq
import itertools
import json
import math
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vnlsdenoise.classic.scenewise import MEASURED_FRAMES
from vnlsdenoise.engine.queues import Queues
from vnlsdenoise.engine.ray import SLOTS
from vnlsdenoise.engine.schedule import Part, Schedule, Span
from vnlsdenoise.engine.speeds import Speeds

SPEED = 41.0  # frames a second of one worker
TASK = 0.6  # seconds that a task costs of its own
PIECE, SUPPORT = 250, 121  # of `balanced`, four levels
MORE = 32  # as in `vnlsdenoise/job/looking.py`
EACH = 120  # frames of a scene of a film that is shared
LONG = 0.5  # as in `vnlsdenoise/job/fleet.py`


def film_lengths(count: int, draw: random.Random) -> list[int]:
    """Frames of films."""
    return [int(25 * min(3 * 3600, max(20, math.exp(draw.gauss(math.log(300), 1.1))))) for _ in range(count)]


def pieces_of(frames: int, draw: random.Random) -> list[Span]:
    """Pieces, of which one in three ends at a cut."""
    ends = [*range(PIECE, frames, PIECE), frames]
    return [Span(first, end, draw.random() < 1 / 3) for first, end in zip([0, *ends], ends, strict=False)]


def simulate(workers: int, films: int, seed: int, measured: bool) -> dict[str, Any]:
    draw = random.Random(seed)
    lengths = film_lengths(films, draw)
    speeds = [SPEED * (0.5 if number % 4 == 0 else 1.0) for number in range(workers)]
    total = sum(lengths)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    schedule, known = Schedule(workers), Speeds(workers)
    shared = 0
    for number, frames in enumerate(lengths):
        if frames > LONG * total / workers:
            shared += 1
            schedule.share(number, frames, float(frames), 2 * SUPPORT)
            for piece in pieces_of(frames, draw):
                schedule.found(number, piece)
            schedule.close(number)
        else:
            schedule.add(number, float(frames))
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    clock: list[tuple[float, int, float, float]] = [(0.0, number, 0.0, 0.0) for number in range(workers)]
    heapq.heapify(clock)
    parts, took, quarter, extra, ended = 0, 0.0, [], 0, 0.0
    lost = draw.sample(range(workers), workers // 50)  # workers that lose their first part
    while True:
        now, worker, done, seconds = heapq.heappop(clock)
        start = time.perf_counter()
        if measured and done:
            known.done(worker, done, seconds)
        part: Part | None = schedule.next(known.of(worker) if measured else 1.0)
        took += time.perf_counter() - start
        if part is None:
            if schedule.empty:
                break
            # What is left is for faster ones; it asks again when the next one does.
            heapq.heappush(clock, (clock[0][0] + 1e-3, worker, 0.0, 0.0))
            continue
        parts += 1
        if parts % 2000 == 0:
            quarter.append(took)
        frames = part.work
        if part.span is not None and not part.span.cut:
            frames += SUPPORT
            extra += SUPPORT
        if worker in lost:
            lost.remove(worker)
            schedule.lost(part)
            frames /= 2
            done, seconds = 0.0, 0.0
        else:
            ended = max(ended, now + TASK + frames / speeds[worker])
            done, seconds = part.work, frames / speeds[worker]
        heapq.heappush(clock, (now + TASK + frames / speeds[worker], worker, done, seconds))
    ideal = total / sum(speeds)
    steps = [b - a for a, b in zip([0.0, *quarter], quarter, strict=False)]
    return {
        "workers": workers, "films": films, "speeds": "measured" if measured else "alike", "frames": total,
        "shared": shared, "parts": parts,
        "ideal_s": round(ideal, 1), "makespan_s": round(ended, 1), "efficiency": round(ideal / ended, 4),
        "support_share": round(extra / total, 5), "held_bytes": held, "bytes_a_film": round(held / films, 1),
        "us_a_part": round(1e6 * took / parts, 2), "us_a_part_by_2000": [round(1e6 * step / 2000, 2) for step in steps],
    }  # fmt: skip


@dataclass
class _Given:
    """A part at work: begins once it is `ready` and its worker has nothing before it, `ends` as far as is known."""

    part: Part
    ready: float
    ends: float = math.inf


class SharedFilm:
    """One film of `pieces` of `each` frames by workers, each a scene, or all one (cuts). See above for the seconds."""

    def __init__(
        self, workers: int, pieces: int, each: int, cuts: bool, seconds: argparse.Namespace, seed: int
    ) -> None:
        self.workers, self.pieces, self.each, self.cuts, self.seconds = workers, pieces, each, cuts, seconds
        self.frames = pieces * each
        self.draw = random.Random(seed)
        self.schedule, self.speeds = Schedule(workers), Speeds(workers)
        self.queues = Queues(workers, SLOTS, self.speeds)
        self.schedule.share("film", self.frames, float(self.frames), 2 * SUPPORT)
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.order = itertools.count()
        self.given: list[dict[int, _Given]] = [{} for _ in range(workers)]
        self.asked = [0] * workers  # scenes whose noise a worker is to measure
        self.until = [0.0] * workers  # when it has measured them
        self.first, self.busy, self.last = [math.inf] * workers, [0.0] * workers, [0.0] * workers
        self.known, self.found, self.parts, self.twice = set[tuple[str, int]](), 0, 0, 0

    def at(self, now: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (now, next(self.order), happens))

    def run(self) -> dict[str, Any]:
        for piece in range(self.pieces):
            begins, ends = (self.each * number for number in (piece, piece + 1))
            if self.cuts or not piece:
                self.at(self.seconds.look * (begins + MEASURED_FRAMES), partial(self.ask, piece))
            else:
                self.known.add(("noise", piece))
            known = ends if self.cuts else min(self.frames, ends + SUPPORT + MORE)
            self.at(self.seconds.look * known, partial(self.learn, ("end", piece)))
        while self.events:
            now, _, happens = heapq.heappop(self.events)
            happens(now)
            self.give_all(now)
        make, scenes = max(self.last), self.pieces if self.cuts else 1
        one = self.seconds.own + scenes * self.seconds.noise + self.frames * self.seconds.frame
        return {
            "workers": self.workers, "frames": self.frames, "scenes": scenes, "parts": self.parts,
            "twice": self.twice, "make_s": round(make, 2),
            "efficiency": round(one / (self.workers * make), 3),
            "start_s": [round(first, 2) for first in self.first],
            "between_s": [round(make - first - busy - (make - last), 2)
                          for first, busy, last in zip(self.first, self.busy, self.last, strict=True)],
            "end_s": [round(make - last, 2) for last in self.last],
        }  # fmt: skip

    def ask(self, scene: int, now: float) -> None:
        worker = min(range(self.workers), key=lambda worker: len(self.given[worker]) + self.asked[worker])
        self.asked[worker] += 1
        self.first[worker] = min(self.first[worker], now)
        self.busy[worker] += self.seconds.noise
        self.until[worker] = max(now, self.until[worker]) + self.seconds.noise
        for given in self.given[worker].values():
            given.ends += self.seconds.noise
        self.at(self.until[worker], partial(self.measured, scene, worker))

    def measured(self, scene: int, worker: int, now: float) -> None:
        self.asked[worker] -= 1
        self.learn(("noise", scene), now)

    def learn(self, what: tuple[str, int], now: float) -> None:
        self.known.add(what)
        while {("end", self.found), ("noise", self.found)} <= self.known:
            cut = self.cuts or self.found + 1 == self.pieces
            self.schedule.found("film", Span(self.found * self.each, (self.found + 1) * self.each, cut))
            self.found += 1
            if self.found == self.pieces:
                self.schedule.close("film")

    def give_all(self, now: float) -> None:
        for beside, workers in ((False, self.queues.idle()), (True, self.queues.next_free())):
            for worker in workers:
                part = self.schedule.next(self.speeds.of(worker), beside)
                if part is not None:
                    self.parts += 1
                    self.queues.add(worker, self.parts, part.work, now)
                    self.given[worker][self.parts] = _Given(part, now + self.seconds.own)
                    self.begin(worker, now)

    def begin(self, worker: int, now: float) -> None:
        """The first part of a worker, if it has not begun."""
        task, given = next(iter(self.given[worker].items()), (0, None))
        if given is None or given.ends < math.inf:
            return
        begins = max(now, given.ready, self.until[worker])
        span = given.part.span
        assert span is not None
        twice = 0 if self.cuts else min(SUPPORT, span.first) + min(SUPPORT, self.frames - span.end)
        self.twice += twice
        takes = (span.frames + twice) * self.seconds.frame * (1 + self.seconds.jitter * self.draw.uniform(-1, 1))
        self.first[worker] = min(self.first[worker], begins)
        self.busy[worker] += takes
        given.ends = begins + takes
        self.at(begins + takes / 2, partial(self.fed, worker, given.part.work / 2, takes / 2))
        self.at(given.ends, partial(self.end, worker, task, takes))

    def fed(self, worker: int, work: float, seconds: float, now: float) -> None:
        self.speeds.guess(worker, work, seconds)

    def end(self, worker: int, task: int, takes: float, now: float) -> None:
        given = self.given[worker][task]
        if given.ends > now:  # it was asked for noise meanwhile
            self.at(given.ends, partial(self.end, worker, task, takes))
            return
        del self.given[worker][task]
        self.last[worker] = now
        self.queues.over(worker, task, now)
        self.speeds.done(worker, given.part.work, takes)
        self.begin(worker, now)


def shared(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Films by a few workers, each ten times."""
    rows = []
    for workers, pieces, each, cuts in (
        *((2, pieces, EACH, True) for pieces in (10, 15, 20)), *((4, pieces, EACH, True) for pieces in (20, 40)),
        *((2, pieces, PIECE, False) for pieces in (10, 25, 80)), (4, 80, PIECE, False),
    ):  # fmt: skip
        runs = [SharedFilm(workers, pieces, each, cuts, options, seed).run() for seed in range(10)]
        rows.append(sorted(runs, key=lambda run: run["efficiency"])[len(runs) // 2])
        rows[-1]["least"] = min(run["efficiency"] for run in runs)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--films", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--shared", action="store_true", help="one film by few workers")
    parser.add_argument("--frame", type=float, default=0.025, help="seconds of a frame")
    parser.add_argument("--noise", type=float, default=0.9, help="of the noise of a scene")
    parser.add_argument("--look", type=float, default=0.0055, help="of a frame that is looked at")
    parser.add_argument("--own", type=float, default=TASK, help="of a part, before it can begin")
    parser.add_argument("--jitter", type=float, default=0.03, help="share by which parts take more or less")
    options = parser.parse_args()
    if options.shared:
        rows = shared(options)
        names = (
            "workers",
            "frames",
            "scenes",
            "parts",
            "twice",
            "make_s",
            "efficiency",
            "least",
            "start_s",
            "between_s",
            "end_s",
        )
        print("|", " | ".join(names), "|")
        print("|---" * len(names) + "|")
        for row in rows:
            print("|", " | ".join(str(row[name]) for name in names), "|")
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n")
        return
    sizes = [(options.workers, options.films), (max(1, options.workers // 10), options.films), (16, 12), (4, 1)]
    rows = [simulate(*size, options.seed, measured) for size in sizes for measured in (True, False)]
    names = ("workers", "films", "speeds", "shared", "parts", "ideal_s", "makespan_s", "efficiency", "support_share")
    print("|", " | ".join(names), "| held KiB | us a part |")
    print("|---" * (len(names) + 2) + "|")
    for row in rows:
        print(
            "|", " | ".join(str(row[name]) for name in names), f"| {row['held_bytes'] // 1024} | {row['us_a_part']} |"
        )
    print("us a part, by every 2000 parts:", rows[0]["us_a_part_by_2000"])
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
