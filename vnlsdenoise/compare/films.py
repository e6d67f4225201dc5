"""Films compared frame by frame: the first one is what all others are measured against."""

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from vnlsdenoise.compare import metrics
from vnlsdenoise.compare.align import HEAD, Place, find_place, thumbnail
from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.video.display import rgb_planes
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat
from vnlsdenoise.video.open import Reader, open_reader
from vnlsdenoise.video.pixels import adapt, layout_of, native_name

Planes = tuple[Plane, ...]


@dataclass(frozen=True)
class Figures:
    """One frame against the first film's: PSNR in dB (infinite where nothing differs) and SSIM of every plane.

    whole: PSNR of all samples together. flicker: mean change of the error since the frame before, of every plane, in
    code values of 8 bits; flicker_still: the same where the first film stands still, of the first plane. Both are empty
    or NaN for the first frame.
    """

    psnr: tuple[float, ...]
    whole: float
    ssim: tuple[float, ...]
    flicker: tuple[float, ...] = ()
    flicker_still: float = math.nan


@dataclass
class Measured:
    """A film against the first one. place: where it lies on that. left_out: what was not compared, for a reader.

    vmaf: of every frame, where it was asked for and could be had.
    """

    path: Path
    place: Place
    frames: list[Figures] = field(default_factory=list)
    left_out: str = ""
    vmaf: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Means over the frames, as plain values for JSON; None for what is infinite or was not measured.

        psnr is the mean of the frames that differ; `identical` counts the others.
        """
        whole = [frame.whole for frame in self.frames]
        differing = [value for value in whole if math.isfinite(value)]
        planes = range(len(self.frames[0].psnr))
        later = [frame for frame in self.frames if frame.flicker]
        return {
            "psnr": _mean(differing),
            "psnr_planes": [_mean([f.psnr[p] for f in self.frames]) for p in planes],
            "lowest_psnr": min(differing, default=None) and round(min(differing), 4),
            "identical": len(whole) - len(differing),
            "ssim": [_mean([f.ssim[p] for f in self.frames]) for p in planes],
            "flicker": [_mean([f.flicker[p] for f in later]) for p in planes],
            "flicker_still": _mean([f.flicker_still for f in later]),
            "vmaf": _mean(self.vmaf),
        }


@dataclass
class Comparison:
    """planes: their names. first: number of the first film's first frame that is compared; seconds: of every frame.

    peak: of the samples compared. how: what they had to become for that, "" for nothing. left_out: of the first film,
    beside what the caller left out.
    """

    reference: Path
    planes: tuple[str, ...]
    peak: int
    how: str
    first: int = 0
    left_out: str = ""
    seconds: list[float] = field(default_factory=list)
    others: list[Measured] = field(default_factory=list)

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """The head and the rows of a table of every film and frame."""
        return self._head(), [row for other in self.others for row in self._rows_of(other)]

    def _head(self) -> list[str]:
        head = ["film", "frame", "seconds", "psnr", *(f"psnr_{name.lower()}" for name in self.planes)]
        head += [f"{what}_{name.lower()}" for what in ("ssim", "flicker") for name in self.planes]
        return [*head, "flicker_still", "vmaf"]

    def _rows_of(self, other: Measured) -> Iterator[list[Any]]:
        for index, (at, frame) in enumerate(zip(self.seconds, other.frames, strict=True)):
            vmaf = other.vmaf[index] if index < len(other.vmaf) else math.nan
            flicker = frame.flicker or (math.nan,) * len(self.planes)
            values = [frame.whole, *frame.psnr, *frame.ssim, *flicker, frame.flicker_still, vmaf]
            yield [str(other.path), self.first + index, round(at, 4), *(round(v, 4) for v in values)]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON; None for what is infinite or was not measured."""
        films = []
        for other in self.others:
            own = list(self._rows_of(other))
            columns = {name: [_plain(row[at]) for row in own] for at, name in enumerate(self._head()) if at >= 3}
            place = {"starts_at": other.place.frames, "sure": other.place.sure, "left_out": other.left_out or None}
            films.append({"film": str(other.path), **place, "mean": other.summary(), "frames": columns})
        return {
            "reference": str(self.reference),
            "planes": list(self.planes),
            "first": self.first,
            "left_out": self.left_out or None,
            "seconds": [round(at, 4) for at in self.seconds],
            "compared_as": self.how or None,
            "films": films,
        }


class Shown(Protocol):
    """Is told of every frame that is compared."""

    def plan(self, first: int, count: int | None) -> None:
        """Before the first: its number in the first film, and how many there will be, None where nobody knows."""

    def __call__(self, number: int, films: list[tuple[Planes, PlaneFormat]], /) -> None:
        """A frame, by its number in the first film: the planes of each film, as they are."""


def compare_films(
    paths: Sequence[Path],
    *,
    places: Sequence[int] | None = None,
    frames: tuple[int, int | None] = (0, None),
    shown: Shown | None = None,
) -> Comparison:
    """Measure every film but the first against the first, over the frames that all of them show.

    places: where the others lie on the first, in frames; None to find out. frames: of the first film, without the last.

    Raises:
        UsageError: fewer than two films, or places of another number. InputError: a film cannot be read, its frames
        have another size, or there is no frame that all show.
    """
    if len(paths) < 2:
        raise UsageError("only one film was given; there is nothing to compare it with; name two or more")
    readers = [open_reader(path, interlaced="ignore", gaps="ignore") for path in paths]
    _refuse_other_sizes(readers)
    if places is None:
        heads = [_head(reader) for reader in readers]
        found = [find_place(heads[0], head) for head in heads[1:]]
    elif len(places) != len(paths) - 1:
        raise UsageError(
            f"{len(places)} offsets were given for {len(paths) - 1} film(s); give one for each but the first"
        )
    else:
        found = [Place(place, True) for place in places]
    bring, layout, how = _common_kind([reader.info.format for reader in readers])
    begin = max(frames[0], 0, *(place.frames for place in found))
    comparison = Comparison(paths[0], layout.plane_names, layout.peak, how, begin)
    comparison.others = [Measured(path, place) for path, place in zip(paths[1:], found, strict=True)]
    starts = [begin, *(begin - place.frames for place in found)]
    end = None if frames[1] is None else max(0, frames[1] - begin)
    measure = _Measure(comparison)
    if shown is not None:
        counts = [None if r.info.frames is None else r.info.frames - s for r, s in zip(readers, starts, strict=True)]
        known = [count for count in (*counts, end) if count is not None]
        shown.plan(begin, max(0, min(known)) if known else None)
    with ExitStack() as stack:
        # A generator that is left in the middle would hold its file open.
        sources = [stack.enter_context(closing(_from(*pair))) for pair in zip(readers, starts, strict=True)]
        together: list[Frame | None] = []
        present: list[tuple[Frame, Reader]] = []
        for index in itertools.count() if end is None else range(end):
            together = [next(source, None) for source in sources]
            present = [(frame, reader) for frame, reader in zip(together, readers, strict=True) if frame is not None]
            if len(present) < len(readers):
                break
            comparison.seconds.append(_seconds(*present[0], begin + index))
            measure([bring(frame.planes, reader.info.format) for frame, reader in present])
            if shown is not None:
                shown(begin + index, [(frame.planes, reader.info.format) for frame, reader in present])
        more = [frame is not None for frame in together] if len(present) < len(together) else [False] * len(readers)
    if not comparison.seconds:
        raise InputError(f"{paths[0]} and the others show no frame together; nothing to compare; check --offset")
    told = [_left_out(start, longer) for start, longer in zip(starts, more, strict=True)]
    comparison.left_out = _left_out(begin if begin > max(frames[0], 0) else 0, more[0])
    for other, text in zip(comparison.others, told[1:], strict=True):
        other.left_out = text
    return comparison


def _left_out(start: int, longer: bool) -> str:
    first = [f"its first {start} frame(s)"] if start else []
    return " and ".join(first + (["frames at its end, which another does not show"] if longer else []))


class _Measure:
    """Takes the planes of all films, frame by frame, and adds the figures of every film to a comparison."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._before: tuple[Planes, list[list[metrics.Errors]]] | None = None

    def __call__(self, films: list[Planes]) -> None:
        reference, peak = films[0], self._comparison.peak
        errors = [[metrics.difference(a, b) for a, b in zip(film, reference, strict=True)] for film in films[1:]]
        for number, (other, film) in enumerate(zip(self._comparison.others, films[1:], strict=True)):
            figures = _figures(reference, film, peak)
            if self._before is not None:
                last, then = self._before[0], self._before[1][number]
                now = errors[number]
                figures = replace(
                    figures,
                    flicker=tuple(metrics.flicker(a, b, peak) for a, b in zip(now, then, strict=True)),
                    flicker_still=metrics.flicker_still(now[0], then[0], reference[0], last[0], peak),
                )
            other.frames.append(figures)
        self._before = reference, errors


def _from(reader: Reader, start: int) -> Generator[Frame, None, None]:
    yield from itertools.islice(reader, start, None)


def _head(reader: Reader) -> list[Any]:
    plane, peak = reader.info.format.brightness, reader.info.format.peak
    with closing(_from(reader, 0)) as frames:
        return [thumbnail(frame.planes[plane], peak) for frame in itertools.islice(frames, HEAD)]


def _refuse_other_sizes(readers: Sequence[Reader]) -> None:
    first = readers[0].info
    for reader in readers[1:]:
        shape = reader.info.format
        if (shape.width, shape.height) != (first.format.width, first.format.height):
            raise InputError(
                f"{reader.info.path} is {shape.width}x{shape.height}, {first.path} is "
                f"{first.format.width}x{first.format.height}; only films of one size are compared; scale one of them"
            )


def _common_kind(
    layouts: Sequence[PlaneFormat],
) -> tuple[Callable[[Planes, PlaneFormat], Planes], PlaneFormat, str]:
    """What brings every film's planes to one kind, that kind, and its description: "" where all are of it already."""
    first, depth = layouts[0], max(layout.depth for layout in layouts)
    if all(_kind(layout) == _kind(first) for layout in layouts):
        target = layout_of(native_name(replace(first, depth=depth)))

        def deepened(planes: Planes, layout: PlaneFormat) -> Planes:
            if layout.depth == depth:
                return planes
            brought = adapt(planes, None, layout, target)
            assert brought is not None  # only the depth is another
            return brought[0]

        how = "" if all(layout.depth == depth for layout in layouts) else f"samples of {depth} bits"
        return deepened, replace(first, depth=depth), how
    depth = 8 if depth == 8 else 16

    def as_rgb(planes: Planes, layout: PlaneFormat) -> Planes:
        return rgb_planes(planes, layout, depth)

    return as_rgb, PlaneFormat("rgb", first.width, first.height, depth), f"R, G and B of {depth} bits"


def _kind(layout: PlaneFormat) -> tuple[Any, ...]:
    return layout.family, layout.chroma_x, layout.chroma_y


def _seconds(frame: Frame, reader: Reader, number: int) -> float:
    info = reader.info
    if frame.pts is not None:
        return float(frame.pts * info.time_base)
    return number / float(info.rate) if info.rate else float(number)


def _figures(reference: Planes, planes: Planes, peak: int) -> Figures:
    errors = [metrics.squared_error(a, b) for a, b in zip(planes, reference, strict=True)]
    sizes = [plane.size for plane in reference]
    whole = sum(error * size for error, size in zip(errors, sizes, strict=True)) / sum(sizes)
    likeness = tuple(metrics.ssim(a, b, peak) for a, b in zip(planes, reference, strict=True))
    return Figures(tuple(metrics.psnr(error, peak) for error in errors), metrics.psnr(whole, peak), likeness)


def _mean(values: Sequence[float]) -> float | None:
    told = [value for value in values if math.isfinite(value)]
    return round(sum(told) / len(told), 4) if told else None


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
