"""Pages, and the order in which they are wanted again."""

import weakref
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vnlsdenoise.classic.pinned import PinnedPlace
from vnlsdenoise.classic.spool import Place


@dataclass(eq=False)
class Page:
    """One tensor of a frame in flight, on the device or away. Only its `Pager` may look inside."""

    here: Tensor | None  # on its device
    order: "Order"
    device: torch.device
    size: int  # in bytes
    away: PinnedPlace | Place | None = None  # in host memory, or in a file where that is the device, once it was there
    current: bool = False  # whether the values that are away are those of the page
    left: torch.cuda.Event | None = None  # what tells that they have been copied there
    coming: torch.cuda.Event | None = None  # what tells that they have been copied here, where nothing waits for it yet
    wanted: int | None = None  # the frame with which it is wanted again, if it rests or has not been used since it came
    used: int = 0
    passed: int = 0  # the pass that used it last

    def __del__(self) -> None:
        if self.here is not None:
            self.order.remove(self)


class Order:
    """The pages that are on the device, by when they are wanted again.

    Frames are worked on in a cycle, each step once a frame: what was used last is wanted again last, unless it rests
    for some frames; and a pass uses the same pages some times over. Every operation takes the time of the pages that it
    is about, not of all.
    """

    def __init__(self) -> None:
        self.resident = 0  # bytes
        self.frame = self.passes = 0  # that have come; that have begun
        self._clock = 0
        self._used: dict[int, weakref.ref[Page]] = {}  # what was used last comes last
        self._resting: defaultdict[int, dict[int, weakref.ref[Page]]] = defaultdict(
            dict
        )  # by the frame that wants them

    def add(self, page: Page) -> None:
        """A page that has come to the device: it is wanted, unless it rests."""
        self.resident += page.size
        if page.wanted is None:
            page.wanted = self.frame
        self._resting[page.wanted][id(page)] = weakref.ref(page)

    def remove(self, page: Page) -> None:
        """A page leaves the device, or ends there."""
        self.resident -= page.size
        self._forget(page)

    def touch(self, page: Page) -> None:
        """A page on the device is used."""
        self._clock += 1
        self._forget(page)
        page.wanted, page.used, page.passed = None, self._clock, self.passes
        self._used[id(page)] = weakref.ref(page)

    def rest(self, page: Page, frames: int) -> None:
        """A page is not wanted before so many more frames have come."""
        self._forget(page)
        page.wanted = self.frame + frames
        if page.here is not None:
            self._resting[page.wanted][id(page)] = weakref.ref(page)

    def of(self, page: Page) -> tuple[int, int, int]:
        """When a page is wanted again: what is less comes first. The order of `leaving`, backwards."""
        if page.wanted is not None:
            return max(page.wanted, self.frame), 1, page.used
        return self.frame, 0 if page.passed == self.passes else 2, page.used

    def leaving(self, but: Collection[int]) -> Iterator[Page]:
        """The pages on the device but for some (their ids), that which is wanted last first; each may be removed."""
        for frame in sorted((frame for frame in self._resting if frame > self.frame), reverse=True):
            yield from self._of(self._resting.get(frame, {}), but)
        passing = []
        for page in self._of(self._used, but):
            if page.passed == self.passes:
                passing.append(page)
            else:
                yield page
        for frame in sorted((frame for frame in self._resting if frame <= self.frame), reverse=True):
            yield from self._of(self._resting.get(frame, {}), but)
        yield from passing

    def _of(self, pages: dict[int, weakref.ref[Page]], but: Collection[int]) -> Iterator[Page]:
        for key in reversed(list(pages)):  # what is yielded may be removed meanwhile
            found = pages.get(key)
            page = None if found is None else found()
            if page is not None and key not in but:
                yield page

    def _forget(self, page: Page) -> None:
        if page.wanted is None:
            self._used.pop(id(page), None)
            return
        resting = self._resting.get(page.wanted, {})
        resting.pop(id(page), None)
        if not resting:
            self._resting.pop(page.wanted, None)
