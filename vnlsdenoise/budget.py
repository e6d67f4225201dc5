"""Memory: what a denoiser will need at its peak, and the batch of queries that keeps it under a ceiling."""

from dataclasses import dataclass

from vnlsdenoise.classic.denoiser import DEFAULT_BATCH, level_sizes
from vnlsdenoise.classic.planar import padded_size
from vnlsdenoise.classic.presets import Preset
from vnlsdenoise.errors import MemoryLimitError
from vnlsdenoise.video.frame import PlaneFormat

SMALLEST_BATCH = 1024
_FLOAT, _SUM = 4, 8  # bytes of a sample and of its fixed-point sum
_FLOW_PLANES = 38  # float planes of a half-resolution image that flow of both directions works with
_TEMPORARIES = 8  # float copies of a frame's channels alive at once while a frame passes from stage to stage
_GAINS = 2  # floats a sample, of the filter that whitens correlated noise; whether there is any is not known yet
_WAVES = 12  # floats a sample of one plane while it is whitened: mirrored, transformed, and transformed back
_SLACK = 1.05  # the allocator rounds every piece up


@dataclass(frozen=True)
class MemoryPlan:
    """batch: most queries worked on at once. peak: predicted peak of device memory, in bytes."""

    batch: int
    peak: int


def plan_memory(layout: PlaneFormat, preset: Preset, ceiling: int | None = None) -> MemoryPlan:
    """The largest batch that keeps the predicted peak under `ceiling` bytes; it does not change the result.

    Raises:
        MemoryLimitError: even the smallest batch would need more.
    """
    fixed = _resident_bytes(layout, preset)
    per_query = _bytes_per_query(preset)
    queries = _queries_per_frame(layout, preset)
    batch = min(DEFAULT_BATCH, max(queries, SMALLEST_BATCH))
    if ceiling is not None:
        batch = min(batch, int(ceiling / _SLACK - fixed) // per_query)
        if batch < min(queries, SMALLEST_BATCH):
            least = _mebibytes((fixed + min(queries, SMALLEST_BATCH) * per_query) * _SLACK)
            raise MemoryLimitError(
                f"{layout.width}x{layout.height} at this preset needs about {least} MiB of device memory and "
                f"{_mebibytes(ceiling)} MiB are allowed; allow more or use a faster preset"
            )
    return MemoryPlan(batch, int((fixed + min(batch, queries) * per_query) * _SLACK))


def _mebibytes(size: float) -> int:
    return int(size) // 2**20


def _resident_bytes(layout: PlaneFormat, preset: Preset) -> int:
    """Frames in flight: waiting for coarser results, in the windows of every pass, and on their way out."""
    subsampled = (layout.chroma_x, layout.chroma_y) == (1, 1)
    channels = 1 if layout.family == "gray" or layout.chroma_x + layout.chroma_y else 3
    height, width = padded_size(layout.height, layout.width)
    total = _pyramid_bytes(preset, height, width, channels, subsampled)
    if layout.chroma_x + layout.chroma_y == 1:  # chroma has a pyramid of its own
        total += _pyramid_bytes(preset, *padded_size(*layout.plane_shapes[1]), 3, False)
    samples = sum(h * w for h, w in layout.plane_shapes)
    largest = max(h * w for h, w in layout.plane_shapes)
    return total + _FLOAT * ((4 + _GAINS) * samples + _WAVES * largest)


def _pyramid_bytes(preset: Preset, height: int, width: int, channels: int, subsampled: bool) -> int:
    window = 2 * preset.radius + 1
    sizes = level_sizes(preset, height, width, subsampled)
    levels = [preset.coarse if index else preset.finest for index in range(len(sizes))]
    stays = [window * (1 + len(level.wiener)) for level in levels]  # frames inside each level
    total = 0
    for index, ((h, w), level) in enumerate(zip(sizes, levels, strict=True)):
        planes = 3 if subsampled and index else channels
        frame = planes * h * w
        in_flight = sum(stays[index:])
        total += _FLOAT * frame * (in_flight + 1)  # noisy, from its arrival to its leaving
        total += (window + 1) * (_FLOAT * (h * w + 2 * frame) + _SUM * frame)  # step 1: guide, coarse, sums
        for passes in range(1, len(level.wiener) + 1):
            total += (window + 1) * (_FLOAT * passes + _SUM) * frame
        if index == 0:
            total += _TEMPORARIES * _FLOAT * frame
    if subsampled:
        h, w = sizes[1]
        total += 2 * _FLOAT * h * w * (stays[0] + 1)  # denoised chroma waits for its luma
    half = -(-height // 2) * -(-width // 2)
    fields = 4 + 1  # two fields of two components, and a quarter of that for the coarsest level
    total += _FLOAT * half * (fields * (sum(stays) + 1) + _FLOW_PLANES)
    return total


def _bytes_per_query(preset: Preset) -> int:
    neighbors = max(p.neighbors for level in (preset.finest, preset.coarse) for p in (level.shrink, *level.wiener))
    # Window centres (y, x), offsets (dt, dy, dx) and distances, 4 bytes each; two batches may be alive.
    return 2 * 4 * (2 * (2 * preset.radius + 1) + 4 * neighbors)


def _queries_per_frame(layout: PlaneFormat, preset: Preset) -> int:
    height, width = padded_size(layout.height, layout.width)
    stride = min(p.stride for p in (preset.finest.shrink, *preset.finest.wiener))
    return (height // stride + 2) * (width // stride + 2)
