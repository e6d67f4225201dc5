"""The flow of a clip."""

import pytest
import torch

from vnlsdenoise import ops
from vnlsdenoise.classic.motion import CapturedFlow, FlowPair, Tvl1Motion


def check_captured_flow(device):
    flow = CapturedFlow()
    with torch.no_grad():
        for size in ((40, 56), (40, 56), (33, 47), (40, 56)):
            sources, targets = (128 + 20 * torch.randn(2, *size, device=device) for _ in range(2))
            fields, ready = flow(sources, targets)
            assert (ready is None) == (device == "cpu")
            FlowPair(fields, 2, ready).wait()
            assert torch.equal(fields, ops.tvl1_flow(sources, targets))


def test_captured_flow_is_the_flow(device):
    check_captured_flow(device)


@pytest.mark.needs_cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_flow_is_captured_on_the_device_of_the_images():
    """Which need not be the current one."""
    check_captured_flow("cuda:1")


def test_results_outlive_the_next_pair(device):
    motion = Tvl1Motion(1.0, CapturedFlow())
    with torch.no_grad():
        assert motion.push(128 + 20 * torch.randn(64, 80, device=device)) is None
        pair = motion.push(128 + 20 * torch.randn(64, 80, device=device))
        pair.wait()
        before = pair.fields.clone()
        motion.push(128 + 20 * torch.randn(64, 80, device=device))
        assert torch.equal(pair.fields, before)


@pytest.mark.needs_cuda
def test_flows_at_the_same_time():
    """Of several videos, beside work that fills the GPU."""
    with torch.no_grad():
        pairs = [[128 + 20 * torch.randn(2, 270, 480, device="cuda") for _ in range(2)] for _ in range(4)]
        expected = [ops.tvl1_flow(*pair) for pair in pairs]
        flows = [CapturedFlow() for _ in pairs]
        busy = torch.randn(2048, 2048, device="cuda")
        for _ in range(3):
            measured = [flow(*pair) for flow, pair in zip(flows, pairs, strict=True)]
            for _ in range(20):
                busy = torch.tanh(busy @ busy)
            for (fields, ready), wanted in zip(measured, expected, strict=True):
                FlowPair(fields, 2, ready).wait()
                assert torch.equal(fields, wanted)


@pytest.mark.needs_cuda
def test_lanes_of_one_size():
    with torch.no_grad():
        pairs = [[128 + 20 * torch.randn(2, 90, 120, device="cuda") for _ in range(2)] for _ in range(5)]
        expected = [ops.tvl1_flow(*pair) for pair in pairs]
        flow = CapturedFlow(lanes=2)
        measured = [flow(*pair) for pair in pairs]
        for (fields, ready), wanted in zip(measured, expected, strict=True):
            FlowPair(fields, 2, ready).wait()
            assert torch.equal(fields, wanted)
