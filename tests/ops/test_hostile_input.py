"""What no caller should pass: refused in words, or clamped as the documentation says; nothing outside is ever read."""

import math
from functools import partial

import pytest
import torch

from vnlsdenoise import nn, ops


def guarded(shape, device="cpu", dtype=torch.float32, values=None):
    """A contiguous tensor in the midst of NaN (or of an enormous number): what reads beside it shows."""
    size = math.prod(shape)
    outside = math.nan if dtype.is_floating_point else 2**30
    room = torch.full((size + 8192,), outside, dtype=dtype, device=device)
    inner = room[4096 : 4096 + size].view(shape)
    inner.copy_(torch.randn(shape) if values is None else values)
    return inner


def whole(shape, device="cpu", low=-2, high=3, dtype=torch.int32):
    return guarded(shape, device, dtype, torch.randint(low, high, shape))


VIDEO, GRID = (1, 3, 4, 6, 7), (1, 2, 3, 6, 7)
SEARCH = {"ws": 3, "wt": 1, "k": 4, "ps": 3, "nheads": 2}
NEAR = {"ps": 3, "k": 2, "nheads": 2, "stride0": 1}
LISTS = {"ps": 3, "stride0": 1}
EDGES = {"stride0": 1, "stride1": 1, "height": 6, "width": 7}


def calls(device="cpu"):
    """Name: (function, tensors by name, options) of a good call of every public operator and module."""

    def video(shape=VIDEO):
        return guarded(shape, device)

    def lists():
        return {
            "v": video(),
            "weights": guarded((*GRID, 2), device),
            "offsets": guarded((*GRID, 2, 3), device),
        }

    def edges():
        return whole((*GRID, 2, 3), device)

    def labels():
        return whole((*GRID, 2), device, -1, 4, torch.int64)

    fields = {"fflow": video((1, 3, 2, 6, 7)), "bflow": video((1, 3, 2, 6, 7))}
    pairs = {"fflow": video((1, 3, 2, 2, 6, 7)), "bflow": video((1, 3, 2, 2, 6, 7))}
    vids = {"vid0": video(), "vid1": video()}
    frames = {"frame0": video((1, 4, 6, 7)), "frame1": video((1, 4, 6, 7))}
    positions = guarded((5, 2, 3), device)
    queries = whole((5, 3), device, 0, 3)
    attention = {"embed_dim": 2, "nheads": 2, "ws": 3, "wt": 1, "k": 4, "ps": 3}
    attend = {"vid": video(), "flows": fields["fflow"], "bflow": fields["bflow"]}
    patches = video((5, 1, 1, 4, 3, 3))
    flat = {"variance": video((6, 7)).abs_()}
    return {
        "search_flow": (ops.search_flow, fields, {"wt": 1, "stride0": 2}),
        "accumulate_flow": (ops.accumulate_flow, fields, {"stride0": 2}),
        "extract_search_from_accumulated": (ops.extract_search_from_accumulated, pairs, {"wt": 1}),
        "nonlocal_search": (ops.nonlocal_search, {**vids, "flows": video((1, 3, 2, 2, 6, 7))}, SEARCH),
        "nonlocal_search of fields": (ops.nonlocal_search, {**vids, **fields}, SEARCH),
        "refine_search": (ops.refine_search, {**vids, "flows": video((*GRID, 3, 3))}, {**NEAR, "wr": 3}),
        "paired_search": (ops.paired_search, {**frames, "flow": video((1, 2, 2, 6, 7))}, {**NEAR, "ws": 3}),
        "paired_refine": (ops.paired_refine, {**frames, "flow": video((1, 2, 6, 7, 3, 2))}, {**NEAR, "wr": 3}),
        "query_search": (
            ops.query_search,
            {"vid0": video(VIDEO[1:]), "vid1": video(VIDEO[1:]), "queries": queries, "flows": video((3, 2, 2, 6, 7))},
            {"ws": 3, "wt": 1, "k": 4, "ps": 3},
        ),
        "non_local_inds": (ops.non_local_inds, fields, {"ws": 3, "wt": 1, "stride0": 2}),
        "topk": (ops.topk, {"dists": video((4, 6)), "inds": video((4, 6, 3))}, {"k": 2}),
        "absolute_from_offsets": (ops.absolute_from_offsets, {"offsets": video((*GRID, 2, 3))}, {"stride0": 2}),
        "offsets_from_absolute": (ops.offsets_from_absolute, {"positions": video((*GRID, 2, 3))}, {"stride0": 2}),
        "normalise_distances": (ops.normalise_distances, {"distances": video((*GRID, 4))}, {"k_agg": 2}),
        "weighted_patch_sum": (ops.weighted_patch_sum, lists(), LISTS),
        "nonlocal_gather": (ops.nonlocal_gather, lists(), LISTS),
        "nonlocal_scatter_add": (ops.nonlocal_scatter_add, lists(), LISTS),
        "nonlocal_scatter": (ops.nonlocal_scatter, {**lists(), "labels": labels()}, {**LISTS, "planes": 3}),
        "pooled_patch_sum": (ops.pooled_patch_sum, lists(), LISTS),
        "gather_patches": (ops.gather_patches, {"video": video((3, 4, 6, 7)), "positions": positions}, {"ps": 3}),
        "weighted_patches": (
            ops.weighted_patches,
            {"video": video((3, 4, 6, 7)), "weights": video((5, 2)), "positions": positions},
            {"ps": 3},
        ),
        "scatter_patches": (
            partial(ops.scatter_patches, video_shape=(3, 4, 6, 7)),
            {"patches": video((5, 2, 1, 4, 3, 3)), "positions": positions, "weights": video((5, 2))},
            {"dilation": 1},
        ),
        "scatter_labels": (ops.scatter_labels, {"offsets": edges()}, EDGES),
        "scatter_tensor": (
            ops.scatter_tensor,
            {"values": video((*GRID, 2)), "offsets": edges(), "labels": labels()},
            EDGES,
        ),
        "scatter_topk": (
            ops.scatter_topk,
            {"weights": video((*GRID, 2)), "offsets": edges(), "labels": labels()},
            {**EDGES, "k": 2},
        ),
        "gather_tensor": (
            ops.gather_tensor,
            {"values": video((1, 2, 126, 3)), "offsets": edges(), "labels": labels()},
            EDGES,
        ),
        "unfold": (ops.unfold, {"video": video((3, 4, 6, 7))}, {"start": 3, "count": 5, "ps": 3}),
        "iunfold": (ops.iunfold, {"video": video((3, 4, 6, 7))}, {"start": 3, "count": 5, "ps": 3}),
        "fold": (partial(ops.fold, video_shape=(3, 4, 6, 7)), {"patches": patches}, {"start": 3}),
        "ifold": (
            partial(ops.ifold, video_shape=(3, 4, 6, 7)),
            {"patches": patches, "sums": video((3, 4, 6, 7))},
            {"start": 3, "stride": 1},
        ),
        "weighted_filter": (
            ops.weighted_filter,
            {"images": video((1, 4, 6, 7)), "weights": video((1, 9, 6, 7)), "bias": video((4,))},
            {},
        ),
        "tvl1_flow": (ops.tvl1_flow, {"source": video((2, 9, 12)), "target": video((2, 9, 12))}, {}),
        "flow_image": (partial(ops.flow_image, scale=255.0), {"luma": video((2, 9, 12))}, {}),
        "guide": (partial(ops.guide, weight=0.5), {"base": video((6, 7)), "band": video((6, 7))}, {}),
        "local_variance": (ops.local_variance, {"video": video((3, 6, 7))}, {}),
        "recompose": (
            partial(ops.recompose, sigma=1.0),
            {"basic": video((3, 6, 7)), "low": video((3, 6, 7)), **flat},
            {},
        ),
        "fine_wiener": (
            partial(ops.fine_wiener, sigma=1.0, neighbors=16),
            {"basic": video((3, 6, 7)), "coarse": video((3, 6, 7)), **flat},
            {},
        ),
        "normalise": (
            partial(ops.normalise, sigma=1.0),
            {"noisy": video((3, 6, 7)), "sums": whole((3, 6, 7), device, 0, 2**20, torch.int64)},
            {},
        ),
        "NonLocalAttention": (nn.NonLocalAttention(**attention).to(device), attend, {}),
        "NonLocalAttentionStack": (nn.NonLocalAttentionStack(**attention).to(device), attend, {}),
        "WeightedFilter": (
            nn.WeightedFilter(4, 3).to(device),
            {"input": video((1, 4, 6, 7)), "weight": video((1, 9, 6, 7))},
            {},
        ),
    }


TENSORS = [(name, tensor) for name, (_, tensors, _) in calls().items() for tensor in tensors]
OPTIONS = [(name, option) for name, (_, _, options) in calls().items() for option in options]
# Where an enormous number cannot be meant: elsewhere it is a single query, a whole clip, more memory than there is.
REFUSED_WHEN_LARGE = {
    (name, option)
    for name, option in OPTIONS
    if option in ("ps", "nheads", "start", "count")
    or (option in ("ws", "wr", "k") and "search" in name)
    or (option in ("wr", "k") and name in ("paired_refine", "topk"))
}
# Numbers that may be 0 or negative: all candidates, the first query.
SIGNED = {"k", "start", "count", "wt"}


def outputs(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", calls())
def test_good_calls_read_nothing_beside_their_input(device, name):
    function, tensors, options = calls(device)[name]
    for out in outputs(function(**tensors, **options)):
        assert not out.isnan().any() and bool((out.abs() < 2**29).logical_or(out.isinf()).all())


@pytest.mark.parametrize(("name", "tensor"), TENSORS)
def test_wrong_tensors_are_refused_in_words(name, tensor):
    function, tensors, options = calls()[name]
    good = tensors[tensor]
    wrong = [
        (TypeError, "must be a torch.Tensor, got list", good.tolist()),
        (TypeError, "must be .*(float32|int).*, got bool", good.bool()),
        (TypeError, "must be .*(float32|int).*, got complex64", good.to(torch.complex64)),
    ]
    if name != "normalise_distances":  # which takes lists of any shape
        shapes = r"must have (shape|the shape of fflow,|one shape).* got .*\["
        wrong += [(ValueError, shapes, good[0]), (ValueError, shapes, good[..., None, None, None])]
    if len(tensors) > 1 or isinstance(function, torch.nn.Module):
        wrong.append((ValueError, "must be on (cpu, got meta|meta, got cpu)", good.to("meta")))
    for error, message, value in wrong:
        with pytest.raises(error, match=message):
            function(**{**tensors, tensor: value}, **options)


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_wrong_numbers_are_refused_in_words(name, option):
    function, tensors, options = calls()[name]
    for value, error in ((1.5, TypeError), ("3", TypeError), (10**9, ValueError), (-1, ValueError), (0, ValueError)):
        if value in (-1, 0) and option in SIGNED and name not in ("topk", "scatter_topk"):
            continue
        if value == 10**9 and (name, option) not in REFUSED_WHEN_LARGE:
            continue
        with pytest.raises(error, match=r"must|needs") as caught:
            function(**tensors, **{**options, option: value})
        assert "got" in str(caught.value)


WILD = [math.nan, math.inf, -math.inf, 1e9, -1e9, 1e30, 2.0**31, -123456.5]
MOVED = [  # tensors that say where to look
    ("search_flow", "fflow"), ("search_flow", "bflow"), ("accumulate_flow", "fflow"), ("nonlocal_search", "flows"),
    ("nonlocal_search of fields", "fflow"), ("refine_search", "flows"), ("paired_search", "flow"),
    ("paired_refine", "flow"), ("query_search", "flows"), ("non_local_inds", "bflow"),
    ("weighted_patch_sum", "offsets"), ("nonlocal_gather", "offsets"), ("nonlocal_scatter_add", "offsets"),
    ("nonlocal_scatter", "offsets"), ("pooled_patch_sum", "offsets"), ("gather_patches", "positions"),
    ("weighted_patches", "positions"), ("scatter_patches", "positions"), ("NonLocalAttention", "flows"),
    ("NonLocalAttentionStack", "bflow"),
]  # fmt: skip
# Positions and displacements follow the flow, wherever it leads.
FOLLOW = {"search_flow", "accumulate_flow", "non_local_inds"}


@pytest.mark.parametrize(("name", "tensor"), MOVED)
@pytest.mark.parametrize("value", WILD)
def test_no_position_leads_outside(device, name, tensor, value):
    """Every second number is wild: results stay finite (lists may end in infinite distances), gradients too."""
    function, tensors, options = calls(device)[name]
    tensors[tensor].view(-1)[::2] = value
    others = [v.requires_grad_() for key, v in tensors.items() if key != tensor and v.is_floating_point()]
    moved = tensors[tensor].requires_grad_()
    found = outputs(function(**tensors, **options))
    for out in found:
        known = out.detach()
        if name not in FOLLOW:
            assert not known.isnan().any() and bool((known.isinf() | (known.abs() < 1e6)).all())
    total = sum(torch.where(out.isfinite(), out, 0).sum() for out in found if out.requires_grad)
    for gradient in torch.autograd.grad(total, [*others, moved], allow_unused=True, materialize_grads=True):
        assert name in FOLLOW or bool(gradient.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("name", ["scatter_labels", "scatter_tensor", "scatter_topk", "gather_tensor"])
def test_edges_that_lead_outside_do_not_exist(device, name, dtype):
    function, tensors, options = calls(device)[name]
    least, most = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    wild = torch.tensor([least, most, 10**9, -(10**9), 6], device=device, dtype=dtype)
    tensors["offsets"] = wild[torch.randint(5, tensors["offsets"].shape, device=device)]
    if "labels" in tensors:
        tensors["labels"] = wild.long()[torch.randint(4, tensors["labels"].shape, device=device)]
    if name in ("scatter_tensor", "scatter_topk"):
        with pytest.raises(ValueError, match="labels must be less than the number of edges, 252, got"):
            function(**tensors, **options)
        tensors["labels"] = tensors["labels"].clamp(-1, 2)
    for out in outputs(function(**tensors, **options)):
        nothing = out.isinf() | (out == 0) if out.is_floating_point() else (out == -1) | (out == 0)
        assert bool(nothing.all())


def test_neighbours_at_wild_integers(device):
    for dtype in (torch.int32, torch.int64):
        wild = torch.tensor([torch.iinfo(dtype).min, torch.iinfo(dtype).max, 10**9, 99, 0], dtype=dtype, device=device)
        for name, tensor in (("refine_search", "flows"), ("paired_refine", "flow"), ("weighted_patch_sum", "offsets")):
            function, tensors, options = calls(device)[name]
            tensors[tensor] = wild[torch.randint(5, tensors[tensor].shape, device=device)]
            for out in outputs(function(**tensors, **options)):
                assert not out.isnan().any() and bool((out.isinf() | (out.abs() < 1e6)).all())


def test_settings_beyond_32_bits_are_refused_or_mean_what_they_say(device):
    function, tensors, options = calls(device)["nonlocal_search"]
    for message, change in [
        (r"a query must have fewer than 2\^31 candidates, got 3 windows of 30000\^2", {"ws": 30000}),
        (r"patches must reach fewer than 2\^29 pixels from their query, got 1073741827", {"off_Hq": -(2**30)}),
        (r"patches must reach fewer than 2\^29 pixels from their query, got 3221225472", {"dilation": 2**30}),
        ("k must be at most the number of candidates, 27, got 1099511627776", {"k": 2**40}),
    ]:
        with pytest.raises(ValueError, match=message):
            function(**tensors, **{**options, **change})
    for change in ({"off_Hq": 1.0}, {"k_agg": 2.5}, {"strideQ": 1.5}, {"stride1": "1"}, {"ws_interior": None}):
        with pytest.raises(TypeError, match=f"{next(iter(change))} must be an int"):
            function(**tensors, **{**options, **change})
    del tensors["flows"]
    far = function(**tensors, **{**options, "wt": 2**40, "stride0": 2**33})
    near = function(**tensors, **{**options, "wt": 3, "stride0": 100})
    assert far[0].shape == (1, 2, 3, 1, 1, 4)
    assert all(torch.equal(a, b) for a, b in zip(far, near, strict=True))
    _, fields, _ = calls(device)["search_flow"]
    assert torch.equal(ops.search_flow(**fields, wt=2**40, stride0=2**33), ops.search_flow(**fields, wt=3, stride0=9))
