"""What alignment is worth to the network: PSNR with its flow, with none, and with what a search finds around the flow.

    python tests/benchmarks/network_alignment.py DIR --preset learned:small --crop 224x160 --frames 8 --sigma 10,30

Clips, noise and PSNR as in quality.py. The network sees the state of a neighbouring frame where a field leads to:

- "flow": the TV-L1 flow of the classic results, as it is used;
- "none": nowhere, every frame is seen in its own place;
- "search R": at the place within R pixels of the maps (two of luma each) around the flow where 5 x 5 pixels of the
  classic results differ least, in steps of one; "half" in steps of half a pixel.

The weights were trained with the flow. "seconds" are what the search takes for a frame, in plain torch.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from itertools import chain

import numpy as np
import torch
from clips import chosen_clips, clip_parser
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.bench.quality import Video, add_noise, denoiser_of, psnr
from vnlsdenoise.classic.motion import FlowPair, Motion, Tvl1Motion
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.learned.checkpoint import load_network
from vnlsdenoise.learned.denoiser import for_inference
from vnlsdenoise.learned.network import Network
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

_PATCH = 5
Change = Callable[[Tensor, Tensor, Tensor], Tensor]  # (flow, here, there) -> flow


def searched(flow: Tensor, here: Tensor, there: Tensor, radius: int, step: float) -> Tensor:
    """flow [2, h, w], (x, y) from `here` to `there`, both [C, h, w], moved to the best match around it."""
    height, width = here.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack((x, y)) + flow + 0.5
    size = torch.tensor([width, height]).view(2, 1, 1)
    least = torch.full((height, width), torch.inf)
    found = flow
    moves = [
        (step * across, step * down) for down in range(-radius, radius + 1) for across in range(-radius, radius + 1)
    ]
    for move in sorted(moves, key=lambda move: abs(move[0]) + abs(move[1])):  # of equal ones the nearest
        moved = torch.tensor(move).view(2, 1, 1)
        grid = (2 * (place + moved) / size - 1).permute(1, 2, 0)[None]
        seen = functional.grid_sample(there[None], grid, padding_mode="border", align_corners=False)
        error = (seen[0] - here).square().mean(0)[None, None]
        cost = functional.avg_pool2d(error, _PATCH, 1, _PATCH // 2, count_include_pad=False)[0, 0]
        better = cost < least
        least, found = torch.where(better, cost, least), torch.where(better, flow + moved, found)
    return found


class Aligned(Tvl1Motion):
    """The flow of a clip, changed; seconds: what that took for every frame."""

    def __init__(self, to_bytes: float, change: Change) -> None:
        super().__init__(to_bytes)
        self._change = change
        self._maps: Tensor | None = None
        self.seconds: list[float] = []

    def push(self, luma: Tensor) -> FlowPair | None:
        """As of `Tvl1Motion`."""
        pair, before = super().push(luma), self._maps
        down, across = (-side % 2 for side in luma.shape)
        even = functional.pad(luma[None, None], (0, across, 0, down), mode="replicate")
        self._maps = functional.pixel_unshuffle(even, 2)[0]
        if pair is None or before is None:
            return pair
        start = time.perf_counter()
        fields = self._change(pair.forward, before, self._maps), self._change(pair.backward, self._maps, before)
        self.seconds.append(time.perf_counter() - start)
        return FlowPair(torch.stack(fields), pair.scale)


WAYS: dict[str, Change] = {
    "flow": lambda flow, here, there: flow,
    "none": lambda flow, here, there: torch.zeros_like(flow),
    "search 1": partial(searched, radius=1, step=1.0),
    "search 1, half": partial(searched, radius=2, step=0.5),
    "search 2": partial(searched, radius=2, step=1.0),
}


@torch.no_grad()
def denoised(noisy: Video, sigma: float, network: Network, preset: str, change: Change) -> tuple[Video, float]:
    """[T, H, W, 3], and the mean seconds that changing the flow took for a frame."""
    made: list[Motion] = []

    def motion(to_bytes: float) -> Motion:
        # That of the classic denoiser comes first, then that of its results.
        made.append(Aligned(to_bytes, change) if made else Tvl1Motion(to_bytes))
        return made[-1]

    layout = PlaneFormat("rgb", noisy.shape[2], noisy.shape[1], 8)
    noise = NoiseModel.of_sigma((sigma,) * 3)
    denoiser = PlanarDenoiser(layout, noise, PRESETS[preset], peak=255.0, motion=motion, network=network)
    frames = (list(torch.from_numpy(frame.transpose(2, 0, 1).copy())) for frame in noisy)
    done = chain(chain.from_iterable(map(denoiser.push, frames)), denoiser.flush())
    video = np.stack([torch.stack(planes, -1).numpy() for planes in done])
    assert isinstance(made[1], Aligned)
    return video, float(np.mean(made[1].seconds))


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--sigma", default="10,30")
    parser.add_argument("--preset", default="learned:small", help="learned:WEIGHTS or learned:WEIGHTS:PRESET")
    options = parser.parse_args()
    chosen = denoiser_of(options.preset)
    network = for_inference(load_network(chosen["weights"]), torch.device("cpu"))
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, clean in chosen_clips(options):
        for sigma in map(int, options.sigma.split(",")):
            noisy = add_noise(clean, name, sigma)
            for way, change in WAYS.items():
                video, seconds = denoised(noisy, sigma, network, chosen["preset"], change)
                found = {"psnr": psnr(video, clean), "seconds": seconds}
                results.setdefault(f"{name}/{sigma}", {})[way] = found
    for sigma in map(int, options.sigma.split(",")):
        of_sigma = [found for key, found in results.items() if key.endswith(f"/{sigma}")]
        for way in WAYS:
            gains = [found[way]["psnr"] - found["flow"]["psnr"] for found in of_sigma]
            seconds = np.mean([found[way]["seconds"] for found in of_sigma])
            print(
                f"sigma {sigma:2} {way:16} {np.mean(gains):+.3f} dB, least {min(gains):+.3f}, {seconds:.3f} s a frame"
            )
    if options.json:
        arguments = {name: getattr(options, name) for name in ("preset", "sigma", "crop", "frames")}
        options.json.write_text(json.dumps({"arguments": arguments, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
