import pytest
import torch
from reference import search as reference

from vnlsdenoise import ops


def clip(frames, height, width, device, dtype=torch.float32):
    """Smooth random images: neighbouring candidates differ, and few distances tie."""
    guide = torch.randn(frames, height, width, dtype=dtype)
    guide = guide.cumsum(1).cumsum(2) / 8 + 3 * torch.randn(frames, height, width, dtype=dtype)
    return [g.contiguous().to(device) for g in guide]


def flows(frames, height, width, device, size=3.0):
    return [(size * torch.randn(2, height, width)).to(device) for _ in range(frames)]


def grid(height, width, patch, stride, device):
    rows = sorted({*range(0, height - patch + 1, stride), height - patch})
    columns = sorted({*range(1, width - patch + 1, stride), 0, width - patch})
    return torch.tensor([(y, x) for y in rows for x in columns], dtype=torch.int32, device=device)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("frame", [0, 2, 4])
def test_chain_flow_matches_the_reference(device, scale, frame):
    height, width, frames = 37, 29, 5
    shape = (-(-height // scale), -(-width // scale))
    forward, backward = flows(frames, *shape, device), flows(frames, *shape, device)
    queries = grid(height, width, 5, 4, device)
    centres = ops.chain_flow(forward, backward, queries, frame=frame, size=(height, width), scale=scale)
    expected = reference.chain_flow(
        [f.cpu() for f in forward], [b.cpu() for b in backward], queries.cpu(), frame, (height, width), scale
    )
    assert torch.equal(centres.cpu(), expected)


def test_chain_flow_stays_inside_for_wild_flow(device):
    wild = [torch.full((2, 20, 20), value, device=device) for value in (float("nan"), float("inf"), -1e30, 3e9)]
    queries = grid(20, 20, 4, 3, device)
    for frame in range(4):
        centres = ops.chain_flow(wild, wild, queries, frame=frame, size=(20, 20))
        assert int(centres.min()) >= 0
        assert int(centres.max()) <= 19


@pytest.mark.parametrize(
    ("frames", "height", "width", "patch", "neighbors", "side", "side_other"),
    [
        (5, 40, 33, 8, 32, 9, 5),
        (3, 31, 50, 10, 48, 15, 7),
        (3, 30, 31, 12, 64, 9, 5),
        (1, 24, 24, 8, 16, 15, 7),
        (2, 9, 40, 8, 32, 9, 7),  # fewer rows than the window
        (1, 8, 8, 8, 16, 9, 5),  # one single candidate, repeated
        (4, 20, 20, 3, 100, 5, 3),
        (2, 40, 40, 5, 7, 1, 1),
        (2, 20, 22, 1, 4, 1, 1),
    ],
)
def test_search_matches_the_reference(device, frames, height, width, patch, neighbors, side, side_other):
    guide = clip(frames, height, width, device)
    forward, backward = flows(frames, height, width, device), flows(frames, height, width, device)
    queries = grid(height, width, patch, 6, device)
    for frame in {0, frames // 2, frames - 1}:
        centres = ops.chain_flow(forward, backward, queries, frame=frame, size=(height, width))
        distances, offsets = ops.search(
            guide, queries, centres, frame=frame, patch=patch, neighbors=neighbors, side=side, side_other=side_other
        )
        expected, expected_offsets = reference.search(
            [g.cpu() for g in guide], queries.cpu(), centres.cpu(), frame, patch, neighbors, side, side_other
        )
        torch.testing.assert_close(distances.double().cpu(), expected, rtol=1e-5, atol=1e-3)
        # Candidates whose float32 distances tie within rounding may change places; their distances then agree.
        same = (offsets.cpu() == expected_offsets).all(-1)
        assert float(same.float().mean()) > 0.999
        assert torch.equal(offsets[:, 0].cpu(), torch.zeros(len(queries), 3, dtype=torch.int32))


def test_ties_are_broken_by_time_row_and_column(device):
    guide = [torch.zeros(20, 20, device=device) for _ in range(3)]
    queries = torch.tensor([[8, 8]], dtype=torch.int32, device=device)
    centres = torch.tensor([[[8, 8], [8, 8], [8, 8]]], dtype=torch.int32, device=device)
    _, offsets = ops.search(guide, queries, centres, frame=1, patch=4, neighbors=16, side=3, side_other=3)
    inside = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    expected = [(0, 0, 0)] + [(-1, *o) for o in inside] + [(0, *o) for o in inside if o != (0, 0)]
    assert [tuple(o) for o in offsets[0].tolist()] == expected[:16]


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_search_along_the_flow_is_both_in_one(device, frames):
    guide, queries = clip(frames, 48, 60, device), grid(48, 60, 8, 3, device)
    fields = [3 * torch.randn(2, 2, 24, 30, device=device) for _ in range(frames - 1)]
    forward, backward = ([*(f[way] for f in fields), torch.zeros(2, 24, 30, device=device)] for way in (0, 1))
    backward = [backward[-1], *backward[:-1]]
    settings = {"patch": 8, "neighbors": 32, "side": 9, "side_other": 5}
    for frame in range(frames):
        centres = ops.chain_flow(forward, backward, queries, frame=frame, size=(48, 60), scale=2)
        expected = ops.search(guide, queries, centres, frame=frame, **settings)
        for grad in (True, False):  # through torch's dispatcher, and past it
            with torch.set_grad_enabled(grad):
                found = ops.search_along_flow(guide, fields, queries, frame=frame, scale=2, **settings)
            for f, e in zip(found, expected, strict=True):
                assert torch.equal(f, e)


def test_fields_of_a_search_are_named():
    guide, queries = clip(3, 20, 20, "cpu"), grid(20, 20, 4, 4, "cpu")
    settings = {"frame": 0, "patch": 4, "neighbors": 8, "side": 3, "side_other": 3}
    field = torch.zeros(2, 2, 20, 20)
    with pytest.raises(ValueError, match="fields must hold 2 flows, one less than frames, got 1"):
        ops.search_along_flow(guide, [field], queries, **settings)
    with pytest.raises(TypeError, match=r"fields\[0\] must be float32, got float64"):
        ops.search_along_flow(guide, [field.double()] * 2, queries, **settings)
    with pytest.raises(ValueError, match="scale must be greater than 0, got 0"):
        ops.search_along_flow(guide, [field] * 2, queries, scale=0, **settings)


def test_cutting_the_queries_changes_nothing(device):
    guide = clip(5, 48, 60, device)
    forward, backward = flows(5, 48, 60, device), flows(5, 48, 60, device)
    queries = grid(48, 60, 8, 3, device)
    centres = ops.chain_flow(forward, backward, queries, frame=2, size=(48, 60))
    settings = {"frame": 2, "patch": 8, "neighbors": 32, "side": 9, "side_other": 5}
    whole = ops.search(guide, queries, centres, **settings)
    for batch in (1, 7, 64):
        parts = [
            ops.search(guide, q, c, **settings) for q, c in zip(queries.split(batch), centres.split(batch), strict=True)
        ]
        assert torch.equal(torch.cat([p[0] for p in parts]), whole[0])
        assert torch.equal(torch.cat([p[1] for p in parts]), whole[1])


@pytest.mark.needs_cuda
def test_cuda_finds_exactly_what_the_cpu_finds():
    guide = clip(7, 120, 160, "cpu")
    forward, backward = flows(7, 120, 160, "cpu"), flows(7, 120, 160, "cpu")
    queries = grid(120, 160, 8, 5, "cpu")
    presets = (8, 16, 3, 3), (10, 48, 5, 5), (10, 64, 5, 5), (12, 32, 15, 5), (7, 32, 15, 5), (5, 32, 15, 5)
    others = (8, 32, 15, 7), (12, 64, 9, 5), (8, 64, 31, 11), (6, 4, 1, 1), (9, 32, 41, 5)
    for patch, neighbors, side, side_other in presets + others:
        queries = grid(120, 160, patch, 5, "cpu")
        centres = ops.chain_flow(forward, backward, queries, frame=3, size=(120, 160))
        settings = {"frame": 3, "patch": patch, "neighbors": neighbors, "side": side, "side_other": side_other}
        expected = ops.search(guide, queries, centres, **settings)
        found = ops.search([g.cuda() for g in guide], queries.cuda(), centres.cuda(), **settings)
        assert torch.equal(found[1].cpu(), expected[1])
        assert torch.equal(found[0].cpu(), expected[0])


def test_opcheck(device):
    guide = clip(3, 20, 22, device)
    field = flows(3, 20, 22, device)
    queries = grid(20, 22, 5, 6, device)
    torch.library.opcheck(torch.ops.vnlsdenoise.chain_flow.default, (field, field, queries, 1, 1, 20, 22))
    both, lists = torch.stack((field[0], field[1])), (1, 1, 4, 5, 3, 8)
    torch.library.opcheck(torch.ops.vnlsdenoise.search_along_flow.default, (guide, [both] * 2, queries, *lists))
    centres = ops.chain_flow(field, field, queries, frame=1, size=(20, 22))
    torch.library.opcheck(torch.ops.vnlsdenoise.search.default, (guide, queries, centres, 1, 5, 5, 3, 16))


def test_queries_outside_are_moved_in_and_nan_goes_last(device):
    guide = clip(2, 20, 24, device)
    wild = torch.tensor([[-5, 3], [400, 7], [4, -(2**31)], [18, 2**31 - 1]], dtype=torch.int32, device=device)
    inside = torch.tensor([[0, 3], [16, 7], [4, 0], [16, 20]], dtype=torch.int32, device=device)
    field = flows(2, 20, 24, device)
    settings = {"frame": 1, "patch": 4, "neighbors": 16, "side": 5, "side_other": 3}
    centres = ops.chain_flow(field, field, inside, frame=1, size=(20, 24))
    for one, other in zip(
        ops.search(guide, wild, centres, **settings), ops.search(guide, inside, centres, **settings), strict=True
    ):
        assert torch.equal(one, other)
    guide[0][:] = float("nan")
    distances, offsets = ops.search(guide, inside, centres, **settings)
    assert bool((offsets[..., 0] == 0).all())
    assert bool(distances.isfinite().all())


def test_no_queries_give_empty_lists(device):
    guide = clip(2, 20, 20, device)
    none = torch.empty(0, 2, dtype=torch.int32, device=device)
    centres = ops.chain_flow(flows(2, 20, 20, device), flows(2, 20, 20, device), none, frame=0, size=(20, 20))
    distances, offsets = ops.search(guide, none, centres, frame=0, patch=4, neighbors=16, side=3, side_other=3)
    assert distances.shape == (0, 16)
    assert offsets.shape == (0, 16, 3)


def test_wrong_input_is_named():
    guide = clip(2, 20, 20, "cpu")
    queries = torch.zeros(3, 2, dtype=torch.int32)
    centres = torch.zeros(3, 2, 2, dtype=torch.int32)
    good = {"frame": 0, "patch": 4, "neighbors": 16, "side": 3, "side_other": 3}
    cases = [
        (ValueError, "non-empty list", {"guide": []}),
        (
            ValueError,
            r"guide\[1\] must have the shape of the first, \[20, 20\], got \[20, 21\]",
            {"guide": [guide[0], torch.zeros(20, 21)]},
        ),
        (TypeError, "queries must be int32, got float32", {"queries": torch.zeros(3, 2)}),
        (ValueError, r"centres must have shape \[N, 2, 2\], got \[3, 1, 2\]", {"centres": centres[:, :1]}),
        (ValueError, "centres must hold 3 queries, got 2", {"centres": centres[:2]}),
        (ValueError, "side must be odd and at least 1, got 4", {"side": 4}),
        (ValueError, "frame must be from 0 to 1, got 2", {"frame": 2}),
        (ValueError, "frames must be at least patch = 21", {"patch": 21}),
        (ValueError, "neighbors must be greater than 0, got 0", {"neighbors": 0}),
        (ValueError, "neighbors must be at most 128, got 129", {"neighbors": 129}),
    ]
    for error, message, change in cases:
        arguments = {"guide": guide, "queries": queries, "centres": centres, **good, **change}
        with pytest.raises(error, match=message):
            ops.search(arguments.pop("guide"), arguments.pop("queries"), arguments.pop("centres"), **arguments)
    with pytest.raises(ValueError, match="forward and backward must hold the same number"):
        ops.chain_flow(flows(2, 5, 5, "cpu"), flows(3, 5, 5, "cpu"), queries, frame=0, size=(20, 20))
