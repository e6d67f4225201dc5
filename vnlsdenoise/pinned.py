"""Pinned host memory: tensors of a GPU that wait there, or leave by way of it."""

import threading
import weakref
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

_AT_ONCE = 8  # torch rounds pinned memory up to a power of two: of so many places at once, an eighth is lost at most
PINNED_SLACK = 1.15  # times the pages, what they take


@dataclass(eq=False)
class PinnedPlace:
    """Where the values of a tensor lie. Its room is free again with its last reference."""

    values: Tensor
    room: Tensor
    free: list[Tensor]  # where room of this size is looked for

    def __del__(self) -> None:
        self.free.append(self.room)

    def array(self) -> npt.NDArray[Any]:
        """The values as an array, which holds the place; its views hold the array."""
        array: npt.NDArray[Any] = self.values.numpy()
        weakref.finalize(array, _let_go_of, self).atexit = False
        return array


def _let_go_of(_: PinnedPlace) -> None:
    """What calls this held the place until now."""


class PinnedRoom:
    """Pinned places, used again and again, of any thread; it only grows, and goes back to torch with this object."""

    def __init__(self) -> None:
        self._free: dict[int, list[Tensor]] = defaultdict(list)  # by size in bytes
        self._taking = threading.Lock()

    @property
    def sizes(self) -> int:
        """How many sizes of places there are."""
        return len(self._free)

    def place(self, like: Tensor) -> PinnedPlace:
        """Room for the values of a tensor."""
        each = like.numel() * like.element_size()
        with self._taking:
            free = self._free[each]
            if not free:
                size = 1 << (_AT_ONCE * each - 1).bit_length()
                room = torch.empty(size, dtype=torch.uint8, pin_memory=True)
                free.extend(room[: size // each * each].view(-1, each).unbind())
            room = free.pop()
        return PinnedPlace(room.view(like.dtype).view(like.shape), room, free)
