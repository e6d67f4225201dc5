"""Pages that take turns on the device: what moves, how often, and that every value survives it."""

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
    # Six fit; the one at work has to leave before the next can come.
    assert pager.moved - before <= 2 * (10 - 5) * SIZE
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
