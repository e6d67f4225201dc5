"""Runs of training: they repeat, they go on, they are on what they are told to be on."""

import json

import numpy as np
import pytest
import torch
from training_runs import settings, train

from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.checkpoint import load_header, load_network
from vnlsdenoise.training.degradation import Mixture
from vnlsdenoise.training.loop import Process, Trainer
from vnlsdenoise.training.state import LOG, NETWORK


def test_runs_repeat_and_go_on(folder, tmp_path):
    train(settings(folder, tmp_path / "one", 4))
    train(settings(folder, tmp_path / "other", 4, makers=2))  # whichever threads make the mosaics
    one, other = (load_network(str(tmp_path / run / NETWORK)).state_dict() for run in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    train(settings(folder, tmp_path / "one", 6, resume=True))
    more = load_network(str(tmp_path / "one" / NETWORK)).state_dict()
    assert not all(torch.equal(one[name], more[name]) for name in one)
    starts = [json.loads(line) for line in (tmp_path / "one" / LOG).read_text().splitlines()]
    assert [line["step"] for line in starts if line["event"] == "start"] == [0, 4]
    length = (tmp_path / "one" / LOG).stat().st_size
    with pytest.raises(InputError, match="no run to go on with"):
        Trainer(settings(folder, tmp_path / "none", 6, resume=True), Process.of_environment("cpu"))
    with pytest.raises(InputError, match="go on with --preset fast"):
        train(settings(folder, tmp_path / "one", 8, resume=True, preset="balanced"))
    # Both before footage is read.
    assert not (tmp_path / "none" / LOG).exists() and (tmp_path / "one" / LOG).stat().st_size == length


def test_a_network_learns_on_the_results_of_its_preset(folder, tmp_path):
    found, few = {}, {"crops": (("444", 1),), "plates": (("444", 1),)}
    for preset in ("fast", "balanced"):
        found[preset] = train(settings(folder, tmp_path / preset, 1, preset=preset, **few))
    for preset in found:
        assert load_header(str(tmp_path / preset / NETWORK)).preset == preset
    assert found["fast"] != found["balanced"]


def test_recorded_mosaics_are_trained_on_beside_others(folder, tmp_path):
    found = train(settings(folder, tmp_path / "run", 3, camera=0.4, coded=0.3, mixture=Mixture(brief=0.5)))
    assert {"420 20 crf 22", "444 camera", "444 camera picture"} <= found.keys()
    assert all(np.isfinite(value) for value in found.values())
