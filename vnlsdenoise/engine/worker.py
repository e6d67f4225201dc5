"""One worker of a fleet: a process that holds a device, and stays warm from one task to the next."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from typing import Any

from vnlsdenoise.engine import host
from vnlsdenoise.engine.seconds import Seconds, timed
from vnlsdenoise.video.frame import Frame

Tell = Callable[[Any], None]


def versions_here() -> dict[str, Any]:
    """Of what makes the bytes of a result, and whether there are CUDA kernels; raises ExtensionError."""
    import av

    from vnlsdenoise import _library

    found = {name: metadata.version(name) for name in ("vnlsdenoise", "torch", "av")}
    return {
        **found,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "kernels": _library.has_cuda_kernels,
    }


class Turn:
    """Whose turn on the device it is: one film's or range's, and between two of its frames that of a short task."""

    def __init__(self) -> None:
        self._long, self._short = threading.Lock(), threading.Lock()
        self._waiting = 0
        self._counting = threading.Lock()
        self._alone = Seconds()  # of short tasks while no long one had the device, which none has told yet

    def taken(self, frames: Iterable[Frame], took: Seconds) -> Iterator[Frame]:
        """Frames that are made within the turn, which begins with the first one and ends after the last. took: `turn`
        is what it was waited for, `held` how long it lasted."""
        with timed(took, "turn"):
            self._long.acquire()
        began = time.perf_counter()
        took.first = min(took.first, time.time())
        try:
            made = iter(frames)
            while True:
                with self._short:
                    frame = next(made, None)
                if frame is None:
                    return
                yield frame
                while self._waiting:
                    time.sleep(0.001)
        finally:
            took["held"] += time.perf_counter() - began
            took.last = time.time()
            with self._counting:
                took.add(self._alone)
                self._alone = Seconds()
            self._long.release()

    def between(self, work: Callable[[], Any]) -> Any:
        """A short task, for which whoever has the turn stops."""
        with self._counting:
            self._waiting += 1
        try:
            with self._short:
                alone, began = Seconds(), time.time()
                try:
                    with timed(alone, "answered"):
                        return work()
                finally:
                    if not self._long.locked():
                        alone.first, alone.last = began, time.time()
                        with self._counting:
                            self._alone.add(alone)
        finally:
            with self._counting:
                self._waiting -= 1


class Worker:
    """device: "cuda" or "cpu". cores, memory: of the machine, that it may use; memory in bytes, 0: all that is free."""

    def __init__(self, device: str, cores: int, memory: int = 0) -> None:
        # As in the command line; read when torch loads.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        os.environ.setdefault("SVT_LOG", "1")
        import torch

        torch.set_num_threads(cores)
        if memory:
            host.allow(memory)
        self.device = "cuda:0" if device == "cuda" else "cpu"  # Ray shows a worker its own GPU alone.
        self.turn = Turn()

    def name(self) -> str:
        """What its device is called, on which machine, and the process."""
        import socket

        import torch

        device = torch.cuda.get_device_name(0) if self.device != "cpu" else "CPU"
        return f"{device} on {socket.gethostname()} (process {os.getpid()})"

    def answer(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a short task gives."""
        return self.turn.between(lambda: function(self, *arguments))

    def do(self, function: Callable[..., Any], *arguments: Any) -> Iterator[tuple[str, Any]]:
        """What a long task tells as ("told", ..), and in the end ("done", what it gives)."""
        told: queue.SimpleQueue[tuple[str, Any] | BaseException] = queue.SimpleQueue()

        def work() -> None:
            try:
                told.put(("done", function(self, lambda what: told.put(("told", what)), *arguments)))
            except BaseException as error:
                told.put(error)

        threading.Thread(target=work, name="work", daemon=True).start()
        while True:
            found = told.get()
            if isinstance(found, BaseException):
                raise found
            yield found
            if found[0] == "done":
                return
