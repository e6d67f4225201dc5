import pytest
import torch

from vnlsdenoise import nn, ops


@pytest.fixture
def lists(device):
    weights = torch.rand(1, 2, 2, 3, 4, 3, device=device)
    return torch.randn(1, 2, 4, 6, 7, device=device), weights, 8 * torch.randn(*weights.shape, 3, device=device)


def test_neighbour_modules_are_their_operators(lists):
    v, weights, flows = lists
    whole = flows.round().int()
    options = {"ps": 3, "stride0": 2}
    assert torch.equal(nn.WeightedPatchSum(3, 2)(*lists), ops.weighted_patch_sum(*lists, **options))
    merged = nn.WeightedPatchSum(3, 2, itype="int", merge_heads=True)(*lists)
    assert torch.equal(merged, ops.weighted_patch_sum(v, weights, whole, **options, merge_heads=True))
    grown = nn.NonLocalGatherAdd(3, 2, 4, 13, 15)(*lists)
    assert torch.equal(grown, ops.weighted_patch_sum(*lists, **options, stride_out=4, out_size=(13, 15)))
    assert torch.equal(nn.NonLocalGather(3, 2)(*lists), ops.nonlocal_gather(*lists, **options))
    assert torch.equal(nn.NonLocalScatterAdd(3, 2)(*lists), ops.nonlocal_scatter_add(*lists, **options))
    assert torch.equal(nn.PooledPatchSum(3, 2)(*lists), ops.pooled_patch_sum(*lists, **options))
    labels = torch.zeros_like(weights).int()
    assert torch.equal(
        nn.NonLocalScatter(3, 2, planes=1)(*lists, labels)[:, :, 0], ops.nonlocal_scatter_add(*lists, **options)
    )


def test_a_loop_over_patches_rebuilds_the_video(device):
    video = torch.randn(2, 3, 9, 8, device=device)
    unfold, fold, weight = nn.Unfold(5, stride=2), nn.Fold(video.shape, stride=2), nn.iFold(video.shape, stride=2)
    for start in range(0, 2 * 5 * 4, 7):
        patches = unfold(video, start, min(7, 40 - start))
        fold(patches, start)
        weight(torch.ones_like(patches), start)
    torch.testing.assert_close(fold.vid / weight.vid, video)
    fold.reset()
    assert fold.vid is None
    inner = nn.iUnfold(3, (2, 2, 6, 7), only_full=True, use_adj=True)(video)
    assert inner.shape == (2 * 2 * 3, 1, 1, 3, 3, 3)


def test_filter_starts_without_bias_and_learns(device):
    layer = nn.WeightedFilter(3, 5).to(device)
    images, weights = torch.randn(2, 3, 8, 9, device=device), torch.randn(2, 25, 8, 9, device=device)
    assert torch.equal(layer(images, weights), ops.weighted_filter(images, weights))
    layer(images, weights).sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full_like(layer.bias, 2 * 8 * 9))
    with pytest.raises(ValueError, match=r"input must have shape \[B, 3, H, W\], got \[2, 2, 8, 9\]"):
        layer(images[:, :2], weights)
    with pytest.raises(ValueError, match=r"weight must have shape \[B, 25, H, W\], got \[2, 9, 8, 9\]"):
        layer(images, weights[:, :9])
    with pytest.raises(ValueError, match="kernel_size must be odd, got 4"):
        nn.WeightedFilter(3, 4)


def test_wrong_parameters_are_named():
    with pytest.raises(ValueError, match="itype must be 'int', 'float' or None, got 'half'"):
        nn.WeightedPatchSum(3, itype="half")
    with pytest.raises(ValueError, match="outH and outW must be given together, got 4 and 0"):
        nn.NonLocalGatherAdd(3, 1, 1, outH=4)
    assert "strideIn=2" in repr(nn.WeightedPatchSum(3, 2))
