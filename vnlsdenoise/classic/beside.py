"""Work that goes on beside what is launched after it, in a stream of its own."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class Beside:
    """Work of a coarser level, which leaves most of a GPU to that of the finest one.

    What is launched in `begun` sees all that was launched before; what comes after sees it once it is `joined`, and no
    memory that it uses may be given back before. On the CPU, and where `alone` says so, it is work like any other.

    alone: whether nothing may go on beside anything else from now on. Where it begins to say so within `begun`, that
    ends joined.
    """

    def __init__(self, alone: Callable[[], bool]) -> None:
        self._alone = alone
        self._stream: torch.cuda.Stream | None = None
        self._pending: list[torch.cuda.Stream] = []  # that stream, until it has been waited for
        # Who lets go of a denoiser gives its memory back.
        weakref.finalize(self, _wait_for, self._pending).atexit = False

    @contextmanager
    def begun(self, device: torch.device) -> Iterator[None]:
        """Launch work on the device that others need not wait for."""
        if device.type != "cuda" or self._alone():
            yield
            return
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(device))
        self._pending[:] = [self._stream]
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            if self._alone():
                _wait_for([self._stream])

    def joined(self) -> None:
        """What is launched from here on sees all that was begun."""
        _wait_for(self._pending)


def _wait_for(pending: list[torch.cuda.Stream]) -> None:
    for stream in pending:
        torch.cuda.current_stream(stream.device).wait_stream(stream)
    pending.clear()
