"""Pages that take turns on the device: what moves, how often, and that every value survives it."""

import gc
import tracemalloc
from collections import deque

import pytest
import torch

from vnlsdenoise.classic.pager import Pager
from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat

SIZE = 4096  # bytes of a page


def pages(pager: Pager, count: int, device: str) -> list:
    return [pager.keep(torch.full((SIZE // 8,), number, dtype=torch.int64, device=device)) for number in range(count)]


def test_a_cycle_of_changes_moves_only_what_does_not_fit(device):
    pager = Pager(6 * SIZE)
    cycle = pages(pager, 10, device)
    for _ in range(3):
        before = pager.moved
        for page in cycle:
            _, [tensor] = pager.open([], [page])
            tensor += 1
            assert pager.resident <= 6 * SIZE
    # Six fit; the one at work has to leave before the next can come. Beside the work of a GPU one page a step is copied
    # out that stays: here it changes before it leaves.
    assert pager.moved - before <= (2 * (10 - 5) + (10 if device == "cuda" else 0)) * SIZE
    values = [int(pager.open([page])[0][0].unique()) for page in cycle]
    assert values == [number + 3 for number in range(10)]


def test_what_was_only_read_leaves_once(device):
    pager = Pager(2 * SIZE)
    cycle = pages(pager, 4, device)
    for _ in range(5):
        for page in cycle:
            pager.open([page])
    out = 4 * SIZE
    back = 5 * 4 * SIZE
    assert pager.moved <= out + back


def test_room_is_made_for_work(device):
    pager = Pager(6 * SIZE)
    held = pages(pager, 6, device)
    pager.reserve(2 * SIZE)
    assert pager.resident == 4 * SIZE
    pager.open(held[:3], work=3 * SIZE)
    assert pager.resident == 3 * SIZE
    del held
    assert pager.resident == 0


def test_what_rests_leaves_first_and_what_rests_longest_before(device):
    pager = Pager(6 * SIZE)
    held = pages(pager, 6, device)
    pager.rest(held[1], 3)
    pager.rest(held[4], 9)
    pager.reserve(SIZE)
    assert held[4].here is None
    pager.reserve(2 * SIZE)
    assert held[1].here is None
    # What has rested its time is wanted at once: the others leave before it.
    pager.open([held[1], held[4]])
    pager.rest(held[1], 3)
    for _ in range(3):
        pager.next_cycle()
        pager.next_frame()
    pager.next_pass()
    pager.reserve(5 * SIZE)
    assert held[1].here is not None


def test_a_pass_keeps_what_it_uses(device):
    """Though that was used last."""
    pager = Pager(6 * SIZE)
    held = pages(pager, 6, device)
    pager.next_pass()
    pager.open(held[:2])
    pager.reserve(4 * SIZE)
    assert [page.here is not None for page in held] == [True, True, False, False, False, False]


def test_when_a_page_is_wanted_is_learnt_from_those_before_it(device):
    """What a cycle makes and uses last is wanted first; by the last use alone it would leave, and come back."""
    pager = Pager(5 * SIZE)
    long, short, moved = deque(), deque(), []
    for number in range(40):
        pager.next_cycle()
        pager.next_frame()
        pager.reserve(SIZE)
        long += pages(pager, 1, device)
        if len(long) > 6:
            pager.open([long.popleft()])
        pager.reserve(SIZE)
        short.append(pager.keep(torch.full((2, SIZE // 16), number, dtype=torch.int64, device=device)))
        for _ in range(2):
            pager.open([*short])
        if len(short) > 2:
            short.popleft()
        moved.append(pager.moved)
    # Ten pages, or four beside what is used: only those that rest leave, each once at the most, and come back once.
    assert 0 < moved[-1] - moved[-11] <= 2 * 10 * SIZE


def test_a_step_begins_again_where_the_device_is_full(device):
    pager = Pager()
    held = pages(pager, 16, device)
    seen = []

    def step() -> int:
        pager.open(held[:2], work=SIZE)
        seen.append(pager.resident)
        if pager.resident > 8 * SIZE:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 7

    assert pager.repeated(step) == 7
    assert seen == sorted(seen, reverse=True)
    assert len(seen) > 2
    # From now on it keeps to what it has learnt.
    pager.open(held[8:], work=SIZE)
    assert pager.resident <= 9 * SIZE
    assert [int(pager.open([page])[0][0].unique()) for page in held] == list(range(16))


def test_a_step_that_never_fits_is_an_error(device):
    pager = Pager()
    held = pages(pager, 6, device)

    def step() -> None:
        pager.open(held[:1])
        raise torch.OutOfMemoryError("CUDA out of memory: tried it all")

    with pytest.raises(torch.OutOfMemoryError, match="tried it all"):
        pager.repeated(step)
    assert pager.resident == SIZE


@pytest.mark.needs_cuda
def test_what_comes_beside_the_work_is_there_for_it():
    """Pages large enough for copies to take their time, changed by long kernels; what ends on its way harms nothing."""
    pager = Pager(20 << 22)
    held = [pager.keep(torch.full((1 << 20,), float(number), device="cuda")) for number in range(40)]
    for turn in range(6):
        pager.next_cycle()
        pager.next_frame()
        for first in range(0, 40, 4):
            pager.next_pass()
            _, tensors = pager.open([], held[first : first + 4], work=4 << 22)
            for tensor in tensors:
                for _ in range(8):
                    tensor += 0.125
            del tensors, tensor
        if turn == 3:
            for index in [index for index, page in enumerate(held) if page.coming is not None]:
                held[index] = pager.keep(torch.full((1 << 20,), float(index + turn + 1), device="cuda"))
    assert pager.moved > 0
    for index, page in enumerate(held):
        [tensor], _ = pager.open([page])
        assert torch.equal(tensor, torch.full_like(tensor, float(index + 6)))


def test_everything_stays_without_a_ceiling(device):
    pager = Pager()
    held = pages(pager, 6, device)
    pager.reserve(1 << 60)
    pager.open(held)
    assert pager.moved == 0


def test_values_survive_however_often_pages_move(device):
    """Steps that read some pages and change others, at random, against the same without a ceiling."""
    results = []
    for ceiling in (None, 9 << 20):
        random = torch.Generator().manual_seed(1)
        pager = Pager(ceiling)
        held = [
            pager.keep(torch.full((1 << 18,), 1 << number, dtype=torch.int32, device=device)) for number in range(16)
        ]
        for _ in range(200):
            one, other, changed, new = torch.randperm(16, generator=random)[:4].tolist()
            [a, b], [c] = pager.open([held[one], held[other]], [held[changed]], work=1 << 20)
            c += a - 3 * b
            held[new] = pager.keep(a * 2 + b)
            del a, b, c
        results.append(torch.stack([pager.open([page])[0][0].cpu() for page in held]))
    assert torch.equal(*results)


def test_a_denoiser_moves_what_does_not_fit():
    """In the steady state, out and back together no more than twice what lies beyond the ceiling."""
    everything, none = resident_and_moved(1 << 40)
    assert none == 0
    _, moved = resident_and_moved(everything // 2)
    assert 0 < moved < 2 * (everything - everything // 2)


def resident_and_moved(ceiling: int) -> tuple[int, float]:
    """Bytes of pages on the device once the pipeline is full, and bytes moved a frame."""
    layout = PlaneFormat("yuv", 192, 128, 8, 1, 1)
    noise = NoiseModel.of_sigma([20.0] * 3)
    denoiser = PlanarDenoiser(layout, noise, PRESETS["fast"], peak=255, batch=64, pages=ceiling)
    moved = []
    for _ in range(70):
        list(denoiser.push([255 * torch.rand(shape) for shape in layout.plane_shapes]))
        moved.append(denoiser._pager.moved)
    return denoiser._pager.resident, (moved[-1] - moved[-21]) / 20


@pytest.mark.parametrize("ceiling", [None, 700_000])
def test_a_long_film_takes_no_more_of_the_host_than_a_short_one(ceiling):
    layout, random = PlaneFormat("yuv", 64, 48, 8, 1, 1), torch.Generator().manual_seed(0)
    noise = NoiseModel.of_sigma((12, 8, 8))
    denoiser = PlanarDenoiser(layout, noise, PRESETS["draft"], peak=255.0, pages=ceiling)
    taken = []
    tracemalloc.start()
    try:
        for frame in range(601):
            planes = [128 + 12 * torch.randn(shape, generator=random) for shape in layout.plane_shapes]
            deque(denoiser.push(planes), 0)
            if frame in (200, 600):
                gc.collect()
                taken.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert taken[1] < taken[0] + 50_000
