"""Scenes side by side: in the order of the film, none kept waiting by another, and no more frames than is allowed."""

import threading
import time
from collections.abc import Iterator

import pytest

from vnlsdenoise.engine.lanes import Mark, by_scenes
from vnlsdenoise.video.frame import Frame


def marks(scenes: list[int], taken: list[int] | None = None) -> Iterator[Mark]:
    number = 0
    for scene, count in enumerate(scenes):
        for index in range(count):
            if taken is not None:
                taken.append(number)
            yield Frame((), number=number), scene > 0 and index == 0, False
            number += 1


def numbers(scene: Iterator[Mark]) -> Iterator[int]:
    return (frame.number for frame, _, _ in scene)


def test_all_scenes_come_in_order() -> None:
    assert list(by_scenes(marks([3, 1, 5, 2]), numbers, 2)) == list(range(11))
    assert list(by_scenes(marks([1] * 40), numbers, 1)) == list(range(40))
    assert list(by_scenes(marks([]), numbers, 2)) == []


def test_a_scene_that_waits_keeps_no_other_waiting() -> None:
    third_begins = threading.Event()

    def go_through(scene: Iterator[Mark]) -> Iterator[int]:
        for number in numbers(scene):
            if number == 0:
                assert third_begins.wait(20)
            elif number == 8:
                third_begins.set()
            yield number

    assert list(by_scenes(marks([4, 4, 4]), go_through, 6)) == list(range(12))


def test_no_more_frames_wait_than_is_allowed() -> None:
    taken: list[int] = []
    go_on = threading.Event()

    def go_through(scene: Iterator[Mark]) -> Iterator[int]:
        for number in numbers(scene):
            if number == 0:
                assert go_on.wait(20)
            yield number

    found = by_scenes(marks([50, 50], taken), go_through, 5)
    taker = threading.Thread(target=list, args=(found,), daemon=True)
    taker.start()
    time.sleep(0.5)
    assert len(taken) == 1 + 5 + 1  # at work, waiting, and the one for which there is no room
    go_on.set()
    taker.join(20)
    assert len(taken) == 100


def test_errors_come_after_what_was_before_them() -> None:
    def broken() -> Iterator[Mark]:
        yield from marks([3, 2])
        raise OSError("gone")

    found: list[int] = []
    with pytest.raises(OSError, match="gone"):
        found.extend(by_scenes(broken(), numbers, 9))
    assert found == [0, 1, 2, 3, 4]

    def fails(scene: Iterator[Mark]) -> Iterator[int]:
        for number in numbers(scene):
            if number == 4:
                raise ValueError("this scene")
            yield number

    found = []
    with pytest.raises(ValueError, match="this scene"):
        found.extend(by_scenes(marks([3, 3, 500]), fails, 2))
    assert found == [0, 1, 2, 3]


def test_every_thread_has_ended_when_nobody_wants_more() -> None:
    before = threading.active_count()
    found = by_scenes(marks([5] * 100), numbers, 2)
    assert [next(found) for _ in range(7)] == list(range(7))
    found.close()
    assert threading.active_count() == before
