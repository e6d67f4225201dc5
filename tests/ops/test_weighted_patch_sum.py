import itertools

import pytest
import torch
from golden import golden
from reference import aggregation as reference

from vnlsdenoise import ops
from vnlsdenoise.ops._patch_form import Form, check_limits

OPTIONS = [
    {"ps": 1, "stride0": 1},
    {"ps": 3, "stride0": 1},
    {"ps": 3, "stride0": 2, "dilation": 2},
    {"ps": 2, "stride0": 1, "use_adj": True},
    {"ps": 4, "stride0": 3, "reflect_bounds": False},
    {"ps": 3, "stride0": 1, "reflect_bounds": False, "dilation": 2},
    {"ps": 3, "stride0": 2, "pt": 2},
    {"ps": 5, "stride0": 2, "pt": 3},
]
RESIZED = [
    {"stride0": 1, "stride_out": 2},
    {"stride0": 2, "stride_out": 1},
    {"stride0": 2, "stride_out": 3, "out_size": (9, 20)},
]


def lists(
    kind, *, batch=1, heads=1, frames=2, rows=6, columns=7, count=2, reach=9.0, dtype=torch.float64, device="cpu"
):
    """Random weights, and offsets that lead beyond every border."""
    shape = (batch, heads, frames, rows, columns, count)
    weights = torch.randn(shape, dtype=dtype, device=device)
    offsets = reach * (2 * torch.rand(*shape, 3, dtype=dtype, device=device) - 1)
    offsets[..., 0] = torch.randint(-4, 5, shape, device=device)
    return weights, offsets.round().int() if kind == "int" else offsets


def grid(size, stride):
    return (size - 1) // stride + 1


def case(kind, options, **more):
    stride = options["stride0"]
    weights, offsets = lists(kind, rows=grid(6, stride), columns=grid(7, stride), **more)
    batch, heads, frames = weights.shape[:3]
    v = torch.randn(batch, frames, 2 * heads, 6, 7, dtype=weights.dtype, device=weights.device)
    return v, weights, offsets


def by_head(function, v, weights, offsets, **options):
    """The reference over batch and heads, [B, HD, ...]."""
    v, weights, offsets = (x.detach().double().cpu() for x in (v, weights, offsets))
    heads = v.unflatten(2, (weights.shape[1], -1)).transpose(1, 2)
    return torch.stack(
        [
            torch.stack([function(*one, **options) for one in zip(*each, strict=True)])
            for each in zip(heads, weights, offsets, strict=True)
        ]
    )


@pytest.mark.parametrize("ps", [1, 3, 5])
@pytest.mark.parametrize("offsets_of", ["int", "f05"])
def test_recorded_vectors(device, offsets_of, ps):
    """Outputs and gradients recorded from stnls."""
    with golden(f"wpsum_l2_{offsets_of}_s1_ps{ps}") as file:
        got = {key: torch.from_numpy(file[key]).to(device) for key in ("v", "w", "inds", "out", "go", "gv", "gw")}
        params = str(file["params"])
    assert ps == int(params.split("'ps': ")[1][0])
    v, w = got["v"][None].requires_grad_(), got["w"][None].requires_grad_()
    offsets = got["inds"][None].int() if "'int'" in params else got["inds"][None]
    out = ops.weighted_patch_sum(v, w, offsets, ps=ps, stride0=1)
    out.backward(got["go"][None])
    torch.testing.assert_close(out[0], got["out"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(v.grad[0], got["gv"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(w.grad[0], got["gw"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["int", "float"])
@pytest.mark.parametrize("options", [*OPTIONS, *({"ps": 3, **more} for more in RESIZED)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sums_match_the_reference(device, kind, options, dtype):
    v, weights, offsets = case(kind, options, heads=2, dtype=dtype, device=device)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    expected = by_head(reference.weighted_patch_sum, v, weights, offsets, **options, stack=True)
    found = ops.weighted_patch_sum(v, weights, offsets, **options)
    torch.testing.assert_close(found.double().cpu(), expected.sum(2), atol=tolerance, rtol=tolerance)
    merged = ops.weighted_patch_sum(v, weights, offsets, **options, merge_heads=True)
    assert torch.equal(merged, found.transpose(1, 2).flatten(2, 3))
    stack = ops.nonlocal_gather(v, weights, offsets, **options)
    torch.testing.assert_close(stack.double().cpu(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kind", ["int", "float"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_scatter_matches_the_reference_and_is_the_adjoint(device, kind, options):
    v, weights, offsets = case(kind, options, heads=2, device=device)
    found = ops.nonlocal_scatter_add(v, weights, offsets, **options)
    expected = by_head(reference.nonlocal_scatter_add, v, weights, offsets, **options)
    torch.testing.assert_close(found.cpu(), expected, atol=1e-10, rtol=1e-10)
    # The average is undone by the coverage, found by scattering ones home.
    home = torch.zeros_like(offsets)
    own = {**options, "reflect_bounds": False, "pt": 1}
    coverage = ops.nonlocal_scatter_add(torch.ones_like(v), torch.ones_like(weights), home, **own)
    coverage = coverage / weights.shape[-1]
    if options.get("pt", 1) == 1:
        x = torch.randn_like(found)
        y = v.unflatten(2, (2, -1)).transpose(1, 2)
        gathered = ops.weighted_patch_sum(x, weights, offsets, **options) * coverage
        torch.testing.assert_close((gathered * y).sum(), (x * found).sum(), atol=1e-9, rtol=1e-9)


def labels_for(weights):
    return torch.randint(-1, 4, weights.shape, device=weights.device)


@pytest.mark.parametrize("kind", ["int", "float"])
def test_scatter_into_planes(device, kind):
    options = {"ps": 3, "stride0": 2}
    v, weights, offsets = case(kind, options, heads=2, device=device)
    labels = labels_for(weights)
    found = ops.nonlocal_scatter(v, weights, offsets, labels, planes=3, **options)
    for plane in range(3):
        expected = ops.nonlocal_scatter_add(v, weights * (labels == plane), offsets, **options)
        torch.testing.assert_close(found[:, :, plane], expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", ["int", "float"])
def test_pool_matches_single_queries(device, kind):
    v, weights, offsets = case(kind, {"stride0": 2}, heads=2, device=device)
    found = ops.pooled_patch_sum(v, weights, offsets, ps=3, stride0=2)
    assert found.shape == (1, 2, 2, 2, 9, 12)
    for a, b in itertools.product(range(3), range(4)):
        alone = torch.zeros_like(weights)
        alone[:, :, :, a, b] = weights[:, :, :, a, b]
        cell = found[..., 3 * a : 3 * a + 3, 3 * b : 3 * b + 3]
        folded = ops.nonlocal_gather(v, alone, offsets, ps=3, stride0=2, stride_out=3, out_size=(10, 13)).sum(2)
        inside = folded[..., max(3 * a - 1, 0) : 3 * a + 2, max(3 * b - 1, 0) : 3 * b + 2]
        torch.testing.assert_close(cell[..., 3 - inside.shape[-2] :, 3 - inside.shape[-1] :], inside)


OPERATORS = {
    "sum": lambda v, w, o, **more: ops.weighted_patch_sum(v, w, o, **more),
    "resized": lambda v, w, o, **more: ops.weighted_patch_sum(v, w, o, stride_out=3, **more),
    "stack": lambda v, w, o, **more: ops.nonlocal_gather(v, w, o, **more),
    "scatter": lambda v, w, o, **more: ops.nonlocal_scatter_add(v, w, o, **more),
    "planes": lambda v, w, o, **more: ops.nonlocal_scatter(v, w, o, labels_for(w), planes=3, **more),
    "pool": lambda v, w, o, **more: ops.pooled_patch_sum(v, w, o, **more),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("reflect", [True, False])
@pytest.mark.parametrize("kind", ["int", "float"])
def test_gradients(device, operator, reflect, kind):
    v, weights, offsets = case(kind, {"stride0": 2}, heads=2, frames=2, device=device)
    inputs = [v.requires_grad_(), weights.requires_grad_()]
    if kind == "float":
        # Away from whole pixels, where bilinear samples have a kink; frames are steps and have no gradient.
        inside = (offsets - offsets.round()).abs().clamp(0.1, 0.4) + offsets.floor()
        inputs.append(inside[..., 1:].requires_grad_())

    def run(v, weights, move=None):
        torch.manual_seed(1)
        at = offsets if move is None else torch.cat([offsets[..., :1], move], -1)
        return OPERATORS[operator](v, weights, at, ps=3, stride0=2, reflect_bounds=reflect)

    assert torch.autograd.gradcheck(run, inputs, nondet_tol=0.0, fast_mode=True)


@pytest.mark.parametrize("kind", ["int", "float"])
@pytest.mark.parametrize("channels", [4, 12, 16, 20, 64, 132, 5])
def test_any_number_of_channels(device, kind, channels):
    """Packs of channels, and lanes that share them, against float64 on the CPU; also from unaligned memory."""
    weights, offsets = lists(kind, rows=6, columns=7, count=3)
    v, g = (torch.randn(1, 2, channels, 6, 7, dtype=torch.float64) for _ in range(2))

    def run(v, weights, offsets, g):
        moves = [offsets.requires_grad_()] if kind == "float" else []
        inputs = [v.requires_grad_(), weights.requires_grad_(), *moves]
        out = ops.weighted_patch_sum(v, weights, offsets, ps=3, stride0=1)
        return [out.detach(), *torch.autograd.grad(out, inputs, g[:, None])]

    exact = run(v.clone(), weights.clone(), offsets.clone(), g)
    shifted = torch.empty(v.numel() + 1, device=device)[1:].view_as(v).copy_(v)
    for image in (v.float().to(device), shifted):
        lists_ = weights.float().to(device), offsets.float().to(device) if kind == "float" else offsets.to(device)
        found = run(image, *lists_, g.float().to(device))
        for a, b in zip(found, exact, strict=True):
            torch.testing.assert_close(a.double().cpu(), b, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["int", "float"])
def test_runs_and_batches_give_the_same_bytes(device, kind):
    def run(v, weights, offsets):
        inputs = [v.clone().requires_grad_(), weights.clone().requires_grad_()]
        out = ops.weighted_patch_sum(*inputs, offsets, ps=3, stride0=1)
        return [out, *torch.autograd.grad((out * out).sum(), inputs)]

    args = case(kind, {"stride0": 1}, batch=2, heads=2, count=9, dtype=torch.float32, device=device)
    whole = run(*args)
    for found in (
        run(*args),
        [torch.cat(parts) for parts in zip(*(run(*(x[i : i + 1] for x in args)) for i in (0, 1)), strict=True)],
    ):
        assert all(torch.equal(a, b) for a, b in zip(whole, found, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (5, 1)])
@pytest.mark.parametrize("kind", ["int", "float"])
def test_smallest_frames(device, size, kind):
    weights, offsets = lists(kind, rows=size[0], columns=size[1], device=device)
    v = torch.randn(1, 2, 1, *size, dtype=torch.float64, device=device)
    for options in ({"ps": 3}, {"ps": 5, "reflect_bounds": False}):
        expected = by_head(reference.weighted_patch_sum, v, weights, offsets, stride0=1, **options)
        found = ops.weighted_patch_sum(v, weights, offsets, stride0=1, **options)
        torch.testing.assert_close(found.cpu(), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float32])
def test_wild_offsets_stay_in_bounds(device, dtype):
    v = torch.randn(1, 2, 4, 9, 8, device=device).requires_grad_()
    weights = torch.rand(1, 2, 2, 9, 8, 5, device=device).requires_grad_()
    wild = [0, 9_999_999, -9_999_999, 10_000_000, -(2**31), 2**31 - 1]
    wild += [torch.inf, -torch.inf, torch.nan, 1e30, 5e6 + 0.5] if dtype.is_floating_point else []
    pick = torch.randint(len(wild), (*weights.shape, 3), device=device)
    offsets = torch.tensor(wild, dtype=dtype, device=device)[pick]
    for operator in OPERATORS.values():
        out = operator(v, weights, offsets, ps=3, stride0=1)
        assert out.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), [v, weights]))


def test_neighbours_that_do_not_exist_do_not_count(device):
    v, weights, offsets = case("int", {"stride0": 1}, device=device)
    offsets[..., 1, 1] = 10**7
    found = ops.weighted_patch_sum(v, weights, offsets, ps=3, stride0=1)
    expected = ops.weighted_patch_sum(v, weights[..., :1], offsets[..., :1, :], ps=3, stride0=1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(device, dtype):
    v, weights, offsets = case("int", {"stride0": 1}, heads=2, dtype=torch.float32, device=device)
    v, weights = v.to(dtype), weights.to(dtype)
    found = ops.weighted_patch_sum(v, weights, offsets, ps=3, stride0=1)
    expected = ops.weighted_patch_sum(v.float(), weights.float(), offsets, ps=3, stride0=1)
    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))


def test_any_layout_of_memory(device):
    v, weights, offsets = case("float", {"stride0": 1}, heads=2, device=device)
    expected = ops.weighted_patch_sum(v, weights, offsets, ps=3, stride0=1)
    strided = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in (v, weights, offsets)]
    assert torch.equal(ops.weighted_patch_sum(*strided, ps=3, stride0=1), expected)
    six = v.unflatten(2, (2, -1)).transpose(1, 2)
    assert torch.equal(ops.weighted_patch_sum(six, weights, offsets, ps=3, stride0=1), expected)


def test_weights_that_sum_to_one_keep_a_constant(device):
    v = torch.full((1, 2, 3, 13, 11), 5.0, dtype=torch.float64, device=device)
    weights, offsets = lists("float", frames=2, rows=5, columns=4, count=3, device=device)
    out = ops.weighted_patch_sum(v, weights.softmax(-1), offsets, ps=5, stride0=3, pt=2)
    torch.testing.assert_close(out, torch.full_like(out, 5.0))


def test_opcheck(device):
    for kind in ("int", "float"):
        weights, offsets = lists(kind, device=device)
        weights, offsets = weights[0], offsets[0]
        v = torch.randn(1, 2, 6, 7, 2, dtype=torch.float64, device=device)
        form = [1, 1, 2, 6, 7, 2, 2, 6, 7, 2, 2, 6, 7, 3, 1, 1, 1, 1, 1, 1, 1, 1]
        library = torch.ops.vnlsdenoise
        inputs = (v.requires_grad_(), weights.requires_grad_(), offsets, form)
        torch.library.opcheck(library.patch_gather.default, inputs)
        torch.library.opcheck(library.patch_spread.default, inputs)
        plain = (v.detach(), v.detach(), weights.detach(), offsets, form)
        torch.library.opcheck(library.patch_dots.default, plain)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_to_one_graph(device, dynamic):
    v, weights, offsets = case("float", {"stride0": 1}, device=device)
    inputs = [v.requires_grad_(), weights.requires_grad_(), offsets.requires_grad_()]

    def run(v, weights, offsets):
        return ops.weighted_patch_sum(v, ops.normalise_distances(weights), offsets, ps=3, stride0=1, merge_heads=True)

    compiled = torch.compile(run, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    expected, found = run(*inputs), compiled(*inputs)
    torch.testing.assert_close(found, expected)
    for a, b in zip(torch.autograd.grad(found.sum(), inputs), torch.autograd.grad(expected.sum(), inputs), strict=True):
        torch.testing.assert_close(a, b)


def test_near_neighbours_weigh_most():
    distances = torch.tensor([[0.0, 0.1, torch.inf], [torch.inf] * 3])
    weights = ops.normalise_distances(distances)
    assert weights[0, 0] > weights[0, 1] > weights[0, 2] == 0
    assert torch.equal(weights[1], torch.zeros(3))
    assert ops.normalise_distances(distances, dist_type="prod", k_agg=2)[0].argmax() == 1
    for dist_type, sign in (("l2", -1), ("prod", 1)):
        values = torch.randn(2, 5, dtype=torch.float64)
        scores = torch.exp(sign * 3.0 * values)
        found = ops.normalise_distances(values, scale=3.0, dist_type=dist_type)
        torch.testing.assert_close(found, scores / scores.sum(-1, keepdim=True))
    with pytest.raises(ValueError, match="dist_type must be 'l2' or 'prod', got 'l1'"):
        ops.normalise_distances(distances, dist_type="l1")


def test_results_do_not_depend_on_the_number_of_threads():
    v, weights, offsets = case("float", {"stride0": 1}, heads=2, dtype=torch.float32)

    def run():
        inputs = [v.clone().requires_grad_(), weights.clone().requires_grad_()]
        out = ops.weighted_patch_sum(*inputs, offsets, ps=3, stride0=1)
        return [out, *torch.autograd.grad((out * out).sum(), inputs)]

    threads, many = torch.get_num_threads(), run()
    try:
        torch.set_num_threads(1)
        one = run()
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))


def test_many_neighbours_of_one_pixel(device):
    """Bins far from even: every query points at the same pixel, and a few at others."""
    weights, offsets = lists("int", rows=12, columns=13, count=6, dtype=torch.float32, device=device)
    y, x = torch.arange(12, device=device)[:, None, None], torch.arange(13, device=device)[:, None]
    offsets[..., 1], offsets[..., 2] = (4 - y).expand(12, 13, 6), (5 - x).expand(12, 13, 6)
    offsets[..., 0, :] = torch.randint_like(offsets[..., 0, :], -3, 4)
    v = torch.randn(1, 2, 1, 12, 13, device=device)
    found = ops.nonlocal_scatter_add(v, weights, offsets, ps=3, stride0=1)
    assert torch.equal(ops.nonlocal_scatter_add(v, weights, offsets, ps=3, stride0=1), found)
    exact = by_head(reference.nonlocal_scatter_add, v, weights, offsets, ps=3, stride0=1)
    torch.testing.assert_close(found.double().cpu(), exact, atol=1e-4, rtol=1e-4)


def test_wrong_input_is_named():
    v, weights, offsets = case("int", {"stride0": 1}, heads=2)
    good = {"ps": 3, "stride0": 1}
    with pytest.raises(TypeError, match=r"v must be a torch.Tensor, got list"):
        ops.weighted_patch_sum([1], weights, offsets, **good)
    with pytest.raises(ValueError, match=r"weights must have shape \[B, HD, T, nH, nW, K\], got \[2, 2, 6, 7, 2\]"):
        ops.weighted_patch_sum(v, weights[0], offsets, **good)
    with pytest.raises(ValueError, match=r"offsets must have shape \[1, 2, 2, 6, 7, 2, 3\], got \[1, 2, 2, 6, 7, 2\]"):
        ops.weighted_patch_sum(v, weights, offsets[..., 0], **good)
    with pytest.raises(TypeError, match=r"offsets must be int32 or int64 or .*, got bool"):
        ops.weighted_patch_sum(v, weights, offsets.bool(), **good)
    with pytest.raises(ValueError, match="v must have channels that 2 heads divide, got 3"):
        ops.weighted_patch_sum(v[:, :, :3], weights, offsets, **good)
    with pytest.raises(ValueError, match="weights must have the batch and frames of v"):
        ops.weighted_patch_sum(v[:, :1], weights, offsets, **good)
    with pytest.raises(ValueError, match="weights must have at most 3 x 4 queries for 6 x 7 pixels and stride0 = 2"):
        ops.weighted_patch_sum(v, weights, offsets, ps=3, stride0=2)
    with pytest.raises(ValueError, match=r"fewer than 2\^30 pixels per batch item, got 1073741824"):
        check_limits(Form(1, 1, 1, 2**15, 2**15, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"patches must reach fewer than 2\^29 pixels"):
        ops.weighted_patch_sum(v, weights, offsets, ps=3, stride0=1, dilation=2**30)
    with pytest.raises(ValueError, match="ps must be greater than 0, got 0"):
        ops.weighted_patch_sum(v, weights, offsets, ps=0, stride0=1)
    with pytest.raises(TypeError, match="stride0 must be an int, got float"):
        ops.weighted_patch_sum(v, weights, offsets, ps=3, stride0=1.5)
    with pytest.raises(ValueError, match=r"labels must have shape \[1, 2, 2, 6, 7, 2\], got \[1, 2, 2, 6, 7\]"):
        ops.nonlocal_scatter(v, weights, offsets, torch.zeros(1, 2, 2, 6, 7).int(), planes=2, **good)
