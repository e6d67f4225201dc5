"""The network's parts: what they do before training, at whatever layout, and that states follow the flow."""

from dataclasses import replace

import pytest
import torch

from vnlsdenoise.learned.network import PLANES, TRAITS, Dimensions, Frames, Network

TINY = Dimensions((8, 8, 8), 1, (1, 1, 1), 1)


def frames(layout, count, height=16, width=24):
    whole, half = PLANES[layout]
    shapes = [(count, whole, height, width)] + ([(count, half, height // 2, width // 2)] if half else [])
    return Frames(
        layout,
        [torch.rand(shape) - 0.5 for shape in shapes],
        [torch.randn(shape) for shape in shapes],
        torch.full((count, whole + half), 10.0),
        torch.zeros(count, whole + half, TRAITS),
    )


def test_an_untrained_network_changes_nothing_and_keeps_shapes():
    times = 3
    clips = [frames("444", 2 * times), frames("420", times), frames("gray", times)]
    corrections = Network(TINY)(clips, torch.zeros(times - 1, 4, 2, 2, 8, 12))
    for clip, planes in zip(clips, corrections, strict=True):
        assert [p.shape for p in planes] == [c.shape for c in clip.classic]
        assert not any(bool(p.any()) for p in planes)


def test_clips_of_one_batch_do_not_touch_each_other():
    network, times = Network(TINY), 3
    for tail in network.tails.values():
        torch.nn.init.normal_(tail.conv.weight, std=0.1)
    gray, colour = frames("gray", times), frames("444", times)
    fields = torch.randn(times - 1, 2, 2, 2, 8, 12)
    [together, _] = network([gray, colour], fields)
    [alone] = network([gray], fields[:, :1])
    torch.testing.assert_close(together[0], alone[0], atol=1e-5, rtol=0)


def test_every_parameter_gets_a_gradient():
    network, times = Network(TINY), 2
    for tail in network.tails.values():
        torch.nn.init.normal_(tail.conv.weight, std=0.1)
    clips = [frames(layout, times) for layout in PLANES]
    corrections = network(clips, torch.zeros(times - 1, 3, 2, 2, 8, 12))
    sum(plane.square().sum() for planes in corrections for plane in planes).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name


@pytest.mark.parametrize("factor", [2.0, 7.0])
def test_the_network_sees_detail_beside_the_noise(factor):
    """The same picture in less noise is another input: a detail counts by its size in deviations."""
    network = Network(TINY)
    one = frames("gray", 1)
    other = replace(one, scale=one.scale * factor)
    assert not torch.allclose(network.encode(one), network.encode(other))


def test_the_network_is_told_what_is_known_of_the_noise():
    network, one = Network(TINY), frames("420", 1)
    for plane in range(3):
        for trait in range(TRAITS):
            traits = one.traits.clone()
            traits[0, plane, trait] = 1
            assert not torch.allclose(network.encode(one), network.encode(replace(one, traits=traits)))
