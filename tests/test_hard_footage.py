"""Footage that breaks temporal filters: repeated frames, stills, cuts, flashes, fades, black, very fast motion."""

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

import vnlsdenoise
from vnlsdenoise.scenes import repeated

SIGMA = 20.0


def picture(name: str = "coffee") -> Tensor:
    return torch.from_numpy(getattr(skimage.data, name)().astype(np.float32)).mean(-1)[:300, :400]


def pan(image: Tensor, count: int, step: int = 2, size: tuple[int, int] = (96, 128)) -> Tensor:
    """[T, 1, H, W]."""
    return torch.stack([image[None, : size[0], step * t : step * t + size[1]] for t in range(count)])


def noisy(clean: Tensor, seed: int = 0) -> Tensor:
    return clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


def denoised(video: Tensor, **options: object) -> Tensor:
    return vnlsdenoise.denoise(video, SIGMA, preset="fast", peak=255.0, **options)


def psnr(video: Tensor, clean: Tensor) -> Tensor:
    """Of every frame."""
    return 10 * torch.log10(255**2 / ((video - clean) ** 2).mean((1, 2, 3)))


def test_doubled_frames_change_nothing(device):
    """25 frames a second shown as 30: every fifth frame twice. The result is that of the 25, each shown as often."""
    once = noisy(pan(picture(), 14)).to(device)
    shown = sorted([*range(14), *range(4, 14, 5)])
    result = denoised(once[shown])
    assert torch.equal(result, denoised(once)[shown])
    assert not torch.equal(denoised(once[shown], duplicates=False), result)


def test_doubled_frames_that_a_codec_has_touched():
    once = noisy(pan(picture(), 6))
    twice = once.repeat_interleave(2, 0)
    twice[1::2] += 0.2 * torch.sign(torch.randn(once.shape))
    assert torch.equal(denoised(twice), denoised(once).repeat_interleave(2, 0))


@pytest.mark.parametrize("length", [2, 65, 66, 140])
def test_a_still_is_denoised_as_one_picture(length):
    frame = noisy(pan(picture(), 1, size=(40, 48)))
    result = denoised(frame.expand(length, -1, -1, -1))
    assert torch.equal(result, denoised(frame).expand(length, -1, -1, -1))


def test_planes_without_noise_come_back_as_they_are_even_where_frames_repeat():
    clean = pan(picture(), 1).repeat(4, 3, 1, 1)
    clean[1::2] += 0.1
    assert torch.equal(vnlsdenoise.denoise(clean, (20.0, 0.0, 20.0), preset="fast", peak=255.0)[:, 1], clean[:, 1])


def test_a_frame_with_any_news_is_no_repeat():
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (50, 70)).astype(np.uint8)
    assert repeated([frame], [frame.copy()], 255)
    moved = frame.copy()
    moved[20:24, 30:34] += 8  # a pointer of 4 x 4 pixels
    assert not repeated([frame], [moved], 255)
    corner = frame.copy()
    corner[-1, -1] ^= 128  # alone in the smallest block
    assert not repeated([frame], [corner], 255)
    assert not repeated([frame, frame], [frame, moved], 255)
    deep = frame.astype(np.uint16) << 2
    assert repeated([deep], [deep ^ 1], 1023)
    assert not repeated([deep], [deep ^ 2], 1023)


def test_a_static_scene_gains_from_every_frame():
    clean = pan(picture(), 9, step=0)
    gain = psnr(denoised(noisy(clean)), clean) - psnr(noisy(clean), clean)
    alone = noisy(clean)[4:5]
    assert gain.min() > psnr(denoised(alone), clean[4:5]) - psnr(alone, clean[4:5]) + 2


def test_motion_too_fast_to_follow_costs_little():
    """Against every frame by itself: other frames hold next to nothing of use and must do no harm."""
    clean = pan(torch.cat([picture(), picture("astronaut")], 1).repeat(1, 2), 9, step=90)
    alone = torch.cat([denoised(frame[None]) for frame in noisy(clean)])
    assert (psnr(denoised(noisy(clean)), clean) > psnr(alone, clean) - 0.6).all()


def test_a_flash_leaves_its_neighbours_alone():
    clean = pan(picture(), 11)
    flashed = clean.clone()
    flashed[5] += 120
    noise = noisy(torch.zeros_like(clean))
    loud = psnr(denoised(flashed + noise), flashed)
    for part in (slice(0, 5), slice(6, 11)):  # as good as without the flash and what lies beyond
        alone = psnr(denoised((clean + noise)[part]), clean[part])
        assert (loud[part] > alone - 0.05).all()
    assert loud[5] > psnr(flashed + noise, flashed)[5] + 8


def test_fades_to_and_from_black():
    level = torch.tensor([1, 0.75, 0.5, 0.25, 0, 0, 0, 0.25, 0.5, 0.75, 1]).view(-1, 1, 1, 1)
    clean = pan(picture(), 11) * level
    gain = psnr(denoised(noisy(clean)), clean) - psnr(noisy(clean), clean)
    assert gain.min() > 4
    black = denoised(noisy(torch.zeros(5, 1, 64, 64)))
    assert black.abs().mean() < 1.5


def test_dissolves_show_no_ghosts():
    share = torch.linspace(0, 1, 9).view(-1, 1, 1, 1)
    clean = pan(picture(), 9) * (1 - share) + pan(picture("astronaut"), 9) * share
    gain = psnr(denoised(noisy(clean)), clean) - psnr(noisy(clean), clean)
    assert gain.min() > 4


def test_flat_areas_show_no_gratings():
    """Noise that patches share must not come out as ripples; a wide search in the own frame lets it (0.2 and more)."""
    grey = torch.full((9, 1, 128, 160), 128.0)
    result = vnlsdenoise.denoise(grey + 2.5 * (noisy(grey) - grey), 50.0, preset="balanced", peak=255.0)
    band = result - torch.nn.functional.avg_pool2d(result, 3, 1, 1, count_include_pad=False)
    assert band.std() < 0.1
