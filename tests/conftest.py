"""What all tests share: the device they run on, and random numbers that repeat."""

import os
from collections.abc import Iterator

# Threads that spin while they wait slow every test down on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

from vnlsdenoise.video.priority import kept_priority


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.needs_cuda)])
def device(request: pytest.FixtureRequest) -> str:
    """Every test that takes it runs once on the CPU and once on a CUDA device."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> Iterator[None]:
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def _ordinary_priority() -> Iterator[None]:
    """Films that tests make with SVT-AV1 leave no real-time threads to the tests after them."""
    with kept_priority():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available() or os.environ.get("FAIL_WITHOUT_CUDA"):
        return
    skip = pytest.mark.skip(reason="needs a CUDA device; set FAIL_WITHOUT_CUDA=1 to fail instead")
    for item in items:
        if item.get_closest_marker("needs_cuda"):
            item.add_marker(skip)
