"""One resolution of the pyramid: guided step 1, recomposition with the coarser result, step-2 passes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from vnlsdenoise import ops
from vnlsdenoise.classic.motion import FlowPair
from vnlsdenoise.classic.presets import Level, Pass, Preset
from vnlsdenoise.classic.window import SlidingWindow

CANDIDATES_A_NEIGHBOR = 3  # at least so many are searched for each patch of a group


@dataclass
class LevelFrame:
    """A frame at one resolution. coarse: the coarser level's result for it, luma first; None at the coarsest level."""

    number: int
    noisy: Tensor  # [C, H, W]
    flow: FlowPair | None  # None at the first frame of a clip
    coarse: Tensor | None = None


@dataclass
class _PassFrame:
    """A frame inside one pass: what is searched and filtered, and where the estimates add up."""

    frame: LevelFrame
    guide: Tensor  # [H, W]
    basic: Tensor | None  # [C, H, W], the estimate so far; None in step 1
    enlarged: Tensor | None  # [C, H, W], the coarser result at this size, kept for the recomposition
    results: list[Tensor] = field(default_factory=list)  # of the passes so far
    sums: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.sums = ops.new_sums(self.frame.noisy)


@lru_cache(maxsize=256)
def _query_grid(height: int, width: int, patch: int, stride: int, phase: int, device: torch.device) -> Tensor:
    """Queries int32 [N, 2], (y, x), in raster order: every `stride` pixels from `phase`, and both borders."""
    rows = sorted({*range(phase, height - patch + 1, stride), 0, height - patch})
    columns = sorted({*range(phase, width - patch + 1, stride), 0, width - patch})
    grid = torch.meshgrid(torch.tensor(rows), torch.tensor(columns), indexing="ij")
    return torch.stack(grid, -1).reshape(-1, 2).to(device=device, dtype=torch.int32)


def _own_side(step: Pass, frames: int) -> int:
    """Side of the search window in the own frame: the pass's, or what a short clip needs to fill a group."""
    side, elsewhere = step.side, (frames - 1) * step.side_other**2
    while side**2 + elsewhere < CANDIDATES_A_NEIGHBOR * step.neighbors:
        side += 2
    return side


class LevelDenoiser:
    """Frames of one resolution in, the same frames denoised out, some tens of frames later. Constant memory.

    sigma: noise deviation at this resolution. batch: most queries searched at once; the result does not depend on it.
    """

    def __init__(self, level: Level, preset: Preset, sigma: float, batch: int) -> None:
        self._level = level
        self._preset = preset
        self._sigma = sigma
        self._batch = batch
        self._shrink = SlidingWindow(preset.radius, self._shrink_frame, self._finish_shrink)
        self._wiener = [
            SlidingWindow(preset.radius, self._wiener_worker(step), self._finish_wiener) for step in level.wiener
        ]

    def push(self, frame: LevelFrame) -> Iterator[Tensor]:
        """Add the next frame; yields finished frames [C, H, W]."""
        for item in self._shrink.push(self._guided(frame)):
            yield from self._through(0, item)

    def flush(self) -> Iterator[Tensor]:
        """End the clip; yields what is left."""
        for item in self._shrink.flush():
            yield from self._through(0, item)
        for index, window in enumerate(self._wiener):
            for item in window.flush():
                yield from self._through(index + 1, item)

    def _through(self, index: int, item: _PassFrame) -> Iterator[Tensor]:
        """A frame that has come through `index` step-2 passes, into the next one or out."""
        if index == len(self._wiener):
            yield self._mixed(item.results)
            return
        for done in self._wiener[index].push(item):
            yield from self._through(index + 1, done)

    def _mixed(self, results: list[Tensor]) -> Tensor:
        used = [(weight, result) for weight, result in zip(self._level.mix, results, strict=True) if weight]
        if len(used) == 1:
            return used[0][1]
        return torch.stack([weight * result for weight, result in used]).sum(0)

    # --- step 1

    def _guided(self, frame: LevelFrame) -> _PassFrame:
        """The search image: the coarser result, which is clean, plus the noisy band above it, blurred."""
        luma = frame.noisy[0]
        if frame.coarse is None:
            return _PassFrame(frame, ops.guide(torch.zeros_like(luma), luma, 1.0), None, None)
        height, width = luma.shape
        enlarged = ops.pyramid_up(frame.coarse[: frame.noisy.shape[0]], height, width)
        band = luma - ops.pyramid_up(ops.pyramid_down(luma), height, width)
        return _PassFrame(frame, ops.guide(enlarged[0], band, self._preset.guide), None, enlarged)

    def _shrink_frame(self, window: list[_PassFrame], index: int) -> None:
        step = self._level.shrink
        for queries, offsets in self._matches(window, index, step):
            ops.shrink_groups(
                [item.frame.noisy for item in window],
                queries,
                offsets,
                [item.sums for item in window],
                frame=index,
                patch=step.patch,
                sigma=self._sigma,
                mean_threshold=step.mean_threshold,
            )

    def _finish_shrink(self, item: _PassFrame) -> _PassFrame:
        basic = ops.normalise(item.frame.noisy, item.sums, self._sigma)
        if item.enlarged is not None:
            basic = self._recomposed(basic, item)
        return _PassFrame(item.frame, basic[0], basic, None, [basic])

    def _recomposed(self, basic: Tensor, item: _PassFrame) -> Tensor:
        enlarged = item.enlarged
        assert enlarged is not None and item.frame.coarse is not None
        coarse = item.frame.coarse[: basic.shape[0]]
        variance = ops.local_variance(enlarged)
        difference = coarse - ops.pyramid_down(basic)
        low = ops.pyramid_down(difference)
        low = ops.pyramid_up(ops.pyramid_up(low, *difference.shape[-2:]), *basic.shape[-2:])
        item.frame.coarse = None  # not needed any more; the frame lives on through step 2
        basic = ops.recompose(basic, low, variance, sigma=self._sigma)
        return ops.fine_wiener(basic, enlarged, variance, sigma=self._sigma, neighbors=self._level.shrink.neighbors)

    # --- step 2

    def _wiener_worker(self, step: Pass) -> Callable[[list[_PassFrame], int], None]:
        def work(window: list[_PassFrame], index: int) -> None:
            for queries, offsets in self._matches(window, index, step):
                ops.wiener_groups(
                    [item.frame.noisy for item in window],
                    [item.results[-1] for item in window],
                    queries,
                    offsets,
                    [item.sums for item in window],
                    frame=index,
                    patch=step.patch,
                    sigma=self._sigma,
                )

        return work

    def _finish_wiener(self, item: _PassFrame) -> _PassFrame:
        result = ops.normalise(item.frame.noisy, item.sums, self._sigma)
        return _PassFrame(item.frame, result[0], result, None, [*item.results, result])

    # --- both

    def _matches(self, window: list[_PassFrame], index: int, step: Pass) -> Iterator[tuple[Tensor, Tensor]]:
        """Queries of one frame and the offsets of their groups, batch by batch."""
        own = window[index]
        height, width = own.guide.shape
        phase = 2 * own.frame.number % step.stride
        grid = _query_grid(height, width, step.patch, step.stride, phase, own.guide.device)
        for queries in torch.split(grid, self._batch):
            centres = _chained(window, index, queries)
            _, offsets = ops.search(
                [item.guide for item in window],
                queries,
                centres,
                frame=index,
                patch=step.patch,
                neighbors=step.neighbors,
                side=_own_side(step, len(window)),
                side_other=step.side_other,
            )
            yield queries, offsets


def _chained(window: list[_PassFrame], index: int, queries: Tensor) -> Tensor:
    """Where the flow takes the queries of frame `index` in every frame of the window: int32 [N, frames, 2]."""
    between = [item.frame.flow for item in window[1:]]
    if not between:
        return queries[:, None].contiguous()
    flows = [flow for flow in between if flow is not None]
    if len(flows) != len(between):
        raise RuntimeError("a window reaches across the start of a clip")
    # The last frame's forward and the first one's backward flow are never read: their neighbours' stand in.
    return ops.chain_flow(
        [flow.forward for flow in [*flows, flows[-1]]],
        [flow.backward for flow in [flows[0], *flows]],
        queries,
        frame=index,
        size=(window[0].guide.shape[0], window[0].guide.shape[1]),
        scale=flows[0].scale,
    )
