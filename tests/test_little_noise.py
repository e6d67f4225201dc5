"""4:2:0 video in which all is texture: chroma tells how much of what is new in luma is noise."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from yuv import measured, planes_of

from vnlsdenoise.noise import synthesis
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.video.frame import PlaneFormat


def texture(frames: int = 6, contrast: float = 60) -> Tensor:
    """Grey, fine texture everywhere that turns and grows a little, [T, 3, H, W]: hardly found again."""
    canvas = torch.randn(1, 1, 288, 384, generator=torch.Generator().manual_seed(3))
    canvas = torch.nn.functional.avg_pool2d(canvas, 3, 1, 1)
    shown = []
    for time in range(frames):
        angle, scale = 0.02 * time, 0.5 + 0.008 * time
        turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]]) * scale
        grid = torch.nn.functional.affine_grid(turn[None], [1, 1, 144, 192], align_corners=False)
        shown.append(torch.nn.functional.grid_sample(canvas, grid, mode="bicubic", align_corners=False)[0])
    return (128 + contrast * torch.stack(shown)).expand(-1, 3, -1, -1)


def clouds(contrast: float, frames: int = 6) -> Tensor:
    """Coloured clouds that are others in every frame, as where motion is missed, [T, 3, H, W]."""
    coarse = torch.randn(frames, 3, 36, 48, generator=torch.Generator().manual_seed(4))
    fine = torch.nn.functional.interpolate(coarse, (144, 192), mode="bicubic", align_corners=False)
    return (120 + contrast * torch.nn.functional.avg_pool2d(fine, 9, 1, 4)).clamp(0, 255)


@pytest.mark.parametrize("sigma", [1, 2, 5])
def test_little_white_noise_is_told_from_texture(sigma: float, device: str) -> None:
    clean = texture()
    noisy = planes_of(clean + sigma * torch.randn_like(clean))
    true = np.std([a[0].astype(float) - b[0] for a, b in zip(noisy, planes_of(clean), strict=True)])
    assert measured(noisy, device).sigma[0] == pytest.approx(true, rel=0.3)


@pytest.mark.parametrize(("contrast", "sigma"), [(15, 3), (20, 3)])
def test_white_noise_under_faint_texture_is_not_told_stronger(contrast: float, sigma: float, device: str) -> None:
    """What quiet areas hold is up to a tenth more than the noise there."""
    clean = texture(contrast=contrast)
    noisy = planes_of(clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)))
    true = np.std([a[0].astype(float) - b[0] for a, b in zip(noisy, planes_of(clean), strict=True)])
    assert measured(noisy, device).sigma[0] == pytest.approx(true, rel=0.04)


@pytest.mark.parametrize("sigma", [5, 8])
def test_chroma_of_half_the_size_is_not_told_by_its_lowest_frequencies(sigma: float, device: str) -> None:
    """It has more noise there; of its deviation it is told 1.1 times, which restores it best."""
    clean = torch.full((6, 3, 144, 192), 120.0) + torch.linspace(-30, 30, 192)
    noisy = planes_of(clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)))
    of_both = zip(noisy, planes_of(clean), strict=True)
    error = [[a[k].astype(float) - b[k] for k in (1, 2)] for a, b in of_both]
    true = np.std(error, (0, 2, 3))
    assert measured(noisy, device).sigma[1:] == pytest.approx(1.1 * true, rel=0.04)


@pytest.mark.parametrize("contrast", [10, 40])
@pytest.mark.parametrize("sigma", [5, 8])
def test_what_moves_unseen_is_no_noise_of_chroma(contrast: float, sigma: float, device: str) -> None:
    """It shows at low frequencies alone, where white noise shows no more than elsewhere."""
    clean = clouds(contrast)
    noisy = planes_of(clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)))
    of_both = zip(noisy, planes_of(clean), strict=True)
    true = np.std([[a[k].astype(float) - b[k] for k in (1, 2)] for a, b in of_both], (0, 2, 3))
    assert measured(noisy, device).sigma[1:] == pytest.approx(1.1 * true, rel=0.06)


def test_rounding_of_the_picture_is_no_noise(device: str) -> None:
    """Of texture that was rounded before white noise came; samples that were never rounded have all that is new."""
    clean = texture(contrast=15).round()
    noisy = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    layout = PlaneFormat("rgb", 192, 144, 8)
    assert measure_noise(list(noisy.round().to(device)), list, layout, 255.0).sigma == pytest.approx((1,) * 3, rel=0.02)
    assert measure_noise(list(noisy.to(device)), list, layout, 255.0).sigma == pytest.approx((1,) * 3, rel=0.02)


@pytest.mark.parametrize("sigma", [8.0, 20.0])
def test_correlated_noise_is_not_taken_for_texture(sigma: float, device: str) -> None:
    clean = torch.full((6, 3, 144, 192), 120.0) + torch.linspace(-30, 30, 192)
    noise = synthesis.correlated(tuple(clean.shape), sigma, torch.Generator().manual_seed(1))
    noisy = planes_of(clean + noise)
    true = np.std([a[0].astype(float) - b[0] for a, b in zip(noisy, planes_of(clean), strict=True)])
    assert measured(noisy, device).sigma[0] > 0.7 * true


@pytest.mark.parametrize("sigma", [2, 5])
def test_texture_with_a_few_black_samples_is_not_taken_for_clipped_noise(sigma: float, device: str) -> None:
    clean = texture()
    clean = clean + torch.where(
        torch.rand(clean[:1, :1].shape, generator=torch.Generator().manual_seed(5)) < 1e-3, -200, 0
    )
    noisy = (clean + sigma * torch.randn_like(clean)).round().clamp(0, 255)
    layout = PlaneFormat("rgb", 192, 144, 8)
    found = measure_noise(list(noisy.to(device)), list, layout, 255.0)
    assert max(found.sigma) < 1.1 * sigma
