"""TV-L1 flow: the plain reference proves the kernels; OpenCV's TV-L1 and known motions prove the reference."""

import cv2
import pytest
import torch
import torch.nn.functional as functional
from reference import tvl1 as reference
from torch import Tensor

from vnlsdenoise.ops import flow_image, flow_levels, tvl1_flow
from vnlsdenoise.ops.tvl1 import _taps, computed_taps


def texture(height: int, width: int, pairs: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """[pairs, height, width] in 0..255 with structure at several scales."""
    images = torch.zeros(pairs, 1, height, width, dtype=torch.float64)
    for cell in (4, 9, 20):
        coarse = torch.rand(pairs, 1, height // cell + 2, width // cell + 2, dtype=torch.float64)
        images += functional.interpolate(coarse, (height, width), mode="bicubic")
    return (images[:, 0] * 70 + 20).clamp(0, 255).to(dtype)


def warped(image: Tensor, flow: Tensor) -> Tensor:
    """image(x + flow(x)), bilinear."""
    height, width = image.shape[-2:]
    x = torch.arange(width, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, dtype=flow.dtype)[:, None] + flow[:, 1]
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return functional.grid_sample(image[:, None], grid, align_corners=True, padding_mode="border")[:, 0]


def swirl(height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A smooth flow of a few pixels, [1, 2, height, width]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.stack([2.5 + 1.5 * y + x * y, -1.0 - 1.5 * x + 0.5 * y])[None].to(dtype)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-3), (torch.float64, 1e-9)])
@pytest.mark.parametrize("height, width", [(1, 1), (5, 7), (1, 40), (33, 1), (48, 64), (67, 101), (70, 130)])
def test_equals_the_reference(device, height, width, dtype, tolerance):
    source, target = texture(height, width, 4, torch.float64).chunk(2)
    target = 0.2 * target + 0.8 * source.roll(1, 2)
    levels = flow_levels(height, width)
    # Few warps: each amplifies the difference of two roundings.
    settings = {"warps": 2, "coarse_warps": 5, "iterations": 30}
    expected = reference.tvl1_flow(source, target, levels=levels, **settings)
    flow = tvl1_flow(source.to(device, dtype), target.to(device, dtype), **settings)
    torch.testing.assert_close(flow.cpu().double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "settings",
    [
        dict(levels=1),
        dict(levels=7),  # the coarsest are a pixel high
        dict(warps=1, coarse_warps=1, iterations=1),
        dict(warps=3, coarse_warps=2, iterations=13),
        dict(attachment=0.3, tightness=0.2, step=0.2),
    ],
)
def test_settings_mean_what_they_mean_in_the_reference(device, settings):
    source, target = texture(45, 150, 2, torch.float64).chunk(2)
    settings = {"levels": 2, "warps": 2, "coarse_warps": 5, "iterations": 30, **settings}
    expected = reference.tvl1_flow(source, target, **settings)
    flow = tvl1_flow(source.to(device), target.to(device), **settings)
    torch.testing.assert_close(flow.cpu(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("x, y", [(3, 2), (-7, 4), (0, -9), (0, 0)])
def test_finds_a_translation(device, x, y):
    image = texture(140, 180)
    source, target = image[:, 20:-20, 20:-20], image[:, 20 - y : 120 - y, 20 - x : 160 - x]
    flow = tvl1_flow(source.to(device), target.to(device)).cpu()
    inside = flow[:, :, 15:-15, 15:-15]
    torch.testing.assert_close(inside.mean((0, 2, 3)), torch.tensor([x, y], dtype=torch.float32), rtol=0, atol=0.02)
    assert (inside - torch.tensor([x, y])[:, None, None]).abs().max() < 0.25


@pytest.mark.skipif(not hasattr(cv2, "optflow"), reason="this OpenCV is built without contrib")
def test_finds_a_smooth_warp_as_well_as_opencv(device):
    truth = swirl(120, 160)
    target = texture(120, 160)
    source = warped(target, truth)
    flow = tvl1_flow(source.to(device), target.to(device), warps=5).cpu()
    eight_bits = [image[0].round().byte().numpy() for image in (source, target)]
    oracle = torch.from_numpy(cv2.optflow.DualTVL1OpticalFlow_create().calc(*eight_bits, None)).permute(2, 0, 1)[None]

    def error(a: Tensor, b: Tensor) -> float:
        return (a - b)[:, :, 8:-8, 8:-8].norm(dim=1).mean().item()

    assert error(flow, truth) < 0.06
    assert error(flow, truth) < 1.1 * error(oracle, truth)
    assert error(flow, oracle) < 0.15


def test_pixels_that_leave_the_frame_move_with_their_neighbours(device):
    image = texture(64, 104)
    flow = tvl1_flow(image[:, :, 6:102].to(device), image[:, :, :96].to(device), warps=5).cpu()  # content moves by 6
    assert (flow[0, 0, 8:-8, -6:] - 6).abs().median() < 0.5


def test_a_batch_is_its_pairs_bit_for_bit(device):
    source, target = texture(50, 90, 14).to(device).chunk(2)
    together = tvl1_flow(source, target)
    for pair in range(len(source)):
        assert torch.equal(tvl1_flow(source[pair : pair + 1], target[pair : pair + 1]), together[pair : pair + 1])


def test_repeats_bit_for_bit_on_any_layout(device):
    source, target = texture(90, 130, 4).to(device).chunk(2)
    first = tvl1_flow(source, target)
    assert torch.equal(tvl1_flow(source, target), first)
    assert torch.equal(tvl1_flow(source.mT.contiguous().mT, target.repeat_interleave(2, 0)[::2]), first)


def test_the_number_of_threads_changes_no_bit():
    source, target = texture(90, 300, 6).chunk(2)
    before = torch.get_num_threads()
    flows = []
    try:
        for threads in (1, 2, 3, 5):  # pairs to threads, and all threads on one pair
            torch.set_num_threads(threads)
            flows.append(tvl1_flow(source, target))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(flow, flows[0]) for flow in flows[1:])


def test_flat_and_extreme_images_give_finite_flow(device):
    flat = torch.full((1, 40, 40), 128.0, device=device)
    assert torch.equal(tvl1_flow(flat, flat), torch.zeros(1, 2, 40, 40, device=device))
    black_and_white = torch.rand(1, 40, 40, device=device).round() * 1e6
    assert tvl1_flow(black_and_white, 1e6 - black_and_white).isfinite().all()


def test_not_a_number_does_not_crash(device):
    source = texture(40, 40).to(device)
    assert tvl1_flow(source, torch.full_like(source, float("nan"))).shape == (1, 2, 40, 40)


def test_no_pairs(device):
    assert tvl1_flow(torch.zeros(0, 20, 30, device=device), torch.zeros(0, 20, 30, device=device)).shape == (
        0,
        2,
        20,
        30,
    )


def test_opcheck(device):
    source, target = texture(20, 30, 4).to(device).chunk(2)
    arguments = (source, target, 0.1, 0.3, 0.25, 2, 1, 1, 4)
    torch.library.opcheck(torch.ops.vnlsdenoise.tvl1_flow.default, arguments)


@pytest.mark.needs_cuda
def test_is_captured_in_a_cuda_graph():
    source, target = texture(120, 200, 4).cuda().chunk(2)
    expected = tvl1_flow(source, target)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        flow = tvl1_flow(source, target)
    graph.replay()
    assert torch.equal(flow, expected)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(source=torch.zeros(4, 4)), ValueError, r"source must have shape \[N, H, W\], got \[4, 4\]"),
        (
            dict(target=torch.zeros(1, 8, 9)),
            ValueError,
            r"target must have the shape of source, \[1, 8, 8\], got \[1, 8, 9\]",
        ),
        (dict(target=torch.zeros(1, 8, 8).double()), TypeError, "target must be float32, got float64"),
        (
            dict(source=torch.zeros(1, 8, 8, dtype=torch.uint8)),
            TypeError,
            "source must be float32 or float64, got uint8",
        ),
        (dict(source=torch.zeros(1, 0, 8), target=torch.zeros(1, 0, 8)), ValueError, "1 to 2.31 - 1 pixels, got 0 x 8"),
        (dict(levels=0), ValueError, "levels must be 1 to 16, got 0"),
        (dict(levels=17), ValueError, "levels must be 1 to 16, got 17"),
        (dict(warps=0), ValueError, "warps must be greater than 0, got 0"),
        (dict(coarse_warps=0), ValueError, "coarse_warps must be greater than 0, got 0"),
        (dict(iterations=-1), ValueError, "iterations must be greater than 0, got -1"),
        (dict(attachment=0.0), ValueError, "attachment must be greater than 0, got 0.0"),
        (dict(tightness=float("nan")), ValueError, "tightness must be greater than 0, got nan"),
    ],
)
def test_wrong_arguments(change, error, message):
    arguments = {"source": torch.zeros(1, 8, 8), "target": torch.zeros(1, 8, 8), **change}
    source, target = arguments.pop("source"), arguments.pop("target")
    with pytest.raises(error, match=message):
        tvl1_flow(source, target, **arguments)


def test_flow_image(device):
    luma = 0.25 + torch.randn(2, 65, 90, dtype=torch.float64) * 0.01
    images = flow_image(luma.to(device), 255.0)
    assert images.shape == (2, 33, 45)
    assert abs(images.mean().item() - 0.25 * 255) < 0.1
    # Halving halves the deviation of white noise, the Gaussian of deviation 1.2 divides it by 2 sqrt(pi) 1.2.
    assert images.std().item() == pytest.approx(0.01 * 255 / 2 / 4.25, rel=0.15)
    assert flow_image(luma.to(device), 1.0, blur=0).std().item() == pytest.approx(0.005, rel=0.1)
    assert flow_image(torch.rand(1, 1, 1, device=device), 1.0).shape == (1, 1, 1)


def test_the_taps_that_are_kept_are_those_of_the_device(device):
    """To the last bit on a GPU, which is spared the kernels that compute them."""
    form = 1.2, torch.float32
    assert _taps(*form, device) == computed_taps(*form, device)
    assert _taps(*form, "cuda") == pytest.approx(computed_taps(*form, "cpu"), rel=3e-7)


def test_flow_image_refuses():
    with pytest.raises(ValueError, match=r"luma must have shape \[T, H, W\], got \[4, 4\]"):
        flow_image(torch.zeros(4, 4), 1.0)
    with pytest.raises(ValueError, match="scale must be greater than 0, got 0"):
        flow_image(torch.zeros(1, 4, 4), 0.0)
    with pytest.raises(ValueError, match="blur must be 0 or more, got -1"):
        flow_image(torch.zeros(1, 4, 4), 1.0, blur=-1)


@pytest.mark.parametrize("height, width, levels", [(1, 1, 1), (31, 900, 1), (32, 33, 2), (120, 216, 3), (540, 960, 6)])
def test_flow_levels(height, width, levels):
    assert flow_levels(height, width) == levels
