"""Tensors that wait in a file: where the device is the CPU, host memory is what they are to make room in."""

import os
import tempfile
import weakref
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vnlsdenoise.errors import MemoryLimitError

_ON_DISK = Path("/var/tmp")
_IN_MEMORY = {"tmpfs", "ramfs"}


def spool_folder() -> Path:
    """The folder for temporary files (TMPDIR); one that is not in memory, if it is there and none is named."""
    folder = Path(tempfile.gettempdir())
    named = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    if not named and _file_system(folder) in _IN_MEMORY and os.access(_ON_DISK, os.W_OK):
        return folder if _file_system(_ON_DISK) in _IN_MEMORY else _ON_DISK
    return folder


def _file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """What kind of file system a folder lies in, "" where that is not known."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    kinds = {Path(line.split()[1]): line.split()[2] for line in lines}
    folder = folder.resolve()
    return next((kinds[parent] for parent in (folder, *folder.parents) if parent in kinds), "")


@dataclass(eq=False)
class Place:
    """Where in a spool a tensor lies. Its room is free again with its last reference."""

    start: int
    shape: torch.Size
    dtype: torch.dtype


class Spool:
    """One file without a name in `spool_folder`, which ends with the process at the latest.

    It is read and written, not mapped: the pages of a mapped file count as memory of the process.
    """

    def __init__(self) -> None:
        self._file, path = tempfile.mkstemp(prefix="vnlsdenoise-", dir=spool_folder())
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
                f"frames that do not fit into memory wait in a file in {spool_folder()}, which cannot "
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
                raise MemoryLimitError(f"the file of waiting frames in {spool_folder()} was cut short; run it again")
            done += read
        return tensor


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data
