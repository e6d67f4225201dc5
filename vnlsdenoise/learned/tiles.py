"""The tiles that the network works on: laid out by the size of the picture and the network alone.

Maps have half the size of luma. Every tile is worked on with a margin of what its results depend on, so that its core
has the values that it has in the whole picture, but for how a convolution of another size is rounded. No ceiling of
memory changes the tiles, and so not a bit.
"""

from dataclasses import dataclass

from vnlsdenoise.learned.network import ALIGNMENT, Dimensions

LARGEST = 1088  # side of a core, in pixels of a map: 1080p is one tile, 4K two
_STEP = ALIGNMENT // 2  # of the borders of tiles: the halvings inside a cell stay where they are in the whole picture


@dataclass(frozen=True)
class Span:
    """Rows or columns of maps. start, end: of the core. first, last: of it and its margin."""

    start: int
    end: int
    first: int
    last: int

    # Of planes that have so many samples for a pixel of a map: luma 2, subsampled chroma and maps 1. A plane may end
    # before its last span does.

    def core(self, factor: int = 1) -> slice:
        """The core, in the whole plane."""
        return slice(factor * self.start, factor * self.end)

    def outer(self, factor: int = 1) -> slice:
        """The core with its margin, in the whole plane."""
        return slice(factor * self.first, factor * self.last)

    def inner(self, factor: int = 1) -> slice:
        """The core, in what `outer` cuts out."""
        return slice(factor * (self.start - self.first), factor * (self.end - self.first))


@dataclass(frozen=True)
class Tile:
    """A part of the maps of a frame."""

    rows: Span
    columns: Span

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) with margins."""
        return self.rows.last - self.rows.first, self.columns.last - self.columns.first

    @property
    def corner(self) -> tuple[int, int]:
        """(top, left) in the whole map."""
        return self.rows.first, self.columns.first


def map_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the maps of a luma of that size."""
    return -(-height // ALIGNMENT) * ALIGNMENT // 2, -(-width // ALIGNMENT) * ALIGNMENT // 2


def tiles_of(height: int, width: int, dimensions: Dimensions) -> list[Tile]:
    """The tiles of a luma of that size; their cores are all of its maps."""
    margin = -(-reach(dimensions) // _STEP) * _STEP
    rows, columns = (_spans(side, margin) for side in map_size(height, width))
    return [Tile(down, across) for down in rows for across in columns]


def reach(dimensions: Dimensions) -> int:
    """Pixels of a map, to each side, that a correction depends on: in frame, states and flow of one step."""
    blocks = dimensions.cell
    detail, head, mix, tail = 1, 1, 1, 1
    encoder, decoder = 2 * dimensions.encoder, 1 + 2 * dimensions.decoder
    # A residual block reaches two pixels of its own size; both finer ones are there twice, on the way down and up.
    cell = mix + 2 * 2 * blocks[0] + 2 * 2 * 2 * blocks[1] + 4 * 2 * blocks[2]
    halvings = _STEP - 1  # a pixel is of a coarser one that begins so many before it at most, or ends after it
    return detail + head + encoder + cell + halvings + decoder + tail


def _spans(side: int, margin: int) -> list[Span]:
    count = -(-side // LARGEST)
    each = -(-side // (count * _STEP)) * _STEP
    starts = range(0, side, each)
    return [
        Span(start, end, max(0, start - margin), min(side, end + margin))
        for start, end in ((start, min(start + each, side)) for start in starts)
    ]
