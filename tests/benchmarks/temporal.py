"""Does the learned denoiser show where its chunks and tiles end? Errors there against the very same pixels elsewhere.

    python tests/benchmarks/temporal.py DIR --preset fast,learned --crop 480x352 --sigma 10,30 --json temporal.json

Chunks: clips are run forward and backward until they have 56 frames (new noise in each), and denoised whole and once
more without their first 8 frames. A frame at the border of a chunk of 16 is then in the middle of one the other time:
"border" is the PSNR at borders (the two frames to both sides) less that of the same frames in the middle, dB, 0 where
nobody can tell. "flicker": the mean absolute change of the error from the last frame of a chunk to the first of the
next, less that of the same two frames in the middle, in code values; of what stands still and of what moves, as in
quality.py. Presets of the classic denoiser have no chunks: what they show is how much a start 8 frames earlier matters
by itself; of the learned one that is what `fast` shows, which it starts from.

Tiles (learned): the same clip in tiles of `--tile` pixels instead of one, in a picture that is larger than a tile with
its margins (120 to 170 pixels to each side); "tiles" is the PSNR within 16 pixels of their
borders less that of the same pixels without. The mean of all clips is to be below 0.02 dB in size.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from clips import chosen_clips, clip_parser

import vnlsdenoise
from vnlsdenoise.bench.quality import Video, add_noise, denoiser_of
from vnlsdenoise.learned import tiles
from vnlsdenoise.learned.checkpoint import load_header
from vnlsdenoise.learned.chunks import CHUNK

FRAMES = 56
LATER = CHUNK // 2  # frames that the second run begins later
# First frames of chunks of the first run and of the second, far from where the runs begin and end.
BORDERS = (2 * CHUNK, 2 * CHUNK + LATER)
BAND = 16  # pixels to each side of a border of tiles


def long_clip(clean: Video) -> Video:
    """Forward and backward, no frame twice in a row."""
    there_and_back = [*range(len(clean)), *range(len(clean) - 2, 0, -1)]
    return clean[[there_and_back[number % len(there_and_back)] for number in range(FRAMES)]]


def denoised(noisy: Video, sigma: int, preset: str, device: str) -> Video:
    given = torch.from_numpy(noisy.transpose(0, 3, 1, 2).copy())
    options = {**denoiser_of(preset), "device": device, "peak": 255.0, "scene_cuts": False, "duplicates": False}
    out: Video = vnlsdenoise.denoise(given, float(sigma), **options).cpu().numpy().transpose(0, 2, 3, 1)
    return out.clip(0, 255)


def decibels(errors: npt.NDArray[np.floating[Any]]) -> float:
    return float(10 * np.log10(255**2 / np.square(errors.astype(np.float64)).mean()))


def at_chunks(clean: Video, first: Video, second: Video) -> dict[str, float]:
    """Of both borders: what is worse there than in the middle. second: began `LATER` frames later."""
    errors = {0: first - clean, LATER: second - clean[LATER:]}
    still = np.abs(np.diff(clean, axis=0)).mean(-1) < 2  # between a frame and the next
    found: dict[str, list[float]] = {"border": [], "flicker": [], "flicker_still": [], "flicker_moving": []}
    for border, (here, there) in zip(BORDERS, ((0, LATER), (LATER, 0)), strict=True):
        pairs = [errors[began][border - began - 1 : border - began + 1] for began in (here, there)]
        found["border"].append(decibels(pairs[0]) - decibels(pairs[1]))
        changes = [np.abs(pair[1] - pair[0]).mean(-1) for pair in pairs]
        stands = still[border - 1]
        for name, part in (("flicker", stands | True), ("flicker_still", stands), ("flicker_moving", ~stands)):
            if part.any():
                found[name].append(float(changes[0][part].mean() - changes[1][part].mean()))
    return {name: float(np.mean(values)) if values else 0.0 for name, values in found.items()}


@contextmanager
def in_tiles(side: int) -> Iterator[None]:
    """Tiles of at most so many pixels of luma instead of the usual ones."""
    usual = tiles.LARGEST
    tiles.LARGEST = side // 2
    try:
        yield
    finally:
        tiles.LARGEST = usual


def at_tiles(clean: Video, noisy: Video, sigma: int, preset: str, device: str, side: int) -> float:
    """What is worse near borders of tiles than without them."""
    whole = denoised(noisy, sigma, preset, device)
    with in_tiles(side):
        apart = denoised(noisy, sigma, preset, device)
        laid = tiles.tiles_of(*clean.shape[1:3], load_header(denoiser_of(preset)["weights"]).dimensions)
    height, width = clean.shape[1:3]
    if all(2 * tile.size[0] >= height and 2 * tile.size[1] >= width for tile in laid):
        raise SystemExit(f"every tile of {side} pixels sees all of {width}x{height}: give a larger --crop")
    near = np.zeros((height, width), bool)
    for row in {2 * tile.rows.start for tile in laid} - {0}:
        near[row - BAND : row + BAND] = True
    for column in {2 * tile.columns.start for tile in laid} - {0}:
        near[:, column - BAND : column + BAND] = True
    return decibels((apart - clean)[:, near]) - decibels((whole - clean)[:, near])


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--sigma", default="10,30")
    parser.add_argument("--preset", default="fast,learned", help="presets, learned, or learned:WEIGHTS")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tile", type=int, default=96)
    options = parser.parse_args()
    presets = options.preset.split(",")
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, short in chosen_clips(options):
        clean = long_clip(short)
        for sigma in (int(s) for s in options.sigma.split(",")):
            noisy = add_noise(clean, name, sigma)
            for preset in presets:
                runs = [denoised(part, sigma, preset, options.device) for part in (noisy, noisy[LATER:])]
                found = at_chunks(clean, *runs)
                if preset.startswith("learned"):
                    few = slice(CHUNK)
                    found["tiles"] = at_tiles(clean[few], noisy[few], sigma, preset, options.device, options.tile)
                results.setdefault(f"{name}/{sigma}", {})[preset] = found
                print(f"{name}/{sigma:<4} {preset:16}" + told(found), flush=True)
    for sigma in options.sigma.split(","):
        for preset in presets:
            rows = [found[preset] for key, found in results.items() if key.endswith(f"/{sigma}")]
            print(
                f"mean sigma {sigma:3} {preset:16}" + told({n: float(np.mean([r[n] for r in rows])) for n in rows[0]})
            )
    if options.json:
        arguments = {name: getattr(options, name) for name in ("preset", "sigma", "crop", "frames", "tile")}
        options.json.write_text(json.dumps({"arguments": arguments, "results": results}, indent=1))


def told(found: dict[str, float]) -> str:
    return "".join(f" {name} {value:+.4f}" for name, value in found.items())


if __name__ == "__main__":
    main()
