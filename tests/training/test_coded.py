"""Coded noise in training: what the network is given is what the denoiser would give it of such a video."""

import numpy as np
import pytest
import skimage.data
import torch

from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.errors import InputError
from vnlsdenoise.training import coded
from vnlsdenoise.training.coded import Coded, PartlyCoded, coded_mosaic
from vnlsdenoise.training.degradation import Degraded, Mixture
from vnlsdenoise.training.footage import Footage
from vnlsdenoise.training.scenery import Grid, Scenery

GRID = Grid(1, 2, 96, 96)
TIMES = 6


@pytest.fixture(scope="module")
def scenery():
    photos = [skimage.data.coffee()[100:300, 100:300], skimage.data.astronaut()[:200, 100:300]]
    clips = [np.stack([p[t : t + 150, t : t + 150] for t in range(TIMES)]).transpose(0, 3, 1, 2) for p in photos]
    return Scenery(Footage([np.ascontiguousarray(clip) for clip in clips], torch.device("cpu")), GRID, TIMES)


@pytest.mark.parametrize("layout", ["444", "420", "gray"])
def test_channels_are_in_units_of_coded_noise(device, scenery, layout):
    clean = scenery.draw(np.random.default_rng(0)).to(device)
    found = coded_mosaic(clean, layout, 25.0, 20, "veryfast", 1)
    planes = {"444": (3, 0), "420": (1, 2), "gray": (1, 0)}[layout]
    sizes = [(TIMES, planes[0], 96, 192)] + ([(TIMES, planes[1], 48, 96)] if planes[1] else [])
    assert [list(c.shape) for c in found.noisy] == [list(c.shape) for c in found.wanted] == [list(s) for s in sizes]
    # Luma's noise is measured right within a factor; chroma of a codec hardly can be.
    spread = float((found.noisy[0][:, 0] - found.wanted[0][:, 0]).std())
    assert 0.5 < spread < 2
    # What is wanted is the clean picture: between what was noisy and it lies no shift.
    assert abs(float((found.noisy[0][:, 0] - found.wanted[0][:, 0]).mean())) < 0.1 * spread
    assert len(found.scale) == len(found.centre) == sum(planes)


def test_what_is_wanted_comes_back_as_the_clean_planes(scenery, monkeypatch):
    """Through the denoiser's own way back, with no correction between."""
    made = []

    class Watched(PlanarDenoiser):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(coded, "PlanarDenoiser", Watched)
    clean = scenery.draw(np.random.default_rng(0))
    found = coded_mosaic(clean, "gray", 10.0, 22, "veryfast", 1)
    [denoiser] = made
    back = denoiser._stabilisers[0].back(denoiser._whiteners[0].back(found.wanted[0][2, 0]))
    weights = torch.tensor([0.299, 0.587, 0.114])  # of Rec. 601, which libswscale takes for video of this size
    luma = 16 + 219 * (clean[2] * weights[:, None, None]).sum(0)
    assert float((back - luma).abs().mean()) < 1.5


def test_a_share_of_the_mosaics_is_coded(scenery, monkeypatch):
    asked = []
    monkeypatch.setattr(coded, "coded_mosaic", lambda *arguments: asked.append(arguments))  # finds no noise
    partly = PartlyCoded(Degraded(scenery, "gray", Mixture()), scenery, 0.5)
    drawn = [partly.draw(np.random.default_rng(seed)) for seed in range(12)]
    assert 2 < len(asked) < 10 and len(drawn) == 12
    with pytest.raises(InputError, match="coded noise cannot be told"):
        Coded(scenery, "gray", 20, 22).draw(np.random.default_rng(0))
