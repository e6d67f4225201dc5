"""Memory and speed of a run under ceilings: what was predicted, what was measured, and that the bytes are the same.

    python tests/benchmarks/ceilings.py --sizes 540p --presets draft,fast --max-memory none,1,0.8,0.65 --json cpu.json
    python tests/benchmarks/ceilings.py --device cuda --sizes 1080p,4k --presets fast,balanced --max-memory none,2,4,8
    python tests/benchmarks/ceilings.py --device cuda --sizes 4k --presets fast --free 8

Every case is a process of its own that denoises noisy frames from host memory to host memory, as a run does, sigma
given; of presets, learned or learned:WEIGHTS is the network. --max-memory: GiB, none for what is free. On the CPU the
peak is that of the process (VmHWM), on a GPU what torch has taken of the device; the host's is of the process. --free:
GiB of a GPU that are left free, the rest being taken by another process; the ceiling is then chosen by what is free.
Frames a second are of the whole clip but for its first frames: to the last result.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vnlsdenoise.bench.quality import denoiser_of
from vnlsdenoise.bench.speed import SIGMA, SIZES, device_name, footage
from vnlsdenoise.engine.local import denoise_frames, predict_memory, predict_waiting
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.errors import MemoryLimitError
from vnlsdenoise.video.frame import Frame, PlaneFormat

RECORDED = 8  # frames that the footage repeats
LEFT_OUT = 16  # frames at the start, when whatever a first call sets up is set up
GIBIBYTE = 1 << 30


def measure(size: str, preset: str, device: str, ceiling: int | None, frames: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    height, width = SIZES[size]
    layout = PlaneFormat("yuv", width, height, 8, 1, 1)
    settings = DenoiseSettings(
        (SIGMA,) * 3,
        **denoiser_of(preset),
        device=device,
        max_memory=ceiling,
        scene_cuts=False,
        duplicates=False,
    )
    source = footage(height, width, "cpu")
    recorded = [
        tuple(plane.round().clamp(0, 255).to(torch.uint8).numpy() for plane in next(source)) for _ in range(RECORDED)
    ]
    try:
        figures: dict[str, Any] = {
            "predicted_MiB": predict_memory(layout, settings) / 2**20,
            "waiting_MiB": predict_waiting(layout, settings) / 2**20,
        }
    except MemoryLimitError as error:
        return {"refused": str(error)}
    digest = hashlib.sha256()

    taken: list[float] = []

    def given() -> Iterator[Frame]:
        for number in range(frames):
            taken.append(time.perf_counter())
            yield Frame(recorded[number % RECORDED], number, 1)

    for frame in denoise_frames(given(), layout, settings):
        for plane in frame.planes:
            digest.update(np.ascontiguousarray(plane))
    figures["frames_per_second"] = (frames - LEFT_OUT) / (time.perf_counter() - taken[LEFT_OUT])
    figures["sha256"] = digest.hexdigest()[:16]
    figures["process_MiB"] = _high_water() / 2**20
    figures["peak_MiB"] = figures["process_MiB"] if device == "cpu" else torch.cuda.max_memory_reserved() / 2**20
    return figures


def _high_water() -> int:
    told = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    return 1024 * int(told[1]) if told else 0


def fill(free: float) -> None:
    """Take all of the GPU but so many GiB, say so, and hold it until stdin ends."""
    left, _ = torch.cuda.mem_get_info()
    held = torch.empty(max(0, left - int(free * GIBIBYTE)), dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    print(f"holds {held.numel() >> 20} MiB", flush=True)
    sys.stdin.read()


@contextmanager
def filled(free: float | None) -> Iterator[None]:
    if free is None:
        yield
        return
    command = [sys.executable, __file__, "--fill", str(free)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        try:
            yield
        finally:
            other.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", default="540p")
    parser.add_argument("--presets", default="draft,fast")
    parser.add_argument("--max-memory", default="none")
    parser.add_argument("--free", type=float)
    parser.add_argument(
        "--frames", type=int, default=320, help="the first result of `balanced` comes after 147 under a ceiling"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", help=argparse.SUPPRESS)  # one case, in this process
    parser.add_argument("--fill", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill is not None:
        fill(options.fill)
        return
    if options.alone:
        size, preset, ceiling = options.alone.split(",")
        most = None if ceiling == "none" else int(float(ceiling) * GIBIBYTE)
        device = "cuda:0" if options.device == "cuda" else options.device
        print(json.dumps(measure(size, preset, device, most, options.frames, options.threads)))
        return
    name = device_name(options.device)
    report: dict[str, Any] = {"device": name, "torch": torch.__version__, "free_GiB": options.free, "cases": {}}
    print(f"{name}, torch {torch.__version__}")
    print("| size, preset | ceiling | predicted / measured, MiB | process | waiting at most | frames/s | sha256 |")
    print("|---|---|---|---|---|---|---|")
    same: dict[tuple[str, str], set[str]] = {}
    with filled(options.free):
        for size in options.sizes.split(","):
            for preset in options.presets.split(","):
                for ceiling in options.max_memory.split(","):
                    case = f"{size},{preset},{ceiling}"
                    command = [sys.executable, __file__, "--alone", case, "--device", options.device]
                    command += ["--frames", str(options.frames), "--threads", str(options.threads)]
                    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                    found = report["cases"][case] = json.loads(told.splitlines()[-1])
                    if "refused" in found:
                        print(f"| {size}, {preset} | {ceiling} | {found['refused']} |", flush=True)
                        continue
                    same.setdefault((size, preset), set()).add(found["sha256"])
                    print(
                        f"| {size}, {preset} | {ceiling} | {found['predicted_MiB']:.0f} / {found['peak_MiB']:.0f} | "
                        f"{found['process_MiB']:.0f} | {found['waiting_MiB']:.0f} | {found['frames_per_second']:.2f} | "
                        f"{found['sha256']} |",
                        flush=True,
                    )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    if any(len(hashes) > 1 for hashes in same.values()):
        sys.exit("the bytes differ")


if __name__ == "__main__":
    main()
