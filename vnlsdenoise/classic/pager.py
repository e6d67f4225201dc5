"""Tensors that take turns on the device: under a ceiling, others wait in host memory or a file."""

import weakref
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vnlsdenoise.classic.spool import Place, Spool


@dataclass(eq=False)
class Page:
    """One tensor of a frame in flight, on the device or away. Only its `Pager` may look inside."""

    here: Tensor | None  # on its device
    away: Tensor | Place | None  # its place in host memory, or in a file where that is the device, once it needed one
    device: torch.device
    size: int  # in bytes
    current: bool = False  # whether the values that are away are those of the page
    wanted: int = 0  # the frame with which it is wanted again, as `Pager.rest` was told
    used: int = 0
    passed: int = -1  # the pass that used it last


class Pager:
    """Keeps the pages on the device, and the work beside them, under `ceiling` bytes; None for no limit.

    It never changes a value. Pages are moved only by `open` and `reserve`. Every step of work begins with one of the
    two, says how much it will allocate, lets go of what the step before was given, and keeps what is to outlast it:
    then pages and work together never take more than the ceiling.

    What is wanted again last leaves first. Frames are worked on in a cycle, each step once a frame: what was used last
    is wanted again last, unless the pager was told that it rests for some frames. So a part of the pages is never
    moved, and of the others each is moved once a frame, or once in all the frames that it rests.
    """

    def __init__(self, ceiling: int | None = None) -> None:
        self._ceiling = ceiling
        self._pages: weakref.WeakSet[Page] = weakref.WeakSet()
        self._clock = self._frame = self._pass = 0
        self._outward: torch.cuda.Stream | None = None
        self._spool: Spool | None = None
        self._moved = 0

    def keep(self, tensor: Tensor) -> Page:
        """A page that holds `tensor`, which the caller lets go of. It ends with its last reference.

        The tensor must be all of its storage: a page that shares it would not make room by leaving.
        """
        page = Page(tensor, None, tensor.device, tensor.numel() * tensor.element_size())
        if self._ceiling is not None:
            self._pages.add(page)
            self._touch(page)
        return page

    def open(
        self, read: Sequence[Page], write: Sequence[Page] = (), *, work: int = 0
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors of pages to read and of pages to change in place, all on the device they came from.

        work: bytes that the caller is about to allocate, those of pages to be kept among them.
        """
        if self._ceiling is not None:
            self._bring({*read, *write}, work, self._ceiling)
        return [self._here(page) for page in read], [self._here(page, changes=True) for page in write]

    def reserve(self, work: int) -> None:
        """Make room for `work` bytes beside the pages."""
        self.open([], work=work)

    def next_frame(self) -> None:
        """Tell that a frame has come, and every step comes once more."""
        self._frame += 1

    def next_pass(self) -> None:
        """Tell that other pages than before will be used, some times over."""
        self._pass += 1

    def rest(self, page: Page, frames: int) -> None:
        """Tell that a page is not wanted before so many more frames have come; it may be opened all the same."""
        page.wanted = self._frame + frames

    @property
    def resident(self) -> int:
        """Bytes of pages on the device; 0 without a ceiling, which is not kept count of."""
        return sum(page.size for page in self._pages if page.here is not None)

    @property
    def moved(self) -> int:
        """Bytes copied so far, from the device and to it."""
        return self._moved

    def _touch(self, page: Page) -> None:
        self._clock += 1
        page.used, page.passed = self._clock, self._pass

    def _wanted(self, page: Page) -> tuple[int, bool, int]:
        """When a page is wanted again: what is less comes first."""
        return max(page.wanted, self._frame), page.passed != self._pass, page.used

    def _here(self, page: Page, changes: bool = False) -> Tensor:
        assert page.here is not None
        if changes:
            page.current = False
        if self._ceiling is not None:
            self._touch(page)
        return page.here

    def _bring(self, wanted: Collection[Page], work: int, ceiling: int) -> None:
        """Have `wanted` on the device and `work` bytes free: a page comes as soon as enough others have left."""
        room = ceiling - work - self.resident
        coming = sorted((page for page in wanted if page.here is None), key=self._wanted)
        leaving = self._sent(wanted, sum(page.size for page in coming) - room)
        for page in coming:
            while leaving and room < page.size:
                room += self._left(*leaving.popleft())
            room -= self._returned(page)
        while leaving:
            self._left(*leaving.popleft())

    def _sent(self, wanted: Collection[Page], needed: int) -> "deque[tuple[Page, torch.cuda.Event | None]]":
        """Begin to copy out pages of at least `needed` bytes in all; with each, what tells that it has been read."""
        sent: deque[tuple[Page, torch.cuda.Event | None]] = deque()
        here = (page for page in self._pages if page.here is not None and page not in wanted)
        for page in sorted(here, key=self._wanted, reverse=True):
            if needed <= 0:
                break
            needed -= page.size
            sent.append((page, None if page.current else self._copied_out(page)))
        return sent

    def _copied_out(self, page: Page) -> torch.cuda.Event | None:
        assert page.here is not None
        page.current = True
        self._moved += page.size
        if page.device.type != "cuda":
            assert not isinstance(page.away, Tensor)
            self._spool = self._spool or Spool()
            page.away = self._spool.write(page.here, page.away)
            return None
        # Pinned, which torch keeps and reuses. A copy back from there that is still to be made comes first: this one
        # waits for the stream that it is in.
        if page.away is None:
            page.away = torch.empty(page.here.shape, dtype=page.here.dtype, pin_memory=True)
        assert isinstance(page.away, Tensor)
        if self._outward is None:
            self._outward = torch.cuda.Stream(page.device)  # type: ignore[no-untyped-call]
        # Not before the work that made the page is done.
        self._outward.wait_stream(torch.cuda.current_stream(page.device))
        read = torch.cuda.Event()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._outward):
            page.away.copy_(page.here, non_blocking=True)
            read.record()
        return read

    def _left(self, page: Page, read: torch.cuda.Event | None) -> int:
        """Let a page's memory go; returns its size.

        The allocator hands it out again to this stream, which is made to wait until the page has been read.
        """
        if read is not None:
            torch.cuda.current_stream(page.device).wait_event(read)
        page.here = None
        return page.size

    def _returned(self, page: Page) -> int:
        assert page.away is not None
        if isinstance(page.away, Place):
            assert self._spool is not None
            page.here = self._spool.read(page.away)
        else:
            # In the stream of the work, which has waited for the copy out and will find the page there.
            page.here = page.away.to(page.device, copy=True, non_blocking=True)
        self._moved += page.size
        return page.size
