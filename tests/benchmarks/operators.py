"""Speed and memory of the differentiable operators on this machine.

    python tests/benchmarks/operators.py --device cuda --cases N1,N2,N4 --json operators.json

Input is normal noise; flow is smooth, a few pixels, at fractional positions. "share" is the floor (a fused multiply-add
for every pixel or channel of every candidate, at the device's measured single-precision matrix speed) over the time.
`--peer n3` times a search in a database of unfolded patches beside each integer search.
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from patch_database import patch_database_search
from speed import seconds

from vnlsdenoise import ops
from vnlsdenoise.bench.speed import device_name, synchronise

# Each names the shape of the video (T, C, H, W) and the options of the search; the floor follows from them.
SEARCHES: dict[str, tuple[tuple[int, int, int, int], dict[str, Any]]] = {
    "N1": ((5, 16, 128, 128), {"ws": 5, "wt": 2, "ps": 3, "k": 10, "nheads": 2, "stride1": 0.5}),
    "N2": ((7, 3, 540, 960), {"ws": 21, "wt": 3, "ps": 7, "k": 10, "stride0": 4, "itype": "int"}),
    "N2f": ((7, 3, 540, 960), {"ws": 21, "wt": 3, "ps": 7, "k": 10, "stride0": 4}),
    "N3": ((7, 3, 1080, 1920), {"ws": 21, "wt": 3, "ps": 7, "k": 10, "stride0": 4, "itype": "int"}),
    "N4": ((5, 64, 256, 256), {"ws": 9, "wt": 2, "ps": 1, "k": 9, "nheads": 4}),
    "N4i": ((5, 64, 256, 256), {"ws": 9, "wt": 2, "ps": 1, "k": 9, "nheads": 4, "itype": "int"}),
}


def smooth_flow(frames: int, slots: int, rows: int, columns: int, device: str) -> torch.Tensor:
    """[1, T, slots, 2, rows, columns]: up to a few pixels, changing slowly over the image."""
    coarse = 3 * torch.randn(frames * slots, 2, 6, 8, device=device)
    fine = torch.nn.functional.interpolate(coarse, (rows, columns), mode="bicubic", align_corners=True)
    return fine.reshape(1, frames, slots, 2, rows, columns)


def matrix_speed(device: str) -> float:
    """Single-precision multiply-adds a second of a large matrix product."""
    size = 4096 if device.startswith("cuda") else 1024
    a = torch.randn(size, size, device=device)
    return size**3 / seconds(lambda: a @ a, device, 5)


def peak_bytes(work: Callable[[], Any], device: str) -> float:
    """Device memory that a call takes beyond what was there before it."""
    if not device.startswith("cuda"):
        return float("nan")
    synchronise(device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    synchronise(device)
    return torch.cuda.max_memory_allocated() - before


def search_case(name: str, device: str, repeat: int, speed: float, peer: str | None) -> dict[str, float]:
    (frames, channels, height, width), options = SEARCHES[name]
    stride0 = options.get("stride0", 1)
    rows, columns = (height - 1) // stride0 + 1, (width - 1) // stride0 + 1
    slots = min(2 * options["wt"] + 1, frames)
    vid0, vid1 = (torch.randn(1, frames, channels, height, width, device=device) for _ in range(2))
    flows = smooth_flow(frames, slots - 1, rows, columns, device)

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return ops.nonlocal_search(vid0, vid1, flows, **options)

    inputs = [v.clone().requires_grad_() for v in (vid0, vid1)]

    def both() -> tuple[torch.Tensor, ...]:
        distances, _ = ops.nonlocal_search(*inputs, flows, **options)
        return torch.autograd.grad(distances.sum(), inputs)

    elements = frames * rows * columns * slots * options["ws"] ** 2 * options["ps"] ** 2 * channels
    time = seconds(forward, device, repeat)
    figures = {
        "forward_ms": 1e3 * time,
        "forward_backward_ms": 1e3 * seconds(both, device, repeat),
        "forward_MiB": peak_bytes(forward, device) / 2**20,
        "forward_backward_MiB": peak_bytes(both, device) / 2**20,
        "floor_ms": 1e3 * elements / speed,
        "share": elements / speed / time,
    }
    if peer == "n3" and options.get("itype") == "int":
        with torch.no_grad():

            def database_search() -> tuple[torch.Tensor, torch.Tensor]:
                return patch_database_search(vid0, vid1, flows, **options)

            figures["n3_forward_ms"] = 1e3 * seconds(database_search, device, 1)
            figures["n3_forward_MiB"] = peak_bytes(database_search, device) / 2**20
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", default=",".join(SEARCHES))
    parser.add_argument("--repeat", type=int, default=10, help="calls timed of each case")
    parser.add_argument("--peer", choices=["n3"], help="time this beside the searches")
    parser.add_argument("--json", help="write the figures here too")
    options = parser.parse_args()
    device = options.device
    name = device_name(device)
    report: dict[str, Any] = {"device": name, "torch": torch.__version__, "cases": {}}
    speed = matrix_speed(device)
    print(f"{name}, torch {torch.__version__}, {speed / 1e12:.2f} T multiply-adds a second")
    for case in options.cases.split(","):
        torch.manual_seed(0)
        figures = report["cases"][case] = search_case(case, device, options.repeat, speed, options.peer)
        print(
            f"{case:5} forward {figures['forward_ms']:9.3f} ms, {figures['forward_MiB']:8.1f} MiB   with backward "
            f"{figures['forward_backward_ms']:9.3f} ms, {figures['forward_backward_MiB']:8.1f} MiB   floor "
            f"{figures['floor_ms']:8.3f} ms, share {figures['share']:.2f}",
            flush=True,
        )
        if "n3_forward_ms" in figures:
            ratio = figures["n3_forward_ms"] / figures["forward_ms"]
            print(
                f"{'':5} n3      {figures['n3_forward_ms']:9.3f} ms, {figures['n3_forward_MiB']:8.1f} MiB   "
                f"{ratio:.1f} times the search's time",
                flush=True,
            )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
