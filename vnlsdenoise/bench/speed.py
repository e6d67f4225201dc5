"""How fast this machine denoises, and what memory that takes: moving noisy footage that is made on the spot.

`SIZES`: (height, width) by name. Of presets "learned:WEIGHTS" is the network.
"""

import ctypes
import gc
import hashlib
import platform
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from vnlsdenoise import ops
from vnlsdenoise.bench.quality import denoiser_of
from vnlsdenoise.budget import plan_memory
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.engine.host import resident_memory
from vnlsdenoise.learned.chunks import CHUNK
from vnlsdenoise.learned.memory import NetworkSize
from vnlsdenoise.learned.methods import network_of
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

SIZES = {"240p": (240, 432), "540p": (540, 960), "1080p": (1080, 1920), "4k": (2160, 3840), "8k": (4320, 7680)}
SIGMA = 20.0
# Frames after the first that comes out, on a GPU: until all queries are there, at every phase of their grids; and where
# frames wait in host memory, until as much of that is pinned as ever will be, which takes longer than all else.
_CYCLE, _FILLED = 8, 48


def synchronise(device: str) -> None:
    """Wait until the device has done its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def footage(height: int, width: int, device: str) -> Iterator[list[torch.Tensor]]:
    """Noisy 4:2:0 frames without end: a pattern that drifts by (0.7, 1.6) pixels a frame."""
    generator = torch.Generator(device).manual_seed(7)
    margin = 64
    base = torch.randn(1, 1, height + margin, width + margin, generator=generator, device=device)
    texture = 100 * ops.pyramid_down(base[0])
    texture = ops.pyramid_up(texture, height + margin, width + margin)[0]
    flat = (torch.arange(width + margin, device=device) // 160 % 2 == 0).float()
    pattern = 120 + texture * flat
    number = 0
    while True:
        y, x = int(0.7 * number) % margin, int(1.6 * number) % margin
        luma = pattern[y : y + height, x : x + width]
        chroma = torch.full(((height + 1) // 2, (width + 1) // 2), 128.0, device=device)
        yield [p + SIGMA * torch.randn(p.shape, generator=generator, device=device) for p in (luma, chroma, chroma)]
        number += 1


def device_name(device: str) -> str:
    """What the figures were measured on."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()


def longest_kernels(push: Callable[[int], object], frames: int, count: int) -> dict[str, float]:
    """Milliseconds a frame of the kernels that take most, while that many frames are pushed."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for index in range(frames):
            push(index)
        torch.cuda.synchronize()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_device_time_total)[:count]
    names = [re.sub(r"\(anonymous namespace\)::|^void ", "", event.key).split("(")[0] for event in events]
    return {name: event.self_device_time_total / 1e3 / frames for name, event in zip(names, events, strict=True)}


def begin_peak(device: str) -> int | None:
    """Bytes that are in use now, from where on the peak counts; None where nobody knows."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # glibc: memory that was freed would be taken again, and not count
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak of resident memory begins anew
    except (OSError, AttributeError):
        return None
    return resident_memory("VmRSS")


def peak(device: str) -> int | None:
    """Bytes in use at the most since `begin_peak`."""
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else resident_memory("VmHWM")


def denoiser(
    height: int,
    width: int,
    preset: str,
    device: str,
    frames: int,
    ceiling: int | None,
    kernels: int,
    beside: bool = True,
) -> dict[str, Any]:
    """Milliseconds a frame (wall and CPU) in the steady state, peaks of device memory in MiB, hash of the output.

    frames: that are timed; on a GPU three times over, of which the median counts. beside: whether the coarser levels
    may go on beside the finest one.
    """
    layout = PlaneFormat("yuv", width, height, 8, 1, 1)
    chosen = {"method": "classic", "weights": "", **denoiser_of(preset)}
    network = network_of(chosen["method"], chosen["weights"], chosen["preset"], torch.device(device))
    settings = PRESETS[chosen["preset"]]
    corrected = None if network is None else NetworkSize.of(network)
    plan = plan_memory(layout, settings, ceiling, corrected, measured=False)
    noise = NoiseModel.of_sigma((SIGMA,) * 3)
    how = {**plan.options, "beside": plan.beside and beside}
    work = PlanarDenoiser(layout, noise, settings, peak=255, network=network, **how)
    source = footage(height, width, device)
    recorded = [next(source) for _ in range(8)]
    gc.collect()  # what earlier cases left
    before = begin_peak(device)
    pushed = finished = 0
    marked: list[torch.Tensor] = []  # the result of frame `hashed`, whatever leaves together with it
    hashed = frames

    def push() -> None:
        nonlocal pushed, finished, marked
        for planes in work.push(recorded[pushed % 8]):
            marked = planes if finished == hashed else marked
            finished += 1
        pushed += 1

    while not finished:  # fill the pipeline
        push()
    if device.startswith("cuda"):
        for _ in range(_FILLED if plan.waiting else _CYCLE):
            push()
    whole = plan.burst if network is None else CHUNK  # frames that leave together
    frames = -(-frames // whole) * whole
    rounds = []
    for _ in range(3 if device.startswith("cuda") else 1):
        moved = work.moved
        synchronise(device)
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(frames):
            push()
        synchronise(device)
        rounds.append((time.perf_counter() - start, time.process_time() - start_cpu))
    wall, cpu = sorted(rounds)[len(rounds) // 2]
    figures: dict[str, Any] = {
        "ms_per_frame": 1e3 * wall / frames,
        "frames_per_second": frames / wall,
        "cpu_ms_per_frame": 1e3 * cpu / frames,
        "predicted_MiB": plan.peak / 2**20,
        "moved_MiB_per_frame": (work.moved - moved) / frames / 2**20,
    }
    most = peak(device)
    if before is not None and most is not None:
        figures["peak_MiB"] = (most - before) / 2**20
    figures["sha256"] = hashlib.sha256(b"".join(p.cpu().numpy().tobytes() for p in marked)).hexdigest()[:16]
    if kernels:
        figures["kernels_ms"] = longest_kernels(lambda index: list(work.push(recorded[index % 8])), frames, kernels)
    return figures
