import ast
import math

import pytest
import torch
from golden import golden
from reference import nonlocal_search as reference

from vnlsdenoise import ops


def videos(shape, device="cpu", dtype=torch.float64):
    """Queries, keys, and a smooth-free flow for every other frame of the window, (x, y)."""
    return [torch.randn(shape, dtype=dtype).to(device) for _ in range(2)]


def flows(b, t, slots, grid, device="cpu", size=2.0, dtype=torch.float64, heads=None):
    shape = (b, t, slots, 2, *grid) if heads is None else (b, heads, t, slots, 2, *grid)
    return (size * torch.randn(shape, dtype=dtype)).to(device)


CASES = [
    {"ws": 3, "k": 5},
    {"ws": 5, "k": 9, "ps": 3, "stride1": 0.5},
    {"ws": 4, "k": -1, "ps": 2, "topk_mode": "none"},
    {"ws": 3, "k": 4, "ps": 3, "stride0": 2, "dist_type": "prod"},
    {"ws": 3, "k": 4, "ps": 3, "dilation": 2, "reflect_bounds": False, "stride1": 1.3},
    {"ws": 3, "k": 4, "ps": 3, "reflect_bounds": False, "itype": "int", "dist_type": "prod"},
    {"ws": 5, "k": 6, "ps": 3, "full_ws": False},
    {"ws": 9, "k": 30, "ps": 5, "itype": "int"},
    {"ws": 9, "k": 7, "ps": 1},
    {"ws": 13, "k": 40, "ps": 2, "stride1": 2},
    {"ws": 3, "k": 3, "ps": 3, "pt": 2},
    {"ws": 3, "k": 3, "ps": 3, "use_adj": True, "off_Hq": 1, "off_Wq": -2},
    {"ws": 3, "k": 3, "topk_mode": "each"},
    {"ws": 3, "k": 4, "self_action": "anchor"},
    {"ws": 3, "k": 4, "self_action": "anchor", "topk_mode": "each"},
    {"ws": 3, "k": 4, "self_action": "anchor_each", "topk_mode": "each", "ps": 3},
    {"ws": 3, "k": 4, "self_action": "anchor_each"},
    {"ws": 3, "k": -1, "self_action": "anchor_each", "topk_mode": "none"},
    {"ws": 3, "k": -1, "self_action": "anchor", "topk_mode": "none"},
    {"ws": 3, "k": 6, "self_action": "remove"},
    {"ws": 3, "k": 6, "self_action": "remove_ref_frame"},
    {"ws": 3, "k": 4, "itype": "int", "stride1": 2},
    {"ws": 4, "k": 4, "itype": "int", "full_ws": False},
    {"ws": 3, "k": 4, "ps": 2, "use_adj": True},
    {"ws": 3, "k": 4, "ps": 3, "off_Hq": -3, "off_Wq": 1, "reflect_bounds": False},
    {"ws": 3, "k": 4, "ps": 2, "pt": 3, "dist_type": "prod", "reflect_bounds": False},
    {"ws": 3, "k": 4, "ps": 3, "pt": 2, "itype": "int"},
    {"ws": 3, "k": 4, "self_action": "anchor", "dist_type": "prod"},
    {"ws": 3, "k": 4, "self_action": "anchor_self", "itype": "int"},
    {"ws": 3, "k": 4, "self_action": "anchor_each", "topk_mode": "each", "itype": "int"},
    {"ws": 3, "k": 3, "self_action": "remove", "topk_mode": "each"},
    {"ws": 3, "k": -1, "self_action": "remove", "topk_mode": "none"},
    {"ws": 3, "k": 3, "self_action": "remove_ref_frame", "topk_mode": "each"},
]


def close(found, wanted, rtol=1e-9, atol=1e-9):
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f.cpu().double(), w.double(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize(("b", "t", "h", "w", "wt", "heads"), [(2, 3, 9, 8, 1, 2), (1, 2, 6, 11, 2, 1)])
def test_it_matches_the_reference_with_its_gradients(device, options, b, t, h, w, wt, heads):
    stride0 = options.get("stride0", 1)
    grid = ((h - 1) // stride0 + 1, (w - 1) // stride0 + 1)
    q, k = videos((b, t, 4, h, w))
    flow = flows(b, t, min(2 * wt + 1, t) - 1, grid)
    if options.get("k", -1) > min(2 * wt + 1, t) * options["ws"] ** 2 - options["ws"] ** 2 - 1:
        options = {**options, "k": options["ws"] ** 2 - 1}
    ours = [v.to(device).requires_grad_() for v in (q, k, flow)]
    theirs = [v.clone().requires_grad_() for v in (q, k, flow)]
    found = ops.nonlocal_search(*ours, wt=wt, nheads=heads, **options)
    k_nearest = {"k": options["k"]}
    wanted = reference.nonlocal_search(*theirs, heads, wt, **{**options, **k_nearest})
    close(found, wanted)
    weights = [torch.randn(v.shape, dtype=torch.float64) for v in wanted]
    seen = wanted[0].isfinite()
    weights[1] = weights[1] * seen[..., None]

    def loss(outputs, on):
        distances = torch.where(seen.to(on), outputs[0], torch.zeros_like(outputs[0]))
        total = (distances * weights[0].to(on)).sum()
        return total + (outputs[1] * weights[1].to(on)).sum() if outputs[1].requires_grad else total

    got = torch.autograd.grad(loss(found, device), ours, allow_unused=True, materialize_grads=True)
    want = torch.autograd.grad(loss(wanted, "cpu"), theirs, allow_unused=True, materialize_grads=True)
    if options.get("itype") == "int":
        got, want = got[:2], want[:2]
    close(got, want, rtol=1e-6, atol=1e-6)


RECORDED = [
    "l2_f05_anchor",
    "l2_f05",
    "l2_f1_all",
    "l2_f1_each",
    "l2_f1_nofull",
    "l2_int_noref",
    "l2_int_remove",
    "l2_int",
    "prod_f_dil2_norefl",
    "prod_int_h2",
]


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_vectors(device, name):
    data = golden(f"nls_{name}_s1")
    options = ast.literal_eval(str(data["params"]))
    options["topk_mode"] = options.get("topk_mode", "all") if options["k"] > 0 else "none"
    q, k, flow = (torch.from_numpy(data[n])[None].to(device) for n in ("q", "k", "flows"))
    q.requires_grad_(), k.requires_grad_()
    distances, offsets = ops.nonlocal_search(q, k, flow, **options)
    wanted = torch.from_numpy(data["dists"])
    wanted = wanted[0] if wanted.ndim == 7 else wanted
    torch.testing.assert_close(distances[0].detach().cpu(), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(offsets[0].cpu().float(), torch.from_numpy(data["inds"]), rtol=0, atol=1e-3)
    gradient = torch.where(distances.isfinite(), torch.from_numpy(data["gd"])[None].to(device), 0.0)
    for found, recorded in zip(torch.autograd.grad(distances, (q, k), gradient), ("gq", "gk"), strict=True):
        torch.testing.assert_close(found[0].cpu(), torch.from_numpy(data[recorded]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "options", [{"ps": 3, "stride1": 0.7}, {"dist_type": "prod"}, {"itype": "int", "ps": 2}], ids=str
)
def test_gradcheck(device, options):
    q, k = (v.requires_grad_() for v in videos((1, 2, 2, 5, 6), device))
    flow = flows(1, 2, 1, (5, 6), device).requires_grad_()

    def function(q, k, flow):
        distances, offsets = ops.nonlocal_search(
            q, k, flow, ws=3, wt=1, k=-1, topk_mode="none", full_ws=True, **options
        )
        return (distances, offsets) if offsets.is_floating_point() else distances

    inputs = (q, k, flow if options.get("itype") != "int" else flow.detach())
    torch.autograd.gradcheck(function, inputs, eps=1e-6, atol=1e-4, nondet_tol=0)


def test_many_neighbours_and_large_windows(device):
    """Of every other pixel: the reference takes its time."""
    q, k = videos((1, 3, 3, 21, 19), device)
    flow = flows(1, 3, 2, (11, 10), device, size=4)
    for options in ({"ws": 21, "ps": 7, "k": 300}, {"ws": 21, "ps": 7, "k": 10, "itype": "int"}, {"ws": 11, "k": 100}):
        options = {**options, "stride0": 2}
        found = ops.nonlocal_search(q, k, flow, wt=1, **options)
        close(found, reference.nonlocal_search(q.cpu(), k.cpu(), flow.cpu(), 1, 2, **options))


def test_smaller_windows_inside(device):
    q, k = videos((1, 3, 2, 8, 9), device)
    flow = flows(1, 3, 2, (8, 9), device)
    wide = ops.nonlocal_search(q, k, flow, ws=5, wt=1, k=4, itype="int")
    small = ops.nonlocal_search(q, k, flow, ws=3, wt=1, k=4, itype="int")
    mixed = ops.nonlocal_search(q, k, flow, ws=5, wt=1, k=4, itype="int", ws_interior=3)
    for w, s, m in zip(wide, small, mixed, strict=True):
        assert torch.equal(m[:, :, :, :-1, :-1], s[:, :, :, :-1, :-1])
        assert torch.equal(m[:, :, :, -1], w[:, :, :, -1])
        assert torch.equal(m[:, :, :, :, -1], w[:, :, :, :, -1])


@pytest.mark.parametrize(
    ("q_size", "k_size", "options"),
    [
        ((16, 18), (8, 9), {"strideQ": 2}),
        ((8, 9), (16, 18), {"strideQ": 1, "stride0": 2}),
        ((15, 20), (8, 9), {"strideQ": 2, "itype": "int", "dist_type": "prod", "off_Hq": 1}),
    ],
)
def test_queries_of_another_size(device, q_size, k_size, options):
    q, k = (torch.randn(1, 2, 3, *s, dtype=torch.float64, device=device).requires_grad_() for s in (q_size, k_size))
    flow = flows(1, 2, 1, (8, 9), device)
    found = ops.nonlocal_search(q, k, flow, ws=3, wt=1, k=4, ps=3, **options)
    theirs = [v.detach().cpu().requires_grad_() for v in (q, k)]
    wanted = reference.nonlocal_search(*theirs, flow.cpu(), 1, 1, ws=3, k=4, ps=3, **options)
    close(found, wanted)
    gradient = torch.randn_like(wanted[0])
    got = torch.autograd.grad(found[0], (q, k), gradient.to(device))
    close(got, torch.autograd.grad(wanted[0], theirs, gradient), rtol=1e-6, atol=1e-6)


def test_heads_share_or_own_their_flow(device):
    q, k = videos((2, 3, 8, 7, 6), device)
    for heads in (1, 2, 4):
        flow = flows(2, 3, 3, (7, 6), device, heads=heads).requires_grad_()
        found = ops.nonlocal_search(q, k, flow, ws=3, wt=1, k=4, nheads=4)
        close(found, reference.nonlocal_search(q.cpu(), k.cpu(), flow.cpu(), 4, 1, ws=3, k=4))
        found[0].sum().backward()
        assert flow.grad.shape == flow.shape
    split = [v.unflatten(2, (4, 2)).transpose(1, 2) for v in (q, k)]
    again = ops.nonlocal_search(*split, flow, ws=3, wt=1, k=4)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_flow_is_chained_or_zero(device):
    q, k = videos((1, 4, 2, 9, 8), device)
    fflow, bflow = (torch.randn(1, 4, 2, 9, 8, dtype=torch.float64, device=device).requires_grad_() for _ in range(2))
    one = ops.nonlocal_search(q, k, fflow=fflow, bflow=bflow, ws=3, wt=1, k=4, stride0=2)
    other = ops.nonlocal_search(q, k, ops.search_flow(fflow, bflow, 1, 2), ws=3, wt=1, k=4, stride0=2)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    one[0].sum().backward()
    assert bool(fflow.grad.any())
    still = ops.nonlocal_search(q, k, ws=3, wt=1, k=4, stride0=2)
    zero = ops.nonlocal_search(q, k, torch.zeros(1, 4, 2, 2, 5, 4, device=device), ws=3, wt=1, k=4, stride0=2)
    assert all(torch.equal(a, b) for a, b in zip(still, zero, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(device, dtype):
    q, k = (v.to(dtype).requires_grad_() for v in videos((1, 3, 8, 7, 9), device))
    distances, offsets = ops.nonlocal_search(q, k, ws=3, wt=1, k=4)
    wanted = ops.nonlocal_search(q.detach().float(), k.detach().float(), ws=3, wt=1, k=4)
    assert torch.equal(distances, wanted[0]) and torch.equal(offsets, wanted[1])
    distances.sum().backward()
    assert q.grad.dtype == dtype


@pytest.mark.parametrize("topk_mode", ["all", "each"])
def test_only_the_first_neighbours_receive_gradient(device, topk_mode):
    q, k = videos((1, 3, 2, 7, 8), device)
    flow = flows(1, 3, 2, (7, 8), device)
    lists, grads = 3 if topk_mode == "each" else 1, []
    for k_agg in (2, -1):
        ours = [v.clone().requires_grad_() for v in (q, k, flow)]
        distances, offsets = ops.nonlocal_search(*ours, ws=3, wt=1, k=5, k_agg=k_agg, topk_mode=topk_mode)
        kept = slice(None) if k_agg > 0 else slice(2)
        distances, offsets = distances.unflatten(5, (lists, 5)), offsets.unflatten(5, (lists, 5))
        (distances[..., kept].sum() + (offsets[..., kept, :] ** 2).sum()).backward()
        grads.append([v.grad for v in ours])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_gradients_may_be_normalised_by_coverage(device):
    grads = []
    for normalize_bwd in (False, True):
        torch.manual_seed(1)
        q, k = (v.requires_grad_() for v in videos((1, 2, 2, 9, 8), device))
        ops.nonlocal_search(q, k, ws=3, wt=1, k=4, ps=3, stride0=2, normalize_bwd=normalize_bwd)[0].sum().backward()
        grads.append((q.grad, k.grad))
    counts = [
        torch.nn.functional.fold(
            torch.ones(1, 9, -(-9 // s) * -(-8 // s), dtype=torch.float64), (9, 8), 3, padding=1, stride=s
        ).to(device)
        for s in (2, 1)
    ]
    for plain, normalised, count in zip(*grads, counts, strict=True):
        torch.testing.assert_close(normalised, plain / count[0].clamp(min=1))


@pytest.mark.parametrize("value", [math.nan, math.inf, -3e7, 1e30, 1234.5])
@pytest.mark.parametrize("itype", ["float", "int"])
def test_wild_flow_reads_nothing_outside(device, value, itype):
    q, k = (v.float().requires_grad_() for v in videos((1, 3, 4, 9, 8), device))
    flow = flows(1, 3, 2, (9, 8), device, dtype=torch.float32)
    flow[:, :, :, :, ::2] = value
    flow.requires_grad_()
    distances, offsets = ops.nonlocal_search(q, k, flow, ws=3, wt=1, k=12, ps=3, itype=itype)
    assert bool((distances.isfinite() | (offsets[..., 0] * 0 == 0)).all())
    torch.where(distances.isfinite(), distances, 0).sum().backward()
    assert bool(q.grad.isfinite().all() and k.grad.isfinite().all())
    if value == 1234.5 and itype == "float":
        given = [v.detach().double() for v in (q, k, flow)]
        wanted = reference.nonlocal_search(*(v.cpu() for v in given), 1, 1, ws=3, k=12, ps=3)
        close(ops.nonlocal_search(*given, ws=3, wt=1, k=12, ps=3), wanted)


def test_ties_are_broken_by_frame_row_and_column(device):
    flat = torch.zeros(1, 3, 1, 9, 9, device=device)
    _, offsets = ops.nonlocal_search(flat, flat, ws=3, wt=1, k=12, itype="int")
    order = [(dt, dy, dx) for dt in (0, 1, -1) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    assert [tuple(o) for o in offsets[0, 0, 1, 4, 4].tolist()] == order[:12]


def test_nan_goes_last(device):
    q, k = (v.float() for v in videos((1, 1, 2, 7, 7), device))
    k[..., 3, 3] = math.nan
    distances, offsets = ops.nonlocal_search(q, k, ws=3, wt=0, k=9, itype="int")
    assert not distances.isnan().any()
    assert offsets[0, 0, 0, 3, 3, -1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "options", [{"ps": 3, "ws": 5}, {"ps": 1, "ws": 9}, {"ps": 7, "ws": 9, "itype": "int"}], ids=str
)
def test_forward_and_backward_repeat_to_the_bit(device, options):
    q, k = (v.float().requires_grad_() for v in videos((2, 3, 8, 33, 29), device))
    flow = flows(2, 3, 2, (33, 29), device, dtype=torch.float32).requires_grad_()
    runs = []
    for _ in range(3):
        distances, offsets = ops.nonlocal_search(q, k, flow, wt=1, k=8, nheads=2, **options)
        grads = torch.autograd.grad(distances.square().sum(), (q, k, flow), allow_unused=True, materialize_grads=True)
        runs.append((distances, offsets, *grads))
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_single_precision_of_every_kernel_path(device):
    """Sizes that the specialised CUDA kernels take: single pixels with four channels, patches in tiles."""
    for options in (
        {"ps": 1, "ws": 9},
        {"ps": 1, "ws": 5, "itype": "int"},
        {"ps": 1, "ws": 4, "dist_type": "prod"},
        {"ps": 7, "ws": 21},
        {"ps": 3, "ws": 9, "itype": "int"},
        {"ps": 3, "ws": 5, "stride1": 0.5},
        {"ps": 5, "ws": 6, "dist_type": "prod"},
        {"ps": 2, "ws": 11, "pt": 2, "topk_mode": "each"},
    ):
        q, k = videos((1, 4, 8, 30, 35), device)
        flow = flows(1, 4, 2, (30, 35), device, size=4)
        wanted = ops.nonlocal_search(q.cpu(), k.cpu(), flow.cpu(), wt=1, k=7, nheads=2, **options)
        found = ops.nonlocal_search(q.float(), k.float(), flow.float(), wt=1, k=7, nheads=2, **options)
        torch.testing.assert_close(found[0].cpu().double(), wanted[0], rtol=1e-4, atol=1e-3)
        same = (found[1].cpu().double() - wanted[1]).abs().amax(-1) < 1e-3
        assert float(same.double().mean()) > 0.998, options


SHORT_LISTS = [
    {"ws": 21, "ps": 7},
    {"ws": 13, "ps": 5, "k": 32},
    {"ws": 6, "ps": 7, "k": 1},
    {"ws": 20, "ps": 5, "full_ws": False},
    {"ws": 9, "ps": 7, "topk_mode": "each", "ws_interior": 6},
    {"ws": 15, "ps": 7, "self_action": "anchor", "use_adj": True},
    {"ws": 14, "ps": 5, "self_action": "anchor", "full_ws": False, "off_Hq": 2},
    {"ws": 7, "ps": 5, "self_action": "anchor_each", "topk_mode": "each"},
    {"ws": 16, "ps": 7, "self_action": "remove", "k": 20},
]


def levels(shape, content, device):
    """A video of whole numbers below 2^9: sums of squared differences of its patches are exact in any order."""
    video = torch.randint(0, 256, shape, dtype=torch.float64)
    if content == "flat":
        video = torch.full(shape, 7.0, dtype=torch.float64)
    elif content == "bright, faint":
        video = 510 + torch.randint(0, 2, shape, dtype=torch.float64)
    elif content == "half black":
        video[..., : shape[-1] // 2] = 0
    elif content == "checks":
        video = 255 * ((torch.arange(shape[-2])[:, None] + torch.arange(shape[-1])) % 2).double().expand(shape).clone()
    elif content == "no number":
        video[..., ::11, ::7] = math.nan
        video[..., 5::13, 3::9] = math.inf
    return video.to(device)


@pytest.mark.parametrize("content", ["noise", "flat", "bright, faint", "half black", "checks", "no number"])
@pytest.mark.parametrize("options", SHORT_LISTS, ids=str)
def test_short_lists_of_whole_pixels_are_exact(device, options, content):
    """What tensor cores of a GPU only estimate is left out by no mistake: single precision finds the same lists."""
    for heads, channels, size in ((1, 3, (37, 46)), (2, 2, (19, 67)), (1, 1, (9, 11))):
        q = levels((2, 4, channels, *size), content, device)
        k = levels((2, 4, channels, *size), content, device) if content == "noise" else q.flip(1)
        grid = tuple((n - 1) // 2 + 1 for n in size)
        flow = flows(2, 4, 2, grid, device, size=6)
        given = {"wt": 1, "k": 10, "stride0": 2, "nheads": heads, "itype": "int", **options}
        wanted = ops.nonlocal_search(q.cpu(), k.cpu(), flow.cpu(), **given)
        found = ops.nonlocal_search(q.float(), k.float(), flow.float(), **given)
        assert torch.equal(found[0].cpu().double(), wanted[0])
        assert torch.equal(found[1].cpu(), wanted[1])


def test_other_memory_layouts_give_the_same(device):
    q, k = videos((2, 3, 4, 8, 7), device)
    flow = flows(2, 3, 2, (8, 7), device)
    wanted = ops.nonlocal_search(q, k, flow, ws=3, wt=1, k=4)
    found = ops.nonlocal_search(
        q.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
        k.mT.contiguous().mT,
        flow[..., ::1],
        ws=3,
        wt=1,
        k=4,
    )
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_nothing_to_search(device):
    q = torch.zeros(0, 3, 2, 5, 6, device=device, requires_grad=True)
    distances, offsets = ops.nonlocal_search(q, q, ws=3, wt=1, k=4)
    assert distances.shape == (0, 1, 3, 5, 6, 4) and offsets.shape == (0, 1, 3, 5, 6, 4, 3)
    distances.sum().backward()
    assert q.grad.shape == q.shape


def test_opcheck_and_compile(device):
    q, k = (v.float().requires_grad_() for v in videos((1, 3, 4, 6, 7), device))
    centres = torch.zeros(1, 1, 3, 6, 7, 3, 3, device=device, requires_grad=True)
    settings = [2, 3, 0, 3, 1, 1, 0, 1, 1, 1, 1, 1, -1, 0, 0, 0, 1, 4, 2**31 - 1, 0]
    torch.library.opcheck(torch.ops.vnlsdenoise.nonlocal_search.default, (q, k, centres, settings, 1.0, 4, False))

    def function(q, k, flow):
        return ops.nonlocal_search(q, k, flow, ws=3, wt=1, k=4, nheads=2)

    flow = flows(1, 3, 2, (6, 7), device, dtype=torch.float32).requires_grad_()
    found = torch.compile(function, fullgraph=True, backend="aot_eager")(q, k, flow)
    wanted = function(q, k, flow)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    for a, b in zip(
        *(torch.autograd.grad(o[0].sum() + o[1].sum(), (q, k, flow)) for o in (found, wanted)), strict=True
    ):
        assert torch.equal(a, b)


def test_wrong_input_is_named():
    q, k = (v.float() for v in videos((1, 3, 4, 6, 7)))
    good = {"ws": 3, "wt": 1, "k": 4}
    for error, message, change in [
        (TypeError, "vid0 must be a torch.Tensor, got list", {"vid0": []}),
        (ValueError, r"vid0 must have shape \[B, T, C, H, W\], got \[3, 4, 6, 7\]", {"vid0": q[0]}),
        (TypeError, "vid0 must be float32 or float64 or float16 or bfloat16, got int64", {"vid0": q.long()}),
        (TypeError, "vid1 must be float32, got float64", {"vid1": k.double()}),
        (ValueError, "vid1 must agree with vid0 in batch, frames and channels", {"vid1": k[:, :2]}),
        (ValueError, "vid1 must have the size of vid0", {"vid1": k[..., 1:]}),
        (ValueError, "nheads must divide the 4 channels of vid0, got 3", {"nheads": 3}),
        (ValueError, "flows must have shape", {"flows": torch.zeros(1, 3, 1, 2, 6, 7)}),
        (ValueError, "either flows or fflow and bflow", {"flows": q, "fflow": q, "bflow": q}),
        (ValueError, "fflow and bflow must be given together", {"fflow": q}),
        (ValueError, "k must be at most the number of candidates, 27, got 28", {"k": 28}),
        (ValueError, "k must be at most the number of candidates, 26, got 27", {"k": 27, "self_action": "remove"}),
        (ValueError, "ws must be greater than 0, got 0", {"ws": 0}),
        (ValueError, "stride1 must be greater than 0, got -1", {"stride1": -1}),
        (ValueError, "stride1 must be a whole number with itype='int', got 0.5", {"stride1": 0.5, "itype": "int"}),
        (ValueError, "dist_type must be one of 'l2', 'prod', got 'l1'", {"dist_type": "l1"}),
        (ValueError, "self_action must be one of None, 'anchor'", {"self_action": "keep"}),
        (ValueError, "k must be 0 or less with topk_mode='none'", {"topk_mode": "none"}),
        (ValueError, "wt must be 0 or more, got -1", {"wt": -1}),
        (ValueError, "needs wt greater than 0", {"wt": 0, "self_action": "remove_ref_frame"}),
        (ValueError, "ws_interior must be from 0 to ws = 3, got 4", {"ws_interior": 4}),
        (ValueError, "6 x 7 queries 2 pixels apart must lie inside vid0", {"strideQ": 2}),
    ]:
        arguments = {"vid0": q, "vid1": k, **good, **change}
        with pytest.raises(error, match=message):
            ops.nonlocal_search(arguments.pop("vid0"), arguments.pop("vid1"), **arguments)
