import pytest
import torch
from reference import nonlocal_search as reference

from vnlsdenoise import nn, ops


def video(*shape, device="cpu"):
    return torch.randn(shape, dtype=torch.float64).to(device)


def test_refining_with_windows_of_one_gives_back_the_search(device):
    q, k = video(2, 3, 4, 9, 8, device=device), video(2, 3, 4, 9, 8, device=device)
    flow = 2 * video(2, 3, 2, 2, 5, 4, device=device)
    found = ops.nonlocal_search(q, k, flow, ws=3, wt=1, k=6, ps=3, nheads=2, stride0=2)
    again = ops.refine_search(q, k, found[1], wr=1, ps=3, nheads=2, stride0=2)
    for one, other in zip(found, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [{"k": 5}, {"k": 3, "topk_mode": "each"}, {"k": -1}, {"k": 4, "ps": 3, "dist_type": "prod", "stride1": 0.5}],
    ids=str,
)
def test_refinement_matches_the_reference_with_its_gradients(device, options):
    q, k = video(1, 3, 4, 7, 8), video(1, 3, 4, 7, 8)
    near = torch.randint(-4, 5, (1, 2, 3, 4, 4, 5, 3)).double()
    near[..., 1:] += torch.rand(near[..., 1:].shape, dtype=torch.float64)
    ours = [v.to(device).requires_grad_() for v in (q, k, near)]
    theirs = [v.clone().requires_grad_() for v in (q, k, near)]
    found = ops.refine_search(*ours, wr=3, nheads=2, stride0=2, **options)
    split = [v.unflatten(2, (2, 2)).transpose(1, 2) for v in theirs[:2]]
    plain = {n: v for n, v in options.items() if n in ("ps", "stride1")}
    wanted = reference.search(
        *split, theirs[2], ws=3, k_nearest=options["k"], stride0=2, each="topk_mode" in options,
        prod="dist_type" in options, **plain,
    )  # fmt: skip
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f.cpu(), w, rtol=1e-9, atol=1e-9)
    weights = [torch.randn(w.shape, dtype=torch.float64) for w in wanted]
    got = torch.autograd.grad(sum((f * w.to(device)).sum() for f, w in zip(found, weights, strict=True)), ours)
    want = torch.autograd.grad(sum((f * w).sum() for f, w in zip(wanted, weights, strict=True)), theirs)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g.cpu(), w, rtol=1e-6, atol=1e-6)


def test_only_some_inputs_are_refined(device):
    q = video(1, 2, 3, 7, 8, device=device)
    near = torch.zeros(1, 1, 2, 7, 8, 6, 3, device=device)
    assert ops.refine_search(q, q, near, wr=1, kr=2, stride0=1)[0].shape[-1] == 2
    assert ops.refine_search(q, q, near, wr=1, kr=0.5, stride0=1)[0].shape[-1] == 3
    near[..., 0, :] = torch.nan
    near[..., 1, 1] = 3e8
    distances, _ = ops.refine_search(q, q, near, wr=1, stride0=1, itype="int")
    assert bool(distances[..., :2].isinf().all()) and not distances[..., 2:].any()


def test_paired_search_is_the_search_of_one_other_frame(device):
    clip = video(2, 3, 4, 9, 8, device=device)
    flow = 2 * video(2, 3, 2, 2, 9, 8, device=device)
    _, offsets = ops.nonlocal_search(clip, clip, flow, ws=3, wt=1, k=2, ps=3, nheads=2, topk_mode="each")
    distances, near = ops.paired_search(
        clip[:, 1], clip[:, 2], flow[:, 1, 0], ws=3, k=2, ps=3, nheads=2, stride0=1, topk_mode="all"
    )
    assert distances.shape == (2, 2, 9, 8, 2) and near.shape == (2, 2, 9, 8, 2, 2)
    torch.testing.assert_close(near, offsets[:, :, 1, :, :, 2:4, 1:])
    refined = ops.paired_refine(clip[:, 1], clip[:, 2], near, wr=1, ps=3, nheads=2, stride0=1)
    torch.testing.assert_close(refined[0], distances)
    torch.testing.assert_close(refined[1], near)


def test_heads_of_the_flow_repeat_the_frames(device):
    frames = [video(1, 3, 8, 9, device=device).requires_grad_() for _ in range(2)]
    flow = video(1, 4, 2, 4, 5, device=device).requires_grad_()
    distances, offsets = ops.paired_search(*frames, flow, ws=3, k=2, stride0=2, itype="float")
    for head in range(4):
        one = ops.paired_search(*frames, flow[:, head], ws=3, k=2, stride0=2)
        assert torch.equal(one[0][:, 0], distances[:, head]) and torch.equal(one[1][:, 0], offsets[:, head])
    (distances.sum() + offsets.square().sum()).backward()
    assert all(bool(v.grad.any()) for v in (*frames, flow))


def test_offsets_and_positions(device):
    fflow, bflow = video(1, 3, 2, 6, 7, device=device), video(1, 3, 2, 6, 7, device=device)
    q = video(1, 3, 2, 6, 7, device=device)
    _, offsets = ops.nonlocal_search(q, q, fflow=fflow, bflow=bflow, ws=3, wt=1, stride0=2, topk_mode="none")
    positions = ops.absolute_from_offsets(offsets, 2)
    torch.testing.assert_close(ops.offsets_from_absolute(positions, 2), offsets)
    candidates = ops.non_local_inds(fflow, bflow, 3, 1, stride0=2)
    torch.testing.assert_close(positions.reshape(candidates.shape), candidates)


def test_topk_keeps_the_anchor_and_the_order_of_ties(device):
    dists = torch.tensor([[5.0, 1.0, 3.0, 1.0]], device=device)
    inds = torch.arange(4, device=device).reshape(1, 4, 1)
    assert ops.topk(dists, inds, 3)[1].flatten().tolist() == [1, 3, 2]
    assert ops.topk(dists, inds, 3, anchor=True)[1].flatten().tolist() == [0, 1, 3]
    assert ops.topk(dists, inds, 2, descending=True)[0].flatten().tolist() == [5.0, 3.0]
    with pytest.raises(ValueError, match="k must be from 1 to 4, got 5"):
        ops.topk(dists, inds, 5)


def test_modules_call_their_operators(device):
    q = video(1, 3, 4, 9, 8, device=device)
    fields = video(1, 3, 2, 9, 8, device=device), video(1, 3, 2, 9, 8, device=device)
    search = nn.NonLocalSearch(3, 1, ps=3, k=4, nheads=2, stride0=4)
    found = search(q, q, *fields)
    wanted = ops.nonlocal_search(q, q, fflow=fields[0], bflow=fields[1], ws=3, wt=1, ps=3, k=4, nheads=2, stride0=4)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert "ws=3" in repr(search)
    assert nn.RefineSearch(3, 1, 3, 2, nheads=2, ps=3)(q, q, found[1])[0].shape[-1] == 2
    flow = torch.zeros(1, 2, 3, 2, device=device, dtype=torch.float64)
    distances, near = nn.PairedSearch(3, 3, 2)(q[:, 0], q[:, 1], flow)
    assert distances.shape == (1, 1, 3, 2, 2)
    assert nn.PairedRefine(3, 3, 1)(q[:, 0], q[:, 1], near)[1].shape == (1, 1, 3, 2, 2, 2)


def test_wrong_input_is_named():
    q = video(1, 2, 3, 6, 7)
    with pytest.raises(ValueError, match=r"flows must have shape \[B, HD, T, nH, nW, Ks, 3\], got \[1, 2\]"):
        ops.refine_search(q, q, torch.zeros(1, 2), wr=3)
    with pytest.raises(ValueError, match=r"flows must have shape \[1, 1 or a divisor of 1, 2, 2, 2, Ks, 3\]"):
        ops.refine_search(q, q, torch.zeros(1, 1, 2, 6, 7, 4, 3), wr=3)
    with pytest.raises(ValueError, match="frame1 must have shape"):
        ops.paired_search(q[:, 0], q[:, 1, 0], torch.zeros(1, 2, 2, 2), ws=3)
    with pytest.raises(ValueError, match="flow must have shape"):
        ops.paired_search(q[:, 0], q[:, 1], torch.zeros(1, 2, 6, 7), ws=3)
    with pytest.raises(ValueError, match="remove_ref_frame"):
        ops.paired_search(q[:, 0], q[:, 1], torch.zeros(1, 2, 2, 2), ws=3, self_action="remove_ref_frame")
    with pytest.raises(TypeError, match="offsets must be"):
        ops.absolute_from_offsets(torch.zeros(1, 1, 1, 1, 1, 1, 3, dtype=torch.bool))
