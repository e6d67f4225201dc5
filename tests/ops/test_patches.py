import pytest
import torch
from reference import aggregation as reference

from vnlsdenoise import ops


def positions(kind, number, count, shape, device="cpu"):
    where = torch.rand(number, count, 3, dtype=torch.float64, device=device) * 30 - 10
    where[..., 0] = torch.randint(-2, shape[0] + 2, (number, count), device=device)
    return where.round().int() if kind == "int" else where


def expected_sums(video, weights, where, **options):
    """Patches that hang from their top left pixel: each list a query at the origin, their results far apart."""
    ps, pt = options.pop("ps"), options.pop("pt", 1)
    patches = torch.zeros(len(weights), pt, video.shape[1], ps, ps, dtype=torch.float64)
    terms = reference.terms(
        video, where[None, :, None], 1, len(weights), 1, ps=ps, pt=pt, stride_in=0, stride_out=1000,
        out=(pt, 10**6, 10**6), dilation=options.get("dilation", 1), reflect=options.get("reflect_bounds", True),
        adj=True,
    )  # fmt: skip
    for (_, n, _), k, (d, oy, ox), (f, y, x) in terms:
        step = options.get("dilation", 1)
        patches[n, d, :, (oy - 1000 * n) // step, ox // step] += weights[n, k] * reference.sample(video[f], y, x)
    return patches


@pytest.mark.parametrize("kind", ["int", "float"])
@pytest.mark.parametrize(
    "options",
    [
        {"ps": 3, "use_adj": True},
        {"ps": 2, "pt": 2, "dilation": 2, "use_adj": True},
        {"ps": 3, "reflect_bounds": False, "use_adj": True},
    ],
    ids=str,
)
def test_weighted_patches_match_the_reference(device, kind, options):
    video = torch.randn(3, 2, 7, 9, dtype=torch.float64, device=device)
    where = positions(kind, 5, 3, video.shape, device)
    weights = torch.randn(5, 3, dtype=torch.float64, device=device)
    found = ops.weighted_patches(video, weights, where, **options)
    expected = expected_sums(video.cpu(), weights.cpu(), where.cpu(), **options)
    torch.testing.assert_close(found.cpu(), expected)
    patches = ops.gather_patches(video, where, **options)
    torch.testing.assert_close((patches * weights[..., None, None, None, None]).sum(1), found)


@pytest.mark.parametrize("use_adj", [False, True])
def test_gather_on_a_grid_is_unfold(device, use_adj):
    video = torch.randn(2, 3, 6, 5, device=device)
    axes = [torch.arange(n, device=device) for n in (2, 6, 5)]
    where = torch.cartesian_prod(*axes)[:, None]
    options = {"ps": 3, "pt": 2, "dilation": 2, "use_adj": use_adj}
    assert torch.equal(ops.gather_patches(video, where, **options), ops.unfold(video, **options))


@pytest.mark.parametrize("reflect", [True, False])
@pytest.mark.parametrize("kind", ["int", "float"])
def test_scatter_is_the_adjoint_and_counts_the_weights(device, kind, reflect):
    video = torch.randn(3, 2, 7, 9, dtype=torch.float64, device=device)
    where = positions(kind, 6, 2, video.shape, device)
    options = {"dilation": 2, "reflect_bounds": reflect}
    patches = ops.gather_patches(video, where, ps=3, pt=2, **options)
    other, weights = torch.randn_like(patches), torch.rand(6, 2, dtype=torch.float64, device=device)
    sums, total = ops.scatter_patches(other, where, video.shape, weights, **options)
    spread = weights[..., None, None, None, None] * other
    torch.testing.assert_close((patches * spread).sum(), (video * sums).sum())
    of_ones, _ = ops.scatter_patches(torch.ones_like(other), where, video.shape, weights, **options)
    torch.testing.assert_close(total, of_ones[:, :1])
    again = ops.scatter_patches(other, where, video.shape, weights, **options)
    assert torch.equal(again[0], sums)


def test_gradients(device):
    video = torch.randn(2, 2, 6, 5, dtype=torch.float64, device=device, requires_grad=True)
    where = positions("float", 4, 2, video.shape, device)
    where[..., 1:] = where[..., 1:].floor() + 0.2
    moves = where[..., 1:].clone().requires_grad_()
    weights = torch.randn(4, 2, dtype=torch.float64, device=device, requires_grad=True)
    patches = torch.randn(4, 2, 1, 2, 3, 3, dtype=torch.float64, device=device, requires_grad=True)

    def at(moves):
        return torch.cat([where[..., :1], moves], -1)

    def gathered(video, weights, moves):
        return ops.weighted_patches(video, weights, at(moves), ps=3)

    def scattered(patches, weights, moves):
        return ops.scatter_patches(patches, at(moves), (2, 2, 6, 5), weights)

    assert torch.autograd.gradcheck(gathered, (video, weights, moves), nondet_tol=0.0)
    assert torch.autograd.gradcheck(scattered, (patches, weights, moves), nondet_tol=0.0)


def test_ranges_of_lists_give_the_bytes_of_one_call(device):
    video = torch.randn(3, 2, 7, 9, device=device)
    where = positions("float", 11, 3, video.shape, device).float()
    weights = torch.randn(11, 3, device=device)
    whole = ops.weighted_patches(video, weights, where, ps=3)
    parts = [ops.weighted_patches(video, weights[i : i + 4], where[i : i + 4], ps=3) for i in range(0, 11, 4)]
    assert torch.equal(torch.cat(parts), whole)


def test_wrong_input_is_named():
    video, where = torch.zeros(2, 3, 6, 5), torch.zeros(4, 2, 3).int()
    with pytest.raises(ValueError, match=r"positions must have shape \[N, K, 3\], got \[4, 2, 2\]"):
        ops.gather_patches(video, where[..., :2], ps=3)
    with pytest.raises(ValueError, match=r"positions must have shape \[4, 1, 3\], got \[4, 2, 3\]"):
        ops.weighted_patches(video, torch.zeros(4, 1), where, ps=3)
    patches = ops.gather_patches(video, where, ps=3)
    with pytest.raises(ValueError, match=r"patches must have shape \[N, K, pt, 4, ps, ps\]"):
        ops.scatter_patches(patches, where, (2, 4, 6, 5))
    with pytest.raises(ValueError, match="patches must be square, got 3 x 2"):
        ops.scatter_patches(patches[..., :2], where, video.shape)
