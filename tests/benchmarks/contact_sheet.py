"""A contact sheet: what denoisers make of noisy clips, and where they err, side by side in one picture.

    python tests/benchmarks/contact_sheet.py DIR --sigma 20 --preset balanced,learned --crop 224x160 --out sheet.png

Two rows a clip, of its middle frame and white noise as in quality.py: the clean frame, the noisy one and every result;
under each the error, `--stretch` times about grey, and below the clean frame the change of the last result's error from
the frame before, stretched alike, which shows flicker. Figures are the PSNR of that frame.
"""

import pathlib

import cv2
import numpy as np
import numpy.typing as npt
import torch
from clips import chosen_clips, clip_parser

import vnlsdenoise
from vnlsdenoise.bench.quality import Video, add_noise, denoiser_of, psnr

Picture = npt.NDArray[np.uint8]  # [H, W, 3], R, G, B
_GAP = 4  # pixels between pictures
_TITLE = 16  # pixels above each


def titled(picture: Picture, title: str) -> Picture:
    """A picture with a line of text over it."""
    framed = cv2.copyMakeBorder(picture, _TITLE, _GAP, 0, _GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    cv2.putText(framed, title, (2, _TITLE - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.asarray(framed, np.uint8)


def codes(values: Video) -> Picture:
    return values.round().clip(0, 255).astype(np.uint8)


def rows(name: str, clean: Video, sigma: int, presets: list[str], device: str, stretch: float) -> Picture:
    """Both rows of a clip."""
    noisy = add_noise(clean, name, sigma)
    given = torch.from_numpy(noisy.transpose(0, 3, 1, 2).copy())
    results = {"noisy": noisy}
    for preset in presets:
        out = vnlsdenoise.denoise(given, float(sigma), **denoiser_of(preset), device=device, peak=255.0)
        results[preset.partition("/")[0]] = out.cpu().numpy().transpose(0, 2, 3, 1)
    middle = len(clean) // 2
    pictures = [titled(codes(clean[middle]), f"{name}, sigma {sigma}")]
    errors = {label: result.clip(0, 255) - clean for label, result in results.items()}
    last = list(errors)[-1]
    change = errors[last][middle] - errors[last][max(0, middle - 1)]
    below = [titled(codes(128 + stretch * change), f"{last}: change of error x{stretch:g}")]
    for label, result in results.items():
        pictures.append(titled(codes(result[middle]), f"{label} {psnr(result[[middle]], clean[[middle]]):.2f} dB"))
        below.append(titled(codes(128 + stretch * errors[label][middle]), f"error x{stretch:g}"))
    return np.vstack([np.hstack(pictures), np.hstack(below)])


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--sigma", type=int, default=20)
    parser.add_argument("--preset", default="balanced,learned", help="presets, learned, or learned:WEIGHTS")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--stretch", type=float, default=6.0)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a .png")
    options = parser.parse_args()
    presets = options.preset.split(",")
    sheet = [
        rows(name, clean, options.sigma, presets, options.device, options.stretch)
        for name, clean in chosen_clips(options)
    ]
    width = max(part.shape[1] for part in sheet)
    sheet = [np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255) for part in sheet]
    cv2.imwrite(str(options.out), np.vstack(sheet)[..., ::-1])


if __name__ == "__main__":
    main()
