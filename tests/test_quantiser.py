"""What a codec leaves of noise, and of its own, is told by the step of its quantiser."""

import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
import torch
from clips import write_clip
from test_coded_noise import drifting

from vnlsdenoise.engine.local import denoise_frames, measure_scene
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.noise.coded import with_what_codecs_leave
from vnlsdenoise.noise.model import Evidence, NoiseModel, PlaneNoise
from vnlsdenoise.video.frame import Frame, PlaneFormat
from vnlsdenoise.video.pixels import unpack
from vnlsdenoise.video.read import VideoReader

OPTIONS = {
    "libx265": {"x265-params": "log-level=none"},
    "libsvtav1": {"preset": "8", "svtav1-params": "lp=1"},
    "libvpx-vp9": {"cpu-used": "4"},
}
LAYOUT = PlaneFormat("yuv", 256, 192, 8, 1, 1)


def coded(path: Path, luma: torch.Tensor, crf: int, encoder: str) -> list[Frame]:
    """What a codec keeps of a grey film [T, H, W], as a reader gives it. crf: of MPEG the scale of the quantiser."""
    count, height, width = luma.shape
    grey = np.full((height // 2, width // 2), 128, np.uint8)
    frames = [Frame((plane, grey, grey)) for plane in luma.round().clamp(0, 255).byte().numpy()]
    options = {"crf": str(crf)} | OPTIONS.get(encoder, {})
    how = {"qmin": crf, "qmax": crf} if encoder.startswith("mpeg") else {"bit_rate": 0, "options": options}
    write_clip(path, encoder=encoder, size=(width, height), frames=frames, count=count, **how)
    return list(VideoReader(path))


def film(path: Path, sigma: float, crf: int, encoder: str = "libx264") -> tuple[list[Frame], list[np.ndarray]]:
    """Decoded frames of a film with noise in luma, and its luma without noise and codec."""
    clean = drifting()
    return coded(path, clean + sigma * torch.randn_like(clean), crf, encoder), list(clean.numpy())


def psnr(frames: list[Frame], clean: list[np.ndarray]) -> float:
    errors = [((frame.planes[0] - wanted) ** 2).mean() for frame, wanted in zip(frames, clean, strict=True)]
    return float(10 * np.log10(255**2 / max(np.mean(errors), 0.01)))  # AV1 may keep letters whole


@pytest.mark.parametrize(
    ("encoder", "sigma", "crf", "gain"),
    [
        *[("libx264", 0, 30, 0.05), ("libx264", 10, 26, 0.5), ("libx264", 10, 32, 0.2), ("libx265", 10, 30, 0.2)],
        *[("libsvtav1", 10, 38, 0.3), ("libvpx-vp9", 0, 35, 0.15), ("mpeg2video", 10, 12, 2.0), ("mpeg4", 0, 10, 0.05)],
    ],
)
def test_what_a_codec_leaves_is_removed(encoder: str, sigma: float, crf: int, gain: float, tmp_path: Path) -> None:
    frames, clean = film(tmp_path / "a.mkv", sigma, crf, encoder)
    settings = DenoiseSettings(None, preset="fast", device="cpu", scene_cuts=False)
    assert psnr(list(denoise_frames(iter(frames), LAYOUT, settings)), clean) > psnr(frames, clean) + gain


def test_a_clean_film_through_a_fine_quantiser_has_next_to_none(tmp_path: Path) -> None:
    frames, _ = film(tmp_path / "a.mkv", 0, 18)
    assert max(measure_scene(frames, LAYOUT, DenoiseSettings(None, preset="fast", device="cpu")).sigma) < 1


def unasked() -> bool:
    pytest.fail("letters are asked where nothing follows from them")


def test_noise_that_is_there_keeps_its_shape_and_what_was_given_is_not_asked() -> None:
    spectrum = tuple(float(value) for value in np.linspace(2, 0.5, 64) / np.linspace(2, 0.5, 64).mean())
    measured = NoiseModel((PlaneNoise(5.0, spectrum=spectrum), PlaneNoise(0.1), PlaneNoise(6.0)))
    found = with_what_codecs_leave(measured, 30.0, 255, lambda: False)
    assert found.sigma == pytest.approx((math.hypot(5, 8.1), 3.24, 6.0))
    # The codec's own error is white, beside what is left of noise.
    beside = [(25 * value + 8.1**2) / (25 + 8.1**2) for value in spectrum]
    assert found.planes[0].spectrum == pytest.approx(beside, abs=1e-5)
    assert [plane.assumed for plane in found.planes] == [False, True, False]
    found = with_what_codecs_leave(measured, 8.0, 255, unasked)
    assert found.sigma == pytest.approx((math.hypot(5, 3.2), 1.28, 6.0))
    assert found.planes[2] == measured.planes[2]
    little = NoiseModel((PlaneNoise(2.0, spectrum=spectrum), *measured.planes[1:]))
    found = with_what_codecs_leave(little, 30.0, 255, lambda: False)
    assert found.sigma[0] == pytest.approx(math.hypot(2, 8.1)) and found.planes[0].assumed
    clean = NoiseModel.of_sigma((0.4, 0.1, 0.1))
    assert with_what_codecs_leave(clean, 8.0, 255, unasked).sigma == pytest.approx((0.95, 0.38, 0.38))
    assert with_what_codecs_leave(clean, 1.0, 255, unasked).sigma == pytest.approx((0.4, 0.1, 0.1))
    less = NoiseModel.of_sigma((1.25, 0.1, 0.1))  # which may be noise: half way
    assert with_what_codecs_leave(less, 16.0, 255, unasked).sigma[0] == pytest.approx((1.54 + 4.32) / 2)
    calm = [((1.2, 0.6, 0.6), 2.0), ((1.2, 0.4, 0.6), 0.95), ((0.8, 0.6, 0.6), 0.95)]  # a trace in all planes, or not
    for values, told in calm:
        traced = replace(clean, evidence=Evidence("quiet areas", calm=values))
        assert with_what_codecs_leave(traced, 5.0, 255, unasked).sigma[0] == pytest.approx(told)
    traced = replace(clean, evidence=Evidence("quiet areas", calm=(1.2, 0.6, 0.6)))
    told = [with_what_codecs_leave(traced, step, 255, lambda: False).sigma[0] for step in (8.0, 13.0)]
    assert told == pytest.approx([3.2, 3.5])  # and of no more
    # Where the quantiser is coarse a trace in luma alone tells a part of the step.
    for luma, told in ((0.6, 2.66), (0.9, 4.0), (1.2, 4.0)):
        traced = replace(clean, evidence=Evidence("quiet areas", calm=(luma, 0.1, 0.1)))
        assert with_what_codecs_leave(traced, 20.0, 255, lambda: False).sigma[0] == pytest.approx(told)
        assert with_what_codecs_leave(traced, 13.5, 255, unasked).sigma[0] == pytest.approx(0.95)
    found = [with_what_codecs_leave(clean, 40.0, 255, answer).sigma[0] for answer in (lambda: False, lambda: True)]
    assert found == pytest.approx([8.26, 2.0])
    frames = [Frame((torch.full((192, 256), 99).byte().numpy(),), step=40.0)] * 3
    for settings in (DenoiseSettings((3.0,)), DenoiseSettings(None, noise_model="white")):
        assert max(measure_scene(frames, PlaneFormat("gray", 256, 192, 8), settings).sigma) <= 3


def page(paper: int, ink: int) -> torch.Tensor:
    """Letters of 5x7 dots on an even page, [160, 256]."""
    random = np.random.default_rng(1)
    glyphs = random.random((26, 7, 5)) < 0.45
    sheet = np.full((160, 256), paper, np.float32)
    for row in range(4, 150, 13):
        for column in range(6, 230, 7):
            if random.random() < 0.85:
                sheet[row : row + 7, column : column + 5][glyphs[random.integers(26)]] = ink
    return torch.from_numpy(sheet)


@pytest.mark.parametrize(("paper", "ink"), [(250, 30), (16, 235)])
@pytest.mark.parametrize(
    ("encoder", "crf"),
    [*(("libx264", crf) for crf in (18, 28, 33)), ("libsvtav1", 45), ("libvpx-vp9", 45), ("mpeg2video", 9)],
)
def test_a_page_that_stands_still_is_not_smeared(paper: int, ink: int, encoder: str, crf: int, tmp_path: Path) -> None:
    clean = page(paper, ink)
    shown = coded(tmp_path / "a.mkv", clean.expand(4, -1, -1), crf, encoder)
    layout = PlaneFormat("yuv", 256, 160, 8, 1, 1)
    settings = DenoiseSettings(None, preset="fast", device="cpu", scene_cuts=False)
    assert measure_scene(shown[:1], layout, settings).sigma[0] <= 2
    restored = list(denoise_frames(iter(shown), layout, settings))
    assert psnr(restored, [clean.numpy()] * 4) > psnr(shown, [clean.numpy()] * 4) - 0.05


@pytest.mark.parametrize("gain", [1.0, 2.0])  # the second loses black and white
def test_noise_of_a_single_picture_is_not_taken_for_letters(gain: float) -> None:
    clean = (drifting(1)[0] - 128) * gain * 2 + 128
    noisy = (clean + 20 * torch.randn_like(clean)).round().clamp(0, 255).byte().numpy()
    settings = DenoiseSettings(None, preset="fast", device="cpu")
    assert measure_scene([Frame((noisy,))], PlaneFormat("gray", 256, 192, 8), settings).sigma[0] == pytest.approx(
        20, rel=0.2
    )


def panned(picture: npt.NDArray[np.uint8], contrast: float, sigma: float, frames: int = 8) -> npt.NDArray[np.uint8]:
    """A photograph of less contrast under a camera that moves, with white noise in R, G and B: [T, 160, 224, 3]."""
    random = np.random.RandomState(3)
    colours = picture if picture.ndim == 3 else np.stack([picture] * 3, -1)
    calm = 128 + contrast * (colours.astype(np.float32) - 128)
    clip = np.stack([calm[20 + t : 180 + t, 20 + 2 * t : 244 + 2 * t] for t in range(frames)])
    noisy: npt.NDArray[np.uint8] = (clip + sigma * random.randn(*clip.shape)).round().clip(0, 255).astype(np.uint8)
    return noisy


def through_h264(path: Path, video: npt.NDArray[np.uint8], crf: int) -> list[Frame]:
    """R, G and B [T, H, W, 3] as a reader gives them that libx264 has kept as 4:2:0."""
    images = (av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p") for image in video)
    frames = [Frame(unpack(image)[0]) for image in images]
    how = {"bit_rate": 0, "options": {"crf": str(crf)}}
    write_clip(path, encoder="libx264", size=video.shape[2:0:-1], frames=frames, count=len(frames), **how)
    return list(VideoReader(path))


def told(frames: list[Frame]) -> float:
    """The deviation of luma that is measured."""
    height, width = frames[0].planes[0].shape
    settings = DenoiseSettings(None, preset="fast", device="cpu")
    return measure_scene(frames, PlaneFormat("yuv", width, height, 8, 1, 1), settings).sigma[0]


@pytest.mark.parametrize("contrast", [0.3, 0.6])
def test_a_frame_more_or_less_hardly_changes_what_is_told(contrast: float, tmp_path: Path) -> None:
    """Where flat blocks have little noise left, and the others tell it or not."""
    frames = through_h264(tmp_path / "a.mkv", panned(skimage.data.astronaut(), contrast, 5.0), 22)
    found = [told(frames[:count]) for count in (6, 7, 8)]
    assert max(found) < 1.3 * min(found)
    assert min(found) > 2.5


def test_noise_that_a_codec_has_thinned_everywhere_is_told_by_what_flat_blocks_keep(tmp_path: Path) -> None:
    """A third of the step where there was noise; no more than is told of a clean film where there was none."""
    photo = skimage.data.coffee()
    frames = through_h264(tmp_path / "a.mkv", panned(photo, 0.6, 5.0), 20)
    assert told(frames) > 0.3 * float(np.mean([frame.step or 0 for frame in frames]))
    assert told(through_h264(tmp_path / "b.mkv", panned(photo, 0.6, 0.0), 20)) < 1


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence("quiet areas", new=(0.2, 0.1, 0.1), trust=0.0, left=0.5), (0.95 + 3.2) / 2),
        (Evidence("quiet areas", new=(0.7, 0.1, 0.1), trust=0.35), (0.95 + 3.2) / 2),
        (Evidence("quiet areas", new=(0.7, 0.1, 0.1), trust=1.0), 3.2),
        (Evidence("quiet areas", new=(0.3, 0.1, 0.1), trust=1.0), 0.95),  # as of clean films
    ],
)
def test_what_is_told_of_the_step_follows_how_sure_it_is_that_there_was_noise(
    evidence: Evidence, expected: float
) -> None:
    clean = replace(NoiseModel.of_sigma((0.4, 0.1, 0.1)), evidence=evidence)
    assert with_what_codecs_leave(clean, 8.0, 255, lambda: False).sigma[0] == pytest.approx(expected)
