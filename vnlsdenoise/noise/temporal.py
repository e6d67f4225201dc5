"""Noise is what is new in every frame: its spectrum, from what blocks do not share with the frames beside them.

A block is found again in the frame before and in the one after, and what the three leave of each other, their second
difference, holds no texture, pattern or letter that moves along, at any frequency. What moves by parts of a pixel is
interpolated, and what that takes away of noise, frequency by frequency, is counted. Matches are chosen by one half of
the frequencies (u + v odd or even) and what is new is measured on the other: of several candidates the one whose noise
happens to be alike would be taken otherwise. The two halves are uncorrelated in noise that looks the same in a mirror.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vnlsdenoise import ops
from vnlsdenoise.noise.blocks import dct_matrix

SIDE = 16  # of a block: grain of up to twice as many pixels is resolved
_STEP = 5  # between blocks, at every phase to a codec's grid
_BLOCKS = 512  # a frame, at most
MATCHED_SAMPLES = _BLOCKS * SIDE * SIDE
_GROUPS = 4  # of neighbouring frames that are looked at
_REACH = 2  # around where the flow leads, in pixels
_FLOW_BLOCK = SIDE // 2  # a block on the flow's grid
_TAPS = 4  # pixels on each side that what stands between them is made of
_MARGIN = _REACH + _TAPS
_SMALLEST = SIDE + 2 * _TAPS - 1

Place = tuple[Tensor, Tensor]  # (y, x) of blocks, in pixels and parts of them


@dataclass(frozen=True)
class News:
    """What blocks hold that is new, and all that they hold, of one channel.

    new, apart, own: [N, 16, 16], energies of DCT coefficients, in the square of the channel's unit; a block that moves
    out of the frame is left out. `new` and `apart` are scaled so that white noise of deviation 1 has the mean 1.
    apart: what the frame before and the one after do not share; as `new` where frames come by twos.
    """

    new: Tensor
    apart: Tensor
    own: Tensor

    def as_independent(self, share: float) -> "News":
        """Of noise that every frame has this share of from the one before, what there were if it had none."""
        return News(self.new * 3 / ((1 - share) * (3 - share)), self.apart / (1 - share**2), self.own)


def frequency_sums(device: torch.device) -> Tensor:
    """[16, 16]: u + v of every coefficient."""
    order = torch.arange(SIDE, device=device)
    return order[:, None] + order


def find_news(count: int, channels: Callable[[int], list[Tensor]], to_bytes: float, pairs: bool) -> list[News] | None:
    """What is new in every frame, of every channel; None where frames are too few or too small to tell.

    count: frames. channels: the channels [H, W] of a frame by its number, the first of which motion is found on; those
        of half its size (chroma) move by half as much. to_bytes: takes the first channel to 0..255.
    pairs: the frames follow each other by twos only.
    """
    found: list[list[News]] = []
    for group in _groups(count, pairs):
        news = _of_group([channels(number) for number in group], to_bytes)
        if news is None:
            return None
        found.append(news)
    if not found:
        return None
    return [_joined(parts) for parts in zip(*found, strict=True)]


def _joined(parts: Sequence[News]) -> News:
    new, apart, own = (torch.cat(part) for part in zip(*((n.new, n.apart, n.own) for n in parts), strict=True))
    return News(new, apart, own)


def _groups(count: int, pairs: bool) -> Iterator[tuple[int, ...]]:
    """Numbers of frames: a frame and those beside it."""
    middles: Sequence[int] = range(0, count - 1, 2) if pairs or count == 2 else range(1, count - 1)
    chosen = [middles[round(i * (len(middles) - 1) / max(_GROUPS - 1, 1))] for i in range(_GROUPS)] if middles else []
    for middle in sorted(set(chosen)):
        yield (middle, middle + 1) if pairs or count == 2 else (middle, middle - 1, middle + 1)


def _of_group(frames: list[list[Tensor]], to_bytes: float) -> list[News] | None:
    """News of the first frame against the others."""
    guides = [frame[0] for frame in frames]
    height, width = guides[0].shape
    if min(height, width) < SIDE + 2 * _MARGIN or min(side for plane in frames[0] for side in plane.shape) < _SMALLEST:
        return None
    y, x = _grid(height, width, guides[0].device)
    own = _blocks(guides[0], y, x, SIDE)
    image = ops.flow_image(guides[0][None], to_bytes)
    inside = torch.ones_like(y, dtype=torch.bool)
    matches: list[dict[bool, Place]] = []
    for other in guides[1:]:
        flow = ops.tvl1_flow(image, ops.flow_image(other[None], to_bytes))[0]
        down, right = _displacements(flow, y, x)
        inside &= (y + down >= _MARGIN) & (x + right >= _MARGIN)
        inside &= (y + down <= height - SIDE - _MARGIN) & (x + right <= width - SIDE - _MARGIN)
        matches.append(_best(own, other, y + down, x + right))
    return [_news(planes, y, x, matches, inside, (height, width)) for planes in zip(*frames, strict=True)]


def _grid(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    rows, columns = (torch.arange(0, side - SIDE + 1, _STEP, device=device) for side in (height, width))
    y, x = (part.flatten() for part in torch.meshgrid(rows, columns, indexing="ij"))
    # Evenly over the raster order, and of no period: a fraction that no stride shares.
    keep = (torch.arange(min(_BLOCKS, len(y)), device=device) * (len(y) / min(_BLOCKS, len(y)))).long()
    return y[keep], x[keep]


def _blocks(frame: Tensor, y: Tensor, x: Tensor, side: int) -> Tensor:
    return frame.unfold(0, side, 1).unfold(1, side, 1)[y, x]


def _displacements(flow: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (down, right) of every block: twice the median of the flow, which has half the resolution."""
    height, width = flow.shape[1:]
    top, left = (y // 2).clamp_max(height - _FLOW_BLOCK), (x // 2).clamp_max(width - _FLOW_BLOCK)
    field = flow.unfold(1, _FLOW_BLOCK, 1).unfold(2, _FLOW_BLOCK, 1)[:, top, left].flatten(2).median(-1).values
    right, down = (2 * field).nan_to_num(0).unbind()
    return down, right


def _best(own: Tensor, other: Tensor, y: Tensor, x: Tensor) -> dict[bool, Place]:
    """The best match around (y, x) by the coefficients of odd u + v, under True, and by those of even, under False.

    At whole pixels, and at what is between them as the flow has it.
    """
    height, width = other.shape
    errors: dict[bool, list[Tensor]] = {True: [], False: []}
    places: list[Place] = []
    for at in ((y.round(), x.round()), (y, x)):
        field = _moved_blocks(other, _kept(at[0], height), _kept(at[1], width), SIDE + 2 * _REACH)
        for down in range(2 * _REACH + 1):
            for right in range(2 * _REACH + 1):
                left = field[:, down : down + SIDE, right : right + SIDE] - own
                turned = left.flip(1, 2)  # by 180 degrees: coefficients of odd u + v change their sign
                errors[True].append((left - turned).square().sum((1, 2)))
                errors[False].append((left + turned).square().sum((1, 2)))
                places.append((at[0] + down - _REACH, at[1] + right - _REACH))
    rows, columns = (torch.stack(part) for part in zip(*places, strict=True))
    best: dict[bool, Place] = {}
    for odd, found in errors.items():
        index = torch.stack(found).argmin(0)[None]
        best[odd] = rows.gather(0, index)[0], columns.gather(0, index)[0]
    return best


def _kept(at: Tensor, size: int) -> Tensor:
    return (at - _REACH).clamp(_TAPS - 1, size - SIDE - 2 * _REACH - _TAPS)


def _moved_blocks(plane: Tensor, y: Tensor, x: Tensor, side: int) -> Tensor:
    """[N, side, side]: what stands at (y, x), which may lie between pixels."""
    (rows, down), (columns, right) = _filters(y, side), _filters(x, side)
    return down @ _blocks(plane, rows, columns, side + 2 * _TAPS - 1) @ right.mT


def _filters(at: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """First pixel to take, [N], and weights [N, side, side + 2 taps - 1] of it and those after it: a windowed sinc."""
    first = at.floor()
    taps = torch.arange(2 * _TAPS, device=at.device) - (_TAPS - 1) - (at - first)[:, None]
    taps = torch.sinc(taps) * (torch.pi / 2 * (taps / _TAPS).clamp(-1, 1)).cos().square()
    taps = taps / taps.sum(1, keepdim=True)
    weights = torch.zeros(len(at), side, side + 2 * _TAPS - 1, device=at.device)
    for row in range(side):
        weights[:, row, row : row + 2 * _TAPS] = taps
    return first.long() - (_TAPS - 1), weights


def _news(
    planes: Sequence[Tensor],
    y: Tensor,
    x: Tensor,
    matches: list[dict[bool, Place]],
    inside: Tensor,
    size: tuple[int, int],
) -> News:
    transform = dct_matrix(SIDE, planes[0])
    is_odd = frequency_sums(y.device) % 2 == 1
    # Of chroma: how many samples of luma there are to one.
    shares = [round(whole / side) for side, whole in zip(planes[0].shape, size, strict=True)]
    lasts = [side - SIDE - _TAPS for side in planes[0].shape]
    # Where the block stands, a little inside of what lies too near to a border.
    stands = [
        (at[inside] // share).clamp(_TAPS - 1, last) for at, share, last in zip((y, x), shares, lasts, strict=True)
    ]

    def found(plane: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """Coefficients, and the energy that white noise of deviation 1 has there."""
        steps = ((to - at)[inside] / share for to, at, share in zip(place, (y, x), shares, strict=True))
        to = ((at + step).clamp(_TAPS - 1, last) for at, step, last in zip(stands, steps, lasts, strict=True))
        (rows, down), (columns, right) = (_filters(part, SIDE) for part in to)
        down, right = transform @ down, transform @ right
        coefficients = down @ _blocks(plane, rows, columns, SIDE + 2 * _TAPS - 1) @ right.mT
        return coefficients, down.square().sum(2)[:, :, None] * right.square().sum(2)[:, None]

    own = transform @ _blocks(planes[0], stands[0], stands[1], SIDE) @ transform.T
    others = []
    for plane, match in zip(planes[1:], matches, strict=True):
        by_even, by_odd = found(plane, match[False]), found(plane, match[True])
        others.append([torch.where(is_odd, *both) for both in zip(by_even, by_odd, strict=True)])
    if len(others) == 1:
        ((beside, energy),) = others
        new = apart = (own - beside).square() / (1 + energy)
    else:
        (before, energy_before), (after, energy_after) = others
        new = (2 * own - before - after).square() / (4 + energy_before + energy_after)
        apart = (before - after).square() / (energy_before + energy_after)
    return News(new, apart, own.square())
