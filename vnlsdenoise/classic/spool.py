"""Tensors that wait in a file: where the device is the CPU, host memory is what they are to make room in."""

import os
import tempfile
import weakref
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from vnlsdenoise.errors import MemoryLimitError


@dataclass(eq=False)
class Place:
    """Where in a spool a tensor lies. Its room is free again with its last reference."""

    start: int
    shape: torch.Size
    dtype: torch.dtype


class Spool:
    """One file without a name in the folder for temporary files (TMPDIR), which ends with the process at the latest.

    It is read and written, not mapped: the pages of a mapped file count as memory of the process.
    """

    def __init__(self) -> None:
        self._file, path = tempfile.mkstemp(prefix="vnlsdenoise-")
        os.unlink(path)
        weakref.finalize(self, os.close, self._file)
        self._free: dict[int, list[int]] = defaultdict(list)  # by size in bytes
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of disk that it takes."""
        return self._size

    def write(self, tensor: Tensor, place: Place | None = None) -> Place:
        """Keep the values of a contiguous CPU tensor: in a new place, or instead of those of one of its size.

        Raises:
            MemoryLimitError: the disk is full.
        """
        view = _bytes(tensor)
        if place is None:
            free = self._free[len(view)]
            place = Place(free.pop() if free else self._size, tensor.shape, tensor.dtype)
            self._size = max(self._size, place.start + len(view))
            weakref.finalize(place, self._free[len(view)].append, place.start)
        done = 0
        try:
            while done < len(view):
                done += os.pwrite(self._file, view[done:], place.start + done)
        except OSError as error:
            raise MemoryLimitError(
                f"frames that do not fit into memory wait in a file in {tempfile.gettempdir()}, which cannot "
                f"be written ({error.strerror}); free room there, name another folder in TMPDIR, or allow more memory"
            ) from error
        return place

    def read(self, place: Place) -> Tensor:
        """The values that were written there, as a new tensor."""
        tensor = torch.empty(place.shape, dtype=place.dtype)
        view, done = _bytes(tensor), 0
        while done < len(view):
            read = os.preadv(self._file, [view[done:]], place.start + done)
            if not read:
                raise MemoryLimitError(
                    f"the file of waiting frames in {tempfile.gettempdir()} was cut short; run it again"
                )
            done += read
        return tensor


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data
