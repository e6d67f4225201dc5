"""Denoising 4:2:0 video on its own planes, against enlarging its chroma to 4:4:4 and back.

    python tests/benchmarks/native_chroma.py CLIPS --sigma 10,30,50 --preset fast --crop 224x160 --frames 8

Clean clips are turned into 4:2:0 (BT.709, full range, chroma averaged over 2 x 2), white Gaussian noise of the same
sigma is added to each of the three planes. `native`: the planes as they are, as the command line does. `full`: chroma
enlarged bilinearly, denoised beside luma at full size with the deviation that its noise has there, and averaged again
over 2 x 2. Crops need even sides. PSNR of luma and of chroma (both planes together), mean over frames, outputs clipped
to 0..255.
"""

import json
import zlib

import torch
from clips import chosen_clips, clip_parser
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from vnlsdenoise.bench.quality import psnr
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

# BT.709, full range: Y = .2126 R + .7152 G + .0722 B; Cb, Cr = (B - Y) / 1.8556, (R - Y) / 1.5748, around 128.
_MATRIX = torch.tensor(
    [[0.2126, 0.7152, 0.0722], [-0.2126 / 1.8556, -0.7152 / 1.8556, 0.5], [0.5, -0.7152 / 1.5748, -0.0722 / 1.5748]]
)
_CENTRE = torch.tensor([0.0, 128.0, 128.0]).view(3, 1, 1)
_ENLARGED = 0.75**2 + 0.25**2  # deviation of white noise after bilinear enlargement: sqrt of this along each axis

Planes = tuple[Tensor, Tensor]  # luma [T, 1, H, W], chroma [T, 2, H / 2, W / 2]


def planes_of(rgb: Tensor) -> Planes:
    video = torch.einsum("ij,tjhw->tihw", _MATRIX, rgb) + _CENTRE
    return video[:, :1], avg_pool2d(video[:, 1:], 2)


def denoised(noisy: Planes, subsampling: int, sigma: tuple[float, ...], preset: str) -> Planes:
    luma, chroma = noisy
    layout = PlaneFormat("yuv", luma.shape[3], luma.shape[2], 8, subsampling, subsampling)
    denoiser = PlanarDenoiser(layout, NoiseModel.of_sigma(sigma), PRESETS[preset], peak=255.0)
    done = []
    for y, uv in zip(luma, chroma, strict=True):
        done += list(denoiser.push([y[0], uv[0], uv[1]]))
    done += list(denoiser.flush())
    return torch.stack([f[0][None] for f in done]), torch.stack([torch.stack(f[1:]) for f in done])


def native(noisy: Planes, sigma: float, preset: str) -> Planes:
    return denoised(noisy, 1, (sigma,) * 3, preset)


def full(noisy: Planes, sigma: float, preset: str) -> Planes:
    luma, chroma = noisy
    enlarged = interpolate(chroma, luma.shape[-2:], mode="bilinear", align_corners=False)
    luma, chroma = denoised((luma, enlarged), 0, (sigma, _ENLARGED * sigma, _ENLARGED * sigma), preset)
    return luma, avg_pool2d(chroma, 2)


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--sigma", default="10,30,50")
    parser.add_argument("--preset", default="fast")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for clip, video in chosen_clips(options):
        clean = planes_of(torch.from_numpy(video.transpose(0, 3, 1, 2).copy()))
        for sigma in (int(s) for s in options.sigma.split(",")):
            random = torch.Generator().manual_seed(zlib.crc32(f"{clip}{sigma}".encode()))
            noisy = tuple(p + sigma * torch.randn(p.shape, generator=random) for p in clean)
            figures = results[f"{clip}/{sigma}"] = {}
            for name, result in (
                ("native", native(noisy, float(sigma), options.preset)),
                ("full", full(noisy, float(sigma), options.preset)),
            ):
                for part, got, want in zip(("luma", "chroma"), result, clean, strict=True):
                    figures[f"{name}_{part}"] = psnr(got.numpy(), want.numpy())
            print(f"{clip}/{sigma:<3}", *(f"{k} {v:6.2f}" for k, v in figures.items()), flush=True)
    for sigma in options.sigma.split(","):
        rows = [figures for key, figures in results.items() if key.endswith(f"/{sigma}")]
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        worst = min(row["native_chroma"] - row["full_chroma"] for row in rows)
        print(f"mean sigma {sigma}:", *(f"{k} {v:6.2f}" for k, v in mean.items()), f"worst chroma {worst:+.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
