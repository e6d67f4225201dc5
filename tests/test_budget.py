import gc
import hashlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from vnlsdenoise import budget, ops
from vnlsdenoise.budget import plan_memory
from vnlsdenoise.classic.denoiser import level_sizes, support_of
from vnlsdenoise.classic.level import SMALLEST_BATCH
from vnlsdenoise.classic.pager import Pager
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.classic.scenewise import MEASURED_FRAMES
from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.errors import MemoryLimitError
from vnlsdenoise.learned import tiles
from vnlsdenoise.learned.checkpoint import load_network
from vnlsdenoise.learned.denoiser import for_inference
from vnlsdenoise.learned.memory import NetworkSize
from vnlsdenoise.learned.network import Dimensions, Network
from vnlsdenoise.noise import NoiseModel, PlaneNoise
from vnlsdenoise.noise.clipped_rgb import UNCLIP_WORK, Unclipper
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.noise.model import ClippedRgb
from vnlsdenoise.noise.whiten import WHITEN_WORK
from vnlsdenoise.video.frame import Frame, PlaneFormat

HD = PlaneFormat("yuv", 1920, 1080, 8, 1, 1)


def test_a_ceiling_cuts_the_batch_and_is_kept():
    free = plan_memory(HD, PRESETS["balanced"])
    tight = plan_memory(HD, PRESETS["balanced"], 700 * 2**20)
    assert SMALLEST_BATCH <= tight.batch < free.batch
    assert tight.peak <= 700 * 2**20


def test_an_impossible_ceiling_says_what_is_needed():
    with pytest.raises(MemoryLimitError, match=r"1920x1080 at this preset needs about \d+ MiB .* 64 MiB are allowed"):
        plan_memory(HD, PRESETS["fast"], 64 * 2**20)


@pytest.mark.parametrize(("width", "height", "ceiling"), [(1920, 1080, 0.7), (3840, 2160, 2.6), (7680, 4320, 8)])
@pytest.mark.parametrize("preset", PRESETS)
def test_large_frames_fit_where_others_wait_in_host_memory(width, height, ceiling, preset):
    if preset == "best":  # which looks further where frames are not so large
        ceiling = max(ceiling, 0.85)
    plan = plan_memory(PlaneFormat("yuv", width, height, 8, 1, 1), PRESETS[preset], int(ceiling * 2**30))
    assert plan.pages is not None
    assert plan.peak <= ceiling * 2**30


LAYOUTS = [
    PlaneFormat("yuv", 150, 90, 8, 1, 1),
    PlaneFormat("yuv", 150, 90, 8, 1, 0),
    PlaneFormat("rgb", 96, 64, 8),
    PlaneFormat("gray", 64, 96, 16),
]


NAMES = [f"{layout.family}-{layout.chroma_x}{layout.chroma_y}" for layout in LAYOUTS]
NAMES += [f"{name}-learned" for name in NAMES if name.startswith("yuv")]


def outputs(
    layout: PlaneFormat, device: str, frames: int = 30, network: Network | None = None, **memory: int | None
) -> torch.Tensor:
    """Every sample of a denoised clip."""
    random = torch.Generator().manual_seed(0)
    sigma = (0.05 * layout.peak, 0.0, 0.05 * layout.peak)[: len(layout.plane_shapes)]
    denoiser = PlanarDenoiser(
        layout, NoiseModel.of_sigma(sigma), PRESETS["fast"], peak=layout.peak, network=network, **memory
    )
    finished = []
    for _ in range(frames):
        planes = [(layout.peak * torch.rand(shape, generator=random)).to(device) for shape in layout.plane_shapes]
        finished += list(denoiser.push(planes))
    finished += list(denoiser.flush())
    return torch.cat([plane.flatten() for frame in finished for plane in frame])


@pytest.fixture(params=[*LAYOUTS, *(layout for layout in LAYOUTS if layout.family == "yuv")], ids=NAMES)
def case(request, monkeypatch):
    """A layout, and None or a network that changes something, on several tiles a frame."""
    if request.param_index < len(LAYOUTS):
        return request.param, None
    monkeypatch.setattr(tiles, "LARGEST", 32)
    network = Network(Dimensions((24, 32, 40), 0, (0, 0, 1), 0))
    for tail in network.tails.values():
        torch.nn.init.normal_(tail.conv.weight, std=0.05)
    return request.param, network.eval().requires_grad_(False)


def test_no_ceiling_changes_the_result(device, case, monkeypatch):
    """From the smallest one that is allowed on: the pages on the device stay under it, and every bit is the same."""
    layout, network = case
    network = None if network is None else for_inference(network, torch.device(device))
    size = None if network is None else NetworkSize.of(network)
    free = outputs(layout, device, network=network)
    over = []
    opened = Pager.open

    def watched(self, read, write=(), *, work=0):
        result = opened(self, read, write, work=work)
        over.append(self.resident + work - self._ceiling)
        return result

    monkeypatch.setattr(Pager, "open", watched)
    least = _least_ceiling(layout, size)
    unlimited = plan_memory(layout, PRESETS["fast"], network=size).peak
    for ceiling in (least, (least + unlimited) // 2):
        plan = plan_memory(layout, PRESETS["fast"], ceiling, size)
        assert plan.pages is not None
        assert torch.equal(outputs(layout, device, network=network, **plan.options), free)
    assert max(over) <= 0


def _least_ceiling(layout: PlaneFormat, network: NetworkSize | None = None, preset: str = "fast") -> int:
    low, high = 0, plan_memory(layout, PRESETS[preset], network=network).peak
    while high - low > 4096:
        middle = (low + high) // 2
        try:
            plan_memory(layout, PRESETS[preset], middle, network)
            high = middle
        except MemoryLimitError:
            low = middle
    return high


def test_a_device_out_of_memory_gets_smaller_batches(monkeypatch):
    layout = PlaneFormat("gray", 420, 400, 8)
    whole = outputs(layout, "cpu", 2)
    search, sizes = ops.search_along_flow, []

    def short(guide, fields, queries, **options):
        sizes.append(len(queries))
        if len(queries) > 1500:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return search(guide, fields, queries, **options)

    monkeypatch.setattr(ops, "search_along_flow", short)
    assert torch.equal(outputs(layout, "cpu", 2), whole)
    assert max(sizes) > 1500
    assert min(sizes) <= 1500
    monkeypatch.setattr(
        ops, "search_along_flow", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA"))
    )
    with pytest.raises(torch.OutOfMemoryError):
        outputs(layout, "cpu", 2)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.family}-{layout.chroma_x}{layout.chroma_y}")
def test_a_device_that_others_fill_up_gets_more_pages(layout, monkeypatch):
    """Whatever step it is that does not fit: it begins again, and every bit is the same."""
    pagers, refused, most = [], set(), 0
    made, room = Pager.__init__, None

    def watched(self, *arguments):
        made(self, *arguments)
        pagers.append(self)

    def short(name, operator):
        def run(*arguments, **options):
            nonlocal most
            most = max(most, pagers[-1].resident)
            if room is not None and pagers[-1].resident > room:
                refused.add(name)
                raise torch.OutOfMemoryError("CUDA out of memory")
            return operator(*arguments, **options)

        return run

    monkeypatch.setattr(Pager, "__init__", watched)
    steps = "search_along_flow search_image joined_frame normalise pyramid_down flow_image tvl1_flow"
    for name in steps.split():
        monkeypatch.setattr(ops, name, short(name, getattr(ops, name)))
    whole = outputs(layout, "cpu")
    assert pagers[-1].moved == 0
    room = 0.7 * most
    assert torch.equal(outputs(layout, "cpu"), whole)
    assert pagers[-1].moved > 0
    assert refused


@pytest.mark.needs_cuda
@pytest.mark.parametrize("preset", PRESETS)
def test_a_device_that_is_too_small_gets_pages(preset):
    """Without a ceiling: the real allocator says no, at whatever step."""
    layout = PlaneFormat("yuv", 960, 540, 8, 1, 1)
    settings = DenoiseSettings((20.0,) * 3, preset=preset, device="cuda:0", scene_cuts=False, duplicates=False)

    def denoised() -> str:
        random, digest = np.random.default_rng(0), hashlib.sha256()
        noisy = (
            Frame(tuple(random.integers(0, 256, shape, dtype=np.uint8) for shape in layout.plane_shapes), number, 1)
            for number in range(support_of(PRESETS[preset], level_sizes(PRESETS[preset], 540, 960, True)) + 8)
        )
        for frame in denoise_frames(noisy, layout, settings):
            for plane in frame.planes:
                digest.update(np.ascontiguousarray(plane).tobytes())
        return digest.hexdigest()

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    free = denoised()
    most = torch.cuda.max_memory_reserved() - before
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved() + 0.6 * most) / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        assert denoised() == free
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _filler() -> list[torch.Tensor]:
    """All the device memory that this process may still have, but for less than 64 KiB in one piece."""
    taken, size = [], 64 << 20
    while size >= 64 << 10:
        try:
            taken.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            size //= 2
    return taken


@pytest.mark.needs_cuda
def test_a_device_that_is_full_indeed_gets_smaller_batches(monkeypatch):
    layout = PlaneFormat("gray", 640, 480, 8)
    whole = outputs(layout, "cuda", 12)
    search, sizes = ops.search_along_flow, []

    def short(guide, fields, queries, **options):
        sizes.append(len(queries))
        filler = _filler() if len(queries) > 1500 else []
        try:
            return search(guide, fields, queries, **options)
        finally:
            del filler

    monkeypatch.setattr(ops, "search_along_flow", short)
    _, total = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (1 << 30)) / total)
    try:
        assert torch.equal(outputs(layout, "cuda", 12), whole)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert max(sizes) > 1500
    assert min(sizes) <= 1500


def correlated(layout: PlaneFormat) -> NoiseModel:
    """Noise that takes every step on the way in and out: of a curve and a spectrum."""
    sigma = 0.05 * layout.peak
    spectrum = tuple(2 - 1.8 * index / 63 for index in range(64))
    mean = sum(spectrum) / 64
    curve = ((0.0, 0.8 * sigma), (layout.peak / 2, sigma))
    plane = PlaneNoise(sigma, curve, spectrum=tuple(variance / mean for variance in spectrum))
    return NoiseModel((plane,) * len(layout.plane_shapes))


def _allocated_at_most(work: Callable[[], None]) -> int:
    """Bytes of tensors that were alive at once, as torch's own record of the CPU's memory has it."""
    gc.collect()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    now = most = 0
    events = recorded.profiler.kineto_results.events()
    for event in sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def test_pages_and_work_stay_under_the_prediction(case, monkeypatch):
    """From the least that the steps need on; the frames that wait in a file are not counted."""
    # Small frames are measured with as many blocks as large ones: more than all else takes.
    monkeypatch.setattr(budget, "_measuring", lambda layout: 0)
    layout, network = case
    presets = ("draft", "fast") if network is None else ("fast",)
    for preset in presets:
        _stays_under_the_prediction(layout, network, preset)


def _stays_under_the_prediction(layout: PlaneFormat, network: Network | None, preset: str) -> None:
    size = None if network is None else NetworkSize.of(network)
    least = _least_ceiling(layout, size, preset)
    unlimited = plan_memory(layout, PRESETS[preset], network=size).peak
    ceilings, least_share = (least, None), 1 / 3
    # By then it holds as many as it ever does.
    frames = 4 + support_of(PRESETS[preset], level_sizes(PRESETS[preset], layout.height, layout.width, True))
    if network is not None:  # which takes its time: fewer frames than it holds at most
        frames, least_share = 22, 1 / 4
    elif preset == "draft":  # a ceiling between, where it costs least
        ceilings = (least, (least + unlimited) // 2, None)
    for ceiling in ceilings:
        plan = plan_memory(layout, PRESETS[preset], ceiling, size)

        def denoise(plan=plan):
            work = PlanarDenoiser(
                layout, correlated(layout), PRESETS[preset], peak=layout.peak, network=network, **plan.options
            )
            for _ in range(frames):
                planes = [layout.peak * torch.rand(shape) for shape in layout.plane_shapes]
                for _ in work.push(planes):
                    pass
            for _ in work.flush():
                pass

        assert least_share * plan.peak < _allocated_at_most(denoise) <= plan.peak


@pytest.mark.parametrize("shape", [(180, 320), (480, 640)])
@pytest.mark.parametrize("kind", ["white", "correlated", "clipped"])
def test_measuring_noise_stays_under_the_prediction(shape, kind):
    layout = PlaneFormat("yuv", shape[1], shape[0], 8, 1, 1)
    random = np.random.default_rng(0)

    def plane(shape: tuple[int, int], mean: float, weights: tuple[float, ...] = (1.0,)) -> np.ndarray:
        noise = mean + 30 * random.standard_normal((len(weights), *shape))
        codes = np.tensordot(weights, noise.clip(0, 255), 1)
        return (cv2.GaussianBlur(codes, (3, 3), 0) if kind == "correlated" else codes).round().astype(np.uint8)

    luma, *chroma = layout.plane_shapes
    frames = [[plane(luma, 120), *(plane(shape, 128) for shape in chroma)] for _ in range(MEASURED_FRAMES)]
    if kind == "clipped":
        # Black is 16: what R, G and B reach of the scale there is.
        dark = [16 + plane(luma, 15, (0.26, 0.5, 0.1)) for _ in range(MEASURED_FRAMES)]
        frames = [[own, *frame[1:]] for own, frame in zip(dark, frames, strict=True)]
    found = []

    def measure():
        found.append(
            measure_noise(frames, lambda frame: [torch.from_numpy(plane).float() for plane in frame], layout, 255)
        )

    assert _allocated_at_most(measure) <= budget._measuring(layout)
    assert found[0].correlated == (kind == "correlated")
    assert (found[0].clipped_rgb is not None) == (kind == "clipped")


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout.family == "yuv"])
def test_undoing_clipped_rgb_takes_what_is_planned_for_it(layout):
    noise = ClippedRgb(PlaneNoise(0.2, clipped=True), black=True, white=True)
    planes = [100 * torch.rand(shape) for shape in layout.plane_shapes]
    undo = Unclipper(noise, layout, layout.peak)
    undo(*planes)  # its table is on the device from now on
    assert 8 < _allocated_at_most(lambda: undo(*planes)) / (4 * planes[0].numel()) <= UNCLIP_WORK
    assert UNCLIP_WORK <= WHITEN_WORK  # in whose place it is planned


@pytest.mark.needs_cuda
@pytest.mark.parametrize("tight", [False, True])
@pytest.mark.parametrize("preset", [*PRESETS, "learned"])
@pytest.mark.parametrize(
    "layout",
    [
        PlaneFormat("yuv", 960, 540, 8, 1, 1),
        PlaneFormat("yuv", 853, 479, 10, 1, 0),
        PlaneFormat("rgb", 640, 360, 8),
        PlaneFormat("gray", 1280, 720, 16),
    ],
)
def test_the_measured_peak_stays_under_the_prediction(layout, preset, tight):
    network = for_inference(load_network("small"), torch.device("cuda")) if preset == "learned" else None
    size = None if network is None else NetworkSize.of(network)
    settings = PRESETS[network.preset if network is not None else preset]
    plan = plan_memory(layout, settings, network=size, measured=False)
    noise = NoiseModel.of_sigma((0.05 * layout.peak,) * len(layout.plane_shapes))
    if tight:
        plan = plan_memory(layout, settings, plan.peak // 2, size, measured=False)
        noise = correlated(layout)
    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    denoiser = PlanarDenoiser(layout, noise, settings, peak=layout.peak, network=network, **plan.options)
    finished = 0
    while finished < 3:  # the pipeline is full once frames come out
        planes = [layout.peak * torch.rand(shape, device="cuda") for shape in layout.plane_shapes]
        finished += sum(1 for _ in denoiser.push(planes))
    measured = torch.cuda.max_memory_allocated() - before
    assert measured <= plan.peak
    assert measured > plan.peak / 2, "the prediction is far too cautious"


@pytest.mark.parametrize(("chroma_x", "chroma_y"), [(1, 0), (0, 1), (2, 0), (2, 2)])
def test_chroma_that_is_denoised_by_itself_is_counted(chroma_x, chroma_y):
    need, luma = (
        plan_memory(layout, PRESETS["fast"]).peak
        for layout in (PlaneFormat("yuv", 720, 480, 8, chroma_x, chroma_y), PlaneFormat("gray", 720, 480, 8))
    )
    assert need > luma * (1 + 1.5 / (1 << chroma_x + chroma_y))
