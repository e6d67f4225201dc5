"""Noise that was clipped in R, G and B before they became luma and chroma: told, and undone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import write_clip
from test_noise import PEAK
from torch import Tensor

from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.noise.clipped_rgb import Unclipper, measure_clipped_rgb
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.noise.model import ClippedRgb, NoiseModel, PlaneNoise
from vnlsdenoise.planes import code_range, luma_weights, planes_to_tensors
from vnlsdenoise.video.frame import Frame, PlaneFormat
from vnlsdenoise.video.read import VideoReader

SD = PlaneFormat("yuv", 256, 192, 8, 1, 1)
FULL = PlaneFormat("yuv", 256, 192, 8, 1, 1, full_range=True)


def to_yuv(rgb: Tensor, layout: PlaneFormat) -> list[Tensor]:
    """R, G and B of 0 .. 1, [T, 3, H, W], as planes [T, h, w] in code values, chroma the mean over its pixels."""
    weights = luma_weights(layout)
    assert weights is not None
    black, white, span = code_range(layout, layout.peak)
    red, green, blue = rgb.unbind(1)
    luma = weights[0] * red + weights[1] * green + weights[2] * blue
    differences = [(blue - luma) / (2 - 2 * weights[2]), (red - luma) / (2 - 2 * weights[0])]
    shared = (1 << layout.chroma_y, 1 << layout.chroma_x)
    chroma = [torch.nn.functional.avg_pool2d(plane, shared, ceil_mode=True) for plane in differences]
    return [black + (white - black) * luma, *((layout.peak + 1) / 2 + span * plane for plane in chroma)]


def dark_and_bright(frames: int = 6) -> Tensor:
    """Grey steps with a little colour from black to white, [T, 3, 192, 256] of 0 .. 1."""
    steps = torch.tensor([0.0, 0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 1.0, 1.0])
    grey = steps.repeat_interleave(16).expand(192, 256)
    tint = 0.02 * torch.linspace(0, 1, 192)[:, None]
    return torch.stack([grey, grey + tint, grey + tint / 2]).clamp(0, 1).expand(frames, 3, 192, 256)


def noisy_codes(layout: PlaneFormat, sigma: float, clip: bool) -> list[Tensor]:
    rgb = dark_and_bright()
    rgb = rgb + sigma * torch.randn_like(rgb)
    rgb = rgb.clamp(0, 1) if clip else rgb
    return [plane.round().clamp(0, layout.peak) for plane in to_yuv(rgb, layout)]


@pytest.mark.parametrize("layout", [SD, FULL, PlaneFormat("yuv", 256, 192, 10, 0, 0, matrix=9)], ids=str)
@pytest.mark.parametrize("sigma", [0.06, 0.12, 0.2])
def test_clipped_noise_is_told_from_the_luma(layout, sigma, device):
    luma = noisy_codes(layout, sigma, clip=True)[0].to(device)
    found = measure_clipped_rgb(luma, layout, layout.peak, 1.0)
    assert found is not None
    assert found.black
    assert found.white
    assert found.noise.sigma == pytest.approx(sigma, rel=0.06)


@pytest.mark.parametrize("sigma", [0.06, 0.12])
def test_noise_that_goes_beyond_black_was_not_clipped(sigma, device):
    # Limited range has room for it there.
    luma = noisy_codes(SD, sigma, clip=False)[0].to(device)
    assert measure_clipped_rgb(luma, SD, PEAK, 1.0) is None


def test_photon_noise_that_ends_at_black_was_not_clipped(device):
    level = 16 + 219 * dark_and_bright()[:, 0]
    luma = level + (2.0 * (level - 16)).sqrt() * torch.randn_like(level)
    assert measure_clipped_rgb(luma.to(device), SD, PEAK, 1.0) is None


@pytest.mark.parametrize("layout", [SD, FULL], ids=str)
def test_a_luma_that_was_clipped_itself_comes_to_the_same(layout, device):
    black, white, _ = code_range(layout, PEAK)
    luma, *chroma = to_yuv(dark_and_bright(), layout)
    luma = (luma + 20 * torch.randn_like(luma)).round().clamp(black, white)
    planes = [plane.to(device) for plane in (luma, *chroma)]
    noise = measure_noise(list(zip(*planes, strict=True)), list, layout, PEAK)
    assert noise.clipped_rgb is not None
    assert noise.clipped_rgb.noise.sigma == pytest.approx(20 / (white - black), rel=0.06)
    assert not noise.planes[0].clipped  # else it would be undone twice


def test_noise_that_r_g_and_b_share(device):
    rgb = dark_and_bright()
    rgb = (rgb + 0.12 * torch.randn(6, 1, 192, 256) + 0.01 * torch.randn_like(rgb)).clamp(0, 1)
    found = measure_clipped_rgb(to_yuv(rgb, SD)[0].round().to(device), SD, PEAK, 0.05)
    assert found is not None
    assert found.noise.sigma == pytest.approx(0.12, rel=0.06)


@pytest.mark.parametrize("shared", [False, True])
def test_of_one_brightness_alone_chroma_tells(shared, device):
    rgb = 0.15 + 0.12 * torch.randn(6, 1 if shared else 3, 192, 256).expand(6, 3, 192, 256)
    planes = [plane.round().to(device) for plane in to_yuv(rgb.clamp(0, 1), SD)]
    noise = measure_noise(list(zip(*planes, strict=True)), list, SD, PEAK)
    assert noise.clipped_rgb is not None
    assert noise.clipped_rgb.noise.sigma == pytest.approx(0.12, rel=0.1)


def test_one_end_alone(device):
    codes = noisy_codes(SD, 0.12, clip=True)[0]
    beyond = noisy_codes(SD, 0.12, clip=False)[0]
    luma = torch.where(torch.arange(256) < 128, codes, beyond).to(device)
    found = measure_clipped_rgb(luma, SD, PEAK, 1.0)
    assert found is not None
    assert (found.black, found.white) == (True, False)


@pytest.mark.parametrize(
    "layout",
    [
        PlaneFormat("gray", 256, 192, 8),
        PlaneFormat("rgb", 256, 192, 8),
        PlaneFormat("yuv", 256, 192, 8, 1, 1, matrix=8),
    ],
)
def test_only_sums_of_r_g_and_b_can_tell(layout):
    assert measure_clipped_rgb(noisy_codes(SD, 0.12, clip=True)[0], layout, PEAK, 1.0) is None


def test_a_clean_dark_picture_has_none(device):
    luma = to_yuv(dark_and_bright(), SD)[0] + 0.3 * torch.randn(6, 192, 256)
    assert measure_clipped_rgb(luma.round().clamp(16, 235).to(device), SD, PEAK, 1.0) is None


def means_of_clipped(rgb: Tensor, sigma: float) -> Tensor:
    """The mean of clipped noisy samples, from many draws."""
    total = torch.zeros_like(rgb)
    for _ in range(4000):
        total += (rgb + sigma * torch.randn_like(rgb)).clamp(0, 1)
    return total / 4000


@pytest.mark.parametrize(
    "layout",
    [
        PlaneFormat("yuv", 17, 31, 8, 1, 1),
        PlaneFormat("yuv", 16, 9, 8, 1, 0, matrix=1, full_range=True),
        PlaneFormat("yuv", 15, 8, 10, 0, 0, matrix=9),
    ],
    ids=str,
)
def test_what_clipping_did_is_undone(layout, device):
    """Uniform colours, so that chroma that is shared is that of every sample."""
    undo = Unclipper(ClippedRgb(PlaneNoise(0.2, clipped=True), True, True), layout, layout.peak)
    for colour in ([0.0, 0.0, 0.0], [0.1, 0.05, 0.3], [0.5, 0.02, 0.9], [1.0, 0.9, 0.95], [0.5, 0.45, 0.55]):
        rgb = torch.tensor(colour, dtype=torch.float64)[None, :, None, None].expand(1, 3, layout.height, layout.width)
        mean = means_of_clipped(torch.tensor(colour, dtype=torch.float64), 0.2)[None, :, None, None].expand_as(rgb)
        got = undo(*(plane[0].float().to(device) for plane in to_yuv(mean, layout)))
        for plane, want in zip(got, to_yuv(rgb, layout), strict=True):
            assert plane.shape == want.shape[1:]
            assert plane.cpu() == pytest.approx(want[0].float(), abs=0.012 * layout.peak)


def test_away_from_black_and_white_nothing_changes(device):
    planes = [110 + 30 * torch.rand(h, w, device=device) for h, w in SD.plane_shapes]
    undo = Unclipper(ClippedRgb(PlaneNoise(0.05, clipped=True), True, True), SD, PEAK)
    for got, plane in zip(undo(*planes), planes, strict=True):
        assert got.cpu() == pytest.approx(plane.cpu(), abs=1e-3)


@pytest.mark.parametrize("black", [True, False])
def test_an_end_that_was_not_clipped_is_left_alone(black, device):
    luma = torch.cat((torch.full((96, 256), 20.0), torch.full((96, 256), 231.0))).to(device)
    chroma = torch.full((96, 128), 128.0, device=device)
    got = Unclipper(ClippedRgb(PlaneNoise(0.1, clipped=True), black, not black), SD, PEAK)(luma, chroma, chroma)[0]
    changed = (got - luma).abs().mean(1) > 1
    assert changed.tolist() == [black] * 96 + [not black] * 96


def noisy_frames(layout: PlaneFormat, sigma: float = 0.16) -> list[Frame]:
    dtype = np.uint8 if layout.depth == 8 else np.uint16
    codes = [plane.numpy().astype(dtype) for plane in noisy_codes(layout, sigma, clip=True)]
    return [Frame(tuple(plane[index] for plane in codes), index, 1) for index in range(len(codes[0]))]


def denoised(frames: list[Frame], layout: PlaneFormat = SD, **changes: object) -> list[Frame]:
    settings = replace(DenoiseSettings(None, preset="fast", device="cpu"), **changes)
    return list(denoise_frames(frames, layout, settings))


def black_of(frames: list[Frame]) -> float:
    return float(np.mean([frame.planes[0][:, 4:28].mean() for frame in frames]))


@pytest.mark.parametrize(
    "layout",
    [
        SD,
        FULL,
        PlaneFormat("yuv", 256, 192, 8, 1, 0),
        PlaneFormat("yuv", 256, 192, 10, 0, 0, matrix=9),
    ],
    ids=str,
)
def test_dark_and_bright_areas_come_back(layout):
    """Whether the noise is measured, taken for white, or given."""
    frames, clean = noisy_frames(layout), to_yuv(dark_and_bright(), layout)
    code, black = (layout.peak + 1) / 256, float(clean[0][:, :, 4:28].mean())
    assert black_of(frames) > black + 10 * code
    given = tuple(float((a - b).std()) for a, b in zip(noisy_codes(layout, 0.16, clip=False), clean, strict=True))
    ways: tuple[dict[str, object], ...] = ({}, {"noise_model": "white"}, {"sigma": given})
    for way in ways:
        whole = denoised(frames, layout, **way)
        assert abs(black_of(whole) - black) < 1.5 * code
        errors = [
            np.mean([(frame.planes[0] - clean[0][index].numpy()) ** 2 for index, frame in enumerate(result)])
            for result in (frames, whole)
        ]
        assert 10 * np.log10(errors[0] / errors[1]) > 9


def test_a_luma_beside_chroma_that_is_kept_comes_back_too():
    frames = noisy_frames(SD)
    luma_alone = denoised(frames, strength=(1.0, 0.0, 0.0))
    assert all(np.array_equal(a.planes[1], b.planes[1]) for a, b in zip(luma_alone, frames, strict=True))
    assert abs(black_of(luma_alone) - black_of(denoised(frames))) < 1.5


def test_strength_does_not_undo_it_twice():
    frames = noisy_frames(SD)
    # The step of 0.1, at 38, which noise had made 45, and undoing more than it did would make 28.
    once, stronger = (denoised(frames, strength=strength) for strength in (None, (1.5, 1.5, 1.5)))
    levels = [np.mean([frame.planes[0][:, 68:76].mean() for frame in result]) for result in (once, stronger)]
    assert levels == pytest.approx([39, 39], abs=4)
    noise = measure_noise(frames, lambda frame: planes_to_tensors(frame.planes, "cpu"), SD, PEAK)
    half = noise.times((0.5, 1.0, 1.0)).clipped_rgb
    assert noise.clipped_rgb is not None and half is not None
    assert half.noise.sigma == pytest.approx(noise.clipped_rgb.noise.sigma / 2)


@pytest.mark.parametrize(("pix_fmt", "tags"), [("yuv420p", (9, 1)), ("yuvj420p", (1, 2)), ("yuv420p10le", (6, 2))])
def test_a_file_says_what_its_samples_mean(pix_fmt, tags, tmp_path):
    matrix, range = tags
    encoder = "mjpeg" if "j" in pix_fmt else "ffv1"
    write_clip(tmp_path / "in.mkv", pix_fmt, encoder, colorspace=matrix, color_range=range)
    format = VideoReader(tmp_path / "in.mkv").info.format
    # Motion JPEG is BT.601, whatever is asked for.
    assert (format.matrix, format.full_range) == (5 if "j" in pix_fmt else matrix, range == 2)


def test_it_is_told_to_the_reader():
    rgb = ClippedRgb(PlaneNoise(0.2, clipped=True), black=True, white=False)
    noise = NoiseModel((PlaneNoise(20.0),) * 3, clipped_rgb=rgb)
    assert noise.describe() == "sigma 20.00, 20.00, 20.00, clipped"
    told = noise.as_dict()["clipped_rgb"]
    assert (told["black"], told["white"], told["noise"]["sigma"]) == (True, False, 51.0)
    assert NoiseModel.of_sigma((20.0,)).as_dict()["clipped_rgb"] is None


@pytest.mark.parametrize(
    ("width", "height", "matrix", "weights"),
    [
        (1920, 1080, 2, (0.2126, 0.7152, 0.0722)),
        (720, 576, 2, (0.299, 0.587, 0.114)),
        (720, 576, 9, (0.2627, 0.678, 0.0593)),
    ],
)
def test_a_matrix_that_is_not_told_is_the_usual_one(width, height, matrix, weights):
    assert luma_weights(PlaneFormat("yuv", width, height, 8, 1, 1, matrix)) == pytest.approx(weights)
