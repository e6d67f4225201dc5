"""The metrics against scikit-image's."""

import math

import numpy as np
import pytest
import skimage.metrics

from vnlsdenoise.compare import metrics


@pytest.mark.parametrize("peak", [255, 1023, 65535])
@pytest.mark.parametrize("shape", [(7, 7), (40, 61)])
def test_psnr_and_ssim_are_those_of_scikit_image(peak: int, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    one = random.integers(0, peak + 1, shape).astype(np.uint8 if peak == 255 else np.uint16)
    noise = random.normal(0, peak / 12, shape)
    other = (one + noise).clip(0, peak).astype(one.dtype)
    psnr = skimage.metrics.peak_signal_noise_ratio(one, other, data_range=peak)
    assert metrics.psnr(metrics.squared_error(one, other), peak) == pytest.approx(psnr, abs=1e-9)
    ssim = skimage.metrics.structural_similarity(one, other, data_range=peak)
    assert metrics.ssim(one, other, peak) == pytest.approx(ssim, abs=1e-9)


def test_equal_and_tiny_planes() -> None:
    plane = np.arange(36, dtype=np.uint8).reshape(6, 6)
    assert metrics.psnr(metrics.squared_error(plane, plane), 255) == math.inf
    assert math.isnan(metrics.ssim(plane, plane, 255))


def test_flicker_is_the_change_of_the_error() -> None:
    clean = np.full((8, 8), 100, np.uint16)
    moved = clean.copy()
    moved[:, 4:] += 50  # the right half changes, the left half stands still
    steady = [metrics.difference(frame + 12, frame) for frame in (clean, moved)]
    assert metrics.flicker(steady[1], steady[0], 1020) == 0
    errors = metrics.difference(clean + 4, clean), metrics.difference(moved, moved)
    assert metrics.flicker(errors[1], errors[0], 1020) == 1
    jumping = metrics.difference(clean, clean), metrics.difference(np.where(moved > 100, moved + 8, moved), moved)
    assert metrics.flicker(jumping[1], jumping[0], 1020) == 1
    assert metrics.flicker_still(jumping[1], jumping[0], moved, clean, 1020) == 0
