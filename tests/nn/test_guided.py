"""Guided attention: against the search of every pixel written out, its gradients, and that it finds what has moved."""

import pytest
import torch

from vnlsdenoise import nn

SMALL = {"embed_dim": 2, "nheads": 2, "ws": 3, "k": 3}


def inputs(count=2, h=6, w=7, channels=4, batch=1, device="cpu", dtype=torch.float64):
    frame = torch.randn(batch, channels, h, w, dtype=dtype)
    others = torch.randn(batch, count, channels, h, w, dtype=dtype)
    flow = 0.3 + 0.5 * torch.rand(batch, count, 2, h, w, dtype=dtype)
    return [x.to(device).requires_grad_() for x in (frame, others, flow)]


def plain(module, frame, others, flow, *, ws, k, scale, prod):
    """For whole flow that leads nowhere outside: every pixel, one after the other; a batch of one, patches of 1."""
    q = module.qkv.to_q(frame)[0].unflatten(0, (module.nheads, -1))
    keys, values = (
        torch.stack([layer(other) for other in others[0][:, None]])[:, 0].unflatten(1, (module.nheads, -1))
        for layer in (module.qkv.to_k, module.qkv.to_v)
    )
    height, width = frame.shape[-2:]
    out = torch.zeros_like(frame[0]).unflatten(0, (module.nheads, -1))
    for head in range(module.nheads):
        for y in range(height):
            for x in range(width):
                scores, found = [], []
                for n in range(len(others[0])):
                    dx, dy = (int(d) for d in flow[0, n, :, y, x])
                    # The window slides at the borders.
                    top = min(max(y + dy - ws // 2, 0), height - ws)
                    left = min(max(x + dx - ws // 2, 0), width - ws)
                    places = [(top + i, left + j) for i in range(ws) for j in range(ws)]
                    query = q[head, :, y, x]
                    near = [keys[n, head, :, a, b] for a, b in places]
                    score = torch.stack([(query @ key) if prod else -(query - key).square().sum() for key in near])
                    best = score.topk(k)
                    scores.append(scale * best.values)
                    found += [values[n, head, :, a, b] for a, b in (places[i] for i in best.indices)]
                weights = torch.cat(scores).softmax(0)
                out[head, :, y, x] = weights @ torch.stack(found)
    return module.proj(out.flatten(0, 1)[None])


@pytest.mark.parametrize("dist_type", ["l2", "prod"])
@pytest.mark.parametrize("count", [1, 3])
def test_it_is_search_softmax_and_sum(device, dist_type, count):
    module = nn.GuidedAttention(**SMALL, dist_type=dist_type, normz_scale=2.0).double().to(device)
    frame, others, _ = inputs(count, device=device)
    flow = torch.randint(-1, 2, (1, count, 2, 6, 7), dtype=torch.float64, device=device)
    rows, columns = torch.arange(6, device=device)[:, None], torch.arange(7, device=device)
    flow[:, :, 0] = (columns + flow[:, :, 0]).clamp(0, 6) - columns
    flow[:, :, 1] = (rows + flow[:, :, 1]).clamp(0, 5) - rows
    with torch.no_grad():
        wanted = plain(
            module.cpu(), frame.cpu(), others.cpu(), flow.cpu(), ws=3, k=3, scale=2.0, prod=dist_type == "prod"
        )
        found = module.to(device)(frame, others, flow)
    torch.testing.assert_close(found.cpu(), wanted)


def test_gradcheck(device):
    module = nn.GuidedAttention(1, 2, ws=2, k=2, stride1=0.7).double().to(device)
    given = inputs(2, 3, 4, channels=2, device=device)
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        assert torch.autograd.gradcheck(lambda *x: module(*x), given, nondet_tol=0.0, atol=1e-4)
    module(*given).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in module.parameters() if p.ndim > 1)


def test_the_frames_of_a_batch_do_not_touch_each_other(device):
    module = nn.GuidedAttention(**SMALL, ps=3).to(device)
    given = inputs(2, batch=3, device=device, dtype=torch.float32)
    together = module(*given)
    assert together.shape == given[0].shape
    for index in range(3):
        torch.testing.assert_close(together[index], module(*(x[index : index + 1] for x in given))[0])
    # Nor does the order of the others matter.
    frame, others, flow = given
    torch.testing.assert_close(module(frame, others.flip(1), flow.flip(1)), together)


def test_it_finds_what_the_flow_misses(device):
    """A frame that was moved by three pixels, with flow that is wrong by one: the search goes to the very pixels."""
    module = nn.GuidedAttention(8, ws=3, k=1, normz_scale=1.0).to(device)
    with torch.no_grad():
        for layer in (module.qkv.to_q, module.qkv.to_k, module.qkv.to_v, module.proj):
            layer.weight.copy_(torch.eye(8)[:, :, None, None])
            layer.bias.zero_()
    other = torch.randn(1, 8, 16, 20, device=device)
    frame = other.roll((0, -3), (2, 3))
    flow = torch.zeros(1, 1, 2, 16, 20, device=device)
    flow[:, :, 0] = 2
    found = module(frame, other[:, None], flow)
    torch.testing.assert_close(found[..., :16], frame[..., :16])
    halved = torch.nn.functional.avg_pool2d(flow[0], 2)[None] / 2
    torch.testing.assert_close(module(frame, other[:, None], halved), found)


def test_wrong_input_is_named():
    module = nn.GuidedAttention(**SMALL)
    frame, others, flow = inputs(dtype=torch.float32)
    for error, message, arguments in [
        (ValueError, r"frame must have shape \[B, C, H, W\]", (others, others, flow)),
        (TypeError, "others must be float32, got float64", (frame, others.double(), flow)),
        (ValueError, "nheads . embed_dim = 4 channels and one size and batch", (frame, others[..., :4], flow)),
        (ValueError, "flow must have the batch and frames of vid", (frame, others, flow[:, :1])),
    ]:
        with pytest.raises(error, match=message):
            module(*arguments)
    with pytest.raises(ValueError, match="normz_scale must be greater than 0"):
        nn.GuidedAttention(**SMALL, normz_scale=0)
