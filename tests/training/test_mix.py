"""Weights between two networks."""

import torch
from click.testing import CliRunner

from vnlsdenoise.learned.checkpoint import Header, load_network, save_network
from vnlsdenoise.learned.network import Dimensions, Network
from vnlsdenoise.training.mix import main

SMALL, LARGER = Dimensions((16, 16, 16), 0, (1, 1, 1), 1), Dimensions((16, 16, 32), 0, (1, 1, 1), 1)


def saved(path, dimensions, seed):
    torch.manual_seed(seed)
    save_network(path, Header(dimensions), Network(dimensions).state_dict())
    return str(path)


def test_a_mix_lies_between_both(tmp_path):
    paths = [saved(tmp_path / f"{seed}.safetensors", SMALL, seed) for seed in (1, 2)]
    out = tmp_path / "mixed.safetensors"
    assert CliRunner().invoke(main, [*paths, "--share", "0.25", "-o", str(out)]).exit_code == 0
    before, after, between = (load_network(str(path)).state_dict() for path in (*paths, out))
    for name, weights in between.items():
        expected = 0.75 * before[name] + 0.25 * after[name]
        torch.testing.assert_close(weights, expected, atol=1e-3, rtol=1e-3)


def test_networks_of_two_sizes_are_not_mixed(tmp_path):
    paths = [saved(tmp_path / f"{seed}.safetensors", size, seed) for seed, size in enumerate((SMALL, LARGER))]
    out = tmp_path / "mixed.safetensors"
    result = CliRunner().invoke(main, [*paths, "-o", str(out)])
    assert result.exit_code == 2 and "only networks of one size" in result.output
    assert not out.exists()


def test_networks_that_correct_two_presets_are_not_mixed(tmp_path):
    paths = [tmp_path / "fast.safetensors", tmp_path / "balanced.safetensors"]
    for path in paths:
        save_network(path, Header(SMALL, path.stem), Network(SMALL).state_dict())
    result = CliRunner().invoke(main, [*map(str, paths), "-o", str(tmp_path / "mixed.safetensors")])
    assert result.exit_code == 2 and "only networks of one size and preset" in result.output
