"""The passes between convolutions against what they stand for, written out in float64; and a network made of them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional

from vnlsdenoise.learned import passes
from vnlsdenoise.learned.checkpoint import load_network
from vnlsdenoise.learned.denoiser import working_type
from vnlsdenoise.learned.fused import FusedNetwork
from vnlsdenoise.learned.memory import NetworkSize
from vnlsdenoise.learned.network import PLANES, TRAITS, Dimensions, Frames, Network
from vnlsdenoise.learned.tiles import Span, Tile, map_size, tiles_of

CHANNELS = (48, 12, 3)  # whole vectors of 16 bytes, and not
TYPES = (torch.float32, torch.bfloat16)


def maps(*shape, dtype, device):
    """[N, C, h, w], channels last, beyond what fills the blocks of a kernel."""
    return torch.randn(shape).to(device, dtype).contiguous(memory_format=torch.channels_last)


def close(found, wanted, dtype):
    """To the rounding of the result; on the CPU each step of the pass is rounded."""
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(found.cpu().double(), wanted, rtol=2 * eps, atol=4 * eps)


def exact(*tensors):
    return [tensor.cpu().double() for tensor in tensors]


def of_channels(vector):
    return vector.cpu().double()[:, None, None]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_passes_over_one_map(device, channels, dtype):
    one, other = (maps(2, channels, 21, 37, dtype=dtype, device=device) for _ in range(2))
    bias, gain = torch.randn(2, channels).to(device).unbind()
    x, base = exact(one, other)
    close(passes.add_bias(one.clone(), bias), x + of_channels(bias), dtype)
    gelu = functional.gelu(x + of_channels(bias), approximate="tanh")
    close(passes.add_bias_gelu(one.clone(), bias), gelu, dtype)
    given = one.clone()
    found = passes.add_residual(given, other, gain, bias)
    assert found.data_ptr() == given.data_ptr()
    close(found, base + of_channels(gain) * x + of_channels(bias), dtype)


def test_the_activation_at_its_ends(device):
    values = torch.tensor([-1e4, -60.0, -9.0, -5.0, -1e-3, 0.0, 1e-3, 5.0, 60.0, 1e4, float("nan"), float("inf")])
    given = values.repeat(4).view(1, 12, 2, 2).to(device).contiguous(memory_format=torch.channels_last)
    wanted = functional.gelu(given.cpu().double(), approximate="tanh")
    found = passes.add_bias_gelu(given, torch.zeros(12, device=device))
    torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_enlarging_and_adding(device, channels, dtype):
    fine = maps(2, channels, 22, 38, dtype=dtype, device=device)
    below = maps(2, 4 * channels, 11, 19, dtype=dtype, device=device)
    x, more = exact(fine, below)
    for y in range(2):
        for z in range(2):
            quadrant = 2 * y + z
            x[:, :, y::2, z::2] += more[:, quadrant * channels : (quadrant + 1) * channels]
    close(passes.add_enlarged(fine, below), x, dtype)


def bilinear(state, across, down):
    """state [C, H, W] at places [h, w], borders held: one value at a time."""
    height, width = state.shape[-2:]
    out = state.new_empty(state.shape[0], *across.shape)
    for y in range(across.shape[0]):
        for x in range(across.shape[1]):
            right = min(max(float(across[y, x]), 0), width - 1)
            low = min(max(float(down[y, x]), 0), height - 1)
            x0, y0 = int(right), int(low)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            right, low = right - x0, low - y0
            upper = state[:, y0, x0] * (1 - right) + state[:, y0, x1] * right
            lower = state[:, y1, x0] * (1 - right) + state[:, y1, x1] * right
            out[:, y, x] = upper * (1 - low) + lower * low
    return out


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_a_part_of_a_state_seen_along_the_flow(device, channels, dtype):
    state = maps(1, channels, 30, 40, dtype=dtype, device=device)
    flow = 3 * torch.randn(1, 2, 13, 21)
    flow[0, :, 0, 0], flow[0, :, -1, -1] = -1e9, 1e9
    found = passes.seen(state, flow.to(device), (4, 8), (13, 21))
    y, x = torch.arange(4, 17)[:, None].double(), torch.arange(8, 29).double()
    wanted = bilinear(state[0].cpu().double(), x + flow[0, 0].double(), y + flow[0, 1].double())
    # Places are rounded to float32: some millionths of a pixel.
    close(found, wanted[None], dtype if dtype == torch.bfloat16 else torch.float16)
    assert torch.equal(passes.seen(state, None, (0, 0), (30, 40)), state)
    less = flow.to(device)[..., :12, :20]
    grown = passes.seen(state, passes.enlarged(less, 13, 21), (4, 8), (13, 21))
    for given in (less, less.contiguous()):
        assert torch.equal(passes.seen(state, given, (4, 8), (13, 21)), grown)


def test_a_flow_that_is_no_number_reads_nothing_beyond_the_state(device):
    state, flow = torch.ones(1, 8, 4, 4, device=device), torch.full((1, 2, 4, 4), float("nan"), device=device)
    state = state.contiguous(memory_format=torch.channels_last)
    assert torch.equal(passes.seen(state, flow, (0, 0), (4, 4)), state)


def planes_of(layout, height, width, device):
    whole, half = PLANES[layout]
    shapes = [(whole, height, width)] + ([(half, -(-height // 2), -(-width // 2))] if half else [])
    classic = [(20 + 9 * torch.randn(shape)).to(device) for shape in shapes]
    noisy = [planes + torch.randn_like(planes) for planes in classic]
    channels = torch.tensor([[25.0 + 3 * i, 0.5 - 0.2 * i] for i in range(whole + half)])
    return noisy, classic, channels


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", PLANES)
def test_views_of_a_tile(device, layout, dtype):
    height, width = 69, 83
    noisy, classic, channels = planes_of(layout, height, width, device)
    whole = map_size(height, width)
    tile = Tile(Span(8, 36, 4, 36), Span(12, 44, 8, 44))
    like = torch.empty(0, dtype=dtype, device=device)
    found = passes.views(noisy, classic, channels.to(device), like, tile, whole)
    parts, first = [], 0
    for factor, unclean, cleaned in zip((2, 1), exact(*noisy), exact(*classic), strict=False):
        for n, c in zip(unclean, cleaned, strict=True):
            reach, centre = channels[first].tolist()
            first += 1
            grown = [passes.enlarged(p[None, None], *(factor * side for side in whole))[0, 0] for p in (n, c)]
            mean = functional.avg_pool2d(grown[1][None], 3, 1, 1, count_include_pad=False)[0]
            for view in (grown[0] - grown[1], grown[1] / reach - centre, torch.asinh(grown[1] - mean)):
                for y in range(factor):
                    for x in range(factor):
                        parts.append(view[y::factor, x::factor][tile.rows.outer(), tile.columns.outer()])
    wanted = torch.stack(parts)
    assert found.shape[1] % 16 == 0 and not bool(found[0, len(wanted) :].any())
    torch.testing.assert_close(found[0, : len(wanted)].cpu().double(), wanted, rtol=torch.finfo(dtype).eps, atol=2e-5)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", PLANES)
def test_planes_of_maps(device, layout, dtype):
    whole, half = PLANES[layout]
    given = maps(1, passes.padded(4 * whole + half, 16), 13, 150, dtype=dtype, device=device)
    found = passes.planes(given, whole, half)
    x = given.cpu().double()
    wanted = [functional.pixel_shuffle(x[:, : 4 * whole], 2)] + ([x[:, 4 * whole :][:, :half]] if half else [])
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32 or device == "cpu"
        assert torch.equal(one.cpu().double(), other)


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf"), -float("inf")])
def test_corrections_that_are_no_numbers_are_left_out(device, value):
    base = [torch.randn(1, 70, 90, device=device), torch.randn(2, 35, 45, device=device)]
    corrections = [torch.randn_like(planes) for planes in base]
    corrections[1][1, 34, 44] = value
    sound = bool(torch.tensor(value).isfinite())
    wanted = [one + other if sound else one.clone() for one, other in zip(base, corrections, strict=True)]
    found, faults = passes.corrected(base, corrections)
    assert int(faults) == (not sound)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("layout", PLANES)
@pytest.mark.parametrize("dimensions", [Dimensions((8, 12, 16), 1, (1, 0, 2), 1), None], ids=["tiny", "small"])
def test_a_fused_network_gives_what_the_network_gives(device, layout, dimensions):
    network = load_network("small") if dimensions is None else Network(dimensions).requires_grad_(False)
    if dimensions is not None:
        torch.nn.init.normal_(network.tail(layout).conv.weight, std=0.1)
        torch.nn.init.normal_(network.tail(layout).conv.bias)
    height, width = 70, 92
    noisy, classic, channels = planes_of(layout, height, width, device)
    [tile] = tiles_of(height, width, network.dimensions)
    exact_network = network.double()
    fused = FusedNetwork(exact_network, torch.device(device), working_type(torch.device(device)))
    traits = torch.rand(len(channels), TRAITS)
    found = fused.encoder_of(layout, channels, traits)(noisy, classic, tile, map_size(height, width))
    centred, removed, first = [], [], 0
    for factor, unclean, cleaned in zip((2, 1), exact(*noisy), exact(*classic), strict=False):
        reach = channels[first : first + len(cleaned)].double()[:, :, None, None]
        first += len(cleaned)
        size = [factor * side for side in tile.size]
        centred.append(passes.enlarged((cleaned / reach[:, 0] - reach[:, 1])[None], *size))
        removed.append(passes.enlarged((unclean - cleaned)[None], *size))
    encoded = exact_network.encode(
        Frames(layout, centred, removed, channels[None, :, 0].double(), traits[None].double())
    )
    # To so many roundings of values of that size, one after the other.
    tolerance = 0.02 if device == "cuda" else 1e-5

    def close_to(one, other):
        assert float((one.cpu().double() - other).abs().max()) < tolerance * float(other.abs().max())

    close_to(found, encoded)
    flow = 2 * torch.randn(1, 2, *tile.size)
    state, back = (maps(*encoded.shape, dtype=found.dtype, device=device) for _ in range(2))
    given = exact(found, back, state)
    close_to(fused.step_back(found, state, flow.to(device)), exact_network.step_back(given[0], given[2], flow.double()))
    close_to(fused.step_back(found, None, None), exact_network.step_back(given[0], None, None))
    forth = fused.step_forth(found, back, state, flow.to(device))
    close_to(forth, exact_network.step_forth(*given, flow.double()))
    corrections = fused.correct(layout, fused.decode(found, back, forth))
    wanted = exact_network.correct(layout, exact_network.decode(given[0], given[1], *exact(forth)))
    for one, other in zip(corrections, wanted, strict=True):
        assert one.dtype == torch.float32 and one.shape == other.shape
        close_to(one, other.double())


FORMS = [
    (48, 16, 1),
    (64, 16, 1),
    (48, 48, 1),
    (48, 48, 2),
    (48, 48, 3),
    (16, 48, 1),
    (32, 48, 1),
    (96, 96, 1),
    (128, 128, 1),
]
FORMS += [(64, 64, 1), (64, 64, 3), (64, 16, 1), (16, 64, 1), (32, 64, 1), (48, 64, 1), (192, 192, 1)]


@pytest.mark.needs_cuda
@pytest.mark.parametrize(("source", "channels", "sources"), FORMS)
def test_convolutions_and_what_follows_them(source, channels, sources):
    def values(*shape):
        return torch.randn(shape, device="cuda").bfloat16().contiguous(memory_format=torch.channels_last)

    # More than one rectangle of a block in both directions, parts of them beyond the border; parts of larger maps.
    given = [values(2, source, 30, 75)[..., 3:26, 4:71] for _ in range(sources)]
    weight = values(channels, sources * source, 3, 3) / (3 * (sources * source) ** 0.5)
    bias, gain = torch.randn(2, channels, device="cuda").unbind()
    base = values(2, channels, 23, 67)
    laid_out = passes.laid_out(weight, sources)
    assert laid_out is not None
    exactly = functional.conv2d(torch.cat(given, 1).double(), weight.double(), padding=1).cpu()
    x = exactly + of_channels(bias)
    close(passes.convolved(given, laid_out, bias), x, torch.bfloat16)
    found = passes.convolved(given, laid_out, bias, gelu=True)
    close(found, functional.gelu(x, approximate="tanh"), torch.bfloat16)
    found = passes.convolved(given, laid_out, bias, gain, base)
    close(found, base.cpu().double() + of_channels(gain) * exactly + of_channels(bias), torch.bfloat16)


@pytest.mark.needs_cuda
@pytest.mark.parametrize(("given", "channels"), [(48, 96), (96, 128), (64, 128), (128, 192)])
def test_convolutions_that_halve(given, channels):
    x = torch.randn(2, given, 46, 72, device="cuda").bfloat16().contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, given, 2, 2, device="cuda").bfloat16() / (2 * given**0.5)
    bias, laid_out = torch.randn(channels, device="cuda"), passes.laid_out(weight)
    assert laid_out is not None
    wanted = functional.conv2d(x.double(), weight.double(), bias.double(), stride=2).cpu()
    close(passes.convolved_halving(x, laid_out, bias), wanted, torch.bfloat16)


@pytest.mark.needs_cuda
@pytest.mark.parametrize(("given", "channels"), [(96, 48), (128, 96), (128, 64), (192, 128)])
def test_convolutions_that_enlarge(given, channels):
    below = torch.randn(2, given, 23, 36, device="cuda").bfloat16().contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, channels, 46, 72, device="cuda").bfloat16().contiguous(memory_format=torch.channels_last)
    weight = torch.randn(4, channels, given, 1, 1, device="cuda").bfloat16() / given**0.5
    wanted = functional.conv2d(below.double(), weight.transpose(0, 1).flatten(0, 1).double())
    wanted = x.double() + functional.pixel_shuffle(wanted, 2)
    laid_out = [passes.laid_out(quarter) for quarter in weight]
    assert all(quarter is not None for quarter in laid_out)
    found = passes.add_convolved_enlarging(x, below, torch.stack(laid_out))
    close(found, wanted.cpu(), torch.bfloat16)


@pytest.mark.needs_cuda
def test_a_convolution_of_a_part_has_the_bits_of_the_whole():
    whole = torch.randn(1, 48, 60, 90, device="cuda").bfloat16().contiguous(memory_format=torch.channels_last)
    weight = torch.randn(48, 48, 3, 3, device="cuda").bfloat16()
    laid_out, bias = passes.laid_out(weight), torch.randn(48, device="cuda")
    part = passes.convolved([whole[..., 5:, 7:]], laid_out, bias)
    assert torch.equal(part[..., 1:, 1:], passes.convolved([whole], laid_out, bias)[..., 6:, 8:])


@pytest.mark.needs_cuda
def test_threads_may_take_different_amounts_of_shared_memory_for_one_kernel():
    """A chunk of the input at a time, or two: what a kernel is allowed must last until the launch that asked for it."""

    def repeats(sources):
        given = [maps(1, 48, 16, 32, dtype=torch.bfloat16, device="cuda") for _ in range(sources)]
        weight = maps(48, 48 * sources, 3, 3, dtype=torch.bfloat16, device="cuda")
        laid_out, bias = passes.laid_out(weight, sources), torch.randn(48, device="cuda")
        wanted = passes.convolved(given, laid_out, bias)
        for _ in range(10_000):
            found = passes.convolved(given, laid_out, bias)
        return torch.equal(found, wanted)

    with ThreadPoolExecutor(2) as threads:
        assert all(threads.map(repeats, (1, 3)))


@pytest.mark.parametrize(
    ("channels", "fused"),
    # The last three: no kernel for the head of grey, for the first halving, for 56 channels.
    [
        ((48, 96, 128), True),
        ((64, 128, 192), True),
        ((96, 128, 192), False),
        ((64, 96, 96), False),
        ((56, 96, 128), False),
    ],
)
def test_memory_is_planned_for_the_kernels_that_there_are(channels: tuple[int, int, int], fused: bool) -> None:
    dimensions = Dimensions(channels, 1, (1, 1, 1), 1)
    assert NetworkSize(dimensions, 2).fused == fused
    assert not NetworkSize(dimensions, 4).fused


def test_what_needs_much_shared_memory_has_no_kernel() -> None:
    """Of cards of compute capability 8.6 and 8.9 a block has 99 KiB; two chunks of 48 channels take 144."""
    assert passes.chunk_of(96, 48, 2) == 48
    assert passes.chunk_of(96, 96, 2) is None


def test_corrections_are_no_larger_than_their_limits(device):
    given = [torch.randn(3, 21, 37).to(device), torch.randn(1, 10, 18).to(device)]
    sizes = [passes.magnitude(planes) for planes in given]
    for size, planes in zip(sizes, given, strict=True):
        wanted = planes.cpu().double().square().sum((1, 2)).sqrt()
        torch.testing.assert_close(size.cpu().double(), wanted, rtol=1e-6, atol=0)
    most = sizes[0] * torch.tensor([0.5, 1.5, torch.inf], device=device)
    first, second = passes.limited(given, [most, 0 * sizes[1]])
    torch.testing.assert_close(first, given[0] * torch.tensor([0.5, 1, 1], device=device)[:, None, None])
    assert torch.equal(first[1:], given[0][1:]) and not second.any()
    first, second = passes.limited(given, [None, 0 * sizes[1]])
    assert torch.equal(first, given[0]) and not second.any()
    nothing = [torch.zeros(2, 4, 4, device=device)]
    assert not passes.limited(nothing, [torch.zeros(2, device=device)])[0].any()


def test_a_limit_leaves_what_is_no_number_to_be_found(device):
    base, corrections = (torch.randn(2, 12, 16).to(device) for _ in range(2))
    corrections[1, 3, 5] = torch.nan
    found, faults = passes.corrected([base], passes.limited([corrections], [passes.magnitude(base)]))
    assert int(faults) == 1 and torch.equal(found[0], base)
