"""The classic denoiser with the network behind it, frame by frame."""

import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.classic.denoiser import ClassicDenoiser
from vnlsdenoise.classic.motion import Motion
from vnlsdenoise.classic.page import Page
from vnlsdenoise.classic.pager import Pager, repeatable
from vnlsdenoise.learned.chunks import CHUNK, RUN_IN
from vnlsdenoise.learned.memory import NetworkSize, arrival_work, step_work
from vnlsdenoise.learned.network import Frames, Layout, Network
from vnlsdenoise.learned.tiles import Tile, map_size, tiles_of

# Samples for a pixel of a map: of planes of luma's size, and of subsampled ones.
_FACTORS = (2, 1)


@dataclass(frozen=True)
class ChannelRange:
    """Of one channel: how far its values reach in units of its noise, and the share of that where their middle is."""

    range: float
    centre: float


@dataclass
class _Frame:
    """A frame and its classic result: luma or all channels, then subsampled chroma; and the flow from the frame before.

    fields: [2, 2, h, w], forward and backward, of the classic results, as `FlowPair`; None at the start of a scene.
    """

    noisy: list[Page]
    classic: list[Page]
    fields: Page | None


@dataclass
class _Opened:
    """The tensors of a frame's pages while a step works on it. flow: [2, h, w], to the frame that `state` is of."""

    noisy: list[Tensor]
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
        channels: list[ChannelRange],
        motion: Motion,
        pager: Pager,
        number: int = 0,
    ) -> None:
        self._classic = classic
        self._network = network
        self._layout = layout
        self._channels = channels
        self._tiles = tiles_of(height, width, network.dimensions)
        self._state_shape = (1, *map_size(height, width), network.dimensions.channels[0])
        self._step_work = step_work(NetworkSize.of(network), layout, height, width)
        self._arrival_work = arrival_work(motion.planes, height, width)
        self._motion = motion
        self._pager = pager
        self._noisy: deque[list[Page]] = deque()
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
        pages = [page for page in result if page is not None]
        self._frames.append(_Frame(self._noisy.popleft(), pages, self._measured_flow(pages[0])))

    @repeatable
    def _measured_flow(self, classic: Page) -> Page | None:
        """The flow from the result before to this one and back."""
        [luma], _ = self._pager.open([classic], work=self._arrival_work)
        pair = self._motion.push(luma[0])
        if pair is None:
            return None
        pair.wait()
        return self._pager.keep(pair.fields)

    def _chunks(self, ended: bool) -> Iterator[tuple[Page, Page | None]]:
        """Work on the chunks that are complete: all frames are there, and those after them, or there are none."""
        while True:
            start = -(-self._first // CHUNK) * CHUNK  # the first kept frame lies `RUN_IN` before it, or is it
            last = self._first + len(self._frames)
            if start >= last or (not ended and last < start + CHUNK + RUN_IN):
                return
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
        opened = self._open(frame, fields, 0, state)
        new = self._new_state(opened)
        for tile in self._tiles:
            maps = self._encoded(opened, tile)
            before, flow = _before(opened, tile, maps)
            _lay(new, self._network.step_back(maps, before, flow, tile.corner), tile)
        return self._keep_state(new)

    @repeatable
    def _step_forth(
        self, frame: _Frame, state: Page | None, back: Page, *, corrects: bool
    ) -> tuple[Page, tuple[Page, Page | None] | None]:
        """The new state, and the corrected frame."""
        opened, network = self._open(frame, frame.fields if state is not None else None, 1, state, back), self._network
        assert opened.back is not None
        new = self._new_state(opened)
        corrections = [torch.empty_like(planes) for planes in opened.classic] if corrects else []
        for tile in self._tiles:
            maps = self._encoded(opened, tile)
            before, flow = _before(opened, tile, maps)
            behind = _cut(opened.back, tile)
            forth = network.step_forth(maps, behind, before, flow, tile.corner)
            _lay(new, forth, tile)
            if corrects:
                found = network.correct(self._layout, network.decode(maps, behind, forth))
                for factor, planes, part in zip(_FACTORS, corrections, found, strict=False):
                    _lay(planes, part[0], tile, factor)
        kept = self._keep_state(new)
        return kept, self._corrected(opened.classic, corrections) if corrects else None

    def _open(
        self, frame: _Frame, fields: Page | None, way: int, state: Page | None, back: Page | None = None
    ) -> _Opened:
        count, more = len(frame.classic), [page for page in (fields, state, back) if page is not None]
        parts, _ = self._pager.open([*frame.noisy, *frame.classic, *more], work=self._step_work)
        others = iter(parts[2 * count :])
        return _Opened(
            parts[:count],
            parts[count : 2 * count],
            None if fields is None else next(others)[way],
            None if state is None else next(others).permute(0, 3, 1, 2),
            None if back is None else next(others).permute(0, 3, 1, 2),
        )

    def _new_state(self, frame: _Opened) -> Tensor:
        """Room for the state of a whole frame, [1, C, H, W], channels last."""
        dtype = next(self._network.parameters()).dtype
        return torch.empty(self._state_shape, dtype=dtype, device=frame.noisy[0].device).permute(0, 3, 1, 2)

    def _keep_state(self, state: Tensor) -> Page:
        # What leaves the device comes back as a contiguous tensor: so it is kept as one.
        return self._pager.keep(state.permute(0, 2, 3, 1))

    def _encoded(self, frame: _Opened, tile: Tile) -> Tensor:
        """The maps of a part of a frame."""
        device = frame.noisy[0].device
        first, centred, removed = 0, [], []
        for factor, noisy, classic in zip(_FACTORS, frame.noisy, frame.classic, strict=False):
            of_size = self._channels[first : first + len(classic)]
            first += len(classic)
            ranges = torch.tensor([c.range for c in of_size], device=device).view(-1, 1, 1)
            centres = torch.tensor([c.centre for c in of_size], device=device).view(-1, 1, 1)
            cleaned, unclean = _cut(classic, tile, factor), _cut(noisy, tile, factor)
            size = factor * tile.size[0], factor * tile.size[1]
            centred.append(_enlarged((cleaned / ranges - centres)[None], *size))
            removed.append(_enlarged((unclean - cleaned)[None], *size))
        scale = torch.tensor([[c.range for c in self._channels]], device=device)
        return self._network.encode(Frames(self._layout, centred, removed, scale))

    def _corrected(self, classic: list[Tensor], corrections: list[Tensor]) -> tuple[Page, Page | None]:
        sound = torch.stack([c.isfinite().all() for c in corrections]).all()
        results = [self._pager.keep(p + torch.where(sound, c, 0.0)) for p, c in zip(classic, corrections, strict=True)]
        self._unsound = (~sound).long() if self._unsound is None else self._unsound + (~sound).long()
        return results[0], results[1] if len(results) == 2 else None


def _before(opened: _Opened, tile: Tile, maps: Tensor) -> tuple[Tensor, Tensor | None]:
    """The state of the neighbouring frame and a tile's flow to it; zeros where the recurrence begins."""
    if opened.state is None or opened.flow is None:
        return torch.zeros_like(maps), None
    return opened.state, _enlarged(_cut(opened.flow, tile)[None], *tile.size)


def _cut(planes: Tensor, tile: Tile, factor: int = 1) -> Tensor:
    """[..., h, w] of a frame -> those of a tile, its margins included."""
    return planes[..., tile.rows.outer(factor), tile.columns.outer(factor)]


def _lay(whole: Tensor, part: Tensor, tile: Tile, factor: int = 1) -> None:
    """Lay the core of a tile, [..., h, w], into the frame."""
    place = whole[..., tile.rows.core(factor), tile.columns.core(factor)]
    core = part[..., tile.rows.inner(factor), tile.columns.inner(factor)]
    place.copy_(core[..., : place.shape[-2], : place.shape[-1]])


def _enlarged(planes: Tensor, height: int, width: int) -> Tensor:
    """[1, C, h, w] -> [1, C, height, width], the last column and row repeated."""
    return functional.pad(planes, (0, width - planes.shape[-1], 0, height - planes.shape[-2]), mode="replicate")


def working_type(device: torch.device) -> torch.dtype:
    """Of the values of a network on a device."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def on_device(network: Network, device: torch.device) -> Network:
    """A network where frames are, in the precision to work in."""
    moved: Network = network.to(device, working_type(device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved
