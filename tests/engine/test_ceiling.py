"""The ceiling of memory that a run chooses, and that a process on the CPU stays under the one that it is given."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from vnlsdenoise.budget import least_memory, plan_memory
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.engine import ceiling, host
from vnlsdenoise.engine.ceiling import process_memory, with_ceiling
from vnlsdenoise.engine.host import available_memory
from vnlsdenoise.engine.local import predict_memory, predict_waiting
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.errors import MemoryLimitError
from vnlsdenoise.learned.checkpoint import Header, save_network
from vnlsdenoise.learned.memory import NetworkSize
from vnlsdenoise.learned.network import Dimensions, Network
from vnlsdenoise.video.frame import PlaneFormat

UHD = PlaneFormat("yuv", 3840, 2160, 8, 1, 1)
SETTINGS = DenoiseSettings((5.0,) * 3, preset="fast")
GIBIBYTE = 1 << 30

PROGRAM = """
import hashlib, json, sys
import numpy as np
import torch
from vnlsdenoise.engine.host import resident_memory
from vnlsdenoise.engine.local import denoise_frames, predict_memory
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.video.frame import Frame, PlaneFormat

torch.set_num_threads(1)
width, height, count, most = (int(word) for word in sys.argv[1:5])
layout = PlaneFormat("yuv", width, height, 8, 1, 1)
learned = {"method": "learned", "weights": sys.argv[5]} if sys.argv[5:] else {}
settings = DenoiseSettings(
    (20.0,) * 3, preset="fast", max_memory=most or None, scene_cuts=False, duplicates=False, **learned
)

def frames():
    random = np.random.default_rng(0)
    for number in range(count):
        planes = tuple(random.integers(0, 256, shape, dtype=np.uint8) for shape in layout.plane_shapes)
        yield Frame(planes, number, 1)

predicted = predict_memory(layout, settings)
digest = hashlib.sha256()
for frame in denoise_frames(frames(), layout, settings):
    for plane in frame.planes:
        digest.update(np.ascontiguousarray(plane).tobytes())
peak = resident_memory("VmHWM")  # what getrusage tells is at least what the process that started this one had
print(json.dumps({"predicted": predicted, "peak": peak, "bytes": digest.hexdigest()}))
"""


def run(*arguments: object) -> dict:
    # What is taken counts, not what the C library keeps of what is free; under a ceiling the engine sees to it.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(ceiling._LARGE)}
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    told = subprocess.run(command, check=True, stdout=-1, env=environment).stdout
    return json.loads(told)


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted as Linux does")
@pytest.mark.parametrize("method", ["classic", "learned"])
def test_a_process_on_the_cpu_stays_under_its_ceiling(method, tmp_path):
    width, height, frames, learned, size = 448, 256, 36, [], None
    if method == "learned":  # few frames, and a network that takes much for what it does
        width, frames, dimensions = 320, 20, Dimensions((96, 16, 16), 0, (0, 0, 1), 0)
        network = Network(dimensions)
        for tail in network.tails.values():
            torch.nn.init.normal_(tail.conv.weight, std=0.01)
        learned, size = [tmp_path / "wide.safetensors"], NetworkSize(dimensions, 4)
        save_network(learned[0], Header(dimensions), network.state_dict())
    free = run(width, height, frames, 0, *learned)
    layout = PlaneFormat("yuv", width, height, 8, 1, 1)
    spared = plan_memory(layout, PRESETS["fast"], network=size).peak - least_memory(layout, PRESETS["fast"], size)
    most = int(free["predicted"] - 0.95 * spared)  # almost the least that it needs
    found = run(width, height, frames, most, *learned)
    assert found["bytes"] == free["bytes"]
    assert found["peak"] <= most
    assert found["predicted"] <= most
    assert found["peak"] < free["peak"] <= free["predicted"]


def test_the_network_counts_in_the_ceiling_that_is_chosen(monkeypatch):
    """And in what is said of one that is too low."""
    learned = replace(SETTINGS, method="learned")
    monkeypatch.setattr(ceiling, "available_memory", lambda: 24 * GIBIBYTE)
    assert with_ceiling(UHD, SETTINGS).max_memory is None
    chosen = with_ceiling(UHD, learned).max_memory
    assert chosen is not None and 20 * GIBIBYTE < chosen < 24 * GIBIBYTE
    assert predict_waiting(UHD, learned) > 4 * GIBIBYTE
    with pytest.raises(MemoryLimitError, match=r"learned method needs a process of .* or take --method classic"):
        with_ceiling(UHD, replace(learned, max_memory=3 * GIBIBYTE))
    on_gpu = replace(learned, device="cuda:0", max_memory=int(3.5 * GIBIBYTE))
    assert predict_memory(UHD, on_gpu) <= 3.5 * GIBIBYTE


def test_what_is_free_is_the_ceiling_where_not_all_fits(monkeypatch):
    monkeypatch.setattr(ceiling, "available_memory", lambda: 64 * GIBIBYTE)
    assert with_ceiling(UHD, SETTINGS).max_memory is None
    assert predict_waiting(UHD, SETTINGS) == 0
    monkeypatch.setattr(ceiling, "available_memory", lambda: 8 * GIBIBYTE)
    chosen = with_ceiling(UHD, SETTINGS).max_memory
    assert chosen is not None and 6 * GIBIBYTE < chosen < 8 * GIBIBYTE
    assert predict_memory(UHD, SETTINGS) <= 8 * GIBIBYTE + process_memory(UHD)
    assert 8 * GIBIBYTE < predict_waiting(UHD, SETTINGS) < 18 * GIBIBYTE
    # Fields are two films of half the height.
    assert with_ceiling(UHD, replace(SETTINGS, fields=True)).max_memory == chosen


def test_what_is_free_on_a_gpu_is_the_ceiling(monkeypatch):
    settings = replace(SETTINGS, device="cuda:0")
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2 * GIBIBYTE)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: GIBIBYTE)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80 * GIBIBYTE, 80 * GIBIBYTE))
    assert with_ceiling(UHD, settings).max_memory is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7 * GIBIBYTE, 8 * GIBIBYTE))
    chosen = with_ceiling(UHD, settings).max_memory
    assert chosen is not None and 7 * GIBIBYTE < chosen < 8 * GIBIBYTE
    assert predict_memory(UHD, settings) <= chosen
    given = replace(settings, max_memory=3 * GIBIBYTE)
    assert with_ceiling(UHD, given) == given


@pytest.mark.parametrize(
    ("version", "line", "limit", "usage", "stat"),
    [
        (2, "0::/job/step", "memory.max", "memory.current", "inactive_file 100"),
        (1, "4:cpu,memory:/job/step", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file 100"),
    ],
)
def test_the_limits_of_control_groups_count(tmp_path, version, line, limit, usage, stat):
    own, root = tmp_path / "own", tmp_path / "groups"
    own.write_text(f"1:name=systemd:/elsewhere\n{line}\n")
    base = root if version == 2 else root / "memory"
    (base / "job" / "step").mkdir(parents=True)
    (base / "job" / limit).write_text("5000\n")
    (base / "job" / usage).write_text("1500\n")
    (base / "job" / "memory.stat").write_text(f"anon 7\n{stat}\n")
    assert host._left_in_groups(root, own) == [3600]
    (base / "job" / "step" / limit).write_text("max\n")
    (base / "job" / "step" / usage).write_text("10\n")
    assert host._left_in_groups(root, own) == [3600]


def test_this_machine_has_memory():
    free = available_memory()
    assert free is None or free > 0


def test_a_worker_finds_what_it_was_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    before, used = available_memory(), host.resident_memory("VmRSS")
    assert before is not None and used is not None and before > 200 << 20
    monkeypatch.setattr(host, "_allowed", None)
    host.allow(used + (100 << 20))
    found = available_memory()
    assert found is not None and found <= 110 << 20
    host.allow(1)
    assert available_memory() == 0
