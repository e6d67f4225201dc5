"""How fast the workers of a fleet are, by what they have done of late: devices differ, and what else they do."""

_FADING = 0.7  # of what was done before, whenever something is


class Speeds:
    """workers: how many there are."""

    def __init__(self, workers: int) -> None:
        self._done = [(0.0, 0.0)] * workers  # work, and the seconds that it took
        self._guessed: list[float | None] = [None] * workers

    def done(self, worker: int, work: float, seconds: float) -> None:
        """A worker did something, in any unit of work, with its device for so long."""
        before = self._done[worker]
        self._done[worker] = (_FADING * before[0] + work, _FADING * before[1] + seconds)

    def guess(self, worker: int, work: float, seconds: float) -> None:
        """A worker has come so far with its first part; counts until it is done."""
        self._guessed[worker] = work / seconds if work > 0 and seconds > 0 else None

    def forget(self, worker: int) -> None:
        """Another process takes the place of a worker, perhaps elsewhere."""
        self._done[worker], self._guessed[worker] = (0.0, 0.0), None

    def of(self, worker: int) -> float | None:
        """Speed of a worker, of the mean of all whose speed is known; None where its own is not."""
        known = [speed for speed in map(self._absolute, range(len(self._done))) if speed is not None]
        own = self._absolute(worker)
        return None if own is None else own * len(known) / sum(known)

    def _absolute(self, worker: int) -> float | None:
        work, seconds = self._done[worker]
        return work / seconds if work > 0 and seconds > 0 else self._guessed[worker]
