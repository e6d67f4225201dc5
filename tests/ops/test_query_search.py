import pytest
import torch

from vnlsdenoise import ops

SHAPE = (4, 3, 7, 8)


def inputs(device="cpu", dtype=torch.float64, wt=1):
    vid0, vid1 = (torch.randn(SHAPE, dtype=dtype).to(device).requires_grad_() for _ in range(2))
    flows = (2 * torch.randn(4, min(2 * wt + 1, 4) - 1, 2, 7, 8, dtype=dtype)).to(device).requires_grad_()
    return vid0, vid1, flows


def picks(device="cpu", count=23):
    return torch.stack([torch.randint(n, (count,)) for n in (4, 7, 8)], 1).int().to(device)


@pytest.mark.parametrize(
    "options",
    [
        {"k": 5},
        {"k": 5, "ps": 3, "stride1": 0.5, "dist_type": "prod"},
        {"k": 4, "ps": 3, "dilation": 2, "itype": "int"},
        {"k": 3, "ps": 2, "pt": 2, "topk_mode": "each", "full_ws": False},
        {"k": -1, "ps": 4, "dilation": 3, "pt": 5, "topk_mode": "none", "use_adj": True},
        {"k": 9, "ws": 4, "wt": 3, "ps": 5},
        {"k": 9, "wt": 0},
    ],
    ids=str,
)
def test_queries_of_the_grid_give_the_search_of_the_video(device, options):
    options = {"ws": 3, "wt": 1, **options}
    given = inputs(device, wt=options["wt"])
    grid = [v.detach().requires_grad_() for v in given]
    wanted = ops.nonlocal_search(*(v[None] for v in grid), **options)
    queries = picks(device)
    t, y, x = queries.long().unbind(1)
    found = ops.query_search(*given[:2], queries, given[2], **options)
    wanted = [wanted[0][0, 0, t, y, x], ops.absolute_from_offsets(wanted[1])[0, 0, t, y, x]]
    torch.testing.assert_close(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1])
    weights = torch.rand_like(wanted[0]) * wanted[0].isfinite()
    moves = torch.rand(wanted[1].shape, dtype=torch.float64, device=device) * weights[..., None]

    def gradients(outputs, leaves):
        loss = (outputs[0].masked_fill(weights == 0, 0) * weights).sum()
        loss = loss if outputs[1].dtype == torch.int32 else loss + (outputs[1] * moves).sum()
        return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)

    for a, b in zip(gradients(found, given), gradients(wanted, grid), strict=True):
        torch.testing.assert_close(a, b)


def test_parts_of_the_list_give_the_bytes_of_one_call(device):
    vid0, vid1, flows = inputs(device, torch.float32)
    queries = picks(device)
    options = {"ws": 5, "wt": 1, "ps": 3, "k": 6}
    whole = ops.query_search(vid0, vid1, queries, flows, **options)
    for size in (1, 5, 22):
        parts = [ops.query_search(vid0, vid1, part, flows, **options) for part in queries.split(size)]
        assert all(torch.equal(torch.cat(part), w) for part, w in zip(zip(*parts, strict=True), whole, strict=True))
    again = ops.query_search(vid0, vid1, queries, flows, **options)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_positions_are_those_of_the_patches(device):
    """A video searched in itself: what is found first is the query, and distances are those of gathered patches."""
    vid0, _, flows = inputs(device)
    queries = picks(device)
    distances, positions = ops.query_search(vid0, vid0, queries, ws=3, wt=1, ps=3, k=4)
    assert torch.equal(positions[:, 0].int(), queries) and not distances[:, 0].any()
    own, others = ops.gather_patches(vid0, queries[:, None], ps=3), ops.gather_patches(vid0, positions, ps=3)
    torch.testing.assert_close((own - others).square().sum((2, 3, 4, 5)), distances)
    none = ops.query_search(vid0, vid0, queries[:0], flows, ws=3, wt=1, k=4, itype="int")
    assert none[0].shape == (0, 4) and none[1].shape == (0, 4, 3) and none[1].dtype == torch.int32


def test_wrong_input_is_named():
    vid0, vid1, flows = inputs(dtype=torch.float32)
    queries = picks()
    good = {"ws": 3, "wt": 1, "k": 4}
    for error, message, change in [
        (TypeError, "vid0 must be a torch.Tensor, got list", {"vid0": []}),
        (ValueError, r"vid0 must have shape \[T, C, H, W\], got \[3, 7, 8\]", {"vid0": vid0[0]}),
        (TypeError, "vid1 must be float32, got float64", {"vid1": vid1.double()}),
        (ValueError, r"must have one shape, not empty, got \[4, 3, 7, 8\] and \[4, 3, 7, 7\]", {"vid1": vid1[..., 1:]}),
        (ValueError, r"queries must have shape \[N, 3\], got \[3\]", {"queries": queries[0]}),
        (TypeError, "queries must be int32 or int64, got float32", {"queries": queries.float()}),
        (ValueError, r"queries \(t, y, x\) must lie within 4 x 7 x 8", {"queries": queries + 7}),
        (ValueError, r"queries \(t, y, x\) must lie within 4 x 7 x 8", {"queries": -1 - queries}),
        (ValueError, r"flows must have shape \[4, 2, 2, 7, 8\], got \[4, 1, 2, 7, 8\]", {"flows": flows[:, 1:]}),
        (ValueError, "k must be at most the number of candidates, 27, got 28", {"k": 28}),
        (ValueError, "wt must be 0 or more, got -1", {"wt": -1}),
        (TypeError, "options must be dist_type, topk_mode, full_ws or itype, got self_action", {"self_action": None}),
    ]:
        given = {"vid0": vid0, "vid1": vid1, "queries": queries, "flows": flows, **good, **change}
        with pytest.raises(error, match=message):
            ops.query_search(**given)
