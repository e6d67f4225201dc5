"""What happens to maps between the convolutions of a network that does not learn: each in one pass on CUDA.

Maps are [N, C, h, w], channels last. Elsewhere it is plain torch, which says what the kernels of csrc/cuda/passes.cu
and csrc/cuda/network_planes.cu do. Nothing here has a gradient, nor is it traced: its operators are those of CUDA
alone, without fake ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

import vnlsdenoise._library  # noqa: F401  (defines torch.ops.vnlsdenoise.*)
from vnlsdenoise.learned.network import VIEWS
from vnlsdenoise.learned.tiles import Tile
from vnlsdenoise.nn.recurrent import aligned

MULTIPLE = 16  # of the channels of what a convolution is given or gives
# Of csrc/cuda/convolution.cu: by the side of a convolution and its channels, those of a chunk of what it is given; and
# how many sets of maps it is given, at most.
CHUNKS: dict[int, dict[int, tuple[int, ...]]] = {
    1: {48: (48,), 64: (32,), 96: (32,), 128: (32,)},
    2: {96: (48,), 128: (16,), 192: (16,)},
    3: {16: (48, 32), 48: (48, 32, 16), 64: (32, 16), 96: (48,), 128: (32,), 192: (32,)},
}
_SOURCES = 3
_TINY = 1e-30
_ONE_CHUNK = (2, 96)  # side and channels that two chunks of would need more shared memory for than some cards have


def padded(channels: int, multiple: int) -> int:
    """The least multiple that is no less."""
    return -(-channels // multiple) * multiple


def add_bias(maps: Tensor, bias: Tensor) -> Tensor:
    """maps + bias, [C] in float32, in place."""
    if maps.is_cuda:
        torch.ops.vnlsdenoise.add_bias_(maps, bias)
        return maps
    return maps.add_(_of_channels(bias, maps))


def add_bias_gelu(maps: Tensor, bias: Tensor) -> Tensor:
    """gelu(maps + bias), with the tangent, in place; bias: [C], float32."""
    if maps.is_cuda:
        torch.ops.vnlsdenoise.add_bias_gelu_(maps, bias)
        return maps
    return maps.copy_(functional.gelu(maps + _of_channels(bias, maps), approximate="tanh"))


def add_residual(maps: Tensor, base: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """base + gain * maps + bias, in place of maps; gain, bias: [C], float32."""
    if maps.is_cuda:
        torch.ops.vnlsdenoise.add_residual_(maps, base, gain, bias)
        return maps
    return maps.mul_(_of_channels(gain, maps)).add_(_of_channels(bias, maps)).add_(base)


def convolved(
    maps: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    gain: Tensor | None = None,
    base: Tensor | None = None,
    *,
    gelu: bool = False,
) -> Tensor:
    """A 3 x 3 convolution of sets of maps beside each other, in bfloat16 on CUDA, and what follows it.

    weight: see `laid_out`. bias: [C], float32. gain, base: of a residual, as `add_residual`. gelu: as `add_bias_gelu`.
    """
    count, _, height, width = maps[0].shape
    out = _empty_maps(maps[0], count, weight.shape[2], height, width)
    torch.ops.vnlsdenoise.convolve_out(maps, weight, bias, gain, base, gelu, out)
    return out


def convolved_halving(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of every 2 x 2 pixels, in bfloat16 on CUDA, with a bias; weight: see `laid_out`."""
    count, _, height, width = maps.shape
    out = _empty_maps(maps, count, weight.shape[2], height // 2, width // 2)
    torch.ops.vnlsdenoise.convolve_halving_out(maps, weight, bias, out)
    return out


def add_convolved_enlarging(maps: Tensor, below: Tensor, weight: Tensor) -> Tensor:
    """As `add_enlarged` of a convolution of single pixels, in bfloat16 on CUDA; weight: `laid_out` of each quarter."""
    torch.ops.vnlsdenoise.convolve_enlarging_(maps, below, weight)
    return maps


def chunk_of(channels: int, given: int, side: int) -> int | None:
    """Channels of a chunk of each of the sets of `given` maps of which a convolution makes so many channels; None where
    csrc/cuda/convolution.cu has no kernel for that."""
    chunk = next((k for k in CHUNKS[side].get(channels, ()) if given % k == 0), None)
    return None if (side, channels) == _ONE_CHUNK and chunk != given else chunk


def laid_out(weight: Tensor, sources: int = 1) -> Tensor | None:
    """The weight of a convolution of sets of maps as those above take it, where they have a kernel for it.

    weight: [C, K, side, side]. Returns [K / k, side^2, C, k], k channels of one set, where of every 16 channels of C
    each fourth lies beside the one before.
    """
    channels, given, side, _ = weight.shape
    chunk = chunk_of(channels, given // sources, side)
    if chunk is None or weight.dtype != torch.bfloat16 or not weight.is_cuda or sources > _SOURCES:
        return None
    rows = torch.arange(channels, device=weight.device).view(-1, 4, 2, 2).transpose(1, 2).flatten()
    chunks = weight.reshape(channels, given // chunk, chunk, side**2).permute(1, 3, 0, 2)
    return chunks[:, :, rows].contiguous()


def add_enlarged(maps: Tensor, below: Tensor) -> Tensor:
    """maps plus what [N, 4 C, h / 2, w / 2] holds for every four pixels, in place.

    For the pixel at (y, x) of the four, channel c is (2 y + x) C + c.
    """
    if maps.is_cuda:
        torch.ops.vnlsdenoise.add_enlarged_(maps, below)
        return maps
    count, channels, height, width = below.shape
    quadrants = below.reshape(count, 4, channels // 4, height, width).transpose(1, 2)
    return maps.add_(functional.pixel_shuffle(quadrants.flatten(1, 2), 2))


def seen(state: Tensor, flow: Tensor | None, corner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A part of a state, (height, width) in size, seen along the flow, bilinear: [N, C, height, width].

    state: [N, C, H, W]. flow: [N, 2, rows, columns], float32, of as much as the part or less: its border is held.
    corner: (top, left) of the part. What the flow leads to beyond the state is the state's border.
    """
    if state.is_cuda:
        out = _empty_maps(state, state.shape[0], state.shape[1], *size)
        torch.ops.vnlsdenoise.see_out(state, flow, *corner, out)
        return out
    return aligned(state, None if flow is None else enlarged(flow, *size), corner)


def views(
    noisy: Sequence[Tensor],
    classic: Sequence[Tensor],
    channels: Tensor,
    like: Tensor,
    tile: Tile,
    whole: tuple[int, int],
) -> Tensor:
    """The views of a frame (`network.Frames`) for a tile of its maps, [1, K, h, w], in the type of `like`.

    noisy, classic: [planes, H, W] of luma's size, then those of half of it, float32. channels: [planes of both, 2],
    range and centre. K: for each plane what was taken away, the result and its detail, of four samples where it has
    luma's size; then zeros, up to a multiple of sixteen. whole: size of the frame's maps,
    up to which the planes go on as their last column and row.
    """
    counts = [VIEWS * factor**2 * len(planes) for factor, planes in zip((2, 1), noisy, strict=False)]
    out = _empty_maps(like, 1, padded(sum(counts), MULTIPLE), *tile.size)
    if noisy[0].is_cuda:
        given = [[planes.contiguous() for planes in both] for both in (noisy, classic)]
        torch.ops.vnlsdenoise.views_out(*given, channels, *tile.corner, *whole, out)
        return out
    found, first = [], 0
    for factor, unclean, cleaned in zip((2, 1), noisy, classic, strict=False):
        of_size = channels[first : first + len(cleaned), :, None, None].to(cleaned.dtype)
        first += len(cleaned)
        unclean, cleaned = (enlarged(p[None], *(factor * side for side in whole))[0] for p in (unclean, cleaned))
        detail = cleaned - functional.avg_pool2d(cleaned, 3, 1, 1, count_include_pad=False)
        each = unclean - cleaned, cleaned / of_size[:, 0] - of_size[:, 1], torch.asinh(detail)
        samples = torch.stack(each, 1)[:, :, None]  # [planes, views, 1, H, W]
        samples = functional.pixel_unshuffle(samples, factor).flatten(0, 2)
        found.append(samples[:, tile.rows.outer(), tile.columns.outer()])
    out[0, : sum(counts)] = torch.cat(found)
    out[0, sum(counts) :] = 0
    return out


def planes(maps: Tensor, whole: int, half: int) -> list[Tensor]:
    """[1, K, h, w] -> [1, whole, 2h, 2w] and, if there are any, [1, half, h, w], float32.

    The first 4 `whole` channels are four samples of every plane; then come `half` of one; the rest is left out.
    """
    height, width = maps.shape[-2:]
    if maps.is_cuda:
        large = torch.empty(whole, 2 * height, 2 * width, device=maps.device)
        small = torch.empty(half, height, width, device=maps.device) if half else None
        torch.ops.vnlsdenoise.planes_out(maps, large, small)
        return [plane[None] for plane in (large, small) if plane is not None]
    large = functional.pixel_shuffle(maps[:, : 4 * whole], 2)
    return [large, maps[:, 4 * whole : 4 * whole + half]] if half else [large]


def magnitude(planes: Tensor) -> Tensor:
    """[planes, h, w] -> [planes]: the square root of the sum of squares."""
    # A part of a larger plane would be summed in as many shares as there are threads.
    norm: Tensor = torch.linalg.vector_norm(planes.contiguous(), dim=(1, 2))
    return norm


def limited(corrections: Sequence[Tensor], most: Sequence[Tensor | None]) -> list[Tensor]:
    """Corrections [planes, h, w] of every size, made smaller where their `magnitude` is more than `most`, [planes].

    most: infinite where there is no limit; None where there is none for any plane of a size.
    """
    found = []
    for planes, largest in zip(corrections, most, strict=True):
        if largest is None:
            found.append(planes)
            continue
        share = (largest / magnitude(planes).clamp_min(_TINY)).clamp_max(1)
        found.append(planes * share[:, None, None])
    return found


def corrected(base: Sequence[Tensor], corrections: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """base + corrections, or base alone where any of them is no finite number; and how often that was, [1].

    Contiguous planes in float32, but for corrections, which are overwritten on CUDA.
    """
    if base[0].is_cuda:
        faults = torch.zeros(1, dtype=torch.int32, device=base[0].device)
        # Results are all of their storage, as corrections need not be.
        found = [p if p.nbytes == p.untyped_storage().nbytes() else p.clone() for p in corrections]
        torch.ops.vnlsdenoise.correct_(found, base, faults)
        return found, faults
    sound = torch.stack([planes.isfinite().all() for planes in corrections]).all()
    found = [one + torch.where(sound, other, 0.0) for one, other in zip(base, corrections, strict=True)]
    return found, (~sound).int()[None]


def enlarged(planes: Tensor, height: int, width: int) -> Tensor:
    """[1, C, h, w] -> [1, C, height, width], the last column and row repeated."""
    down, across = height - planes.shape[-2], width - planes.shape[-1]
    return functional.pad(planes, (0, across, 0, down), mode="replicate") if down or across else planes


def _of_channels(values: Tensor, maps: Tensor) -> Tensor:
    return values.to(maps.dtype)[:, None, None]


def _empty_maps(like: Tensor, count: int, channels: int, height: int, width: int) -> Tensor:
    return like.new_empty((count, height, width, channels)).permute(0, 3, 1, 2)
