"""Noise that a camera has filtered in time: every frame shares some of the noise of the one before."""

import math

import pytest
import skimage.data
import torch
from rgb import PEAK, gain_of, recorded
from test_coded_noise import plane, through_h264
from torch import Tensor

from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.video.frame import PlaneFormat

FRAMES, SIGMA = 8, 6.0
HEIGHT, WIDTH = 160, 224


def photograph(name: str, step: int = 0) -> Tensor:
    """[T, 3, H, W], still or passing by `step` pixels a frame."""
    whole = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1).float()[:, ::2, ::2]
    return torch.stack([whole[:, :HEIGHT, step * t : step * t + WIDTH] for t in range(FRAMES)])


def filtered(noise: Tensor, share: float) -> Tensor:
    """Independent noise [T, ...] of which every frame has that share of the one before, no weaker for it."""
    frames = [noise[0]]
    for own in noise[1:]:
        frames.append(share * frames[-1] + math.sqrt(1 - share**2) * own)
    return torch.stack(frames)


def white(clean: Tensor, share: float) -> Tensor:
    drawn = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    return (clean + SIGMA * filtered(drawn, share)).round().clamp(0, PEAK)


def layout(family: str, chroma: int = 0) -> PlaneFormat:
    return PlaneFormat(family, WIDTH, HEIGHT, 8, chroma, chroma)


def measured(video: Tensor, device: str) -> NoiseModel:
    family = "rgb" if video.shape[1] == 3 else "gray"
    return measure_noise(list(video.to(device)), list, layout(family), PEAK)


@pytest.mark.parametrize("planes", ["rgb", "gray"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
def test_all_of_it_is_told_and_more_where_frames_share_more(planes, share, device):
    """What is new in every frame is 0.65 and 0.38 of it, and quiet areas were not believed more."""
    video = white(photograph("rocket"), share)
    noise = measured(video if planes == "rgb" else video[:, 1:2], device)
    wanted = SIGMA * ((1 + share) / (1 - share)) ** 0.25
    assert noise.sigma == pytest.approx((wanted,) * len(noise.planes), rel=0.12)
    assert not noise.correlated and not noise.opponent


def test_chroma_of_half_the_size_is_told(device):
    """By what changes from one frame to the next, of which there is less."""
    generator = torch.Generator().manual_seed(2)
    still = photograph("rocket")
    shapes = [(FRAMES, HEIGHT, WIDTH)] + 2 * [(FRAMES, HEIGHT // 2, WIDTH // 2)]
    planes = [still[:, 1], still[:, 0, ::2, ::2], still[:, 2, ::2, ::2]]
    noisy = [
        (plane + SIGMA * filtered(torch.randn(shape, generator=generator), 0.7)).round().clamp(0, PEAK).to(device)
        for plane, shape in zip(planes, shapes, strict=True)
    ]
    noise = measure_noise(range(FRAMES), lambda time: [p[time] for p in noisy], layout("yuv", 1), PEAK)
    assert min(noise.sigma) > 1.2 * SIGMA


@pytest.mark.parametrize("picture", ["coffee", "chelsea"])
def test_it_is_removed(picture):
    """It was told 0.4 of it, which brought 1 to 4 dB."""
    clean = photograph(picture)
    video = white(clean, 0.8)
    best = max(gain_of(NoiseModel.of_sigma((sigma,) * 3), video, clean) for sigma in (8.0, 11.0))
    assert gain_of(measured(video, "cpu"), video, clean) > best - 0.5


def test_noise_of_a_camera_that_was_filtered_is_told_whole(device):
    noisy, wanted = recorded(photograph("coffee"), 0.006)
    video = (wanted + filtered(noisy - wanted, 0.7)).round().clamp(0, PEAK)
    error = float((video - wanted).square().mean().sqrt())
    found = math.hypot(*measured(video, device).sigma) / math.sqrt(3)
    assert found > error


@pytest.mark.parametrize("step", [0, 2])
def test_behind_a_codec_that_of_a_camera_is_told_whole(step, device):
    """It was told 3.5 of 5.3: no more than the quantiser of any noisy film tells."""
    noisy, wanted = recorded(photograph("coffee", step), 0.006)
    left = through_h264(wanted + filtered(noisy - wanted, 0.7), 20)
    planes = [plane(left, index).to(device) for index in range(3)]
    noise = measure_noise(range(FRAMES), lambda time: [p[time] for p in planes], layout("yuv", 1), PEAK, step=11.0)
    # Of libx264 with next to no loss: what R, G and B are as luma, by the same hand.
    error = float((plane(left, 0) - plane(through_h264(wanted, 1), 0)).std())
    assert noise.sigma[0] > error
    assert all(own.spectrum for own in noise.planes)


def test_what_passes_by_shares_no_noise(device):
    """The noise of a place of the sensor is no longer where the picture was."""
    noise = measured(white(photograph("coffee", step=3), 0.8), device)
    assert noise.sigma == pytest.approx((SIGMA,) * 3, rel=0.1)
