"""Memory: what a denoiser will need at its peak, and the batch of queries that keeps it under a ceiling."""

from dataclasses import dataclass

from vnlsdenoise.classic.denoiser import DEFAULT_BATCH, level_sizes
from vnlsdenoise.classic.level import SMALLEST_BATCH
from vnlsdenoise.classic.planar import padded_size
from vnlsdenoise.classic.presets import Preset
from vnlsdenoise.errors import MemoryLimitError
from vnlsdenoise.video.frame import PlaneFormat

_FLOAT, _SUM = 4, 8  # bytes of a sample and of its fixed-point sum
_FLOW_PLANES = 38  # float planes of a half-resolution image that flow of both directions works with
_TEMPORARIES = 8  # float copies of a frame's channels alive at once while a frame passes from stage to stage
_GAINS = 2  # floats a sample, of the filter that whitens correlated noise; whether there is any is not known yet
_WAVES = 12  # floats a sample of one plane while it is whitened: mirrored, transformed, and transformed back
_SLACK = 1.05  # the allocator rounds every piece up


@dataclass(frozen=True)
class MemoryPlan:
    """batch: most queries worked on at once. pages: bytes of frames in flight that may be on the device, None for all.

    peak: predicted peak of device memory, in bytes.
    """

    batch: int
    pages: int | None
    peak: int


@dataclass(frozen=True)
class _Need:
    """Bytes on the device: of all frames in flight, of those that one pass works on, and of what comes and goes."""

    pages: int
    least: int
    work: int


def plan_memory(layout: PlaneFormat, preset: Preset, ceiling: int | None = None) -> MemoryPlan:
    """The largest batch that keeps the predicted peak under `ceiling` bytes; it does not change the result.

    Where even the smallest batch leaves no room for all frames in flight, those of other passes wait in host memory.

    Raises:
        MemoryLimitError: the frames of one pass and the smallest batch would need more.
    """
    need = _need(layout, preset)
    per_query = _bytes_per_query(preset)
    queries = _queries_per_frame(layout, preset)
    most, least = min(DEFAULT_BATCH, max(queries, SMALLEST_BATCH)), min(queries, SMALLEST_BATCH)
    if ceiling is None:
        return _planned(most, None, need.work + need.pages + min(most, queries) * per_query)
    room = int(ceiling / _SLACK) - need.work
    if room - need.pages >= least * per_query:
        batch = min(most, (room - need.pages) // per_query)
        return _planned(batch, None, need.work + need.pages + min(batch, queries) * per_query)
    if room - need.least < least * per_query:
        needed = _mebibytes((need.work + need.least + least * per_query) * _SLACK)
        raise MemoryLimitError(
            f"{layout.width}x{layout.height} at this preset needs about {needed} MiB of device memory and "
            f"{_mebibytes(ceiling)} MiB are allowed; allow more or use a faster preset"
        )
    # Half of what is to spare for more queries at once, half for fewer journeys of frames.
    batch = min(most, max(least, (room - need.least) // 2 // per_query))
    return _planned(batch, room - min(batch, queries) * per_query, need.work + room)


def _planned(batch: int, pages: int | None, peak: int) -> MemoryPlan:
    return MemoryPlan(batch, pages, int(peak * _SLACK))


def _mebibytes(size: float) -> int:
    return int(size) // 2**20


def _need(layout: PlaneFormat, preset: Preset) -> _Need:
    subsampled = (layout.chroma_x, layout.chroma_y) == (1, 1)
    channels = 1 if layout.family == "gray" or layout.chroma_x + layout.chroma_y else 3
    parts = [_pyramid(preset, *padded_size(layout.height, layout.width), channels, subsampled)]
    if layout.chroma_x + layout.chroma_y == 1:  # chroma has a pyramid of its own
        parts.append(_pyramid(preset, *padded_size(*layout.plane_shapes[1]), 3, False))
    samples = [h * w for h, w in layout.plane_shapes]
    # Planes on their way in and out, and what whitens them if their noise is correlated.
    planes = _FLOAT * ((4 + _GAINS) * sum(samples) + _WAVES * max(samples))
    return _Need(
        sum(part.pages for part in parts), max(part.least for part in parts), sum(part.work for part in parts) + planes
    )


def _pyramid(preset: Preset, height: int, width: int, channels: int, subsampled: bool) -> _Need:
    window = 2 * preset.radius + 1
    sizes = level_sizes(preset, height, width, subsampled)
    levels = [preset.coarse if index else preset.finest for index in range(len(sizes))]
    stays = [window * (1 + len(level.wiener)) for level in levels]  # frames inside each level
    half = -(-height // 2) * -(-width // 2)
    pages = work = least = below = 0
    for index, ((h, w), level) in reversed(list(enumerate(zip(sizes, levels, strict=True)))):
        frame = (3 if subsampled and index else channels) * h * w
        pages += _FLOAT * frame * (sum(stays[index:]) + 1)  # noisy, from its arrival to its leaving
        pages += (window + 1) * (_FLOAT * (h * w + below) + _SUM * frame)  # step 1: guide, coarser result, sums
        pages += (window + 1) * sum((_FLOAT * passes + _SUM) * frame for passes in range(1, len(level.wiener) + 1))
        flow = _FLOAT * 4 * (half if index < 2 else h * w)
        least = max(least, window * ((2 * _FLOAT + _SUM) * frame + flow), (_FLOAT * (len(level.wiener) + 2)) * frame)
        if index == 0:
            work += _TEMPORARIES * _FLOAT * frame
        below = frame
    if subsampled:
        h, w = sizes[1]
        pages += 2 * _FLOAT * h * w * (stays[0] + 1)  # denoised chroma waits for its luma
    fields = 4 + 1  # two fields of two components, and a quarter of that for the coarsest level
    pages += _FLOAT * half * fields * (sum(stays) + 1)
    return _Need(pages, least, work + _FLOAT * half * _FLOW_PLANES)


def _bytes_per_query(preset: Preset) -> int:
    neighbors = max(p.neighbors for level in (preset.finest, preset.coarse) for p in (level.shrink, *level.wiener))
    # Window centres (y, x), offsets (dt, dy, dx) and distances, 4 bytes each; two batches may be alive.
    return 2 * 4 * (2 * (2 * preset.radius + 1) + 4 * neighbors)


def _queries_per_frame(layout: PlaneFormat, preset: Preset) -> int:
    height, width = padded_size(layout.height, layout.width)
    stride = min(p.stride for p in (preset.finest.shrink, *preset.finest.wiener))
    return (height // stride + 2) * (width // stride + 2)
