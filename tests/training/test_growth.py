"""A larger network begins with the results of a smaller one, and all that is new in it learns."""

import dataclasses
import json

import imageio.v3 as imageio
import pytest
import skimage.data
import torch
from training_runs import settings

from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.checkpoint import Header, load_network, save_network
from vnlsdenoise.learned.network import PLANES, TRAITS, Dimensions, Frames, Network
from vnlsdenoise.learned.sizes import SIZES
from vnlsdenoise.training.degradation import Mixture
from vnlsdenoise.training.growth import grown
from vnlsdenoise.training.loop import Process, Trainer
from vnlsdenoise.training.optimiser import Optimiser
from vnlsdenoise.training.schedule import Length
from vnlsdenoise.training.state import LOG

CPU = torch.device("cpu")
OLD = Dimensions((16, 16, 32), 1, (1, 0, 1), 1)
NEW = Dimensions((32, 48, 48), 2, (2, 1, 3), 3)
# One thing larger at a time, and all of them.
LARGER = [
    NEW,
    dataclasses.replace(OLD, channels=(32, 16, 32)),
    dataclasses.replace(OLD, channels=(16, 32, 32)),
    dataclasses.replace(OLD, channels=(16, 16, 48)),
    dataclasses.replace(OLD, encoder=2, decoder=2),
    dataclasses.replace(OLD, cell=(2, 2, 2)),
]


def trained(dimensions):
    """A network all of whose parts have a say, tails and second convolutions too."""
    torch.manual_seed(3)
    network = Network(dimensions)
    for tail in network.tails.values():
        torch.nn.init.normal_(tail.conv.weight, std=0.1)
        torch.nn.init.normal_(tail.conv.bias, std=0.1)
    for name, parameter in network.named_parameters():
        if name.endswith("gain"):
            torch.nn.init.normal_(parameter)
    return network


def larger(network, dimensions):
    new = Network(dimensions)
    new.load_state_dict(grown(network, dimensions))
    return new


def clips(times=4, height=32, width=48):
    generator = torch.Generator().manual_seed(5)
    made = []
    for layout, (whole, half) in PLANES.items():
        shapes = [(times, whole, height, width)] + ([(times, half, height // 2, width // 2)] if half else [])
        classic = [torch.rand(shape, generator=generator) - 0.5 for shape in shapes]
        removed = [torch.randn(shape, generator=generator) for shape in shapes]
        count = whole + half
        made.append(
            Frames(layout, classic, removed, torch.full((times, count), 10.0), torch.rand(times, count, TRAITS))
        )
    fields = 2 * torch.randn((times - 1, len(made), 2, 2, height // 2, width // 2), generator=generator)
    return made, fields


@pytest.mark.parametrize("dimensions", LARGER, ids=str)
def test_a_grown_network_gives_what_the_smaller_one_gave(dimensions):
    old = trained(OLD).double()
    new = larger(old.float(), dimensions).double()
    given, fields = clips()
    given = [
        Frames(
            f.layout,
            [p.double() for p in f.classic],
            [p.double() for p in f.removed],
            f.scale.double(),
            f.traits.double(),
        )
        for f in given
    ]
    with torch.no_grad():
        before, after = old.double()(given, fields), new(given, fields)
    for one, other in zip(before, after, strict=True):
        for a, b in zip(one, other, strict=True):
            assert float(a.std()) > 0.1
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)  # the last convolution's results are made float32


def test_the_shipped_network_grows():
    old = load_network("small")
    new = larger(old, SIZES["base"])
    given, fields = clips()
    with torch.no_grad():
        before, after = old(given, fields), new(given, fields)
    for one, other in zip(before, after, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, atol=2e-4 * float(a.abs().max()), rtol=0)


def test_all_that_is_new_learns_from_the_second_step_on():
    old = trained(OLD)
    network = larger(old, NEW)
    optimiser = Optimiser(network, CPU)
    given, fields = clips()
    start = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for _ in range(3):
        optimiser.gradients.zero_()
        wanted = torch.Generator().manual_seed(9)
        corrections = [plane for planes in network(given, fields) for plane in planes]
        sum((plane - torch.randn(plane.shape, generator=wanted)).square().mean() for plane in corrections).backward()
        optimiser.rate.fill_(1e-3)
        optimiser.step()
    for name, parameter in network.named_parameters():
        moved = (parameter - start[name]).detach().abs()
        assert bool((moved > 0).float().mean() > 0.99), name  # old and new, of every matrix
    # What old channels read of new ones moves as far as what was there.
    mix, channels = "forward_cell.mix.weight", OLD.channels[0]
    step = (dict(network.named_parameters())[mix] - start[mix]).detach().square()
    of_old, of_new = step[:channels, :channels].mean(), step[:channels, channels : NEW.channels[0]].mean()
    assert 0.1 < float(of_new / of_old) < 10


def test_a_network_cannot_shrink():
    for smaller in (dataclasses.replace(OLD, channels=(16, 16, 16)), dataclasses.replace(OLD, decoder=0)):
        with pytest.raises(InputError, match="it can only grow"):
            grown(Network(OLD), smaller)


def test_a_grown_network_lowers_the_loss(device, tmp_path):
    """From where the smaller one stands, which the first line of validation tells: a coarse fault is unlearned."""
    footage = tmp_path / "footage"
    footage.mkdir()
    for name in ("coffee", "astronaut", "chelsea", "rocket"):
        imageio.imwrite(footage / f"{name}.png", getattr(skimage.data, name)()[:300, :400])
    old = Network(Dimensions((16, 16, 16), 0, (1, 1, 1), 1))
    for tail in old.tails.values():
        torch.nn.init.constant_(tail.conv.bias, 0.7)
    save_network(tmp_path / "old.safetensors", Header(old.dimensions), old.state_dict())
    asked = settings(
        footage,
        tmp_path / "run",
        40,
        dimensions=Dimensions((32, 32, 32), 1, (1, 1, 2), 1),
        length=Length(None, 40, 0.3),
        start=str(tmp_path / "old.safetensors"),
        rate=1e-2,
        plates=(("444", 4), ("420", 2), ("gray", 2)),
        renew=4,
        mixture=Mixture(),
        compiled=False,
    )
    Trainer(asked, Process.of_environment(device)).run()
    lines = [json.loads(line) for line in (asked.out / LOG).read_text().splitlines()]
    began, ended = (line for line in lines if line["event"] == "validation")
    assert began["step"] == 0 and ended["step"] == 40
    for case in ("444 30", "420 20"):
        assert began[case] < -3
        assert ended[case] > began[case] + 2  # dB
