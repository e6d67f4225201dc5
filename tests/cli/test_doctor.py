"""Whether a machine can do the work is told, with advice where it cannot; scenes of a file and what they will take."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import COMMAND, call
from clips import random_frames, write_clip

from vnlsdenoise.video.frame import Frame, PlaneFormat

ROOT = Path(__file__).resolve().parent.parent.parent
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def checks(*arguments: object, **variables: str) -> tuple[int, dict[str, dict[str, str]]]:
    code, out, err = call("doctor", "--json", *arguments, **variables)
    told = json.loads(out)
    assert told["usable"] == (code == 0), err
    return code, {check["name"]: check for check in told["checks"]}


def test_a_machine_that_runs_these_tests_is_usable() -> None:
    code, found = checks()
    assert code == 0
    assert found["kernels, CPU"]["state"] == found["codecs"]["state"] == found["images"]["state"] == "ok"
    assert "libx265" in found["codecs"]["text"] and torch.__version__ in found["torch"]["text"]
    code, out, _ = call("doctor")
    assert code == 0 and "NO " not in out and "kernels, CPU" in out


@needs_no_gpu
def test_a_gpu_that_is_asked_for_must_be_there() -> None:
    code, found = checks("--device", "cuda")
    assert code == 5 and found["GPU"]["state"] == "failed" and found["GPU"]["advice"]


def test_a_variable_that_is_no_option_is_named() -> None:
    code, found = checks(VNLSDENOISE_PRESETS="fast", VNLSDENOISE_PRESET="fast", VNLSDENOISE_ESTIMATE_DEVICE="cpu")
    assert code == 0 and found["environment"]["text"] == "VNLSDENOISE_PRESETS is no option"


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ("import vnlsdenoise.job.doctor as d; d._ENCODERS['nope'] = 'yuv420p'", "codecs"),
        ("import sys; sys.modules['OpenEXR'] = None", "images"),
        ("import vnlsdenoise; vnlsdenoise.denoise = lambda video, **wish: video", "kernels, CPU"),
    ],
)
def test_what_does_not_work_is_named_with_advice(broken: str, name: str) -> None:
    program = f"from vnlsdenoise.cli.main import main\n{broken}\nmain(['doctor', '--json'])"
    done = subprocess.run([COMMAND[0], "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 5, done.stderr
    [failed] = [check for check in json.loads(done.stdout)["checks"] if check["state"] == "failed"]
    assert failed["name"] == name and failed["advice"]


def test_a_library_that_is_missing_is_told(tmp_path: Path) -> None:
    for name, room in (("vnlsdenoise", ""), ("cli", "cli"), ("weights", "weights")):
        shutil.copytree(
            ROOT / name, tmp_path / "vnlsdenoise" / room, ignore=shutil.ignore_patterns("*.so"), dirs_exist_ok=True
        )
    program = (
        "import sys\nsys.path.insert(0, sys.argv[1])\nfrom vnlsdenoise.cli.main import main\nmain(['doctor', '--json'])"
    )
    done = subprocess.run([COMMAND[0], "-c", program, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 5, done.stderr
    last = json.loads(done.stdout)["checks"][-1]
    assert last["name"] == "kernels, CPU" and "_C.abi3.so is missing" in last["text"] and "rebuild" in last["advice"]


def test_scenes_of_a_file_with_their_noise_and_what_each_preset_takes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    format = PlaneFormat("gray", 64, 48, 8)
    frames = random_frames(format, 24)
    for index, frame in enumerate(frames):
        base, sigma = (60, 3) if index < 14 else (170, 9)
        luma = np.clip(base + sigma * random.standard_normal((48, 64)), 0, 255).astype(np.uint8)
        frames[index] = Frame((luma,), frame.pts, 1)
    write_clip(tmp_path / "in.mkv", "gray", size=(64, 48), frames=frames)
    code, out, err = call("info", "--scenes", "--device", "cpu", "--json", tmp_path / "in.mkv")
    assert code == 0, err
    facts = json.loads(out)
    assert [(scene["first"], scene["frames"], scene["at"]) for scene in facts["scenes"]] == [(0, 14, 0), (14, 10, 0.56)]
    sigmas = [scene["noise"]["planes"][0]["sigma"] for scene in facts["scenes"]]
    assert sigmas == pytest.approx([3, 9], rel=0.15)
    assert set(facts["presets"]) == {"draft", "fast", "balanced", "best"}
    assert all(needs["seconds"] >= 0 and needs["memory"] > 0 for needs in facts["presets"].values())
    code, out, _ = call("info", "--scenes", "--device", "cpu", tmp_path / "in.mkv")
    assert code == 0 and "frame 14, at 0.56 s: 10 frames" in out and "preset best:" in out
