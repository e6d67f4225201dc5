import gc

import pytest
import torch

from vnlsdenoise.budget import SMALLEST_BATCH, plan_memory
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
