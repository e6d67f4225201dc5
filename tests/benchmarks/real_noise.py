"""PSNR of the denoiser on noise that is not white and Gaussian of one deviation, its noise measured in steps.

    python tests/benchmarks/real_noise.py DIR --preset fast --crop 224x160 --frames 8 --json real_noise.json

Clips are decoded to 8-bit RGB, noise is drawn once a clip and kind, PSNR as in quality.py. "white" measures one
deviation a channel on all frames; "curve" the deviation at every intensity, and undoes clipping; "everything" is what
the denoiser does by itself, with the spectrum of the noise; "gain" is the difference of the last two.

    python tests/benchmarks/real_noise.py DIR --real PAIRS --frames 8 --json camera_noise.json

Noise of cameras instead: of photographs and their clean means (PAIRS holds NAME_real.png and NAME_mean.png), and of a
simulated camera on the clips of DIR. "measured" is what the denoiser does by itself; "true" measures the model on the
noise alone; "N" is one white deviation given for every channel; "best" the best of these for each clip.

`--preset balanced,learned:small` has every denoiser take the same noise, one table each (NAME-PRESET.json); `--ways`
picks some of the ways, `everything` or `measured` being what users get.
"""

import argparse
import itertools
import pathlib
import zlib

import numpy as np
import torch
from camera_noise import photographed, simulated
from clips import chosen_clips, clip_parser, write_table
from coded_noise import through_h264
from torch import Tensor

import vnlsdenoise
from vnlsdenoise.bench.quality import Video, denoiser_of, psnr
from vnlsdenoise.noise import NoiseModel, estimate_sigma, synthesis
from vnlsdenoise.noise.estimate import measure_intensities
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.training.measured import through_jpeg
from vnlsdenoise.video.frame import PlaneFormat

PEAK = 255.0


def noisy_versions(clean: Tensor, name: str) -> dict[str, Tensor]:
    """Every kind of noise on a clip [T, 3, H, W] of 0 .. 255."""

    def white(sigma: float, kind: str) -> Tensor:
        return clean + sigma * torch.randn(clean.shape, generator=generator(kind))

    def generator(kind: str) -> torch.Generator:
        return torch.Generator().manual_seed(zlib.crc32(f"{name}{kind}".encode()))

    def photon(a: float, b: float, gamma: float, kind: str) -> Tensor:
        drawn = synthesis.poisson_gaussian(clean / PEAK, a, b, generator(kind), gamma=gamma)
        return synthesis.clip_to_codes(PEAK * drawn, PEAK)

    def correlated(sigma: float) -> Tensor:
        return clean + synthesis.correlated(tuple(clean.shape), sigma, generator(f"correlated {sigma:g}"))

    def chroma() -> Tensor:
        """Three times as much noise in the colour differences as in the luma."""
        drawn = torch.randn(clean.shape, generator=generator("chroma"))
        grey = drawn.mean(1, keepdim=True)
        return clean + 10 * (grey + 3 * (drawn - grey))

    def filtered_in_time(share: float) -> Tensor:
        """Noise of 6 of which every frame has that share of the one before, on the sensor, as cameras filter it."""
        noise = torch.randn(clean.shape, generator=generator(f"filtered in time, {share:g}"))
        for before, own in itertools.pairwise(noise):
            own.mul_((1 - share**2) ** 0.5).add_(before, alpha=share)
        return clean + 6 * noise

    def offsets(axis: int) -> Tensor:
        """White noise of 4, and of 4 that all samples share which lie along an axis."""
        shape = [len(clean), 1, *clean.shape[2:]]
        shape[axis] = 1
        kind = "rows" if axis == 3 else "columns"
        return white(4, f"{kind}, white") + 4 * torch.randn(shape, generator=generator(kind))

    compressed = synthesis.clip_to_codes(white(20, "h264"), PEAK)
    return {
        "white 0.5": white(0.5, "white 0.5"),
        "white 20": white(20, "white 20"),
        "clipped 30": synthesis.clip_to_codes(white(30, "clipped 30"), PEAK),
        "clipped 50": synthesis.clip_to_codes(white(50, "clipped 50"), PEAK),
        "photon": photon(0.02, 0.0005, 1.0, "photon"),
        "photon, linear light": photon(0.01, 0.0002, 2.2, "photon, linear light"),
        "correlated 15": correlated(15),
        "correlated 30": correlated(30),
        "h264, crf 18": coded(compressed, 18),
        "h264, crf 26": coded(compressed, 26),
        "chroma": chroma(),
        "JPEG, 90": PEAK * through_jpeg(synthesis.clip_to_codes(white(8, "JPEG"), PEAK) / PEAK, 90),
        "filtered in time, 0.5": filtered_in_time(0.5),
        "filtered in time, 0.8": filtered_in_time(0.8),
        "rows": offsets(3),
        "columns": offsets(2),
    }


def coded(video: Tensor, crf: int) -> Tensor:
    """[T, 3, H, W] of 8-bit codes, through libx264 and back."""
    frames = through_h264(video.byte().permute(0, 2, 3, 1).contiguous().numpy(), crf)
    pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().contiguous()


def denoised(noisy: Tensor, noise: NoiseModel, preset: str, device: str) -> Video:
    out = vnlsdenoise.denoise(noisy, noise, **denoiser_of(preset), device=device, peak=PEAK, scene_cuts=False)
    return out.cpu().numpy().transpose(0, 2, 3, 1)


GIVEN = (3, 5, 8, 12, 16, 20)  # white deviations


Figures = dict[str, float]  # PSNR of every way to take the noise, and of what came in
Results = dict[str, dict[str, Figures]]  # by kind of noise and clip


def figures_of(noisy: Tensor, clean: Video, models: dict[str, NoiseModel], preset: str, device: str) -> Figures:
    """PSNR of every model of the noise; [T, 3, H, W] of codes."""
    restored = {model: psnr(denoised(noisy, model, preset, device), clean) for model in {*models.values()}}
    found = {"noisy": psnr(noisy.numpy().transpose(0, 2, 3, 1), clean)}
    return found | {name: restored[model] for name, model in models.items()}


def of_cameras(options: argparse.Namespace, ways: set[str] | None) -> dict[str, Results]:
    """Results of every preset; prints the means."""
    results: dict[str, Results] = {preset: {} for preset in options.preset.split(",")}
    clips = [photographed(options.real, options.frames or 8, set((options.pairs or "").split(",")) - {""})]
    if not options.skip_simulated:
        clips += [simulated(name, clean, zlib.crc32(name.encode())) for name, clean in chosen_clips(options)]
    for clip in itertools.chain.from_iterable(clips):
        noisy, clean = (torch.from_numpy(video.transpose(0, 3, 1, 2).copy()) for video in (clip.noisy, clip.clean))
        layout = PlaneFormat("rgb", noisy.shape[-1], noisy.shape[-2], 8)
        models: dict[str, NoiseModel] = {}
        if ways is None or "measured" in ways:
            models["measured"] = measured(noisy, layout, options.device)
        if ways is None or "true" in ways:
            models["true"] = measured(noisy - clean + 128, layout, options.device)
        if ways is None or "best" in ways:
            models |= {str(sigma): NoiseModel.of_sigma((sigma,) * 3) for sigma in GIVEN}
        for preset, found in results.items():
            figures = figures_of(noisy, clip.clean, models, preset, options.device)
            if str(GIVEN[0]) in figures:
                figures["best"] = max(figures[str(sigma)] for sigma in GIVEN)
            found.setdefault(clip.kind, {})[clip.name] = figures
        write(options, results)
    for preset, found in results.items():
        for kind, by_clip in found.items():
            rows = list(by_clip.values())
            told = f"{preset:16} {kind:28}" + "".join(f" {n} {np.mean([r[n] for r in rows]):.2f}" for n in rows[0])
            if "measured" in rows[0]:
                told += f" | worst {min(row['measured'] - row['noisy'] for row in rows):+.2f}"
            print(told, flush=True)
    return results


def of_kinds(options: argparse.Namespace, ways: set[str] | None) -> dict[str, Results]:
    """Results of every preset; prints them, and the means."""
    kinds = options.kinds.split(";") if options.kinds else None
    results: dict[str, Results] = {preset: {} for preset in options.preset.split(",")}
    for clip, clean in chosen_clips(options):
        for kind, noisy in noisy_versions(torch.from_numpy(clean.transpose(0, 3, 1, 2).copy()), clip).items():
            if kinds and kind not in kinds:
                continue
            models: dict[str, NoiseModel] = {}
            if ways is None or "white" in ways:
                models["white"] = NoiseModel.of_sigma(estimate_sigma(noisy[:, c], peak=PEAK) for c in range(3))
            if ways is None or "curve" in ways:
                models["curve"] = NoiseModel(tuple(measure_intensities(noisy[:, c], peak=PEAK) for c in range(3)))
            if ways is None or "everything" in ways:
                layout = PlaneFormat("rgb", noisy.shape[-1], noisy.shape[-2], 8)
                models["everything"] = measured(noisy, layout, options.device)
            for preset, found in results.items():
                figures = figures_of(noisy, clean, models, preset, options.device)
                found.setdefault(kind, {})[clip] = figures
                print(row(f"{preset} {clip} / {kind}", figures), flush=True)
            write(options, results)
    for preset, found in results.items():
        for kind, by_clip in found.items():
            rows = list(by_clip.values())
            means = {name: float(np.mean([figures[name] for figures in rows])) for name in rows[0]}
            print(row(f"{preset} mean / {kind}", means))
    return results


def measured(noisy: Tensor, layout: PlaneFormat, device: str) -> NoiseModel:
    """What the denoiser finds by itself."""
    return measure_noise(list(noisy.to(device)), list, layout, PEAK)


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--real", type=pathlib.Path, help="folder of NAME_real.png and NAME_mean.png: cameras' noise")
    parser.add_argument("--pairs", help="names of the pairs of --real to use, separated by commas")
    parser.add_argument("--skip-simulated", action="store_true", help="with --real, no simulated camera on DIR's clips")
    parser.add_argument("--preset", default="fast", help="presets, learned, or learned:WEIGHTS")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kinds", help="kinds of noise to use, separated by semicolons")
    parser.add_argument("--ways", help="white, curve, everything; with --real measured, true, best; default: all")
    options = parser.parse_args()
    ways = set(options.ways.split(",")) if options.ways else None
    of_cameras(options, ways) if options.real else of_kinds(options, ways)


def write(options: argparse.Namespace, results: dict[str, Results]) -> None:
    """The figures so far, and how they were made, as JSON: a file a preset."""
    for preset, found in results.items():
        write_table(options, preset, found, several=len(results) > 1)


def row(label: str, figures: Figures) -> str:
    line = f"{label:50}" + "".join(f" {name} {value:6.3f}" for name, value in figures.items())
    if {"everything", "curve"} <= set(figures):
        line += f" gain {figures['everything'] - figures['curve']:+.3f}"
    return line


if __name__ == "__main__":
    main()
