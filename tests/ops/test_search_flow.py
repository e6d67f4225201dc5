import math

import pytest
import torch
from golden import golden
from reference import nonlocal_search as reference

from vnlsdenoise import ops


def fields(shape, device="cpu", size=2.0, dtype=torch.float32, requires_grad=False):
    b, t, h, w = shape
    made = [(size * torch.randn(b, t, 2, h, w, dtype=dtype)).to(device) for _ in range(2)]
    return [f.requires_grad_(requires_grad) for f in made]


CASES = [  # B, T, H, W, wt, stride0
    (1, 4, 13, 11, 1, 1),
    (2, 5, 9, 14, 2, 2),
    (1, 3, 7, 8, 3, 3),
    (2, 1, 6, 5, 2, 1),
    (1, 6, 5, 1, 2, 1),
    (1, 2, 8, 9, 0, 1),
]


@pytest.mark.parametrize(("b", "t", "h", "w", "wt", "stride0"), CASES)
def test_it_matches_the_reference(device, b, t, h, w, wt, stride0):
    fflow, bflow = fields((b, t, h, w), device, dtype=torch.float64)
    expected = reference.search_flow(fflow.cpu(), bflow.cpu(), wt, stride0)
    torch.testing.assert_close(ops.search_flow(fflow, bflow, wt, stride0).cpu(), expected)
    single = ops.search_flow(fflow.float(), bflow.float(), wt, stride0)
    torch.testing.assert_close(single.double().cpu(), expected, rtol=1e-4, atol=1e-3)


def test_recorded_vectors(device):
    data = golden("search_flow_s1")
    fflow, bflow, expected = (torch.from_numpy(data[name])[None].to(device) for name in ("fflow", "bflow", "flows"))
    found = ops.search_flow(fflow, bflow, int(data["wt"]), int(data["stride0"]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_transposed_fields_give_the_same(device):
    fflow, bflow = fields((2, 4, 8, 9), device)
    found = ops.search_flow(fflow.mT.contiguous().mT, bflow.transpose(0, 1).contiguous().transpose(0, 1), 1)
    assert torch.equal(found, ops.search_flow(fflow, bflow, 1))


@pytest.mark.parametrize(("b", "t", "h", "w", "wt", "stride0"), CASES)
def test_gradients_are_those_of_the_reference(device, b, t, h, w, wt, stride0):
    fflow, bflow = fields((b, t, h, w), device, dtype=torch.float64, requires_grad=True)
    found = ops.search_flow(fflow, bflow, wt, stride0)
    gradient = torch.randn(found.shape, dtype=torch.float64)
    got = torch.autograd.grad(found, (fflow, bflow), gradient.to(device))
    ours = [f.detach().cpu().requires_grad_() for f in (fflow, bflow)]
    expected = reference.search_flow(*ours, wt, stride0)
    if not expected.requires_grad:
        assert not any(g.any() for g in got)
        return
    wanted = torch.autograd.grad(expected, ours, gradient, allow_unused=True, materialize_grads=True)
    for g, e in zip(got, wanted, strict=True):
        torch.testing.assert_close(g.cpu(), e, rtol=1e-7, atol=1e-7 * float(e.abs().max() + 1))


def test_gradcheck(device):
    fflow, bflow = fields((1, 4, 5, 6), device, size=1.3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda f, b: ops.search_flow(f, b, 1, 2), (fflow, bflow), eps=1e-7, atol=1e-4)


def test_accumulated_flow_holds_every_pair(device):
    fflow, bflow = fields((2, 5, 7, 9), device, dtype=torch.float64, requires_grad=True)
    forward, backward = ops.accumulate_flow(fflow, bflow, stride0=2)
    assert forward.shape == (2, 5, 4, 2, 4, 5)
    for wt in (0, 1, 2, 4):
        picked = ops.extract_search_from_accumulated(forward, backward, wt)
        assert torch.equal(picked, ops.search_flow(fflow, bflow, wt, 2))
    assert not forward[:, 4].any() and not backward[:, 0].any()
    y, x = (v.to(device) for v in torch.meshgrid(torch.arange(0, 7, 2), torch.arange(0, 9, 2), indexing="ij"))
    torch.testing.assert_close(forward[:, 1, 0], fflow[:, 1][..., y, x])
    torch.testing.assert_close(backward[:, 1, 0], bflow[:, 1][..., y, x])
    small = fields((1, 3, 4, 4), device, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda f, b: ops.accumulate_flow(f, b), small, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e30, 5000.25])
def test_wild_flow_reads_nothing_outside(device, value):
    fflow, bflow = fields((1, 4, 8, 9), device, requires_grad=True)
    wild = fflow.detach().clone()
    wild[:, :, :, ::2] = value
    wild.requires_grad_()
    found = ops.search_flow(wild, bflow, 2)
    found.nan_to_num(0, 0, 0).sum().backward()
    if abs(value) == 5000.25:
        torch.testing.assert_close(
            found, reference.search_flow(wild.cpu(), bflow.cpu(), 2, 1).to(device), rtol=1e-3, atol=1
        )


def test_flow_out_of_the_clip_is_never_read(device):
    fflow, bflow = fields((1, 4, 8, 9), device)
    wanted = ops.search_flow(fflow, bflow, 2)
    fflow[:, -1], bflow[:, 0] = math.nan, math.nan
    assert torch.equal(ops.search_flow(fflow, bflow, 2), wanted)


def test_forward_and_backward_repeat_to_the_bit(device):
    fflow, bflow = fields((2, 5, 33, 37), device, size=20, requires_grad=True)
    runs = []
    for _ in range(3):
        found = ops.search_flow(fflow, bflow, 2)
        runs.append((found, *torch.autograd.grad(found.square().sum(), (fflow, bflow))))
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_opcheck_and_compile(device):
    fflow, bflow = fields((1, 3, 6, 7), device, requires_grad=True)
    torch.library.opcheck(torch.ops.vnlsdenoise.search_flow.default, (fflow, bflow, 1, 2))
    compiled = torch.compile(ops.search_flow, fullgraph=True, backend="aot_eager")
    found = compiled(fflow, bflow, 1, 2)
    assert torch.equal(found, ops.search_flow(fflow, bflow, 1, 2))
    found.sum().backward()


def test_wrong_input_is_named():
    fflow, bflow = fields((1, 3, 6, 7))
    for error, message, arguments in [
        (TypeError, "fflow must be a torch.Tensor, got list", ([], bflow, 1)),
        (ValueError, r"fflow must have shape \[B, T, 2, H, W\], got \[3, 2, 6, 7\]", (fflow[0], bflow, 1)),
        (TypeError, "fflow must be float32 or float64, got float16", (fflow.half(), bflow, 1)),
        (TypeError, "bflow must be float32, got float64", (fflow, bflow.double(), 1)),
        (ValueError, r"bflow must have the shape of fflow, \[1, 3, 2, 6, 7\]", (fflow, bflow[:, :2], 1)),
        (ValueError, "wt must be 0 or more, got -1", (fflow, bflow, -1)),
        (ValueError, "stride0 must be greater than 0, got 0", (fflow, bflow, 1, 0)),
    ]:
        with pytest.raises(error, match=message):
            ops.search_flow(*arguments)
