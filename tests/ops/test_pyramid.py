import pytest
import torch
from reference import pyramid as reference

from vnlsdenoise import ops

SIZES = [(1, 1), (1, 7), (2, 3), (5, 16), (17, 31), (64, 50)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_halve_and_double_match_the_reference(device, dtype, height, width):
    video = torch.randn(2, 3, height, width, dtype=dtype, device=device)
    exact = video.double().cpu()
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    for axis in (-1, -2):
        expected = reference.halve(exact.transpose(axis, -1)).transpose(axis, -1)
        halved = ops.halve(video, axis)
        torch.testing.assert_close(halved.double().cpu(), expected, atol=tolerance, rtol=0)
        doubled = ops.double(halved, video.shape[axis], axis)
        expected = reference.double(halved.double().cpu().transpose(axis, -1), video.shape[axis]).transpose(axis, -1)
        torch.testing.assert_close(doubled.double().cpu(), expected, atol=tolerance, rtol=0)


def test_both_axes_and_back(device):
    """Down is both halvings and up both doublings; a smooth image comes back."""
    y, x = torch.meshgrid(torch.arange(41), torch.arange(50), indexing="ij")
    video = (torch.sin(y / 9) + torch.cos(x / 11))[None].double().to(device)
    low = ops.pyramid_down(video)
    exact = reference.halve(reference.halve(video.cpu()).mT).mT
    torch.testing.assert_close(low.cpu(), exact, atol=1e-12, rtol=0)
    up = ops.pyramid_up(low, 41, 50)
    exact = reference.double(reference.double(exact, 50).mT, 41).mT
    torch.testing.assert_close(up.cpu(), exact, atol=1e-12, rtol=0)
    inside = (up - video)[:, 8:-8, 8:-8]
    assert float(inside.abs().max()) < 0.05


def test_non_contiguous_input_gives_the_same(device):
    video = torch.randn(3, 40, 30, device=device).transpose(1, 2)
    assert torch.equal(ops.pyramid_down(video), ops.pyramid_down(video.contiguous()))


def test_constants_are_kept_and_white_noise_halves(device):
    torch.testing.assert_close(
        ops.pyramid_down(torch.full((1, 33, 47), 5.0, device=device)),
        torch.full((1, 17, 24), 5.0, device=device),
        atol=1e-4,
        rtol=0,
    )
    noise = ops.pyramid_down(torch.randn(1, 512, 512, device=device))
    assert abs(float(noise.std()) - 0.5) < 0.01
    neighbour_correlation = float((noise[..., 1:] * noise[..., :-1]).mean() / noise.var())
    assert abs(neighbour_correlation) < 0.02


def test_opcheck(device):
    video = torch.randn(2, 9, 12, device=device)
    torch.library.opcheck(torch.ops.vnlsdenoise.halve.default, (video, 1))
    torch.library.opcheck(torch.ops.vnlsdenoise.double.default, (video, 2, 23))


def test_a_gradient_is_refused_not_wrong():
    video = torch.randn(1, 8, 8, requires_grad=True)
    with pytest.raises(RuntimeError, match="halve has no gradient"):
        ops.halve(video).sum().backward()


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"video must have shape \[..., H, W\], got \[8\]"):
        ops.halve(torch.zeros(8))
    with pytest.raises(TypeError, match="video must be float32 or float64, got int32"):
        ops.halve(torch.zeros(8, 8, dtype=torch.int32))
    with pytest.raises(ValueError, match="axis must be -1 or -2, got 0"):
        ops.halve(torch.zeros(8, 8), 0)
    with pytest.raises(ValueError, match="size must be 16 or one less, got 14"):
        ops.double(torch.zeros(8, 8), 14)
    with pytest.raises(TypeError, match="got list"):
        ops.halve([[1.0]])
