"""Tensors that take turns on the device: under a ceiling, others wait in host memory or a file."""

import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from itertools import islice
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

from vnlsdenoise.classic.beside import Beside
from vnlsdenoise.classic.page import Order, Page
from vnlsdenoise.classic.spool import Place, Spool
from vnlsdenoise.pinned import PinnedPlace, PinnedRoom

# Of the ceiling: most that is brought before it is asked for, and most of what leaves next that is copied out by then.
_AHEAD, _CLEAN = 1 / 3, 1 / 32
_AT_ONCE = 4  # pages that are copied out before others can come in their place
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

    On CUDA, copies are made beside the work, in a stream for either way: with every step, what will leave next is
    copied out, and what is wanted next takes the place of what has been.
    """

    def __init__(self, ceiling: int | None = None) -> None:
        self._ceiling = ceiling
        self._order = Order()
        self._opened: set[int] = set()  # ids of pages, which are to end when their owners let them go
        self._work = self._most_work = 0
        self._looked = 0  # the pass in which `_coming` was looked through
        self._current: torch.cuda.Stream | None = None  # that of the work, once a step has asked for it
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
        self._order.new(page, tensor)
        if self._ceiling is not None:
            self._order.touch([page])
        return page

    def open(
        self, read: Sequence[Page], write: Sequence[Page] = (), *, work: int = 0
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors of pages to read and of pages to change in place, all on the device they came from.

        work: bytes that the caller is about to allocate, those of pages to be kept among them.
        """
        self._opened, self._work = {id(page) for pages in (read, write) for page in pages}, work
        self._most_work = max(self._most_work, work)
        self._order.next_step()
        self._current = None
        if self._ceiling is not None:
            self._bring({*read, *write}, work, self._ceiling)
        for page in (*read, *write):
            if page.coming is not None:
                self._awaited(page)
        for page in write:
            page.current = False
            page.away = None  # room for another: pinned memory takes a host longest to come by
        if self._ceiling is not None:
            self._order.touch((*read, *write))
        tensors = [_tensor(page) for page in read], [_tensor(page) for page in write]
        if self._ceiling is not None and write:  # a pass, which is long enough for others to be moved meanwhile
            self._look_ahead(self._ceiling)
        return tensors

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
        self._current = None
        taken = self._order.resident + self._work
        given = max(1, int(_GIVEN_WAY * taken))
        self._ceiling = min(taken, taken if self._ceiling is None else self._ceiling) - given
        leaving = self._sent(given)
        for page in leaving:
            self._left(page)
        torch.cuda.empty_cache()
        return bool(leaving)

    def next_frame(self) -> None:
        """Tell that a frame has come."""
        if self._ceiling is not None:
            self._order.next_frame()

    def next_cycle(self) -> None:
        """Tell that with the next frame every step comes once more."""
        if self._ceiling is not None:  # else nothing asks when pages are wanted, and cycles do not end
            self._order.ended_cycle = self._order.regular = True

    def ending(self) -> None:
        """Tell that a clip ends: its last steps are not those that will come again."""
        self._order.regular = False

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

    def _bring(self, wanted: Collection[Page], work: int, ceiling: int) -> None:
        """Have `wanted` on the device and `work` bytes free: a page comes as soon as enough others have left."""
        room = ceiling - work - self.resident
        coming = [page for page in wanted if page.here is None]
        leaving = self._sent(sum(page.size for page in coming) - room)
        ready: list[Page] = []
        for page in coming:
            if leaving and room < page.size:
                self._return(ready)
                ready = []
            while leaving and room < page.size:
                room += self._left(leaving.popleft())
            ready.append(page)
            room -= page.size
        self._return(ready)
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
                sent.append(page)
                needed -= page.size
                if needed <= 0:
                    break
            for first in range(0, len(sent), _AT_ONCE):
                self._copy_out(islice(sent, first, first + _AT_ONCE))
        return sent

    def _look_ahead(self, ceiling: int) -> None:
        """While the step that begins is at work: bring what is wanted next, and copy out what will make room then."""
        if self._pinned is None:
            return  # nothing had to leave yet; and what is in a file is not copied beside the work
        if self._looked != self._order.passes:
            self._looked = self._order.passes
            self._let_go_of_what_came()
        room, ahead, most = ceiling - self._most_work - self.resident, self._order.ahead, int(_AHEAD * ceiling)
        leaving = self._order.leaving(self._opened)
        last = next(leaving, None)
        coming = []
        for page in self._order.coming():
            if ahead + page.size > most:
                break
            # Only what was copied out before, and is wanted later, makes room: nothing waits for a copy.
            while room < page.size and last is not None and last.current and last.due > page.due:
                room += self._left(last)
                last = next(leaving, None)
            if room < page.size:
                break
            room, ahead = room - page.size, ahead + page.size
            coming.append(page)
        self._return(coming, ahead=True)
        most, next_out = int(_CLEAN * ceiling), []
        while last is not None and most > 0:
            next_out.append(last)
            most -= last.size
            last = next(leaving, None)
        self._copy_out(next_out)

    def _copy_out(self, pages: Iterable[Page]) -> None:
        """Begin to copy pages out, those that have changed since they were."""
        changed = [page for page in pages if not page.current]
        if not changed:
            return
        if changed[0].device.type == "cuda":
            self._copy_to_pinned(changed)
        else:
            self._spool = self._spool or Spool()
            for page in changed:
                assert page.here is not None
                assert not isinstance(page.away, PinnedPlace)
                page.away = self._spool.write(page.here, page.away)
        for page in changed:
            page.current = True
            self._moved += page.size

    def _copy_to_pinned(self, pages: Sequence[Page]) -> None:
        self._pinned = self._pinned or PinnedRoom()
        outward, _ = self._both_streams(pages[0].device)
        left = torch.cuda.Event()  # type: ignore[no-untyped-call]
        # Not before the work that made the pages is done.
        outward.wait_stream(self._of_work(pages[0].device))
        with torch.cuda.stream(outward):
            for page in pages:
                assert page.here is not None
                page.away = page.away or self._pinned.place(page.here)
                assert isinstance(page.away, PinnedPlace)
                page.away.values.copy_(page.here, non_blocking=True)
                page.left = left
            left.record()

    def _left(self, page: Page) -> int:
        """Let a page's memory go; returns its size.

        The allocator hands it out again to this stream, which is made to wait until the page has been read.
        """
        if page.coming is not None:
            self._awaited(page)
        if page.left is not None:
            self._of_work(page.device).wait_event(page.left)
            page.left = None
        self._order.went(page)
        return page.size

    def _return(self, pages: Sequence[Page], ahead: bool = False) -> None:
        """Bring pages back, beside the work: `_here` has that wait for them."""
        if not pages:
            return
        device = pages[0].device
        # All of them before anything is changed: the device may be out of memory. Its memory is of the stream of the
        # work: what that has launched until now may still use it.
        here = [self._room(page.away, device) for page in pages]
        for page, tensor in zip(pages, here, strict=True):
            self._order.came(page, tensor, ahead)
            self._moved += page.size
        if device.type != "cuda":
            return
        _, inward = self._both_streams(device)
        coming = torch.cuda.Event()  # type: ignore[no-untyped-call]
        # It has waited for the copies out, and the work for what is copied from the same places.
        inward.wait_stream(self._of_work(device))
        with torch.cuda.stream(inward):
            for page, tensor in zip(pages, here, strict=True):
                assert isinstance(page.away, PinnedPlace)
                tensor.copy_(page.away.values, non_blocking=True)
                page.coming = coming
                self._coming[id(tensor)] = tensor, page.away, coming
            coming.record()

    def _room(self, place: PinnedPlace | Place | None, device: torch.device) -> Tensor:
        """A tensor for what is in a place; of a file, with it."""
        if isinstance(place, Place):
            assert self._spool is not None
            return self._spool.read(place)
        assert place is not None
        return torch.empty(place.values.shape, dtype=place.values.dtype, device=device)

    def _awaited(self, page: Page) -> None:
        """What is launched from here on finds a page that is on its way."""
        assert page.coming is not None
        self._of_work(page.device).wait_event(page.coming)
        self._coming.pop(id(page.here), None)
        page.coming = None

    def _let_go_of_what_came(self) -> None:
        """Of pages that ended before anything waited for them."""
        for key, (_, _, event) in list(self._coming.items()):
            if event.query():  # type: ignore[no-untyped-call]
                del self._coming[key]

    def _of_work(self, device: torch.device) -> torch.cuda.Stream:
        """The stream that the step which begins is launched in: to ask torch takes a host as long as a copy."""
        if self._current is None:
            self._current = torch.cuda.current_stream(device)
        return self._current

    def _both_streams(self, device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
        if self._streams is None:
            self._streams = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return self._streams


def _tensor(page: Page) -> Tensor:
    assert page.here is not None
    return page.here


def _wait_for(coming: dict[int, tuple[Tensor, PinnedPlace, torch.cuda.Event]]) -> None:
    for tensor, _, event in coming.values():
        torch.cuda.current_stream(tensor.device).wait_event(event)
    coming.clear()
