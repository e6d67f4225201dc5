"""Measured noise in training: what the network is given is what the denoiser would give it of such a video."""

import dataclasses

import numpy as np
import pytest
import skimage.data
import torch

from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.denoiser import Channel
from vnlsdenoise.noise.camera import Camera
from vnlsdenoise.training import measured
from vnlsdenoise.training.degradation import Channels, Degraded, Mixture, planes_of, rgb_of
from vnlsdenoise.training.footage import Footage
from vnlsdenoise.training.measured import (
    Measured,
    PartlyMeasured,
    Recording,
    draw_recording,
    recorded_mosaic,
    through_jpeg,
)
from vnlsdenoise.training.scenery import Grid, Scenery

GRID = Grid(1, 2, 96, 96)
TIMES = 6
CODED = Recording(25.0, (20, "veryfast"))
CORRELATED = Recording(20.0, None, blur=0.8, colour=1.5)
FILMED = Recording(Camera(0.006, 0.003, balance=(1.6, 1.4), saturation=0.3, reduction=(0.4, 0.6)), None)


@pytest.fixture(scope="module")
def scenery():
    photos = [skimage.data.coffee()[100:300, 100:300], skimage.data.astronaut()[:200, 100:300]]
    clips = [np.stack([p[t : t + 150, t : t + 150] for t in range(TIMES)]).transpose(0, 3, 1, 2) for p in photos]
    return Scenery(Footage([np.ascontiguousarray(clip) for clip in clips], torch.device("cpu")), GRID, TIMES)


@pytest.mark.parametrize(
    ("recording", "layout"), [(CODED, "444"), (CODED, "420"), (FILMED, "gray"), (CORRELATED, "420")]
)
def test_channels_are_in_units_of_the_noise_that_was_recorded(device, scenery, recording, layout):
    clean = scenery.draw(np.random.default_rng(0)).to(device)
    found = recorded_mosaic(clean, layout, recording, 1)
    planes = {"444": (3, 0), "420": (1, 2), "gray": (1, 0)}[layout]
    sizes = [(TIMES, planes[0], 96, 192)] + ([(TIMES, planes[1], 48, 96)] if planes[1] else [])
    assert [list(c.shape) for c in found.noisy] == [list(c.shape) for c in found.wanted] == [list(s) for s in sizes]
    # Luma's noise is measured right within a factor; chroma of a codec hardly can be.
    error = found.noisy[0][:, 0] - found.wanted[0][:, 0]
    assert 0.5 < float(error.std()) < 2
    # What is wanted is what the noise is centred on: between what was noisy and it lies no shift.
    assert abs(float(error.mean())) < 0.1 * float(error.std())
    assert len(found.scale) == len(found.centre) == sum(planes)
    assert found.scenes == (TIMES,)


def test_what_is_wanted_comes_back_as_the_clean_planes(scenery, monkeypatch):
    """Through the denoiser's own way back, with no correction between."""
    made = []

    class Watched(PlanarDenoiser):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(measured, "PlanarDenoiser", Watched)
    clean = scenery.draw(np.random.default_rng(0))
    found = recorded_mosaic(clean, "gray", Recording(10.0, (22, "veryfast")), 1)
    [denoiser] = made
    back = denoiser._stabilisers[0].back(denoiser._whiteners[0].back(found.wanted[0][2, 0]))
    [luma] = planes_of(clean[2:3], "gray", yuv=True)
    assert float((back - 255 * luma[0]).abs().mean()) < 1.0


def test_clean_video_through_a_codec_is_told_by_its_quantiser(scenery):
    """The coarser it is, the more noise is told."""
    clean, told = scenery.draw(np.random.default_rng(0)), []
    for crf in (18, 26):
        found = recorded_mosaic(clean, "420", Recording(0.0, (crf, "veryfast")), 1)
        told.append(255 / found.peak)
        assert float((found.noisy[0] - found.wanted[0]).std()) > 0.5
    assert 0.2 < told[0] < told[1] < 5
    drawn = [draw_recording(np.random.default_rng(seed), camera=False) for seed in range(200)]
    clean_ones = [recording for recording in drawn if not recording.source]
    assert 10 < len(clean_ones) < 50 and all(recording.coding for recording in clean_ones)


def test_a_single_picture_is_measured_by_itself(scenery, monkeypatch):
    seen = []
    inner = measured.measure_noise
    monkeypatch.setattr(
        measured, "measure_noise", lambda times, *rest, **how: seen.append(list(times)) or inner(times, *rest, **how)
    )
    clean = scenery.draw(np.random.default_rng(0))
    found = recorded_mosaic(clean, "gray", FILMED, 1, scenes=(1, 3, 2))
    assert seen == [[1, 2, 3]] and found.scenes == (1, 3, 2)
    recorded_mosaic(clean, "gray", FILMED, 1, scenes=(1,) * TIMES)
    assert seen[1] == [0]


def test_colours_come_back_from_halved_chroma():
    smooth = torch.linspace(0.2, 0.8, 64).expand(2, 3, 64, 64).clone()
    smooth[:, 1] = smooth[:, 1].mT
    planes = planes_of(smooth, "420", yuv=True)
    torch.testing.assert_close(rgb_of(planes, smooth=True), smooth, atol=0.01, rtol=0)
    torch.testing.assert_close(rgb_of(planes, smooth=False), smooth, atol=0.02, rtol=0)


def test_shares_of_the_mosaics_are_recorded(scenery, monkeypatch):
    asked = []
    monkeypatch.setattr(measured, "recorded_mosaic", lambda *arguments: asked.append(arguments[2]))  # finds no noise
    partly = PartlyMeasured(Degraded(scenery, "gray", Mixture()), scenery, 0.4, 0.3)
    drawn = [partly.draw(np.random.default_rng(seed)) for seed in range(30)]
    cameras = [r for r in asked if isinstance(r.source, Camera)]
    assert len(drawn) == 30 and 14 < len(asked) / 3 < 28 and 5 < len(cameras) / 3 < 20  # thrice each
    assert all(r.coding is None or r.blur == 0 for r in asked if r not in cameras)
    monkeypatch.setattr(measured, "recorded_mosaic", lambda *arguments: None)
    with pytest.raises(InputError, match="noise of cameras and codecs cannot be told"):
        Measured(scenery, "gray", CODED).draw(np.random.default_rng(0))
    near = told_times(1.0)
    answers = iter([None, None, near])  # one clip on which it cannot be told does not end a run
    monkeypatch.setattr(measured, "recorded_mosaic", lambda *arguments: next(answers))
    assert Measured(scenery, "gray", CODED).draw(np.random.default_rng(0)) is near


def told_times(error, colours=None):
    """R, G, B whose noise is so many times what is told of it, and the like of their differences."""
    noisy = [torch.zeros(2, 3, 8, 8)]
    wanted = torch.tensor([error, colours or error, colours or error]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    return Channels("444", noisy, [wanted], [Channel(1.0, 0.0)] * 3, 100.0)


@pytest.mark.parametrize(
    ("found", "uncoded", "coded"),
    [
        (told_times(1.0), True, True),
        (told_times(0.5), False, True),
        (told_times(2.0), False, True),
        (told_times(1.0, 3.0), False, True),
        (told_times(5.0), False, False),
        (told_times(1.0, 9.0), False, False),
    ],
)
def test_noise_of_a_camera_is_trained_on_where_it_is_told(scenery, monkeypatch, found, uncoded, coded):
    """What a codec did to a video cannot be told, and is there to be mended."""
    always = PartlyMeasured(Degraded(scenery, "444", Mixture()), scenery, 1.0, 0.0)
    monkeypatch.setattr(measured, "recorded_mosaic", lambda *arguments: found)
    for coding, taken in ((None, uncoded), ((20, "veryfast"), coded)):
        recording = dataclasses.replace(FILMED, coding=coding)
        monkeypatch.setattr(measured, "draw_recording", lambda *_, recording=recording, **__: recording)
        assert (always.draw(np.random.default_rng(0)) is found) == taken


def test_another_is_recorded_where_noise_is_not_told(scenery, monkeypatch):
    told = told_times(1.0)
    answers = iter([None, told_times(9.0), told])
    monkeypatch.setattr(measured, "recorded_mosaic", lambda *arguments: next(answers))
    always = PartlyMeasured(Degraded(scenery, "444", Mixture()), scenery, 1.0, 0.0)
    assert always.draw(np.random.default_rng(0)) is told


def test_pictures_of_a_camera_may_be_jpeg(scenery):
    """Halved chroma keeps no differences of neighbours; luma keeps most of its own."""
    drawn = [draw_recording(np.random.default_rng(seed), camera=True).jpeg for seed in range(100)]
    assert 30 < sum(quality is not None for quality in drawn) < 70
    assert draw_recording(np.random.default_rng(0), camera=False).jpeg is None
    noisy = 0.5 + 0.05 * torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    kept = through_jpeg(noisy, 95)
    assert kept.shape == noisy.shape

    def finest(pictures):
        luma = torch.einsum("tchw,c->thw", pictures, torch.tensor([0.299, 0.587, 0.114]))
        return [float((p[..., 1:] - p[..., :-1]).std()) for p in (luma, pictures[:, 0] - pictures[:, 2])]

    luma, colour = (after / before for after, before in zip(finest(kept), finest(noisy), strict=True))
    assert colour < 0.5 < 0.8 < luma < 1.1
    clean = scenery.draw(np.random.default_rng(0))
    jpegs = (Recording(FILMED.source, None, jpeg=quality) for quality in (None, 90))
    recorded = [recorded_mosaic(clean, "444", recording, 1) for recording in jpegs]
    assert not torch.equal(recorded[0].noisy[0], recorded[1].noisy[0])


def test_what_is_wanted_of_jpeg_is_no_sharper_in_colours(scenery):
    """What halving chroma has taken away is no noise: in colours, which have none of it, whitening would enlarge it."""
    clean = scenery.draw(np.random.default_rng(0))
    found = recorded_mosaic(clean, "444", dataclasses.replace(FILMED, jpeg=95), 1)
    errors = (found.noisy[0] - found.wanted[0]).square().mean((0, 2, 3)).sqrt()
    assert float(errors.max()) < 2


def test_what_jpeg_takes_from_every_picture_is_not_wanted():
    """A camera that keeps JPEG shows no picture with the weak colours that quantisation drops."""
    picture = torch.from_numpy(skimage.data.coffee()[100:196, 200:296]).permute(2, 0, 1) / 255
    recordings = (dataclasses.replace(FILMED, jpeg=quality) for quality in (75, 100))
    (shown, wanted), (_, whole) = (
        measured._exposed(picture.expand(60, -1, -1, -1), recording, torch.Generator().manual_seed(1))
        for recording in recordings
    )

    def distance(wanted):
        colours = (wanted - shown).mean(0)
        return float((colours - colours.mean(0)).square().mean().sqrt())

    assert distance(wanted) < 0.6 * distance(whole)


def test_corrections_are_limited_as_in_a_denoiser(scenery, monkeypatch):
    """Of noise that is told by a quantiser alone, to half of what was removed; else colours alone."""
    clean = scenery.draw(np.random.default_rng(0))
    assert recorded_mosaic(clean, "420", CORRELATED, 1).most.tolist() == [np.inf, 1, 1]
    assert Degraded(scenery, "444", Mixture()).draw(np.random.default_rng(0)).most.tolist() == [np.inf, 1, 1]
    inner = measured.measure_noise

    def assumed(*arguments, **how):
        noise = inner(*arguments, **how)
        luma, *chroma = noise.planes
        return dataclasses.replace(noise, planes=(dataclasses.replace(luma, assumed=True), *chroma))

    monkeypatch.setattr(measured, "measure_noise", assumed)
    assert recorded_mosaic(clean, "420", CORRELATED, 1).most.tolist() == [0.5, 1, 1]


def test_recordings_repeat(scenery):
    """Where no codec is in it: libx264 does not make the same bits each time."""
    one, other = (draw_recording(np.random.default_rng(3), camera=True) for _ in range(2))
    assert one == other
    clean = scenery.draw(np.random.default_rng(0))
    mosaics = [recorded_mosaic(clean, "420", FILMED, seed) for seed in (1, 1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(mosaics[0].noisy, mosaics[1].noisy, strict=True))
    assert not torch.equal(mosaics[0].noisy[0], mosaics[2].noisy[0])
