"""Speed and memory of the aggregation operators on this machine.

    python tests/benchmarks/aggregation.py --device cuda --json aggregation.json

`lists`: weighted patch sum over T = 5 frames of 256 x 256 with 64 channels in 4 heads, 9 neighbours within 4 pixels,
patches 3 x 3; forward, and forward with backward. `example`: 14 neighbours of patches 11 x 11 x 3 for every pixel of a
512 x 512 image, whose explicit patches would take 4.963 GiB. Memory is the peak beyond what the inputs hold.
"""

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from vnlsdenoise import ops
from vnlsdenoise.bench.speed import device_name, synchronise


def measure(work: Callable[[], Any], device: str, repeat: int) -> dict[str, float]:
    """Median milliseconds of a call after two to warm up, and on CUDA the peak MiB beyond what was held before."""
    times, before = [], 0
    for index in range(repeat + 2):
        if device.startswith("cuda") and index == 2:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        times.append(1000 * (time.perf_counter() - start))
    found = {"ms": statistics.median(times[2:])}
    if device.startswith("cuda"):
        found["peak_mib"] = (torch.cuda.max_memory_allocated() - before) / 2**20
    return found


def lists(
    frames: int, channels: int, heads: int, height: int, width: int, count: int, reach: int, kind: str, device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random video, softmax weights, offsets within `reach` in every direction of the frame, dt within 2."""
    generator = torch.Generator(device).manual_seed(3)
    shape = (1, heads, frames, height, width, count)
    video = torch.randn(1, frames, channels, height, width, generator=generator, device=device)
    weights = torch.randn(shape, generator=generator, device=device).softmax(-1)
    offsets = reach * (2 * torch.rand(*shape, 3, generator=generator, device=device) - 1)
    offsets[..., 0] = torch.randint(-2, 3, shape, generator=generator, device=device)
    return video, weights, offsets.round().int() if kind == "int" else offsets


def forward_and_backward(inputs: tuple[torch.Tensor, ...], **options: Any) -> Callable[[], Any]:
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    wanted = [x for x in leaves if x.requires_grad]
    gradient = torch.ones_like(ops.weighted_patch_sum(*leaves, **options).detach())

    def work() -> Any:
        return torch.autograd.grad(ops.weighted_patch_sum(*leaves, **options), wanted, gradient)

    return work


def cases(device: str, size: int, example: int, repeat: int) -> list[dict[str, Any]]:
    rows = []
    for kind in ("int", "float"):
        inputs = lists(5, 64, 4, size, size, 9, 4, kind, device)
        for ps in (1, 3):
            options = {"ps": ps, "stride0": 1}
            with torch.no_grad():
                found = measure(functools.partial(ops.weighted_patch_sum, *inputs, **options), device, repeat)
            rows.append({"case": "lists", "offsets": kind, "ps": ps, "pass": "forward", **found})
            both = measure(forward_and_backward(inputs, **options), device, repeat)
            rows.append({"case": "lists", "offsets": kind, "ps": ps, "pass": "forward+backward", **both})
        image = lists(1, 3, 1, example, example, 14, 8, kind, device)
        with torch.no_grad():
            found = measure(functools.partial(ops.weighted_patch_sum, *image, ps=11, stride0=1), device, repeat)
        explicit = example * example * 14 * 11 * 11 * 3 * 4 / 2**20
        rows.append(
            {"case": "example", "offsets": kind, "ps": 11, "pass": "forward", **found, "explicit_mib": explicit}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=256, help="side of the frames of `lists`")
    parser.add_argument("--example", type=int, default=512, help="side of the image of `example`")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--json", help="write the numbers here")
    options = parser.parse_args()
    rows = cases(options.device, options.size, options.example, options.repeat)
    name = device_name(options.device)
    print(f"torch {torch.__version__}, {name}, {torch.get_num_threads()} threads")
    print(f"{'case':8} {'offsets':8} {'ps':>3} {'pass':17} {'ms':>10} {'peak MiB':>9} {'explicit MiB':>13}")
    for row in rows:
        peak, explicit = (f"{row[key]:.1f}" if key in row else "-" for key in ("peak_mib", "explicit_mib"))
        head = f"{row['case']:8} {row['offsets']:8} {row['ps']:3} {row['pass']:17}"
        print(f"{head} {row['ms']:10.3f} {peak:>9} {explicit:>13}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"device": name, "torch": torch.__version__, "argv": sys.argv[1:], "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
