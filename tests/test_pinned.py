"""Pinned places: of whoever holds their values, and free for the next one after that."""

import pytest
import torch

from vnlsdenoise import planes
from vnlsdenoise.pinned import PinnedRoom


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> PinnedRoom:
    """Without a GPU no memory can be pinned: it is any other here."""
    empty = torch.empty

    def unpinned(size: int, *, dtype: torch.dtype, pin_memory: bool) -> torch.Tensor:
        assert pin_memory
        return empty(size, dtype=dtype)

    monkeypatch.setattr(torch, "empty", unpinned)
    return PinnedRoom()


def test_places_that_are_held_do_not_overlap(room: PinnedRoom) -> None:
    places = [room.place(torch.zeros(3, 5, dtype=torch.uint16)) for _ in range(20)]
    for number, place in enumerate(places):
        place.values.fill_(number)
    assert [place.values.unique().tolist() for place in places] == [[number] for number in range(20)]
    assert {place.values.shape for place in places} == {(3, 5)}


def test_an_array_and_its_views_hold_the_place(room: PinnedRoom) -> None:
    place = room.place(torch.zeros(4, 6))
    place.values.fill_(7)
    first = place.values.data_ptr()
    view = place.array()[1:, ::2][1:]
    del place
    others = [room.place(torch.zeros(4, 6)) for _ in range(30)]
    for other in others:
        other.values.fill_(1)
    assert (view == 7).all()
    del view, others
    again = [room.place(torch.zeros(4, 6)) for _ in range(31)]
    assert first in {place.values.data_ptr() for place in again}


def test_many_sizes_do_not_pin_more_and_more(room: PinnedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda:0")
    monkeypatch.setitem(planes._leaving, device, room)
    held = planes._room_to_leave(device).place(torch.zeros(4, 6))
    held.values.fill_(7)
    for size in range(1, 100):
        planes._room_to_leave(device).place(torch.zeros(size)).values.fill_(1)
        assert planes._leaving[device].sizes <= planes._MOST_SIZES
    assert (held.array() == 7).all()
