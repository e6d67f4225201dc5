import pytest
import torch
from reference import fold as reference

from vnlsdenoise import ops

OPTIONS = [
    {"ps": 1},
    {"ps": 3},
    {"ps": 3, "stride": 2, "dilation": 2},
    {"ps": 4, "stride": 3, "use_adj": True},
    {"ps": 5, "pt": 2},
    {"ps": 3, "pt": 4, "stride": 2},
    {"ps": 9, "dilation": 3},
    {"ps": 3, "coords": (1, 2, 6, 8)},
    {"ps": 3, "coords": (1, 2, 6, 8), "stride": 2, "only_full": True, "use_adj": True},
    {"ps": 5, "coords": (0, 0, 3, 9), "border": "zero", "pt": 2},
    {"ps": 3, "coords": (2, 2, 2, 5)},
]
SHAPE = (3, 2, 7, 9)


def fold_options(options):
    return {key: value for key, value in options.items() if key not in ("ps", "pt")}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 7, 9)])
def test_both_match_the_reference_and_are_adjoint(device, options, shape):
    x = torch.randn(shape, dtype=torch.float64, device=device)
    patches = ops.iunfold(x, **options)
    expected = reference.unfold(x.cpu(), **options)
    assert torch.equal(patches.cpu(), expected)
    y = torch.randn_like(patches)
    video = ops.ifold(y, shape, **fold_options(options))
    torch.testing.assert_close(video.cpu(), reference.fold(y.cpu(), shape, **fold_options(options)))
    torch.testing.assert_close((patches * y).sum(), (x * video).sum())


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (4, 1)])
def test_smallest_frames(device, size):
    shape = (2, 1, *size)
    x = torch.randn(shape, dtype=torch.float64, device=device)
    patches = ops.unfold(x, ps=5, pt=3)
    assert torch.equal(patches.cpu(), reference.unfold(x.cpu(), ps=5, pt=3))
    torch.testing.assert_close(ops.fold(patches, shape).cpu(), reference.fold(patches.cpu(), shape))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_ranges_of_queries_give_the_bytes_of_one_call(device, options):
    video = torch.randn(SHAPE, device=device)
    patches = ops.iunfold(video, **options)
    whole = ops.ifold(patches, SHAPE, **fold_options(options))
    assert torch.equal(ops.ifold(patches, SHAPE, **fold_options(options)), whole)
    for size in (1, 7, 40):
        sums, pieces = torch.zeros_like(video), []
        for start in range(0, len(patches), size):
            count = min(size, len(patches) - start)
            pieces.append(ops.iunfold(video, start, count, **options))
            sums = ops.ifold(pieces[-1], SHAPE, start, sums=sums, **fold_options(options))
        if pieces:
            assert torch.equal(torch.cat(pieces), patches)
        assert torch.equal(sums, whole)


def test_batch(device):
    video = torch.randn(2, *SHAPE, device=device)
    patches = ops.unfold(video, ps=3, stride=2)
    folded = ops.fold(patches, (2, *SHAPE), stride=2)
    for i in range(2):
        assert torch.equal(patches[i], ops.unfold(video[i], ps=3, stride=2))
        assert torch.equal(folded[i], ops.fold(patches[i], SHAPE, stride=2))


@pytest.mark.parametrize("options", OPTIONS[2:7:2] + OPTIONS[8:10], ids=str)
def test_gradients(device, options):
    video = torch.randn(SHAPE, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ops.iunfold(x, 1, **options), video, nondet_tol=0.0, fast_mode=True)
    patches = torch.randn_like(ops.iunfold(video, 1, **options), requires_grad=True)
    sums = torch.randn_like(video, requires_grad=True)

    def run(patches, sums):
        return ops.ifold(patches, SHAPE, 1, sums=sums, **fold_options(options))

    assert torch.autograd.gradcheck(run, (patches, sums), nondet_tol=0.0, fast_mode=True)


def test_fold_of_unfold_divided_by_the_fold_of_ones_is_the_video(device):
    video = torch.randn(SHAPE, device=device).half()
    patches = ops.unfold(video, ps=5, stride=3)
    assert patches.dtype == torch.float16
    total = ops.fold(patches.float(), SHAPE, stride=3)
    weight = ops.fold(torch.ones_like(patches).float(), SHAPE, stride=3)
    torch.testing.assert_close(total / weight, video.float())


def test_opcheck_and_compile(device):
    video = torch.randn(1, *SHAPE, dtype=torch.float64, device=device, requires_grad=True)
    grid = [1, *SHAPE, 3, 1, 1, 1, 1, 0, 0, 2, 4, 5, 3, 30]
    torch.library.opcheck(torch.ops.vnlsdenoise.unfold.default, (video, grid))
    patches = torch.ops.vnlsdenoise.unfold(video, grid).detach().requires_grad_()
    torch.library.opcheck(torch.ops.vnlsdenoise.fold_add.default, (patches, video, grid))

    def run(video):
        return ops.fold(2 * ops.unfold(video, ps=3), SHAPE)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    alone = video.detach()[0].requires_grad_()
    torch.testing.assert_close(compiled(alone), run(alone))


def test_wrong_input_is_named():
    video = torch.zeros(SHAPE)
    with pytest.raises(ValueError, match=r"video must have shape \[T, C, H, W\], got \[7, 9\]"):
        ops.unfold(video[0, 0], ps=3)
    with pytest.raises(ValueError, match=r"queries must lie within 0 .. 189, got 180 .. 190"):
        ops.unfold(video, 180, 10, ps=3)
    with pytest.raises(ValueError, match=r"coords must be \(top, left, bottom, right\) within 7 x 9"):
        ops.iunfold(video, ps=3, coords=(0, 0, 8, 9))
    with pytest.raises(ValueError, match="border must be 'reflect' or 'zero', got 'wrap'"):
        ops.iunfold(video, ps=3, border="wrap")
    with pytest.raises(ValueError, match="ps and pt must be at most 64, got 65 and 1"):
        ops.unfold(video, ps=65)
    with pytest.raises(ValueError, match=r"stride and dilation must be less than 2\^20, got 1 and 1048576"):
        ops.unfold(video, ps=3, dilation=2**20)
    patches = ops.unfold(video, ps=3)
    with pytest.raises(
        ValueError, match=r"patches must have shape \[N, 1, pt, 3, ps, ps\], got \[189, 1, 1, 2, 3, 3\]"
    ):
        ops.fold(patches, (3, 3, 7, 9))
    with pytest.raises(ValueError, match=r"patches must have shape .*, got \[189, 1, 1, 2, 3, 2\]"):
        ops.fold(patches[..., :2], SHAPE)
    with pytest.raises(ValueError, match=r"sums must have shape \[3, 2, 7, 9\], got \[3, 2, 7, 8\]"):
        ops.fold(patches, SHAPE, sums=video[..., :8])
