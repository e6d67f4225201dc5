"""The next mosaic, made beside the steps: codecs and measuring keep the host busy while the device trains."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch

from vnlsdenoise.training.pool import Plate


class Ahead:
    """One plate at a time, made in a thread (and, on CUDA, a stream) of its own. A context: leaving it waits for that.

    Which plate comes when is decided by its user alone, so that runs repeat.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._thread = ThreadPoolExecutor(1, "mosaic")
        self._plate: Future[Plate] | None = None

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    def begin(self, make: Callable[[], Plate]) -> None:
        """Begin to make the next plate, after what has been launched so far: that may still use the last one."""
        launched = None if self._stream is None else torch.cuda.current_stream(self._device).record_event()
        self._plate = self._thread.submit(self._made, make, launched)

    @property
    def ready(self) -> bool:
        """Whether the plate that was begun is there."""
        return self._plate is not None and self._plate.done()

    def take(self) -> Plate:
        """The plate that was begun; raises what its making raised."""
        assert self._plate is not None
        plate, self._plate = self._plate.result(), None
        return plate

    def _made(self, make: Callable[[], Plate], launched: torch.cuda.Event | None) -> Plate:
        if self._stream is None or launched is None:
            return make()
        with torch.cuda.stream(self._stream):  # and its device
            self._stream.wait_event(launched)
            plate = make()
            self._stream.synchronize()
            return plate
