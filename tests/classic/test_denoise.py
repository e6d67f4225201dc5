"""The whole denoiser through its Python front door."""

import numpy as np
import pytest
import skimage.data
import torch

import vnlsdenoise
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS, Level, Pass
from vnlsdenoise.errors import DeviceError, UsageError
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat


def clip(frames: int = 6, height: int = 96, width: int = 112) -> torch.Tensor:
    """A photograph under a moving camera: [T, 3, H, W], 0..255."""
    photo = torch.from_numpy(skimage.data.coffee().astype(np.float32)).permute(2, 0, 1)
    return torch.stack([photo[:, 80 + t : 80 + t + height, 150 + 2 * t : 150 + 2 * t + width] for t in range(frames)])


def psnr(video: torch.Tensor, clean: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / ((video - clean) ** 2).mean((1, 2, 3))).mean())


@pytest.mark.parametrize(("preset", "gain"), [("draft", 8.0), ("fast", 9.0), ("balanced", 9.3), ("best", 9.5)])
def test_presets_denoise(device, preset, gain):
    clean = clip()
    noisy = clean + 25 * torch.randn_like(clean)
    out = vnlsdenoise.denoise(noisy.to(device), 25.0, preset=preset).cpu()
    assert out.shape == noisy.shape
    assert psnr(out, clean) - psnr(noisy, clean) > gain


def test_presets_are_ordered_by_quality():
    clean = clip(8)
    noisy = clean + 30 * torch.randn_like(clean)
    fast, balanced, best = (
        psnr(vnlsdenoise.denoise(noisy, 30.0, preset=p), clean) for p in ("fast", "balanced", "best")
    )
    assert fast < balanced < best + 0.05


def test_motion_is_followed(device):
    """A camera that moves 9 pixels a frame: without flow the windows would miss."""
    photo = torch.from_numpy(skimage.data.coffee().astype(np.float32)).permute(2, 0, 1)
    clean = torch.stack([photo[:, 60:156, 40 + 9 * t : 168 + 9 * t] for t in range(7)])
    noisy = clean + 30 * torch.randn_like(clean)
    together = vnlsdenoise.denoise(noisy.to(device), 30.0, preset="fast").cpu()
    alone = torch.cat([vnlsdenoise.denoise(frame[None].to(device), 30.0, preset="fast").cpu() for frame in noisy])
    assert psnr(together, clean) > psnr(alone, clean) + 1.0


def test_sigma_is_estimated(device):
    clean = clip()
    noisy = clean + 20 * torch.randn_like(clean)
    known = vnlsdenoise.denoise(noisy.to(device), 20.0, preset="fast").cpu()
    blind = vnlsdenoise.denoise(noisy.to(device), preset="fast").cpu()
    assert psnr(blind, clean) > psnr(known, clean) - 0.15


@pytest.mark.parametrize(
    ("frames", "channels", "height", "width"),
    [(1, 3, 64, 64), (1, 1, 1, 1), (2, 3, 5, 7), (3, 1, 17, 31), (2, 3, 33, 129), (12, 1, 40, 40), (4, 3, 7, 200)],
)
def test_any_size_works(device, frames, channels, height, width):
    video = 100 + 10 * torch.randn(frames, channels, height, width, device=device)
    out = vnlsdenoise.denoise(video, 10.0, preset="fast")
    assert out.shape == video.shape
    assert bool(out.isfinite().all())
    assert float((out - 100).square().mean()) <= float((video - 100).square().mean()) * 1.001


@pytest.mark.parametrize("preset", PRESETS)
def test_the_batch_does_not_change_a_bit(device, preset):
    noisy = (clip(3, 70, 90) + 20 * torch.randn(3, 3, 70, 90)).to(device)
    whole = vnlsdenoise.denoise(noisy, 20.0, preset=preset)
    for batch in (1, 37):
        assert torch.equal(vnlsdenoise.denoise(noisy, 20.0, preset=preset, batch=batch), whole)


def test_repeats_and_thread_counts_do_not_change_a_bit(device):
    noisy = (clip(10) + 20 * torch.randn(10, 3, 96, 112)).to(device)
    first = vnlsdenoise.denoise(noisy, 20.0, preset="fast")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        second = vnlsdenoise.denoise(noisy, 20.0, preset="fast")
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first, second)


def test_the_scale_of_the_data_does_not_matter(device):
    noisy = (clip() + 20 * torch.randn(6, 3, 96, 112)).to(device)
    bytes_scale = vnlsdenoise.denoise(noisy, 20.0, preset="fast")
    unit_scale = vnlsdenoise.denoise(noisy / 255, 20.0 / 255, preset="fast")
    error = (unit_scale * 255 - bytes_scale).abs()
    assert float(error.mean()) < 0.02


def test_no_noise_gives_the_input_back(device):
    video = clip(3).to(device)
    assert torch.equal(vnlsdenoise.denoise(video, 0.0), video)
    out = vnlsdenoise.denoise(video + 5 * torch.randn_like(video), (0.0, 5.0, 5.0), preset="fast")
    assert out.shape == video.shape


def test_a_channel_without_noise_is_untouched(device):
    noisy = clip(3).to(device)
    noisy[:, 1:] += 10 * torch.randn_like(noisy[:, 1:])
    out = vnlsdenoise.denoise(noisy, (0.0, 10.0, 10.0), preset="fast")
    assert torch.equal(out[:, 0], noisy[:, 0])
    assert not torch.equal(out[:, 1], noisy[:, 1])


def test_half_precision_and_double_come_back_as_they_went(device):
    noisy = (clip(2, 40, 40) + 20 * torch.randn(2, 3, 40, 40)).to(device)
    for dtype in (torch.float16, torch.float64):
        assert vnlsdenoise.denoise(noisy.to(dtype), 20.0, preset="fast").dtype == dtype


@pytest.mark.needs_cuda
@pytest.mark.parametrize("preset", PRESETS)
def test_cuda_equals_the_cpu_within_rounding(preset):
    clean = clip(10)
    noisy = clean + 20 * torch.randn_like(clean)
    on_cpu = vnlsdenoise.denoise(noisy, 20.0, preset=preset)
    on_cuda = vnlsdenoise.denoise(noisy, 20.0, preset=preset, device="cuda").cpu()
    # Half-precision rounding, and now and then another choice between two patches as good.
    assert float((on_cpu - on_cuda).square().mean().sqrt()) < 1e-3 * 255
    assert abs(psnr(on_cpu, clean) - psnr(on_cuda, clean)) < 0.01


@pytest.mark.parametrize(
    ("family", "chroma_x", "chroma_y"),
    [("gray", 0, 0), ("yuv", 0, 0), ("yuv", 1, 1), ("yuv", 1, 0), ("yuv", 0, 1), ("rgb", 0, 0)],
)
@pytest.mark.parametrize(("height", "width"), [(71, 93), (18, 20)])
def test_planes_of_every_layout_keep_their_shapes_and_lose_noise(device, family, chroma_x, chroma_y, height, width):
    layout = PlaneFormat(family, width, height, 8, chroma_x, chroma_y)
    sigma = (20.0, 5.0, 10.0)[: len(layout.plane_shapes)]
    denoiser = PlanarDenoiser(layout, NoiseModel.of_sigma(sigma), PRESETS["fast"], peak=255)
    clean = [torch.full(shape, 90.0 + 20 * i, device=device) for i, shape in enumerate(layout.plane_shapes)]
    out = []
    for _ in range(5):
        noisy = [plane + s * torch.randn_like(plane) for plane, s in zip(clean, sigma, strict=True)]
        out.extend(denoiser.push(noisy))
    out.extend(denoiser.flush())
    assert len(out) == 5
    for planes in out:
        for plane, wanted, s in zip(planes, clean, sigma, strict=True):
            assert plane.shape == wanted.shape
            assert float((plane - wanted).std()) < s / 4


@pytest.mark.parametrize(("chroma_x", "chroma_y"), [(2, 0), (2, 2)])
def test_chroma_of_a_quarter_of_the_lines_or_columns_loses_noise(device, chroma_x, chroma_y):
    test_planes_of_every_layout_keep_their_shapes_and_lose_noise(device, "yuv", chroma_x, chroma_y, 71, 93)


def test_wrong_input_is_named():
    video = torch.zeros(2, 3, 8, 8)
    broken = video.clone()
    broken[0, 0, 1, 1:3] = torch.tensor([float("nan"), float("inf")])
    cases = [
        (TypeError, "video must be a floating-point torch.Tensor, got torch.uint8", (video.byte(), 1.0), {}),
        (ValueError, r"video must have shape \[T, 1 or 3, H, W\], got \[2, 2, 8, 8\]", (video[:, :2], 1.0), {}),
        (ValueError, "video must have shape", (video[:0], 1.0), {}),
        (ValueError, "sigma must be one or 3 finite values of at least 0", (video, (1.0, 2.0)), {}),
        (ValueError, "sigma must be one or 3", (video, -1.0), {}),
        (ValueError, "sigma must be one or 3", (video, float("nan")), {}),
        (ValueError, "sigma must be one or 3", (video, "strong"), {}),
        (TypeError, "torch.from_numpy", (video.numpy(), 1.0), {}),
        (TypeError, "dense on cpu or cuda, got torch.sparse_coo", (video.to_sparse(), 1.0), {}),
        (TypeError, "dense on cpu or cuda, got torch.strided on meta", (video.to("meta"), 1.0), {}),
        (ValueError, r"finite, got 2 sample\(s\)", (broken, 1.0), {}),
        (ValueError, "finite, got 2", (broken,), {}),
        (ValueError, "peak must be a finite value above 0", (video, 1.0), {"peak": 0}),
        (ValueError, "peak must be", (video, 1.0), {"peak": float("nan")}),
        (TypeError, "max_memory must be a number of bytes", (video, 1.0), {"max_memory": "4GiB"}),
        (ValueError, "device must be one such as", (video, 1.0), {"device": "best"}),
        (ValueError, "device must be cpu or cuda", (video, 1.0), {"device": "meta"}),
        (
            UsageError,
            "no such preset: 'slow'; there are: draft, fast, balanced, best",
            (video, 1.0),
            {"preset": "slow"},
        ),
        (UsageError, "no such method: 'magic'", (video, 1.0), {"method": "magic"}),
        (ValueError, "batch must be at least 1, got 0", (video, 1.0), {"batch": 0}),
    ]
    for error, message, arguments, options in cases:
        with pytest.raises(error, match=message):
            vnlsdenoise.denoise(*arguments, **options)
    with pytest.raises(ValueError, match="mix must have 2 weights, got 1"):
        Level(Pass(8, 32, 8, 9, 5), (Pass(8, 32, 8, 15, 7),), (1.0,))


def test_no_gradient_goes_through_and_sigma_comes_as_any_numbers():
    video = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = vnlsdenoise.denoise(video, 0.1, preset="draft")
    for sigma in ([0.1], (0.1, 0.1, 0.1), torch.tensor(0.1, dtype=torch.float64), np.full(3, 0.1)):
        got = vnlsdenoise.denoise(video.clone().requires_grad_(), sigma, preset="draft")
        assert not got.requires_grad and torch.equal(got, wanted)


def test_memory_is_any_whole_number():
    video = torch.rand(1, 1, 16, 16)
    ceilings = (1 << 30, np.int64(1 << 30))
    one, other = (vnlsdenoise.denoise(video, 0.1, preset="draft", max_memory=ceiling) for ceiling in ceilings)
    assert torch.equal(one, other)


def test_a_gpu_beyond_those_there_are_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="no device cuda:2: there are 2 CUDA devices"):
        vnlsdenoise.denoise(torch.rand(1, 1, 8, 8), 0.1, device="cuda:2")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(DeviceError, match="no device cuda"):
        vnlsdenoise.denoise(torch.rand(1, 1, 8, 8), 0.1, device="cuda")
