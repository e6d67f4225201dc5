"""The noise estimate, on content made here: gradients, textures, edges, and what the estimate must not be fooled by."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from vnlsdenoise.noise import NoiseModel, PlaneNoise, estimate_sigma, measure_plane
from vnlsdenoise.noise.curve import MeasuredCurve
from vnlsdenoise.noise.stabilise import Stabiliser

PEAK = 255.0


def gradient(height: int = 160, width: int = 240) -> Tensor:
    """Slow slopes over most of the scale."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return 60 + 100 * x + 40 * y


def textured(height: int = 160, width: int = 240) -> Tensor:
    """Three quarters of the picture in strong fine texture and edges, the rest smooth."""
    image = gradient(height, width)
    fine = functional.interpolate(torch.rand(1, 1, height // 2, width // 2), (height, width), mode="bicubic")[0, 0]
    stripes = ((torch.arange(width) // 5) % 2) * 60.0 - 30
    busy = torch.arange(width) < 3 * width // 4
    return torch.where(busy, image + 120 * (fine - 0.5) + stripes, image)


def noisy(image: Tensor, sigma: float, frames: int = 5) -> Tensor:
    return image + sigma * torch.randn(frames, *image.shape)


@pytest.mark.parametrize("content", [gradient, textured])
@pytest.mark.parametrize("sigma", [2.0, 5.0, 10.0, 20.0, 30.0, 50.0])
def test_white_noise_within_three_percent(device, content, sigma):
    planes = noisy(content(), sigma).to(device)
    assert estimate_sigma(planes, peak=PEAK) == pytest.approx(sigma, rel=0.03)


def test_no_noise_is_little_noise(device):
    assert estimate_sigma(gradient()[None].to(device), peak=PEAK) < 0.01
    assert estimate_sigma(textured()[None].to(device), peak=PEAK) < 0.1


def test_scale_of_the_data_is_free(device):
    planes = noisy(textured(), 12.0).to(device)
    sigma = estimate_sigma(planes, peak=PEAK)
    assert estimate_sigma(planes.double() * 4 + 0.0, peak=PEAK * 4) == pytest.approx(4 * sigma, rel=1e-4)
    assert estimate_sigma(planes / PEAK, peak=1.0) == pytest.approx(sigma / PEAK, rel=1e-4)


def test_clipped_shadows_and_highlights_do_not_lower_it(device):
    image = torch.where(torch.arange(240) < 120, 2.0, 120.0).expand(160, 240)
    planes = noisy(image, 20.0).clamp(0, PEAK).to(device)
    assert estimate_sigma(planes, peak=PEAK) == pytest.approx(20, rel=0.03)


def test_black_borders_and_flat_graphics_do_not_lower_it(device):
    planes = noisy(gradient(), 10.0)
    planes[:, :20] = 0
    planes[:, 60:100, 60:140] = 128
    assert estimate_sigma(planes.to(device), peak=PEAK) == pytest.approx(10, rel=0.03)


def test_dark_video_is_measured_on_what_there_is(device):
    planes = noisy(torch.full((160, 240), 20.0), 4.0).to(device)
    assert estimate_sigma(planes, peak=PEAK) == pytest.approx(4, rel=0.03)


def test_one_odd_frame_does_not_matter(device):
    planes = noisy(gradient(), 10.0)
    planes[2] = 0
    assert estimate_sigma(planes.to(device), peak=PEAK) == pytest.approx(10, rel=0.03)


def test_large_frames_are_sampled_more_sparsely(device):
    planes = noisy(gradient(900, 1600), 15.0, frames=1).to(device)
    assert estimate_sigma(planes, peak=PEAK) == pytest.approx(15, rel=0.03)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 9), (2, 3), (7, 20), (8, 8), (13, 9)])
def test_small_frames(device, height, width):
    sigma = estimate_sigma(torch.rand(1, height, width, device=device) * PEAK, peak=PEAK)
    assert math.isfinite(sigma) and 0 <= sigma < PEAK


def test_constant_video_has_no_noise(device):
    assert estimate_sigma(torch.full((2, 40, 40), 128.0, device=device), peak=PEAK) < 1e-4


@pytest.mark.parametrize(
    "planes, peak, error, message",
    [
        (torch.zeros(8, 8), 1.0, ValueError, r"planes must have shape \[T, H, W\], got \[8, 8\]"),
        (torch.zeros(1, 8, 8, dtype=torch.uint8), 1.0, TypeError, "planes must be float32 or float64, got uint8"),
        (torch.zeros(1, 8, 8), 0.0, ValueError, "peak must be greater than 0, got 0.0"),
        (torch.zeros(0, 8, 8), 1.0, ValueError, r"at least one pixel, got shape \[0, 8, 8\]"),
    ],
)
def test_wrong_arguments(planes, peak, error, message):
    with pytest.raises(error, match=message):
        estimate_sigma(planes, peak=peak)


def ramp(frames: int = 8) -> Tensor:
    return torch.linspace(0, PEAK, 320).expand(frames, 160, 320)


def test_photon_noise_gives_its_curve(device):
    clean = ramp()
    planes = (clean + (1.5 * clean + 20).sqrt() * torch.randn_like(clean)).to(device)
    noise = measure_plane(planes, peak=PEAK)
    assert noise.signal_dependent and not noise.clipped
    for level in (20, 64, 128, 235):
        assert noise.deviation_at(level) == pytest.approx((1.5 * level + 20) ** 0.5, rel=0.05)


@pytest.mark.parametrize("sigma", [10.0, 30.0, 50.0])
def test_clipped_noise_is_measured_as_it_was(device, sigma):
    planes = noisy(ramp(1)[0], sigma, 8).round().clamp(0, PEAK).to(device)
    noise = measure_plane(planes, peak=PEAK)
    assert noise.clipped and not noise.signal_dependent
    assert noise.sigma == pytest.approx(sigma, rel=0.04)


def test_a_few_dark_levels_do_not_tell_of_white():
    """The variance goes on as far again as it was measured; it went on to four times that of the brightest."""
    curve = MeasuredCurve(np.array([3.0, 10.0]), np.array([1.5, 2.0]), np.array([1.0, 1.0]), gain=20.0)
    noise = curve.noise(PEAK, clipped=False)
    assert noise.deviation_at(PEAK) == pytest.approx((2 * 4 - 2.25) ** 0.5)
    assert noise.deviation_at(3.0) == pytest.approx(1.5)


@pytest.mark.parametrize("darkest, brightest", [(5, 80), (180, 250)])
def test_clipped_noise_of_dark_and_bright_pictures_is_measured_as_it_was(darkest, brightest, device):
    """Of clipped noise, the quietest blocks hold more at the highest frequencies than others do."""
    clean = torch.linspace(darkest, brightest, 320).expand(160, 320)
    noise = measure_plane(noisy(clean, 50.0, 8).round().clamp(0, PEAK).to(device), peak=PEAK)
    assert noise.clipped and not noise.signal_dependent
    assert noise.sigma == pytest.approx(50, rel=0.04)


def test_white_noise_that_was_clipped_near_black_is_level_elsewhere(device):
    """Luma of limited range: black is 16. Where nothing is bright, the fall towards black says nothing of white."""
    dark = torch.linspace(0, 80, 320).expand(8, 160, 320)
    planes = (16 + noisy(dark[0], 10.0, 8).clamp_min(0)).to(device)
    noise = measure_plane(planes, peak=PEAK)
    assert [noise.deviation_at(level) for level in (50, 90, 160, 220)] == pytest.approx([10] * 4, rel=0.04)


def test_white_noise_has_no_curve(device):
    planes = noisy(textured(), 12.0, 8).to(device)
    assert measure_plane(planes, peak=PEAK) == PlaneNoise(estimate_sigma(planes, peak=PEAK))


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("curve", [(), ((0.0, 5.0), (100.0, 12.0), (255.0, 22.0))])
def test_stabilised_noise_is_of_deviation_1_and_comes_back_without_bias(device, curve, clipped):
    noise = PlaneNoise(20.0, curve, clipped)
    stabiliser = Stabiliser(noise, PEAK, 0.1)
    for level in (4.0, 30.0, 128.0, 250.0):
        samples = level + noise.deviation_at(level) * torch.randn(400, 500)
        units = stabiliser.forward((samples.clamp(0, PEAK) if clipped else samples).to(device))
        if not clipped or level in (30.0, 128.0):
            assert float(units.std()) == pytest.approx(1, abs=0.12)
        assert float(stabiliser.back(units.mean()[None])) == pytest.approx(level, abs=0.25)


@pytest.mark.parametrize("strength", [0.5, 1.5])
def test_noise_that_is_overstated_comes_back_without_bias_too(strength, device):
    """More is removed, or less, but where clipping and the curve have put the mean is a fact."""
    noise = PlaneNoise(20.0, ((0.0, 10.0), (255.0, 30.0)), clipped=True)
    [said] = NoiseModel((noise,)).times((strength,)).planes
    stabiliser = Stabiliser(said, PEAK, 0.1)
    for level in (4.0, 30.0, 128.0, 250.0):
        samples = (level + noise.deviation_at(level) * torch.randn(400, 500)).clamp(0, PEAK)
        units = stabiliser.forward(samples.to(device))
        assert float(stabiliser.back(units.mean()[None])) == pytest.approx(level, abs=0.25)
    assert said.deviation_at(128.0) == pytest.approx(strength * noise.deviation_at(128.0))
