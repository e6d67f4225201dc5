"""The network as it works on a GPU: what lies between its convolutions in as few passes as there can be."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vnlsdenoise.learned import passes
from vnlsdenoise.learned.network import PLANES, VIEWS, Head, Layout, Network, Tail
from vnlsdenoise.learned.tiles import Tile
from vnlsdenoise.nn.recurrent import AlignedCell, Residual


class _Convolution:
    """A 3 x 3 convolution without a bias, of sets of maps beside each other."""

    def __init__(self, weight: Tensor, sources: int = 1) -> None:
        """weight: on the device and in the type to work in."""
        self._weight = weight.contiguous(memory_format=torch.channels_last)
        self._laid_out = passes.laid_out(weight, sources)

    def biased(self, *maps: Tensor, bias: Tensor) -> Tensor:
        """With a bias."""
        if self._laid_out is not None:
            return passes.convolved(maps, self._laid_out, bias)
        return passes.add_bias(self._plain(maps), bias)

    def activated(self, maps: Tensor, bias: Tensor) -> Tensor:
        """The GELU of it with a bias."""
        if self._laid_out is not None:
            return passes.convolved([maps], self._laid_out, bias, gelu=True)
        return passes.add_bias_gelu(self._plain([maps]), bias)

    def added(self, maps: Tensor, base: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """base + gain * the convolution + bias."""
        if self._laid_out is not None:
            return passes.convolved([maps], self._laid_out, bias, gain, base)
        return passes.add_residual(self._plain([maps]), base, gain, bias)

    def _plain(self, maps: Sequence[Tensor]) -> Tensor:
        joined = maps[0] if len(maps) == 1 else torch.cat(tuple(maps), 1)
        return functional.conv2d(joined, self._weight, padding=1)


class _Down:
    """What halves the size of maps."""

    def __init__(self, conv: nn.Conv2d, placed: nn.Conv2d) -> None:
        self._weight, self._bias = placed.weight, _vector(conv.bias, placed)
        self._laid_out = passes.laid_out(placed.weight)

    def __call__(self, maps: Tensor) -> Tensor:
        if self._laid_out is not None:
            return passes.convolved_halving(maps, self._laid_out, self._bias)
        return passes.add_bias(functional.conv2d(maps, self._weight, stride=2), self._bias)


class _Up:
    """What doubles the size of maps, and is added to others."""

    def __init__(self, placed: nn.Conv2d) -> None:
        # Of the four pixels that a pixel becomes, all channels of each come one after the other.
        four, below = placed.weight.shape[:2]
        quarters = placed.weight.view(four // 4, 4, below, 1, 1).transpose(0, 1)
        self._weight = quarters.reshape(four, below, 1, 1).contiguous(memory_format=torch.channels_last)
        laid_out = [passes.laid_out(quarter) for quarter in quarters]
        found = [weight for weight in laid_out if weight is not None]
        self._laid_out = torch.stack(found) if len(found) == 4 else None

    def __call__(self, maps: Tensor, below: Tensor) -> Tensor:
        """In place of maps."""
        if self._laid_out is not None:
            return passes.add_convolved_enlarging(maps, below, self._laid_out)
        return passes.add_enlarged(maps, functional.conv2d(below, self._weight))


class _Mix:
    """A convolution with a bias, of sets of maps beside each other."""

    def __init__(self, conv: nn.Conv2d, placed: nn.Conv2d, sources: int) -> None:
        self._conv, self._bias = _Convolution(placed.weight, sources), _vector(conv.bias, placed)

    def __call__(self, *maps: Tensor) -> Tensor:
        return self._conv.biased(*maps, bias=self._bias)


class _Block:
    """A `Residual`: its second bias is multiplied by the gain once and for all.

    Here and above, `placed` is the same part of the network on the device and in the type to work in; the other one has
    what is exact.
    """

    def __init__(self, block: Residual, placed: Residual) -> None:
        assert block.second.bias is not None
        gain = block.gain.detach().float().flatten()
        self._first, self._first_bias = _Convolution(placed.first.weight), _vector(block.first.bias, placed.first)
        self._second, self._gain = _Convolution(placed.second.weight), _vector(gain, placed.second)
        self._bias = _vector(gain * block.second.bias.to(gain), placed.second)

    def __call__(self, maps: Tensor) -> Tensor:
        return self._second.added(self._first.activated(maps, self._first_bias), maps, self._gain, self._bias)


class _Tail:
    """A tail's convolution, with further channels of zeros."""

    def __init__(self, tail: Tail, placed: Tail) -> None:
        like, count = placed.conv.weight, passes.padded(len(placed.conv.weight), passes.MULTIPLE)
        weight = like.new_zeros(count, *like.shape[1:])
        weight[: len(like)] = like
        self._conv, self._bias = _Convolution(weight), torch.zeros(count, device=like.device)
        self._bias[: len(like)] = _vector(tail.conv.bias, placed.conv)

    def __call__(self, maps: Tensor) -> Tensor:
        return self._conv.biased(maps, bias=self._bias)


class _Cell:
    """An `AlignedCell`."""

    def __init__(self, cell: AlignedCell, placed: AlignedCell) -> None:
        self._mix = _Mix(cell.mix, placed.mix, cell.sources + 1)
        self._down = [
            (_blocks(one.blocks, other.blocks), _Down(one.down, other.down))
            for one, other in ((cell.down_fine, placed.down_fine), (cell.down_middle, placed.down_middle))
        ]
        self._bottom = _blocks(cell.bottom, placed.bottom)
        self._up = [
            (_Up(_conv(other.up[0])), _blocks(one.blocks, other.blocks))
            for one, other in ((cell.up_middle, placed.up_middle), (cell.up_fine, placed.up_fine))
        ]

    def __call__(
        self, maps: Sequence[Tensor], state: Tensor | None, flow: Tensor | None, corner: tuple[int, int]
    ) -> Tensor:
        new = self._mix(*maps, _before(maps[0], state, flow, corner))
        waiting = []
        for blocks, down in self._down:
            waiting.append(_through(blocks, new))
            new = down(waiting[-1])
        new = _through(self._bottom, new)
        for up, blocks in self._up:
            new = _through(blocks, up(waiting.pop(), new))
        return new


class Encoder:
    """Head and encoder for frames of one layout: of channels of these ranges and centres, [planes, 2], and traits."""

    def __init__(
        self, head: Head, like: Tensor, blocks: list[_Block], layout: Layout, channels: Tensor, traits: Tensor
    ) -> None:
        """like: the weight of the head in the type and place to work in."""
        assert head.conv.bias is not None
        noise = head.bias(channels[None, :, 0], traits[None])[0]
        self._bias = (head.conv.bias + noise).detach().to(like.device, torch.float32)
        places = _by_plane(layout)
        weight = like.new_zeros(len(like), passes.padded(len(places), passes.MULTIPLE), *like.shape[2:])
        weight[:, : len(places)] = like[:, places]
        self._like, self._conv = like, _Convolution(weight)
        self._channels = channels.to(like.device)
        self._blocks = blocks

    def __call__(
        self, noisy: Sequence[Tensor], classic: Sequence[Tensor], tile: Tile, whole: tuple[int, int]
    ) -> Tensor:
        """[planes, H, W] of luma's size, and of half of it -> a tile of the frame's maps, which are `whole` in size."""
        views = passes.views(noisy, classic, self._channels, self._like, tile, whole)
        return _through(self._blocks, self._conv.biased(views, bias=self._bias))


class FusedNetwork(Network):
    """A `Network` that does not learn, on a device and in the type to work in.

    Its steps give what those of the network give, to rounding; instead of its `encode` there is `encoder_of`.
    """

    def __init__(self, network: Network, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(network.dimensions, network.preset)
        self.load_state_dict(network.state_dict())
        self.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.eval().requires_grad_(False)
        self._exact = [network]  # in a list, so that it is no part of this one
        self._encoder_blocks = _blocks(network.encoder, self.encoder)
        self._back = _Cell(network.backward_cell, self.backward_cell)
        self._forth = _Cell(network.forward_cell, self.forward_cell)
        self._decoder_mix = _Mix(_conv(network.decoder[0]), _conv(self.decoder[0]), 3)
        self._decoder_blocks = _blocks(list(network.decoder)[1:], list(self.decoder)[1:])
        self._tails = {layout: _Tail(network.tail(layout), self.tail(layout)) for layout in PLANES}

    def encoder_of(self, layout: Layout, channels: Tensor, traits: Tensor) -> Encoder:
        """What encodes frames of that layout; channels: [planes, 2], range and centre in units of the noise. traits:
        [planes, TRAITS], as in `Frames`."""
        like = self.head(layout).conv.weight
        return Encoder(self._exact[0].head(layout), like, self._encoder_blocks, layout, channels, traits)

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
        return _through(self._decoder_blocks, self._decoder_mix(maps, back, forth))

    def correct(self, layout: Layout, maps: Tensor) -> list[Tensor]:
        """See `Network`."""
        return passes.planes(self._tails[layout](maps), *PLANES[layout])


def _blocks(blocks: Iterable[nn.Module], placed: Iterable[nn.Module]) -> list[_Block]:
    found = []
    for block, other in zip(blocks, placed, strict=True):
        assert isinstance(block, Residual) and isinstance(other, Residual)
        found.append(_Block(block, other))
    return found


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


def _vector(values: Tensor | None, placed: nn.Conv2d) -> Tensor:
    """One value a channel, as passes take them."""
    assert values is not None
    return values.detach().to(placed.weight.device, torch.float32)


def _through(blocks: Sequence[_Block], maps: Tensor) -> Tensor:
    for block in blocks:
        maps = block(maps)
    return maps


def _before(maps: Tensor, state: Tensor | None, flow: Tensor | None, corner: tuple[int, int]) -> Tensor:
    """What is known from the neighbouring frame."""
    height, width = maps.shape[-2:]
    return torch.zeros_like(maps) if state is None else passes.seen(state, flow, corner, (height, width))


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
