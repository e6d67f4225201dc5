"""Device memory that the network takes beside the classic denoiser: its pages, and what its steps allocate."""

from dataclasses import dataclass
from functools import cache

import torch

from vnlsdenoise.classic.motion import FLOW_PLANES
from vnlsdenoise.learned.chunks import CHUNK, RUN_IN
from vnlsdenoise.learned.network import PLANES, VIEWS, Dimensions, Layout, Network
from vnlsdenoise.learned.passes import MULTIPLE, chunk_of, padded
from vnlsdenoise.learned.tiles import map_size, tiles_of

# Maps that are there at once, at most, while a tile is worked on (measured): of the finest size while the decoder is at
# work; while a cell is at one of its coarser sizes, those of the finest size that wait and those of the coarser one.
_FINE, _WAITING, _COARSER = 9.5, 5, 6
_LIBRARY = 6  # further maps of the finest size that cuDNN may take to work in
_FUSED = 4.5  # of the finest size, where all convolutions are those of csrc/cuda/convolution.cu
_VIEWS = 10  # planes as large as a tile's: cut, enlarged, the views of the head, and all of them once more
_CORRECTIONS = 4  # as large as a frame: those of all tiles, checked, chosen, the results
_FLOAT = 4
_SMALL = 1 << 20  # ranges, grids of small pictures, what the allocator rounds up


@dataclass(frozen=True)
class NetworkSize:
    """What decides the memory that a network takes. value: bytes of a value of its maps."""

    dimensions: Dimensions
    value: int

    @staticmethod
    def of(network: Network) -> "NetworkSize":
        """That of a network on its device."""
        return NetworkSize(network.dimensions, next(network.parameters()).element_size())

    @property
    def fused(self) -> bool:
        """Whether a GPU has kernels for all its convolutions (`passes.laid_out`)."""
        fine, middle, coarse = self.dimensions.channels
        heads = (padded(VIEWS * (4 * whole + half), MULTIPLE) for whole, half in PLANES.values())
        tails = (padded(4 * whole + half, MULTIPLE) for whole, half in PLANES.values())
        convolutions = (
            *((fine, views, 3) for views in heads),
            *((planes, fine, 3) for planes in tails),
            *((channels, channels, 3) for channels in self.dimensions.channels),
            *((middle, fine, 2), (coarse, middle, 2), (middle, coarse, 1), (fine, middle, 1)),
        )
        return self.value < _FLOAT and all(chunk_of(*convolution) for convolution in convolutions)


@dataclass(frozen=True)
class NetworkNeed:
    """Bytes on the device.

    pages: of all frames and states in flight, as far as the classic denoiser has none of them. work: most that a step
    allocates. step: the same, with the pages that it opens. held: what is there whatever is at work.
    """

    pages: int
    work: int
    step: int
    held: int


def network_need(size: NetworkSize, layout: Layout, height: int, width: int, lag: int) -> NetworkNeed:
    """What correcting a video of that luma takes; lag: frames that the classic denoiser holds."""
    whole, half = PLANES[layout]
    field_size = -(-height // 2) * -(-width // 2)
    frame, chroma = _FLOAT * (whole * height * width + half * field_size), _FLOAT * half * field_size
    field, state = 4 * _FLOAT * field_size, _state(size, height, width)
    frames = CHUNK + 2 * RUN_IN
    work = max(step_work(size, layout, height, width), arrival_work(FLOW_PLANES, height, width))
    # Chroma that came apart is no page of the classic denoiser; nor are its results, once it has given them, and the
    # noisy frame that is encoded then. Maps are as large as states.
    pages = frames * (frame + field + state) + frame + lag * chroma + (CHUNK + RUN_IN + 2) * state
    opened = max(2 * frame, frame + field + 3 * state)
    # On a GPU the weights are there once more, as the kernels take them.
    weights = _parameters(size.dimensions) * size.value * (2 if size.value < _FLOAT else 1)
    held = weights + _FLOAT * field_size
    return NetworkNeed(pages, work, work + opened, held)


def step_work(size: NetworkSize, layout: Layout, height: int, width: int) -> int:
    """What a step of the network on one frame allocates, the new state and the results among it."""
    whole, half = PLANES[layout]
    tiles = [tile.size for tile in tiles_of(height, width, size.dimensions)]
    pixels = max(down * across for down, across in tiles)
    fine, middle, coarse = size.dimensions.channels
    if size.fused:
        maps, sampled = _FUSED * fine, 0
    else:
        maps = max(_FINE * fine, _WAITING * fine + _COARSER * max(middle / 4, (middle + coarse) / 16))
        maps += _LIBRARY * fine if size.value < _FLOAT else 0
        sampled = 3 * fine * pixels * _FLOAT  # states, in float32
    state = _state(size, height, width)
    views = _VIEWS * _FLOAT * pixels * (4 * whole + half)
    frame = _FLOAT * (whole * height * width + half * (-(-height // 2) * -(-width // 2)))
    return int(state + max(maps * pixels * size.value, sampled) + views + _CORRECTIONS * frame + _SMALL)


def arrival_work(flow_planes: int, height: int, width: int) -> int:
    """What measuring the flow of a classic result allocates; flow_planes: see `Motion`."""
    return flow_planes * _FLOAT * -(-height // 2) * -(-width // 2)


def _state(size: NetworkSize, height: int, width: int) -> int:
    down, across = map_size(height, width)
    return size.dimensions.channels[0] * down * across * size.value


@cache
def _parameters(dimensions: Dimensions) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Network(dimensions).parameters())
