"""PSNR of the denoiser on noise that is not white and Gaussian of one deviation, its noise measured in steps.

    python tests/benchmarks/real_noise.py DIR --preset fast --crop 224x160 --frames 8 --json real_noise.json

Clips are decoded to 8-bit RGB, noise is drawn once a clip and kind, PSNR as in quality.py. "white" measures one
deviation a channel on all frames; "curve" the deviation at every intensity, and undoes clipping; "everything" is what
the denoiser does by itself, with the spectrum of the noise; "gain" is the difference of the last two.

    python tests/benchmarks/real_noise.py DIR --real PAIRS --frames 8 --json camera_noise.json

Noise of cameras instead: of photographs and their clean means (PAIRS holds NAME_real.png and NAME_mean.png), and of a
simulated camera on the clips of DIR. "measured" is what the denoiser does by itself; "true" measures the model on the
noise alone; "N" is one white deviation given for every channel; "best" the best of these for each clip.
"""

import argparse
import itertools
import json
import pathlib
import zlib

import numpy as np
import torch
from camera_noise import NoisyClip, photographed, simulated
from clips import chosen_clips, clip_parser
from coded_noise import through_h264
from torch import Tensor

import vnlsdenoise
from vnlsdenoise.bench.quality import Video, denoiser_of, psnr
from vnlsdenoise.noise import NoiseModel, estimate_sigma, synthesis
from vnlsdenoise.noise.estimate import measure_intensities
from vnlsdenoise.noise.frames import measure_noise
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


def compared(clip: NoisyClip, preset: str, device: str) -> dict[str, float]:
    """PSNR of every way to take a camera's noise."""
    noisy, clean = (torch.from_numpy(video.transpose(0, 3, 1, 2).copy()) for video in (clip.noisy, clip.clean))
    layout = PlaneFormat("rgb", noisy.shape[-1], noisy.shape[-2], 8)
    models = {
        "measured": measure_noise(list(noisy), list, layout, PEAK),
        "true": measure_noise(list(noisy - clean + 128), list, layout, PEAK),
        **{str(sigma): NoiseModel.of_sigma((sigma,) * 3) for sigma in GIVEN},
    }
    found = {name: psnr(denoised(noisy, model, preset, device), clip.clean) for name, model in models.items()}
    return {"noisy": psnr(clip.noisy, clip.clean), **found, "best": max(found[str(sigma)] for sigma in GIVEN)}


def of_cameras(options: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """PSNR by kind of noise and clip; prints the means."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    clips = [photographed(options.real, options.frames or 8)]
    clips += [simulated(name, clean, zlib.crc32(name.encode())) for name, clean in chosen_clips(options)]
    for clip in itertools.chain.from_iterable(clips):
        results.setdefault(clip.kind, {})[clip.name] = compared(clip, options.preset, options.device)
    for kind, figures in results.items():
        means = {name: float(np.mean([row[name] for row in figures.values()])) for name in next(iter(figures.values()))}
        worst = min(row["measured"] - row["noisy"] for row in figures.values())
        print(f"{kind:28}" + "".join(f" {n} {v:.2f}" for n, v in means.items()) + f" | worst {worst:+.2f}", flush=True)
    return results


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--real", type=pathlib.Path, help="folder of NAME_real.png and NAME_mean.png: cameras' noise")
    parser.add_argument("--preset", default="fast", help="or learned:WEIGHTS")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kinds", help="kinds of noise to use, separated by semicolons")
    options = parser.parse_args()
    if options.real:
        write(options, of_cameras(options))
        return
    kinds = options.kinds.split(";") if options.kinds else None
    results: dict[str, dict[str, dict[str, float]]] = {}
    for clip, clean in chosen_clips(options):
        for kind, noisy in noisy_versions(torch.from_numpy(clean.transpose(0, 3, 1, 2).copy()), clip).items():
            if kinds and kind not in kinds:
                continue
            white = NoiseModel.of_sigma(estimate_sigma(noisy[:, c], peak=PEAK) for c in range(3))
            curve = NoiseModel(tuple(measure_intensities(noisy[:, c], peak=PEAK) for c in range(3)))
            layout = PlaneFormat("rgb", noisy.shape[-1], noisy.shape[-2], 8)
            everything = measure_noise(list(noisy), list, layout, PEAK)
            models = {"white": white, "curve": curve, "everything": everything}
            restored = {m: psnr(denoised(noisy, m, options.preset, options.device), clean) for m in {*models.values()}}
            figures = {"noisy": psnr(noisy.numpy().transpose(0, 2, 3, 1), clean)}
            figures |= {name: restored[model] for name, model in models.items()}
            results.setdefault(kind, {})[clip] = figures
            print(row(f"{clip} / {kind}", figures), flush=True)
    for kind, clips in results.items():
        names = ("noisy", "white", "curve", "everything")
        print(row(f"mean / {kind}", {name: float(np.mean([c[name] for c in clips.values()])) for name in names}))
    write(options, results)


def write(options: argparse.Namespace, results: dict[str, dict[str, dict[str, float]]]) -> None:
    """The figures, and how they were made, as JSON."""
    if options.json:
        arguments = {"preset": options.preset, "crop": options.crop, "frames": options.frames}
        options.json.write_text(json.dumps({"arguments": arguments, "results": results}, indent=1))


def row(label: str, figures: dict[str, float]) -> str:
    gain = figures["everything"] - figures["curve"]
    return f"{label:40}" + "".join(f" {name} {value:6.3f}" for name, value in figures.items()) + f" gain {gain:+.3f}"


if __name__ == "__main__":
    main()
