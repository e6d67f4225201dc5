"""PSNR and SSIM of the denoiser on a folder of clean clips with white Gaussian noise added.

    python tests/benchmarks/quality.py DIR --sigma 10,30,50 --preset fast,balanced --json quality.json
    python tests/benchmarks/quality.py DIR --crop 224x160 --frames 8 --peer peer.json
    python tests/benchmarks/quality.py DIR --sigma 10,30,50 --preset fast,learned,learned:mine.safetensors

Protocol: clips are decoded to 8-bit RGB; noise is drawn once a clip, unclipped, from a seed of its name and sigma
(`numpy.random.RandomState(crc32(f"{clip}{sigma}") % 2**31)`, frame after frame, H x W x 3 in the order B, G, R); sigma
is given to the denoiser; PSNR is the mean over frames of each frame's RGB PSNR, the output clipped to 0..255, not
rounded. SSIM: mean over frames and channels, as that of scikit-image, data range 255. Flicker: mean absolute
difference between the errors
(output minus clean) of neighbouring frames, in code values; once more for the pixels that stand still (the clean frames
differ there by less than 2 in the mean of the channels) and for the others.

`--peer` names a JSON file {"psnr": {"CLIP/SIGMA": {"METHOD": dB}}}; its methods are printed beside the results.
"""

import json
import pathlib
from typing import Any

import numpy as np
from clips import chosen_clips, clip_parser

from vnlsdenoise.bench.quality import add_noise, denoiser_of, measure, psnr


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--sigma", default="10,30,50")
    parser.add_argument("--preset", default="fast,balanced", help="presets, learned, or learned:WEIGHTS")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peer", type=pathlib.Path, help="JSON of other methods' PSNR on the same clips and noise")
    options = parser.parse_args()
    peers = json.loads(options.peer.read_text())["psnr"] if options.peer else {}
    results: dict[str, dict[str, Any]] = {}
    for name, clean in chosen_clips(options):
        for sigma in (int(s) for s in options.sigma.split(",")):
            key = f"{name}/{sigma}"
            noisy = add_noise(clean, name, sigma)
            results[key] = {"noisy": {"psnr": psnr(noisy, clean)}}
            line = f"{key:26} noisy {results[key]['noisy']['psnr']:6.3f}"
            for preset in options.preset.split(","):
                figures = measure(clean, noisy, sigma, denoiser_of(preset), options.device)
                results[key][preset] = figures
                line += (
                    f" | {preset} {figures['psnr']:6.3f} dB ssim {figures['ssim']:.4f} flicker {figures['flicker']:.3f}"
                    f" (still {figures['flicker_still']:.3f}, moving {figures['flicker_moving']:.3f})"
                )
                line += f" {figures['cpu_seconds_per_frame']:.2f} CPU-s"
                for method in ("vnlb", f"classic_{preset}"):
                    if method in peers.get(key, {}):
                        line += f" {method} {figures['psnr'] - peers[key][method]:+.3f}"
            print(line, flush=True)
        if options.json:  # what is there so far
            report = {"arguments": vars(options), "results": results}
            options.json.write_text(json.dumps(report, indent=1, default=lambda path: path.name))
    summarise(results, options.preset.split(","), peers)


def summarise(results: dict[str, dict[str, Any]], presets: list[str], peers: dict[str, dict[str, float]]) -> None:
    for sigma in sorted({int(key.split("/")[1]) for key in results}):
        keys = [key for key in results if key.endswith(f"/{sigma}")]
        for preset in presets:
            names = ("psnr", "ssim", "flicker", "flicker_still", "flicker_moving")
            mean = {name: float(np.mean([results[k][preset][name] for k in keys])) for name in names}
            line = f"mean sigma {sigma:3} {preset:10} {mean['psnr']:6.3f} dB ssim {mean['ssim']:.4f}"
            line += f" flicker {mean['flicker']:.3f} (still {mean['flicker_still']:.3f},"
            line += f" moving {mean['flicker_moving']:.3f})"
            for method in ("vnlb", f"classic_{preset}"):
                gains = [(results[k][preset]["psnr"] - peers[k][method], k) for k in keys if method in peers.get(k, {})]
                if gains:
                    worst = min(gains)
                    line += f" | {method} {np.mean([g for g, _ in gains]):+.3f}, worst {worst[0]:+.3f} ({worst[1]})"
            print(line)


if __name__ == "__main__":
    main()
