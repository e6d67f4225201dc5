"""A step of a recurrence over the frames of a video, whose state follows the motion."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vnlsdenoise.ops._neighbours import check_geometry

__all__ = ["AlignedCell"]

_HALVINGS = 2  # of the maps inside a cell


class Residual(nn.Module):
    """x + gain * conv(gelu(conv(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.gain = nn.Parameter(torch.full((channels, 1, 1), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] -> the same."""
        correction: Tensor = self.second(functional.gelu(self.first(x), approximate="tanh"))
        return x + self.gain * correction


def residuals(channels: int, count: int) -> nn.Sequential:
    """Blocks one after the other."""
    return nn.Sequential(*(Residual(channels) for _ in range(count)))


class _Down(nn.Module):
    """Residual blocks, then half the size."""

    def __init__(self, channels: int, below: int, blocks: int) -> None:
        super().__init__()
        self.blocks = residuals(channels, blocks)
        self.down = nn.Conv2d(channels, below, 2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.blocks(x)
        return x, self.down(x)


class _Up(nn.Module):
    """Twice the size, added to what was there before the halving, then residual blocks."""

    def __init__(self, channels: int, below: int, blocks: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Conv2d(below, 4 * channels, 1, bias=False), nn.PixelShuffle(2))
        self.blocks = residuals(channels, blocks)

    def forward(self, x: Tensor, below: Tensor) -> Tensor:
        refined: Tensor = self.blocks(x + self.up(below))
        return refined


class AlignedCell(nn.Module):
    """One step of a recurrence: a small U-Net over a frame's maps and its neighbour's state, seen along the flow.

    The state is brought to the frame by bilinear sampling where the flow leads (after BasicVSR: Chan et al., CVPR
    2021); a convolution mixes it with the maps, and a U-Net of residual blocks at the whole, half and quarter size
    makes the new state of that.

    Args:
        sources: sets of maps that a step is given beside the state: 1 for a frame's own, 2 with what another recurrence
            found there, and so on.
        channels: of maps and state, and of what lies inside at half and at a quarter of their size.
        blocks: residual blocks at each of the three sizes; at the first two as many again on the way up.

    Call: (state, flow, *maps, corner=(0, 0)).
        maps: `sources` tensors [N, C, h, w]; h and w are multiples of 4.
        state: [N, C, H, W], that of the neighbouring frame; None where the recurrence begins (zeros).
        flow: [N, 2, h, w], (x, y) in pixels of the maps, from the frame to its neighbour; None for no motion, of a
            state as large as the maps. What it leads to beyond the state is the state's border.
        corner: (top, left) of the maps in the state, where that is of a larger picture, worked on in tiles.

    Returns:
        The new state, [N, C, h, w]. Differentiable with respect to all tensors and parameters.

    Raises:
        ValueError: an argument is not as above.
    """

    def __init__(self, sources: int, channels: tuple[int, int, int], blocks: tuple[int, int, int]) -> None:
        super().__init__()
        check_geometry(sources=sources, channels=min(channels))
        if min(blocks) < 0:
            raise ValueError(f"blocks must be at least 0 at every size, got {blocks}")
        fine, middle, coarse = channels
        self.sources, self.channels = sources, fine
        self.mix = nn.Conv2d((sources + 1) * fine, fine, 3, padding=1)
        self.down_fine = _Down(fine, middle, blocks[0])
        self.down_middle = _Down(middle, coarse, blocks[1])
        self.bottom = residuals(coarse, blocks[2])
        self.up_middle = _Up(middle, coarse, blocks[1])
        self.up_fine = _Up(fine, middle, blocks[0])

    def forward(
        self, state: Tensor | None, flow: Tensor | None, *maps: Tensor, corner: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """See the class."""
        self._check(state, flow, maps)
        neighbour = torch.zeros_like(maps[0]) if state is None else aligned(state, flow, corner)
        fine, middle = self.down_fine(self.mix(torch.cat((*maps, neighbour), 1)))
        middle, coarse = self.down_middle(middle)
        middle = self.up_middle(middle, self.bottom(coarse))
        new: Tensor = self.up_fine(fine, middle)
        return new

    def _check(self, state: Tensor | None, flow: Tensor | None, maps: tuple[Tensor, ...]) -> None:
        if len(maps) != self.sources:
            raise ValueError(f"a cell of {self.sources} sources must be given as many maps, got {len(maps)}")
        shape = maps[0].shape
        if len(shape) != 4 or shape[1] != self.channels or any(m.shape != shape for m in maps):
            got = ", ".join(str(list(m.shape)) for m in maps)
            raise ValueError(f"maps must all have one shape [N, {self.channels}, h, w], got {got}")
        if any(side % (1 << _HALVINGS) for side in shape[-2:]):
            raise ValueError(f"height and width of maps must be multiples of 4, got {list(shape[-2:])}")
        if state is not None and (state.ndim != 4 or state.shape[:2] != shape[:2]):
            raise ValueError(f"state must have shape [{shape[0]}, {shape[1]}, H, W], got {list(state.shape)}")
        if flow is not None and list(flow.shape) != [shape[0], 2, *shape[-2:]]:
            raise ValueError(f"flow must have shape {[shape[0], 2, *shape[-2:]]}, got {list(flow.shape)}")
        if state is not None and flow is None and state.shape != shape:
            raise ValueError(f"without flow state must have the shape of maps, {list(shape)}, got {list(state.shape)}")


def aligned(state: Tensor, flow: Tensor | None, corner: tuple[int, int] = (0, 0)) -> Tensor:
    """state [N, C, H, W] seen along flow [N, 2, h, w] (x, y): out(p) = state(p + corner + flow(p)), bilinear, borders
    held."""
    if flow is None:
        return state
    (height, width), (top, left) = state.shape[-2:], corner
    dtype = torch.promote_types(state.dtype, torch.float32)  # places need it, however coarse the values
    y = torch.arange(top, top + flow.shape[-2], device=flow.device, dtype=dtype)[:, None]
    x = torch.arange(left, left + flow.shape[-1], device=flow.device, dtype=dtype)
    flow = flow.to(dtype)
    grid = torch.stack(((x + flow[:, 0] + 0.5) * (2 / width) - 1, (y + flow[:, 1] + 0.5) * (2 / height) - 1), -1)
    seen = functional.grid_sample(state.to(dtype), grid, padding_mode="border", align_corners=False)
    return seen.to(state.dtype).contiguous(memory_format=torch.channels_last)
