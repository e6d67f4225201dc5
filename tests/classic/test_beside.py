"""The coarser levels' work beside the finest one's: what may be done late, is done late, and changes nothing."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch

from vnlsdenoise.classic import pager
from vnlsdenoise.classic.denoiser import goes_beside
from vnlsdenoise.classic.level import LevelDenoiser
from vnlsdenoise.classic.pager import Pager
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.classic.window import SlidingWindow
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

LAYOUT = PlaneFormat("yuv", 90, 84, 8, 1, 1)  # three levels
GOING = [name for name, preset in PRESETS.items() if goes_beside(preset)]


def denoised(preset: str, device: str, layout: PlaneFormat = LAYOUT, frames: int = 20, **options: Any) -> torch.Tensor:
    """Every sample of a clip of noise, whose luma is another one in every frame."""
    random = torch.Generator().manual_seed(0)
    noise = NoiseModel.of_sigma((12.0,) * len(layout.plane_shapes))
    denoiser = PlanarDenoiser(layout, noise, PRESETS[preset], peak=255, **options)
    done = []
    for _ in range(frames):
        planes = [255 * torch.rand(shape, generator=random) for shape in layout.plane_shapes]
        done += list(denoiser.push([plane.to(device) for plane in planes]))
    done += list(denoiser.flush())
    return torch.cat([plane.flatten() for frame in done for plane in frame])


@pytest.mark.parametrize("preset", GOING)
def test_work_may_wait_until_its_pass_finishes_a_frame(monkeypatch: pytest.MonkeyPatch, preset: str) -> None:
    at_once = denoised(preset, "cpu", frames=14)
    late = 0

    def sliding(self: LevelDenoiser, work: Any, finish: Any, beside: bool) -> SlidingWindow[Any, Any]:
        waiting: list[tuple[Any, int]] = []

        def begun(items: Any, index: int) -> None:
            waiting.append((items, index))
            if not beside:
                joined()

        def joined(item: Any = None) -> Any:
            nonlocal late
            late += len(waiting) if beside else 0
            for arguments in waiting:
                work(*arguments)
            waiting.clear()
            return None if item is None else finish(item)

        return SlidingWindow(self._level.radius, begun, joined)

    monkeypatch.setattr(LevelDenoiser, "_sliding", sliding)
    assert torch.equal(denoised(preset, "cpu", frames=14), at_once)
    assert late > 0


class Watched:
    """Stands for `Beside`: the memory that work uses must be there until it is joined."""

    within: ClassVar[list["Watched"]] = []
    checked: ClassVar[int] = 0

    def __init__(self, alone: Any) -> None:
        self.used: list[weakref.ref[torch.Tensor]] = []

    @contextmanager
    def begun(self, device: torch.device) -> Iterator[None]:
        Watched.within.append(self)
        yield
        Watched.within.pop()

    def joined(self) -> None:
        assert all(used() is not None for used in self.used)
        Watched.checked += len(self.used)
        self.used.clear()


@pytest.mark.parametrize("preset", GOING)
def test_what_the_work_uses_is_kept_until_then(monkeypatch: pytest.MonkeyPatch, preset: str) -> None:
    opened = Pager.open

    def watched_open(self: Pager, *args: Any, **options: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        tensors = opened(self, *args, **options)
        for watched in Watched.within:
            watched.used += [weakref.ref(tensor) for part in tensors for tensor in part]
        return tensors

    monkeypatch.setattr(Pager, "open", watched_open)
    monkeypatch.setattr(pager, "Beside", Watched)
    Watched.checked = 0
    denoised(preset, "cpu", frames=14)
    assert Watched.checked > 100


@pytest.mark.needs_cuda
@pytest.mark.parametrize("preset", GOING)
@pytest.mark.parametrize(
    "layout",
    [
        PlaneFormat("yuv", 480, 270, 8, 1, 1),
        PlaneFormat("yuv", 480, 270, 8, 1, 0),
        PlaneFormat("rgb", 320, 200, 8),
        PlaneFormat("gray", 640, 360, 8),
    ],
    ids=lambda layout: f"{layout.family}-{layout.chroma_x}{layout.chroma_y}",
)
def test_beside_or_not_gives_the_same_bits(preset: str, layout: PlaneFormat) -> None:
    first = denoised(preset, "cuda", layout, 24, beside=False)
    for _ in range(2):
        assert torch.equal(denoised(preset, "cuda", layout, 24, beside=True), first)


@pytest.mark.needs_cuda
def test_a_denoiser_that_is_let_go_of_leaves_no_work_in_other_memory() -> None:
    """Its pages are given to the next one at once, while the coarser levels may still add to them."""
    whole = denoised(GOING[0], "cuda", frames=20)
    for _ in range(3):
        abandoned = PlanarDenoiser(LAYOUT, NoiseModel.of_sigma((12.0,) * 3), PRESETS[GOING[0]], peak=255)
        for _ in range(60):
            planes = [255 * torch.rand(shape, device="cuda") for shape in LAYOUT.plane_shapes]
            list(abandoned.push(planes))
        del abandoned
        assert torch.equal(denoised(GOING[0], "cuda", frames=20), whole)
