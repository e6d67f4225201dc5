"""Speed and memory of the operators and of the whole denoiser on this machine.

    python tests/benchmarks/speed.py --device cuda --sizes 540p,1080p,4k --presets fast,balanced --json speed.json

Footage: a moving pattern of smooth texture and flat areas with white noise of deviation 20 (8-bit scale), 4:2:0, made
on the device. Operators are timed on one frame of the finest level of preset `fast`; the denoiser in its steady state.

    python tests/benchmarks/speed.py --device cuda --sizes 1080p,4k --skip-operators --max-memory none,4,1.5

runs the denoiser under each of these ceilings (GiB; one that is too low is said to be) and prints a hash of its output,
which must be the same for all, with the peak that was predicted beside the one that was measured (CUDA). Of presets,
`learned:WEIGHTS` is the learned denoiser.
`--kernels 3` names the kernels that take most of a frame's time on the device, from more frames that are profiled.
"""

import argparse
import gc
import hashlib
import itertools
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from vnlsdenoise import ops
from vnlsdenoise.budget import plan_memory
from vnlsdenoise.classic.motion import Tvl1Motion
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.errors import MemoryLimitError
from vnlsdenoise.learned.denoiser import CHUNK, memory_bytes
from vnlsdenoise.learned.methods import LEARNED_PRESET, network_of
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

SIZES = {"240p": (240, 432), "540p": (540, 960), "1080p": (1080, 1920), "4k": (2160, 3840), "8k": (4320, 7680)}
SIGMA = 20.0
WINDOW = 9


def synchronise(device: str) -> None:
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


def seconds(work: Callable[[], Any], device: str, repeat: int) -> float:
    """Median wall seconds of a call, after two to warm up."""
    times = []
    for index in range(repeat + 2):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        if index >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def operators(height: int, width: int, device: str, repeat: int) -> dict[str, float]:
    """Milliseconds of each operator on one luma frame with a window of nine."""
    frames = footage(height, width, device)
    luma = [next(frames)[0][None] / SIGMA for _ in range(WINDOW)]
    motion = Tvl1Motion(SIGMA)
    pairs = [motion.push(frame[0]) for frame in luma]
    flows = [pair for pair in pairs if pair is not None]
    forward = [flow.forward for flow in [*flows, flows[-1]]]
    backward = [flow.backward for flow in [flows[0], *flows]]
    step1, step2 = PRESETS["fast"].finest.shrink, PRESETS["fast"].finest.wiener[0]
    axes = [torch.arange(0, n - step1.patch + 1, step1.stride, device=device) for n in (height, width)]
    queries = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2).int()
    middle, guide = WINDOW // 2, [ops.guide(torch.zeros_like(frame[0]), frame[0], 1.0) for frame in luma]
    sums = [ops.new_sums(frame) for frame in luma]

    def chain() -> torch.Tensor:
        return ops.chain_flow(forward, backward, queries, frame=middle, size=(height, width), scale=2)

    centres = chain()

    def search(side: int, side_other: int) -> torch.Tensor:
        return ops.search(
            guide, queries, centres, frame=middle, patch=8, neighbors=32, side=side, side_other=side_other
        )[1]

    offsets = search(step2.side, step2.side_other)

    def shrink() -> None:
        ops.shrink_groups(luma, queries, offsets, sums, frame=middle, patch=8, sigma=1.0, mean_threshold=2.7)

    def wiener() -> None:
        ops.wiener_groups(luma, luma, queries, offsets, sums, frame=middle, patch=8, sigma=1.0)

    before, now = ops.flow_image(luma[0], SIGMA), ops.flow_image(luma[1], SIGMA)
    variance = ops.local_variance(luma[0])
    cases: dict[str, Callable[[], Any]] = {
        "flow image": lambda: ops.flow_image(luma[0], SIGMA),
        "TV-L1 flow, both directions, half resolution": lambda: ops.tvl1_flow(
            torch.cat((before, now)), torch.cat((now, before))
        ),
        "chain flow": chain,
        "search 5/5 (step 1)": lambda: search(step1.side, step1.side_other),
        "search 15/7 (step 2)": lambda: search(step2.side, step2.side_other),
        "step 1 groups p8 K32 s8": shrink,
        "step 2 groups p8 K32 s8": wiener,
        "normalise": lambda: ops.normalise(luma[0], sums[0], 1.0),
        "pyramid down": lambda: ops.pyramid_down(luma[0]),
        "local variance": lambda: ops.local_variance(luma[0]),
        "fine Wiener": lambda: ops.fine_wiener(luma[0], luma[1], variance, sigma=1.0, neighbors=32),
    }
    return {name: 1e3 * seconds(work, device, repeat) for name, work in cases.items()}


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


def denoiser(
    height: int, width: int, preset: str, device: str, frames: int, ceiling: int | None, kernels: int
) -> dict[str, Any]:
    """Milliseconds a frame (wall and CPU) in the steady state, peaks of device memory in MiB, hash of the output."""
    layout = PlaneFormat("yuv", width, height, 8, 1, 1)
    method, _, weights = preset.partition(":")
    network = network_of("learned", weights, torch.device(device), ceiling) if method == "learned" else None
    settings = PRESETS[LEARNED_PRESET if network else preset]
    plan = plan_memory(layout, settings, ceiling)
    predicted = plan.peak
    if network is not None:
        predicted += memory_bytes(network.dimensions, layout.plane_shapes, 2 if device.startswith("cuda") else 4)
    noise = NoiseModel.of_sigma((SIGMA,) * 3)
    work = PlanarDenoiser(layout, noise, settings, peak=255, batch=plan.batch, pages=plan.pages, network=network)
    source = footage(height, width, device)
    recorded = [next(source) for _ in range(8)]
    before = 0
    if device.startswith("cuda"):
        gc.collect()  # what earlier cases left
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    pushed = 0
    while next(iter(list(work.push(recorded[pushed % 8]))), None) is None:  # fill the pipeline
        pushed += 1
    if network is not None:  # whose frames leave by whole chunks
        frames = -(-frames // CHUNK) * CHUNK
    synchronise(device)
    start, start_cpu = time.perf_counter(), time.process_time()
    for index in range(frames):
        for finished in work.push(recorded[(pushed + 1 + index) % 8]):
            last = finished
    synchronise(device)
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    figures = {
        "ms_per_frame": 1e3 * wall / frames,
        "frames_per_second": frames / wall,
        "cpu_ms_per_frame": 1e3 * cpu / frames,
        "predicted_MiB": predicted / 2**20,
    }
    if device.startswith("cuda"):
        figures["peak_MiB"] = (torch.cuda.max_memory_allocated() - before) / 2**20
    figures["sha256"] = hashlib.sha256(b"".join(p.cpu().numpy().tobytes() for p in last)).hexdigest()[:16]
    if kernels:
        figures["kernels_ms"] = longest_kernels(lambda index: list(work.push(recorded[index % 8])), frames, kernels)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", default="240p,540p,1080p")
    parser.add_argument("--presets", default="draft,fast,balanced,best")
    parser.add_argument("--frames", type=int, default=12, help="frames timed, after the pipeline is full")
    parser.add_argument("--repeat", type=int, default=10, help="calls timed of each operator")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--max-memory", default="none", help="ceilings in GiB, or none")
    parser.add_argument("--skip-operators", action="store_true")
    parser.add_argument("--kernels", type=int, default=0, help="so many of the longest kernels (CUDA)")
    parser.add_argument("--json", help="write the figures here too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = options.device
    name = device_name(device)
    report: dict[str, Any] = {
        "device": name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "sizes": {},
    }
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for size in options.sizes.split(","):
        height, width = SIZES[size]
        entry: dict[str, Any] = {}
        report["sizes"][size] = entry
        with torch.no_grad():
            if not options.skip_operators:
                entry["operators_ms"] = operators(height, width, device, options.repeat)
                for case, milliseconds in entry["operators_ms"].items():
                    print(f"{size:6} {case:46} {milliseconds:9.3f} ms", flush=True)
            entry["denoiser"] = {}
            for preset, limit in itertools.product(options.presets.split(","), options.max_memory.split(",")):
                case = preset if limit == "none" else f"{preset} {limit} GiB"
                try:
                    ceiling = None if limit == "none" else int(float(limit) * 2**30)
                    figures = denoiser(height, width, preset, device, options.frames, ceiling, options.kernels)
                except MemoryLimitError as error:
                    print(f"{size:6} denoiser {case:18} {error}")
                    continue
                entry["denoiser"][case] = figures
                measured = f", measured {figures['peak_MiB']:.0f}" if "peak_MiB" in figures else ""
                print(
                    f"{size:6} denoiser {case:18} {figures['ms_per_frame']:9.2f} ms a frame "
                    f"{figures['frames_per_second']:7.2f} frames/s {figures['cpu_ms_per_frame']:9.1f} CPU-ms a frame "
                    f"peak MiB predicted {figures['predicted_MiB']:.0f}{measured} sha256 {figures['sha256']}",
                    flush=True,
                )
                for kernel, milliseconds in figures.get("kernels_ms", {}).items():
                    print(f"{'':26} {milliseconds:9.2f} ms a frame in {kernel}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
