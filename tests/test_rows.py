"""Noise of rows and of columns: an offset that all samples of one share, another in every frame."""

from functools import partial

import pytest
import skimage.data
import torch
from rgb import PEAK, gain_of
from torch import Tensor

from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.noise.rows import with_offsets
from vnlsdenoise.video.frame import PlaneFormat

FRAMES, HEIGHT, WIDTH = 8, 128, 160
ROWS, WHITE = 4.0, 4.0


def photograph(name: str, down: int = 0, right: int = 0) -> Tensor:
    """[T, 3, H, W], still or passing by so many pixels a frame."""
    whole = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1).float()[:, ::2, ::2]
    return torch.stack([whole[:, down * t : down * t + HEIGHT, right * t : right * t + WIDTH] for t in range(FRAMES)])


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def noisy(clean: Tensor, offsets: Tensor, white: float = WHITE) -> Tensor:
    return (clean + offsets + white * drawn(*clean.shape, seed=2)).round().clamp(0, PEAK)


def of_rows(deviation: float = ROWS, channels: int = 1) -> Tensor:
    return deviation * drawn(FRAMES, channels, HEIGHT, 1)


def layout(family: str) -> PlaneFormat:
    return PlaneFormat(family, WIDTH, HEIGHT, 8)


def told(video: Tensor, white: float, device: str = "cpu") -> NoiseModel:
    """Beside white noise, of R, G and B or of grey."""
    channels = video.shape[1]
    noise = NoiseModel.of_sigma((white,) * channels)
    return with_offsets(noise, list(video.to(device)), list, layout("rgb" if channels == 3 else "gray"), PEAK)


def variances(noise: NoiseModel) -> Tensor:
    """[8, 8], of the only plane."""
    [plane] = noise.planes
    return plane.sigma**2 * torch.tensor(plane.spectrum).view(8, 8)


@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("picture", ["astronaut", "coffee"])
def test_they_are_told_beside_white_noise(picture, turned, device):
    """Their variance at every frequency along the columns, over 16 samples."""
    clean = photograph(picture, down=1, right=3)[:, 1:2]
    video = noisy(clean, of_rows())
    table = variances(told(video.mT if turned else video, WHITE, device))
    table = table.T if turned else table
    assert (table[:, 0].mean() - table[:, 2:].mean()) / 16 == pytest.approx(ROWS**2, rel=0.2)
    assert table[:, 0].min() > 0.4 * table[:, 0].mean()
    assert float(table[:, 1:].mean()) == pytest.approx(WHITE**2, rel=0.01)


def test_weak_ones_are_told_under_strong_noise():
    clean = photograph("coffee", right=2)[:, 1:2]
    table = variances(told(noisy(clean, of_rows(10 / 3), white=10.0), 10.0))
    assert (table[:, 0].mean() - table[:, 2:].mean()) / 16 == pytest.approx(100 / 9, rel=0.25)


def test_those_of_a_mosaic_of_colours_are_told_by_frequency():
    """Of a colour that only every second row has, the others are made: neighbours are alike."""
    own = of_rows()
    own[..., 1::2, :] = (own[..., ::2, :] + own[..., ::2, :].roll(-1, -2)) / 2
    table = variances(told(noisy(photograph("coffee", right=2)[:, 1:2], own), WHITE))
    assert table[1:4, 0].mean() > 2.5 * table[5:, 0].mean()


@pytest.mark.parametrize("own", [False, True], ids=["shared", "of each channel"])
def test_r_g_and_b_tell_what_they_share(own):
    noise = told(noisy(photograph("astronaut"), of_rows(channels=3 if own else 1)), WHITE)
    total, *differences = (
        (unit * noise.sigma[1]) ** 2 * torch.tensor(spectrum or (1.0,) * 64).view(8, 8)[:, 0].mean() / 16
        for unit, spectrum in zip(noise.opponent, noise.opponent_spectra, strict=True)
    )
    assert float(total) == pytest.approx(ROWS**2 * (1 if own else 3) + 1, rel=0.25)
    for difference in differences:
        assert float(difference) == pytest.approx(ROWS**2 * own + 1, rel=0.25)


@pytest.mark.parametrize(("picture", "turned"), [("coffee", False), ("chelsea", True)])
def test_they_are_removed(picture, turned):
    """More than by any white deviation; that of the white noise alone, which was told, brings 2.5 dB."""
    clean = photograph(picture, right=2)
    video = noisy(clean, of_rows())
    clean, video = (side[:6, :, :96, :128] for side in (clean, video))
    if turned:
        clean, video = clean.mT, video.mT
    noise = measure_noise(list(video), list, PlaneFormat("rgb", video.shape[3], video.shape[2], 8), PEAK)
    best = max(gain_of(NoiseModel.of_sigma((sigma,) * 3), video, clean) for sigma in (12.0, 18.0))
    assert gain_of(noise, video, clean) > best + 0.5


def jittering(clean: Tensor) -> Tensor:
    """Stripes over the picture that stand higher or lower in every frame."""
    rows = torch.arange(HEIGHT)[:, None] + 3 * drawn(FRAMES, 1, 1, 1)
    return clean + 10 * torch.sin(rows)


def passing(clean: Tensor) -> Tensor:
    """Blinds that pass by 2.3 rows a frame."""
    rows = torch.arange(HEIGHT)[:, None] + 2.3 * torch.arange(FRAMES)[:, None, None, None]
    return clean + 10 * torch.sin(rows).sign()


def flickering(clean: Tensor) -> Tensor:
    """Every field as bright as it happens to be."""
    return clean * (1 + 0.1 * drawn(FRAMES, 1, HEIGHT // 2, 1)[:, :, :2].repeat(1, 1, HEIGHT // 2, 1))


def standing(clean: Tensor) -> Tensor:
    return clean + of_rows()[:1]


def partly(clean: Tensor) -> Tensor:
    """In a part of the picture only."""
    return clean + torch.cat((of_rows()[..., : HEIGHT // 2, :], torch.zeros(FRAMES, 1, HEIGHT // 2, 1)), 2)


def flashing(clean: Tensor) -> Tensor:
    """A flash that has begun in the midst of a frame, and ended in that of the next."""
    lit = torch.zeros(FRAMES, 1, HEIGHT, 1)
    lit[3, :, HEIGHT // 3 :] = lit[4, :, : HEIGHT // 3] = 60
    return clean + lit


@pytest.mark.parametrize("scene", [jittering, passing, flickering, standing, partly, flashing])
@pytest.mark.parametrize("white", [0.0, WHITE])
def test_what_is_in_the_picture_is_none(scene, white):
    video = noisy(scene(photograph("astronaut", down=1)), torch.zeros(1), white)
    assert not told(video, max(white, 0.5)).correlated


@pytest.mark.parametrize("picture", ["astronaut", "coffee"])
@pytest.mark.parametrize("down", [0, 1, 7])
@pytest.mark.parametrize("white", [0.0, 1.0, WHITE, 20.0])
def test_clean_and_white_scenes_have_none(picture, down, white):
    video = noisy(photograph(picture, down=down, right=2), torch.zeros(1), white)
    assert not told(video, max(white, 0.5)).correlated


def test_a_plane_without_them_keeps_its_noise():
    """Of luma and chroma each is asked by itself."""
    generator = partial(torch.randn, generator=torch.Generator().manual_seed(3))
    luma = noisy(photograph("coffee")[:, 1:2], of_rows())[:, 0]
    chroma = 128 + generator(2, FRAMES, HEIGHT // 2, WIDTH // 2)
    noise = NoiseModel.of_sigma((WHITE, 1.0, 1.0))
    found = with_offsets(
        noise, range(FRAMES), lambda t: [luma[t], *chroma[:, t]], PlaneFormat("yuv", WIDTH, HEIGHT, 8, 1, 1), PEAK
    )
    assert found.planes[0].correlated and found.planes[1:] == noise.planes[1:]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_few_frames_prove_none(frames):
    video = noisy(photograph("coffee"), of_rows())[:frames]
    assert not told(video, WHITE).correlated
