"""Frames that go through every pass some at a time: the same bytes, and the work spread over the frames that come."""

import pytest
import torch

from vnlsdenoise import ops
from vnlsdenoise.classic.denoiser import level_sizes, support_of
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

BURST = 4


def denoiser(layout: PlaneFormat, preset: str, burst: int) -> PlanarDenoiser:
    noise = NoiseModel.of_sigma((12.0,) * len(layout.plane_shapes))
    return PlanarDenoiser(layout, noise, PRESETS[preset], peak=255, burst=burst)


def frame_of(layout: PlaneFormat) -> list[torch.Tensor]:
    return [255 * torch.rand(shape) for shape in layout.plane_shapes]


@pytest.mark.parametrize("preset", ["draft", "fast"])
@pytest.mark.parametrize("chroma_y", [0, 1])  # 4:2:2 has a second denoiser for its chroma
def test_scenes_that_end_anywhere_in_a_burst_have_the_same_bytes(preset: str, chroma_y: int) -> None:
    layout = PlaneFormat("yuv", 64, 48, 8, 1, chroma_y)
    scenes = [[frame_of(layout) for _ in range(count)] for count in (1, 6, 19, 36, 45)]
    found = []
    for burst in (1, BURST):
        work, done = denoiser(layout, preset, burst), []
        for scene in scenes:
            for planes in scene:
                done += list(work.push(planes))
            done += list(work.flush())
        found.append(torch.cat([plane.flatten() for planes in done for plane in planes]))
    assert torch.equal(*found)


def test_the_work_of_a_burst_is_spread_over_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = PlaneFormat("yuv", 96, 80, 8, 1, 1)
    searched = 0
    search = ops.search_along_flow

    def counted(
        guides: list[torch.Tensor], fields: list[torch.Tensor], queries: torch.Tensor, **options: int
    ) -> object:
        nonlocal searched
        searched += len(queries)
        return search(guides, fields, queries, **options)

    monkeypatch.setattr(ops, "search_along_flow", counted)
    work, by_frame = denoiser(layout, "draft", BURST), []
    for _ in range(72):
        searched = 0
        list(work.push(frame_of(layout)))
        by_frame.append(searched)
    steady = by_frame[-4 * BURST :]
    assert min(steady) > 0
    assert max(steady) < 2 * sum(steady) / len(steady)


@pytest.mark.parametrize("preset", ["draft", "fast"])
def test_a_frame_comes_out_with_the_one_that_tells_that_nothing_more_adds_to_it(device: str, preset: str) -> None:
    """One frame beyond those that the first takes from, or that what is added to it takes from."""
    layout, settings = PlaneFormat("yuv", 96, 80, 8, 1, 1), PRESETS[preset]
    work = denoiser(layout, preset, 1)
    frames = (list(work.push([plane.to(device) for plane in frame_of(layout)])) for _ in range(200))
    first = next(number for number, done in enumerate(frames) if done)
    assert first == support_of(settings, level_sizes(settings, 80, 96, True))
