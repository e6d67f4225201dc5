"""What a step of the network allocates on a CUDA device, against what is planned for it.

    python tests/benchmarks/network_memory.py --sizes 540p,1080p,4k --weights small,base --json network_memory.json

"step" is the most that one step of the network allocated beyond what was there when it began, "planned" what
`learned.memory.step_work` allows it. "maps" is what of that is beside what is planned for the new state, views and
corrections (less than nothing where these are not all there at once), in maps of the finest size, and what is planned
for them. How whole runs keep to their plan: speed.py, ceilings.py.
"""

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import Any

import torch

from vnlsdenoise.bench.speed import SIGMA, SIZES, device_name, footage
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.learned import memory
from vnlsdenoise.learned.denoiser import LearnedDenoiser
from vnlsdenoise.learned.memory import NetworkSize, step_work
from vnlsdenoise.learned.methods import network_of
from vnlsdenoise.learned.tiles import tiles_of
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

STEPS = ("_encode", "_step_back", "_step_forth")


def watched(step: Callable[..., Any], peaks: list[int]) -> Callable[..., Any]:
    """A step that notes what it allocated at the most."""

    def noted(*arguments: Any, **options: Any) -> Any:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = step(*arguments, **options)
        peaks.append(torch.cuda.max_memory_allocated() - before)
        return result

    return noted


def measure(height: int, width: int, weights: str) -> dict[str, float]:
    network = network_of("learned", weights, None, torch.device("cuda"))
    assert network is not None
    layout = PlaneFormat("yuv", width, height, 8, 1, 1)
    noise = NoiseModel.of_sigma((SIGMA,) * 3)
    work = PlanarDenoiser(layout, noise, PRESETS[network.preset], peak=255, network=network)
    source = footage(height, width, "cuda")
    peaks: list[int] = []
    kept = {name: getattr(LearnedDenoiser, name) for name in STEPS}
    for name, step in kept.items():
        setattr(LearnedDenoiser, name, watched(step, peaks))
    try:
        while not list(work.push(next(source))):
            pass
    finally:
        for name, step in kept.items():
            setattr(LearnedDenoiser, name, step)
    size = NetworkSize.of(network)
    planned = step_work(size, "420", height, width)
    tiles = [tile.size for tile in tiles_of(height, width, size.dimensions)]
    one_map = size.dimensions.channels[0] * max(down * across for down, across in tiles) * size.value
    allowed = memory._FUSED if size.fused else memory._FINE + memory._LIBRARY
    maps = allowed + (max(peaks) - planned) / one_map
    return {"step_MiB": max(peaks) / 2**20, "planned_MiB": planned / 2**20, "maps": maps, "planned_maps": allowed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="540p,1080p,4k")
    parser.add_argument("--weights", default="small", help="names or files, separated by commas")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    report: dict[str, Any] = {"device": device_name("cuda"), "torch": torch.__version__, "cases": {}}
    for weights in options.weights.split(","):
        for size in options.sizes.split(","):
            with torch.no_grad():
                found = measure(*SIZES[size], weights)
            report["cases"][f"{size}, {weights}"] = found
            figures = (
                f"{found['step_MiB']:8.0f} MiB, planned {found['planned_MiB']:8.0f}; "
                f"maps {found['maps']:5.1f}, planned {found['planned_maps']:5.1f}"
            )
            print(f"{size:6} {pathlib.Path(weights).name:20} step {figures}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
