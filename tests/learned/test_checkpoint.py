"""Weights on disk: what is written comes back, and what is no network is named."""

import hashlib
from importlib import resources

import pytest
import torch
from safetensors.torch import save_file
from vnlsdenoise.weights import WEIGHTS, Weights

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.learned.checkpoint import Header, find_weights, load_header, load_network, save_network
from vnlsdenoise.learned.network import Dimensions, Network

TINY = Dimensions((8, 12, 16), 1, (1, 2, 1), 2)


def test_a_network_comes_back_with_its_dimensions_and_preset(tmp_path):
    network = Network(TINY)
    save_network(tmp_path / "a.safetensors", Header(TINY, "balanced"), network.state_dict(), steps="7")
    loaded = load_network(str(tmp_path / "a.safetensors"))
    assert (loaded.dimensions, loaded.preset) == (TINY, "balanced")
    assert load_header(str(tmp_path / "a.safetensors")) == Header(TINY, "balanced")
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for (name, one), other in zip(network.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_shipped_weights_are_what_they_are_said_to_be(name):
    content = (resources.files("vnlsdenoise.weights") / WEIGHTS[name].file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == WEIGHTS[name].sha256
    assert load_network(name).dimensions.channels[0] > 0


def test_what_is_wrong_is_named(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no such weights: 'huge'; there are: small"):
        find_weights("huge")
    missing = tmp_path / "missing.safetensors"
    with pytest.raises(InputError, match="cannot be loaded"):
        load_network(str(missing))
    text = tmp_path / "text.safetensors"
    text.write_text("no weights at all, but long enough to be read as a header")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_network(str(text))
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(InputError, match="does not hold weights of vnlsdenoise"):
        load_network(str(other))
    before = tmp_path / "before.safetensors"
    save_file({"a": torch.zeros(1)}, before, {"format": "vnlsdenoise-network-1"})
    with pytest.raises(InputError, match=r"of an earlier vnlsdenoise, .*; train them anew"):
        load_network(str(before))
    tensors = Network(TINY).state_dict()
    short = tmp_path / "short.safetensors"
    save_network(short, Header(TINY), dict(list(tensors.items())[1:]))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_network(str(short))
    strange = tmp_path / "strange.safetensors"
    save_network(strange, Header(TINY, "superb"), tensors)
    with pytest.raises(InputError, match="it corrects preset 'superb', which is not known"):
        load_header(str(strange))
    broken = tmp_path / "broken.safetensors"
    save_network(broken, Header(TINY), {name: value / 0 for name, value in tensors.items()})
    with pytest.raises(InputError, match="not finite"):
        load_network(str(broken))
    monkeypatch.setitem(WEIGHTS, "changed", Weights("small.safetensors", "0" * 64))
    with pytest.raises(InputError, match="is not as shipped"):
        load_network("changed")
