"""A large fleet without machines: the schedule that real workers are given, on a clock that is only a number.

    python tests/benchmarks/fleet_simulation.py --workers 1000 --films 10000 --json fleet-simulation.json

Films of lengths as folders have them (log-normal, 20 s to 3 h), some of 2 hours and more; their seconds from measured
speeds (an H200, 1080p, balanced: 41 frames a second; a task costs 0.6 s of its own: opening, seeking, filling and
draining). Workers differ: a quarter has half the speed. Ranges within scenes pay their support. The ideal is all work
over all speeds. Told are the makespan against it where speeds are measured as the driver does, and where all workers
are taken for alike; the most objects that the schedule held; the seconds that it took of the driver, a part: constant
in the number of parts that are finished, if nothing is linear in them.
"""

import argparse
import heapq
import json
import math
import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

from vnlsdenoise.engine.schedule import Part, Schedule, Span
from vnlsdenoise.engine.speeds import Speeds

SPEED = 41.0  # frames a second of one worker
TASK = 0.6  # seconds that a task costs of its own
PIECE, SUPPORT = 250, 145  # of `balanced`, four levels
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--films", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
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
