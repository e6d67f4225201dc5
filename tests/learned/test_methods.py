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
    """Whether the tables have all kinds of noise for both, and on no clip and at no sigma worse than `balanced`.

    White noise is the same on every machine, so that a clip's `balanced` may be of any table of the same frames. Noise
    that is measured is not: tables of one machine, by the end of their names, are compared.
    """
    named = {"learned", f"learned:{weights}"} if weights == "small" else {f"learned:{weights}"}
    tables = [(path.stem, json.loads(path.read_text())) for path in results.glob("*.json")]
    white = [
        ((table["arguments"].get("crop"), table["arguments"].get("frames"), clip), found)
        for name, table in tables
        if name.startswith("quality")
        for clip, found in table["results"].items()
    ]
    theirs_of: dict[tuple[str | int | None, ...], float] = {}
    for of, found in white:
        if "balanced" in found:
            theirs_of[of] = max(found["balanced"]["psnr"], theirs_of.get(of, 0.0))
    shown = set()
    for of, found in white:
        for preset in named & found.keys():
            shown.add(int(of[2].rpartition("/")[2]))
            if of not in theirs_of or found[preset]["psnr"] < theirs_of[of]:
                return False
    if not shown >= SIGMAS:
        return False
    for noise in NOISES:
        of_noise = [(name.rpartition("-")[2], table) for name, table in tables if name.startswith(noise)]
        ours, theirs = (
            {machine: table["results"] for machine, table in of_noise if table["arguments"]["preset"] in presets}
            for presets in (named, {"balanced"})
        )
        if not ours or not ours.keys() <= theirs.keys():
            return False
        if not all(_no_worse(of_machine, theirs[machine]) for machine, of_machine in ours.items()):
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

    def measured(*decibels, clip="clip"):
        return {"kind": {clip: {"measured": list(decibels)}}}

    white = {f"clip/{sigma}": {"balanced": {"psnr": 30.0}} for sigma in SIGMAS}
    ours = {f"clip/{sigma}": {"learned": {"psnr": 30.1}} for sigma in SIGMAS}
    write("quality-a.json", "balanced", white)
    write("quality-b.json", "learned", ours)
    assert not shown_never_worse("small", tmp_path)  # nothing is known of other noise
    for noise in NOISES:
        write(f"{noise}-balanced-xeon.json", "balanced", measured(30.0, 31.0))
        write(f"{noise}-balanced-epyc.json", "balanced", measured(32.0, clip="another"))
        write(f"{noise}-small-xeon.json", "learned", measured(29.96, 31.0))
    assert shown_never_worse("small", tmp_path)
    assert not shown_never_worse("base", tmp_path)
    write("coded-noise-small-xeon.json", "learned", measured(29.9, 31.0))
    assert not shown_never_worse("small", tmp_path)
    write("coded-noise-small-xeon.json", "learned", measured(30.0, 31.0))
    assert shown_never_worse("small", tmp_path)
    write("coded-noise-small-h200.json", "learned", measured(30.0, 31.0))  # nothing of that machine to compare with
    assert not shown_never_worse("small", tmp_path)
    write("coded-noise-balanced-h200.json", "balanced", measured(30.0, 31.0))
    assert shown_never_worse("small", tmp_path)
    ours["clip/20"]["learned"]["psnr"] = 29.99
    write("quality-b.json", "learned", ours)
    assert not shown_never_worse("small", tmp_path)


def test_auto_is_learned_on_a_gpu_only_and_with_weights_that_are_shown(monkeypatch):
    monkeypatch.setattr(methods, "NEVER_WORSE", {"small"})
    cpu, cuda = torch.device("cpu"), torch.device("cuda:0")
    assert chosen_method("auto", "small", None, cuda) == "learned"
    assert chosen_method("auto", "small", None, cpu) == "classic"
    assert chosen_method("auto", "mine.safetensors", None, cuda) == "classic"
    assert chosen_method("auto", "small", "best", cuda) == "learned"
    assert chosen_method("auto", "small", "draft", cuda) == "classic"  # which no network corrects
    with pytest.raises(UsageError, match="does not work behind preset draft"):
        chosen_method("learned", "small", "draft", cuda)
    assert [chosen_method(method, "small", None, cuda) for method in ("classic", "learned")] == ["classic", "learned"]
    with pytest.raises(UsageError, match="no such method: 'magic'"):
        chosen_method("magic", "small", None, cpu)
