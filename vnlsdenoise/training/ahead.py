"""What is made beside the steps: codecs, measuring and launches keep the host busy while the device trains."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

import torch

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """What belongs to numbers, made in threads (and, on CUDA, streams) of their own, one number ahead in each of them.

    A context: leaving it waits for what has been begun. They are handed over in the order of the numbers, so that runs
    repeat.

    makers: one for every thread, so that each may have what no two threads can use at once.
    """

    def __init__(self, device: torch.device, makers: Sequence[Callable[[int], Made]], numbers: Iterable[int]) -> None:
        self._threads = [_Thread(device, make) for make in makers]
        self._numbers = iter(numbers)
        self._begun: deque[tuple[_Thread[Made], Future[Made]]] = deque()

    def __enter__(self) -> "Ahead[Made]":
        for thread in self._threads:
            self._begin(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.leave()

    @property
    def ready(self) -> bool:
        """Whether what comes next is there."""
        return bool(self._begun) and self._begun[0][1].done()

    def hand_over(self, keep: Callable[[Made], None]) -> None:
        """Give the next to `keep`, which may launch work on it, and begin another, where numbers are left.

        Raises what its making raised.
        """
        thread, future = self._begun.popleft()
        keep(future.result())
        self._begin(thread)

    def _begin(self, thread: "_Thread[Made]") -> None:
        number = next(self._numbers, None)
        if number is not None:
            self._begun.append((thread, thread.begin(number)))


class _Thread(Generic[Made]):
    def __init__(self, device: torch.device, make: Callable[[int], Made]) -> None:
        self._device = device
        self._make = make
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._thread = ThreadPoolExecutor(1, "ahead")

    def begin(self, number: int) -> Future[Made]:
        """Begin, after what has been launched so far: that may still use what this thread made before."""
        launched = None if self._stream is None else torch.cuda.current_stream(self._device).record_event()
        return self._thread.submit(self._made, number, launched)

    def leave(self) -> None:
        """Wait for what has been begun."""
        self._thread.shutdown()

    def _made(self, number: int, launched: torch.cuda.Event | None) -> Made:
        if self._stream is None or launched is None:
            return self._make(number)
        with torch.cuda.stream(self._stream):  # and its device
            self._stream.wait_event(launched)
            made = self._make(number)
            self._stream.synchronize()
            return made
