"""Workers of a Ray cluster: one warm process a device, which does what it is told and tells how far it has come."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vnlsdenoise.engine.cluster import START_SECONDS, Cluster, Devices, first_line
from vnlsdenoise.engine.worker import Worker
from vnlsdenoise.errors import DeviceError, VnlsError

SLOTS = 2  # parts that a worker has at a time: one is read from the disk while the other is denoised
_MOST_BARREN = 3  # processes a worker that may die before they can work, one after the other


@dataclass(frozen=True)
class News:
    """What came of a task. kind: "told", "done", "failed" (value: the error), or "lost"."""

    task: int
    kind: str
    value: Any = None


@dataclass
class _Task:
    stream: Any
    worker: int


class Fleet:
    """The workers of a cluster. device: "cuda" or "cpu", what they work on. Use it in a `with` block.

    where, devices, memory: as of `Cluster`. Raises what that raises, and DeviceError where a node is not fit.
    """

    def __init__(
        self, where: str, devices: Devices, device: str, say: Callable[[str], None], memory: int | None = None
    ) -> None:
        self._say = say
        self._tasks: dict[int, _Task] = {}
        self._by_stream: dict[Any, int] = {}
        self._count = 0
        self._actors: list[Any] = []
        self._starting: dict[Any, int] = {}  # what names those that are not up yet
        self._asking, self._asked = threading.Lock(), Counter[int]()  # short tasks that a worker has
        self._barren = 0  # that died before they were up, one after the other
        self._down_since = 0.0
        self._cluster = Cluster(where, devices, device, memory)
        self._ray, self.device, self._seats = self._cluster.ray, self._cluster.device, self._cluster.seats
        try:
            # Workers come up while nodes are asked: both load the same libraries first.
            self._actors = [self._started(index) for index in range(len(self._seats))]
            self._cluster.check_nodes()
            self.names = self._hello()
        except BaseException:
            self._end()
            raise

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self._actors)

    def _started(self, index: int) -> Any:
        seat, place = self._seats[index], self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        # Without a GPU the cores are what a worker needs; with one they are shared by all that runs beside it.
        actor = self._ray.remote(Worker).options(
            num_cpus=seat.cores if self.device == "cpu" else 1,
            num_gpus=int(self.device == "cuda"),
            memory=seat.memory or None,
            max_concurrency=SLOTS + 2,
            max_restarts=0,
            scheduling_strategy=place(seat.node["NodeID"], soft=True),
        )
        return actor.remote(self.device, seat.cores, seat.memory)

    def _hello(self) -> list[str]:
        try:
            return list(self._ray.get([actor.name.remote() for actor in self._actors], timeout=START_SECONDS))
        except self._ray.exceptions.RayError as error:
            raise self._too_late(first_line(error)) from error

    @staticmethod
    def _too_late(why: str) -> DeviceError:
        return DeviceError(
            f"workers do not start within {START_SECONDS} s ({why}); is the cluster busy? see `ray status`"
        )

    # --- tasks

    def give(self, worker: int, function: Callable[..., Any], *arguments: Any) -> int:
        """Let a worker call function(worker, tell, *arguments); what it tells and gives comes by `news`."""
        stream = self._actors[worker].do.options(num_returns="streaming").remote(function, *arguments)
        self._count += 1
        self._tasks[self._count], self._by_stream[stream] = _Task(stream, worker), self._count
        return self._count

    def worker_of(self, task: int) -> int:
        """Which worker was given a task that is not over."""
        return self._tasks[task].worker

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a worker, the one with the least to do that is up, gives for a short task; from any thread."""
        for _ in range(3):
            with self._asking:
                given = self._asked + Counter(task.worker for task in list(self._tasks.values()))
                worker = min(range(self.size), key=lambda worker: (not self.is_up(worker), given[worker]))
                self._asked[worker] += 1
            try:
                return self._ray.get(self._actors[worker].answer.remote(function, *arguments))
            except self._ray.exceptions.RayTaskError as error:
                raise _own(error) from error
            except self._ray.exceptions.RayActorError as error:
                lost = error
                time.sleep(1)  # another one is being started
            finally:
                with self._asking:
                    self._asked[worker] -= 1
        raise DeviceError(f"workers die ({first_line(lost)}); see the logs of Ray") from lost

    def is_up(self, worker: int) -> bool:
        """Whether a worker can be given tasks: its process runs, and has its device."""
        return worker not in list(self._starting.values())

    def news(self, seconds: float) -> Iterator[News]:
        """What has come of the tasks, waiting for the first at most so long.

        Raises DeviceError where no worker comes up any more.
        """
        awaited = [*self._by_stream, *self._starting]
        if not awaited:
            time.sleep(min(seconds, 0.05))
            return
        ready, _ = self._ray.wait(awaited, num_returns=1, timeout=seconds, fetch_local=False)
        more, _ = self._ray.wait(awaited, num_returns=len(awaited), timeout=0, fetch_local=False)
        for one in dict.fromkeys([*ready, *more]):
            if one in self._by_stream:
                yield self._next(one, self._by_stream[one])
            elif one in self._starting:
                self._came_up(one)
        if len(self._starting) == self.size and time.monotonic() - self._down_since > START_SECONDS:
            raise self._too_late("none is left")

    def _next(self, stream: Any, task: int) -> News:
        try:
            kind, value = self._ray.get(next(stream))
        except self._ray.exceptions.RayTaskError as error:
            kind, value = "failed", _own(error)
        except (self._ray.exceptions.RayError, StopIteration) as error:
            kind, value = "lost", first_line(error)
        if kind != "told":
            del self._by_stream[stream]
        return News(task, kind, value)

    def _came_up(self, name: Any) -> None:
        worker = self._starting.pop(name)
        try:
            self.names[worker] = self._ray.get(name)
            self._barren = 0
        except self._ray.exceptions.RayError as error:
            self._barren += 1
            if self._barren > _MOST_BARREN * self.size:
                why = f"workers die before they can work ({first_line(error)}); see the logs of Ray"
                raise DeviceError(why) from error
            self.replace(worker)

    def over(self, task: int) -> None:
        """Nothing more is asked of a task that is done, failed or lost."""
        self._tasks.pop(task, None)

    def replace(self, worker: int) -> None:
        """Start a worker anew, in another process, which is up some seconds later."""
        self._ray.kill(self._actors[worker])
        if not self._starting:
            self._down_since = time.monotonic()
        self._actors[worker] = self._started(worker)
        self._starting[self._actors[worker].name.remote()] = worker

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        # What is at work dies at once, as by kill -9: what is finished is kept.
        self._end()

    def _end(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        self._cluster.leave()


def _own(error: Any) -> BaseException:
    """The error of the function itself."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else VnlsError(first_line(error))
