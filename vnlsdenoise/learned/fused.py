"""The network as it works on a GPU: what lies between its convolutions in as few passes as there can be."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vnlsdenoise.learned import passes
from vnlsdenoise.learned.network import PLANES, VIEWS, Head, Layout, Network
from vnlsdenoise.learned.tiles import Tile
from vnlsdenoise.nn.recurrent import AlignedCell, Residual


@dataclass
class _Biased:
    """A convolution, and what is added to its result.

    Here and below, `placed` is the same part of the network on the device and in the type to work in; `conv`, `block`
    or `cell` has what is exact.
    """

    weight: Tensor
    bias: Tensor
    stride: int = 1
    padding: int = 1

    @staticmethod
    def of(conv: nn.Module, placed: nn.Module) -> "_Biased":
        assert isinstance(conv, nn.Conv2d) and isinstance(placed, nn.Conv2d) and conv.bias is not None
        bias = conv.bias.detach().to(placed.weight.device, torch.float32)
        return _Biased(placed.weight, bias, conv.stride[0], int(conv.padding[0]))

    def __call__(self, maps: Tensor) -> Tensor:
        return passes.add_bias(functional.conv2d(maps, self.weight, None, self.stride, self.padding), self.bias)


@dataclass
class _Block:
    """A `Residual`: its second bias is multiplied by the gain once and for all."""

    first: Tensor
    first_bias: Tensor
    second: Tensor
    gain: Tensor
    bias: Tensor

    @staticmethod
    def of(block: nn.Module, placed: nn.Module) -> "_Block":
        assert isinstance(block, Residual) and isinstance(placed, Residual)
        assert block.first.bias is not None and block.second.bias is not None
        gain = block.gain.detach().float().flatten()
        vectors = block.first.bias.detach().float(), gain, gain * block.second.bias.detach().float()
        first_bias, gain, bias = (vector.to(placed.gain.device) for vector in vectors)
        return _Block(placed.first.weight, first_bias, placed.second.weight, gain, bias)

    def __call__(self, maps: Tensor) -> Tensor:
        hidden = passes.add_bias_gelu(functional.conv2d(maps, self.first, padding=1), self.first_bias)
        return passes.add_residual(functional.conv2d(hidden, self.second, padding=1), maps, self.gain, self.bias)


class _Cell:
    """An `AlignedCell`."""

    def __init__(self, cell: AlignedCell, placed: AlignedCell) -> None:
        self._mix = _Biased.of(cell.mix, placed.mix)
        self._down = [
            (_blocks(one.blocks, other.blocks), _Biased.of(one.down, other.down))
            for one, other in ((cell.down_fine, placed.down_fine), (cell.down_middle, placed.down_middle))
        ]
        self._bottom = _blocks(cell.bottom, placed.bottom)
        self._up = [
            (_by_quadrant(other.up[0]), _blocks(one.blocks, other.blocks))
            for one, other in ((cell.up_middle, placed.up_middle), (cell.up_fine, placed.up_fine))
        ]

    def __call__(
        self, maps: Sequence[Tensor], state: Tensor | None, flow: Tensor | None, corner: tuple[int, int]
    ) -> Tensor:
        new = self._mix(passes.joined_with_state(maps, state, flow, corner))
        waiting = []
        for blocks, down in self._down:
            waiting.append(_through(blocks, new))
            new = down(waiting[-1])
        new = _through(self._bottom, new)
        for up, blocks in self._up:
            new = _through(blocks, passes.add_enlarged(waiting.pop(), functional.conv2d(new, up)))
        return new


class Encoder:
    """Head and encoder for frames of one layout whose channels have these ranges and centres, [planes, 2].

    What is added to the head's convolution depends on the ranges alone: it is the weight of channels that are one
    everywhere.
    """

    def __init__(self, head: Head, like: Tensor, blocks: list[_Block], layout: Layout, channels: Tensor) -> None:
        """like: a weight of the head in the type and place to work in."""
        assert head.conv.bias is not None
        level = head.level((channels[None, :, 0].log() / 1.5 - 2.3).to(head.conv.weight))[0]
        added = (head.conv.bias + level).float()
        weight = head.conv.weight.float()
        count = weight.shape[1]
        whole = weight.new_zeros(weight.shape[0], passes.padded(count + passes.ONES), *weight.shape[2:])
        whole[:, :count] = weight[:, _by_plane(layout)]
        # As much of it as one weight holds, and what is left.
        whole[:, count, 1, 1] = added.to(like.dtype).float()
        whole[:, count + 1, 1, 1] = added - whole[:, count, 1, 1]
        self._weight = whole.to(like.device, like.dtype).contiguous(memory_format=torch.channels_last)
        self._channels = channels.to(like.device)
        self._blocks = blocks

    def __call__(
        self, noisy: Sequence[Tensor], classic: Sequence[Tensor], tile: Tile, whole: tuple[int, int]
    ) -> Tensor:
        """[planes, H, W] of luma's size, and of half of it -> a tile of the frame's maps, which are `whole` in size."""
        views = passes.views(noisy, classic, self._channels, self._weight, tile, whole)
        return _through(self._blocks, functional.conv2d(views, self._weight, padding=1))


class FusedNetwork(Network):
    """A `Network` that does not learn, on a device and in the type to work in.

    Its steps give what those of the network give, to rounding; instead of its `encode` there is `encoder_of`.
    """

    def __init__(self, network: Network, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(network.dimensions)
        self.load_state_dict(network.state_dict())
        self.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.eval().requires_grad_(False)
        self._exact = [network]  # in a list, so that it is no part of this one
        self._encoder_blocks = _blocks(network.encoder, self.encoder)
        self._back = _Cell(network.backward_cell, self.backward_cell)
        self._forth = _Cell(network.forward_cell, self.forward_cell)
        self._decoder_conv = _Biased.of(network.decoder[0], self.decoder[0])
        self._decoder_blocks = _blocks(list(network.decoder)[1:], list(self.decoder)[1:])
        self._tails = {layout: _tail(network.tail(layout).conv, self.tail(layout).conv) for layout in PLANES}

    def encoder_of(self, layout: Layout, channels: Tensor) -> Encoder:
        """What encodes frames of that layout; channels: [planes, 2], range and centre in units of the noise."""
        like = self.head(layout).conv.weight
        return Encoder(self._exact[0].head(layout), like, self._encoder_blocks, layout, channels)

    def step_back(
        self, maps: Tensor, state: Tensor | None, flow: Tensor | None, corner: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """See `Network`; state: None for zeros."""
        return self._back([maps], state, flow, corner)

    def step_forth(
        self, maps: Tensor, back: Tensor, state: Tensor | None, flow: Tensor | None, corner: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """See `Network`; state: None for zeros."""
        return self._forth([maps, back], state, flow, corner)

    def decode(self, maps: Tensor, back: Tensor, forth: Tensor) -> Tensor:
        """See `Network`."""
        return _through(self._decoder_blocks, self._decoder_conv(passes.joined([maps, back, forth])))

    def correct(self, layout: Layout, maps: Tensor) -> list[Tensor]:
        """See `Network`."""
        weight, bias = self._tails[layout]
        return passes.planes(functional.conv2d(maps, weight, padding=1), bias, *PLANES[layout])


def _blocks(blocks: Iterable[nn.Module], placed: Iterable[nn.Module]) -> list[_Block]:
    return [_Block.of(block, other) for block, other in zip(blocks, placed, strict=True)]


def _through(blocks: Sequence[_Block], maps: Tensor) -> Tensor:
    for block in blocks:
        maps = block(maps)
    return maps


def _by_quadrant(conv: nn.Module) -> Tensor:
    """The weight of a convolution [4 C, below, 1, 1] that gives the four pixels of a channel one after the other, for
    all channels of a pixel one after the other."""
    assert isinstance(conv, nn.Conv2d)
    four, below = conv.weight.shape[:2]
    weight = conv.weight.view(four // 4, 4, below, 1, 1).transpose(0, 1).reshape(four, below, 1, 1)
    return weight.contiguous(memory_format=torch.channels_last)


def _by_plane(layout: Layout) -> list[int]:
    """Of the channels of `passes.views`, their places among those that the head of a `Network` takes: there, the planes
    of one size have each view after the other."""
    places: list[int] = []
    first = 0
    for samples, planes in zip((4, 1), PLANES[layout], strict=True):
        for plane in range(planes):
            for view in range(VIEWS):
                begin = first + (view * planes + plane) * samples
                places += range(begin, begin + samples)
        first += VIEWS * planes * samples
    return places


def _tail(conv: nn.Conv2d, placed: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a tail, with further channels of zeros."""
    assert conv.bias is not None
    count, like = passes.padded(conv.out_channels), placed.weight
    weight = like.new_zeros(count, *like.shape[1:])
    weight[: conv.out_channels] = like
    bias = torch.zeros(count, device=like.device)
    bias[: conv.out_channels] = conv.bias.detach()
    return weight.contiguous(memory_format=torch.channels_last), bias
