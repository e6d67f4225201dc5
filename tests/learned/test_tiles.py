"""Tiles: laid out by the size of the picture, and no border between them shows."""

import pytest
import skimage.data
import torch

from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.learned import tiles
from vnlsdenoise.learned.checkpoint import load_network
from vnlsdenoise.learned.network import ALIGNMENT, Dimensions, Network
from vnlsdenoise.learned.tiles import map_size, reach, tiles_of
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

DIMENSIONS = Dimensions((8, 12, 16), 1, (1, 0, 1), 1)
SIGMA = 20.0


def denoised(layout, noisy, network):
    """[T] of planes, moved by the network: in units of the noise, far more than rounding."""
    noise = NoiseModel.of_sigma((SIGMA,) * len(layout.plane_shapes))
    denoiser = PlanarDenoiser(layout, noise, PRESETS["fast"], peak=255, network=network)
    return [planes for frame in noisy for planes in denoiser.push(list(frame))] + list(denoiser.flush())


def clip(layout, frames):
    """A photograph under a moving camera, and it with noise."""
    photo = torch.from_numpy(skimage.data.astronaut()).float().permute(2, 0, 1)
    clean = []
    for t in range(frames):
        shown = photo[:, 40 + t :, 60 + 3 * t :]
        clean.append([shown[i, :h, :w].clone() for i, (h, w) in enumerate(layout.plane_shapes)])
    return clean, [[p + SIGMA * torch.randn_like(p) for p in planes] for planes in clean]


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (2160, 3840), (4320, 7680), (2170, 2185), (8, 8)])
def test_cores_are_the_whole_picture_once_and_stay_small(height, width):
    down, across = map_size(height, width)
    covered = torch.zeros(down, across, dtype=torch.int32)
    found = tiles_of(height, width, DIMENSIONS)
    for tile in found:
        covered[tile.rows.core(), tile.columns.core()] += 1
        for span, side in ((tile.rows, down), (tile.columns, across)):
            assert span.first % (ALIGNMENT // 2) == span.last % (ALIGNMENT // 2) == 0
            assert span.end - span.start <= tiles.LARGEST
            assert span.first == 0 or span.start - span.first >= reach(DIMENSIONS)
            assert span.last == side or span.last - span.end >= reach(DIMENSIONS)
    assert bool((covered == 1).all())
    assert len(found) == {1920: 1, 3840: 2, 7680: 8, 2185: 2, 8: 1}[width]


@pytest.mark.parametrize(
    "layout",
    [
        PlaneFormat("yuv", 203, 150, 8, 1, 1),
        PlaneFormat("yuv", 203, 150, 8, 1, 0),
        PlaneFormat("rgb", 150, 133, 8),
        PlaneFormat("gray", 133, 150, 8),
    ],
    ids=lambda layout: f"{layout.family}-{layout.chroma_x}{layout.chroma_y}",
)
def test_tiles_have_the_values_of_the_whole(layout, monkeypatch):
    network = Network(DIMENSIONS)
    for tail in network.tails.values():
        torch.nn.init.normal_(tail.conv.weight, std=0.3)
    network = network.eval().requires_grad_(False)
    _, noisy = clip(layout, 4)
    whole, classic = denoised(layout, noisy, network), denoised(layout, noisy, None)

    def furthest(one, other):
        return max(
            float((a - b).abs().max()) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
        )

    monkeypatch.setattr(tiles, "LARGEST", 32)
    assert len(tiles_of(layout.height, layout.width, DIMENSIONS)) >= 4
    moved, apart = furthest(whole, classic), furthest(denoised(layout, noisy, network), whole)
    assert moved > SIGMA / 10
    assert apart < 1e-4 * moved
    monkeypatch.setattr(tiles, "reach", lambda dimensions: 4)
    assert furthest(denoised(layout, noisy, network), whole) > 1e-3 * moved  # a margin that is too small shows


def test_the_shipped_network_is_no_worse_at_borders(monkeypatch):
    """The error beside the borders of tiles, against that of the same samples without tiles."""
    layout = PlaneFormat("gray", 320, 240, 8)
    clean, noisy = clip(layout, 3)
    network = load_network("small")
    whole = denoised(layout, noisy, network)
    monkeypatch.setattr(tiles, "LARGEST", 48)
    beside = torch.zeros(240, 320, dtype=torch.bool)
    for tile in tiles_of(240, 320, network.dimensions):
        for start, lines in ((2 * tile.rows.start, beside), (2 * tile.columns.start, beside.T)):
            lines[max(0, start - 8) : start + 8] |= start > 0
    assert 0.1 < float(beside.float().mean()) < 0.6

    def psnr(found):
        errors = torch.stack([(a - b)[beside] for [a], [b] in zip(found, clean, strict=True)])
        return float(10 * torch.log10(255**2 / errors.square().mean()))

    assert abs(psnr(denoised(layout, noisy, network)) - psnr(whole)) < 0.001  # dB
