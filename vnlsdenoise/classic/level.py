"""One resolution of the pyramid: guided step 1, recomposition with the coarser result, step-2 passes."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vnlsdenoise import ops
from vnlsdenoise.classic.page import Page
from vnlsdenoise.classic.pager import Pager, repeatable
from vnlsdenoise.classic.presets import Level, Pass, Preset
from vnlsdenoise.classic.window import SlidingWindow

SMALLEST_BATCH = 1024  # queries worked on at once, where memory is short
CANDIDATES_A_NEIGHBOR = 3  # at least so many are searched for each patch of a group
# What a step allocates at most, results included, in sizes of the noisy frame at its level.
GUIDE_WORK = 7  # enlarged, low-pass, high band and search image of luma; sums of twice the frame's size
RECOMPOSE_WORK = 8  # basic, enlarged, low, recomposed and final frame, what halving and doubling pass through, variance
NORMALISE_WORK = 3  # the result, and sums for the next pass
MIX_WORK = 2  # the mean of the results, and one of them by its weight


@dataclass
class LevelFlow:
    """`FlowPair` of a level, as a page."""

    fields: Page
    scale: int


@dataclass
class LevelFrame:
    """A frame at one resolution. coarse: the coarser level's result for it, luma first; None at the coarsest level."""

    number: int
    noisy: Page  # [C, H, W]
    flow: LevelFlow | None  # None at the first frame of a clip
    coarse: Page | None = None


@dataclass(frozen=True)
class Pause:
    """Where work may wait. work: what was done since the pause before, in bytes of noisy frames."""

    work: int


@dataclass
class _PassFrame:
    """A frame inside one pass: what is searched and filtered, and where the estimates add up."""

    frame: LevelFrame
    guide: Page | None  # [H, W]; None in step 2, which searches the luma of the newest result
    results: list[Page]  # [C, H, W], of the passes so far
    sums: Page | None  # None after the last pass


@dataclass
class _Window:
    """The frames of a window, on the device while this object lives; as in `_PassFrame`."""

    numbers: list[int]
    noisy: list[Tensor]
    guides: list[Tensor]
    basics: list[Tensor]  # the newest results; none in step 1
    sums: list[Tensor]
    flows: list[Tensor]  # between neighbours, [2, 2, h, w]: forward and backward
    scale: int  # of the flow's fields


@lru_cache(maxsize=256)
def _query_grid(height: int, width: int, step: Pass, phase: tuple[int, int], device: torch.device) -> Tensor:
    """Queries int32 [N, 2], (y, x), in raster order: every `stride` pixels from `phase`, and both borders."""
    rows, columns = (
        sorted({*range(first % step.stride, side - step.patch + 1, step.stride), 0, side - step.patch})
        for first, side in zip(phase, (height, width), strict=True)
    )
    # By numpy: so little work is over before torch has woken all threads of a large host.
    grid = np.empty((len(rows), len(columns), 2), np.int32)
    grid[..., 0], grid[..., 1] = np.array(rows)[:, None], columns
    return torch.from_numpy(grid.reshape(-1, 2)).to(device)


def query_bytes(step: Pass, frames: int) -> int:
    """What a query takes while it is worked on in a window of so many frames."""
    # Window centres (y, x), offsets (dt, dy, dx) and distances, 4 bytes each; two batches may be alive.
    return 2 * 4 * (2 * frames + 4 * step.neighbors)


def _own_side(step: Pass, frames: int) -> int:
    """Side of the search window in the own frame: the pass's, or what a short clip needs to fill a group."""
    side, elsewhere = step.side, (frames - 1) * step.side_other**2
    while side**2 + elsewhere < CANDIDATES_A_NEIGHBOR * step.neighbors:
        side += 2
    return side


class LevelDenoiser:
    """Frames of one resolution in, the same frames denoised out, some tens of frames later. Constant memory.

    sigma: noise deviation at this resolution. batch: most queries searched at once. burst: most frames that a pass goes
    through before the next pass; those that it works on come to the device once for all of them. pager: holds every
    frame in flight. beside: whether search and filters go on beside what other levels do. The result depends on none.
    """

    def __init__(
        self, level: Level, preset: Preset, sigma: float, batch: int, burst: int, pager: Pager, beside: bool = False
    ) -> None:
        self._level = level
        self._preset = preset
        self._sigma = sigma
        self._batch = batch
        self._burst = burst
        self._pager = pager
        self._beside = beside
        self._shrink = self._sliding(self._shrink_frame, self._finish_shrink, beside)
        self._wiener = [self._sliding(self._wiener_worker(step), self._finish_wiener, beside) for step in level.wiener]

    def push(self, frames: Iterator[LevelFrame | Pause], *, ended: bool) -> Iterator[Page | Pause]:
        """Add the next frames; yields finished frames [C, H, W], and `Pause` wherever the rest may wait.

        ended: the clip ends with them, and nothing is to be left; else it goes on.
        """
        items: Iterator[_PassFrame | Pause] = (
            frame if isinstance(frame, Pause) else self._guided(frame) for frame in frames
        )
        for window in (self._shrink, *self._wiener):
            items = self._passed(window, items, ended)
        return (item if isinstance(item, Pause) else self._mixed(item.results) for item in items)

    def _sliding(
        self, work: Callable[[list[_PassFrame], int], None], finish: Callable[[_PassFrame], _PassFrame], beside: bool
    ) -> SlidingWindow[_PassFrame, _PassFrame]:
        """The window of a pass: what it works on is used by nothing else until it is finished."""
        if not beside:
            return SlidingWindow(self._level.radius, work, finish)
        going_on = self._pager.beside()

        def begun(items: list[_PassFrame], index: int) -> None:
            with going_on.begun(items[index].frame.noisy.device):
                work(items, index)

        def joined(item: _PassFrame) -> _PassFrame:
            going_on.joined()
            return finish(item)

        return SlidingWindow(self._level.radius, begun, joined)

    def _passed(
        self, window: SlidingWindow[_PassFrame, _PassFrame], items: Iterator[_PassFrame | Pause], ended: bool
    ) -> Iterator[_PassFrame | Pause]:
        # What goes on beside other work is not waited for before the next frame has come.
        followed = not ended and not self._beside
        coming: deque[_PassFrame] = deque()
        for item in items:
            if isinstance(item, Pause):
                yield item
                continue
            coming.append(item)
            del item
            if len(coming) == self._burst:
                yield from self._worked(window, coming, followed)
        if coming:
            yield from self._worked(window, coming, followed)
        if ended:
            yield from window.flush()

    def _worked(
        self, window: SlidingWindow[_PassFrame, _PassFrame], coming: deque[_PassFrame], followed: bool
    ) -> Iterator[_PassFrame | Pause]:
        self._pager.next_pass()
        done: deque[_PassFrame] = deque()
        while coming:
            pause = Pause(coming[0].frame.noisy.size)
            done.extend(window.push(coming.popleft(), followed))
            yield pause
        while done:
            yield done.popleft()

    @repeatable
    def _mixed(self, results: list[Page]) -> Page:
        used = [(weight, result) for weight, result in zip(self._level.mix, results, strict=True) if weight]
        if len(used) == 1:
            return used[0][1]
        pages = [result for _, result in used]
        tensors, _ = self._pager.open(pages, work=MIX_WORK * pages[0].size)
        mean = used[0][0] * tensors[0]
        for (weight, _), tensor in zip(used[1:], tensors[1:], strict=True):
            mean.add_(weight * tensor)
        return self._pager.keep(mean)

    @property
    def passes(self) -> int:
        """How many there are."""
        return 1 + len(self._wiener)

    @property
    def stay(self) -> int:
        """Frames that come before one leaves, at the least."""
        return 2 * self._level.radius * self.passes

    # --- step 1

    @repeatable
    def _guided(self, frame: LevelFrame) -> _PassFrame:
        """The search image: the coarser result, which is clean, plus the noisy band above it, blurred."""
        pages = [frame.noisy] if frame.coarse is None else [frame.noisy, frame.coarse]
        [noisy, *coarse], _ = self._pager.open(pages, work=GUIDE_WORK * frame.noisy.size)
        if frame.coarse is not None:
            guide = ops.search_image(noisy[0], coarse[0][0], self._preset.guide)
            self._pager.rest(frame.coarse, 2 * self._level.radius)  # until step 1 is finished
        else:
            guide = ops.search_image(noisy[0], None, 1.0)
        return _PassFrame(frame, self._pager.keep(guide), [], self._pager.keep(ops.new_sums(noisy)))

    def _shrink_frame(self, items: list[_PassFrame], index: int) -> None:
        step, window = self._level.shrink, self._opened(items, self._level.shrink)

        def shrink(queries: Tensor, offsets: Tensor) -> None:
            ops.shrink_groups(
                window.noisy,
                queries,
                offsets,
                window.sums,
                frame=index,
                patch=step.patch,
                sigma=self._sigma,
                mean_threshold=step.mean_threshold,
            )

        self._in_batches(window, index, step, shrink)

    @repeatable
    def _finish_shrink(self, item: _PassFrame) -> _PassFrame:
        frame = item.frame
        pages = [page for page in (frame.noisy, item.sums, frame.coarse) if page is not None]
        [noisy, sums, *coarse], _ = self._pager.open(pages, work=RECOMPOSE_WORK * frame.noisy.size)
        if coarse:
            neighbors = self._level.shrink.neighbors
            basic = ops.joined_frame(noisy, sums, coarse[0][: len(noisy)], sigma=self._sigma, neighbors=neighbors)
        else:
            basic = ops.normalise(noisy, sums, self._sigma)
        item = self._next_pass(item, basic)
        frame.coarse = None  # not needed any more; the frame lives on through step 2
        return item

    # --- step 2

    def _wiener_worker(self, step: Pass) -> Callable[[list[_PassFrame], int], None]:
        def work(items: list[_PassFrame], index: int) -> None:
            window = self._opened(items, step)

            def filter_groups(queries: Tensor, offsets: Tensor) -> None:
                ops.wiener_groups(
                    window.noisy,
                    window.basics,
                    queries,
                    offsets,
                    window.sums,
                    frame=index,
                    patch=step.patch,
                    sigma=self._sigma,
                )

            self._in_batches(window, index, step, filter_groups)

        return work

    @repeatable
    def _finish_wiener(self, item: _PassFrame) -> _PassFrame:
        noisy_page = item.frame.noisy
        assert item.sums is not None
        [noisy, sums], _ = self._pager.open([noisy_page, item.sums], work=NORMALISE_WORK * noisy_page.size)
        return self._next_pass(item, ops.normalise(noisy, sums, self._sigma))

    def _next_pass(self, item: _PassFrame, result: Tensor) -> _PassFrame:
        left = len(self._wiener) - len(item.results)  # passes that are still to come
        for page in item.results:
            self._pager.rest(page, left * 2 * self._level.radius)  # until they are mixed
        results = [*item.results, self._pager.keep(result)]
        return _PassFrame(item.frame, None, results, self._pager.keep(ops.new_sums(result)) if left else None)

    # --- both

    @repeatable
    def _opened(self, items: list[_PassFrame], step: Pass) -> _Window:
        """Everything that a pass reads and changes, brought to the device at once."""
        count = len(items)
        flows = [item.frame.flow for item in items[1:] if item.frame.flow is not None]
        if len(flows) != count - 1:
            raise RuntimeError("a window reaches across the start of a clip")
        searched = [item.guide if item.guide is not None else item.results[-1] for item in items]
        read, sums = self._pager.open(
            [*(item.frame.noisy for item in items), *searched, *(flow.fields for flow in flows)],
            [item.sums for item in items if item.sums is not None],
            work=self._batch * query_bytes(step, count),
        )
        noisy, guides, fields = read[:count], read[count : 2 * count], read[2 * count :]
        basics: list[Tensor] = []
        if items[0].guide is None:
            basics, guides = guides, [basic[0] for basic in guides]
        numbers = [item.frame.number for item in items]
        return _Window(numbers, noisy, guides, basics, sums, fields, flows[0].scale if flows else 1)

    def _in_batches(
        self, window: _Window, index: int, step: Pass, filter_groups: Callable[[Tensor, Tensor], None]
    ) -> None:
        """Calls `filter_groups(queries, offsets)` for all queries of one frame, batch by batch.

        On a device that is out of memory, pages that are not opened leave it, and batches are smaller from then on,
        down to `SMALLEST_BATCH`. Whatever is short of memory is so before anything was added to the sums: the filters
        themselves take none.
        """
        height, width = window.guides[index].shape
        # The grid moves from frame to frame, and half a stride from step 1 to step 2: a basic estimate is at its worst
        # along the borders of its patches, where it then lies in the middle of a patch of step 2.
        number, shift = window.numbers[index], step.stride // 2 if window.basics else 0
        phase = (3 * number + shift) % step.stride, (5 * number + 2 + shift) % step.stride
        grid = _query_grid(height, width, step, phase, window.guides[index].device)
        start = 0
        while start < len(grid):
            queries = grid[start : start + self._batch]
            try:
                filter_groups(queries, self._matches(window, index, step, queries))
            except torch.OutOfMemoryError as error:
                told = str(error)
            else:
                start += len(queries)
                continue
            # The error is gone, and with it what its frames had allocated.
            if not self._pager.give_way() and len(queries) <= SMALLEST_BATCH:
                raise torch.OutOfMemoryError(told)
            self._batch = max(SMALLEST_BATCH, min(self._batch, len(queries)) // 2)

    def _matches(self, window: _Window, index: int, step: Pass, queries: Tensor) -> Tensor:
        """Offsets of the groups of some queries of one frame."""
        _, offsets = ops.search_along_flow(
            window.guides,
            window.flows,
            queries,
            frame=index,
            scale=window.scale,
            patch=step.patch,
            neighbors=step.neighbors,
            side=_own_side(step, len(window.guides)),
            side_other=step.side_other,
        )
        return offsets
