"""The network behind the classic denoiser, through the front door and on the planes of every layout."""

import math
from dataclasses import replace
from typing import cast

import pytest
import skimage.data
import torch

import vnlsdenoise
from vnlsdenoise.classic.denoiser import ClassicDenoiser
from vnlsdenoise.classic.motion import Tvl1Motion
from vnlsdenoise.classic.pager import Pager
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.engine.local import predict_memory
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.errors import MemoryLimitError, UsageError
from vnlsdenoise.learned.checkpoint import Header, load_network, save_network
from vnlsdenoise.learned.chunks import CHUNK, RUN_IN
from vnlsdenoise.learned.denoiser import Channel, LearnedDenoiser, for_inference
from vnlsdenoise.learned.network import Dimensions, Network
from vnlsdenoise.noise import NoiseModel, PlaneNoise
from vnlsdenoise.video.frame import PlaneFormat

TINY = Dimensions((8, 8, 8), 0, (1, 1, 1), 1)


def clip(frames=6, height=72, width=88):
    """A photograph under a moving camera: [T, 3, H, W], 0..255."""
    photo = torch.from_numpy(skimage.data.astronaut()).float().permute(2, 0, 1)
    return torch.stack([photo[:, 60 + t : 60 + t + height, 150 + 2 * t : 150 + 2 * t + width] for t in range(frames)])


def psnr(video, clean):
    return float(10 * torch.log10(255**2 / ((video - clean) ** 2).mean((1, 2, 3))).mean())


@pytest.fixture
def network():
    """A network that changes something, of no sense."""
    network = Network(TINY)
    for tail in network.tails.values():
        torch.nn.init.normal_(tail.conv.weight, std=0.05)
    return network.eval().requires_grad_(False)


@pytest.fixture
def weights(network, tmp_path):
    save_network(tmp_path / "tiny.safetensors", Header(TINY), network.state_dict())
    return str(tmp_path / "tiny.safetensors")


@pytest.mark.parametrize(("sigma", "gain"), [(10.0, 0.01), (40.0, 0.1)])
def test_the_shipped_network_is_better_than_what_it_starts_from(device, sigma, gain):
    clean = clip()
    noisy = (clean + sigma * torch.randn_like(clean)).to(device)
    classic = vnlsdenoise.denoise(noisy, sigma, preset="fast").cpu()
    learned = vnlsdenoise.denoise(noisy, sigma, method="learned").cpu()
    assert psnr(learned, clean) > psnr(classic, clean) + gain


def test_the_batch_and_repeats_do_not_change_a_bit(device, weights):
    noisy = (clip() + 20 * torch.randn(6, 3, 72, 88)).to(device)
    options = {"method": "learned", "weights": weights}
    whole = vnlsdenoise.denoise(noisy, 20.0, **options)
    assert not torch.equal(whole, vnlsdenoise.denoise(noisy, 20.0, preset="fast"))
    for batch in (None, 1, 37):
        assert torch.equal(vnlsdenoise.denoise(noisy, 20.0, batch=batch, **options), whole)


def test_a_network_corrects_the_preset_that_is_asked_for(device):
    noisy = (clip() + 20 * torch.randn(6, 3, 72, 88)).to(device)
    usual, asked = (vnlsdenoise.denoise(noisy, 20.0, method="learned", preset=p) for p in (None, "balanced"))
    assert torch.equal(usual, vnlsdenoise.denoise(noisy, 20.0, method="learned", preset="fast"))
    assert not torch.equal(usual, asked)
    with pytest.raises(UsageError, match="does not work behind preset draft"):
        vnlsdenoise.denoise(noisy, 20.0, method="learned", preset="draft")


def planes_of(layout, frames, sigma, device):
    clean = [torch.full(shape, 90.0 + 20 * i, device=device) for i, shape in enumerate(layout.plane_shapes)]
    noisy = [[p + s * torch.randn_like(p) for p, s in zip(clean, sigma, strict=True)] for _ in range(frames)]
    return clean, noisy


def denoised(layout, noisy, sigma, network, device, assumed=(False,) * 3):
    placed = for_inference(network, torch.device(device)) if network is not None else None
    noise = NoiseModel(tuple(PlaneNoise(s, assumed=a) for s, a in zip(sigma, assumed, strict=False)))
    denoiser = PlanarDenoiser(layout, noise, PRESETS["fast"], peak=255, network=placed)
    out = []
    for planes in noisy:
        out.extend(denoiser.push(planes))
    out.extend(denoiser.flush())
    return out


@pytest.mark.parametrize(
    ("family", "chroma_x", "chroma_y"),
    [("gray", 0, 0), ("yuv", 0, 0), ("yuv", 1, 1), ("yuv", 1, 0), ("yuv", 0, 1), ("rgb", 0, 0)],
)
@pytest.mark.parametrize(("height", "width", "left"), [(71, 93, 1 / 4), (18, 20, 1 / 3)])
def test_planes_of_every_layout_keep_their_shapes_and_lose_noise(
    device, family, chroma_x, chroma_y, height, width, left
):
    layout = PlaneFormat(family, width, height, 8, chroma_x, chroma_y)
    sigma = (20.0, 5.0, 10.0)[: len(layout.plane_shapes)]
    clean, noisy = planes_of(layout, 4, sigma, device)
    out = denoised(layout, noisy, sigma, load_network("small"), device)
    assert len(out) == 4
    for planes in out:
        for plane, wanted, s in zip(planes, clean, sigma, strict=True):
            assert plane.shape == wanted.shape
            assert float((plane - wanted).std()) < left * s


def test_a_network_changes_colours_no_more_than_the_classic_denoiser_did(device):
    """Of one that puts in far too much: noise that is told, but not there, is no reason for as much detail."""
    layout, sigma, network = PlaneFormat("yuv", 50, 38, 8, 1, 1), (12.0, 6.0, 8.0), Network(TINY)
    for tail in network.tails.values():
        torch.nn.init.normal_(tail.conv.weight, std=20)
    _, noisy = planes_of(layout, 3, sigma, device)
    classic, learned = (denoised(layout, noisy, sigma, which, device) for which in (None, network))
    for given, one, other in zip(noisy, classic, learned, strict=True):
        for unclean, cleaned, changed in list(zip(given, one, other, strict=True))[1:]:
            most = (unclean - cleaned).square().mean().sqrt()
            assert 0.9 * most < (changed - cleaned).square().mean().sqrt() < 1.01 * most


def test_an_untrained_network_gives_the_classic_result(device):
    layout = PlaneFormat("yuv", 50, 38, 8, 1, 1)
    sigma = (12.0, 6.0, 8.0)
    _, noisy = planes_of(layout, 3, sigma, device)
    classic = denoised(layout, noisy, sigma, None, device)
    learned = denoised(layout, noisy, sigma, Network(TINY), device)
    for one, other in zip(classic, learned, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class AtOnce:
    """Stands for a classic denoiser whose results are the frames, blurred, as soon as they come."""

    def __init__(self, pager):
        self._pager = pager
        self._ready = []

    def add(self, frame, chroma):
        self._ready.append((self._pager.keep(torch.nn.functional.avg_pool2d(frame, 3, 1, 1)), chroma))
        return self._pager.keep(frame)

    def advance(self):
        ready, self._ready = self._ready, []
        yield from ready

    def flush(self):
        yield from self.advance()


def corrected(frames, network, device):
    pager = Pager()
    classic = cast(ClassicDenoiser, AtOnce(pager))
    size = frames[0].shape[-2:]
    channels = [Channel(20.0, 0.5)]
    denoiser = LearnedDenoiser(classic, network, "gray", *size, channels, Tvl1Motion(12.0), pager)
    out = []
    for frame in frames:
        denoiser.add(frame.to(device))
        out += [page.here for page, _ in denoiser.advance()]
    waiting = len(frames) - len(out)
    return out + [page.here for page, _ in denoiser.flush()], waiting


@torch.no_grad()
def test_a_chunk_sees_some_frames_beyond_it_and_no_others(device, network):
    placed = for_inference(network, torch.device(device))
    frames = [10 + torch.randn(1, 32, 40) for _ in range(2 * CHUNK + RUN_IN)]
    whole, waiting = corrected(frames, placed, device)
    assert len(whole) == len(frames) and waiting == RUN_IN
    for count in (1, CHUNK - 1, CHUNK + 1, CHUNK + RUN_IN):
        assert len(corrected(frames[:count], placed, device)[0]) == count
    ended = corrected(frames[: CHUNK + RUN_IN], placed, device)[0]
    assert all(torch.equal(a, b) for a, b in zip(whole[:CHUNK], ended[:CHUNK], strict=True))
    early = corrected(frames[: CHUNK + RUN_IN - 1], placed, device)[0]
    assert not torch.equal(whole[CHUNK - 1], early[CHUNK - 1])


@pytest.mark.parametrize(
    ("family", "chroma_x", "chroma_y"), [("gray", 0, 0), ("yuv", 0, 0), ("yuv", 1, 1), ("yuv", 1, 0)]
)
@pytest.mark.parametrize("assumed", [(True, True, True), (False, True, True), (False, False, False)])
def test_where_a_deviation_is_assumed_no_more_than_half_of_what_was_removed_is_corrected(
    device, network, family, chroma_x, chroma_y, assumed
):
    """Else colours are corrected by no more than was removed, and luma by what the network says."""
    for tail in network.tails.values():
        torch.nn.init.constant_(tail.conv.bias, 3.0)  # far more than there is
    layout = PlaneFormat(family, 96, 64, 8, chroma_x, chroma_y)
    sigma = (6.0, 3.0, 4.0)[: len(layout.plane_shapes)]
    _, noisy = planes_of(layout, 3, sigma, device)
    classic = denoised(layout, noisy, sigma, None, device)
    learned = denoised(layout, noisy, sigma, network, device, assumed)
    most = [0.5 if of_plane else least for of_plane, least in zip(assumed, (torch.inf, 1.0, 1.0), strict=True)]
    for frames in zip(noisy, classic, learned, strict=True):
        for times, plane, before, after in zip(most, *frames, strict=False):
            share = float((after - before).norm() / (plane - before).norm())
            assert share == pytest.approx(times, rel=1e-3) if times < torch.inf else share > 2


def test_the_coarser_the_noise_of_colours_is_the_less_a_network_corrects_of_them():
    """Of R, G and B, by how flat the spectra of their differences are."""
    flat, steep = (1.0,) * 64, (80.0, *(0.1,) * 63)
    layout = PlaneFormat("rgb", 64, 64, 8)

    def most(*spectra):
        noise = NoiseModel((PlaneNoise(5.0),) * 3, (1.0, 0.5, 0.5), spectra)
        facts = PlanarDenoiser(layout, noise, PRESETS["fast"], peak=255.0).channel_facts(noise)
        return [channel.most for channel in facts]

    assert most() == most(flat, flat, flat) == [math.inf, 1, 1]
    luma, one, other = most(steep, (3.0, *(0.8,) * 63), steep)
    flatness = 80 ** (1 / 64) * 0.1 ** (63 / 64) / ((80 + 63 * 0.1) / 64)
    assert luma == math.inf and one == 1 and other == pytest.approx((flatness / 0.3) ** 2) and other < 1


def test_a_network_is_told_the_spectrum_of_the_noise_and_what_is_assumed():
    steep = (80.0, *(0.1,) * 63)
    planes = PlaneNoise(5.0, spectrum=steep), PlaneNoise(4.0, assumed=True), PlaneNoise(4.0)
    noise, layout = NoiseModel(planes), PlaneFormat("yuv", 64, 64, 8)
    facts = PlanarDenoiser(layout, noise, PRESETS["fast"], peak=255.0).channel_facts(noise)
    told = [channel.traits for channel in facts]
    flatness = 80 ** (1 / 64) * 0.1 ** (63 / 64) / ((80 + 63 * 0.1) / 64)
    assert told[0] == pytest.approx((math.log(flatness), 0.0))
    assert told[1:] == [(0.0, 1.0), (0.0, 0.0)]
    # Noise next to without some frequency is told as what is hardly flat at all.
    assert Channel(1.0, 0.0, flatness=1e-9).traits == (math.log(0.01), 0.0)


def test_a_limit_is_the_same_for_any_number_of_threads(network):
    """Of a width that maps are wider than, and so many samples that sums of them are shared."""
    torch.nn.init.constant_(network.tails["gray"].conv.bias, 3.0)
    layout, sigma = PlaneFormat("gray", 350, 286, 8), (6.0,)
    _, noisy = planes_of(layout, 2, sigma, "cpu")
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(denoised(layout, noisy, sigma, network, "cpu", (True,)))
    finally:
        torch.set_num_threads(threads)
    for frames in zip(*found, strict=True):
        assert all(torch.equal(frames[0][0], other[0]) for other in frames[1:])


def test_values_that_are_none_leave_the_classic_result_and_say_so(device, network):
    layout = PlaneFormat("rgb", 40, 32, 8)
    sigma = (10.0, 10.0, 10.0)
    _, noisy = planes_of(layout, 3, sigma, device)
    classic = denoised(layout, noisy, sigma, None, device)
    torch.nn.init.constant_(network.tails["444"].conv.bias, float("nan"))
    with pytest.warns(UserWarning, match="no usable values for 3 frames"):
        learned = denoised(layout, noisy, sigma, network, device)
    for one, other in zip(classic, learned, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_no_noise_and_all_grain_give_the_input_back(device, weights):
    video = clip(3).to(device)
    assert torch.equal(vnlsdenoise.denoise(video, 0.0, method="learned", weights=weights), video)
    assert torch.equal(vnlsdenoise.denoise(video, 9.0, method="learned", weights=weights, keep_grain=1.0), video)


def test_the_predicted_memory_counts_the_network():
    layout = PlaneFormat("yuv", 1920, 1080, 8, 1, 1)
    classic = DenoiseSettings(None, preset="fast")
    learned = replace(classic, method="learned")
    more = predict_memory(layout, learned) - predict_memory(layout, classic)
    states = (CHUNK + 2 * RUN_IN) * 48 * 960 * 540 * 4
    assert states < more < 3 * states


def test_wrong_requests_are_named():
    video = clip(2)
    with pytest.raises(UsageError, match="no such method: 'magic'; there are: classic, learned, auto"):
        vnlsdenoise.denoise(video, 9.0, method="magic")
    with pytest.raises(UsageError, match="no such weights: 'huge'"):
        vnlsdenoise.denoise(video, 9.0, method="learned", weights="huge")
    with pytest.raises(
        MemoryLimitError, match=r"with the learned method needs .*; allow more or take --method classic"
    ):
        vnlsdenoise.denoise(video, 9.0, method="learned", max_memory=2**20)
    auto = vnlsdenoise.denoise(video, 9.0, method="auto", preset="fast")
    assert torch.equal(auto, vnlsdenoise.denoise(video, 9.0, preset="fast"))


def test_an_unknown_method_is_refused_even_where_nothing_is_to_be_done():
    with pytest.raises(UsageError, match="no such method"):
        vnlsdenoise.denoise(torch.zeros(1, 1, 8, 8), 0.0, method="magic")
