"""Peak memory of a search and the weighted sum of its neighbours, without explicit patches.

    python tests/benchmarks/memory.py --device cpu --threads 1 --json memory.json

`example`: 14 neighbours of patches of 11 x 11 x 3 on 512 x 512 pixels. `image`: 5000 x 5000 pixels. `video`: 128 frames
of 480 x 854 along a smooth flow. "explicit" is what the patches of all neighbours would take. The peak is counted
beyond the inputs: on CUDA the allocator's, on the CPU the resident memory of a process of its own (Linux: KiB). Every
case is checked: its far corner must have the bytes of a search of that corner alone.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from operators import smooth_flow

from vnlsdenoise import ops
from vnlsdenoise.bench.speed import device_name, synchronise

# The shape of the video (T, H, W) of three channels, and the options of the search.
CASES: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "example": ((1, 512, 512), {"ws": 9, "wt": 0, "ps": 11, "k": 14, "stride0": 1, "itype": "int"}),
    "image": ((1, 5000, 5000), {"ws": 5, "wt": 0, "ps": 3, "k": 5, "stride0": 1, "itype": "int"}),
    "video": ((128, 480, 854), {"ws": 5, "wt": 1, "ps": 3, "k": 10, "stride0": 2, "itype": "int"}),
}
CORNER = 128  # side of the corner that is searched again
MARGIN = 48  # of it is not compared: its own inner borders turn windows there


def search_and_sum(
    video: torch.Tensor, flows: torch.Tensor | None, **options: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    distances, offsets = ops.nonlocal_search(video, video, flows, **options)
    weights = ops.normalise_distances(distances)
    out = ops.weighted_patch_sum(video, weights, offsets, ps=options["ps"], stride0=options["stride0"])
    return distances, offsets, out[0, 0, -1]


def corner_is_the_same(
    found: tuple[torch.Tensor, ...], video: torch.Tensor, flows: torch.Tensor | None, **options: Any
) -> bool:
    """Whether the last frame's far corner has the bytes of a search in the last frames' corners alone."""
    stride0, frames = options["stride0"], 2 * options["wt"] + 1
    top, left = ((n - CORNER) // stride0 * stride0 for n in video.shape[-2:])
    part = video[:, -frames:, :, top:, left:].contiguous()
    if flows is not None:
        flows = flows[:, -frames:, :, :, top // stride0 :, left // stride0 :].contiguous()
    alone = search_and_sum(part, flows, **options)
    queries, pixels = (CORNER - MARGIN) // stride0, CORNER - MARGIN - 2 * options["ps"]
    same = [
        torch.equal(a[:, :, -1, -queries:, -queries:], b[:, :, -1, -queries:, -queries:])
        for a, b in zip(found[:2], alone[:2], strict=True)
    ]
    return all(same) and torch.equal(found[2][..., -pixels:, -pixels:], alone[2][..., -pixels:, -pixels:])


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(case: str, device: str) -> dict[str, Any]:
    (frames, height, width), options = CASES[case]
    torch.manual_seed(0)
    video = torch.randn(1, frames, 3, height, width, device=device)
    flows = None
    if options["wt"]:
        grid = [(n - 1) // options["stride0"] + 1 for n in (height, width)]
        flows = smooth_flow(frames, 2 * options["wt"], *grid, device)
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else resident()
    start = time.perf_counter()
    with torch.no_grad():
        found = search_and_sum(video, flows, **options)
        synchronise(device)
        seconds = time.perf_counter() - start
        peak = (torch.cuda.max_memory_allocated() if cuda else resident()) - before
        same = corner_is_the_same(found, video, flows, **options)
    neighbours = found[0].numel()
    return {
        "seconds": seconds,
        "inputs_MiB": 4 * (video.numel() + (0 if flows is None else flows.numel())) / 2**20,
        "peak_MiB": peak / 2**20,
        "explicit_MiB": neighbours * options["ps"] ** 2 * 3 * 4 / 2**20,
        "corner_is_the_same": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--json", help="write the figures here too")
    parser.add_argument("--alone", choices=CASES, help=argparse.SUPPRESS)  # one case, in a process of its own
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.alone:
        print(json.dumps(measure(options.alone, options.device)))
        return
    name = device_name(options.device)
    print(f"{name}, torch {torch.__version__}, {options.threads} threads")
    report: dict[str, Any] = {"device": name, "torch": torch.__version__, "threads": options.threads, "cases": {}}
    for case in options.cases.split(","):
        command = [sys.executable, __file__, "--alone", case, "--device", options.device]
        command += ["--threads", str(options.threads)]
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        report["cases"][case] = figures
        if not figures["corner_is_the_same"]:
            sys.exit(f"{case}: the far corner differs from a search of it alone")
        print(
            f"{case:8} {figures['seconds']:8.1f} s   inputs {figures['inputs_MiB']:8.1f} MiB   peak beyond them "
            f"{figures['peak_MiB']:8.1f} MiB   explicit patches {figures['explicit_MiB']:9.1f} MiB",
            flush=True,
        )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
