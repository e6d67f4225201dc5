"""Chains of operators in one call give the bits of the operators one by one."""

import pytest
import torch

from vnlsdenoise import ops

SIZES = [(48, 64), (61, 83), (5, 40), (33, 7), (2, 2), (1, 1)]


def halved(side: int) -> int:
    return (side + 1) // 2


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_search_image_is_guide_of_what_is_below_and_above(device, height, width):
    luma = torch.randn(height, width, device=device)
    coarse = 10 * torch.randn(halved(height), halved(width), device=device)
    with torch.no_grad():
        base = ops.pyramid_up(coarse, height, width)
        band = luma - ops.pyramid_up(ops.pyramid_down(luma), height, width)
        assert torch.equal(ops.search_image(luma, coarse, 0.6), ops.guide(base, band, 0.6))
        assert torch.equal(ops.search_image(luma, None, 0.8), ops.guide(torch.zeros_like(luma), luma, 0.8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_joined_frame_is_the_chain(device, channels, height, width):
    noisy = 10 * torch.randn(channels, height, width, device=device)
    sums = (1 << 40) + torch.randint(-(1 << 20), 1 << 20, noisy.shape, device=device)
    coarse = 10 * torch.randn(channels, halved(height), halved(width), device=device)
    with torch.no_grad():
        found = ops.joined_frame(noisy, sums, coarse, sigma=0.5, neighbors=32, fade=1.5)
        basic = ops.normalise(noisy, sums, 0.5)
        assert not torch.equal(basic, noisy)
        enlarged = ops.pyramid_up(coarse, height, width)
        variance = ops.local_variance(enlarged)
        difference = coarse - ops.pyramid_down(basic)
        low = ops.pyramid_up(ops.pyramid_down(difference), *difference.shape[-2:])
        basic = ops.recompose(basic, ops.pyramid_up(low, height, width), variance, sigma=0.5, fade=1.5)
        assert torch.equal(found, ops.fine_wiener(basic, enlarged, variance, sigma=0.5, neighbors=32))


def test_views_are_taken_as_they_are(device):
    luma, coarse = torch.randn(64, 48, device=device).mT, torch.randn(3, 24, 64, device=device)[1, :, ::2]
    assert torch.equal(
        ops.search_image(luma, coarse, 0.6), ops.search_image(luma.contiguous(), coarse.contiguous(), 0.6)
    )


def test_opcheck(device):
    noisy, coarse = torch.randn(3, 12, 14, device=device), torch.randn(3, 6, 7, device=device)
    library = torch.ops.vnlsdenoise
    torch.library.opcheck(library.search_image.default, (noisy[0], coarse[0], 0.6))
    torch.library.opcheck(library.search_image.default, (noisy[0], None, 0.6))
    torch.library.opcheck(library.joined_frame.default, (noisy, ops.new_sums(noisy), coarse, 1.0, 2.0, 32))


def test_wrong_input_is_named():
    plane = torch.zeros(3, 9, 8)
    with pytest.raises(ValueError, match=r"coarse must have shape \[5, 4\], got \[4, 4\]"):
        ops.search_image(plane[0], torch.zeros(4, 4), 0.6)
    with pytest.raises(TypeError, match="luma must be float32, got float64"):
        ops.search_image(plane[0].double(), None, 0.6)
    with pytest.raises(ValueError, match=r"coarse must have shape \[3, 5, 4\], got \[1, 5, 4\]"):
        ops.joined_frame(plane, ops.new_sums(plane), torch.zeros(1, 5, 4), sigma=1.0, neighbors=32)
    with pytest.raises(TypeError, match="sums must be int64, got float32"):
        ops.joined_frame(plane, plane, torch.zeros(3, 5, 4), sigma=1.0, neighbors=32)
    with pytest.raises(ValueError, match="sigma must be greater than 0, got -1"):
        ops.joined_frame(plane, ops.new_sums(plane), torch.zeros(3, 5, 4), sigma=-1.0, neighbors=32)
