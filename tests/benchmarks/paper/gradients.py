"""How far the gradients of the search are from run to run, and from exact.

    python tests/benchmarks/paper/gradients.py --json gradients.json

After Gauen and Chan (arXiv 2309.16849), whose gradients are summed by atomic additions and differ between runs: the
same search and the same backward pass, `--runs` times; relative error |g - g'| / (|g| + 1e-5), between runs, and
against the same in float64, where a near tie may choose another neighbour: the median tells the rounding, the mean
those too.
"""

import argparse
import json
from typing import Any

import torch
from torch import Tensor

from vnlsdenoise import ops
from vnlsdenoise.bench.speed import device_name

CASES: dict[str, dict[str, Any]] = {
    "integer": {"itype": "int", "stride1": 1},
    "bilinear": {"itype": "float", "stride1": 1},
    "half a pixel": {"itype": "float", "stride1": 0.5},
}


def gradients(queries: Tensor, keys: Tensor, flows: Tensor, weights: Tensor, **how: Any) -> list[Tensor]:
    inputs = [tensor.clone().requires_grad_() for tensor in (queries, keys)]
    distances, _ = ops.nonlocal_search(*inputs, flows, **how)
    (distances * weights).sum().backward()
    return [tensor.grad for tensor in inputs if tensor.grad is not None]


def relative(one: list[Tensor], other: list[Tensor]) -> Tensor:
    return torch.cat([((a - b).abs() / (a.abs() + 1e-5)).flatten() for a, b in zip(one, other, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    results = []
    for case, given in CASES.items():
        torch.manual_seed(0)
        shape = (1, 3, 8, options.size, options.size)
        queries, keys = torch.randn(2, *shape, device=options.device).unbind(0)
        flows = 2 * torch.randn(1, 3, 2, 2, options.size, options.size, device=options.device)
        if given["itype"] == "int":
            flows = flows.round()
        how = {"ws": 5, "wt": 1, "ps": 3, "k": 8, "nheads": 2, "stride0": 1, **given}
        with torch.no_grad():
            weights = torch.randn_like(ops.nonlocal_search(queries, keys, flows, **how)[0])
        runs = [gradients(queries, keys, flows, weights, **how) for _ in range(options.runs)]
        between = torch.stack([relative(runs[0], run) for run in runs[1:]])
        exact = gradients(queries.double(), keys.double(), flows.double(), weights.double(), **how)
        against = relative(exact, [gradient.double() for gradient in runs[0]])
        row = {
            "case": case,
            "between_runs_largest": float(between.max()),
            "against_exact_median": float(against.median()),
            "against_exact_mean": float(against.mean()),
        }
        results.append(row)
        print(row)
    if options.json:
        report = {"device": device_name(options.device), "runs": options.runs, "results": results}
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
