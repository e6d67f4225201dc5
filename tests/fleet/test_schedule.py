"""What a fleet does next: longest first, shared films in ranges that get smaller, nothing kept of what is finished."""

import heapq
import random

import pytest

from vnlsdenoise.engine.schedule import Part, Schedule, Span
from vnlsdenoise.engine.speeds import Speeds


def shared(schedule: Schedule, pieces: list[Span], least: int = 1) -> None:
    frames = sum(piece.frames for piece in pieces)
    schedule.share("film", frames, float(frames), least)
    for piece in pieces:
        schedule.found("film", piece)
    schedule.close("film")


def taken(schedule: Schedule) -> list[Part]:
    parts = []
    while (part := schedule.next()) is not None:
        parts.append(part)
    return parts


def test_whole_films_go_longest_first() -> None:
    schedule = Schedule(3)
    for name, work in (("b", 5.0), ("a", 9.0), ("c", 1.0)):
        schedule.add(name, work)
    assert [part.film for part in taken(schedule)] == ["a", "b", "c"]
    assert schedule.empty and schedule.left == 0


def test_ranges_hold_every_piece_once_and_get_smaller() -> None:
    schedule = Schedule(2)
    pieces = [Span(at, at + 10, False) for at in range(0, 1000, 10)]
    shared(schedule, pieces)
    spans = [part.span for part in taken(schedule)]
    assert [span.first for span in spans] == [0, *(span.end for span in spans[:-1])] and spans[-1].end == 1000
    sizes = [span.frames for span in spans]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 8 * sizes[-1]
    assert schedule.empty and abs(schedule.left) < 1e-6


def test_ranges_end_at_cuts_where_they_can_and_are_not_small_within_a_scene() -> None:
    schedule = Schedule(2)
    pieces = [Span(at, at + 10, at % 70 == 60) for at in range(0, 700, 10)]
    shared(schedule, pieces)
    parts = taken(schedule)
    assert sum(part.span.cut for part in parts[:6]) == 6
    schedule = Schedule(8)
    shared(schedule, [Span(at, at + 10, False) for at in range(0, 700, 10)], least=80)
    sizes = [part.span.frames for part in taken(schedule)]
    assert min(sizes[:-1]) >= 80 and sum(sizes) == 700


def test_what_is_kept_is_not_part_of_a_range() -> None:
    schedule = Schedule(1)
    shared(schedule, [Span(0, 10, False), Span(10, 20, False), Span(40, 50, False)], least=100)
    assert [(part.span.first, part.span.end) for part in taken(schedule)] == [(0, 20), (40, 50)]


def test_a_range_waits_until_enough_is_known() -> None:
    schedule = Schedule(2)
    schedule.share("film", 100, 100.0)
    schedule.found("film", Span(0, 10, True))
    assert schedule.next(beside=True) is None and not schedule.empty
    for at in (10, 20, 30):
        schedule.found("film", Span(at, at + 10, True))
    part = schedule.next(beside=True)
    assert part is not None and (part.span.first, part.span.end) == (0, 20)
    schedule.lost(part)
    assert schedule.next(beside=True) is None  # nobody shares a process with what may end it
    again = schedule.next()
    assert again is not None and again.tries == 1 and again.span == part.span
    schedule.lost(part)
    schedule.drop("film")
    assert schedule.empty and schedule.next() is None and abs(schedule.left) < 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_or_done_twice(seed: int) -> None:
    """Whatever comes in whatever order: films, pieces, workers of other speeds that are lost."""
    draw = random.Random(seed)
    schedule = Schedule(draw.randint(1, 5))
    done: dict[object, list[tuple[int, int]]] = {}
    wanted = {}
    for film in range(12):
        if draw.random() < 0.5:
            schedule.add(film, draw.uniform(1, 9))
            wanted[film] = [(0, 1)]
        else:
            ends = sorted(draw.sample(range(1, 200), draw.randint(1, 30)))
            wanted[film] = [(first, end) for first, end in zip([0, *ends], ends, strict=False) if draw.random() < 0.8]
            schedule.share(film, ends[-1], draw.uniform(1, 99), draw.randint(1, 40))
            for first, end in wanted[film]:
                schedule.found(film, Span(first, end, draw.random() < 0.3))
            schedule.close(film)
    while (part := schedule.next(draw.uniform(0.2, 3)) or schedule.next()) is not None:
        if draw.random() < 0.2:
            schedule.lost(part)
            continue
        done.setdefault(part.film, []).append((0, 1) if part.span is None else (part.span.first, part.span.end))
    assert schedule.empty and abs(schedule.left) < 1e-6
    for film, pieces in wanted.items():
        frames = [number for first, end in done.get(film, []) for number in range(first, end)]
        assert sorted(frames) == [number for first, end in pieces for number in range(first, end)]


def test_who_has_nothing_to_do_takes_what_needs_no_support() -> None:
    schedule = Schedule(2)
    schedule.share("film", 1000, 1000.0, least=40)
    schedule.found("film", Span(0, 10, False))
    assert schedule.next() is None
    for piece in (Span(10, 20, True), Span(20, 30, False)):
        schedule.found("film", piece)
    part = schedule.next()
    assert part is not None and (part.span.first, part.span.end) == (0, 20)
    schedule.found("film", Span(30, 60, False))
    part = schedule.next()  # as long as the frames that it needs beside them
    assert part is not None and (part.span.first, part.span.end) == (20, 60)


def test_a_slow_worker_takes_what_it_ends_with_the_others() -> None:
    schedule = Schedule(2)
    for name, work in (("a", 9.0), ("b", 5.0), ("c", 4.0), ("d", 3.0)):
        schedule.add(name, work)
    assert [schedule.next(speed).film for speed in (0.5, 1.3)] == ["c", "a"]  # type: ignore[union-attr]
    assert schedule.next(0.1) is None  # for which all would wait
    assert [schedule.next(speed).film for speed in (0.6, None)] == ["d", "b"]  # type: ignore[union-attr]


def seconds_of(
    speeds: list[float], measured: bool, overhead: float = 0.6, frames: int = 20000, scenes: bool = True
) -> float:
    """Seconds until workers of such speeds (frames a second) end a film in scenes of 250 frames, or in one.

    measured: they are given what their measured speeds are worth. overhead: seconds of a part.
    """
    schedule, known = Schedule(len(speeds)), Speeds(len(speeds))
    support = 121
    shared(schedule, [Span(at, at + 250, scenes) for at in range(0, frames, 250)], least=2 * support)
    events: list[tuple[float, int, Part | None]] = [(0.0, worker, None) for worker in range(len(speeds))]
    ended = 0.0
    while events:
        now, worker, done = heapq.heappop(events)
        if done is not None:
            ended = now
            known.done(worker, done.work, done.work / speeds[worker])
        part = schedule.next(known.of(worker) if measured else 1.0)
        if part is None and not schedule.empty:
            heapq.heappush(events, (events[0][0] + 1e-3, worker, None))  # for a faster one
        elif part is not None:
            assert part.span is not None
            fed = part.work if scenes else part.work + min(support, part.span.first)
            fed += 0 if scenes else min(support, frames - part.span.end)
            heapq.heappush(events, (now + overhead + fed / speeds[worker], worker, part))
    return ended


@pytest.mark.parametrize(
    ("speeds", "most"),
    [
        ([41.0, 41.0], 1.03),
        ([41.0, 10.0], 1.06),
        ([110.0, 41.0, 25.0], 1.1),
        ([110.0, 110.0, 5.0], 1.8),
        ([100.0] * 4 + [25.0] * 4, 1.2),
    ],
)
def test_fast_and_slow_workers_end_together(speeds: list[float], most: float) -> None:
    assert seconds_of(speeds, True) < most * 20000 / sum(speeds)


@pytest.mark.parametrize(("frames", "most"), [(2500, 1.65), (6000, 1.35), (20000, 1.17), (150000, 1.05)])
def test_a_scene_that_is_shared_costs_little_support(frames: int, most: float) -> None:
    assert seconds_of([41.0, 41.0], True, frames=frames, scenes=False) < most * frames / 82
    assert seconds_of([41.0, 4.1], True, frames=frames, scenes=False) < 1.6 * most * frames / 45.1


def test_who_is_much_slower_than_was_known_is_not_waited_for() -> None:
    assert seconds_of([110.0, 110.0, 5.0], True) < 0.5 * seconds_of([110.0, 110.0, 5.0], False)


def test_speeds_are_of_late_and_of_the_mean() -> None:
    speeds = Speeds(3)
    assert speeds.of(0) is None
    speeds.done(0, 100.0, 1.0)
    assert speeds.of(0) == 1.0 and speeds.of(1) is None
    speeds.guess(1, 50.0, 1.0)
    assert speeds.of(1) == pytest.approx(50 / 75)
    speeds.done(1, 300.0, 1.0)
    assert speeds.of(1) == pytest.approx(1.5)
    for _ in range(12):
        speeds.done(1, 100.0, 1.0)
    assert speeds.of(1) == pytest.approx(1.0, rel=0.05)
    speeds.forget(1)
    assert speeds.of(1) is None and speeds.of(0) == pytest.approx(1.0)
