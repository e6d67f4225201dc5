"""Pages, and the order in which they are wanted again."""

import weakref
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vnlsdenoise.classic.spool import Place
from vnlsdenoise.pinned import PinnedPlace

_CYCLE = 1 << 32  # of `Order`'s time: more than there are steps in a cycle
_SOON = 8  # steps: what is wanted by then stays where it is in the lists, among what was wanted before

_Form = tuple[torch.Size, torch.dtype]
_Kind = tuple[int, int]  # of a page: number of its form, and how many of that form were made before it in its cycle


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
    ahead: bool = False  # whether it was brought before it was asked for, and has not been used since
    due: int = 0  # when it is wanted again
    listed: int = 0  # the same, as the lists of its order have it
    known: bool = False  # whether that is known; else it is guessed
    passed: int = 0  # the pass that used it last
    kind: _Kind | None = None
    born: int = 0  # when its cycle began
    uses: list[int] = field(default_factory=list)  # times, from then on

    def __del__(self) -> None:
        self.order.ended(self)


class Order:
    """The pages, by when they are wanted again.

    Frames are worked on in a cycle, one or a burst of them at a time, which goes through the same steps again and
    again: a page is used when the page was that had its place in an earlier cycle. Until one of those has ended, what
    was used last is thought to be wanted last, unless it rests for some frames; and a pass uses the same pages some
    times over. Time counts steps, and cycles before them.
    """

    def __init__(self) -> None:
        self.resident = 0  # bytes on the device
        self.ahead = 0  # of them, those that were brought before they were asked for
        self.passes = 0  # that have begun
        self.ended_cycle = False  # whether the next frame begins a cycle
        self.regular = False  # whether what happens is an example of what will
        self._frames, self._burst = 0, 1  # that have come in this cycle; in the one before
        self._now = 0
        self._made: Counter[_Form] = Counter()  # pages in this cycle
        self._forms: dict[_Form, int] = {}
        self._lives: dict[_Kind | None, list[int]] = {}  # the uses of the last page of a kind that ended
        self._pages: dict[int, weakref.ref[Page]] = {}  # by their ids
        # When, and what (its id): that which is wanted last comes last.
        self._here: list[tuple[int, int]] = []
        self._away: list[tuple[int, int]] = []

    def next_frame(self) -> None:
        """A frame has come."""
        self._frames += 1
        if not self.ended_cycle:
            return
        self._burst, self._frames, self.ended_cycle = self._frames, 0, False
        self._now = self._begin + _CYCLE
        self._made.clear()
        # What was not used when it was thought to be may not be so for long.
        for pages in (self._here, self._away):
            for page in self._of(pages[: bisect_left(pages, (self._begin - _CYCLE, 0))]):
                if page.due < self._begin - _CYCLE:
                    self._set(page, self._now + _CYCLE, known=False)
                    self.settled(page)

    def next_step(self) -> None:
        """Other pages will be used than before."""
        self._now += 1

    def new(self, page: Page, here: Tensor) -> None:
        """A page on the device begins."""
        form = here.shape, here.dtype
        page.kind = self._forms.setdefault(form, len(self._forms)), self._made[form]
        page.born = self._begin
        self._made[form] += 1
        self._pages[id(page)] = weakref.ref(page)
        self.resident += page.size
        page.due = self._now
        self._list(page)

    def ended(self, page: Page) -> None:
        """A page is gone."""
        del self._pages[id(page)]
        self._drop(page)
        self.settled(page)
        if page.here is not None:
            self.resident -= page.size
        if not self.regular or page.kind is None:
            return
        first = page.kind not in self._lives
        self._lives[page.kind] = page.uses
        if first:
            for other in self._of(list(self._here + self._away)):
                if other.kind == page.kind:
                    self._foresee(other)

    def touch(self, pages: Iterable[Page]) -> None:
        """Pages are used."""
        for page in pages:
            page.passed = self.passes
            page.uses.append(self._now - page.born)
            self._foresee(page)
            if page.ahead:
                self.settled(page)

    def settled(self, page: Page) -> None:
        """A page is no longer one that was brought before it was asked for."""
        if page.ahead:
            page.ahead = False
            self.ahead -= page.size

    def rest(self, page: Page, frames: int) -> None:
        """A page is not wanted before so many more frames have come."""
        if not page.known:
            self._set(page, self._begin + frames // self._burst * _CYCLE, known=False)

    def went(self, page: Page) -> None:
        """A page leaves the device."""
        self._drop(page)
        page.here = None
        self._list(page)
        self.settled(page)
        self.resident -= page.size

    def came(self, page: Page, here: Tensor, ahead: bool) -> None:
        """A page comes to the device. ahead: before it is asked for."""
        self._drop(page)
        page.here, page.ahead = here, ahead
        self._list(page)
        self.resident += page.size
        self.ahead += page.size if ahead else 0

    def leaving(self, but: Collection[int]) -> Iterator[Page]:
        """The pages on the device but for some (their ids), as they are now: that which is wanted last comes first."""
        passing = []
        for page in self._of(self._here[::-1]):
            if id(page) in but:
                continue
            if not page.known and page.passed == self.passes and page.due >= self._now:
                passing.append(page)
            else:
                yield page
        yield from passing

    def coming(self) -> Iterator[Page]:
        """The pages that are away, as they are now: that which is wanted first comes first."""
        return self._of(self._away[bisect_left(self._away, (self._now, 0)) :])

    @property
    def _begin(self) -> int:
        """When the cycle began."""
        return self._now // _CYCLE * _CYCLE

    def _of(self, pages: list[tuple[int, int]]) -> Iterator[Page]:
        for _, key in pages:
            found = self._pages.get(key)
            page = None if found is None else found()
            if page is not None:
                yield page

    def _foresee(self, page: Page) -> None:
        """Of a page, when it is wanted again after its last use."""
        life, uses = self._lives.get(page.kind), page.uses
        if not life or not uses:
            self._set(page, self._now + _CYCLE, known=False)
            return
        following = bisect_right(life, uses[-1])
        # What is not used again ends soon.
        self._set(page, page.born + life[following] if following < len(life) else self._now, known=True)

    def _set(self, page: Page, due: int, known: bool) -> None:
        page.due, page.known = due, known
        if page.here is None or not page.listed <= due <= self._now + _SOON:
            self._drop(page)
            self._list(page)

    def _list(self, page: Page) -> None:
        page.listed = page.due
        insort(self._away if page.here is None else self._here, (page.due, id(page)))

    def _drop(self, page: Page) -> None:
        pages = self._away if page.here is None else self._here
        del pages[bisect_left(pages, (page.listed, id(page)))]
