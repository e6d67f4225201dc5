"""Tensors that wait in a file come back as they were, and their room is used again."""

import errno
import os
import tempfile

import pytest
import torch

from vnlsdenoise.classic.spool import Spool
from vnlsdenoise.errors import MemoryLimitError


def test_values_come_back_and_room_is_used_again():
    spool = Spool()
    tensors = [torch.randn(3, 5, 7), torch.arange(105, dtype=torch.int64).reshape(3, 5, 7), torch.randn(11)]
    places = [spool.write(tensor) for tensor in tensors]
    assert all(torch.equal(spool.read(place), tensor) for place, tensor in zip(places, tensors, strict=True))
    size = spool.size
    spool.write(tensors[0] + 1, places[0])
    assert torch.equal(spool.read(places[0]), tensors[0] + 1)
    del places[0]
    again = spool.write(tensors[0] * 2)
    assert spool.size == size
    assert torch.equal(spool.read(again), tensors[0] * 2)
    assert torch.equal(spool.read(places[0]), tensors[1])


def test_nothing_is_left_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool()
    spool.write(torch.ones(100))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_what_to_do(monkeypatch):
    spool = Spool()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(MemoryLimitError, match=r"No space left on device.*TMPDIR"):
        spool.write(torch.ones(100))
