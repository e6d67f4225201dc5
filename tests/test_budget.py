import gc

import pytest
import torch

from vnlsdenoise import ops
from vnlsdenoise.budget import plan_memory
from vnlsdenoise.classic.level import SMALLEST_BATCH
from vnlsdenoise.classic.pager import Pager
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.errors import MemoryLimitError
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

HD = PlaneFormat("yuv", 1920, 1080, 8, 1, 1)


def test_a_ceiling_cuts_the_batch_and_is_kept():
    free = plan_memory(HD, PRESETS["best"])
    tight = plan_memory(HD, PRESETS["best"], free.peak - 60 * 2**20)
    assert SMALLEST_BATCH <= tight.batch < free.batch
    assert tight.peak <= free.peak - 60 * 2**20


def test_an_impossible_ceiling_says_what_is_needed():
    with pytest.raises(MemoryLimitError, match=r"1920x1080 at this preset needs about \d+ MiB .* 64 MiB are allowed"):
        plan_memory(HD, PRESETS["fast"], 64 * 2**20)


@pytest.mark.parametrize(("width", "height", "ceiling"), [(1920, 1080, 1.5), (3840, 2160, 4)])
@pytest.mark.parametrize("preset", ["fast", "balanced", "best"])
def test_large_frames_fit_where_others_wait_in_host_memory(width, height, ceiling, preset):
    plan = plan_memory(PlaneFormat("yuv", width, height, 8, 1, 1), PRESETS[preset], int(ceiling * 2**30))
    assert plan.pages is not None
    assert plan.peak <= ceiling * 2**30


LAYOUTS = [
    PlaneFormat("yuv", 150, 90, 8, 1, 1),
    PlaneFormat("yuv", 150, 90, 8, 1, 0),
    PlaneFormat("rgb", 96, 64, 8),
    PlaneFormat("gray", 64, 96, 16),
]


def outputs(layout: PlaneFormat, device: str, frames: int = 30, **memory: int | None) -> torch.Tensor:
    """Every sample of a denoised clip."""
    random = torch.Generator().manual_seed(0)
    sigma = (0.05 * layout.peak, 0.0, 0.05 * layout.peak)[: len(layout.plane_shapes)]
    denoiser = PlanarDenoiser(layout, NoiseModel.of_sigma(sigma), PRESETS["fast"], peak=layout.peak, **memory)
    finished = []
    for _ in range(frames):
        planes = [(layout.peak * torch.rand(shape, generator=random)).to(device) for shape in layout.plane_shapes]
        finished += list(denoiser.push(planes))
    finished += list(denoiser.flush())
    return torch.cat([plane.flatten() for frame in finished for plane in frame])


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.family}-{layout.chroma_x}{layout.chroma_y}")
def test_no_ceiling_changes_the_result(device, layout, monkeypatch):
    """From the smallest one that is allowed on: the pages on the device stay under it, and every bit is the same."""
    free = outputs(layout, device)
    over = []
    opened = Pager.open

    def watched(self, read, write=()):
        result = opened(self, read, write)
        over.append(self.resident - self._ceiling)
        return result

    monkeypatch.setattr(Pager, "open", watched)
    least = _least_ceiling(layout)
    unlimited = plan_memory(layout, PRESETS["fast"]).peak
    for ceiling in (least, (least + unlimited) // 2):
        plan = plan_memory(layout, PRESETS["fast"], ceiling)
        assert plan.pages is not None
        assert torch.equal(outputs(layout, device, batch=plan.batch, pages=plan.pages), free)
    assert max(over) <= 0


def _least_ceiling(layout: PlaneFormat) -> int:
    low, high = 0, plan_memory(layout, PRESETS["fast"]).peak
    while high - low > 4096:
        middle = (low + high) // 2
        try:
            plan_memory(layout, PRESETS["fast"], middle)
            high = middle
        except MemoryLimitError:
            low = middle
    return high


def test_a_device_out_of_memory_gets_smaller_batches(monkeypatch):
    layout = PlaneFormat("gray", 420, 400, 8)
    whole = outputs(layout, "cpu", 2)
    search, sizes = ops.search, []

    def short(guide, queries, *arguments, **options):
        sizes.append(len(queries))
        if len(queries) > 1500:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return search(guide, queries, *arguments, **options)

    monkeypatch.setattr(ops, "search", short)
    assert torch.equal(outputs(layout, "cpu", 2), whole)
    assert max(sizes) > 1500
    assert min(sizes) <= 1500
    monkeypatch.setattr(ops, "search", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA")))
    with pytest.raises(torch.OutOfMemoryError):
        outputs(layout, "cpu", 2)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("preset", ["fast", "balanced", "best"])
@pytest.mark.parametrize(
    "layout",
    [
        PlaneFormat("yuv", 960, 540, 8, 1, 1),
        PlaneFormat("yuv", 853, 479, 10, 1, 0),
        PlaneFormat("rgb", 640, 360, 8),
        PlaneFormat("gray", 1280, 720, 16),
    ],
)
def test_the_measured_peak_stays_under_the_prediction(layout, preset):
    plan = plan_memory(layout, PRESETS[preset])
    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    sigma = (0.05 * layout.peak,) * len(layout.plane_shapes)
    denoiser = PlanarDenoiser(layout, NoiseModel.of_sigma(sigma), PRESETS[preset], peak=layout.peak, batch=plan.batch)
    finished = 0
    while finished < 3:  # the pipeline is full once frames come out
        planes = [layout.peak * torch.rand(shape, device="cuda") for shape in layout.plane_shapes]
        finished += sum(1 for _ in denoiser.push(planes))
    measured = torch.cuda.max_memory_allocated() - before
    assert measured <= plan.peak
    assert measured > plan.peak / 2, "the prediction is far too cautious"
