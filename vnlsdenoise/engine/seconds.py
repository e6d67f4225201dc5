"""Where the time of a pass goes, by what was done or waited for."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


class Seconds(dict[str, float]):
    """Seconds by name, 0 where nothing was added.

    decode, encode    at work in the threads that do it
    starved, blocked  that denoising waited for frames to come, and for room to put them
    turn, held        that a worker of a fleet waited for its device, and had it
    answered          at short tasks that a worker was asked for while it had nothing else

    first, last: when (`time.time`) a worker first began with any of these, and last ended.
    """

    first, last = math.inf, 0.0

    def __missing__(self, name: str) -> float:
        return 0.0

    def add(self, others: "Seconds") -> None:
        """Add those of another pass."""
        for name, seconds in others.items():
            self[name] += seconds
        self.first, self.last = min(self.first, others.first), max(self.last, others.last)


@contextmanager
def timed(took: Seconds, name: str) -> Iterator[None]:
    """What happens inside counts as `name`."""
    began = time.perf_counter()
    try:
        yield
    finally:
        took[name] += time.perf_counter() - began


def timed_each(took: Seconds, name: str, items: Iterable[Item]) -> Iterator[Item]:
    """The items; what it takes until each is there counts as `name`."""
    coming = iter(items)
    while True:
        with timed(took, name):
            item = next(coming, _END)
        if item is _END:
            return
        yield item  # type: ignore[misc]
