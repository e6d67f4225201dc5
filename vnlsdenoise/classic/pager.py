"""Tensors that take turns on the device: under a ceiling, others wait in host memory or a file."""

import weakref
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

from vnlsdenoise.classic.beside import Beside
from vnlsdenoise.classic.page import Order, Page
from vnlsdenoise.classic.pinned import PinnedPlace, PinnedRoom
from vnlsdenoise.classic.spool import Place, Spool

_AHEAD = 1 / 4  # of the ceiling: most that is brought, and most that is copied out, before it is asked for
_GIVEN_WAY = 1 / 8  # of what was taken: what leaves a device that is out of memory

P = ParamSpec("P")
R = TypeVar("R")


class HasPager(Protocol):
    """What has a pager."""

    _pager: "Pager"


H = TypeVar("H", bound=HasPager)


def repeatable(step: Callable[Concatenate[H, P], R]) -> Callable[Concatenate[H, P], R]:
    """A step of work that changes nothing before it has all memory that it needs: see `Pager.repeated`."""

    @wraps(step)
    def run(self: H, /, *args: P.args, **options: P.kwargs) -> R:
        return self._pager.repeated(lambda: step(self, *args, **options))

    return run


class Pager:
    """Keeps the pages on the device, and the work beside them, under `ceiling` bytes; None for no limit.

    It never changes a value. Pages are moved only by `open`, `reserve` and `give_way`. Every step of work begins with
    one of the first two, says how much it will allocate, lets go of what the step before was given, and keeps what is
    to outlast it: then pages and work together never take more than the ceiling. A device that is out of memory all the
    same, since others use it too, lowers the ceiling.

    What is wanted again last leaves first (`Order`). So a part of the pages is never moved, and of the others each is
    moved once a frame, or once in all the frames that it rests.

    On CUDA, copies are made beside the work, in a stream for either way: at the start of a pass, what will leave next
    is copied out, and what is wanted next takes the place of what has been.
    """

    def __init__(self, ceiling: int | None = None) -> None:
        self._ceiling = ceiling
        self._order = Order()
        self._away: weakref.WeakSet[Page] = weakref.WeakSet()
        self._opened: set[int] = set()  # ids of pages, which are to end when their owners let them go
        self._work = 0
        self._looked = 0  # the pass that the pager has looked ahead in
        self._streams: tuple[torch.cuda.Stream, torch.cuda.Stream] | None = None  # outward and inward
        # What comes, and from where, while nothing waits for it yet: neither may go back before it is here.
        self._coming: dict[int, tuple[Tensor, PinnedPlace, torch.cuda.Event]] = {}
        weakref.finalize(self, _wait_for, self._coming).atexit = False
        self._spool: Spool | None = None
        self._pinned: PinnedRoom | None = None
        self._moved = 0
        self._moving = False  # whether pages have had to leave the device
        self._beside: list[Beside] = []

    def beside(self) -> Beside:
        """What lets work on pages go on beside other work, until pages have to leave the device."""
        self._beside.append(Beside(lambda: self._moving))
        return self._beside[-1]

    def keep(self, tensor: Tensor) -> Page:
        """A page that holds `tensor`, which the caller lets go of. It ends with its last reference.

        The tensor must be all of its storage: a page that shares it would not make room by leaving.
        """
        page = Page(tensor, self._order, tensor.device, tensor.numel() * tensor.element_size())
        self._order.add(page)
        if self._ceiling is not None:
            self._order.touch(page)
        return page

    def open(
        self, read: Sequence[Page], write: Sequence[Page] = (), *, work: int = 0
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors of pages to read and of pages to change in place, all on the device they came from.

        work: bytes that the caller is about to allocate, those of pages to be kept among them.
        """
        self._opened, self._work = {id(page) for pages in (read, write) for page in pages}, work
        if self._ceiling is not None:
            self._bring({*read, *write}, work, self._ceiling)
            if self._looked != self._order.passes:
                self._looked = self._order.passes
                self._look_ahead(self._ceiling)
        return [self._here(page) for page in read], [self._here(page, changes=True) for page in write]

    def reserve(self, work: int) -> None:
        """Make room for `work` bytes beside the pages."""
        self.open([], work=work)

    def repeated(self, step: Callable[[], R]) -> R:
        """What `step` returns. Where the device is out of memory, pages leave it and the step begins again.

        Raises:
            torch.OutOfMemoryError: no page is left that could leave.
        """
        while True:
            try:
                return step()
            except torch.OutOfMemoryError as error:
                told = str(error)
            # The error is gone, and with it what its frames had allocated.
            if not self.give_way():
                raise torch.OutOfMemoryError(told)

    def give_way(self) -> bool:
        """A device is out of memory: a part of the pages that are not opened leaves; False where there is none."""
        taken = self._order.resident + self._work
        given = max(1, int(_GIVEN_WAY * taken))
        self._ceiling = min(taken, taken if self._ceiling is None else self._ceiling) - given
        leaving = self._sent(given)
        for page in leaving:
            self._left(page)
        torch.cuda.empty_cache()
        return bool(leaving)

    def next_frame(self) -> None:
        """Tell that a frame has come, and every step comes once more."""
        self._order.frame += 1

    def next_pass(self) -> None:
        """Tell that other pages than before will be used, some times over."""
        self._order.passes += 1

    def rest(self, page: Page, frames: int) -> None:
        """Tell that a page is not wanted before so many more frames have come; it may be opened all the same."""
        if self._ceiling is not None:
            self._order.rest(page, frames)

    @property
    def resident(self) -> int:
        """Bytes of pages on the device."""
        return self._order.resident

    @property
    def moved(self) -> int:
        """Bytes copied so far, from the device and to it."""
        return self._moved

    def _here(self, page: Page, changes: bool = False) -> Tensor:
        assert page.here is not None
        if page.coming is not None:
            self._awaited(page)
        if changes:
            page.current = False
            page.away = None  # room for another: pinned memory takes a host longest to come by
        if self._ceiling is not None:
            self._order.touch(page)
        return page.here

    def _bring(self, wanted: Collection[Page], work: int, ceiling: int) -> None:
        """Have `wanted` on the device and `work` bytes free: a page comes as soon as enough others have left."""
        room = ceiling - work - self.resident
        coming = [page for page in wanted if page.here is None]
        leaving = self._sent(sum(page.size for page in coming) - room)
        for page in coming:
            while leaving and room < page.size:
                room += self._left(leaving.popleft())
            self._returned(page)
            room -= page.size
        while leaving:
            self._left(leaving.popleft())

    def _sent(self, needed: int) -> deque[Page]:
        """Begin to copy out pages of at least `needed` bytes in all, if so many are not opened."""
        sent: deque[Page] = deque()
        if needed > 0:
            self._moving = True
            for beside in self._beside:  # or it might change a page that is copied
                beside.joined()
            for page in self._order.leaving(self._opened):
                self._copied_out(page)
                sent.append(page)
                needed -= page.size
                if needed <= 0:
                    break
        return sent

    def _look_ahead(self, ceiling: int) -> None:
        """While the pass that begins is at work: bring what is wanted next, and copy out what will make room then."""
        self._let_go_of_what_came()
        if self._pinned is None:
            return  # nothing had to leave yet; and what is in a file is not copied beside the work
        most = int(_AHEAD * ceiling)
        leaving = self._order.leaving(self._opened)
        last = next(leaving, None)
        room, brought = ceiling - self._work - self.resident, 0
        for page in sorted(self._away, key=self._order.of):
            if brought + page.size > most:
                break
            # Only what was copied out before, and is wanted later, makes room: nothing waits for a copy.
            while room < page.size and last is not None and last.current and self._later(last, page):
                room += self._left(last)
                last = next(leaving, None)
            if room < page.size:
                break
            self._returned(page)
            room, brought = room - page.size, brought + page.size
        while last is not None and most > 0:
            self._copied_out(last)
            most -= last.size
            last = next(leaving, None)

    def _later(self, page: Page, other: Page) -> bool:
        return self._order.of(page) > self._order.of(other)

    def _copied_out(self, page: Page) -> None:
        """Begin to copy a page out, if it has changed since it was."""
        if page.current:
            return
        assert page.here is not None
        if page.device.type != "cuda":
            assert not isinstance(page.away, PinnedPlace)
            self._spool = self._spool or Spool()
            page.away = self._spool.write(page.here, page.away)
        else:
            if page.away is None:
                self._pinned = self._pinned or PinnedRoom()
                page.away = self._pinned.place(page.here)
            assert isinstance(page.away, PinnedPlace)
            outward, _ = self._both_streams(page.device)
            # Not before the work that made the page is done.
            outward.wait_stream(torch.cuda.current_stream(page.device))
            page.left = torch.cuda.Event()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(outward):
                page.away.values.copy_(page.here, non_blocking=True)
                page.left.record()
        page.current = True
        self._moved += page.size

    def _left(self, page: Page) -> int:
        """Let a page's memory go; returns its size.

        The allocator hands it out again to this stream, which is made to wait until the page has been read.
        """
        if page.coming is not None:
            self._awaited(page)
        if page.left is not None:
            torch.cuda.current_stream(page.device).wait_event(page.left)
            page.left = None
        self._order.remove(page)
        page.here = None
        self._away.add(page)
        return page.size

    def _returned(self, page: Page) -> None:
        """Bring a page back, beside the work: `_here` has that wait for it."""
        if isinstance(page.away, Place):
            assert self._spool is not None
            page.here = self._spool.read(page.away)
        else:
            assert page.away is not None
            # The memory is of the stream of the work: what that has launched until now may still use it.
            here = torch.empty(page.away.values.shape, dtype=page.away.values.dtype, device=page.device)
            _, inward = self._both_streams(page.device)
            # It has waited for the copy out, and the work for what is copied from the same place.
            inward.wait_stream(torch.cuda.current_stream(page.device))
            page.coming = torch.cuda.Event()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(inward):
                here.copy_(page.away.values, non_blocking=True)
                page.coming.record()
            page.here = here
            self._coming[id(here)] = here, page.away, page.coming
        self._away.discard(page)
        self._order.add(page)
        self._moved += page.size

    def _awaited(self, page: Page) -> None:
        """What is launched from here on finds a page that is on its way."""
        assert page.coming is not None
        torch.cuda.current_stream(page.device).wait_event(page.coming)
        self._coming.pop(id(page.here), None)
        page.coming = None

    def _let_go_of_what_came(self) -> None:
        """Of pages that ended before anything waited for them."""
        for key, (_, _, event) in list(self._coming.items()):
            if event.query():  # type: ignore[no-untyped-call]
                del self._coming[key]

    def _both_streams(self, device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
        if self._streams is None:
            self._streams = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return self._streams


def _wait_for(coming: dict[int, tuple[Tensor, PinnedPlace, torch.cuda.Event]]) -> None:
    for tensor, _, event in coming.values():
        torch.cuda.current_stream(tensor.device).wait_event(event)
    coming.clear()
