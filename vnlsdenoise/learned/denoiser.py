"""The classic denoiser with the network behind it, frame by frame."""

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise.classic.denoiser import ClassicDenoiser
from vnlsdenoise.classic.motion import Motion
from vnlsdenoise.classic.page import Page
from vnlsdenoise.classic.pager import Pager
from vnlsdenoise.learned.network import ALIGNMENT, PLANES, Dimensions, Frames, Layout, Network

# A scene is cut into chunks by the numbers of its frames alone. The network sees some frames before and after each, so
# that the recurrences have run in, and nothing beyond: a frame depends on no other.
CHUNK, RUN_IN = 16, 4


def first_seen(number: int) -> int:
    """The first frame whose classic result a frame depends on; both numbered in their scene."""
    return max(0, number - number % CHUNK - RUN_IN)


# Sizes of what a step allocates: maps at half the size of luma (inputs of a cell, what lies inside it, states warped in
# float32), and planes (views of a frame, twice over).
_MAPS, _VIEWS = 16, 8


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


class LearnedDenoiser:
    """Takes frames as the `ClassicDenoiser` does, and yields its results with the network's corrections.

    network: on the device of the frames, in the precision to work in. channels: of every channel, luma first.
    motion: measures the flow of the classic results. number: of the first frame in its scene, where frames before it
    are left out; up to the first chunk that has its run-in, results are the classic ones.
    """

    def __init__(
        self,
        classic: ClassicDenoiser,
        network: Network,
        channels: list[ChannelRange],
        motion: Motion,
        pager: Pager,
        number: int = 0,
    ) -> None:
        self._classic = classic
        self._network = network
        self._channels = channels
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
        # The classic denoiser keeps the same tensors until their result is there: no copies of them.
        self._noisy.append([self._pager.keep(part) for part in (frame, chroma) if part is not None])
        self._classic.add(frame, chroma)

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
        [luma, *_], _ = self._pager.open(pages[:1])
        pair = self._motion.push(luma[0])
        fields = None
        if pair is not None:
            pair.wait()
            fields = self._pager.keep(pair.fields)
        self._frames.append(_Frame(self._noisy.popleft(), pages, fields))

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
        network, back = self._network, self._back(frames, start)
        state: Tensor | None = None
        for index, frame in enumerate(frames[:end]):
            maps, classic = self._encoded(frame)
            if state is None:
                state, flow = torch.zeros_like(maps), None
            else:
                flow = self._flow(frame, 1, maps)
            [behind], _ = self._pager.open([back[index]])
            state = network.step_forth(maps, behind, state, flow)
            if index >= start:
                decoded = network.decode(maps, behind, state)
                yield self._corrected(classic, network.correct(self._layout(classic), decoded))

    def _back(self, frames: list[_Frame], start: int) -> list[Page]:
        """The states of the backward recurrence, of every frame."""
        states: list[Page] = []
        state: Tensor | None = None
        for index in range(len(frames) - 1, -1, -1):
            maps, _ = self._encoded(frames[index])
            if state is None:
                state, flow = torch.zeros_like(maps), None
            else:
                flow = self._flow(frames[index + 1], 0, maps)
            state = self._network.step_back(maps, state, flow)
            states.insert(0, self._pager.keep(state))
        return states

    def _layout(self, classic: list[Tensor]) -> Layout:
        if len(classic) == 2:
            return "420"
        return "444" if len(classic[0]) == 3 else "gray"

    def _encoded(self, frame: _Frame) -> tuple[Tensor, list[Tensor]]:
        """The maps of a frame, and its classic result."""
        count = len(frame.classic)
        parts, _ = self._pager.open([*frame.noisy, *frame.classic])
        noisy, classic = parts[:count], parts[count:]
        layout = self._layout(classic)
        height, width = (-(-side // ALIGNMENT) * ALIGNMENT for side in classic[0].shape[-2:])
        first, centred, removed = 0, [], []
        for index, planes in enumerate(PLANES[layout][:count]):
            of_size = self._channels[first : first + planes]
            first += planes
            ranges = torch.tensor([c.range for c in of_size], device=noisy[0].device).view(-1, 1, 1)
            centres = torch.tensor([c.centre for c in of_size], device=noisy[0].device).view(-1, 1, 1)
            size = (height >> index, width >> index)
            centred.append(_enlarged((classic[index] / ranges - centres)[None], *size))
            removed.append(_enlarged((noisy[index] - classic[index])[None], *size))
        scale = torch.tensor([[c.range for c in self._channels]], device=noisy[0].device)
        return self._network.encode(Frames(layout, centred, removed, scale)), classic

    def _flow(self, frame: _Frame, way: int, maps: Tensor) -> Tensor:
        assert frame.fields is not None
        [fields], _ = self._pager.open([frame.fields])
        return _enlarged(fields[way][None], *maps.shape[-2:])

    def _corrected(self, classic: list[Tensor], corrections: list[Tensor]) -> tuple[Page, Page | None]:
        corrections = [c[0, :, : p.shape[-2], : p.shape[-1]] for c, p in zip(corrections, classic, strict=True)]
        sound = torch.stack([c.isfinite().all() for c in corrections]).all()
        self._unsound = (~sound).long() if self._unsound is None else self._unsound + (~sound).long()
        results = [self._pager.keep(p + torch.where(sound, c, 0.0)) for p, c in zip(classic, corrections, strict=True)]
        return results[0], results[1] if len(results) == 2 else None


def memory_bytes(dimensions: Dimensions, shapes: Sequence[tuple[int, int]], value: int) -> int:
    """Device memory that the network takes at most beside the classic denoiser, without a ceiling.

    shapes: (height, width) of every plane. value: bytes of a value of the network's maps.
    """
    frames = CHUNK + 2 * RUN_IN
    samples = sum(height * width for height, width in shapes)
    quarter = shapes[0][0] * shapes[0][1] / 4  # pixels of a map, and of a field of flow
    held = frames * (2 * 4 * samples + 4 * 4 * quarter)
    maps = (frames + _MAPS) * dimensions.channels[0] * quarter * value
    return int(held + maps + _VIEWS * 4 * samples)


def _enlarged(planes: Tensor, height: int, width: int) -> Tensor:
    """[1, C, h, w] -> [1, C, height, width], the last column and row repeated."""
    return functional.pad(planes, (0, width - planes.shape[-1], 0, height - planes.shape[-2]), mode="replicate")


def on_device(network: Network, device: torch.device) -> Network:
    """A network where frames are, bfloat16 on CUDA and float32 elsewhere."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    moved: Network = network.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved
