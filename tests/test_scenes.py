import numpy as np
import pytest
import skimage.data
import torch

import vnlsdenoise
from vnlsdenoise.scenes import mark_cuts


def gray(name: str) -> np.ndarray:
    image = getattr(skimage.data, name)().astype(np.float32)
    image = image if image.ndim == 2 else image.mean(-1)
    return image[:300, :400]


def cuts(frames: list[np.ndarray], sigma: float = 0.0) -> list[int]:
    random = np.random.default_rng(2)
    noisy = [np.clip(f + sigma * random.standard_normal(f.shape), 0, 255).round().astype(np.uint8) for f in frames]
    return begins(noisy, 255)


def begins(frames: list[np.ndarray], peak: float) -> list[int]:
    return [number for number, (_, cut) in enumerate(mark_cuts(frames, lambda frame: frame, peak)) if cut]


def pan(image: np.ndarray, count: int, step: int = 2) -> list[np.ndarray]:
    return [image[:200, step * t : step * t + 240] for t in range(count)]


@pytest.mark.parametrize("sigma", [0, 20, 50])
def test_a_cut_is_found_where_it_is(sigma):
    frames = pan(gray("coffee"), 7) + pan(gray("astronaut"), 6) + pan(gray("chelsea"), 5)
    assert cuts(frames, sigma) == [7, 13]


@pytest.mark.parametrize("sigma", [0, 50])
def test_motion_noise_and_fades_are_no_cuts(sigma):
    assert cuts(pan(gray("coffee"), 20, step=7), sigma) == []
    assert cuts([gray("coffee")] * 5, sigma) == []
    assert cuts([gray("coffee") * (1 - t / 20) for t in range(21)], sigma) == []
    one, other = gray("coffee"), gray("astronaut")
    assert cuts([one * (1 - t / 20) + other * t / 20 for t in range(21)], sigma) == []


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("sigma", [0, 20])
def test_a_flash_is_no_scene_of_its_own(length, sigma):
    frames = [f + 120 * (6 <= t < 6 + length) for t, f in enumerate(pan(gray("coffee"), 14))]
    assert cuts(frames, sigma) == []
    other = pan(gray("astronaut"), 5)
    assert cuts(frames + other, sigma) == [14]
    # A cut in the flash, and one right after it.
    assert cuts(frames[:7] + other, sigma) == [6, 7]
    assert cuts(frames[: 7 + length] + other, sigma) == [7 + length]


def test_a_change_that_stays_is_a_scene():
    frames = [f + 120 * (t >= 6) for t, f in enumerate(pan(gray("coffee"), 14))]
    assert cuts(frames) == [6]


def test_black_tiny_and_deep_frames():
    black = [np.zeros((200, 240), np.float32)] * 4
    assert cuts(black) == []
    assert cuts(black + pan(gray("coffee"), 3)) == [4]
    assert begins([np.full((1, 1), v, np.uint16) for v in (0, 10, 60000)], 65535) == [2]


@pytest.mark.parametrize("sigma", [0, 50])
def test_motion_too_fast_to_follow_is_no_cut(sigma):
    image = np.tile(gray("coffee"), (1, 6))
    assert cuts(pan(image, 14, step=83), sigma) == []
    doubled = [frame for frame in pan(image, 14, step=83) for _ in range(2)]
    noise = np.random.default_rng(0).standard_normal((14, *doubled[0].shape)).repeat(2, 0) * sigma
    assert cuts([frame + part for frame, part in zip(doubled, noise, strict=True)]) in ([], [2])


def test_small_noisy_frames_are_no_cuts():
    assert cuts([gray("coffee")[:60, :80]] * 12, sigma=50) == []
    assert cuts([gray("coffee")[:60, :80]] * 6 + [gray("astronaut")[:60, :80]] * 6, sigma=50) == [6]


def test_every_frame_comes_through_in_order():
    frames = pan(gray("coffee"), 3)
    for count in range(4):
        assert [id(f) for f, _ in mark_cuts(frames[:count], lambda f: f, 255)] == [id(f) for f in frames[:count]]


def test_scenes_are_denoised_as_if_alone(device):
    """No frame of one scene touches the other: bit for bit what each gives by itself."""
    torch.manual_seed(3)
    scenes = [torch.from_numpy(np.stack(pan(gray(name), 11))[:, :96, :120].copy()) for name in ("coffee", "astronaut")]
    noisy = [(s[:, None] + 15 * torch.randn(s[:, None].shape)).to(device) for s in scenes]
    together = vnlsdenoise.denoise(torch.cat(noisy), 15.0, preset="fast", peak=255.0)
    apart = torch.cat([vnlsdenoise.denoise(n, 15.0, preset="fast", peak=255.0) for n in noisy])
    assert torch.equal(together, apart)
    mixed = vnlsdenoise.denoise(torch.cat(noisy), 15.0, preset="fast", peak=255.0, scene_cuts=False)
    assert not torch.equal(mixed, apart)
