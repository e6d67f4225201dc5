"""Scenes that are gone through side by side, each by a thread of its own, with results in the order of the film."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from vnlsdenoise.video.frame import Frame

Item = TypeVar("Item")
Mark = tuple[Frame, bool, bool]
"""A frame, whether it begins a scene, and whether it repeats the one before."""
_SCENES = 8  # that are under way at most, beside the one whose results are taken
_POLL_SECONDS = 0.1


class _StoppedError(Exception):
    """Nobody wants more."""


@dataclass
class _Lane(Generic[Item]):
    """One scene. marks: put by whoever feeds it, None or an error in the end. found: the same of its results."""

    room: threading.Semaphore
    marks: "queue.SimpleQueue[Mark | BaseException | None]" = field(default_factory=queue.SimpleQueue)
    found: "queue.SimpleQueue[tuple[Item] | BaseException | None]" = field(default_factory=queue.SimpleQueue)
    thread: threading.Thread | None = None

    def begin(self, go_through: Callable[[Iterator[Mark]], Iterator[Item]]) -> None:
        def work() -> None:
            end: BaseException | None = None
            try:
                for item in go_through(self._fed()):
                    self.found.put((item,))
            except BaseException as error:
                end = error
            self.found.put(end)

        self.thread = threading.Thread(target=work, name="scene", daemon=True)
        self.thread.start()

    def _fed(self) -> Iterator[Mark]:
        while (mark := self.marks.get()) is not None:
            if isinstance(mark, BaseException):
                raise mark
            self.room.release()
            yield mark

    def results(self) -> Iterator[Item]:
        while isinstance(item := self.found.get(), tuple):
            yield item[0]
        if item is not None:
            raise item


def by_scenes(
    marks: Iterable[Mark], go_through: Callable[[Iterator[Mark]], Iterator[Item]], most: int
) -> Generator[Item, None, None]:
    """What `go_through` gives of every scene, called with its marks; one that waits keeps no other waiting.

    most: frames that wait for their scene to go on, of all together; then whoever takes from `marks` waits, too. What
    `marks` or a scene raises is raised here, after what came before it. Every thread has ended when this iterator has.
    """
    room, stop = threading.Semaphore(most), threading.Event()
    lanes: queue.Queue[_Lane[Item] | BaseException | None] = queue.Queue(_SCENES)
    begun: list[_Lane[Item]] = []

    def feed() -> None:
        lane: _Lane[Item] | None = None
        end: BaseException | None = None
        try:
            for mark in marks:
                if lane is None or mark[1]:
                    if lane is not None:
                        lane.marks.put(None)
                    lane = _Lane(room)
                    lane.begin(go_through)
                    lanes.put(lane)
                while not room.acquire(timeout=_POLL_SECONDS):
                    if stop.is_set():
                        break
                lane.marks.put(mark)
                if stop.is_set():
                    raise _StoppedError
        except BaseException as error:
            end = error
        if lane is not None:
            lane.marks.put(end)
        lanes.put(end)

    feeding = threading.Thread(target=feed, name="scenes", daemon=True)
    feeding.start()
    try:
        while isinstance(lane := lanes.get(), _Lane):
            begun = [lane]
            yield from lane.results()
        if lane is not None:
            raise lane
    finally:
        stop.set()
        while feeding.is_alive() or not lanes.empty():
            # Room for the scene that is about to be added, after which its feeder finds out that no one wants more.
            try:
                lane = lanes.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            begun += [lane] if isinstance(lane, _Lane) else []
        for lane in begun:
            if lane.thread is not None:
                lane.thread.join()
