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
    [
        {"k": 5},
        {"k": 3, "topk_mode": "each"},
        {"k": -1},
        {"k": 4, "ps": 3, "dist_type": "prod", "stride1": 0.5},
        {"k": 4, "ps": 2, "pt": 2, "itype": "int"},
        {"k": 4, "self_action": "anchor", "use_adj": True, "ps": 2},
        {"k": 4, "self_action": "anchor_each", "topk_mode": "each", "reflect_bounds": False, "ps": 3},
        {"k": 4, "self_action": "remove", "full_ws": False, "dilation": 2, "ps": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("shared", [False, True])
def test_refinement_matches_the_reference_with_its_gradients(device, options, shared):
    q, k = video(1, 3, 4, 7, 8), video(1, 3, 4, 7, 8)
    near = torch.randint(-4, 5, (1, 1 if shared else 2, 3, 4, 4, 5, 3)).double()
    near[..., 1:] += torch.rand(near[..., 1:].shape, dtype=torch.float64)
    whole = options.get("itype") == "int"
    ours = [v.to(device).requires_grad_() for v in (q, k, near)]
    theirs = [v.clone().requires_grad_() for v in (q, k, near)]
    found = ops.refine_search(*ours, wr=3, nheads=2, stride0=2, **options)
    split = [v.unflatten(2, (2, 2)).transpose(1, 2) for v in theirs[:2]]
    names = {
        "reflect_bounds": "reflect",
        "full_ws": "full",
        "use_adj": "adj",
        "self_action": "anchor",
        "k": "k_nearest",
    }
    plain = {names.get(n, n): v for n, v in options.items() if n not in ("topk_mode", "dist_type", "itype")}
    centres = theirs[2].round() if whole else theirs[2]
    wanted = reference.search(
        *split, centres.expand(-1, 2, *[-1] * 5), ws=3, stride0=2, each="topk_mode" in options,
        prod="dist_type" in options, **plain,
    )  # fmt: skip
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f.cpu().double(), w, rtol=1e-9, atol=1e-9)
    seen = wanted[0].isfinite()
    gradient, moves = torch.randn(seen.shape).double(), torch.randn(wanted[1].shape).double() * seen[..., None]

    def loss(outputs, on):
        total = (torch.where(seen.to(on), outputs[0], 0.0) * gradient.to(on)).sum()
        return total if whole else total + (outputs[1] * moves.to(on)).sum()

    count = 2 if whole else 3
    got = torch.autograd.grad(loss(found, device), ours[:count])
    want = torch.autograd.grad(loss(wanted, "cpu"), theirs[:count])
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g.cpu(), w, rtol=1e-6, atol=1e-6)


def test_frames_of_neighbours_are_rounded_and_mirrored(device):
    clip = torch.zeros(1, 4, 1, 3, 3, device=device) + torch.arange(4, device=device).view(1, 4, 1, 1, 1)
    steps = torch.tensor([0.4, 0.5, 1.49, -0.5, -0.51, 7.0, -9.0], device=device)
    near = torch.zeros(1, 1, 4, 3, 3, len(steps), 3, device=device)
    near[..., 0] = steps
    distances, offsets = ops.refine_search(clip, clip, near, wr=1, stride0=1)
    t = torch.arange(4, device=device)[:, None]
    frames = (t + torch.floor(steps + 0.5)).remainder(6)  # 0, 1, 2, 3, 2, 1 and again
    moved = torch.where(frames > 3, 6 - frames, frames) - t
    assert torch.equal(offsets[0, 0, :, 1, 1, :, 0], moved)
    assert torch.equal(distances[0, 0, :, 1, 1], moved**2)


def test_neighbours_may_be_integers(device):
    q = video(1, 3, 4, 7, 8, device=device)
    found = ops.nonlocal_search(q, q, ws=3, wt=1, k=4, itype="int")
    again = ops.refine_search(q, q, found[1], wr=3, k=4, stride0=1, itype="int", self_action="anchor")
    as_floats = ops.refine_search(q, q, found[1].double(), wr=3, k=4, stride0=1, itype="int", self_action="anchor")
    assert again[1].dtype == torch.int32
    assert all(torch.equal(a, b) for a, b in zip(again, as_floats, strict=True))


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


@pytest.mark.parametrize("options", [{"itype": "int", "dist_type": "prod"}, {"ps": 3, "stride1": 0.5}], ids=str)
def test_a_loop_of_paired_searches_is_the_search_of_the_video(device, options):
    clip = video(1, 4, 4, 9, 8, device=device).requires_grad_()
    flow = 2 * video(1, 4, 2, 2, 9, 8, device=device)
    whole = ops.nonlocal_search(clip, clip, flow, ws=3, wt=1, k=2, nheads=2, topk_mode="each", **options)
    frames = []
    for t in range(4):
        parts = []
        for slot, other in enumerate(reference.frame_order(t, 4, 1)):
            moved = flow[:, t, slot - 1] if slot else torch.zeros_like(flow[:, t, 0])
            found, near = ops.paired_search(
                clip[:, t], clip[:, other], moved, ws=3, k=2, nheads=2, stride0=1, **options
            )
            parts.append((found, torch.nn.functional.pad(near, (1, 0), value=other - t)))
        frames.append([torch.cat(part, 4) for part in zip(*parts, strict=True)])
    looped = [torch.stack(part, 2) for part in zip(*frames, strict=True)]
    for one, other in zip(whole, looped, strict=True):
        torch.testing.assert_close(one, other)
    grads = [torch.autograd.grad(found.square().sum(), clip)[0] for found in (whole[0], looped[0])]
    torch.testing.assert_close(*grads)


def test_heads_of_the_flow_repeat_the_frames(device):
    frames = [video(1, 3, 8, 9, device=device).requires_grad_() for _ in range(2)]
    flow = video(1, 4, 2, 4, 5, device=device).requires_grad_()
    distances, offsets = ops.paired_search(*frames, flow, ws=3, k=2, stride0=2, itype="float")
    for head in range(4):
        one = ops.paired_search(*frames, flow[:, head], ws=3, k=2, stride0=2)
        assert torch.equal(one[0][:, 0], distances[:, head]) and torch.equal(one[1][:, 0], offsets[:, head])
    (distances.sum() + offsets.square().sum()).backward()
    assert all(bool(v.grad.any()) for v in (*frames, flow))


@pytest.mark.parametrize("options", [{}, {"stride1": 0.5}, {"full_ws": False}], ids=str)
def test_offsets_and_positions(device, options):
    fflow, bflow = video(1, 3, 2, 6, 7, device=device), video(1, 3, 2, 6, 7, device=device)
    q = video(1, 3, 2, 6, 7, device=device)
    _, offsets = ops.nonlocal_search(q, q, fflow=fflow, bflow=bflow, ws=3, wt=1, stride0=2, topk_mode="none", **options)
    positions = ops.absolute_from_offsets(offsets, 2)
    torch.testing.assert_close(ops.offsets_from_absolute(positions, 2), offsets)
    candidates = ops.non_local_inds(fflow, bflow, 3, 1, stride0=2, **options)
    torch.testing.assert_close(positions.reshape(candidates.shape), candidates)
    whole = offsets.round().int()
    origin = torch.tensor([2, 4, 2], device=device)
    assert torch.equal(ops.absolute_from_offsets(whole, 2)[:, :, 2, 2, 1], whole[:, :, 2, 2, 1] + origin)


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
