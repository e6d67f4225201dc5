"""A sliding window of frames: each frame's groups take from and add to the frames around it."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class SlidingWindow(Generic[Item, Result]):
    """Runs `work(window, index)` once for every frame, in order, and `finish(item)` when nothing more can add to it.

    The window of frame t is t - radius .. t + radius, moved inward at both ends of the clip so that it always holds
    2 radius + 1 frames if the clip does. Holds no more than those frames. The last windows of a clip add to the first
    frame of the last one: so a frame leaves 2 radius frames after it came where the clip is known to go on, else with
    the next one, or at `flush`, after which a new clip may begin.
    """

    def __init__(self, radius: int, work: Callable[[list[Item], int], None], finish: Callable[[Item], Result]) -> None:
        self._radius = radius
        self._work = work
        self._finish = finish
        self._window: deque[Item] = deque()
        self._worked = 0  # frames of the window, from its start, whose groups are done

    def push(self, item: Item, followed: bool) -> Iterator[Result]:
        """Add the next frame; yields the results that this completes.

        followed: whether the clip is known to go on after it.
        """
        full = 2 * self._radius + 1
        done = self._left() if len(self._window) == full else None
        self._window.append(item)
        if done is not None:
            yield self._finish(done)
            del done
        if len(self._window) == full:
            self._work_until(self._radius + 1)
            if followed:
                yield self._finish(self._left())

    def flush(self) -> Iterator[Result]:
        """End the clip; yields what is left, in order."""
        self._work_until(len(self._window))
        self._worked = 0
        while self._window:
            yield self._finish(self._window.popleft())

    def _left(self) -> Item:
        self._worked -= 1
        return self._window.popleft()

    def _work_until(self, end: int) -> None:
        window = list(self._window)
        for index in range(self._worked, end):
            self._work(window, index)
        self._worked = end
