"""The training-free denoiser: a pyramid of levels, fed frame by frame."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from vnlsdenoise import ops
from vnlsdenoise.classic.level import LevelDenoiser, LevelFlow, LevelFrame, Pause
from vnlsdenoise.classic.motion import FlowPair, Motion
from vnlsdenoise.classic.page import Page
from vnlsdenoise.classic.pager import Pager, repeatable
from vnlsdenoise.classic.presets import Level, Preset

SMALLEST_LEVEL = 20  # a level whose shorter side would be less is left out
DEFAULT_BATCH = 1 << 16
# What is in flight of a pass must find room on the device together: frames of more pixels are searched less far, in all
# their levels. Pixels, and the radius beyond them; the largest first.
LARGE = ((1 << 24, 4), (1 << 22, 6))


def level_sizes(preset: Preset, height: int, width: int, subsampled_chroma: bool) -> list[tuple[int, int]]:
    """(height, width) of every level, finest first: subsampled chroma needs a second one, however small."""
    sizes = [(height, width)]
    least = 2 if subsampled_chroma else 1
    while len(sizes) < least or (len(sizes) < preset.levels and min(sizes[-1]) >= 2 * SMALLEST_LEVEL):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def levels_of(preset: Preset, sizes: list[tuple[int, int]]) -> list[Level]:
    """The level of each of those sizes."""
    levels = [preset.coarse if index else preset.finest for index in range(len(sizes))]
    most = next((radius for pixels, radius in LARGE if math.prod(sizes[0]) > pixels), None)
    return levels if most is None else [replace(level, radius=min(level.radius, most)) for level in levels]


def goes_beside(preset: Preset) -> bool:
    """Whether the coarser levels have so much to do that it pays to do it beside the finest one: a pass or two are over
    before another stream has been waited for, and the flow fills what they leave."""
    return len(preset.coarse.wiener) > 1


def support_of(preset: Preset, sizes: list[tuple[int, int]]) -> int:
    """Frames that a denoiser started inside a clip needs before the first one that has the bits of the whole run.

    Every pass takes from, and adds to, the frames within its radius: what is wrong at a frame is wrong up to twice the
    radius further after it. The window of the first pass is moved inward at the start, which adds one more.
    """
    levels = levels_of(preset, sizes)
    return 1 + sum(2 * level.radius * (1 + len(level.wiener)) for level in levels)


class ClassicDenoiser:
    """Frames in, the same frames denoised out as pages, in order, some tens of frames later; constant memory.

    A frame is luma [1, H, W] or luma and two chroma channels [3, H, W], in units of the noise (deviation 1 in every
    channel). With `subsampled_chroma` the chroma comes apart, [2, ceil(H/2), ceil(W/2)]: it enters one level down,
    beside the halved luma, whose matches it shares.

    motion: measures the flow between neighbouring frames, on their luma. burst: how many frames go through a pass at
    once (`LevelDenoiser`). pager: holds the frames in flight. beside: whether a GPU may work on the coarser levels
    beside the finest one (`goes_beside`). number: of the first frame in its clip, where frames before it are left out:
    from `support_of` frames later on, the results have the bits that they have with them.
    """

    def __init__(
        self,
        preset: Preset,
        height: int,
        width: int,
        motion: Motion,
        *,
        subsampled_chroma: bool = False,
        batch: int = DEFAULT_BATCH,
        burst: int = 1,
        pager: Pager | None = None,
        beside: bool = False,
        number: int = 0,
    ) -> None:
        self._burst = burst
        self._motion = motion
        self._pager = pager or Pager()
        self._subsampled = subsampled_chroma
        levels = levels_of(preset, level_sizes(preset, height, width, subsampled_chroma))
        beside = beside and goes_beside(preset)
        self._levels = [
            LevelDenoiser(level, preset, 0.5**index, batch, burst, self._pager, beside and index > 0)
            for index, level in enumerate(levels)
        ]
        self._arrived: tuple[list[Page], FlowPair | None] | None = None  # a frame whose flow is being measured
        self._waiting: list[deque[LevelFrame]] = [deque() for _ in levels]
        self._cycle: Iterator[tuple[Page, Page | None] | Pause] | None = None  # a burst that is at work
        self._worked, self._parts = 0, 0  # what was done of it (`Pause.work`), in how many parts
        self._part = 0  # what is to be done of it with every frame
        self._chroma: deque[Page] = deque()
        self._number = number

    def add(self, frame: Tensor, chroma: Tensor | None = None) -> Page:
        """Take in the next frame, of which the caller lets go, and measure its flow; returns the page of the frame."""
        # The frame itself is no page yet.
        given = sum(part.nbytes for part in (frame, chroma) if part is not None)
        # Its flow is begun before anything waits for that of the frame before.
        pyramid, pair = self._arrival(frame, chroma, given)
        self._settle(given)
        self._arrived = pyramid, pair
        self._part = sum(page.size * level.passes for page, level in zip(pyramid, self._levels, strict=True))
        if pair is None or pair.ready is None:
            self._settle()
        return pyramid[0]

    @repeatable
    def _arrival(self, frame: Tensor, chroma: Tensor | None, given: int) -> tuple[list[Page], FlowPair | None]:
        size = frame.shape[-2:]
        field = -(-size[0] // 2) * -(-size[1] // 2) * frame.element_size()
        # What is below the frame in its pyramid takes no more than itself, with what it is made of. The flow of the
        # frame before is no page yet.
        _, before = self._arrived or (None, None)
        waiting = 0 if before is None else before.fields.nbytes
        self._pager.reserve(2 * given + self._motion.planes * field + waiting)
        pyramid = self._pyramid(frame, chroma)
        pair = self._motion.push(frame[0])
        return [self._pager.keep(noisy) for noisy in pyramid], pair

    def _settle(self, given: int = 0) -> None:
        """Wait for the flow of the frame that came last: until the next comes, it is measured beside other work."""
        if self._arrived is None:
            return
        (pyramid, pair), self._arrived = self._arrived, None
        stay = 0  # in the coarser levels
        for index, (noisy, flow) in reversed(list(enumerate(zip(pyramid, self._flows(pair, given), strict=True)))):
            self._waiting[index].append(LevelFrame(self._number, noisy, flow))
            self._pager.rest(noisy, stay)
            if flow is not None and index:  # that of level 0 is that of level 1
                self._pager.rest(flow.fields, stay)
            stay += self._levels[index].stay
        self._number += 1

    def advance(self) -> Iterator[tuple[Page, Page | None]]:
        """Do what the frames that were added make possible; yields finished (frame, chroma) pairs.

        What a burst makes possible is done in equal parts, with every frame of the next burst: so the flow of that one
        is measured beside it.
        """
        # The newest frame waits for another, which tells that the clip goes on.
        followed = len(self._waiting[-1]) - (self._arrived is None)
        if self._cycle is None and followed >= self._burst:
            self._pager.next_cycle()
            self._cycle, self._worked, self._parts = self._through(followed, ended=False), 0, 0
        self._parts += 1
        yield from self._continued(math.inf if self._parts >= self._burst else self._parts * self._part)

    def flush(self) -> Iterator[tuple[Page, Page | None]]:
        """End the clip (a scene, or the video); yields what is left. The next frame begins a new clip."""
        self._settle()
        self._pager.ending()
        yield from self._continued(math.inf)
        yield from (
            result for result in self._through(len(self._waiting[-1]), ended=True) if not isinstance(result, Pause)
        )
        self._motion.reset()
        self._number = 0  # a scene's result does not depend on where in the video it lies

    def _continued(self, most: float) -> Iterator[tuple[Page, Page | None]]:
        """Go on with the burst at work, until so much has been done for it."""
        while self._cycle is not None and self._worked < most:
            result = next(self._cycle, None)
            if result is None:
                self._cycle = None
            elif isinstance(result, Pause):
                self._worked += result.work
            else:
                yield result

    def _through(self, count: int, ended: bool) -> Iterator[tuple[Page, Page | None] | Pause]:
        """So many frames that wait, through one level after the other; a result takes the next finer level's frame
        along. ended: the clip ends with them; else it goes on."""
        last = len(self._levels) - 1
        coarsest = (self._waiting[last].popleft() for _ in range(count))
        results = self._levels[last].push(coarsest, ended=ended)
        for index in range(last - 1, -1, -1):
            results = self._levels[index].push(self._joined(index, results), ended=ended)
        for result in results:
            if isinstance(result, Pause):
                yield result
            else:
                yield result, self._chroma.popleft() if self._subsampled else None

    def _joined(self, index: int, results: Iterator[Page | Pause]) -> Iterator[LevelFrame | Pause]:
        """The frames of a level that the coarser one has results for."""
        for result in results:
            if isinstance(result, Pause):
                yield result
                continue
            if index == 0 and self._subsampled:
                self._chroma.append(self._chroma_of(result))
            frame = self._waiting[index].popleft()
            frame.coarse = result
            del result
            yield frame

    @repeatable
    def _chroma_of(self, result: Page) -> Page:
        # The level works at half the noise: its chroma was scaled on the way in.
        [finished], _ = self._pager.open([result], work=result.size)
        chroma = self._pager.keep(finished[1:] * 2)
        self._pager.rest(chroma, self._levels[0].stay)
        return chroma

    def _pyramid(self, frame: Tensor, chroma: Tensor | None) -> list[Tensor]:
        levels = [frame.contiguous()]
        for index in range(1, len(self._levels)):
            below = ops.pyramid_down(levels[-1])
            if index == 1 and chroma is not None:
                below = torch.cat((below, chroma / 2))
            levels.append(below)
        return levels

    @repeatable
    def _flows(self, pair: FlowPair | None, given: int) -> list[LevelFlow | None]:
        """The same flow for every level: each halves the field's scale, then the field itself."""
        if pair is None:
            return [None] * len(self._levels)
        self._pager.reserve(given + 2 * pair.fields.nbytes)
        pair.wait()
        fields, scale = pair.fields, pair.scale
        flow = LevelFlow(self._pager.keep(fields), scale)
        flows: list[LevelFlow | None] = [flow]
        while len(flows) < len(self._levels):
            if scale > 1:
                scale //= 2
                flow = LevelFlow(flow.fields, scale)
            else:
                fields = _halved_flow(fields)
                flow = LevelFlow(self._pager.keep(fields), scale)
            flows.append(flow)
        return flows


def _halved_flow(fields: Tensor) -> Tensor:
    """[2, 2, h, w] -> [2, 2, ceil(h/2), ceil(w/2)]: mean over 2 x 2 pixels, displacements halved."""
    return functional.avg_pool2d(fields, 2, ceil_mode=True, count_include_pad=False) / 2
