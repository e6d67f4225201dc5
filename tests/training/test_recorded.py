"""Training on footage that is noisy already: pairs, and noisy clips alone."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import av
import imageio.v3 as imageio
import numpy as np
import pytest
import skimage.data
import torch
from click.testing import CliRunner

from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.checkpoint import Header, load_network, save_network
from vnlsdenoise.learned.network import Dimensions, Network
from vnlsdenoise.noise.camera import blurred
from vnlsdenoise.training import recorded as noisy_footage
from vnlsdenoise.training.__main__ import main
from vnlsdenoise.training.footage import find_pairs, find_sources, read_all
from vnlsdenoise.training.loop import Process, Settings, Trainer
from vnlsdenoise.training.recorded import TARGET_VARIANCE, Recorded
from vnlsdenoise.training.scenery import Grid
from vnlsdenoise.training.schedule import Length
from vnlsdenoise.training.state import NETWORK
from vnlsdenoise.training.validation import Validation

CPU = torch.device("cpu")
SIGMA = 25.0
GRID = Grid(1, 3, 64, 64)
DIMENSIONS = Dimensions((16, 16, 16), 0, (1, 1, 1), 1)


def write(path, frames):
    """R, G, B [T, h, w, 3], lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25, options={})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """noisy/ and clean/ with the same clips: photographs under a moving camera."""
    path = tmp_path_factory.mktemp("recorded")
    random = np.random.default_rng(0)
    for name in ("coffee", "astronaut", "chelsea", "rocket"):
        photo = getattr(skimage.data, name)()
        clean = np.stack([photo[20 + t : 180 + t, 40 + 2 * t : 240 + 2 * t] for t in range(8)])
        noisy = (clean + SIGMA * random.standard_normal(clean.shape)).round().clip(0, 255).astype(np.uint8)
        write(path / "clean" / f"{name}.mkv", clean)
        write(path / "noisy" / f"{name}.mkv", noisy)
    return path


@pytest.fixture(scope="module", autouse=True)
def _noise_is_measured_once():
    """Training and validation, noisy clips and pairs, and one test after the other meet the same clips."""
    found, inner = {}, noisy_footage.measure_noise

    def measured(times, planes_at, layout, peak):
        key = layout, *(hashlib.sha256(plane.numpy()).digest() for time in times for plane in planes_at(time))
        if key not in found:
            found[key] = inner(times, planes_at, layout, peak)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noisy_footage, "measure_noise", measured)
        yield


def settings(folder, out, steps, **changes):
    least = Settings(
        (folder,), out, DIMENSIONS, Length(None, steps), crops=(("444", 4),), frames=3, side=48, grid=GRID,
        plate_frames=4, plates=(("444", 8),), renew=3, report=3.0, check=1e9, held_back=1, threads=2,
    )  # fmt: skip
    return replace(least, **changes)


def recorded(folder, layout, pairs, times=4, validates=True):
    sources, clean = find_pairs([folder]) if pairs else (find_sources([folder / "noisy"]), None)
    wanted = None if clean is None else read_all(clean, 2)
    return Recorded(sources, read_all(sources, 2), wanted, GRID, times, layout, CPU, validates=validates)


@pytest.mark.parametrize("layout", ["444", "420", "gray"])
def test_pairs_are_seen_alike_in_units_of_what_was_measured(folder, layout):
    channels = recorded(folder, layout, pairs=True).draw(np.random.default_rng(2))
    for noisy, wanted in zip(channels.noisy, channels.wanted, strict=True):
        for channel in range(noisy.shape[1]):
            error = (noisy - wanted)[:, channel]
            assert 0.85 < float(error.std()) < 1.1  # clipping leaves a little less
            assert abs(float(error.mean())) < 0.15


@pytest.mark.parametrize("layout", ["444", "420"])
def test_what_is_given_and_what_is_wanted_have_noise_of_their_own(folder, layout):
    """Against the clean clips, which training does not see here."""
    with_clean = recorded(folder, layout, pairs=True)
    alone = recorded(folder, layout, pairs=False)
    truth, drawn = (material.draw(np.random.default_rng(3)) for material in (with_clean, alone))
    for given, target, clean, scale, other in zip(
        drawn.noisy, drawn.wanted, truth.wanted, drawn.scale[[0, -1]], truth.scale[[0, -1]], strict=False
    ):
        one, two = (values - clean * (scale / other) for values in (given, target))
        assert 0.9 < float(one.std()) < 1.1
        assert 0.9 < float(two.var()) / TARGET_VARIANCE < 1.1
        correlation = float((one * two).mean() / (one.std() * two.std()))
        assert abs(correlation) < 0.05
    assert float(drawn.scale[0]) < float(truth.scale[0])  # its noise is stronger


@pytest.mark.parametrize(("layout", "pairs"), [("444", True), ("420", False), ("gray", False)])
def test_noise_that_is_coarse_is_told_and_made_white(tmp_path, layout, pairs):
    """As the denoiser would have it; the network is told how flat its spectrum was."""
    generator, photo = torch.Generator().manual_seed(1), skimage.data.astronaut()
    clean = np.stack([photo[20 + t : 180 + t, 40 + 2 * t : 240 + 2 * t] for t in range(8)]) // 2 + 64
    grain = torch.stack([blurred(torch.randn(3, 160, 200, generator=generator), 0.6) for _ in clean])
    noisy = clean + (15 * grain / grain.std()).permute(0, 2, 3, 1).numpy()
    write(tmp_path / "clean" / "a.mkv", clean)
    write(tmp_path / "noisy" / "a.mkv", noisy.round().clip(0, 255).astype(np.uint8))
    truth, drawn = (recorded(tmp_path, layout, pairs=p).draw(np.random.default_rng(3)) for p in (True, pairs))
    assert float(drawn.traits[0, 0]) < math.log(0.8)  # of luma: halving makes chroma nearly white
    assert torch.equal(drawn.traits, truth.traits)
    error = drawn.noisy[0][:, 0] - truth.wanted[0][:, 0] * (drawn.scale[0] / truth.scale[0])
    assert float(error.std()) == pytest.approx(1, abs=0.15)
    beside = (error[:, :, 1:] * error[:, :, :-1]).mean() / error.square().mean()
    assert abs(float(beside)) < 0.15


@pytest.fixture(scope="module")
def gain_over_classic(folder):
    """Of weights, the mean in dB against the clean clips and at their own noise."""
    cases = {"444": recorded(folder, "444", pairs=True, times=3)}
    tried = Validation(cases, 4, GRID, 3, 48, DIMENSIONS, CPU, "fast")
    return lambda weights: tried(dict(load_network(str(weights)).state_dict()))["444"]


def test_training_on_pairs_removes_more_than_the_classic_denoiser(folder, gain_over_classic, tmp_path):
    Trainer(settings(folder, tmp_path, 50, kind="pairs"), Process.of_environment("cpu")).run()
    assert gain_over_classic(tmp_path / NETWORK) > 0.02


def test_training_on_noisy_clips_alone_leads_to_the_clean_ones(folder, gain_over_classic, tmp_path):
    """A network that moves every value by most of a deviation unlearns that, though it never sees a clean frame.

    Noise drowns finer lessons in as few samples as a test can draw.
    """
    network = Network(DIMENSIONS)
    torch.nn.init.constant_(network.tails["444"].conv.bias, 0.7)
    save_network(tmp_path / "start.safetensors", Header(DIMENSIONS), network.state_dict())
    before = gain_over_classic(tmp_path / "start.safetensors")
    start = str(tmp_path / "start.safetensors")
    made = settings(folder / "noisy", tmp_path / "run", 50, kind="noisy", rate=1e-2, start=start, renew=10)
    [told] = Trainer(made, Process.of_environment("cpu")).run().values()
    after = gain_over_classic(tmp_path / "run" / NETWORK)
    assert before < -3
    assert after > before + 2
    assert told > before + 2  # what validation says without clean frames


def test_a_run_begins_with_weights_that_are_there(folder, tmp_path):
    network = Network(DIMENSIONS)
    torch.nn.init.normal_(network.tails["444"].conv.weight, std=0.01)
    save_network(tmp_path / "start.safetensors", Header(DIMENSIONS), network.state_dict())
    start = str(tmp_path / "start.safetensors")
    made = settings(folder, tmp_path / "run", 1, kind="pairs", start=start, rate=1e-9, plates=(("444", 2),))
    Trainer(made, Process.of_environment("cpu")).run()
    after = load_network(str(tmp_path / "run" / NETWORK)).state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(after[name], value, atol=1e-3, rtol=1e-2)
    with pytest.raises(InputError, match="it can only grow"):
        Trainer(settings(folder, tmp_path / "run", 1, kind="pairs", start="small"), Process.of_environment("cpu"))


def test_what_is_no_pair_is_named(folder, tmp_path):
    with pytest.raises(InputError, match="there is no folder noisy"):
        find_pairs([tmp_path])
    for name in ("noisy/a.mkv", "clean/a.mkv", "noisy/b.mkv"):
        write(tmp_path / name, np.full((3 if name.startswith("noisy") else 2, 48, 48, 3), 90, np.uint8))
    told = CliRunner().invoke(main, [str(tmp_path), "-o", str(tmp_path / "run"), "--steps", "1", "--kind", "pairs"])
    assert told.exit_code == 3 and "b.mkv is not in both" in told.output
    (tmp_path / "noisy" / "b.mkv").unlink()
    with pytest.raises(InputError, match=r"has 3 frames of 48x48 and its clean counterpart 2 frames"):
        recorded(tmp_path, "444", pairs=True)
    with pytest.raises(InputError, match=r"a\.mkv holds too little noise to learn from"):
        recorded(tmp_path, "444", pairs=False).draw(np.random.default_rng(0))
    imageio.imwrite(tmp_path / "noisy" / "c.png", np.full((48, 48, 3), 90, np.uint8))
    with pytest.raises(InputError, match=r"c\.png must be a clip of at least 2 frames"):
        recorded(tmp_path, "444", pairs=False)


def test_the_commands_of_the_page_are_understood(tmp_path, monkeypatch):
    """As far as one gets without hours of a GPU."""
    page = Path(__file__).parent.parent.parent / "docs" / "learned.md"
    start = "    python -m vnlsdenoise.training "
    commands = [line.removeprefix(start).split() for line in page.read_text().splitlines() if line.startswith(start)]
    kinds = set()
    monkeypatch.chdir(tmp_path)
    for command in commands:
        Path(command[0]).mkdir(exist_ok=True)
        kinds.add(main.make_context("training", command).params["kind"])
    assert kinds == {"clean", "pairs", "noisy"}
