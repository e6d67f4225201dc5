"""Noise as cameras and codecs leave it: told by what is new in every frame, at every frequency, and removed."""

import numpy as np
import pytest
import skimage.data
import torch
from test_coded_noise import drifting, plane, through_h264
from test_little_noise import texture
from test_noise import PEAK
from torch import Tensor
from torch.nn import functional

import vnlsdenoise
from vnlsdenoise.noise import NoiseModel, PlaneNoise
from vnlsdenoise.noise.blocks import dct_matrix
from vnlsdenoise.noise.camera import Camera
from vnlsdenoise.noise.frames import _what_is_new, measure_noise
from vnlsdenoise.noise.grain import peak_of
from vnlsdenoise.noise.temporal import News, find_news, frequency_sums
from vnlsdenoise.noise.verdict import judge
from vnlsdenoise.planes import rgb_from_opponent
from vnlsdenoise.video.frame import PlaneFormat

# Noise is told by where there is much of it, and motion that is not quite followed adds to it: too much costs less.
_MOST_OVERSTATED = 1.5


def coarse_grain(shape: tuple[int, ...], sigma: float, seed: int = 0) -> Tensor:
    """[..., H, W] of deviation `sigma`: grain of some five pixels, next to nothing at the highest frequencies."""
    *stack, height, width = shape
    white = torch.randn((*stack, height, width), generator=torch.Generator().manual_seed(seed))
    kernel = torch.exp(-(torch.arange(-6, 7) ** 2) / (2 * 1.8**2))
    kernel = torch.outer(kernel, kernel)
    grain = functional.conv2d(white.reshape(-1, 1, height, width), kernel[None, None], padding=6).reshape(shape)
    return sigma * grain / grain.std()


def page(frames: int, noise: float = 0.0) -> Tensor:
    """Letters on paper that scroll by a pixel a frame, [T, H, W]."""
    random = torch.Generator().manual_seed(1)
    glyphs = torch.rand(30, 7, 5, generator=random) < 0.45
    sheet = torch.full((260, 256), 240.0)
    for row in range(4, 240, 13):
        for column in range(6, 240, 7):
            glyph = glyphs[int(torch.randint(30, (), generator=random))]
            sheet[row : row + 7, column : column + 5][glyph] = 40.0
    pages = torch.stack([sheet[t : t + 160] for t in range(frames)])
    return pages + noise * torch.randn(pages.shape, generator=random)


def grey(video: Tensor) -> tuple[list[list[Tensor]], PlaneFormat]:
    return [[frame] for frame in video], PlaneFormat("gray", video.shape[2], video.shape[1], 8)


def measured(video: Tensor) -> NoiseModel:
    frames, layout = grey(video)
    return measure_noise(frames, list, layout, PEAK)


@pytest.mark.parametrize("sigma", [2.0, 10.0, 30.0])
def test_white_noise_is_new_at_every_frequency_alike(sigma, device):
    """Choosing matches does not lower what is measured."""
    video = (drifting() + sigma * torch.randn(8, 192, 256)).to(device)
    evidence = find_news(8, lambda number: [video[number]], 1.0, False)
    [channel] = judge(evidence).channels
    assert channel.top == pytest.approx(sigma, rel=0.05)
    assert channel.low == pytest.approx(sigma, rel=0.08)


def test_texture_that_moves_by_whole_pixels_is_not_new(device):
    video = drifting().to(device)
    evidence = find_news(8, lambda number: [video[number]], 1.0, False)
    assert float(evidence[0].new.mean()) < 0.01 * float(evidence[0].own[:, 2:, 2:].mean())


def panning(frames: int = 8) -> Tensor:
    """Texture of four pixels and more that moves by 1.3 pixels down and 2.7 to the right a frame, [T, H, W]."""
    height, width = 192, 256
    random = torch.Generator().manual_seed(6)
    across, along = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    texture = torch.fft.rfft2(torch.randn(height, width, generator=random)) * ((across**2 + along**2).sqrt() < 0.25)
    shifted = [texture * torch.exp(-2j * torch.pi * t * (1.3 * across + 2.7 * along)) for t in range(frames)]
    video = torch.stack([torch.fft.irfft2(frame, s=(height, width)) for frame in shifted])
    return 128 + 20 * video / video.std()


def test_texture_that_moves_by_parts_of_a_pixel_is_hardly_new(device):
    video = panning().to(device)
    evidence = find_news(8, lambda number: [video[number]], 1.0, False)
    assert float(evidence[0].new.mean()) < 0.01 * float(evidence[0].own[:, 2:, 2:].mean())


def test_noise_is_measured_whole_over_what_moves_by_parts_of_a_pixel(device):
    """What interpolation takes away of it is counted."""
    video = (panning() + 6.0 * torch.randn(8, 192, 256, generator=torch.Generator().manual_seed(7))).to(device)
    evidence = find_news(8, lambda number: [video[number]], 1.0, False)
    sums = frequency_sums(device)
    for part in (evidence[0].new, evidence[0].apart):
        assert float(part[:, sums >= 23].mean()) ** 0.5 == pytest.approx(6.0, rel=0.05)
        assert 0.95 < float(part[:, (sums > 2) & (sums < 15)].mean()) ** 0.5 / 6.0 < 1.2  # motion adds a little


def test_noise_of_chroma_of_half_the_size_is_measured_whole(device):
    """Blocks of luma stand at odd places, too, and move by odd steps."""
    random = torch.Generator().manual_seed(8)
    luma = (panning() + 2 * torch.randn(8, 192, 256, generator=random)).to(device)
    chroma = (5.0 * torch.randn(8, 96, 128, generator=random)).to(device)
    _, told = find_news(8, lambda number: [luma[number], chroma[number]], 1.0, False)
    sums = frequency_sums(device)
    for part in (told.new, told.apart):
        for chosen in (sums >= 23, (sums > 2) & (sums < 15)):
            assert float(part[:, chosen].mean()) ** 0.5 == pytest.approx(5.0, rel=0.03)


@pytest.mark.parametrize("count", [2, 8])
def test_coarse_grain_is_measured_whole(count, device):
    video = (drifting(count) + coarse_grain((count, 192, 256), 6.0)).to(device)
    [noise] = measured(video).planes
    assert noise.correlated
    assert 0.9 < noise.sigma / 6.0 < _MOST_OVERSTATED
    spectrum = torch.tensor(noise.spectrum).view(16, 16)
    assert float(spectrum[:4, :4].mean()) > 100 * float(spectrum[10:, 10:].mean())


def test_where_some_parts_have_more_noise_their_noise_counts(device):
    share = torch.where(torch.arange(256) < 128, 0.5, 1.0)
    video = (drifting() + share * coarse_grain((8, 192, 256), 8.0)).to(device)
    assert 0.9 < measured(video).planes[0].sigma / 8.0 < _MOST_OVERSTATED


def test_coarse_grain_is_removed(device):
    """Better than any deviation of white noise does."""
    clean = drifting()
    video = (clean + coarse_grain((8, 192, 256), 6.0))[:, None].to(device)

    def error(noise: NoiseModel | float | None) -> float:
        out = vnlsdenoise.denoise(video, noise, preset="fast", peak=PEAK, scene_cuts=False)
        return float((out[:, 0].cpu() - clean).square().mean())

    assert error(None) < 0.9 * min(error(sigma) for sigma in (6.0, 12.0, 20.0))


@pytest.mark.parametrize("crf", [18, 23])
def test_clean_text_is_no_noise(crf, device):
    luma = plane(through_h264(page(12), crf), 0).to(device)
    noise = measured(luma)
    assert noise.sigma[0] < 1 and noise.clipped_rgb is None and not noise.correlated


def test_text_over_noise_is_no_more_noise_than_there_is(device):
    noise = measured(page(12, 6.0).to(device))
    assert noise.sigma[0] == pytest.approx(6.0, rel=0.15)


def test_colours_share_the_grain_of_a_camera(device):
    shared = coarse_grain((6, 1, 192, 256), 6.0) + coarse_grain((6, 3, 192, 256), 1.0, 1)
    video = (drifting(6)[:, None] + shared).to(device)
    noise = measure_noise(list(video), list, PlaneFormat("rgb", 256, 192, 8), PEAK)
    assert noise.correlated and len(noise.opponent_spectra) == 3
    assert noise.opponent[0] > 5 * max(noise.opponent[1:])
    assert noise.as_dict()["opponent_spectra"][0] == list(noise.opponent_spectra[0])


@pytest.mark.parametrize("family", ["rgb", "yuv"])
def test_what_is_less_sure_to_be_noise_is_taken_in_part(family: str, monkeypatch, device):
    """Cameras through a codec, where all is texture."""
    grain = coarse_grain((6, 1, 192, 256), 6.0) + coarse_grain((6, 3, 192, 256), 1.0, 1)
    video = list((drifting(6)[:, None] + grain).to(device))
    layout = RGB if family == "rgb" else PlaneFormat("yuv", 256, 192, 8)

    def told(trust: float, everywhere: float = 1.0) -> float:
        judged = "vnlsdenoise.noise.frames._what_is_new"
        said = {"trust": trust, "everywhere": everywhere}
        monkeypatch.setattr(judged, lambda *args: _what_is_new(*args)._replace(**said))
        return measure_noise(video, list, layout, PEAK).sigma[0]

    whole = told(0.4)
    assert told(1.0) == whole > 5
    assert told(0.3) == pytest.approx(whole / 2)
    assert told(0.2) < whole / 4
    if family == "yuv":  # of running water little that is new is in flat blocks
        assert told(0.4, everywhere=0.15) < whole / 4


def test_chroma_has_its_own_grain(device):
    planes = [drifting(6) + coarse_grain((6, 192, 256), 6.0)]
    planes += [128 + coarse_grain((6, 96, 128), 3.0, seed) for seed in (1, 2)]
    frames = [[p.to(device) for p in frame] for frame in zip(*planes, strict=True)]
    noise = measure_noise(frames, list, PlaneFormat("yuv", 256, 192, 8, 1, 1), PEAK)
    assert all(plane.correlated for plane in noise.planes)
    for found, true in zip(noise.sigma, (6.0, 3.0, 3.0), strict=True):
        assert 0.9 < found / true < _MOST_OVERSTATED


def test_frames_too_small_or_alone_have_no_second_witness(device):
    assert find_news(4, lambda _: [torch.zeros(12, 40, device=device)], 1.0, False) is None
    assert find_news(1, lambda _: [torch.zeros(64, 64, device=device)], 1.0, False) is None


@pytest.mark.parametrize("family", ["gray", "yuv", "rgb"])
def test_black_frames_have_no_noise(family: str, device: str) -> None:
    layout = PlaneFormat(family, 256, 192, 8, *((1, 1) if family == "yuv" else ()))
    frames = [[torch.zeros(shape) for shape in layout.plane_shapes] for _ in range(6)]
    noise = measure_noise(frames, lambda frame: [plane.to(device) for plane in frame], layout, PEAK)
    assert noise.sigma == (0.0,) * len(layout.plane_shapes)
    assert noise.evidence is not None and noise.evidence.trust == 0


def test_opponent_spectra_are_of_the_opponent_channels():
    spectrum = (1.0,) * 256
    with pytest.raises(ValueError, match="opponent_spectra"):
        NoiseModel((PlaneNoise(1.0),) * 3, opponent=(1.0, 1.0, 1.0), opponent_spectra=(spectrum,))
    with pytest.raises(ValueError, match="64 or 256"):
        NoiseModel((PlaneNoise(1.0),) * 3, opponent=(1.0,) * 3, opponent_spectra=((1.0,),) * 3)


def test_a_single_picture_of_a_camera_is_told_by_the_shape_of_its_noise(device):
    """Noise that falls over the frequencies as that of cameras, on a picture with flat areas; white noise is none."""
    random = torch.Generator().manual_seed(3)
    white = torch.randn(3, 256, 256, generator=random)
    pairs = torch.arange(256, device="cpu")[:, None] + torch.arange(256)
    transform = dct_matrix(256, white)
    shaped = [transform.T @ (w * torch.exp(-pairs * (16 / 256) / 8)) @ transform for w in white]
    noise = torch.stack(rgb_from_opponent([shaped[0], 0.2 * shaped[1], 0.2 * shaped[2]]))
    noise *= 5 / noise.std()
    clean = 60 + 60 * (torch.arange(256) // 64 % 2).expand(3, 256, 256).float()
    layout = PlaneFormat("rgb", 256, 256, 8)

    def model(picture: Tensor) -> NoiseModel:
        return measure_noise([list(picture.to(device))], list, layout, PEAK)

    found = model((clean + noise).round())
    assert found.opponent_spectra and 0.7 < found.sigma[0] / 5 < 1.5
    assert found.opponent[1] < 0.7 * found.opponent[0]
    assert not model(clean + 5 * white).opponent_spectra
    assert max(model(clean).sigma) < 0.5
    out = vnlsdenoise.denoise((clean + noise).round()[None].to(device), None, preset="fast", peak=PEAK)[0].cpu()
    assert float((out - clean).square().mean()) < 0.5 * float(noise.square().mean())


RGB = PlaneFormat("rgb", 256, 192, 8)


def unfollowed(frames: int) -> Tensor:
    """A grey picture that leaps farther than flow follows, [T, 1, H, W]."""
    picture = torch.from_numpy(skimage.data.astronaut().astype(np.float32)).mean(-1)
    places = [(0, 0), (200, 90), (60, 256), (300, 20), (110, 130), (250, 200)]
    return torch.stack([picture[y : y + 192, x : x + 256][None] for y, x in places[:frames]])


def demosaicked(noise: Tensor) -> Tensor:
    """[T, 3, H, W]: of white noise what a mosaic's sensors saw, interpolated linearly."""
    rows, columns = torch.meshgrid(torch.arange(noise.shape[2]), torch.arange(noise.shape[3]), indexing="ij")
    red, blue = (rows % 2 == 0) & (columns % 2 == 0), (rows % 2 == 1) & (columns % 2 == 1)
    masks = torch.stack([red, ~(red | blue), blue]).to(noise)
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    parts = [
        functional.conv2d(part * mask, kernel[None, None], padding=1)
        / functional.conv2d(mask[None, None], kernel[None, None], padding=1)
        for part, mask in zip(noise.split(1, 1), masks, strict=True)
    ]
    return torch.cat(parts, 1)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 6.0])
def test_differences_of_colours_tell_white_noise_under_grey_texture(sigma, device):
    noise = sigma * torch.randn(6, 3, 192, 256, generator=torch.Generator().manual_seed(5))
    video = (unfollowed(6) + noise).to(device)
    found = measure_noise(list(video), list, RGB, PEAK)
    assert found.sigma == pytest.approx((sigma,) * 3, rel=0.1)


def test_white_noise_that_colours_share_is_not_taken_for_texture(device):
    random = torch.Generator().manual_seed(6)
    noise = 6 * torch.randn(6, 1, 192, 256, generator=random) + torch.randn(6, 3, 192, 256, generator=random)
    video = (drifting(6)[:, None] + noise).to(device)
    assert min(measure_noise(list(video), list, RGB, PEAK).sigma) > 5.5


@pytest.mark.parametrize("sigma", [6.0, 15.0])
def test_noise_of_a_mosaic_of_sensors_is_told_where_motion_is_not_found(sigma, device):
    noise = demosaicked(sigma * torch.randn(6, 3, 192, 256, generator=torch.Generator().manual_seed(7)))
    video = (unfollowed(6) + noise).to(device)
    found = measure_noise(list(video), list, RGB, PEAK)
    assert found.correlated
    assert found.sigma[0] == pytest.approx(float(noise.std()), rel=0.15)
    clean = measure_noise(list(unfollowed(6).expand(6, 3, 192, 256).to(device)), list, RGB, PEAK)
    assert not clean.correlated


@pytest.mark.parametrize(("contrast", "gain"), [(15, 0.0005), (30, 0.002)])
def test_colours_that_a_mosaic_makes_of_fine_texture_are_no_noise(contrast, gain, device):
    """They are others in every frame where the texture turns."""
    camera, random = Camera(gain, gain / 2), torch.Generator().manual_seed(2)
    pairs = [camera.recorded(picture / PEAK, random) for picture in texture(contrast=contrast).clamp(0, PEAK)]
    noisy, clean = (torch.stack(side).mul(PEAK).round() for side in zip(*pairs, strict=True))
    layout = PlaneFormat("rgb", noisy.shape[3], noisy.shape[2], 8)
    found = measure_noise(list(noisy.to(device)), list, layout, PEAK)
    assert found.sigma == pytest.approx((float((noisy - clean).std()),) * 3, rel=0.1)


def test_what_clipping_left_does_not_bound_what_the_noise_was(device):
    """Where flat areas are dark, half of the noise is left in them."""
    level = 8 + 120 * (torch.arange(256) >= 176).float().expand(6, 3, 192, 256) + 10 * torch.rand(1, 1, 192, 256)
    noise = 40 * torch.randn(6, 3, 192, 256, generator=torch.Generator().manual_seed(8))
    video = (level + noise).round().clamp(0, PEAK).to(device)
    found = measure_noise(list(video), list, RGB, PEAK)
    assert found.clipped and found.sigma == pytest.approx((40.0,) * 3, rel=0.1)


@pytest.mark.parametrize(("held", "share", "moves", "is_noise"), [
    (0.6, 0.12, 1.1, True),  # a codec has left less noise in flat blocks
    (3.0, 0.6, 1.1, True),  # flat blocks hold some texture as well
    (5.0, 0.12, 1.1, False),  # texture whose motion was not found shows least in flat blocks
    (3.0, 0.6, 4.0, False),  # texture that moves by parts of a pixel
])  # fmt: skip
def test_noise_that_flat_blocks_have_less_of_is_told_from_texture(
    held: float, share: float, moves: float, is_noise: bool
) -> None:
    random = torch.Generator().manual_seed(3)
    sums = frequency_sums(torch.device("cpu"))
    shape = torch.exp(-sums / 4.0) ** 2 * 400
    level = torch.ones(600, 1, 1)
    level[:60] = share / (0.9 + 0.1 * share)
    new = shape * level * torch.rand(600, 16, 16, generator=random).add(0.5)
    own = new * held
    own[60:] = 40 * shape
    slow = sums == 1
    apart = torch.where(slow, moves * new, 1.3 * new)
    verdict = judge([News(new, apart, own)])
    assert verdict is not None and (verdict.trust > 0.5) == is_noise, verdict.trust


def news_in_parts(
    level: float,
    share: float,
    carried: float,
    again: float,
    *,
    pattern: float = 1.0,
    rest: float = 1.0,
    held: float = 1.0,
) -> tuple[News, float]:
    """What is new in flat blocks, `level` times its deviation in a share of the others; and the deviation in flat ones.

    carried: what the frames on both sides do not share, of what is new in the others. again: all that they hold, of it.
    pattern: times that what is new in that share is more at one frequency. rest: as `level`, of those that are left.
    held: as `again`, of flat blocks.
    """
    random = torch.Generator().manual_seed(4)
    sums = frequency_sums(torch.device("cpu"))
    shape = (torch.exp(-sums / 4.0) ** 2 * 400).expand(600, 16, 16)
    many = slice(-round(600 * share), None)
    deviation = torch.full((600, 1, 1), rest)
    deviation[:60], deviation[many] = 1.0, level
    new = shape * deviation**2 * torch.rand(600, 16, 16, generator=random).add(0.5)
    new[many, 11:14, 0:3] *= pattern
    own = again * new
    own[:60] = held * new[:60]
    apart = torch.where(sums == 1, new, carried * new)
    apart[:60] = new[:60]
    return News(new, apart, own), float(new[:60].mean()) ** 0.5


@pytest.mark.parametrize(("level", "share", "carried", "held", "counts"), [
    (2.5, 0.4, 0.8, 1.0, True),  # a camera has reduced the noise of flat areas
    (7.0, 0.08, 0.8, 1.0, False),  # texture that was not found again in a small part of the picture
    (2.5, 0.4, 1.3, 1.0, False),  # motion that was missed: the frames on both sides differ more
    (2.5, 0.4, 0.8, 4.0, False),  # flat blocks hold texture, and more so do those with more that is new
])  # fmt: skip
def test_parts_with_more_that_is_new_tell_noise_or_texture(
    level: float, share: float, carried: float, held: float, counts: bool
) -> None:
    news, flat = news_in_parts(level, share, carried, 40.0, held=held)
    verdict = judge([news])
    assert verdict is not None
    assert (verdict.channels[0].deviation > 1.5 * flat) == counts, verdict.channels[0].deviation / flat


def aliasing_windows(frames: int, contrast: float, step: tuple[float, float]) -> Tensor:
    """A pan over houses far away, [T, 160, 224]: soft texture, and windows 2.13 pixels apart, clearer here than there.

    Hard edges at every sample: as they move, (down, right) pixels a frame, they alias to other patterns.
    """
    random = torch.Generator().manual_seed(3)
    height, width = 256, 320
    down, right = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    frequency = (down**2 + right**2).sqrt()

    def soft(highest: float, floor: float) -> Tensor:
        white = torch.fft.rfft2(torch.randn(height, width, generator=random))
        return white * (frequency < highest) / (frequency + floor)

    texture, clear = soft(0.2, 0.02), soft(0.04, 1.0)
    columns, video = torch.arange(width), []
    for t in range(frames):
        shift = torch.exp(-2j * torch.pi * t * (step[0] * down + step[1] * right))
        below, share = (torch.fft.irfft2(field * shift, s=(height, width)) for field in (texture, clear))
        share = (0.6 * share / share.std() + 0.5).clamp(0.05, 1.5)
        windows = torch.cos(2 * torch.pi * (columns - t * step[1]) / 2.13).sign()
        video.append(128 + 24 * below / below.std() + contrast * share * windows)
    return torch.stack(video)[:, :160, :224].clamp(0, PEAK)


@pytest.mark.parametrize(("contrast", "step"), [(20.0, (0.4, 1.3)), (40.0, (0.0, 2.51))])
@pytest.mark.parametrize("crf", [0, 20])
def test_a_pan_over_regular_texture_that_aliases_is_clean(
    contrast: float, step: tuple[float, float], crf: int, device: torch.device
) -> None:
    """It is another pattern in every frame, of one frequency."""
    video = aliasing_windows(12, contrast, step)
    luma = plane(through_h264(video, crf), 0) if crf else video.round()
    noise = measured(luma.to(device))
    assert noise.sigma[0] < 1.5 and not noise.correlated, noise.evidence


def test_a_peak_is_that_of_a_pattern_whatever_has_filtered_noise(device):
    random = torch.Generator().manual_seed(9)
    sums, order = frequency_sums(torch.device("cpu")), torch.arange(16)
    drawn = (1 + 0.1 * torch.randn(16, 16, generator=random)).to(device)  # of some 200 blocks
    for shape in (torch.ones(16, 16), torch.exp(-sums / 3.0), torch.exp(-order / 2.0).expand(16, 16)):
        assert peak_of(shape.to(device) * drawn) < 1.5
    blurred_by_lines = torch.exp(-order / 2.0).expand(16, 16).to(device) * drawn
    for variance in (drawn, blurred_by_lines):
        pattern = variance.clone()
        pattern[0:2, 14:16] += 12 * variance.mean()
        assert peak_of(pattern) > 4


@pytest.mark.parametrize(("carried", "again", "pattern", "counts"), [
    (0.8, 40.0, 1.0, True),  # a camera has reduced the noise of flat areas
    (0.8, 8.0, 1.0, True),  # the same over a picture so flat that its motion does not show
    (1.04, 8.0, 1.0, False),  # most motion was missed
    (0.8, 40.0, 400.0, False),  # a regular texture that aliases
])  # fmt: skip
def test_parts_with_more_that_is_new_are_no_noise_where_motion_was_missed_or_a_pattern_aliases(
    carried: float, again: float, pattern: float, counts: bool
) -> None:
    news, flat = news_in_parts(2.5, 0.4, carried, again, pattern=pattern)
    verdict = judge([news])
    assert verdict is not None
    assert (verdict.channels[0].deviation > 1.5 * flat) == counts, verdict.channels[0].deviation / flat


@pytest.mark.parametrize(("level", "again", "held", "is_noise"), [
    (2.0, 8.0, 1.0, True),  # coarse noise over a flat picture
    (3.8, 8.0, 1.0, False),  # waves, which are small far away
    (2.0, 8.0, 1.4, False),  # near by, flat blocks hold some of what stays
    (2.6, 20.0, 1.4, True),  # most blocks were found again: only a part of the picture was missed
])  # fmt: skip
def test_running_water_is_no_noise(level: float, again: float, held: float, is_noise: bool) -> None:
    """All of it is new in every frame, at every frequency, and little of it is found again."""
    news, _ = news_in_parts(level, 0.15, 1.0, again, rest=1.5, held=held)
    news.own[-60:] = news.new[-60:]  # where motion was missed
    verdict = judge([news])
    assert verdict is not None and (verdict.trust > 0.5) == is_noise, verdict.trust


@pytest.mark.parametrize(("level", "is_noise"), [
    (1.2, True),  # strong noise over a flat picture, in which a few blocks have moved unseen
    (2.2, False),  # blocks that were taken for others: they have more that is new at every frequency
])  # fmt: skip
def test_noise_that_is_alike_everywhere_is_told_where_a_few_blocks_have_moved_unseen(
    level: float, is_noise: bool
) -> None:
    news, flat = news_in_parts(level, 0.15, 1.0, 8.0)
    moved, slow = slice(-90, None), frequency_sums(torch.device("cpu")) == 1
    news.apart[moved] = torch.where(slow, 3.0 * news.new[moved], news.apart[moved])
    verdict = judge([news])
    assert verdict is not None and (verdict.trust > 0.5) == is_noise, verdict.trust
    assert verdict.channels[0].deviation < 1.2 * flat
