"""The simulated camera, whose noise the network is trained on and benchmarks measure."""

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from vnlsdenoise.noise.camera import Camera, _demosaiced, _mosaic, mean_of_noisy


@pytest.fixture(scope="module")
def picture():
    return torch.from_numpy(skimage.data.coffee()[:200, :240].astype(np.float32) / 255).permute(2, 0, 1).contiguous()


def generator(device="cpu"):
    return torch.Generator(device).manual_seed(1)


def test_demosaicing_along_edges_is_that_of_opencv(picture):
    raw = (_mosaic(picture**2.2) * 49152).round()
    theirs = cv2.cvtColor(raw.numpy().astype(np.uint16), cv2.COLOR_BayerRG2RGB_EA)[..., ::-1].astype(np.float32)
    ours = _demosaiced(raw, edge_aware=True).permute(1, 2, 0).numpy()
    inside = np.abs(ours - theirs)[1:-1, 1:-1]
    assert np.mean(inside > 1) < 0.01  # where it changes by the same both ways, either may be taken


def test_a_colour_is_kept_where_there_is_no_noise(picture):
    flat = torch.tensor([0.3, 0.5, 0.7])[:, None, None].expand(3, 64, 64)
    for camera in (
        Camera(0, 0),
        Camera(0, 0, edge_aware=False, balance=(2.0, 1.5), saturation=0.6, gamma=2.0, scale=1.5, sharpening=0.5),
    ):
        for shown in camera.recorded(flat, generator()):
            torch.testing.assert_close(shown, flat, atol=2e-3, rtol=0)
    noisy, wanted = Camera(0, 0).recorded(picture, generator())
    torch.testing.assert_close(noisy, wanted, atol=1e-6, rtol=0)


def test_noise_grows_with_gain_and_is_correlated(picture, device):
    deviations = []
    for gain in (0.001, 0.01):
        noisy, wanted = Camera(gain, gain / 2).recorded(picture.to(device), generator(device))
        noise = noisy - wanted
        deviations.append(float(noise.std()))
        neighbours = float((noise[..., 1:] * noise[..., :-1]).mean() / noise.var())
        assert neighbours > 0.1
    assert 2 < deviations[1] / deviations[0] < 5


def test_reduction_takes_colour_away_where_it_is_flat():
    flat = torch.full((3, 128, 128), 0.5)
    plain, reduced = (
        camera.recorded(flat, generator())
        for camera in (Camera(0.01, 0.005), Camera(0.01, 0.005, reduction=(0.5, 1.0), grain=(1.0, 3.0)))
    )
    (before, luma_before), (after, luma_after) = (
        (float((n - w - (n - w).mean(0)).std()), float((n - w).mean(0).std())) for n, w in (plain, reduced)
    )
    assert after < 0.5 * before and 0.5 * luma_before < luma_after < 0.9 * luma_before


def test_the_mean_of_clipped_noise_is_found():
    clean = torch.rand(4, 3, 100, 100)
    noisy = (clean + 0.2 * torch.randn(clean.shape, generator=generator())).clamp(0, 1)
    centre = mean_of_noisy(clean, noisy)
    dark, middle, bright = clean < 0.05, (clean - 0.5).abs() < 0.1, clean > 0.95
    for place in (dark, middle, bright):
        assert abs(float((noisy - centre)[place].mean())) < 0.005
    assert float((centre - clean)[dark].mean()) > 0.04 and float((centre - clean)[bright].mean()) < -0.04
