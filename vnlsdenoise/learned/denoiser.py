"""The classic denoiser with the network behind it, frame by frame."""

import math
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vnlsdenoise.classic.denoiser import ClassicDenoiser
from vnlsdenoise.classic.motion import FlowPair, Motion
from vnlsdenoise.classic.page import Page
from vnlsdenoise.classic.pager import Pager, repeatable
from vnlsdenoise.learned.chunks import CHUNK, RUN_IN
from vnlsdenoise.learned.fused import Encoder, FusedNetwork
from vnlsdenoise.learned.memory import NetworkSize, arrival_work, step_work
from vnlsdenoise.learned.network import Frames, Layout, Network
from vnlsdenoise.learned.passes import corrected, enlarged, limited, magnitude
from vnlsdenoise.learned.tiles import Tile, map_size, tiles_of

# Samples for a pixel of a map: of planes of luma's size, and of subsampled ones.
_FACTORS = (2, 1)
# How many times what the classic denoiser removed a correction is at the most. Colours that a codec has left smooth may
# be told more noise than they have: the classic denoiser, which looks at what is there, then removes little of them,
# and the network would draw in them what it sees in luma. Luma has no such guide, and where its noise is told too low
# the network takes more of it, rightly. Of a deviation that stands for how far to go against a codec
# (`PlaneNoise.assumed`) a network takes detail for lost that is not. Of differences of R, G and B it takes what is left
# of coarse noise for colours of the picture, which most photographs' is: there the limit falls with the square of how
# flat the spectrum is.
_MOST_IN_COLOURS, _MOST_WHERE_ASSUMED = 1.0, 0.5
_FLAT = 0.3  # from which on it does not
_LEAST_FLAT = 0.01  # that the network is told


@dataclass(frozen=True)
class Channel:
    """Of one channel: how far its values reach in units of its noise, and the share of that where their middle is.

    colour: whether it is of colours, not luma. assumed: as of `PlaneNoise`. flatness: of the spectrum of its noise, 1
    where that is white.
    """

    range: float
    centre: float
    colour: bool = False
    assumed: bool = False
    flatness: float = 1.0

    @property
    def most(self) -> float:
        """How many times what the classic denoiser removed a correction may be, by the roots of their mean squares; inf
        for no limit."""
        most = _MOST_WHERE_ASSUMED if self.assumed else _MOST_IN_COLOURS if self.colour else math.inf
        return most * min(1.0, self.flatness / _FLAT) ** 2 if self.colour else most

    @property
    def traits(self) -> tuple[float, float]:
        """As of `Frames`."""
        return math.log(max(self.flatness, _LEAST_FLAT)), float(self.assumed)


@dataclass
class _Frame:
    """A frame's classic result (luma or all channels, then subsampled chroma), its maps, and the flow from the frame
    before.

    most: of the planes of every size, as `limited` takes it. maps: as the states, [1, H, W, C]. fields: [2, 2, h, w],
    forward and backward, of the classic results, as `FlowPair`; None at the start of a scene.
    """

    classic: list[Page]
    most: list[Tensor | None]
    maps: Page
    fields: Page | None


@dataclass
class _Opened:
    """The tensors of a frame's pages while a step works on it: maps and states [1, C, H, W], channels last.

    flow: [2, h, w], to the frame that `state` is of.
    """

    maps: Tensor
    classic: list[Tensor]
    flow: Tensor | None
    state: Tensor | None
    back: Tensor | None


class LearnedDenoiser:
    """Takes frames as the `ClassicDenoiser` does, and yields its results with the network's corrections.

    network: on the device of the frames, in the precision to work in. layout: of the frames, whose luma is height x
    width. channels: of every channel, luma first. motion: measures the flow of the classic results. number: of the
    first frame in its scene, where frames before it are left out; up to the first chunk that has its run-in, results
    are the classic ones.
    """

    def __init__(
        self,
        classic: ClassicDenoiser,
        network: Network,
        layout: Layout,
        height: int,
        width: int,
        channels: list[Channel],
        motion: Motion,
        pager: Pager,
        number: int = 0,
    ) -> None:
        self._classic = classic
        self._network = network
        self._layout = layout
        self._channels = channels
        self._times: Tensor | None = None  # `Channel.most`, where the frames are
        self._encoder: Encoder | None = None  # of a network on a GPU
        if isinstance(network, FusedNetwork):
            places, traits = torch.tensor([[c.range, c.centre] for c in channels]), [c.traits for c in channels]
            self._encoder = network.encoder_of(layout, places, torch.tensor(traits))
        self._tiles = tiles_of(height, width, network.dimensions)
        self._map_size = map_size(height, width)
        self._state_shape = (1, *self._map_size, network.dimensions.channels[0])
        self._step_work = step_work(NetworkSize.of(network), layout, height, width)
        self._arrival_work = arrival_work(motion.planes, height, width)
        self._motion = motion
        self._pager = pager
        self._noisy: deque[list[Page]] = deque()
        self._measured: FlowPair | None = None  # the flow to the last of them, until it is waited for
        self._frames: list[_Frame] = []  # from `RUN_IN` frames before the chunk that comes next
        self._first = 0  # number of the first of them in its scene
        self._next = number  # of the next classic result
        if number:
            self._first = -(-(number + RUN_IN) // CHUNK) * CHUNK - RUN_IN
        self._begin = self._first + RUN_IN if number else 0  # number of the first frame that the network corrects
        self._unsound: Tensor | None = None  # count of frames that the network made something else than numbers of

    def add(self, frame: Tensor, chroma: Tensor | None = None) -> None:
        """Take in the next frame, of which the caller lets go."""
        kept = self._classic.add(frame, chroma)
        self._noisy.append([kept] if chroma is None else [kept, self._pager.keep(chroma)])

    def advance(self) -> Iterator[tuple[Page, Page | None]]:
        """Do what the frames that were added make possible; yields finished (frame, chroma) pairs."""
        yield from self._taken(self._classic.advance())

    def flush(self) -> Iterator[tuple[Page, Page | None]]:
        """End the clip; yields what is left. The next frame begins a new clip."""
        yield from self._taken(self._classic.flush())
        yield from self._chunks(ended=True)
        self._motion.reset()
        self._frames, self._first, self._next, self._begin = [], 0, 0, 0
        if self._unsound is not None and int(self._unsound):
            warnings.warn(
                f"the network gave no usable values for {int(self._unsound)} frames: they have the classic result",
                stacklevel=2,
            )
        self._unsound = None

    def _taken(self, results: Iterator[tuple[Page, Page | None]]) -> Iterator[tuple[Page, Page | None]]:
        for result in results:
            number, self._next = self._next, self._next + 1
            if number < self._begin:
                yield result
            if number < self._first:
                self._noisy.popleft()
                continue
            self._take(result)
            yield from self._chunks(ended=False)

    def _take(self, result: tuple[Page, Page | None]) -> None:
        classic = [page for page in result if page is not None]
        self._settle()
        fields, pair = self._flow_to(classic[0])
        self._frames.append(_Frame(classic, *self._encode(self._noisy.popleft(), classic), fields))
        self._measured = pair

    @repeatable
    def _flow_to(self, classic: Page) -> tuple[Page | None, FlowPair | None]:
        """The flow from the result before to this one and back; or what is measured beside what comes next."""
        [luma], _ = self._pager.open([classic], work=self._arrival_work)
        pair = self._motion.push(luma[0])
        if pair is None or pair.ready is not None:
            return None, pair
        return self._pager.keep(pair.fields), None

    def _settle(self) -> None:
        """Wait for the flow to the last frame."""
        if self._measured is not None:
            self._measured.wait()
            self._frames[-1].fields = self._pager.keep(self._measured.fields)
            self._measured = None

    @repeatable
    def _encode(self, noisy: list[Page], classic: list[Page]) -> tuple[list[Tensor | None], Page]:
        """The largest corrections of a frame, and its maps."""
        opened, _ = self._pager.open([*noisy, *classic], work=self._step_work)
        unclean, cleaned = opened[: len(noisy)], opened[len(noisy) :]
        most = self._most_of(unclean, cleaned)
        return most, self._keep(self._encoded(unclean, cleaned, tile) for tile in self._tiles)

    def _most_of(self, noisy: list[Tensor], classic: list[Tensor]) -> list[Tensor | None]:
        """The largest corrections of a frame."""
        if self._times is None:
            self._times = torch.tensor([c.most for c in self._channels], device=classic[0].device)
        found: list[Tensor | None] = []
        first = 0
        for unclean, cleaned in zip(noisy, classic, strict=True):
            of_size = slice(first, first + len(cleaned))
            first = of_size.stop
            if all(c.most == math.inf for c in self._channels[of_size]):
                found.append(None)
                continue
            times = self._times[of_size]
            found.append(torch.where(times.isinf(), times, times * magnitude(unclean - cleaned)))
        return found

    def _chunks(self, ended: bool) -> Iterator[tuple[Page, Page | None]]:
        """Work on the chunks that are complete: all frames are there, and those after them, or there are none."""
        while True:
            start = -(-self._first // CHUNK) * CHUNK  # the first kept frame lies `RUN_IN` before it, or is it
            last = self._first + len(self._frames)
            if start >= last or (not ended and last < start + CHUNK + RUN_IN):
                return
            self._settle()
            end = min(start + CHUNK, last)
            yield from self._chunk(self._frames[: end + RUN_IN - self._first], start - self._first, end - self._first)
            kept = max(0, end - RUN_IN) if end < last else last
            del self._frames[: kept - self._first]
            self._first = kept

    def _chunk(self, frames: list[_Frame], start: int, end: int) -> Iterator[tuple[Page, Page | None]]:
        """The results of frames `start` to `end`."""
        back = deque(self._back(frames, end))
        state: Page | None = None
        for index, frame in enumerate(frames[:end]):
            state, result = self._step_forth(frame, state, back.popleft(), corrects=index >= start)
            if result is not None:
                yield result

    def _back(self, frames: list[_Frame], end: int) -> list[Page]:
        """The states of the backward recurrence, of all frames but those from `end` on."""
        states: list[Page] = []
        state: Page | None = None
        for index in range(len(frames) - 1, -1, -1):
            state = self._step_back(frames[index], frames[index + 1].fields if state is not None else None, state)
            if index < end:
                states.insert(0, state)
        return states

    @repeatable
    def _step_back(self, frame: _Frame, fields: Page | None, state: Page | None) -> Page:
        opened = self._open(frame, fields, 0, state, None, [])

        def new_state(tile: Tile) -> Tensor:
            maps = _cut(opened.maps, tile)
            return self._network.step_back(maps, *self._before(opened, tile), tile.corner)

        return self._keep(map(new_state, self._tiles))

    @repeatable
    def _step_forth(
        self, frame: _Frame, state: Page | None, back: Page, *, corrects: bool
    ) -> tuple[Page, tuple[Page, Page | None] | None]:
        """The new state, and the corrected frame."""
        fields, network = frame.fields if state is not None else None, self._network
        opened = self._open(frame, fields, 1, state, back, frame.classic if corrects else [])
        assert opened.back is not None
        back_state = opened.back
        corrections: list[Tensor] = []

        def new_state(tile: Tile) -> Tensor:
            maps, behind = _cut(opened.maps, tile), _cut(back_state, tile)
            forth = network.step_forth(maps, behind, *self._before(opened, tile), tile.corner)
            if corrects:
                self._lay_corrections(opened.classic, network.decode(maps, behind, forth), tile, corrections)
            return forth

        kept = self._keep(map(new_state, self._tiles))
        return kept, self._corrected(opened.classic, limited(corrections, frame.most)) if corrects else None

    def _open(
        self, frame: _Frame, fields: Page | None, way: int, state: Page | None, back: Page | None, classic: list[Page]
    ) -> _Opened:
        more = [page for page in (fields, state, back) if page is not None]
        parts, _ = self._pager.open([frame.maps, *classic, *more], work=self._step_work)
        others = iter(parts[1 + len(classic) :])
        return _Opened(
            _maps(parts[0]),
            parts[1 : 1 + len(classic)],
            None if fields is None else next(others)[way],
            None if state is None else _maps(next(others)),
            None if back is None else _maps(next(others)),
        )

    def _keep(self, parts: Iterable[Tensor]) -> Page:
        """Maps or a state of a whole frame, from those of its tiles, [1, C, h, w]."""
        whole: Tensor | None = None
        for tile, part in zip(self._tiles, parts, strict=True):
            channels_last = part.permute(0, 2, 3, 1)
            if len(self._tiles) == 1:
                whole = channels_last.contiguous()
                break
            if whole is None:
                whole = part.new_empty(self._state_shape)
            core = channels_last[:, tile.rows.inner(), tile.columns.inner()]
            _copy(core, whole[:, tile.rows.core(), tile.columns.core()])
        assert whole is not None
        # What leaves the device comes back as a contiguous tensor: so it is kept as one.
        return self._pager.keep(whole)

    def _lay_corrections(self, classic: list[Tensor], maps: Tensor, tile: Tile, corrections: list[Tensor]) -> None:
        """Of a tile, into those of the frame, which are made with the first."""
        found = self._network.correct(self._layout, maps)
        if len(self._tiles) == 1:
            whole = zip(found, classic, strict=True)
            corrections += [part[0, ..., : planes.shape[-2], : planes.shape[-1]] for part, planes in whole]
            return
        if not corrections:
            corrections += [torch.empty_like(planes) for planes in classic]
        for factor, planes, part in zip(_FACTORS, corrections, found, strict=False):
            _lay(planes, part[0], tile, factor)

    def _before(self, opened: _Opened, tile: Tile) -> tuple[Tensor | None, Tensor | None]:
        """The state of the neighbouring frame and a tile's flow to it; nothing where the recurrence begins."""
        if opened.state is None or opened.flow is None:
            return None, None
        flow = _cut(opened.flow, tile)[None]
        # What sees a state on a GPU holds the border of the flow itself.
        return opened.state, flow if self._encoder is not None else enlarged(flow, *tile.size)

    def _encoded(self, noisy: list[Tensor], classic: list[Tensor], tile: Tile) -> Tensor:
        """The maps of a part of a frame."""
        if self._encoder is not None:
            return self._encoder(noisy, classic, tile, self._map_size)
        device = noisy[0].device
        first, centred, removed = 0, [], []
        for factor, unclean, cleaned in zip(_FACTORS, noisy, classic, strict=False):
            of_size = self._channels[first : first + len(cleaned)]
            first += len(cleaned)
            ranges = torch.tensor([c.range for c in of_size], device=device).view(-1, 1, 1)
            centres = torch.tensor([c.centre for c in of_size], device=device).view(-1, 1, 1)
            cleaned, unclean = _cut(cleaned, tile, factor), _cut(unclean, tile, factor)
            size = factor * tile.size[0], factor * tile.size[1]
            centred.append(enlarged((cleaned / ranges - centres)[None], *size))
            removed.append(enlarged((unclean - cleaned)[None], *size))
        scale = torch.tensor([[c.range for c in self._channels]], device=device)
        traits = torch.tensor([[c.traits for c in self._channels]], device=device)
        return self._network.encode(Frames(self._layout, centred, removed, scale, traits))

    def _corrected(self, classic: list[Tensor], corrections: list[Tensor]) -> tuple[Page, Page | None]:
        planes, faults = corrected(classic, corrections)
        self._unsound = faults if self._unsound is None else self._unsound + faults
        results = [self._pager.keep(found) for found in planes]
        return results[0], results[1] if len(results) == 2 else None


def _maps(page: Tensor) -> Tensor:
    """[1, H, W, C], as kept -> [1, C, H, W], channels last."""
    return page.permute(0, 3, 1, 2)


def _copy(maps: Tensor, to: Tensor) -> None:
    """[..., C]. A GPU moves values of parts of tensors one by one: so as wide ones, where that goes."""
    if maps.is_cuda and maps.stride(-1) == 1 and maps.shape[-1] * maps.element_size() % 8 == 0:
        maps, to = maps.view(torch.float64), to.view(torch.float64)
    to.copy_(maps)


def _cut(planes: Tensor, tile: Tile, factor: int = 1) -> Tensor:
    """[..., h, w] of a frame -> those of a tile, its margins included."""
    return planes[..., tile.rows.outer(factor), tile.columns.outer(factor)]


def _lay(whole: Tensor, part: Tensor, tile: Tile, factor: int = 1) -> None:
    """Lay the core of a tile, [..., h, w], into the frame."""
    place = whole[..., tile.rows.core(factor), tile.columns.core(factor)]
    core = part[..., tile.rows.inner(factor), tile.columns.inner(factor)]
    place.copy_(core[..., : place.shape[-2], : place.shape[-1]])


def working_type(device: torch.device) -> torch.dtype:
    """Of the values of a network on a device."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def on_device(network: Network, device: torch.device) -> Network:
    """A network where frames are, in the precision to work in."""
    moved: Network = network.to(device, working_type(device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def for_inference(network: Network, device: torch.device) -> Network:
    """As `on_device`, of a network that is not to learn; on a GPU a `FusedNetwork`."""
    if device.type == "cuda":
        return FusedNetwork(network, device, working_type(device))
    return on_device(network, device)
