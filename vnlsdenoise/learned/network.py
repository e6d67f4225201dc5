"""The network: what the classic denoiser left or lost, from the noisy frames and its result.

Every channel comes in units of its noise (deviation 1), as the classic denoiser takes it, on the planes that the video
has: luma alone, luma with chroma at half the size, or three channels of one size. Each of these layouts has a head and
a tail of its own at half the size of luma; between them lies one trunk, a recurrence over the frames in both
directions. Its states are brought from frame to frame along the flow of the classic result (after BasicVSR: Chan et
al., CVPR 2021, with U-Nets as cells). The output is a correction of the classic result in units of the noise, zero
before training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from vnlsdenoise.nn.recurrent import AlignedCell, residuals

Layout = Literal["gray", "420", "444"]

# Of every layout: planes of luma's size and of half of it.
PLANES: dict[Layout, tuple[int, int]] = {"gray": (1, 0), "420": (1, 2), "444": (3, 0)}
VIEWS = 3  # of every plane: what the classic denoiser took away, its result, and the detail of that
ALIGNMENT = 8  # height and width of luma must be multiples of it: half the size, then two halvings in a cell
TRAITS = 2  # of the noise of a channel, beside its level (`Frames.traits`)
_HIDDEN = 64  # width of the layers that the level of noise goes through


@dataclass(frozen=True)
class Dimensions:
    """Everything that decides the shapes of a network's weights.

    channels: of the maps at 1/2, 1/4 and 1/8 of luma's size. encoder, decoder: residual blocks at 1/2. cell: residual
    blocks of a recurrent cell at each of the three sizes; at the first two as many again on the way up.
    """

    channels: tuple[int, int, int]
    encoder: int
    cell: tuple[int, int, int]
    decoder: int


@dataclass
class Frames:
    """Frames of one layout, as the network takes them; every list has the planes of luma's size, then the halved ones.

    classic: [N, planes, h, w], the classic result over the range of its channel, around 0 (see `Scale`).
    removed: the same shapes: noisy minus classic, in units of the noise.
    scale: [N, planes of both sizes], the range of every channel in units of its noise.
    traits: [N, planes of both sizes, TRAITS], what else is known of that noise: the logarithm of how flat its spectrum
        is, 0 where it is white, and 1 where its deviation is assumed (`PlaneNoise.assumed`).
    """

    layout: Layout
    classic: list[Tensor]
    removed: list[Tensor]
    scale: Tensor
    traits: Tensor


class Head(nn.Module):
    """Frames of one layout to maps at half the size of luma."""

    def __init__(self, layout: Layout, channels: int) -> None:
        super().__init__()
        whole, half = PLANES[layout]
        self.conv = nn.Conv2d(VIEWS * (4 * whole + half), channels, 3, padding=1)
        self.level = nn.Sequential(
            nn.Linear((1 + TRAITS) * (whole + half), _HIDDEN),
            nn.GELU(approximate="tanh"),
            nn.Linear(_HIDDEN, channels),
        )

    def bias(self, scale: Tensor, traits: Tensor) -> Tensor:
        """What is known of the noise, as in `Frames` -> [N, C], which every pixel's maps begin with."""
        known = torch.cat((scale.log() / 1.5 - 2.3, traits.flatten(1)), 1)
        bias: Tensor = self.level(known.to(self.conv.weight.dtype))
        return bias

    def forward(self, frames: Frames) -> Tensor:
        """-> [N, C, H / 2, W / 2]."""
        views, first = [], 0
        for classic, removed in zip(frames.classic, frames.removed, strict=True):
            scale = frames.scale[:, first : first + classic.shape[1], None, None]
            first += classic.shape[1]
            detail = classic - functional.avg_pool2d(classic, 3, 1, 1, count_include_pad=False)
            # A detail counts by its size beside the noise, however small a share of the range that may be.
            views += [removed, classic, torch.asinh(detail * scale)]
        maps = [_half_size(view, frames.classic[0]).to(self.conv.weight.dtype) for view in views]
        maps_in = torch.cat(maps, 1).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.conv(maps_in) + self.bias(frames.scale, frames.traits)[:, :, None, None]
        return features


def _half_size(plane: Tensor, luma: Tensor) -> Tensor:
    return functional.pixel_unshuffle(plane, 2) if plane.shape[-1] == luma.shape[-1] else plane


class Tail(nn.Module):
    """Maps at half the size of luma to the corrections of one layout's planes."""

    def __init__(self, layout: Layout, channels: int) -> None:
        super().__init__()
        self._whole, self._half = PLANES[layout]
        self.conv = nn.Conv2d(channels, 4 * self._whole + self._half, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, maps: Tensor) -> list[Tensor]:
        """[N, C, h, w] -> the planes of luma's size, then the halved ones, float32."""
        out = self.conv(maps).float().contiguous()
        planes = [functional.pixel_shuffle(out[:, : 4 * self._whole], 2)]
        return [*planes, out[:, 4 * self._whole :]] if self._half else planes


class Network(nn.Module):
    """See the top of this page. Its parts are called one by one where frames come one by one.

    preset: of the classic denoiser, whose results the network corrects.
    """

    def __init__(self, dimensions: Dimensions, preset: str = "fast") -> None:
        super().__init__()
        self.dimensions = dimensions
        self.preset = preset
        channels = dimensions.channels[0]
        self.heads = nn.ModuleDict({layout: Head(layout, channels) for layout in PLANES})
        self.encoder = residuals(channels, dimensions.encoder)
        self.backward_cell = AlignedCell(1, dimensions.channels, dimensions.cell)
        self.forward_cell = AlignedCell(2, dimensions.channels, dimensions.cell)
        self.decoder = nn.Sequential(
            nn.Conv2d(3 * channels, channels, 3, padding=1), *residuals(channels, dimensions.decoder)
        )
        self.tails = nn.ModuleDict({layout: Tail(layout, channels) for layout in PLANES})

    def head(self, layout: Layout) -> Head:
        """That of one layout."""
        head = self.heads[layout]
        assert isinstance(head, Head)
        return head

    def tail(self, layout: Layout) -> Tail:
        """That of one layout."""
        tail = self.tails[layout]
        assert isinstance(tail, Tail)
        return tail

    def encode(self, frames: Frames) -> Tensor:
        """[N, C, H / 2, W / 2] of frames whose height and width are multiples of `ALIGNMENT`."""
        maps: Tensor = self.encoder(self.heads[frames.layout](frames))
        return maps

    def step_back(
        self, maps: Tensor, state: Tensor | None, flow: Tensor | None, corner: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """The backward recurrence: a frame's maps, the state of the next frame, and the flow to it, [N, 2, h, w].

        state: None for zeros. corner: where maps and flow lie in the state, (top, left), if that is of a larger picture
        than they are.
        """
        new: Tensor = self.backward_cell(state, flow, maps, corner=corner)
        return new

    def step_forth(
        self, maps: Tensor, back: Tensor, state: Tensor | None, flow: Tensor | None, corner: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """The forward recurrence: as `step_back`, from the frame before, with this frame's backward state."""
        new: Tensor = self.forward_cell(state, flow, maps, back, corner=corner)
        return new

    def decode(self, maps: Tensor, back: Tensor, forth: Tensor) -> Tensor:
        """A frame's maps and both its states -> maps for `correct`."""
        decoded: Tensor = self.decoder(torch.cat((maps, back, forth), 1))
        return decoded

    def correct(self, layout: Layout, maps: Tensor) -> list[Tensor]:
        """What to add to the planes of the classic result, in units of the noise, float32."""
        planes: list[Tensor] = self.tails[layout](maps)
        return planes

    def forward(self, clips: Sequence[Frames], fields: Tensor) -> list[list[Tensor]]:
        """Whole clips of equal size at once.

        Args:
            clips: for every layout its frames, those of one time of all clips together: N = T x clips of the layout.
            fields: [T - 1, clips of all layouts, 2, 2, h, w]: flow of the classic results at half the size of luma,
                from every frame to the next and back, in pixels of the field; NaN where the next begins a scene.

        Returns:
            The corrections of each layout's planes, as `correct`.
        """
        times = len(fields) + 1
        follows = fields[:, :, 0, 0, :1, :1].isfinite()[:, :, None]  # [T - 1, clips, 1, 1, 1]
        fields = fields.nan_to_num()
        encoded = [self.encode(frames) for frames in clips]
        maps = [torch.cat(parts) for parts in zip(*(e.chunk(times) for e in encoded), strict=True)]
        state = torch.zeros_like(maps[0])
        back: list[Tensor] = []
        for time in reversed(range(times)):
            if time + 1 < times:
                state = self.step_back(maps[time], state * follows[time], fields[time, :, 0])
            else:
                state = self.step_back(maps[time], state, None)
            back.insert(0, state)
        state = torch.zeros_like(maps[0])
        decoded = []
        for time in range(times):
            if time:
                state = self.step_forth(maps[time], back[time], state * follows[time - 1], fields[time - 1, :, 1])
            else:
                state = self.step_forth(maps[time], back[time], state, None)
            decoded.append(self.decode(maps[time], back[time], state))
        counts = [len(e) // times for e in encoded]
        of_layouts = zip(*(torch.split(maps, counts) for maps in decoded), strict=True)
        return [self.correct(f.layout, torch.cat(parts)) for f, parts in zip(clips, of_layouts, strict=True)]
