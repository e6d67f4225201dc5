"""Tensors that take turns on the device: under a ceiling, those not used for longest wait in host memory."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(eq=False)
class Page:
    """One tensor of a frame in flight, on the device or away. Only its `Pager` may look inside."""

    here: Tensor | None  # on its device
    away: Tensor | None  # the same values in host memory; None where there are none or they are out of date
    device: torch.device
    size: int
    used: int = 0


class Pager:
    """Keeps the pages that are on the device under `ceiling` bytes, None for no limit; it never changes a value.

    Pages are moved only when `open` is called, and those it returns stay for as long as the caller holds the tensors.
    """

    def __init__(self, ceiling: int | None = None) -> None:
        self._ceiling = ceiling
        self._pages: weakref.WeakSet[Page] = weakref.WeakSet()
        self._clock = 0

    def keep(self, tensor: Tensor) -> Page:
        """A page that holds `tensor`, which the caller lets go of. It ends with its last reference."""
        page = Page(tensor, None, tensor.device, tensor.numel() * tensor.element_size())
        if self._ceiling is not None:
            self._pages.add(page)
            self._touch(page)
        return page

    def open(self, read: Sequence[Page], write: Sequence[Page] = ()) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors of pages to read and of pages to change in place, all on the device they came from."""
        if self._ceiling is not None:
            self._make_room({*read, *write})
        return [self._here(page) for page in read], [self._here(page, changes=True) for page in write]

    @property
    def resident(self) -> int:
        """Bytes of pages on the device; 0 without a ceiling, which is not kept count of."""
        return sum(page.size for page in self._pages if page.here is not None)

    def _touch(self, page: Page) -> None:
        self._clock += 1
        page.used = self._clock

    def _make_room(self, wanted: set[Page]) -> None:
        assert self._ceiling is not None
        here = [page for page in self._pages if page.here is not None]
        over = sum(p.size for p in here) + sum(p.size for p in wanted if p.here is None) - self._ceiling
        for page in sorted(here, key=lambda p: p.used):
            if over <= 0:
                break
            if page not in wanted:
                assert page.here is not None
                if page.away is None:
                    page.away = page.here.to("cpu", copy=True)
                page.here = None
                over -= page.size

    def _here(self, page: Page, changes: bool = False) -> Tensor:
        if page.here is None:
            assert page.away is not None
            page.here = page.away.to(page.device, copy=True)
        if changes:
            page.away = None
        if self._ceiling is not None:
            self._touch(page)
        return page.here
