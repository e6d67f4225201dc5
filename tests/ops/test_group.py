import pytest
import torch
from reference import group as reference

from vnlsdenoise import ops

# Half-precision operands on a GPU: 2^-12 of the largest local contrast; float32 on the CPU.
TOLERANCE = {"cpu": 2e-3, "cuda": 4e-2}


def scene(frames, channels, height, width, sigma, device):
    """Texture, a flat part and an edge; clean and noisy, in units where sigma is the noise."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    texture = 3 * torch.sin(0.9 * x) * torch.cos(0.7 * y) * (x < width // 2)
    edge = 8.0 * (y > height // 2)
    clean = torch.stack([(texture + edge + 20) / (c + 1) for c in range(channels)]) * sigma
    noisy = [clean + sigma * torch.randn(channels, height, width) for _ in range(frames)]
    return [clean.clone().to(device) for _ in range(frames)], [n.float().to(device) for n in noisy]


def groups(noisy, patch, neighbors, stride, frame):
    height, width = noisy[0].shape[-2:]
    device = noisy[0].device
    queries = torch.tensor(
        [(y, x) for y in range(0, height - patch + 1, stride) for x in range(0, width - patch + 1, stride)],
        dtype=torch.int32,
        device=device,
    )
    centres = queries[:, None].expand(-1, len(noisy), -1).contiguous()
    _, offsets = ops.search(
        [n[0] for n in noisy], queries, centres, frame=frame, patch=patch, neighbors=neighbors, side=9, side_other=5
    )
    return queries, offsets


def finish(noisy, sums, sigma):
    return [ops.normalise(n, s, sigma).cpu().double() for n, s in zip(noisy, sums, strict=True)]


@pytest.mark.parametrize("sigma", [0.02, 10.0])
@pytest.mark.parametrize(
    ("patch", "neighbors"),
    # Those of the presets, for which CUDA kernels are compiled, and others.
    [(8, 16), (8, 32), (10, 48), (10, 64), (12, 32), (7, 32), (5, 32), (12, 64), (5, 16), (1, 16), (9, 48), (16, 32)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_both_filters_match_the_reference(device, channels, patch, neighbors, sigma):
    frame = 1
    clean, noisy = scene(3, channels, 30, 41, sigma, device)
    basic = [(c + 0.2 * sigma * torch.randn_like(c)).contiguous() for c in clean]
    queries, offsets = groups(noisy, patch, neighbors, 7, frame)
    sums = [ops.new_sums(n) for n in noisy]
    ops.shrink_groups(noisy, queries, offsets, sums, frame=frame, patch=patch, sigma=sigma, mean_threshold=2.7)
    on_cpu = [n.cpu() for n in noisy]

    def shrink(query, group):
        return reference.shrink(reference.gather(on_cpu, query, group, frame, patch), patch, sigma, 2.7)

    expected = reference.filtered(on_cpu, queries.cpu(), offsets.cpu(), frame, patch, shrink)
    for found, wanted in zip(finish(noisy, sums, sigma), expected, strict=True):
        # A coefficient within rounding of the threshold may fall on its other side: a few samples then differ.
        error = (found - wanted).abs() / sigma
        assert float(error.quantile(0.99)) < TOLERANCE[device]
        assert float(error.mean()) < TOLERANCE[device] / 4

    sums = [ops.new_sums(n) for n in noisy]
    ops.wiener_groups(noisy, basic, queries, offsets, sums, frame=frame, patch=patch, sigma=sigma)
    basic_on_cpu = [b.cpu() for b in basic]

    def wiener(query, group):
        return reference.wiener(
            reference.gather(on_cpu, query, group, frame, patch),
            reference.gather(basic_on_cpu, query, group, frame, patch),
            patch,
            sigma,
        )

    expected = reference.filtered(on_cpu, queries.cpu(), offsets.cpu(), frame, patch, wiener)
    for found, wanted in zip(finish(noisy, sums, sigma), expected, strict=True):
        assert float(((found - wanted).abs() / sigma).max()) < 2 * TOLERANCE[device]


def test_the_filters_denoise(device):
    clean, noisy = scene(5, 3, 64, 64, 10.0, device)
    queries, offsets = groups(noisy, 8, 32, 6, 2)
    sums = [ops.new_sums(n) for n in noisy]
    ops.shrink_groups(noisy, queries, offsets, sums, frame=2, patch=8, sigma=10.0, mean_threshold=2.7)
    basic = ops.normalise(noisy[2], sums[2], 10.0)
    before = float((noisy[2] - clean[2]).square().mean())
    after = float((basic - clean[2]).square().mean())
    assert after < before / 8


def test_any_order_of_work_gives_the_same_bits(device):
    _, noisy = scene(3, 3, 60, 70, 5.0, device)
    queries, offsets = groups(noisy, 8, 32, 3, 1)
    order = torch.randperm(len(queries), device=device)
    threads = torch.get_num_threads()
    results = []
    try:
        for parts, workers in ((1, threads), (1, 1), (9, threads)):
            torch.set_num_threads(workers)
            sums = [ops.new_sums(n) for n in noisy]
            for index in order.chunk(parts):
                arguments = {"frame": 1, "patch": 8, "sigma": 5.0}
                ops.shrink_groups(noisy, queries[index], offsets[index], sums, mean_threshold=2.7, **arguments)
                ops.wiener_groups(noisy, noisy, queries[index], offsets[index], sums, **arguments)
            results.append(torch.stack(sums))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_nothing_added_leaves_the_noisy_frame(device):
    noisy = torch.randn(3, 9, 11, device=device)
    assert torch.equal(ops.normalise(noisy, ops.new_sums(noisy), 2.0), noisy)


def test_sums_hold_signed_changes_and_weights(device):
    """The mean of changes of both signs, whose low halves borrow from the weights above them."""
    noisy = torch.zeros(1, 1, 2, device=device)
    sums = ops.new_sums(noisy)
    # weight 1 = 2^10 steps, change 1 sigma at weight 1 = 2^12 steps (csrc/group.h)
    sums[0, 0, 0] = (1024 << 32) - 4096 + (512 << 32) + 1024
    sums[0, 0, 1] = 3 * ((1024 << 32) - 2048)
    expected = torch.tensor([[[-2.0 * 3072 / (1536 * 4), -2.0 * 0.5]]], device=device)
    torch.testing.assert_close(ops.normalise(noisy, sums, 2.0), expected)


def test_wild_lists_stay_inside(device):
    _, noisy = scene(2, 1, 20, 20, 1.0, device)
    queries = torch.tensor([[0, 0], [2**30, -(2**30)]], dtype=torch.int32, device=device)
    offsets = torch.randint(-(2**20), 2**20, (2, 16, 3), dtype=torch.int32, device=device)
    sums = [ops.new_sums(n) for n in noisy]
    ops.shrink_groups(noisy, queries, offsets, sums, frame=0, patch=8, sigma=1.0, mean_threshold=2.7)
    ops.wiener_groups(noisy, noisy, queries, offsets, sums, frame=0, patch=8, sigma=1.0)
    assert int(sum((s >> 32).sum() for s in sums)) > 0


def test_opcheck(device):
    _, noisy = scene(2, 1, 20, 20, 1.0, device)
    queries, offsets = groups(noisy, 8, 16, 6, 0)
    sums = [ops.new_sums(n) for n in noisy]
    torch.library.opcheck(torch.ops.vnlsdenoise.shrink_groups.default, (noisy, queries, offsets, 0, 8, 1.0, 2.7, sums))
    torch.library.opcheck(
        torch.ops.vnlsdenoise.wiener_groups.default, (noisy, noisy, queries, offsets, 0, 8, 1.0, 0.8, 0.3, 0.5, sums)
    )
    torch.library.opcheck(torch.ops.vnlsdenoise.normalise.default, (noisy[0], sums[0], 1.0))


def test_wrong_input_is_named():
    _, noisy = scene(2, 1, 20, 20, 1.0, "cpu")
    queries, offsets = groups(noisy, 8, 16, 6, 0)
    sums = [ops.new_sums(n) for n in noisy]
    good = {"frame": 0, "patch": 8, "sigma": 1.0, "mean_threshold": 2.7}
    cases = [
        (ValueError, "16, 32, 48 or 64 patches a query, got 15", {"offsets": offsets[:, :15]}),
        (TypeError, "noisy must be float32, got float64", {"noisy": [n.double() for n in noisy]}),
        (ValueError, "noisy must have 1 or 3 channels, got 2", {"noisy": [n.expand(2, -1, -1) for n in noisy]}),
        (ValueError, "sums must hold 2 frames, got 1", {"sums": sums[:1]}),
        (
            ValueError,
            r"sums\[0\] must have shape \[1, 20, 20\], got \[1, 20, 19\]",
            {"sums": [s[..., :19] for s in sums]},
        ),
        (ValueError, r"sums\[0\] must be contiguous", {"sums": [s.transpose(1, 2) for s in sums]}),
        (ValueError, "patch must be from 1 to 16, got 17", {"patch": 17}),
        (ValueError, "sigma must be greater than 0, got 0", {"sigma": 0.0}),
        (ValueError, "offsets must hold", {"offsets": offsets[:3]}),
    ]
    for error, message, change in cases:
        a = {"noisy": noisy, "queries": queries, "offsets": offsets, "sums": sums, **good, **change}
        with pytest.raises(error, match=message):
            ops.shrink_groups(a.pop("noisy"), a.pop("queries"), a.pop("offsets"), a.pop("sums"), **a)
    with pytest.raises(ValueError, match="basic must be float32 frames of the number and shape of noisy"):
        ops.wiener_groups(noisy, noisy[:1], queries, offsets, sums, frame=0, patch=8, sigma=1.0)
