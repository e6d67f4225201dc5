import pytest
import torch

from vnlsdenoise import ops


def reference(images, weights, side):
    """Gather as the product of unfolded images and weights, in float64."""
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, [side // 2] * 4)
    out = torch.zeros_like(images)
    for i in range(side):
        for j in range(side):
            out += weights[:, i * side + j, None] * padded[:, :, i : i + height, j : j + width]
    return out


def inputs(side, dtype=torch.float64, device="cpu", size=(2, 9, 7, 11)):
    images = torch.randn(size, dtype=dtype, device=device)
    return images, torch.randn(size[0], side * side, *size[2:], dtype=dtype, device=device)


@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("size", [(2, 9, 7, 11), (1, 1, 1, 1), (1, 3, 2, 40)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gather_and_splat_match_the_reference(device, side, size, dtype):
    images, weights = inputs(side, dtype, device, size)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    exact = images.double().cpu().requires_grad_()
    expected = reference(exact, weights.double().cpu(), side)
    found = ops.weighted_filter(images, weights)
    torch.testing.assert_close(found.double().cpu(), expected.detach(), atol=tolerance, rtol=tolerance)
    y = torch.randn_like(images)
    (splat,) = torch.autograd.grad((expected * y.double().cpu()).sum(), exact)
    found = ops.weighted_filter(y, weights, splat=True)
    torch.testing.assert_close(found.double().cpu(), splat, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("splat", [False, True])
def test_gradients(device, splat):
    images, weights = inputs(3, device=device, size=(2, 3, 5, 6))
    bias = torch.randn(3, dtype=torch.float64, device=device)
    arguments = [x.requires_grad_() for x in (images, weights, bias)]

    def run(images, weights, bias):
        return ops.weighted_filter(images, weights, bias=bias, splat=splat)

    assert torch.autograd.gradcheck(run, arguments, nondet_tol=0.0)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), run(*arguments))


def test_half_precision_strides_and_runs(device):
    images, weights = inputs(5, torch.float32, device)
    expected = ops.weighted_filter(images, weights)
    assert torch.equal(ops.weighted_filter(images, weights), expected)
    strided = images.to(memory_format=torch.channels_last)
    assert torch.equal(ops.weighted_filter(strided, weights), expected)
    one = torch.cat([ops.weighted_filter(images[i : i + 1], weights[i : i + 1]) for i in range(2)])
    assert torch.equal(one, expected)
    half = ops.weighted_filter(images.half(), weights.half())
    assert torch.equal(half, ops.weighted_filter(images.half().float(), weights.half().float()).half())


def test_opcheck(device):
    images, weights = inputs(3, device=device, size=(1, 2, 4, 5))
    library = torch.ops.vnlsdenoise
    for splat in (False, True):
        torch.library.opcheck(
            library.weighted_filter.default, (images.requires_grad_(), weights.requires_grad_(), 3, splat)
        )
    torch.library.opcheck(library.weighted_filter_dots.default, (images.detach(), images.detach(), 3))


def test_wrong_input_is_named():
    images, weights = inputs(3)
    with pytest.raises(ValueError, match=r"weights must have N \* N channels with N odd, got 8"):
        ops.weighted_filter(images, weights[:, :8])
    with pytest.raises(ValueError, match=r"weights must have shape \[2, N\*N, 7, 11\], got \[1, 9, 7, 11\]"):
        ops.weighted_filter(images, weights[:1])
    with pytest.raises(ValueError, match=r"bias must have shape \[9\], got \[8\]"):
        ops.weighted_filter(images, weights, bias=torch.zeros(8))
