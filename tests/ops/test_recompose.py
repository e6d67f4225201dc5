import pytest
import torch
from reference import recompose as reference

from vnlsdenoise import ops


def compare(found, expected, dtype):
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(found.double().cpu(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 61, 83), (1, 1, 1), (1, 5, 40), (3, 33, 7)])
def test_all_match_the_reference(device, dtype, channels, height, width):
    coarse = 10 * torch.randn(channels, height, width, dtype=dtype, device=device)
    basic = coarse + torch.randn_like(coarse)
    low = torch.randn_like(coarse)
    exact = [t.double().cpu() for t in (coarse, basic, low)]
    variance = ops.local_variance(coarse)
    expected = reference.local_variance(exact[0])
    compare(variance, expected, dtype)
    compare(
        ops.recompose(basic, low, variance, sigma=3.0, fade=2.0),
        reference.recompose(exact[1], exact[2], expected, 3.0, 2.0),
        dtype,
    )
    compare(
        ops.fine_wiener(basic, coarse, variance, sigma=3.0, neighbors=32),
        reference.fine_wiener(exact[1], exact[0], expected, 3.0, 32),
        dtype,
    )
    compare(ops.guide(coarse[0], low[0], 0.6), reference.guide(exact[0][0], exact[2][0], 0.6), dtype)


def test_variance_of_a_bright_flat_area_is_exact(device):
    """Summed naively in float32, squares of 4000 would drown a variance of 0.0001."""
    video = 4000 + 0.01 * torch.randn(1, 60, 60, device=device)
    expected = reference.local_variance(video.double().cpu())
    torch.testing.assert_close(ops.local_variance(video).double().cpu(), expected, rtol=0.02, atol=0)


def test_results_do_not_depend_on_the_number_of_threads():
    video = torch.randn(3, 100, 90)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = ops.local_variance(video)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(ops.local_variance(video), one)


def test_opcheck(device):
    planes = torch.randn(3, 3, 12, 14, device=device)
    variance = ops.local_variance(planes[0])
    library = torch.ops.vnlsdenoise
    torch.library.opcheck(library.local_variance.default, (planes[0],))
    torch.library.opcheck(library.recompose.default, (planes[0], planes[1], variance, 1.0, 2.0))
    torch.library.opcheck(library.fine_wiener.default, (planes[0], planes[1], variance, 1.0, 32))
    torch.library.opcheck(library.guide.default, (planes[0, 0], planes[1, 0], 0.6))


def test_wrong_input_is_named():
    plane = torch.zeros(3, 8, 8)
    with pytest.raises(ValueError, match=r"variance must have shape \[8, 8\], got \[8, 7\]"):
        ops.recompose(plane, plane, torch.zeros(8, 7), sigma=1.0)
    with pytest.raises(TypeError, match="coarse must be float32, got float64"):
        ops.fine_wiener(plane, plane.double(), torch.zeros(8, 8), sigma=1.0, neighbors=32)
    with pytest.raises(ValueError, match="sigma must be greater than 0, got -1"):
        ops.recompose(plane, plane, torch.zeros(8, 8), sigma=-1.0)
    with pytest.raises(ValueError, match=r"band must have shape \[8, 8\], got \[4, 8\]"):
        ops.guide(plane[0], plane[0, :4], 0.6)
