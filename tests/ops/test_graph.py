import itertools

import pytest
import torch

from vnlsdenoise import ops

GRID = {"stride0": 2, "stride1": 1, "height": 6, "width": 7}


def edges(device="cpu", count=4):
    shape = (2, 2, 3, 3, 4, count)
    return torch.randint(-3, 4, (*shape, 3), device=device)


def slow_labels(offsets, stride0, stride1, height, width):
    labels = torch.full(offsets.shape[:-1], -1)
    names = {}
    frames = offsets.shape[2]
    for b, h in itertools.product(range(offsets.shape[0]), range(offsets.shape[1])):
        found = {}
        for number, q in enumerate(itertools.product(*map(range, offsets.shape[2:5]))):
            for k in range(offsets.shape[5]):
                dt, dy, dx = offsets[(b, h, *q, k)].tolist()
                t, y, x = q[0] + dt, q[1] * stride0 + dy, q[2] * stride0 + dx
                if 0 <= t < frames and 0 <= y < height and 0 <= x < width and y % stride1 == 0 and x % stride1 == 0:
                    label = found[t, y, x] = found.get((t, y, x), -1) + 1
                    labels[(b, h, *q, k)] = label
                    names[b, h, label, t, y // stride1, x // stride1] = (number, k)
    return labels, names


@pytest.mark.parametrize("stride1", [1, 2])
def test_labels_match_a_count(device, stride1):
    grid = {**GRID, "stride1": stride1}
    offsets = edges(device)
    labels, names = ops.scatter_labels(offsets, **grid)
    expected, expected_names = slow_labels(offsets.cpu(), **grid)
    assert torch.equal(labels.cpu(), expected)
    assert names.shape == (2, 2, expected.max() + 1, 3, *(-(-n // stride1) for n in (6, 7)), 2)
    for place, name in expected_names.items():
        assert tuple(names[place].tolist()) == name
    assert int((names[..., 0] >= 0).sum()) == len(expected_names)


def test_scatter_and_gather_are_inverse(device):
    offsets = edges(device)
    labels, _ = ops.scatter_labels(offsets, **GRID)
    values = torch.rand(offsets.shape[:-1], device=device, dtype=torch.float64)
    lists = ops.scatter_tensor(values, offsets, labels, **GRID)
    assert lists.shape == (2, 2, 3 * 6 * 7, int(labels.max()) + 1)
    back = ops.gather_tensor(lists, offsets, labels, **GRID, invalid=-5.0)
    assert torch.equal(back, values.masked_fill(labels < 0, -5.0))
    short = ops.scatter_tensor(values, offsets, labels, **GRID, size=2, invalid=9.0)
    padded = ops.scatter_tensor(values, offsets, labels, **GRID, invalid=9.0)
    assert torch.equal(short, padded[..., :2])
    whole = ops.gather_tensor(ops.scatter_tensor(labels, offsets, labels, **GRID), offsets, labels, **GRID)
    assert whole.dtype == torch.int64


def test_gradients(device):
    offsets = edges(device, 2)[:1]
    labels, _ = ops.scatter_labels(offsets, **GRID)
    values = torch.rand(offsets.shape[:-1], device=device, dtype=torch.float64, requires_grad=True)
    lists = ops.scatter_tensor(values, offsets, labels, **GRID).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ops.scatter_tensor(x, offsets, labels, **GRID), values, fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: ops.gather_tensor(x, offsets, labels, **GRID), lists, fast_mode=True)
    values.grad = None
    best, _ = ops.scatter_topk(values, offsets, labels, 1, **GRID)
    best[best.isfinite()].sum().backward()
    assert int(values.grad.sum()) == int(best.isfinite().sum())


@pytest.mark.parametrize("descending", [False, True])
def test_best_of_every_pixel(device, descending):
    offsets = edges(device)
    labels, _ = ops.scatter_labels(offsets, **GRID)
    weights = torch.rand(offsets.shape[:-1], device=device)
    values, back = ops.scatter_topk(weights, offsets, labels, 5, **GRID, descending=descending)
    assert values.shape == (2, 2, 3, 6, 7, 5)
    lists = {}
    for place in itertools.product(*map(range, offsets.shape[:-1])):
        if labels[place] >= 0:
            b, h, t, a, c, _ = place
            dt, dy, dx = offsets[place].tolist()
            key = (b, h, t + dt, 2 * a + dy, 2 * c + dx)
            lists.setdefault(key, []).append((float(weights[place]), (-dt, -dy, -dx)))
    for key in itertools.product(*map(range, values.shape[:-1])):
        expected = sorted(lists.get(key, []), reverse=descending)[:5]
        found = [(v, tuple(o)) for v, o in zip(values[key].tolist(), back[key].tolist(), strict=True)]
        assert found[: len(expected)] == expected
        assert all(v == (-1 if descending else 1) * float("inf") for v, _ in found[len(expected) :])


def test_planes_of_labels_hold_one_query_each(device):
    offsets = edges(device)
    offsets[..., 0] = 0
    labels, names = ops.scatter_labels(offsets, **GRID)
    labels = torch.where(labels >= 0, labels, names.shape[2])
    video = torch.ones(2, 3, 2, 6, 7, device=device)
    planes = ops.nonlocal_scatter(
        video, torch.ones(labels.shape, device=device), offsets, labels, planes=names.shape[2], ps=1, stride0=2
    )
    assert torch.equal(planes[..., 0, :, :] > 0, names[..., 0] >= 0)
    assert planes.max() == 1


def test_wrong_input_is_named():
    offsets = edges()
    labels, _ = ops.scatter_labels(offsets, **GRID)
    with pytest.raises(TypeError, match="offsets must be int32 or int64, got float32"):
        ops.scatter_labels(offsets.float(), **GRID)
    with pytest.raises(ValueError, match=r"values must have shape \[2, 2, 3, 3, 4, 4\], got \[2, 2, 3, 3, 4\]"):
        ops.scatter_tensor(torch.zeros(2, 2, 3, 3, 4), offsets, labels, **GRID)
    with pytest.raises(ValueError, match=r"values must have shape \[2, 2, 126, S\], got \[2, 2, 125, 1\]"):
        ops.gather_tensor(torch.zeros(2, 2, 125, 1), offsets, labels, **GRID)
    with pytest.raises(ValueError, match="k must be greater than 0, got 0"):
        ops.scatter_topk(torch.zeros(labels.shape), offsets, labels, 0, **GRID)
