"""A denoiser that starts inside a scene gives, from `support_of` frames on, the very bits of the whole run."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from vnlsdenoise import ops
from vnlsdenoise.classic.denoiser import ClassicDenoiser, level_sizes, support_of
from vnlsdenoise.classic.motion import FlowPair
from vnlsdenoise.classic.planar import PlanarDenoiser, first_needed
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.learned.chunks import CHUNK, RUN_IN
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

SIDES = {1: 32, 2: 40, 3: 80, 4: 160}  # of frames of so many levels
LEFT_OUT = 5  # frames at the start: a multiple of no stride of the query grids
MODULUS = 1048573


def last_difference(whole: list[Tensor], late: list[Tensor]) -> int:
    """The last frame of `late` that has not the bits of the same one in `whole`, -1 for none."""
    assert len(late) == len(whole) - LEFT_OUT
    pairs = enumerate(zip(whole[LEFT_OUT:], late, strict=True))
    return max((index for index, (one, other) in pairs if not torch.equal(one, other)), default=-1)


class _Still:
    """Motion of which nothing is measured."""

    def __init__(self) -> None:
        self._first = True
        self.planes = 8

    def push(self, luma: Tensor) -> FlowPair | None:
        first, self._first = self._first, False
        return None if first else FlowPair(torch.zeros(2, 2, *((side + 1) // 2 for side in luma.shape)), 2)

    def reset(self) -> None:
        self._first = True


def _stirred(*values: Tensor | float | None) -> float:
    """A whole number that is another one, but for chance, when any of the values is."""
    return float(hash(tuple(v.flatten()[0].item() if isinstance(v, Tensor) else v for v in values)) % MODULUS)


def _filled(like: Tensor, *values: Tensor | float | None) -> Tensor:
    return torch.full_like(like, _stirred(*values))


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators whose arithmetic hides no dependency, and has no other than the real ones have.

    Pictures are of one value. A search depends on all frames that it is given, what a filter adds on these and on what
    the search found, and every frame of the window gets some.
    """

    def filtered(noisy: list[Tensor], *rest: Any, frame: int, **_: Any) -> None:
        *basics, _queries, offsets, sums = rest
        added = _stirred(*noisy, *(basics[0] if basics else ()), offsets, frame)
        for place, total in enumerate(sums):
            total[0] = (total.item() + added * (place + 3)) % MODULUS

    toys = {
        "search_image": lambda luma, coarse, weight: _filled(luma, luma, coarse),
        "pyramid_down": lambda image: image[..., ::2, ::2].clone(),
        "new_sums": lambda frame: torch.zeros(1, dtype=torch.float64),
        "search_along_flow": lambda guides, *_, **__: (None, _stirred(*guides)),
        "shrink_groups": filtered,
        "wiener_groups": filtered,
        "normalise": lambda noisy, sums, sigma: _filled(noisy, sums),
        "joined_frame": lambda noisy, sums, coarse, **_: _filled(noisy, noisy, sums, coarse),
    }
    for name, toy in toys.items():
        monkeypatch.setattr(ops, name, toy)


@pytest.mark.parametrize(("preset", "levels"), list(itertools.product(PRESETS, SIDES)))
def test_support_is_what_passes_and_windows_ask_for_and_not_a_frame_more(bare: None, preset: str, levels: int) -> None:
    side = SIDES[levels]
    sizes = level_sizes(PRESETS[preset], side, side, False)
    assert len(sizes) == levels
    support = support_of(PRESETS[preset], sizes)
    values = torch.randperm(100000)[: LEFT_OUT + support + 10].float()
    clip = [torch.full((1, side, side), float(value)) for value in values]

    def run(frames: list[Tensor], number: int) -> list[Tensor]:
        denoiser = ClassicDenoiser(PRESETS[preset], side, side, _Still(), number=number)
        pages = []
        for frame in frames:
            denoiser.add(frame.clone())
            pages += [page for page, _ in denoiser.advance()]
        return [page.here for page in [*pages, *(page for page, _ in denoiser.flush())] if page.here is not None]

    assert last_difference(run(clip, 0), run(clip[LEFT_OUT:], LEFT_OUT)) == support - 1


def textured(count: int, side: int) -> list[Tensor]:
    """Texture of every size that stands still, under noise of deviation 10."""
    texture = torch.full((side, side), 128.0)
    for scale in (1, 2, 4, 8, 16):
        coarse = 30 * torch.randn(-(-side // scale), -(-side // scale))
        texture += coarse.repeat_interleave(scale, 0).repeat_interleave(scale, 1)[:side, :side]
    return [texture + 10 * torch.randn(side, side) for _ in range(count)]


# tests/benchmarks/support.py goes on with more levels. What reaches over many passes is less than rounding leaves.
@pytest.mark.parametrize(
    ("preset", "levels", "tight"),
    [("draft", 1, True), ("draft", 2, False), ("fast", 1, True), ("fast", 2, False), ("balanced", 1, True)],
)
def test_the_filters_themselves_depend_on_no_frame_more(preset: str, levels: int, tight: bool) -> None:
    side = SIDES[levels]
    layout = PlaneFormat("gray", side, side, 8)
    support = support_of(PRESETS[preset], level_sizes(PRESETS[preset], side, side, False))
    clip = textured(LEFT_OUT + support + 6, side)

    def run(frames: list[Tensor], number: int) -> list[Tensor]:
        denoiser = PlanarDenoiser(layout, NoiseModel.of_sigma([10.0]), PRESETS[preset], peak=255, number=number)
        done = [plane for frame in frames for [plane] in denoiser.push([frame])]
        return [*done, *(plane for [plane] in denoiser.flush())]

    last = last_difference(run(clip, 0), run(clip[LEFT_OUT:], LEFT_OUT))
    assert last == support - 1 if tight else support - 12 < last < support


def test_what_is_fed_is_laid_out_by_frames_and_chunks() -> None:
    layout = PlaneFormat("yuv", 90, 80, 8, 1, 1)
    support = support_of(PRESETS["fast"], level_sizes(PRESETS["fast"], 80, 90, True))
    assert [first_needed(layout, PRESETS["fast"], False, number) for number in (0, support, support + 7)] == [0, 0, 7]
    chunk = CHUNK * (support // CHUNK + 2)
    for number in (chunk, chunk + CHUNK - 1):
        assert first_needed(layout, PRESETS["fast"], True, number) == chunk - RUN_IN - support
