"""What training is made of: mosaics, noise, crops, the loss, the optimiser, the schedule."""

import dataclasses
import json
import threading
from itertools import count, product

import numpy as np
import pytest
import torch
from torch.nn import functional
from training_runs import settings, train

from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.denoiser import Channel
from vnlsdenoise.learned.network import TRAITS, Dimensions, Frames, Network
from vnlsdenoise.learned.passes import limited, magnitude
from vnlsdenoise.training.ahead import Ahead
from vnlsdenoise.training.degradation import Channels, Degraded, Mixture, Noise, degrade, mean_of_clipped
from vnlsdenoise.training.footage import Footage, Source, find_sources
from vnlsdenoise.training.objective import squared_error
from vnlsdenoise.training.optimiser import orthogonalised
from vnlsdenoise.training.pool import Batch, Plate, PlateMaker, Pool
from vnlsdenoise.training.scenery import Grid, Scenery
from vnlsdenoise.training.schedule import Length, Schedule

CPU = torch.device("cpu")


def test_what_is_made_ahead_comes_in_the_order_of_its_numbers():
    """Whatever ends first; of each thread one is begun, and by itself."""
    slow, ended, begun = threading.Event(), threading.Event(), []

    def made(thread):
        def make(number):
            begun.append((thread, number))
            assert number or slow.wait(10)
            if number == 1:
                ended.set()
            return number

        return make

    kept = []
    with Ahead(CPU, [made("one"), made("other")], range(5)) as ahead:
        assert ended.wait(10) and not ahead.ready
        slow.set()
        for _ in range(5):
            ahead.hand_over(kept.append)
        assert not ahead.ready
    assert kept == [0, 1, 2, 3, 4]
    assert sorted(begun) == [("one", 0), ("one", 2), ("one", 4), ("other", 1), ("other", 3)]


def test_a_plate_is_made_beside():
    going_on, plates = threading.Event(), []

    def made(number):
        going_on.wait(10)
        return number

    with Ahead(CPU, [made], count()) as ahead:
        assert not ahead.ready
        going_on.set()
        ahead.hand_over(plates.append)
        assert plates == [0]


def test_what_cannot_be_made_ahead_is_told():
    def broken(number):
        raise InputError("no such footage")

    with Ahead(CPU, [broken], count()) as ahead, pytest.raises(InputError, match="no such footage"):
        ahead.hand_over(lambda plate: None)


def test_no_state_crosses_into_another_scene():
    """A clip of two scenes at once is both of them by themselves."""
    generator = torch.Generator().manual_seed(0)
    network = Network(Dimensions((16, 16, 16), 0, (1, 1, 1), 1)).eval()
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    classic, removed = torch.randn(2, 5, 1, 32, 32, generator=generator)
    fields = torch.randn(4, 1, 2, 2, 16, 16, generator=generator)
    fields[1] = torch.nan

    def corrected(times):
        count = times.stop - times.start
        level, traits = torch.full((count, 1), 20.0), torch.zeros(count, 1, TRAITS)
        frames = Frames("gray", [classic[times]], [removed[times]], level, traits)
        with torch.no_grad():
            [[planes]] = network([frames], fields[times.start : times.stop - 1])
        return planes

    together = corrected(slice(0, 5))
    apart = torch.cat((corrected(slice(0, 2)), corrected(slice(2, 5))))
    torch.testing.assert_close(together, apart, atol=1e-3, rtol=1e-3)


def test_plates_of_brief_scenes_are_their_scenes_results():
    footage = Footage([np.random.default_rng(0).integers(0, 256, (6, 3, 80, 80)).astype(np.uint8)], CPU)
    degraded = Degraded(Scenery(footage, Grid(1, 1, 64, 64), 4), "gray", Mixture())
    channels = dataclasses.replace(degraded.draw(np.random.default_rng(1)), scenes=(1, 3))

    class Given:
        layout = "gray"

        def __init__(self, times, scenes):
            self._times, self._scenes = times, scenes

        def draw(self, random):
            noisy, wanted = ([planes[self._times] for planes in c] for c in (channels.noisy, channels.wanted))
            return dataclasses.replace(channels, noisy=noisy, wanted=wanted, scenes=self._scenes)

    random = np.random.default_rng(0)
    whole = PlateMaker(Given(slice(0, 4), (1, 3)), "fast").make(random)
    single, rest = (PlateMaker(Given(times, ()), "fast").make(random) for times in (slice(0, 1), slice(1, 4)))
    assert torch.equal(whole.classic[0], torch.cat((single.classic[0], rest.classic[0])))
    assert whole.fields[0].isnan().all() and torch.equal(whole.fields[1:], rest.fields)


def test_scenes_are_held_back_whole():
    sources = [Source(None, f"scene {number // 3}") for number in range(600)]
    held = {source.scene for source in sources if source.held_back}
    assert 5 < len(held) < 30
    assert not held & {source.scene for source in sources if not source.held_back}


def test_a_manifest_says_which_files_are_of_one_scene(folder):
    entries = [{"file": "coffee.png", "scene": "a"}, {"file": "rocket.png", "scene": "a"}, {"file": "chelsea.png"}]
    (folder / "manifest.json").write_text(json.dumps(entries))
    scenes = {source.path.name: source.scene for source in find_sources([folder])}
    assert scenes["coffee.png"] == scenes["rocket.png"] == "a"
    assert scenes["chelsea.png"] == "chelsea.png" and scenes["astronaut.png"] == "astronaut.png"


def test_footage_that_is_none_is_named(tmp_path):
    with pytest.raises(InputError, match="no footage in"):
        find_sources([tmp_path])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(InputError, match=r"broken\.mp4 cannot be read"):
        train(settings(tmp_path, tmp_path / "run", 2))


def test_cells_of_clips_are_their_very_samples():
    """Whatever way a cell is laid: its samples are those of the clip, none between them."""
    random = np.random.default_rng(0)
    video = random.integers(0, 256, (6, 3, 50, 70)).astype(np.uint8)
    footage = Footage([video], CPU)
    cells = Scenery(footage, Grid(1, 8, 40, 32), 4).of_clips(random, 8, footage.clips)
    seen = (Scenery(footage, Grid(1, 8, 40, 32), 4).seen(cells) * 255).numpy()
    assert np.abs(seen - seen.round()).max() < 1e-3
    whole = np.sort(video.reshape(6, -1))
    for cell, times in zip(seen.round(), cells.frames, strict=True):
        for frame, time in zip(cell, times, strict=True):
            assert np.isin(frame, whole[time]).all()


@pytest.mark.parametrize("times", [1, 6])
def test_cells_that_are_alike_are_of_few_sources(times):
    """Of clips, or of photographs; each has a level of its own here, however it is coloured."""
    footage = Footage([np.full((times, 3, 50, 50), level, np.uint8) for level in range(40, 240, 5)], CPU)
    scenery = Scenery(footage, Grid(4, 8, 40, 32), 4)

    def sources(alike):
        views, kept = [], scenery.seen
        scenery.seen = lambda seen: views.append(set(seen.sources.tolist())) or kept(seen)
        scenery.draw(np.random.default_rng(3), alike=alike)
        scenery.seen = kept
        return len(set.union(*views))

    assert sources(alike=True) <= 2 < 10 < sources(alike=False)


def test_cells_that_are_alike_are_of_clips_or_of_photographs():
    def levels(times, first):
        return [np.full((times, 3, 50, 50), level, np.uint8) for level in range(first, first + 100, 5)]

    footage = Footage([*levels(6, 20), *levels(1, 130)], CPU)
    scenery, kinds = Scenery(footage, Grid(4, 8, 40, 32), 4), []
    inner = scenery.seen
    scenery.seen = lambda views: kinds[-1].update((footage.frames[views.sources] > 1).tolist()) or inner(views)
    for seed in range(12):
        kinds.append(set())
        scenery.draw(np.random.default_rng(seed), alike=True)
    assert {frozenset(kind) for kind in kinds} == {frozenset({True}), frozenset({False})}
    kinds.append(set())
    scenery.draw(np.random.default_rng(0))
    assert kinds[-1] == {True, False}


def test_channels_are_in_units_of_their_noise():
    clean = torch.rand(2, 3, 64, 64) * 0.2 + 0.4
    for layout, yuv in (("444", False), ("444", True), ("420", True), ("gray", True)):
        generator = torch.Generator().manual_seed(1)
        channels = degrade(clean, layout, Noise((0.1, 0.05, 0.2), yuv, tint=0.1, generator=generator))
        for noisy, wanted in zip(channels.noisy, channels.wanted, strict=True):
            assert abs(float((noisy - wanted).std()) - 1) < 0.05


def test_errors_of_colours_count_as_they_do_in_psnr():
    """Of R, G and B whose luma is noisier than their differences, as a camera leaves them."""
    deviations = torch.tensor([4.0, 2.0, 0.5]) / 255  # of the opponent channels, whose errors in units are alike
    planes, centres, colours = [torch.zeros(2, 3, 8, 8)], (0.5, 0.0, 0.0), (False, True, True)
    ranges = (torch.tensor([3**0.5, 1, 1]) / deviations).tolist()
    weight = Channels("444", planes, planes, list(map(Channel, ranges, centres, colours)), 1.0).weight
    assert weight[0] / weight[1] == pytest.approx(4) and weight[0] / weight[2] == pytest.approx(10)
    assert float(weight.mean()) == pytest.approx(1)
    for channels in (
        Channels("444", planes, planes, list(map(Channel, ranges, (0.5, 0.5, 0.5), colours)), 1.0),
        degrade(torch.rand(2, 3, 64, 64), "444", Noise((0.1, 0.05, 0.2))),
    ):
        torch.testing.assert_close(channels.weight, torch.ones(3))


def test_errors_are_those_of_limited_corrections():
    """As the denoiser limits them; and nothing is learned from what is cut off."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(1, 16), (2, 8)]
    removed, error, given = (
        [torch.randn(2, planes, side, side, generator=generator) for planes, side in sizes] for _ in range(3)
    )
    corrections = [(3 * planes).requires_grad_() for planes in given]
    most = torch.tensor([[torch.inf, 1.0, 0.5]])
    frames = Frames("420", error, removed, torch.ones(2, 3), torch.zeros(2, 3, TRAITS))
    found = squared_error(corrections, Batch(frames, error, torch.zeros(1, 1, 2, 2, 8, 8), torch.ones(1, 3), most))
    left = 0.0
    for time in range(2):
        largest = [most[0, :1], most[0, 1:] * magnitude(removed[1][time])]
        cut = limited([planes[time].detach() for planes in corrections], largest)
        left += sum(float((a + b[time]).square().sum()) for a, b in zip(cut, error, strict=True))
    assert found.item() == pytest.approx(left / (2 * (16 * 16 + 2 * 8 * 8)), rel=1e-4)
    found.sum().backward()
    for planes in (1, 2):  # along what is cut there is no way down
        gradient, correction = corrections[1].grad[:, planes - 1], corrections[1].detach()[:, planes - 1]
        assert abs(float((gradient * correction).sum())) < 1e-4 * float(gradient.norm() * correction.norm())
    nothing = [torch.zeros_like(planes).requires_grad_() for planes in given]
    squared_error(nothing, Batch(frames, error, torch.zeros(1, 1, 2, 2, 8, 8), torch.ones(1, 3), most)).sum().backward()
    assert all(planes.grad.isfinite().all() and planes.grad.abs().max() > 0 for planes in nothing)


def test_without_a_limit_errors_are_those_of_whole_corrections():
    """Where the classic denoiser removed nothing, too, as of a plane that is told no noise."""
    planes = [torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))]
    nothing, most = [torch.zeros_like(planes[0])], torch.tensor([[torch.inf, 1.0, 1.0]])
    correction = planes[0].clone().requires_grad_()
    frames = Frames("444", nothing, nothing, torch.ones(2, 3), torch.zeros(2, 3, TRAITS))
    batch = Batch(frames, nothing, torch.zeros(1, 1, 2, 2, 4, 4), torch.ones(1, 3), most)
    found = squared_error([correction], batch)
    assert found.item() == pytest.approx(float(planes[0][:, 0].square().mean()) / 3, rel=1e-3)
    found.sum().backward()
    torch.testing.assert_close(correction.grad[:, 0], 2 * planes[0][:, 0] / planes[0].numel())
    assert correction.grad.isfinite().all()


def test_unsteady_noise_is_that_of_its_place():
    clean = torch.full((8, 3, 192, 192), 0.5)
    generator = torch.Generator().manual_seed(1)
    channels = degrade(clean, "420", Noise((0.1, 0.1, 0.1), True, unsteady=0.8, generator=generator))
    strengths = []
    for size, noisy, wanted in zip((48, 24), channels.noisy, channels.wanted, strict=True):
        patches = (noisy - wanted).unfold(-2, size, size).unfold(-2, size, size)
        strengths.append(patches.square().mean((0, 1, 4, 5)).sqrt().flatten())
    assert strengths[0].min() < 0.6 < 0.7 < strengths[0].max() < 1.05
    assert torch.corrcoef(torch.stack(strengths))[0, 1] > 0.9


def test_the_mean_of_clipped_noise():
    values = torch.tensor([0.0, 1.0, 9.5])
    samples = (values + 1.3 * torch.randn(400_000, 1)).clamp(0, 10).mean(0)
    torch.testing.assert_close(mean_of_clipped(values, torch.tensor(1.3), 10.0), samples, atol=0.01, rtol=0)


def test_crops_are_cut_from_the_plate():
    footage = Footage([np.random.default_rng(0).integers(0, 256, (6, 3, 80, 80)).astype(np.uint8)], CPU)
    grid = Grid(1, 2, 64, 64)
    plate = PlateMaker(Degraded(Scenery(footage, grid, 4), "420", Mixture()), "fast").make(np.random.default_rng(1))
    pool = Pool("420", 2, 4, grid, CPU)
    pool.put(1, plate)
    batch = pool.crops(np.array([[1, 1, 8, 72]]), 3, 40)
    luma, chroma = slice(8, 48), slice(4, 24)
    torch.testing.assert_close(batch.error[0], plate.error[0][1:4, :, luma, 72:112], atol=0.02, rtol=0.001)
    torch.testing.assert_close(batch.frames.removed[1], plate.removed[1][1:4, :, chroma, 36:56], atol=0.02, rtol=0.001)
    torch.testing.assert_close(batch.frames.classic[0], plate.classic[0][1:4, :, luma, 72:112], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        batch.fields[:, 0].flatten(1, 2), plate.fields[1:3, :, chroma, 36:56], atol=0.02, rtol=0.001
    )


def moving_pool():
    """One mosaic whose picture moves by 4 rows down and 2 columns to the left in every frame."""
    still = torch.from_numpy(np.random.default_rng(0).random((64, 64))).float() - 0.5
    luma = torch.stack([still.roll((4 * time, -2 * time), (0, 1)) for time in range(4)])[:, None]
    chroma = functional.avg_pool2d(luma, 2)
    planes = [luma, torch.cat((chroma, -chroma), 1)]
    to_next = torch.tensor([-1.0, 2.0])  # along x and y, in pixels of half the size
    fields = torch.cat((to_next, -to_next)).view(1, 4, 1, 1).expand(3, 4, 32, 32)
    pool, known = Pool("420", 1, 4, Grid(1, 1, 64, 64), CPU), torch.ones(3)
    pool.put(0, Plate(planes, planes, planes, fields, known, torch.zeros(3, TRAITS), known, known))
    return pool


@pytest.mark.parametrize("turn", list(product((0, 1), repeat=4)))
def test_crops_that_are_turned_move_as_their_flow_says(turn):
    batch = moving_pool().crops(np.array([[0, 1, 10, 14]]), 3, 40, np.array([turn]))
    luma, chroma = batch.frames.classic
    torch.testing.assert_close(chroma[:, :1], functional.avg_pool2d(luma, 2), atol=1e-4, rtol=0)
    for kept in (batch.frames.removed, batch.error):
        for other, plane in zip(kept, (luma, chroma), strict=True):
            torch.testing.assert_close(other, plane, atol=1e-3, rtol=0)
    for field, before, after in zip(batch.fields[:, 0, :, :, 0, 0], luma, luma[1:], strict=False):
        for (across, down), one, other in zip(
            (2 * field).int().tolist(), (before, after), (after, before), strict=True
        ):
            moved, inner = one.roll((down, across), (-2, -1)), slice(4, -4)
            torch.testing.assert_close(moved[:, inner, inner], other[:, inner, inner], atol=1e-4, rtol=0)


def test_a_crop_has_sixteen_views():
    pool = moving_pool()
    turns = np.array(list(product((0, 1), repeat=4)))
    batch = pool.crops(np.tile([[0, 1, 10, 14]], (16, 1)), 3, 40, turns)
    views = batch.frames.classic[0].view(3, 16, -1).transpose(0, 1).reshape(16, -1)
    assert len(views.unique(dim=0)) == 16
    torch.testing.assert_close(views.square().sum(1), views[:1].square().sum(1).expand(16))


@pytest.mark.parametrize("sharper", [-0.4, 0.0, 3.0])
def test_networks_learn_beside_the_flatness_of_the_noise_before_it_was_whitened(sharper):
    grid = Grid(1, 2, 64, 64)
    footage = Footage([np.random.default_rng(0).integers(0, 256, (6, 3, 80, 80)).astype(np.uint8)], CPU)
    noise = Noise((0.1, 0.1, 0.1), sharper=sharper)
    plate = PlateMaker(Degraded(Scenery(footage, grid, 4), "444", Mixture(), noise), "fast").make(
        np.random.default_rng(1)
    )
    point = torch.zeros(64, 64)
    point[0, 0] = 1
    near = (point.roll(1, 0) + 2 * point + point.roll(-1, 0)) / 4
    near = (near.roll(1, 1) + 2 * near + near.roll(-1, 1)) / 4
    power = torch.fft.fft2(point + sharper * (point - near)).abs() ** -2  # of noise that this makes white
    wanted = float(power.log().mean() - power.mean().log())
    torch.testing.assert_close(plate.traits, torch.tensor([[wanted, 0.0]] * 3), atol=0.12, rtol=0)
    pool = Pool("444", 2, 4, grid, CPU)
    pool.put(1, plate)
    traits = pool.crops(np.array([[0, 1, 8, 72], [1, 1, 8, 72]]), 3, 40).frames.traits
    assert torch.equal(traits, torch.stack([torch.zeros(3, 2), plate.traits] * 3))


@pytest.mark.parametrize("shape", [(3, 8, 40), (2, 40, 8), (1, 16, 16)])
def test_updates_are_nearly_orthonormal(shape):
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
    assert float(values.min()) > 0.5 and float(values.max()) < 1.3


def test_the_rate_rises_stays_and_falls():
    schedule = Schedule(Length(None, 1000), CPU)
    assert schedule.done(250) == 0.25
    rates = [schedule.rate(done) for done in (0.0, 0.01, 0.3, 0.54, 0.8, 1.0)]
    assert rates[0] < rates[1] < rates[2] == rates[3] == 1 > rates[4] > rates[5] > 0
