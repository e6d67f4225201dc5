"""What every test shares: devices, and random numbers that depend on nothing but the test."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.needs_cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device in turn: a test body that takes it proves both backends."""
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def _random_numbers() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    needs_cuda = item.get_closest_marker("needs_cuda") is not None
    if needs_cuda and not torch.cuda.is_available() and not os.environ.get("FAIL_WITHOUT_CUDA"):
        pytest.skip("no CUDA device (FAIL_WITHOUT_CUDA makes this a failure)")
