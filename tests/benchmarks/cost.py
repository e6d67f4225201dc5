"""Quality against cost: every preset, and the peers that were measured, as a table and a plot.

    python tests/benchmarks/cost.py QUALITY.json... --plot docs/quality-cost.svg --json cost.json

QUALITY.json: what `quality.py --sigma 10,30,50` wrote; results of one clip and sigma are joined, and their mean counts
against that of `fast`. Cost: CPU seconds (user and system, one thread) a frame of 432x240, R, G and B as floats, white
noise given: the least of some runs over a whole clip, since whatever else runs on a machine only adds to it.
"""

import argparse
import json
import math
import pathlib
import time
from html import escape

import numpy as np
import torch
from speed import SIGMA, device_name, footage

import vnlsdenoise
from vnlsdenoise.classic.presets import PRESETS

HEIGHT, WIDTH, FRAMES = 240, 432, 24
# CPU seconds a frame, and dB against `fast` in the mean over sigma 10, 30, 50: measured once on one core of a Xeon with
# AVX-512, each peer with the settings that suited it best. VNLB's noise is that of `quality.py --peer`.
PEERS = {
    "VNLB": (34.0, -0.77),
    "V-BM3D high": (2.6, -1.5),
    "V-BM3D np": (0.80, -1.7),
    "V-BM3D fast": (0.12, -2.2),
    "bm3dcpu r1": (0.035, -2.9),
    "DFTTest": (0.025, -3.4),
}


def cost(preset: str, repeat: int) -> float:
    """CPU seconds a frame."""
    source = footage(HEIGHT, WIDTH, "cpu")
    luma = torch.stack([next(source)[0] for _ in range(FRAMES)])
    video = luma[:, None] + SIGMA * torch.randn(FRAMES, 3, HEIGHT, WIDTH)
    times = []
    for _ in range(repeat):
        start = time.process_time()
        vnlsdenoise.denoise(video, 1.5 * SIGMA, preset=preset, peak=255.0, scene_cuts=False, duplicates=False)
        times.append(time.process_time() - start)
    return min(times) / FRAMES


def against_fast(files: list[pathlib.Path]) -> dict[str, float]:
    """Mean difference of PSNR from `fast` of every preset that the files hold."""
    found: dict[str, dict[str, float]] = {}
    for file in files:
        for key, methods in json.loads(file.read_text())["results"].items():
            found.setdefault(key, {}).update({name: figures["psnr"] for name, figures in methods.items()})
    return {
        preset: float(
            np.mean([psnr[preset] - psnr["fast"] for psnr in found.values() if {preset, "fast"} <= set(psnr)])
        )
        for preset in PRESETS
        if any({preset, "fast"} <= set(psnr) for psnr in found.values())
    }


def plot(points: dict[str, tuple[float, float]]) -> str:
    """SVG: CPU seconds a frame, logarithmic, to the right; dB against `fast` upwards."""
    width, height, left, top, right, bottom = 640, 400, 60, 20, 110, 50

    def at(seconds: float, decibels: float) -> tuple[float, float]:
        x = (math.log10(seconds) + 2) / 4  # 0.01 to 100 s
        return left + x * (width - left - right), top + (0.5 - decibels) / 4.5 * (height - top - bottom)

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    lines.append(f'<rect width="{width}" height="{height}" fill="white"/><g font-size="11" fill="#555" stroke="none">')
    for power in range(-2, 3):
        x, y = at(10.0**power, -4)
        lines.append(f'<path d="M{x:.0f} {top}V{y:.0f}" stroke="#ddd"/>')
        lines.append(f'<text x="{x:.0f}" y="{y + 16:.0f}" text-anchor="middle">{10.0**power:g}</text>')
    for decibels in range(-4, 1):
        x, y = at(0.01, decibels)
        lines.append(f'<path d="M{x:.0f} {y:.0f}H{width - right}" stroke="#ddd"/>')
        lines.append(f'<text x="{x - 6:.0f}" y="{y + 4:.0f}" text-anchor="end">{decibels:+d}</text>')
    lines.append(
        f'<text x="{left}" y="{height - 12}">CPU seconds a frame of 432x240; dB against fast upwards</text></g>'
    )
    for name, (seconds, decibels) in points.items():
        x, y = at(seconds, decibels)
        colour = "#c33" if name in PRESETS else "#36c"
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        lines.append(f'<text x="{x + 7:.1f}" y="{y + 4:.1f}" font-size="12" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quality", type=pathlib.Path, nargs="+")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--plot", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    points = {
        preset: (cost(preset, options.repeat), decibels) for preset, decibels in against_fast(options.quality).items()
    }
    report = {"device": device_name("cpu"), "torch": torch.__version__, "points": points}
    print(f"| {'method':12} | CPU-s a frame | against `fast` |\n|---|---|---|")
    for name, (seconds, decibels) in sorted({**points, **PEERS}.items(), key=lambda point: -point[1][1]):
        print(f"| {name:12} | {seconds:.3g} | {decibels:+.2f} |")
    if options.plot:
        options.plot.write_text(plot({**PEERS, **points}))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
