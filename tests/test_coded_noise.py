"""Noise that a codec has been through, or a conversion of colours: what is left of it is measured and removed."""

import io
from typing import Any

import av
import numpy as np
import pytest
import torch
from test_coded_rgb import passing
from test_noise import PEAK, noisy
from torch import Tensor

import vnlsdenoise
from vnlsdenoise.noise import NoiseModel, PlaneNoise, estimate_sigma, measure_plane, synthesis
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.training.measured import through_jpeg
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.pixels import unpack


def drifting(frames: int = 8, height: int = 192, width: int = 256, step: int = 2) -> Tensor:
    """Fine texture beside a smooth slope that move together, [T, H, W]."""
    random = torch.Generator().manual_seed(5)
    canvas = 128 + synthesis.correlated((height, width + frames * step), 6.0, random)
    canvas[:, : (width + frames * step) // 2] = 128
    canvas += torch.linspace(-40, 40, height)[:, None]
    return torch.stack([canvas[:, step * t : step * t + width] for t in range(frames)])


def through_h264(video: Tensor, crf: int) -> list[tuple[Any, ...]]:
    """What libx264 leaves of grey [T, H, W] or of R, G and B [T, 3, H, W]: planes Y, U and V of every frame."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream: Any = output.add_stream("libx264", 25, options={"crf": str(crf)})
        stream.height, stream.width = video.shape[-2:]
        stream.codec_context.thread_count, stream.pix_fmt = 1, "yuv420p"
        for picture in video.round().clamp(0, PEAK).byte():
            if picture.dim() == 2:
                frame = av.VideoFrame.from_ndarray(picture.numpy(), format="gray8")
            else:
                frame = av.VideoFrame.from_ndarray(picture.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        return [unpack(frame)[0] for frame in source.decode(video=0)]


def plane(frames: list[tuple[Any, ...]], index: int) -> Tensor:
    return torch.from_numpy(np.stack([frame[index] for frame in frames])).float()


@pytest.mark.parametrize("crf", [26, 27])
def test_noise_that_a_codec_has_thinned_is_measured_by_its_changes(crf, device):
    clean = drifting()
    left = plane(through_h264(clean + 15 * torch.randn_like(clean), crf), 0)
    # Codes of limited range: the luma's noise is 219 / 255 of it.
    true = float((left - plane(through_h264(clean, 1), 0)).std())
    assert estimate_sigma(left, peak=PEAK) < 0.75 * true
    assert measure_plane(left.to(device), peak=PEAK).sigma == pytest.approx(true, rel=0.3)


@pytest.mark.parametrize(("sigma", "crf"), [(3, 18), (4, 20), (5, 22)])
def test_little_noise_is_told_by_what_quiet_blocks_hold(sigma, crf, device):
    clean = drifting()
    left = plane(through_h264(clean + sigma * torch.randn_like(clean), crf), 0)
    true = float((left - plane(through_h264(clean, 1), 0)).std())
    assert estimate_sigma(left, peak=PEAK) < 0.6 * true
    assert measure_plane(left.to(device), peak=PEAK).sigma == pytest.approx(true, rel=0.25)


@pytest.mark.parametrize("crf", [16, 22])
def test_clean_texture_through_a_codec_is_not(crf, device):
    left = plane(through_h264(drifting(), crf), 0).to(device)
    assert measure_plane(left, peak=PEAK).sigma < 1


def test_frames_that_come_by_twos_tell_as_much():
    clean = drifting()
    left = plane(through_h264(clean + 15 * torch.randn_like(clean), 26), 0)
    apart = torch.cat((left[:2], left[:2] + 60 * (torch.arange(256) % 16 < 8), left[4:6]))
    assert measure_plane(apart, peak=PEAK, pairs=True).sigma == pytest.approx(
        measure_plane(left, peak=PEAK).sigma, rel=0.3
    )


def test_photon_noise_that_no_codec_has_touched_keeps_its_curve(device):
    level = torch.linspace(0, PEAK, 256).expand(8, 192, 256)
    planes = (level + (1.5 * level + 20).sqrt() * torch.randn_like(level)).to(device)
    assert measure_plane(planes, peak=PEAK).signal_dependent


def test_texture_that_moves_is_no_coded_noise(device):
    clean = drifting()
    for sigma in (0.0, 3.0):
        planes = (clean + sigma * torch.randn_like(clean)).to(device)
        assert measure_plane(planes, peak=PEAK).sigma < 1.3 * max(estimate_sigma(planes, peak=PEAK), sigma)


def test_chroma_is_believed_to_be_noisy_beside_noisy_luma_alone(device):
    smooth = 128 + torch.linspace(-40, 40, 96)[:, None].expand(8, 96, 128)
    halved = torch.nn.functional.avg_pool2d(noisy(torch.zeros(192, 256), 8.0, 8)[:, None], 2)[:, 0]
    chroma = torch.nn.functional.interpolate(halved[:, None], scale_factor=0.5, mode="area")[:, 0]
    chroma = torch.nn.functional.interpolate(chroma[:, None], size=(96, 128), mode="bicubic")[:, 0]
    planes = (smooth + chroma).to(device)
    alone = measure_plane(planes, peak=PEAK, luma=PlaneNoise(0.5))
    beside = measure_plane(planes, peak=PEAK, luma=PlaneNoise(8.0))
    assert alone.sigma < 0.5 * float(chroma.std()) < beside.sigma


def test_colours_that_have_been_yuv_share_their_noise():
    grey = drifting(8, 96, 128)[:, None].expand(-1, 3, -1, -1)
    shared = grey + 12 * torch.randn(8, 1, 96, 128)
    apart = grey + 12 * torch.randn(8, 3, 96, 128)
    layout = PlaneFormat("rgb", 128, 96, 8)
    assert measure_noise(list(apart), list, layout, PEAK).opponent == ()
    noise = measure_noise(list(shared), list, layout, PEAK)
    assert noise.opponent[0] == pytest.approx(3**0.5, rel=0.1)
    assert max(noise.opponent[1:]) < 0.2
    independent = NoiseModel(noise.planes)
    errors = [
        float((vnlsdenoise.denoise(shared, model, preset="fast", peak=PEAK, scene_cuts=False) - grey).square().mean())
        for model in (noise, independent)
    ]
    assert errors[0] < 0.6 * errors[1]


@pytest.mark.parametrize("picture", ["rocket", "chelsea"])
def test_chroma_of_which_jpeg_left_the_coarse_is_told_whole(picture, device):
    """It was told 0.3 of 1.1, which is what is left at the highest frequencies."""
    clean = passing(picture)
    noisy = (clean + 8 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))).round().clamp(0, PEAK)
    sides = [as_planes(PEAK * through_jpeg(side / PEAK, quality)) for side, quality in ((noisy, 90), (clean, 100))]
    kept, wanted = sides
    layout = PlaneFormat("yuv", clean.shape[-1], clean.shape[-2], 8, 1, 1)
    noise = measure_noise(range(len(clean)), lambda time: [p[time].to(device) for p in kept], layout, PEAK)
    for plane, left, true in zip(noise.planes[1:], kept[1:], wanted[1:], strict=True):
        assert plane.sigma == pytest.approx(float((left - true).std()), rel=0.3)
        assert plane.spectrum[0] > 5 * plane.spectrum[-1]


def as_planes(video: Tensor) -> list[Tensor]:
    """Y, U and V of 4:2:0 of R, G and B [T, 3, H, W]."""
    pictures = video.round().clamp(0, PEAK).byte().permute(0, 2, 3, 1).contiguous().numpy()
    frames = [av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p") for picture in pictures]
    planes = [unpack(frame)[0] for frame in frames]
    return [plane(planes, index) for index in range(3)]
