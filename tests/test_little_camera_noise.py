"""Noise of cameras in YUV and grey: coloured, but not so much that it could not be white noise on texture."""

import math
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor
from yuv import Planes, measured, planes_of

from vnlsdenoise.noise.camera import Camera


def photograph() -> Tensor:
    """[3, H, W], 0 .. 1."""
    return torch.from_numpy(skimage.data.coffee().astype(np.float32) / 255).permute(2, 0, 1)


def still(frames: int = 8) -> Tensor:
    """A photograph with texture nearly everywhere, [T, 3, H, W]."""
    return photograph()[:, 100:260, 150:374].expand(frames, -1, -1, -1)


def turning(frames: int = 8) -> Tensor:
    """A soft picture, a part of which is a photograph that turns and grows a little, [T, 3, H, W]."""
    canvas, shown = photograph()[None], []
    for time in range(frames):
        angle, scale = 0.02 * time, 0.3 + 0.008 * time
        turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]]) * scale
        grid = torch.nn.functional.affine_grid(turn[None], [1, 1, 160, 112], align_corners=False)
        soft = (0.3 + torch.linspace(0, 0.3, 112)).expand(1, 3, 160, 112)
        part = torch.nn.functional.grid_sample(canvas, grid, mode="bicubic", align_corners=False).clamp(0, 1)
        shown.append(torch.cat([soft, part], 3)[0])
    return torch.stack(shown)


def passing(frames: int = 6) -> Tensor:
    """A photograph that passes by three pixels at a time, from odd rows of a mosaic to even ones, [T, 3, H, W]."""
    half = torch.nn.functional.avg_pool2d(photograph(), 2)
    return torch.stack([half[:, :144, 3 * time : 3 * time + 200] for time in range(frames)])


def filmed(
    video: Tensor, gain: float, *, edge_aware: bool = True, format: str = "yuv420p"
) -> tuple[list[Planes], list[Planes]]:
    """As a camera sees it, with its noise and without."""
    camera, random = Camera(gain, gain / 2, edge_aware=edge_aware), torch.Generator().manual_seed(1)
    noisy, clean = zip(*(camera.recorded(picture.contiguous(), random) for picture in video), strict=True)
    return planes_of(255 * torch.stack(noisy), format), planes_of(255 * torch.stack(clean), format)


def errors(noisy: list[Planes], clean: list[Planes]) -> list[float]:
    """The deviation of every plane."""
    return [
        float(np.std([a[p].astype(float) - b[p] for a, b in zip(noisy, clean, strict=True)]))
        for p in range(len(noisy[0]))
    ]


@pytest.mark.parametrize("gain", [0.0005, 0.001])
def test_where_nothing_moves_what_is_new_is_noise(gain: float, device: str) -> None:
    noisy, clean = filmed(still(), gain)
    assert measured(noisy, device).sigma[0] == pytest.approx(errors(noisy, clean)[0], rel=0.25)


@pytest.mark.parametrize("edge_aware", [True, False])
def test_where_texture_moves_the_shape_of_the_noise_tells_it(edge_aware: bool, device: str) -> None:
    noisy, clean = filmed(turning(), 0.0005, edge_aware=edge_aware)
    assert measured(noisy, device).sigma[0] == pytest.approx(errors(noisy, clean)[0], rel=0.25)


@pytest.mark.parametrize("gain, format", [(0.0005, "gray"), (0.0005, "yuv422p"), (0.002, "yuv420p"), (0.02, "yuv420p")])
def test_noise_of_a_camera_is_told_with_its_spectrum(gain: float, format: str, device: str) -> None:
    noisy, clean = filmed(turning(6), gain, format=format)
    found, wanted = measured(noisy, device), errors(noisy, clean)
    assert found.correlated
    # Of luma edges have more than the flat blocks that tell it.
    assert 0.98 * wanted[0] < found.sigma[0] < 1.2 * wanted[0]


def test_chroma_has_noise_everywhere_where_luma_has(device: str) -> None:
    noisy, clean = filmed(turning(6), 0.0005)
    assert (
        max(told / there for told, there in zip(measured(noisy, device).sigma, errors(noisy, clean), strict=True)) < 1.5
    )


@pytest.mark.parametrize("gain", [0.0005, 0.002])
def test_what_is_new_in_every_second_frame_is_not_noise(gain: float, device: str) -> None:
    noisy, clean = filmed(passing(), gain)
    assert measured(noisy, device).sigma[0] == pytest.approx(errors(noisy, clean)[0], rel=0.25)


@pytest.mark.parametrize("format", ["gray", "yuv422p"])
def test_white_noise_on_texture_has_no_spectrum(format: str, device: str) -> None:
    noise = torch.randn(turning(6).shape, generator=torch.Generator().manual_seed(2)) * 2 / 255
    noisy, wanted = planes_of(255 * (turning(6) + noise), format), planes_of(255 * turning(6), format)
    found = measured(noisy, device)
    assert not found.correlated
    assert found.sigma[0] == pytest.approx(errors(noisy, wanted)[0], rel=0.2)


@pytest.mark.parametrize("sigma", [1, 2, 5])
@pytest.mark.parametrize("scene", [still, turning])
def test_white_noise_is_not_taken_for_that_of_a_camera(scene: Any, sigma: float, device: str) -> None:
    clean = scene()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(2)) * sigma / 255
    noisy, wanted = planes_of(255 * (clean + noise)), planes_of(255 * clean)
    found = measured(noisy, device)
    assert found.sigma[0] == pytest.approx(errors(noisy, wanted)[0], rel=0.2)
    assert not found.correlated


@pytest.mark.parametrize("scene", [still, turning])
def test_clean_pictures_are_told_no_noise(scene: Any, device: str) -> None:
    assert max(measured(planes_of(255 * scene()), device).sigma) < 1
