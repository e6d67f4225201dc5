"""The pager's copies beside the work, under streams that do everything as late as they may.

Work on the current stream happens at once; what other streams do waits until something waits for it. A wait that is
left out shows, as it need not on a real device: values are then not there yet, or no more.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest
import torch

from vnlsdenoise import pinned
from vnlsdenoise.classic import pager
from vnlsdenoise.classic.page import Page
from vnlsdenoise.classic.pager import Pager

LENGTH, SIZE, COUNT, CEILING = 64, 512, 40, 14
GONE = 99  # what memory holds after it was given back


class Stream:
    def __init__(self, device: object = None) -> None:
        self.work: list[Callable[[], object]] = []
        self.done = 0

    def until(self, count: int) -> None:
        while self.done < count:
            self.done += 1
            self.work[self.done - 1]()

    def wait_stream(self, other: "Stream") -> None:
        count = len(other.work)
        self.work.append(lambda: other.until(count))

    def wait_event(self, event: "Event") -> None:
        event.stream.until(event.count)  # only the current stream is asked to, which does everything at once


class Event:
    def record(self) -> None:
        self.stream, self.count = Streams.entered[-1], len(Streams.entered[-1].work)

    def query(self) -> bool:
        return self.stream.done >= self.count


class Streams:
    """Stands for torch.cuda."""

    Stream, Event = Stream, Event
    current = Stream()
    entered: ClassVar = [current]

    @staticmethod
    def current_stream(device: object) -> Stream:
        return Streams.current

    @staticmethod
    @contextmanager
    def stream(stream: Stream) -> Iterator[None]:
        Streams.entered.append(stream)
        yield
        Streams.entered.pop()

    @staticmethod
    def empty_cache() -> None:
        pass


class Device:
    type = "cuda"


class Torch:
    """Stands for torch, with those streams."""

    cuda = Streams

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)

    @staticmethod
    def empty(
        shape: torch.Size, *, dtype: torch.dtype, device: object = None, pin_memory: bool = False
    ) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype).fill_(GONE)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    copy, keep, left = torch.Tensor.copy_, Pager.keep, Pager._left

    def copied(self: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        if Streams.entered[-1] is Streams.current:
            return copy(self, source)
        Streams.entered[-1].work.append(lambda: copy(self, source))
        return self

    def kept(self: Pager, tensor: torch.Tensor) -> Page:
        page = keep(self, tensor)
        page.device = Device()
        return page

    def gone(self: Pager, page: Page) -> int:
        memory = page.here
        size = left(self, page)
        memory.fill_(GONE)
        return size

    monkeypatch.setattr(pager, "torch", Torch())
    monkeypatch.setattr(pinned, "torch", Torch())
    monkeypatch.setattr(torch.Tensor, "copy_", copied)
    monkeypatch.setattr(Pager, "keep", kept)
    monkeypatch.setattr(Pager, "_left", gone)


def use(seed: int) -> int:
    """Steps at random that read, change and replace pages; returns the bytes moved."""
    chance = random.Random(seed)
    taking = Pager(CEILING * SIZE)
    values = list(range(COUNT))
    held = [taking.keep(torch.full((LENGTH,), value)) for value in values]
    for _ in range(200):
        if chance.random() < 0.2:
            taking.next_frame()
        if chance.random() < 0.4:
            taking.next_pass()
        first = chance.randrange(COUNT)
        read = [(first + index) % COUNT for index in range(chance.randrange(1, 4))]
        write = [(first + 4 + index) % COUNT for index in range(chance.randrange(3))]
        tensors, changed = taking.open(
            [held[i] for i in read], [held[i] for i in write], work=chance.randrange(4) * SIZE
        )
        assert taking.resident <= CEILING * SIZE
        for index, tensor in zip(read + write, tensors + changed, strict=True):
            assert tensor.tolist() == [values[index]] * LENGTH
        for index, tensor in zip(write, changed, strict=True):
            tensor += 1
            values[index] += 1
        if chance.random() < 0.3:
            taking.rest(held[chance.randrange(COUNT)], chance.randrange(1, 6))
        if chance.random() < 0.3:  # a page ends, wherever it is, and another comes
            index = chance.randrange(COUNT)
            values[index] = chance.randrange(1000, 2000)
            held[index] = taking.keep(torch.full((LENGTH,), values[index]))
    return taking.moved


@pytest.mark.parametrize("seed", range(8))
def test_values_survive_the_latest_of_copies(late: None, seed: int) -> None:
    assert use(seed) > 100 * SIZE


def test_a_wait_that_is_left_out_shows(late: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "wait_event", lambda self, event: None)
    with pytest.raises(AssertionError):
        use(0)
