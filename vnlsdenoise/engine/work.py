"""What a run is asked for of a video, and what it finds out on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vnlsdenoise.classic.scenewise import Range, Scene
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import Frame, PlaneFormat


@dataclass(frozen=True)
class Span:
    """Frames whose results are wanted: first <= number, and number < end (None: to the last one).

    fed: of the first of them or of one before it, `Frame.fed`; empty to feed all from the start of the video.
    """

    first: int
    end: int | None = None
    fed: tuple[int, ...] = ()

    def wants(self, number: int) -> bool:
        """Whether a frame is one of them."""
        return self.first <= number and (self.end is None or number < self.end)


@dataclass(frozen=True)
class Told:
    """What an earlier pass found of a part of a video, so that a later one need not begin at its start.

    first: number of the first frame of the part, which begins the film or a scene. cuts, repeats: of every frame from
    there on, whether a scene begins with it, and whether it repeats the one before. start: number of the first frame
    that comes; those before it stand for themselves. closed: whether a scene or the film ends with the part.
    """

    first: int
    start: int
    cuts: bytes
    repeats: bytes
    closed: bool


@dataclass
class Work:
    """One pass over a video.

    spans: in ascending order. measured: of the whole frames or the upper fields, and of the lower ones, the noise by
    the number of the first frame that it was measured on; it is used where it is there and added to where it is not.
    opened: told of every scene once its noise is known, before its length is. scenes: filled with all at the end.
    keep_sources: keep frames until their result is sound, to stand in for it; `unsound` is told of those that did.
    told: what is known of the frames, which then are those of a part alone. looks: without spans, give every frame
    with nothing but its numbers, as soon as it is known where it must be fed from. measure: measures noise elsewhere.
    """

    spans: Sequence[Span] = (Span(0),)
    measured: tuple[dict[int, NoiseModel], dict[int, NoiseModel]] = field(default_factory=lambda: ({}, {}))
    opened: Callable[[Scene], None] | None = None
    scenes: list[Scene] = field(default_factory=list)
    keep_sources: bool = False
    unsound: list[int] = field(default_factory=list)
    told: Told | None = None
    looks: bool = False
    measure: Callable[[PlaneFormat, list[Frame]], NoiseModel] | None = None

    def ranges(self, field: int) -> list[Range]:
        """What is wanted of the whole frames or the upper fields (0), or of the lower fields (1)."""
        return [Range(span.first, span.end, span.fed[field] if span.fed else 0) for span in self.spans]
