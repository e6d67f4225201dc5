"""What the workers of a fleet have before them, and which of them will be free first."""

import heapq
from collections.abc import Iterator

from vnlsdenoise.engine.speeds import Speeds


class Queues:
    """The tasks of every worker, which it does one after the other. most: that one has at a time."""

    def __init__(self, workers: int, most: int, speeds: Speeds) -> None:
        self._most, self._speeds = most, speeds
        self._tasks: list[dict[int, float]] = [{} for _ in range(workers)]  # and the work of each
        self._since = [0.0] * workers  # when it began with the first of them

    def of(self, worker: int) -> list[int]:
        """The tasks of a worker."""
        return list(self._tasks[worker])

    def add(self, worker: int, task: int, work: float, now: float) -> None:
        """A worker was given a task. now: seconds of any clock, the same one for all calls."""
        if not self._tasks[worker]:
            self._since[worker] = now
        self._tasks[worker][task] = work

    def over(self, worker: int, task: int, now: float) -> None:
        """A task is done, or lost."""
        del self._tasks[worker][task]
        self._since[worker] = now

    def idle(self) -> Iterator[int]:
        """Workers that have nothing to do."""
        return (worker for worker, tasks in enumerate(self._tasks) if not tasks)

    def next_free(self) -> Iterator[int]:
        """Workers with room for one more task, as long as no other will be free earlier: what is left when there is
        little goes to whoever can begin with it first. Whether it was given one is seen before the next."""
        order = [(self._free_at(worker), worker) for worker in range(len(self._tasks)) if self._is_known(worker)]
        heapq.heapify(order)
        while order:
            _, worker = order[0]
            before = len(self._tasks[worker])
            if before >= self._most:
                return
            yield worker
            if len(self._tasks[worker]) > before:
                heapq.heapreplace(order, (self._free_at(worker), worker))
            else:
                heapq.heappop(order)

    def _is_known(self, worker: int) -> bool:
        return bool(self._tasks[worker]) and self._speeds.of(worker) is not None

    def _free_at(self, worker: int) -> float:
        return self._since[worker] + self._speeds.seconds(worker, sum(self._tasks[worker].values()))
