"""How a run spends its time: warm-up, flat, decay; by the clock, or by steps where it must repeat exactly."""

import math
import time
from dataclasses import dataclass

import torch
import torch.distributed as distributed

_WARM_UP = 0.02
_LAST = 1e-3  # of the rate, at the end
_LOOK = 10  # steps between looks at the clock


@dataclass(frozen=True)
class Length:
    """When a run ends, by seconds or by steps, and from which share of it on the rate goes down."""

    seconds: float | None
    steps: int | None
    decay: float = 0.55


class Schedule:
    """The share of a run that is over, the same on every process, and the rate that belongs to it.

    spent: seconds that were spent in earlier parts of the run.
    """

    def __init__(self, length: Length, device: torch.device, spent: float = 0.0) -> None:
        self._length = length
        self._device = device
        self._start = time.monotonic() - spent
        self._done = 0.0

    @property
    def seconds(self) -> float:
        """Spent so far, earlier parts included."""
        return time.monotonic() - self._start

    def done(self, step: int) -> float:
        """The share of the run that is over, 0 to 1."""
        if self._length.steps is not None:
            return min(1.0, step / self._length.steps)
        assert self._length.seconds is not None
        if step % _LOOK == 0:
            done = torch.tensor(self.seconds / self._length.seconds, device=self._device)
            if distributed.is_initialized():
                distributed.broadcast(done, 0)
            self._done = min(1.0, float(done))
        return self._done

    def rate(self, done: float) -> float:
        """Of the largest rate."""
        if done < _WARM_UP:
            return max(done, 1e-3) / _WARM_UP
        if done < self._length.decay:
            return 1.0
        falling = (done - self._length.decay) / (1 - self._length.decay)
        return max(_LAST, 0.5 * (1 + math.cos(math.pi * falling)))
