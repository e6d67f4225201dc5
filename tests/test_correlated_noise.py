"""Noise that is correlated between neighbouring pixels: measured, told from white noise and from texture, removed."""

import pytest
import torch
from test_noise import PEAK, gradient, noisy, textured
from torch import Tensor

import vnlsdenoise
from vnlsdenoise.noise import NoiseModel, PlaneNoise, measure_plane, synthesis
from vnlsdenoise.noise.estimate import measure_intensities
from vnlsdenoise.noise.whiten import Whitener


def blurred(image: Tensor, sigma: float, frames: int = 8, seed: int = 0) -> Tensor:
    return image + synthesis.correlated((frames, *image.shape), sigma, torch.Generator().manual_seed(seed))


def binomial_spectrum() -> Tensor:
    """[8, 8]: variance of the 3x3 binomial filter's noise at the frequencies of an 8x8 DCT, of mean 1."""
    table = ((1 + torch.cos(torch.pi * torch.arange(8) / 8)) / 2) ** 2
    table = torch.outer(table, table)
    return table / table.mean()


@pytest.mark.parametrize("sigma", [8.0, 15.0, 30.0])
def test_spectrum_and_deviation_are_recovered(device, sigma):
    noise = measure_plane(blurred(gradient(320, 480), sigma).to(device), peak=PEAK)
    assert noise.correlated
    assert noise.sigma == pytest.approx(sigma, rel=0.06)
    found = torch.tensor(noise.spectrum).view(8, 8)
    # A block's finite size smears the true spectrum: most where it is smallest.
    assert torch.allclose(found[1:5, 1:5], binomial_spectrum()[1:5, 1:5], rtol=0.15)


@pytest.mark.parametrize("content", [gradient, textured])
@pytest.mark.parametrize("seed", range(10))
def test_white_noise_stays_white(device, content, seed):
    torch.manual_seed(seed)
    for sigma in (5.0, 20.0):
        planes = noisy(content(), sigma, 8).to(device)
        assert measure_plane(planes, peak=PEAK) == measure_intensities(planes, peak=PEAK)


def test_texture_without_noise_is_no_noise(device):
    assert not measure_plane(textured().expand(4, -1, -1).contiguous().to(device), peak=PEAK).correlated


@pytest.mark.parametrize("step", [2, 4])
def test_texture_that_looks_like_noise_but_moves_is_none(device, step):
    """The same pattern in every frame, a little further on: only that it does not change tells it from noise."""
    pattern = blurred(gradient(240, 320), 15.0, frames=1)[0]
    planes = torch.stack([pattern.roll(step * t, 1) for t in range(6)])
    planes = planes + 0.3 * torch.randn(planes.shape)
    assert not measure_plane(planes.to(device), peak=PEAK).correlated
    assert measure_plane(planes[:1].to(device), peak=PEAK).correlated


def test_whitener_whitens_and_undoes_itself(device):
    whitener = Whitener(tuple(binomial_spectrum().clamp_min(1 / 256).flatten().tolist()))
    planes = blurred(torch.zeros(61, 90), 20.0, frames=1)[0].to(device)
    white = whitener.forward(planes)
    assert (whitener.back(white) - planes).abs().max() < 0.01
    neighbors = (white[:, 1:] * white[:, :-1]).mean() / white.square().mean()
    before = (planes[:, 1:] * planes[:, :-1]).mean() / planes.square().mean()
    assert before > 0.6 and abs(neighbors) < 0.25
    assert torch.equal(Whitener(()).forward(planes), planes)


def test_correlated_noise_is_removed(device):
    clean = gradient(64, 80)
    video = blurred(clean, 20.0, frames=4)[:, None].to(device)
    noise = measure_intensities(video[:, 0], peak=PEAK)
    white = vnlsdenoise.denoise(video, NoiseModel((noise,)), preset="fast", peak=PEAK, scene_cuts=False)
    everything = vnlsdenoise.denoise(video, preset="fast", peak=PEAK, scene_cuts=False)
    again = vnlsdenoise.denoise(video, preset="fast", peak=PEAK, scene_cuts=False)
    errors = [float((out[:, 0].cpu() - clean).square().mean()) for out in (white, everything)]
    assert errors[1] < errors[0] / 10
    assert torch.equal(everything, again)


def test_planes_of_no_noise_are_exact(device):
    video = blurred(gradient(64, 80), 20.0, frames=3)[:, None].repeat(1, 3, 1, 1).to(device)
    spectrum = tuple(binomial_spectrum().clamp_min(1 / 256).flatten().tolist())
    noise = NoiseModel(tuple(PlaneNoise(20.0, spectrum=spectrum).times(factor) for factor in (1, 0, 1)))
    out = vnlsdenoise.denoise(video, noise, preset="fast", peak=PEAK, scene_cuts=False)
    assert torch.equal(out[:, 1], video[:, 1]) and not torch.equal(out[:, 0], video[:, 0])


def test_the_model_says_it():
    noise = NoiseModel((PlaneNoise(5.0, spectrum=(1.0,) * 64),))
    assert noise.describe() == "sigma 5.00, correlated"
    assert noise.as_dict()["correlated"] and noise.as_dict()["planes"][0]["spectrum"] == [1.0] * 64
    with pytest.raises(ValueError, match="64 or 256 variances"):
        PlaneNoise(5.0, spectrum=(1.0,))
