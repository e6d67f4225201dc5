import pytest
import torch
from reference import aggregation, nonlocal_search

from vnlsdenoise import nn

BOTH = [nn.NonLocalAttention, nn.NonLocalAttentionStack]
SMALL = {"embed_dim": 2, "nheads": 2, "ws": 3, "wt": 1, "ps": 3, "k": 3}


def inputs(t=3, h=5, w=6, channels=4, device="cpu", dtype=torch.float64):
    """A video and flow between its frames, away from whole pixels."""
    vid = torch.randn(1, t, channels, h, w, dtype=dtype)
    flow = 0.3 + torch.rand(2, 1, t, 2, h, w, dtype=dtype)
    return [v.to(device).requires_grad_() for v in (vid, *flow.unbind(0))]


def dense(layer):
    """The matrix of a 1 x 1 convolution, its groups as blocks."""
    blocks = layer.weight.flatten(1).unflatten(0, (layer.groups, -1))
    return torch.block_diag(*blocks)


def plain(
    module, vid, fflow, bflow, *, ws, wt, k, ps=1, stride0=1, stride1=1.0, dist_type="l2", scale=10.0, first=None
):
    """The module's sum from the references, one step after the other; all frames of a batch of one."""
    if module.norm_layer is not None:
        mean, variance = vid.mean(2, keepdim=True), vid.var(2, keepdim=True, correction=0)
        weight, bias = (p[:, None, None] for p in (module.norm_layer.weight, module.norm_layer.bias))
        vid = (vid - mean) / (variance + 1e-6).sqrt() * weight + bias
    heads = []
    for layer in (module.qkv.to_q, module.qkv.to_k, module.qkv.to_v):
        made = torch.einsum("oc,btchw->btohw", dense(layer), vid)
        made = made if layer.bias is None else made + layer.bias[:, None, None]
        heads.append(made.unflatten(2, (module.nheads, -1)).transpose(1, 2))
    frames = vid.shape[1]
    flows = nonlocal_search.search_flow(fflow, bflow, wt, stride0)
    order = torch.tensor([nonlocal_search.frame_order(t, frames, wt) for t in range(frames)])
    steps = (order - order[:, :1]).to(vid)[None, None, :, None, None, :, None]
    where = torch.nn.functional.pad(flows, (0, 0, 0, 0, 0, 0, 1, 0)).permute(0, 1, 4, 5, 2, 3).flip(-1)[:, None]
    centres = torch.cat((steps.expand(*where.shape[:-1], 1), where), -1).expand(-1, module.nheads, *[-1] * 5)
    prod = dist_type == "prod"
    distances, offsets = nonlocal_search.search(
        *heads[:2], centres, ws=ws, k_nearest=k, ps=ps, stride0=stride0, stride1=stride1, prod=prod
    )
    scores = torch.exp((scale if prod else -scale) * distances[..., :first])
    weights, offsets = scores / scores.sum(-1, keepdim=True), offsets[..., :first, :]
    learned = isinstance(module, nn.NonLocalAttentionStack)
    parts = [
        aggregation.weighted_patch_sum(v, w, o, ps=ps, stride0=stride0, stack=learned)
        for v, w, o in zip(heads[2][0], weights[0], offsets[0], strict=True)
    ]
    if not learned:
        mixed = torch.cat(parts, 1)[None]
        return torch.einsum("oc,btchw->btohw", dense(module.proj), mixed) + module.proj.bias[:, None, None]
    out = []
    for head, part in enumerate(parts):  # [K, T, F, H, W]
        own = slice(head * part.shape[2], (head + 1) * part.shape[2])
        kernel = module.proj.weight[own]  # [F, F, K, ps, ps]
        padded = torch.nn.functional.pad(part, [ps // 2] * 4)
        windows = padded.unfold(3, ps, 1).unfold(4, ps, 1)
        summed = torch.einsum("ockij,ktchwij->tohw", kernel, windows)
        out.append(summed + module.proj.bias[own][:, None, None])
    return torch.cat(out, 1)[None]


@pytest.mark.parametrize("attention", BOTH)
@pytest.mark.parametrize(
    ("searched", "learned"),
    [
        ({"ws": 3, "wt": 1, "ps": 3, "k": 3, "stride0": 2, "stride1": 0.5}, {"qk_frac": 0.5}),
        ({"ws": 3, "wt": 1, "k": 4, "dist_type": "prod"}, {"qkv_ngroups": 2, "qkv_bias": False, "k_agg": 2}),
        ({"ws": 2, "wt": 2, "k": 2}, {"use_norm_layer": True, "normz_scale": 3.0}),
    ],
    ids=str,
)
def test_it_is_search_softmax_and_sum(device, attention, searched, learned):
    module = attention(2, 2, **searched, **learned).double()
    if module.norm_layer is not None:
        torch.nn.init.normal_(module.norm_layer.weight)
    given = inputs()
    parameters = list(module.parameters())
    options = {"scale": learned.get("normz_scale", 10.0), "first": learned.get("k_agg")}
    wanted = plain(module, *given, **searched, **options)
    gradient = torch.randn_like(wanted)
    want = torch.autograd.grad(wanted, [*given, *parameters], gradient)
    module = module.to(device)
    ours = [v.detach().to(device).requires_grad_() for v in given]
    found = module(*ours)
    assert found.shape == (1, 3, 4, 5, 6)
    torch.testing.assert_close(found.cpu(), wanted, rtol=1e-9, atol=1e-9)
    got = torch.autograd.grad(found, [*ours, *module.parameters()], gradient.to(device))
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g.cpu(), w, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("attention", BOTH)
@pytest.mark.parametrize("t", [1, 2, 5])
def test_any_number_of_frames_with_and_without_flow(device, attention, t):
    module = attention(**SMALL, stride0=2).to(device)
    vid, *flow = inputs(t, device=device, dtype=torch.float32)
    assert module(vid).shape == module(vid, *flow).shape == vid.shape
    still = torch.zeros(1, t, min(3, t), 2, 3, 3, device=device)
    assert torch.equal(module(vid, still), module(vid))
    two = torch.cat((vid, vid.flip(-1)))
    torch.testing.assert_close(module(two)[1:], module(vid.flip(-1)))


@pytest.mark.parametrize("attention", BOTH)
def test_gradcheck(device, attention):
    module = attention(1, 2, ws=2, wt=1, k=2, stride1=0.7).double().to(device)
    given = inputs(2, 3, 4, channels=2, device=device)
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        assert torch.autograd.gradcheck(lambda *v: module(*v), given, nondet_tol=0.0, atol=1e-4)


@pytest.mark.parametrize("attention", BOTH)
def test_whole_steps_are_fractional_ones_of_whole_flow(device, attention):
    bilinear, whole = (attention(**SMALL, itype=itype).double().to(device) for itype in ("float", "int"))
    whole.load_state_dict(bilinear.state_dict())
    vid, *_ = inputs(device=device)
    flows = 3 * torch.randn(1, 2, 3, 2, 2, 5, 6, dtype=torch.float64, device=device)  # one of each head
    torch.testing.assert_close(whole(vid, flows), bilinear(vid, flows.round()))
    assert not torch.allclose(bilinear(vid, flows), bilinear(vid, flows.round()))


@pytest.mark.parametrize("size", [(10, 12), (3, 3), (4, 12)])
def test_flow_of_another_size_is_resampled_and_scaled(device, size):
    module = nn.NonLocalAttention(**SMALL).double().to(device)
    vid, *_ = inputs(device=device)
    fields = [torch.randn(1, 3, 2, *size, dtype=torch.float64) for _ in range(2)]
    resampled = [torch.zeros(1, 3, 2, 5, 6, dtype=torch.float64) for _ in range(2)]
    for y in range(5):
        for x in range(6):
            # Pixel centres of both grids lie on the same picture; beyond the outermost the flow stays as it is.
            at = [(p + 0.5) * old / new - 0.5 for p, old, new in ((y, size[0], 5), (x, size[1], 6))]
            a, b = (torch.tensor(min(max(p, 0.0), old - 1.0)) for p, old in zip(at, size, strict=True))
            for field, out in zip(fields, resampled, strict=True):
                image = field[0].flatten(0, 1)
                moved = aggregation.sample(image, a, b).reshape(3, 2)
                out[0, :, :, y, x] = moved * torch.tensor([6 / size[1], 5 / size[0]], dtype=torch.float64)
    found = module(vid, *(f.to(device) for f in fields))
    torch.testing.assert_close(found, module(vid, *(f.to(device) for f in resampled)))


@pytest.mark.parametrize("attention", BOTH)
def test_parameters_are_stored_and_dropout_only_trains(attention):
    module = attention(**SMALL, use_norm_layer=True, normz_drop_rate=0.5, drop_rate_proj=0.5)
    state = module.state_dict()
    layers = ("norm_layer", "qkv.to_q", "qkv.to_k", "qkv.to_v", "proj")
    assert sorted(state) == sorted(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias"))
    other = attention(**SMALL, use_norm_layer=True)
    other.load_state_dict(state)
    vid, *flow = inputs(dtype=torch.float32)
    module.eval()
    assert torch.equal(module(vid, *flow), other(vid, *flow))
    module.train()
    assert not torch.equal(module(vid, *flow), module(vid, *flow))
    # Of 5 channels a head: a half, rounded down, and one at least.
    for qk_frac, channels in ((1, 5), (0.5, 2), (0.01, 1)):
        thin = attention(**{**SMALL, "embed_dim": 5}, qk_frac=qk_frac).qkv
        assert thin.to_q.out_channels == thin.to_k.out_channels == 2 * channels and thin.to_v.out_channels == 10
    assert "embed_dim=2" in repr(module) and "ws=3" in repr(module)


def test_without_projection_heads_stay_apart():
    module = nn.NonLocalAttention(**SMALL, use_attn_projection=False, qkv_ngroups=2)
    vid, *flow = inputs(dtype=torch.float32)
    (of_vid,) = torch.autograd.grad(module(vid, *flow)[:, :, :2].square().sum(), vid)
    assert bool(of_vid[:, :, :2].any()) and not of_vid[:, :, 2:].any()


@pytest.mark.parametrize("attention", BOTH)
def test_forward_and_backward_repeat_to_the_bit(device, attention):
    module = attention(4, 2, ws=5, wt=1, ps=3, k=6).to(device)
    given = inputs(3, 24, 21, channels=8, device=device, dtype=torch.float32)
    runs = []
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False):
        for _ in range(3):
            out = module(*given)
            runs.append([out, *torch.autograd.grad(out.square().sum(), [*given, *module.parameters()])])
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("attention", BOTH)
def test_compiles_to_one_graph(device, attention):
    module = attention(**SMALL).double().to(device)
    given = inputs(device=device)
    found = torch.compile(module, fullgraph=True, backend="aot_eager")(*given)
    wanted = module(*given)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(*(torch.autograd.grad(o.sum(), given) for o in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b)


def test_half_precision(device):
    module = nn.NonLocalAttention(**SMALL).to(device, torch.bfloat16)
    vid, *flow = inputs(device=device, dtype=torch.float32)
    out = module(vid.bfloat16(), *flow)
    assert out.dtype == torch.bfloat16 and bool(out.isfinite().all())


def test_wrong_input_is_named():
    vid, *flow = inputs(dtype=torch.float32)
    module = nn.NonLocalAttention(**SMALL)
    for error, message, arguments in [
        (TypeError, "vid must be a torch.Tensor, got list", ([],)),
        (ValueError, r"vid must have shape \[B, T, C, H, W\], got \[3, 4, 5, 6\]", (vid[0],)),
        (TypeError, "vid must be float32, got float64", (vid.double(),)),
        (ValueError, r"vid must have nheads \* embed_dim = 4 channels, got 3", (vid[:, :, :3],)),
        (ValueError, r"fflow must have shape \[B, T, 2, H, W\]", (vid, vid[0], flow[1])),
        (ValueError, r"bflow must have the batch and frames of vid, \[1, 3\], got", (vid, flow[0], flow[1][:, :2])),
        (ValueError, "bflow must be given together with fflow", (vid, None, flow[1])),
        (ValueError, "flows must have shape", (vid, torch.zeros(1, 3, 2, 2, 4, 4))),
        (ValueError, "k must be at most the number of candidates, 9, got 12", (vid[:, :1],)),
    ]:
        work = nn.NonLocalAttention(**{**SMALL, "k": 12}) if "candidates" in message else module
        with pytest.raises(error, match=message):
            work(*arguments)
    for message, change in [
        ("embed_dim must be greater than 0, got 0", {"embed_dim": 0}),
        ("qk_frac must be greater than 0, got 0", {"qk_frac": 0}),
        ("normz_scale must be greater than 0, got -1", {"normz_scale": -1}),
        ("qkv_ngroups must divide the 4 channels, got 3", {"qkv_ngroups": 3}),
        ("qkv_ngroups must divide the 2 channels of queries and keys, got 4", {"qk_frac": 0.5, "qkv_ngroups": 4}),
        ("k_agg must be at most k = 3, got 4", {"k_agg": 4}),
    ]:
        for attention in BOTH:
            with pytest.raises(ValueError, match=message):
                attention(**{**SMALL, **change})
    with pytest.raises(ValueError, match="k must be greater than 0, got -1"):
        nn.NonLocalAttentionStack(**{**SMALL, "k": -1})
    with pytest.raises(ValueError, match="ps must be odd, so that the convolution keeps the size of the frames, got 2"):
        nn.NonLocalAttentionStack(**{**SMALL, "ps": 2})
