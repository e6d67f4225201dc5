"""Time and memory of the search against a database of patches and torch's own unfold.

    python tests/benchmarks/paper/search.py --json search.json                  # sizes for a CPU
    python tests/benchmarks/paper/search.py --device cuda --size 160 --json search.json

After Gauen and Chan (arXiv 2309.16849): T = 5 frames, wt = 1, patches of one pixel, inner products, no flow, forward
only. Memory: F = 32 features of HD = 4 heads over windows ws; time: ws = 11, HD = 2, over F. The peers do the same
work: a database of all patches whose candidates are gathered (patch_database.py, as of N3Net; it is asked for squared
differences), and `unfold`, which writes every window out (zeros beyond the border) and multiplies. Peaks count beyond
the inputs.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from benchmarks_path import HERE  # noqa: F401
from patch_database import patch_database_search
from torch import Tensor
from torch.nn import functional

from vnlsdenoise import ops
from vnlsdenoise.bench.speed import begin_peak, device_name, peak, synchronise
from vnlsdenoise.ops.search_flow import window_frames

FRAMES, REACH, NEIGHBORS = 5, 1, 10


def unfolded_search(queries: Tensor, keys: Tensor, ws: int, nheads: int, k: int) -> tuple[Tensor, Tensor]:
    """Windows around every query as they lie (beyond the border: zeros), inner products, and the k largest."""
    frames, _, height, width = queries.shape
    order = torch.tensor(window_frames(frames, REACH))
    windows = functional.unfold(keys, ws, padding=ws // 2).view(frames, nheads, -1, ws * ws, height * width)
    own = queries.view(frames, nheads, -1, 1, height * width)
    products = [(own * windows[order[:, slot]]).sum(2) for slot in range(order.shape[1])]
    best: tuple[Tensor, Tensor] = torch.cat(products, 2).topk(k, 2)
    return best


def measured(work: Callable[[], object], device: str) -> dict[str, Any]:
    work()
    gc.collect()
    before = begin_peak(device)
    synchronise(device)
    begin = time.perf_counter()
    work()
    synchronise(device)
    took, most = time.perf_counter() - begin, peak(device)
    return {"seconds": took, "peak_MiB": None if before is None or most is None else (most - before) / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=48, help="height and width")
    parser.add_argument("--ws", default="3,5,7,9,11,13")
    parser.add_argument("--features", default="32,64,128,256")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, size = options.device, options.size
    cases = [("memory", int(ws), 32, 4) for ws in options.ws.split(",")]
    cases += [("time", 11, int(features), 2) for features in options.features.split(",")]
    results = []
    for sweep, ws, features, nheads in cases:
        torch.manual_seed(0)
        queries, keys = torch.randn(2, FRAMES, features, size, size, device=device).unbind(0)
        flows = torch.zeros(1, FRAMES, 2 * REACH, 2, size, size, device=device)
        how = {"ws": ws, "wt": REACH, "ps": 1, "k": NEIGHBORS, "nheads": nheads, "stride0": 1, "itype": "int"}
        ways: dict[str, Callable[[], object]] = {
            "vnlsdenoise": lambda q=queries, x=keys, f=flows, h=how: ops.nonlocal_search(
                q[None], x[None], f, **h, dist_type="prod"
            ),
            "patch database": lambda q=queries, x=keys, f=flows, h=how: patch_database_search(q[None], x[None], f, **h),
            "unfold": lambda q=queries, x=keys, w=ws, n=nheads: unfolded_search(q, x, w, n, NEIGHBORS),
        }
        with torch.no_grad():
            for way, work in ways.items():
                row = {"sweep": sweep, "ws": ws, "features": features, "nheads": nheads, "way": way}
                results.append({**row, **measured(work, device)})
                print(
                    "{sweep:6} ws {ws:2} F {features:3} {way:14} {seconds:8.3f} s {peak_MiB:8.1f} MiB".format(
                        **results[-1]
                    )
                )
    if options.json:
        report = {"device": device_name(device), "threads": options.threads, "size": size, "results": results}
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
