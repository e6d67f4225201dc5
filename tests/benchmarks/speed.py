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
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from vnlsdenoise import ops
from vnlsdenoise.bench.speed import SIGMA, SIZES, denoiser, device_name, footage, synchronise
from vnlsdenoise.classic.motion import Tvl1Motion
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.errors import MemoryLimitError

WINDOW = 9


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", default="240p,540p,1080p")
    parser.add_argument("--presets", default="draft,fast,balanced,best")
    parser.add_argument("--frames", type=int, default=12, help="frames timed, after the pipeline is full")
    parser.add_argument("--repeat", type=int, default=10, help="calls timed of each operator")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--max-memory", default="none", help="ceilings in GiB, or none")
    parser.add_argument("--alone", action="store_true", help="no level goes on beside another (CUDA)")
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
                    figures = denoiser(
                        height, width, preset, device, options.frames, ceiling, options.kernels, not options.alone
                    )
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
