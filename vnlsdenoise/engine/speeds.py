"""How fast the workers of a fleet are, by what they have done of late: devices differ, and what else they do."""

_FADING = 0.7  # of what was done before, whenever something is


class Speeds:
    """workers: how many there are."""

    def __init__(self, workers: int) -> None:
        self._done = [(0.0, 0.0)] * workers  # work, and the seconds that it took
        self._speeds: dict[int, float] = {}
        self._sum = 0.0  # of all that are known

    def done(self, worker: int, work: float, seconds: float) -> None:
        """A worker did something, in any unit of work, with its device for so long."""
        before = self._done[worker]
        self._done[worker] = work, seconds = _FADING * before[0] + work, _FADING * before[1] + seconds
        self._set(worker, work, seconds)

    def guess(self, worker: int, work: float, seconds: float) -> None:
        """A worker has come so far with a part; counts until its first one is done."""
        if not self._done[worker][1]:
            self._set(worker, work, seconds)

    def forget(self, worker: int) -> None:
        """Another process takes the place of a worker, perhaps elsewhere."""
        self._done[worker] = 0.0, 0.0
        self._sum -= self._speeds.pop(worker, 0.0)

    def of(self, worker: int) -> float | None:
        """Speed of a worker, of the mean of all whose speed is known; None where its own is not."""
        own = self._speeds.get(worker)
        return None if own is None else own * len(self._speeds) / self._sum

    def seconds(self, worker: int, work: float) -> float:
        """How long a worker whose speed is known takes."""
        return work / self._speeds[worker]

    def _set(self, worker: int, work: float, seconds: float) -> None:
        if work > 0 and seconds > 0:
            self._sum += work / seconds - self._speeds.get(worker, 0.0)
            self._speeds[worker] = work / seconds
