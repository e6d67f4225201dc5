"""Frames through the local engine: native planes in, native planes out."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from vnlsdenoise.budget import least_memory
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.engine.local import denoise_frames, estimate_noise, predict_memory, resolve_device
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.engine.work import Work
from vnlsdenoise.errors import DeviceError, MemoryLimitError, UsageError
from vnlsdenoise.video.frame import Frame, PlaneFormat

TEN_BIT = PlaneFormat("yuv", 90, 70, 10, 1, 1)


def frames(layout: PlaneFormat, count: int, sigma: float) -> list[Frame]:
    random = np.random.default_rng(3)
    dtype = np.uint8 if layout.depth == 8 else np.uint16
    made = []
    for number in range(count):
        planes = [
            (layout.peak * 0.4 + sigma * random.standard_normal(shape)).round().clip(0, layout.peak).astype(dtype)
            for shape in layout.plane_shapes
        ]
        made.append(Frame(tuple(planes), pts=1000 + 7 * number, duration=7, extra={"number": number}))
    return made


@pytest.mark.parametrize("layout", [TEN_BIT, PlaneFormat("rgb", 40, 33, 16), PlaneFormat("gray", 50, 40, 8)])
def test_frames_keep_their_order_stamps_and_kind(device, layout):
    sigma = 0.02 * layout.peak
    noisy = frames(layout, 12, sigma)
    settings = DenoiseSettings((sigma,) * len(layout.plane_shapes), preset="fast", device=str(device))
    out = list(denoise_frames(iter(noisy), layout, settings))
    assert [(f.pts, f.duration, f.extra) for f in out] == [(f.pts, f.duration, f.extra) for f in noisy]
    for frame in out:
        for plane, shape in zip(frame.planes, layout.plane_shapes, strict=True):
            assert plane.shape == shape
            assert plane.dtype == (np.uint8 if layout.depth == 8 else np.uint16)
            assert plane.astype(float).std() < sigma / 3


def test_input_is_pulled_lazily():
    pulled = 0

    def source():
        nonlocal pulled
        for frame in frames(TEN_BIT, 200, 20.0):
            pulled += 1
            yield frame

    out = denoise_frames(source(), TEN_BIT, DenoiseSettings((20.0,) * 3, preset="fast"))
    next(out)
    assert pulled < 80


def ahead_of_it() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_an_error_of_the_source_comes_through_as_it_is():
    mistake = ValueError("no more film")

    def source():
        yield from frames(TEN_BIT, 5, 20.0)
        raise mistake

    with pytest.raises(ValueError, match="no more film") as raised:
        list(denoise_frames(source(), TEN_BIT, DenoiseSettings((20.0,) * 3, preset="fast")))
    assert raised.value is mistake
    assert ahead_of_it() == 0


def test_stopping_early_leaves_no_thread():
    out = denoise_frames(iter(frames(TEN_BIT, 100, 20.0)), TEN_BIT, DenoiseSettings((20.0,) * 3, preset="fast"))
    next(out)
    assert ahead_of_it() == 1
    out.close()
    assert ahead_of_it() == 0


def test_noise_is_estimated_in_native_codes():
    layout = PlaneFormat("yuv", 160, 120, 10, 1, 1)
    one, two, three, four = frames(layout, 4, 40.0)
    luma, *chroma = estimate_noise([(one, two), (three, four)], layout, "cpu").sigma
    assert luma == pytest.approx(40.0, rel=0.03)
    assert chroma == pytest.approx([40.0, 40.0], rel=0.12)  # of what changes in two small pairs


def test_devices_are_resolved_or_refused():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda:0")
    for wrong in ("tpu", "cuda:x", "cuda:99"):
        with pytest.raises(DeviceError, match=wrong):
            resolve_device(wrong)


def test_unknown_method_and_preset_are_refused():
    for settings, message in (
        (DenoiseSettings((1.0,), method="magic"), "no such method: 'magic'"),
        (DenoiseSettings((1.0,), preset="slow"), "no such preset: 'slow'"),
    ):
        with pytest.raises(UsageError, match=message):
            list(denoise_frames([], PlaneFormat("gray", 8, 8, 8), settings))


def test_a_preset_that_no_network_corrects_is_refused_before_a_frame_is_read():
    source = iter(frames(TEN_BIT, 2, 20.0))
    settings = DenoiseSettings((20.0,) * 3, method="learned", preset="draft")
    message = "^the learned method does not work behind preset draft; take fast, balanced, best, or --method classic$"
    with pytest.raises(UsageError, match=message):
        next(denoise_frames(source, TEN_BIT, settings))
    assert next(source).extra["number"] == 0
    with pytest.raises(UsageError, match=message):
        predict_memory(TEN_BIT, settings)


@pytest.mark.needs_cuda
def test_a_full_device_is_reported_in_words():
    layout = PlaneFormat("yuv", 3840, 2160, 8, 1, 1)
    settings = DenoiseSettings((20.0,) * 3, preset="fast", device="cuda")
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        with pytest.raises(
            MemoryLimitError,
            match=r"out of memory at 3840x2160 with preset fast, whose frames wait elsewhere already; end",
        ):
            list(denoise_frames(frames(layout, 30, 20.0), layout, settings))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.needs_cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("tight", [False, True])
def test_any_gpu_gives_the_same_bytes(tight):
    """The second one too, which is not the current one."""
    noisy = frames(TEN_BIT, 30, 40.0)
    first, second = (DenoiseSettings(None, preset="fast", device=device) for device in ("cuda:0", "cuda:1"))
    if tight:
        second = replace(second, max_memory=least_memory(TEN_BIT, PRESETS["fast"]) + 1)
    for one, other in zip(denoise_frames(noisy, TEN_BIT, first), denoise_frames(noisy, TEN_BIT, second), strict=True):
        assert all(map(np.array_equal, one.planes, other.planes))


def test_every_scene_has_its_own_noise():
    layout = PlaneFormat("gray", 96, 80, 8)
    quiet, loud = frames(layout, 14, 4.0), frames(layout, 14, 16.0)
    for frame in loud:
        frame.planes = (frame.planes[0] + 100,)
    work = Work()
    out = list(denoise_frames(iter(quiet + loud), layout, DenoiseSettings(None, preset="fast"), work))
    assert len(out) == 28
    assert [(scene.first, scene.frames) for scene in work.scenes] == [(0, 14), (14, 14)]
    assert [scene.noise.sigma[0] for scene in work.scenes] == pytest.approx([4, 16], rel=0.05)


def test_kept_grain_and_a_plane_of_no_strength_are_exact():
    layout = PlaneFormat("yuv", 48, 40, 8, 1, 1)
    noisy = frames(layout, 3, 10.0)
    settings = DenoiseSettings((10.0,) * 3, (1.0, 0.0, 1.0), preset="fast")
    whole, half = (
        list(denoise_frames(iter(noisy), layout, replace(settings, keep_grain=share))) for share in (0.0, 0.5)
    )
    all_kept = denoise_frames(iter(noisy), layout, replace(settings, keep_grain=1.0))
    for source, clean, grainy, same in zip(noisy, whole, half, all_kept, strict=True):
        assert (source.planes[1] == clean.planes[1]).all() and (source.planes[0] != clean.planes[0]).any()
        assert all((a == b).all() for a, b in zip(source.planes, same.planes, strict=True))
        middle = (source.planes[0].astype(float) + clean.planes[0]) / 2
        assert np.abs(grainy.planes[0] - middle).max() <= 1
