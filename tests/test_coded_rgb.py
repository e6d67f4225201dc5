"""R, G and B of frames that a codec has had, of which no step is told: known by their colours, rid of what it left."""

import io
import math
from dataclasses import replace
from typing import Any

import av
import pytest
import skimage.data
import torch
from rgb import PEAK, gain_of, recorded
from torch import Tensor

from vnlsdenoise.noise import NoiseModel, PlaneNoise, synthesis
from vnlsdenoise.noise.camera import blurred
from vnlsdenoise.noise.coded import with_what_codecs_leave_in_rgb
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.noise.model import Evidence
from vnlsdenoise.noise.temporal import News, frequency_sums
from vnlsdenoise.noise.verdict import judge
from vnlsdenoise.training.measured import through_jpeg
from vnlsdenoise.video.frame import PlaneFormat

RGB = PlaneFormat("rgb", 224, 160, 8)


def passing(picture: str, frames: int = 6) -> Tensor:
    """A photograph that passes by parts of a pixel, [T, 3, H, W]."""
    canvas = torch.from_numpy(getattr(skimage.data, picture)()).permute(2, 0, 1)[None].float()
    shown = []
    for time in range(frames):
        place = torch.tensor([[[0.42, 0, 0.006 * time - 0.1], [0, 0.42, 0.0035 * time + 0.04]]])
        grid = torch.nn.functional.affine_grid(place, [1, 3, 160, 224], align_corners=False)
        shown.append(torch.nn.functional.grid_sample(canvas, grid, mode="bicubic", align_corners=False)[0])
    return torch.stack(shown).clamp(0, PEAK)


def with_white(clean: Tensor, sigma: float) -> Tensor:
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))


def through_h264(video: Tensor, crf: int) -> Tensor:
    """What libx264 keeps of R, G and B [T, 3, H, W] in 4:2:0, as R, G and B."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream: Any = output.add_stream("libx264", 25, options={"crf": str(crf)})
        stream.height, stream.width = video.shape[-2:]
        stream.codec_context.thread_count, stream.pix_fmt = 1, "yuv420p"
        for picture in codes(video).byte().permute(0, 2, 3, 1).contiguous().numpy():
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        pictures = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in source.decode(video=0)]
    return torch.stack(pictures).permute(0, 3, 1, 2).float()


def codes(video: Tensor) -> Tensor:
    return video.round().clamp(0, PEAK)


def measured(video: Tensor, device: str = "cpu") -> NoiseModel:
    return measure_noise(list(video.to(device)), list, RGB, PEAK)


def thinned(noise: NoiseModel) -> float:
    assert noise.evidence is not None
    return noise.evidence.thinned


@pytest.mark.parametrize("picture", ["rocket", "coffee", "chelsea"])
def test_what_a_codec_left_of_white_noise_is_removed(picture, device):
    """It was told 1.6, 0.8 and 1, which quiet areas hold, and brought 0.3 dB and less.

    Coffee is of strong colours, which move in its flat blocks, too: those with least that is new tell the codec. The
    flat blocks of Chelsea, a cat, hold 16 times what is new: there the highest frequencies tell alone.
    """
    clean = passing(picture)
    video = through_h264(with_white(clean, 5.0), 20)
    noise = measured(video, device)
    assert thinned(noise) > 0.9 and noise.sigma == pytest.approx((5.0,) * 3, rel=0.1)
    assert gain_of(noise, video, clean) > 1.0


def test_what_a_codec_left_of_the_noise_of_a_camera_is_removed(device):
    """Of 3.0, whose spectrum has nothing at high frequencies; the codec's own error is at all: 0.3 dB more."""
    noisy, clean = recorded(passing("rocket"), 0.002)
    video = through_h264(noisy, 20)
    noise = measured(video, device)
    assert noise.correlated and noise.sigma[0] > 5
    highest = [min(spectrum) * times**2 * noise.sigma[0] ** 2 for spectrum, times in opponents_of(noise)]
    assert highest == pytest.approx([50.0, 12.5, 12.5], rel=0.2)
    assert gain_of(noise, video, clean) > 1.3


def test_noise_of_a_camera_is_known_by_its_colours_beside_a_part_that_rushes_by(device):
    """It was told 1.5, which quiet areas hold: where motion is lost nothing that is new was trusted."""
    clean = passing("chelsea")
    beside = torch.from_numpy(skimage.data.immunohistochemistry()).permute(2, 0, 1).float()
    random = torch.Generator().manual_seed(3)
    for picture in clean:
        y, x = (int(torch.randint(0, 512 - side, (1,), generator=random)) for side in (48, 224))
        picture[:, -48:] = beside[:, y : y + 48, x : x + 224]
    noisy, wanted = recorded(clean, 0.006)
    video = through_h264(noisy, 20)  # not the same bit for bit each time: some are told by more than the codec's share
    noise = measured(video, device)
    assert min(noise.sigma) > 4.5
    assert gain_of(noise, video, wanted) > 1.3


@pytest.mark.parametrize("picture", ["rocket", "chelsea"])
def test_what_jpeg_left_of_white_noise_is_removed(picture):
    """It was told 5 of 6 at all frequencies, and of colours, of which coarse blocks are left, next to nothing."""
    clean = passing(picture)
    video = PEAK * through_jpeg(codes(with_white(clean, 8.0)) / PEAK, 90)
    best = max(gain_of(NoiseModel.of_sigma((sigma,) * 3), video, clean) for sigma in (8.0, 12.0))
    assert gain_of(measured(video), video, clean) > best - 0.4


@pytest.mark.parametrize(
    ("colour", "held", "apart", "trust"),
    [(0.8, 15.0, 1.0, 1.0), (2.5, 15.0, 4.0, 1.0), (0.8, 15.0, 4.0, 0.0), (2.5, 3.0, 4.0, 0.0)],
)
def test_what_is_new_is_trusted_where_the_calmest_blocks_have_its_colours(colour, held, apart, trust, device):
    """Of what the frames on both sides do not share, so many times what is new is otherwise taken for motion.

    colour: deviation at low frequencies of both differences. held: of all at low frequencies, to what is new there.
    """
    random = torch.Generator().manual_seed(1)

    def channel(low: float, top: float) -> News:
        drawn = torch.randn(400, 16, 16, generator=random).square()
        sums = frequency_sums(drawn.device)
        new = drawn * torch.lerp(torch.tensor(low**2), torch.tensor(top**2), (sums / 20).clamp_max(1))
        own = new * torch.where(sums < 3, held, 1.0)
        return News(new.to(device), (apart * new).to(device), own.to(device))

    planes = [channel(5.0, 1.5) for _ in range(3)]
    verdict = judge([channel(12.0, 2.5), channel(colour, 0.2), channel(colour, 0.2), *planes])
    assert verdict is not None
    assert verdict.trust == pytest.approx(trust, abs=0.05)


def opponents_of(noise: NoiseModel) -> list[tuple[tuple[float, ...], float]]:
    return list(zip(noise.opponent_spectra, noise.opponent, strict=True))


@pytest.mark.parametrize("picture", ["rocket", "chelsea"])
def test_a_clean_film_through_a_fine_quantiser_has_next_to_none_as_r_g_and_b(picture, device):
    clean = passing(picture)
    video = through_h264(clean, 18)
    noise = measured(video, device)
    assert thinned(noise) > 0.9 and 0.85 < max(noise.sigma) < 1
    assert gain_of(noise, video, clean) > 0.1


@pytest.mark.parametrize("picture", ["rocket", "chelsea"])
@pytest.mark.parametrize("sigma", [0.0, 2.0, 10.0])
def test_white_noise_that_no_codec_had_is_told_as_it_is(picture, sigma, device):
    noise = measured(codes(with_white(passing(picture), sigma)), device)
    assert thinned(noise) == 0 and noise.sigma == pytest.approx((sigma,) * 3, rel=0.1, abs=0.5)


@pytest.mark.parametrize("gain", [0.0005, 0.006])
def test_cameras_that_no_codec_had_are_told_as_they_are(gain, device):
    noisy, clean = recorded(passing("rocket"), gain)
    noise = measured(codes(noisy), device)
    assert thinned(noise) == 0
    assert noise.sigma == pytest.approx((float((noisy - clean).std()),) * 3, rel=0.25)


def grey(clean: Tensor) -> Tensor:
    return clean.mean(1, keepdim=True).expand_as(clean)


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.1, 1.0, 0.85)])
@pytest.mark.parametrize("grain", [0.0, 0.8])
def test_a_film_without_colours_of_its_own_tells_of_no_codec(tint, grain, device):
    """Grey or tinted: what is new of its colours is little, and looks as its luma does."""
    drawn = torch.randn(6, 1, 160, 224, generator=torch.Generator().manual_seed(2)).expand(-1, 3, -1, -1)
    drawn = torch.stack([blurred(picture, grain) for picture in drawn]) if grain else drawn
    noisy = (grey(passing("rocket")) + 5 * drawn / drawn.std()) * torch.tensor(tint)[:, None, None]
    assert thinned(measured(codes(noisy), device)) == 0


def test_coarse_grain_has_no_high_frequencies_of_any_kind(device):
    random = torch.Generator().manual_seed(3)
    video = grey(passing("rocket")) + synthesis.correlated((6, 3, 160, 224), 6.0, random)
    assert thinned(measured(video, device)) == 0


SPECTRUM = tuple([1.9] * 128 + [0.1] * 128)


def told(noise: NoiseModel, letters: bool | None = None, **evidence: Any) -> NoiseModel:
    """letters: whether there are any; None if that is not to be asked."""
    said = Evidence("quiet areas", noise.sigma, noise.sigma, noise.sigma, 0.0, noise.sigma)

    def answer() -> bool:
        assert letters is not None
        return letters

    return with_what_codecs_leave_in_rgb(replace(noise, evidence=replace(said, **evidence)), PEAK, answer)


def test_so_much_is_removed_as_it_is_sure_that_there_was_a_codec_and_noise():
    little = NoiseModel.of_sigma((0.4, 0.3, 0.5))
    assert told(little) == little
    assert told(little, thinned=1.0).sigma == pytest.approx((0.95,) * 3)
    assert told(little, False, thinned=1.0, left=1.0).sigma == pytest.approx((5.0,) * 3)
    assert told(little, False, thinned=0.5, left=0.5).sigma == pytest.approx(((0.95 + 4.05 / 2) / 2,) * 3)
    found = told(little, False, thinned=1.0, left=1.0)
    assert found.opponent == pytest.approx((2**0.5, 0.5**0.5, 0.5**0.5)) and found.planes[0].assumed
    assert found.evidence is not None and found.evidence.taken == "the codec's quantiser"
    # Letters are left alone but for little, unless there was noise for sure.
    assert told(little, True, thinned=1.0, left=0.6).sigma == pytest.approx((2.0,) * 3)
    assert told(little, thinned=1.0, left=1.0).sigma == pytest.approx((5.0,) * 3)
    # What quiet areas hold may tell of noise, too.
    for sigma, wanted in ((1.5, 1.5), (2.05, (0.95 + 5.0) / 2), (2.4, 5.0), (6.0, 6.0)):
        assert told(NoiseModel.of_sigma((sigma,) * 3), False, thinned=1.0).sigma == pytest.approx((wanted,) * 3)


def test_noise_keeps_its_curve_and_its_spectrum_beside_what_the_codec_did():
    varying = NoiseModel((PlaneNoise(3.0, ((40.0, 2.0), (200.0, 4.0))),) * 3, opponent=(1.2, 0.9, 0.88))
    found = told(varying, thinned=1.0, left=1.0)
    assert found.planes[0] == varying.planes[0].times(5 / 3) and found.opponent == varying.opponent
    found = told(varying.times((0.5,) * 3), thinned=1.0, left=1.0)
    assert found.planes == (PlaneNoise(5.0, assumed=True),) * 3 and found.opponent == varying.opponent
    clipped = NoiseModel((PlaneNoise(1.5, clipped=True),) * 3)
    assert told(clipped, thinned=1.0, left=1.0) == clipped
    coloured = replace(NoiseModel.of_sigma((4.0,) * 3), opponent=(1.2, 0.9, 0.88), opponent_spectra=(SPECTRUM,) * 3)
    found = told(coloured, False, thinned=1.0, left=1.0)
    assert found.sigma == pytest.approx((math.hypot(4.0 * math.hypot(1.2, 0.9, 0.88) / 3**0.5, 5.0),) * 3)
    for (spectrum, times), before, white in zip(opponents_of(found), coloured.opponent, (50, 12.5, 12.5), strict=True):
        energies = [(found.sigma[0] * times) ** 2 * value for value in spectrum]
        assert energies == pytest.approx([16 * before**2 * value + white for value in SPECTRUM], rel=1e-4)
