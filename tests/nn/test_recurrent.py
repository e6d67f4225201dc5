"""The aligned recurrent cell: where it sees its state, what it is made of, and its gradients."""

import pytest
import torch
from torch.nn import functional

from vnlsdenoise import nn

SMALL = {"channels": (4, 6, 8), "blocks": (1, 0, 1)}


def test_the_state_is_seen_along_the_flow(device):
    cell = nn.AlignedCell(1, **SMALL).to(device)
    state, maps = torch.randn(2, 1, 4, 12, 16, device=device)
    flow = torch.zeros(1, 2, 12, 16, device=device)
    assert torch.equal(cell(None, None, maps), cell(torch.zeros_like(state), None, maps))
    torch.testing.assert_close(cell(state, flow, maps), cell(state, None, maps))
    flow[:, 0], flow[:, 1] = 2, -1
    # out(x, y) = state(x + 2, y - 1), the border held
    moved = functional.pad(state, (0, 2, 1, 0), mode="replicate")[:, :, :12, 2:]
    torch.testing.assert_close(cell(state, flow, maps), cell(moved, None, maps), rtol=1e-4, atol=1e-5)
    half = torch.full_like(flow, 0.5)
    half[:, 1] = 0
    right = functional.pad(state, (0, 1, 0, 0), mode="replicate")[..., 1:]
    between = cell((state + right) / 2, None, maps)
    torch.testing.assert_close(cell(state, half, maps), between, rtol=1e-4, atol=1e-5)


def test_a_part_of_the_picture_sees_the_state_of_the_whole(device):
    # In float64: convolutions in single precision may run in TF32, and differ with the size of the picture.
    cell = nn.AlignedCell(2, **SMALL).double().to(device)
    state, maps, more = torch.randn(3, 1, 4, 48, 56, dtype=torch.float64, device=device)
    flow = 2 * torch.randn(1, 2, 48, 56, dtype=torch.float64, device=device)
    whole = cell(state, flow, maps, more)
    rows, columns = slice(8, 40), slice(12, 52)
    part = cell(state, *(x[..., rows, columns] for x in (flow, maps, more)), corner=(8, 12))
    # What lies at its borders knows less of the maps.
    torch.testing.assert_close(part[..., 14:-14, 14:-14], whole[..., rows, columns][..., 14:-14, 14:-14])
    shifted = cell(state, *(x[..., rows, columns] for x in (flow, maps, more)))
    assert not torch.allclose(shifted[..., 14:-14, 14:-14], part[..., 14:-14, 14:-14])


def test_gradcheck(device):
    cell = nn.AlignedCell(1, (2, 2, 3), (1, 0, 1)).double().to(device)
    state, maps = torch.randn(2, 1, 2, 4, 8, dtype=torch.float64, device=device)
    flow = 0.2 + 0.5 * torch.rand(1, 2, 4, 8, dtype=torch.float64, device=device)  # away from whole pixels
    given = [x.requires_grad_() for x in (state, flow, maps)]
    assert torch.autograd.gradcheck(lambda *x: cell(*x), given, nondet_tol=1e-10)
    cell(*given).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in cell.parameters())


def test_wrong_input_is_named():
    cell = nn.AlignedCell(2, **SMALL)
    maps, flow = torch.zeros(1, 4, 8, 8), torch.zeros(1, 2, 8, 8)
    for message, arguments in [
        ("a cell of 2 sources must be given as many maps, got 1", (None, None, maps)),
        (r"maps must all have one shape \[N, 4, h, w\]", (None, None, maps, maps[:, :2])),
        ("must be multiples of 4, got .6, 8.", (None, None, maps[:, :, :6], maps[:, :, :6])),
        (r"state must have shape \[1, 4, H, W\], got", (maps[:, :1], None, maps, maps)),
        (r"flow must have shape \[1, 2, 8, 8\], got", (maps, flow[..., :4], maps, maps)),
        ("without flow state must have the shape of maps", (maps[..., :4], None, maps, maps)),
    ]:
        with pytest.raises(ValueError, match=message):
            cell(*arguments)
    with pytest.raises(ValueError, match="sources must be greater than 0, got 0"):
        nn.AlignedCell(0, **SMALL)
    with pytest.raises(ValueError, match="blocks must be at least 0"):
        nn.AlignedCell(1, (4, 4, 4), (1, -1, 0))
