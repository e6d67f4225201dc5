"""Memory: what a denoiser will need at its peak, and the batch of queries that keeps it under a ceiling.

The peak is the largest of what the steps need, one at a time: the pages that a step opens and what it allocates beside
them (the constants are next to the code of each step), on top of what is always there. Under a ceiling the `Pager`
holds as many other pages on the device as leave room for the step that is at work.
"""

import math
from dataclasses import dataclass
from typing import Any

from vnlsdenoise.classic.denoiser import DEFAULT_BATCH, goes_beside, level_sizes, levels_of
from vnlsdenoise.classic.level import (
    GUIDE_WORK,
    MIX_WORK,
    NORMALISE_WORK,
    RECOMPOSE_WORK,
    SMALLEST_BATCH,
    query_bytes,
)
from vnlsdenoise.classic.motion import FLOW_PAIR_PLANES, FLOW_PLANES, half_planes
from vnlsdenoise.classic.planar import NETWORK_LANES, chroma_is_below, chroma_is_beside, padded_size, transit_bytes
from vnlsdenoise.classic.presets import Level, Preset
from vnlsdenoise.classic.scenewise import MEASURED_FRAMES
from vnlsdenoise.errors import MemoryLimitError
from vnlsdenoise.learned.chunks import CHUNK
from vnlsdenoise.learned.memory import NetworkNeed, NetworkSize, network_need
from vnlsdenoise.learned.network import Layout
from vnlsdenoise.noise.blocks import block_samples
from vnlsdenoise.noise.stabilise import STABILISE_WORK
from vnlsdenoise.noise.temporal import MATCHED_SAMPLES
from vnlsdenoise.noise.whiten import GAIN, WHITEN_WORK
from vnlsdenoise.video.frame import PlaneFormat

_FLOAT, _SUM, _NATIVE = 4, 8, 2  # bytes of a sample, of its fixed-point sum, and at most in a file
# Finished frames on the device at once: the last one, one with its grain put back, one rounded, one as integers.
_RESULTS = 4
_BLOCK_COPIES = 16  # of the blocks of one frame while noise is measured: cut, chosen, transformed, kept of all frames
_MATCHED_COPIES = 24  # of the blocks of a frame that are looked for in others: of every plane, in all groups of frames
_SMALL = 1 << 20  # tables, and planes that are padded to the smallest size
_BURST = 8  # frames that go through a pass at once, where it pays
_CAPTURED = 6  # times what measuring flow beside other work takes is to spare, where that is done
_SLACK = 1.06  # the allocator rounds every piece up; measured: up to 1.053 (`best` at 540p under half of its memory)


@dataclass(frozen=True)
class MemoryPlan:
    """batch: most queries worked on at once. pages: bytes of frames in flight, and of work on them, that may be on the
    device; None for no limit. burst: frames that go through a pass at once. captured: whether flow is measured beside
    other work (`CapturedFlow`). beside: whether the coarser levels go on beside the finest one.

    peak: predicted peak of device memory, in bytes. Planes that are returned as they are wait for the others: without
    a ceiling they come on top. waiting: most bytes of frames that wait elsewhere.
    """

    batch: int
    pages: int | None
    peak: int
    waiting: int = 0
    burst: int = 1
    captured: bool = True
    beside: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """Of a denoiser that keeps to the plan."""
        return {
            "batch": self.batch,
            "pages": self.pages,
            "burst": self.burst,
            "captured": self.captured,
            "beside": self.beside,
        }


@dataclass(frozen=True)
class _Need:
    """Bytes on the device.

    pages: of all frames in flight. more: what these grow by for every further frame of a burst. arriving: of a frame
    that no pass has begun with. windows: of those that some pass opens again with every frame. passed: of those that
    one pass of search and filter opens. work: most that any step allocates but for the batch of a pass. step: the same,
    with the pages that it opens.
    """

    pages: int
    more: int
    arriving: int
    windows: int
    passed: int
    work: int
    step: int


def least_memory(
    layout: PlaneFormat, preset: Preset, network: NetworkSize | None = None, *, measured: bool = True
) -> int:
    """The smallest ceiling that a denoiser can keep to, in bytes: the frames of one pass and the smallest batch, or
    what one step of the network takes."""
    need, held = _need(layout, preset, network), _held(layout, preset, network)
    measuring = _measuring(layout) if measured else 0
    passing = need.passed + SMALLEST_BATCH * _query_bytes(preset)
    return _peak(held + max(measuring, passing, need.step))


def plan_memory(
    layout: PlaneFormat,
    preset: Preset,
    ceiling: int | None = None,
    network: NetworkSize | None = None,
    *,
    measured: bool = True,
) -> MemoryPlan:
    """The largest batch that keeps the predicted peak under `ceiling` bytes; it does not change the result.

    Where there is no room for all frames in flight, some wait in host memory (those of the CPU: in a file) while others
    are worked on. network: what corrects the result, None for nothing. measured: whether the noise is measured, which
    takes memory too.

    Raises:
        MemoryLimitError: the ceiling is less than `least_memory`.
    """
    need = _need(layout, preset, network)
    held = _held(layout, preset, network)
    measuring = held + (_measuring(layout) if measured else 0)
    ahead = sum(_ahead(preset, *pyramid, network is not None) for pyramid in _pyramids(layout, preset))
    apart = sum(_apart(preset, sizes) for sizes, _ in _pyramids(layout, preset))
    per_query = _query_bytes(preset)
    most = min(DEFAULT_BATCH, max(_queries_per_frame(layout, preset), SMALLEST_BATCH))
    in_flight = need.pages + max(need.work, most * per_query)
    unlimited = _peak(ahead + max(held + apart + in_flight, measuring))
    if ceiling is None or unlimited <= ceiling:
        pages = None if ceiling is None else int(ceiling / _SLACK) - held - ahead - apart
        return MemoryPlan(most, pages, unlimited, beside=goes_beside(preset))
    least = least_memory(layout, preset, network, measured=measured)
    if least > ceiling:
        raise MemoryLimitError(
            f"{layout.width}x{layout.height} {demand(network)} needs about {_mebibytes(least)} MiB of device "
            f"memory and {_mebibytes(ceiling)} MiB are allowed; allow more or {way_out(network)}"
        )
    captured = _CAPTURED * ahead <= ceiling - least
    held += ahead if captured else 0
    room = int(ceiling / _SLACK) - held
    spare = room - need.pages
    if spare < max(need.work, SMALLEST_BATCH * per_query):
        # Half of what is to spare for more queries at once, half for fewer journeys of frames.
        spare = (room - need.passed) // 2
    batch = min(most, max(SMALLEST_BATCH, spare // per_query))
    peak = _peak(min(max(held + in_flight, measuring), held + room))
    if in_flight <= room:
        return MemoryPlan(batch, room, peak, captured=captured, beside=False)
    # Where not even those stay that are used with every frame, all of them come once a burst.
    burst = 1 if need.windows + max(need.work, batch * per_query) <= room else _BURST
    # As many again have come while a burst is at work.
    waiting = need.pages + (burst - 1) * (need.more + need.arriving)
    return MemoryPlan(batch, room, peak, waiting, burst, captured, beside=False)


def demand(network: NetworkSize | None) -> str:
    """What needs the memory, for a message."""
    return "at this preset" if network is None else "with the learned method"


def way_out(network: NetworkSize | None) -> str:
    """What needs less."""
    return "use a faster preset" if network is None else "take --method classic"


def _query_bytes(preset: Preset) -> int:
    return max(
        query_bytes(step, _window(level))
        for level in (preset.finest, preset.coarse)
        for step in (level.shrink, *level.wiener)
    )


def _peak(size: int) -> int:
    return int(size * _SLACK)


def _mebibytes(size: int) -> int:
    return size // 2**20


def _held(layout: PlaneFormat, preset: Preset, network: NetworkSize | None) -> int:
    """What is on the device whatever is at work."""
    samples = sum(height * width for height, width in layout.plane_shapes)
    # A frame as it came and as floats, results on their way out, filters of correlated noise (if there is any).
    planes = samples * ((_NATIVE + _FLOAT) + _RESULTS * _FLOAT + 2 * _NATIVE + GAIN * _FLOAT)
    main, *beside = _pyramids(layout, preset)
    flow_images = sum(_FLOAT * _field(preset, sizes[0]) for sizes, _ in (main, *beside))
    grids = sum(_grids(preset, sizes) for sizes, _ in (main, *beside))
    networks = sum(need.held for need in _networks(layout, preset, network))
    return planes + flow_images + grids + networks + _SMALL


def _measuring(layout: PlaneFormat) -> int:
    """What is on the device while the noise of a scene is measured, plane by plane."""
    samples = [height * width for height, width in layout.plane_shapes]
    blocks = max(block_samples(height, width) for height, width in layout.plane_shapes)
    planes = MEASURED_FRAMES * max(samples) + 3 * sum(samples)  # those of all frames; of one as it is and in units
    quiet = planes + (STABILISE_WORK + 2) * max(samples) + _BLOCK_COPIES * blocks
    # What is new: the planes of three frames, of R, G and B their sum and differences too, and the flow between two.
    new = 3 * 2 * sum(samples) + FLOW_PLANES * _halved((layout.height, layout.width))
    new += _MATCHED_COPIES * len(samples) * MATCHED_SAMPLES
    return _FLOAT * max(quiet, new)


def _need(layout: PlaneFormat, preset: Preset, network: NetworkSize | None) -> _Need:
    pyramids = _pyramids(layout, preset)
    needs = [_of_pyramid(preset, *pyramid) for pyramid in pyramids]
    pages = sum(need.pages for need in needs)
    if len(pyramids) == 2:
        # The results of the quicker one wait for the other's.
        lags = [sum(_stays(level) for level in levels_of(preset, sizes)) for sizes, _ in pyramids]
        pages += max(0, lags[0] - lags[1]) * _FLOAT * 3 * math.prod(pyramids[1][0][0])
        pages += max(0, lags[1] - lags[0]) * _FLOAT * math.prod(pyramids[0][0][0])
    transit = transit_bytes(layout, STABILISE_WORK, WHITEN_WORK)
    samples = sum(height * width for height, width in layout.plane_shapes)
    work = max(transit, *(need.work for need in needs))
    # What is opened to be delivered: results, and planes that were kept.
    step = max(transit + 3 * _FLOAT * samples, *(need.step for need in needs))
    networks = _networks(layout, preset, network)
    pages += sum(need.pages for need in networks)
    if len(networks) == 2:  # luma of a chunk waits for its chroma
        pages += CHUNK * _FLOAT * math.prod(pyramids[0][0][0])
    work, step = max(work, *(need.work for need in networks), 0), max(step, *(need.step for need in networks), 0)
    more, windows = sum(need.more for need in needs), sum(need.windows for need in needs)
    arriving = sum(need.arriving for need in needs)
    return _Need(pages, more, arriving, windows, max(need.passed for need in needs), work, step)


def _networks(layout: PlaneFormat, preset: Preset, network: NetworkSize | None) -> list[NetworkNeed]:
    """Of what corrects the results of each pyramid."""
    if network is None:
        return []
    found = []
    for sizes, channels in _pyramids(layout, preset):
        kind: Layout = "444" if channels[0] == 3 else "420" if channels[-1] == 3 else "gray"
        lag = sum(_stays(level) for level in levels_of(preset, sizes))
        found.append(network_need(network, kind, *sizes[0], lag))
    return found


_Pyramid = tuple[list[tuple[int, int]], list[int]]  # (height, width) and channels of every level, finest first


def _pyramids(layout: PlaneFormat, preset: Preset) -> list[_Pyramid]:
    subsampled = chroma_is_below(layout, preset)
    channels = 1 if layout.family == "gray" or layout.chroma_x + layout.chroma_y or subsampled else 3
    sizes = level_sizes(preset, *padded_size(layout.height, layout.width), subsampled)
    pyramids = [(sizes, [3 if subsampled and index else channels for index in range(len(sizes))])]
    if chroma_is_beside(layout):
        sizes = level_sizes(preset, *padded_size(*layout.plane_shapes[1]), False)
        pyramids.append((sizes, [3] * len(sizes)))
    return pyramids


def _window(level: Level) -> int:
    """Frames inside a pass."""
    return 2 * level.radius + 1


def _stays(level: Level) -> int:
    """Frames inside a level."""
    return _window(level) * (1 + len(level.wiener))


def _halved(size: tuple[int, int]) -> int:
    """Samples of half the resolution."""
    return -(-size[0] // 2) * -(-size[1] // 2)


def _field(preset: Preset, size: tuple[int, int]) -> int:
    """Samples of one component of a field of flow."""
    scale = preset.flow.scale
    return -(-size[0] // scale) * -(-size[1] // scale)


def _ahead(preset: Preset, sizes: list[tuple[int, int]], channels: list[int], network: bool) -> int:
    """A frame whose flow is measured beside other work: itself, and what `CapturedFlow` works on, takes and gives; the
    latter once more where the flow of results is measured for a network."""
    frame = sum(count * math.prod(size) for size, count in zip(sizes, channels, strict=True))
    lanes = NETWORK_LANES if network else 1
    return _FLOAT * (frame + lanes * half_planes(FLOW_PLANES + FLOW_PAIR_PLANES, preset.flow) * _halved(sizes[0]))


def _apart(preset: Preset, sizes: list[tuple[int, int]]) -> int:
    """What the coarser levels take for queries where they go on beside the finest one: every pass for itself."""
    if not goes_beside(preset):
        return 0
    return sum(
        query_bytes(step, _window(level)) * _queries(size, step.stride)
        for size, level in list(zip(sizes, levels_of(preset, sizes), strict=True))[1:]
        for step in (level.shrink, *level.wiener)
    )


def _of_pyramid(preset: Preset, sizes: list[tuple[int, int]], channels: list[int]) -> _Need:
    levels = levels_of(preset, sizes)
    stays = [_stays(level) for level in levels]
    field = 2 * 2 * _FLOAT * _field(preset, sizes[0])  # forward and backward
    subsampled = channels[0] == 1 and channels[-1] == 3
    # The frame that comes is no page while its flow is measured.
    given = _FLOAT * math.prod(sizes[0]) * channels[0] + (2 * _FLOAT * math.prod(sizes[1]) if subsampled else 0)
    work = step = 2 * given + half_planes(FLOW_PLANES, preset.flow) * _FLOAT * _halved(sizes[0])
    arriving = field + field // 4 + field // 16
    pages = more = windows = passed = below = 0
    for index, (size, level) in reversed(list(enumerate(zip(sizes, levels, strict=True)))):
        passes, window = len(level.wiener), _window(level)
        frame = _FLOAT * channels[index] * math.prod(size)
        sums = frame * _SUM // _FLOAT
        pages += frame * (sum(stays[index:]) + 1)  # noisy, from its arrival to its leaving
        pages += (window + 1) * (_FLOAT * math.prod(size) + below + sums)  # step 1: guide, coarser result, sums
        pages += (window + 1) * sum(count * frame + sums for count in range(1, passes + 1))
        arriving += frame
        more += 2 * frame + (1 + passes) * (frame + sums)  # noisy, its guide, the results and sums of every pass
        opened = window * (2 * frame + sums) + (window - 1) * (field if 2**index <= preset.flow.scale else field // 2)
        windows += (1 + passes) * opened
        passed = max(passed, opened)
        # Each with the pages that it opens: noisy, sums, coarser result; the results that are mixed.
        finishing = max(GUIDE_WORK, RECOMPOSE_WORK, NORMALISE_WORK) * frame
        mixing = MIX_WORK * frame
        work = max(work, finishing, mixing)
        step = max(step, frame + sums + below + finishing, (passes + 1) * frame + mixing)
        below = frame
    if subsampled:
        pages += 2 * _FLOAT * math.prod(sizes[1]) * (stays[0] + 1)  # denoised chroma waits for its luma
        more += 2 * _FLOAT * math.prod(sizes[1])
    pages += (field + field // 4 + field // 16) * (sum(stays) + 1)
    more += field + field // 4 + field // 16
    return _Need(pages, more, arriving, windows, passed, work, step)


def _grids(preset: Preset, sizes: list[tuple[int, int]]) -> int:
    """The queries of every pass at all their phases, which are kept."""
    total = 0
    for size, level in zip(sizes, levels_of(preset, sizes), strict=True):
        for stride in {(step.patch, step.stride) for step in (level.shrink, *level.wiener)}:
            phases = stride[1] // math.gcd(2, stride[1])
            total += phases * 2 * 4 * _queries(size, stride[1])
    return total


def _queries(size: tuple[int, int], stride: int) -> int:
    return (size[0] // stride + 2) * (size[1] // stride + 2)


def _queries_per_frame(layout: PlaneFormat, preset: Preset) -> int:
    stride = min(step.stride for step in (preset.finest.shrink, *preset.finest.wiener))
    return _queries(padded_size(layout.height, layout.width), stride)
