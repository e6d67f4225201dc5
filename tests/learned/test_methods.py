"""What `auto` chooses, and that the tables of tests/benchmarks/results bear it out."""

import json
from pathlib import Path

import pytest
import torch
from vnlsdenoise.weights import WEIGHTS

from vnlsdenoise.errors import UsageError
from vnlsdenoise.learned import methods
from vnlsdenoise.learned.methods import NEVER_WORSE, chosen_method

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
SIGMAS = {2, 5, 10, 20, 30, 50, 75}  # that white noise of must be shown
NOISES = ("real-noise", "camera-noise", "coded-noise")  # and that is measured: tables of a file a preset
ALLOWED = 0.05  # dB, of noise that is measured


def shown_never_worse(weights: str, results: Path) -> bool:
    """Whether the tables have all kinds of noise for both, and on no clip and at no sigma worse than `balanced`."""
    named = {"learned", f"learned:{weights}"} if weights == "small" else {f"learned:{weights}"}
    tables = [(path.name, json.loads(path.read_text())) for path in results.glob("*.json")]
    shown = set()
    for name, table in tables:
        if not name.startswith("quality"):
            continue
        for clip, found in table["results"].items():
            for preset in named & found.keys():
                shown.add(int(clip.rpartition("/")[2]))
                if "balanced" not in found or found[preset]["psnr"] < found["balanced"]["psnr"]:
                    return False
    if not shown >= SIGMAS:
        return False
    for noise in NOISES:
        of_noise = [table for name, table in tables if name.startswith(noise)]
        ours, theirs = (
            [table["results"] for table in of_noise if table["arguments"]["preset"] in presets]
            for presets in (named, {"balanced"})
        )
        if not ours or not theirs or not all(_no_worse(one, other) for one in ours for other in theirs):
            return False
    return True


def _no_worse(ours: object, theirs: object) -> bool:
    """Of tables of the same keys: kinds, clips, ways, then decibels, or a list of them (luma and chroma)."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_no_worse(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return all(_no_worse(one, other) for one, other in zip(ours, theirs, strict=True))
    return float(str(ours)) >= float(str(theirs)) - ALLOWED


@pytest.mark.parametrize("weights", WEIGHTS)
def test_auto_trusts_weights_as_far_as_the_tables_go(weights):
    assert (weights in NEVER_WORSE) == shown_never_worse(weights, RESULTS)


def test_the_tables_must_be_there_and_be_no_worse(tmp_path):
    def write(name, preset, results):
        (tmp_path / name).write_text(json.dumps({"arguments": {"preset": preset}, "results": results}))

    white = {f"clip/{sigma}": {"balanced": {"psnr": 30.0}, "learned": {"psnr": 30.1}} for sigma in SIGMAS}
    write("quality-a.json", "balanced,learned", white)
    assert not shown_never_worse("small", tmp_path)  # nothing is known of other noise
    for noise in NOISES:
        write(f"{noise}-a.json", "balanced", {"kind": {"clip": {"measured": [30.0, 31.0]}}})
        write(f"{noise}-b.json", "learned", {"kind": {"clip": {"measured": [29.96, 31.0]}}})
    assert shown_never_worse("small", tmp_path)
    assert not shown_never_worse("base", tmp_path)
    write("coded-noise-b.json", "learned", {"kind": {"clip": {"measured": [29.9, 31.0]}}})
    assert not shown_never_worse("small", tmp_path)
    write("coded-noise-b.json", "learned", {"kind": {"clip": {"measured": [30.0, 31.0]}}})
    assert shown_never_worse("small", tmp_path)
    white["clip/20"]["learned"]["psnr"] = 29.99
    write("quality-a.json", "balanced,learned", white)
    assert not shown_never_worse("small", tmp_path)


def test_auto_is_learned_on_a_gpu_only_and_with_weights_that_are_shown(monkeypatch):
    monkeypatch.setattr(methods, "NEVER_WORSE", {"small"})
    cpu, cuda = torch.device("cpu"), torch.device("cuda:0")
    assert chosen_method("auto", "small", None, cuda) == "learned"
    assert chosen_method("auto", "small", None, cpu) == "classic"
    assert chosen_method("auto", "mine.safetensors", None, cuda) == "classic"
    assert [chosen_method(method, "small", None, cuda) for method in ("classic", "learned")] == ["classic", "learned"]
    with pytest.raises(UsageError, match="no such method: 'magic'"):
        chosen_method("magic", "small", None, cpu)
