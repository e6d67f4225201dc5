"""Who is given one more task: whoever will be free first, as far as speeds are known."""

from vnlsdenoise.engine.queues import Queues
from vnlsdenoise.engine.speeds import Speeds


def begun(speeds: list[float | None], works: list[float]) -> Queues:
    """Workers of such speeds, None where it is not known, each with a task of so much work."""
    known = Speeds(len(speeds))
    queues = Queues(len(speeds), 2, known)
    for worker, (speed, work) in enumerate(zip(speeds, works, strict=True)):
        if speed is not None:
            known.done(worker, speed, 1.0)
        if work:
            queues.add(worker, worker, work, 0.0)
    return queues


def served(queues: Queues, works: list[float]) -> list[int]:
    """Which workers are given tasks of such work, one after the other."""
    order = []
    for task, (worker, work) in enumerate(zip(queues.next_free(), works, strict=False), 100):
        order.append(worker)
        if work:
            queues.add(worker, task, work, 0.0)
    return order


def test_the_first_to_be_free_is_served_until_all_have_two() -> None:
    assert served(begun([1.0, 1.0, 1.0], [9.0, 5.0, 7.0]), [1.0] * 9) == [1]  # free before the others even then
    assert served(begun([1.0, 1.0, 1.0], [9.0, 5.0, 7.0]), [3.0] * 9) == [1, 2]
    assert served(begun([1.0, 1.0, 1.0], [9.0, 5.0, 7.0]), [9.0] * 9) == [1, 2, 0]
    assert served(begun([1.0, 10.0], [5.0, 20.0]), [100.0] * 9) == [1, 0]  # twenty are done in two seconds


def test_who_has_nothing_or_is_of_unknown_speed_keeps_nobody_waiting() -> None:
    queues = begun([1.0, None, 1.0], [9.0, 5.0, 0.0])
    assert list(queues.idle()) == [2]
    assert served(queues, [9.0] * 9) == [0]


def test_who_is_given_nothing_keeps_nobody_waiting() -> None:
    assert served(begun([1.0, 1.0], [5.0, 9.0]), [0.0, 1.0]) == [0, 1]


def test_time_goes_on_with_the_task_that_is_begun() -> None:
    queues = begun([1.0, 1.0], [5.0, 9.0])
    queues.add(0, 7, 3.0, 0.0)
    queues.over(0, 0, 8.0)
    assert queues.of(0) == [7] and served(queues, [9.0] * 9) == [1, 0]  # free at 9 and at 11
