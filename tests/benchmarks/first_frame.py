"""Where the time goes from the start of a process to its first denoised frame.

    python tests/benchmarks/first_frame.py --device cuda --size 1080p --preset draft --json first.json

Footage is that of speed.py in host memory, its noise given; nothing is decoded, and the time that it takes to make is
left out. A preset looks ahead: the last part is what the frames take that come in before the first goes out.
"""

import argparse
import itertools
import json
import sys
import time

RECORDED = 8  # frames that the footage repeats
FOOTAGE = "footage (left out)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="1080p")
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--json", help="write the figures here too")
    options = parser.parse_args()
    marks = [("", time.perf_counter())]

    def mark(name: str) -> None:
        marks.append((name, time.perf_counter()))
        print(f"{marks[-1][1] - marks[-2][1]:8.3f} s  {name}", flush=True)

    import torch

    mark("import of torch")
    from vnlsdenoise.bench.speed import SIGMA, SIZES, footage, synchronise
    from vnlsdenoise.budget import plan_memory
    from vnlsdenoise.classic.planar import PlanarDenoiser
    from vnlsdenoise.classic.presets import PRESETS
    from vnlsdenoise.noise import NoiseModel
    from vnlsdenoise.planes import planes_to_tensors
    from vnlsdenoise.video.frame import PlaneFormat

    mark("import of vnlsdenoise")
    height, width = SIZES[options.size]
    source = footage(height, width, "cpu")
    recorded = [[p.round().clamp(0, 255).to(torch.uint8).numpy() for p in next(source)] for _ in range(RECORDED)]
    mark(FOOTAGE)
    torch.zeros(1, device=options.device)
    synchronise(options.device)
    mark("context of the device")
    with torch.no_grad():
        layout, preset = PlaneFormat("yuv", width, height, 8, 1, 1), PRESETS[options.preset]
        plan = plan_memory(layout, preset, measured=False)
        work = PlanarDenoiser(layout, NoiseModel.of_sigma((SIGMA,) * 3), preset, peak=255, **plan.options)

        def push(number: int) -> bool:
            return bool(list(work.push(planes_to_tensors(recorded[number % RECORDED], options.device))))

        for number in range(2):
            push(number)
            synchronise(options.device)
            mark("first frame in" if number == 0 else "second frame in, its flow captured")
        pushed = 2
        while not push(pushed):
            pushed += 1
        synchronise(options.device)
        mark(f"frames 3 to {pushed + 1} in, first frame out")
    seconds = {name: now - before for (_, before), (name, now) in itertools.pairwise(marks) if name != FOOTAGE}
    total = sum(seconds.values())
    print(f"{total:8.3f} s  in all, {options.preset} {options.size} on {options.device}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(
                {"preset": options.preset, "size": options.size, "total": total, "seconds": seconds}, file, indent=1
            )


if __name__ == "__main__":
    sys.exit(main())
