"""The page of a comparison: pictures of some frames of every film, the figures over time, and their means."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vnlsdenoise.compare.films import Comparison, Measured, Planes
from vnlsdenoise.page.build import Page, Plot, Series, Shot, Source, Table, encode_picture, is_lossless
from vnlsdenoise.video.display import picture
from vnlsdenoise.video.frame import PlaneFormat

RUN = 4
"""Frames that follow each other, of which a page shows some runs: flicker is seen within them."""
COMPRESSED = "The pictures are JPEG of quality 95, to keep the page small: differences of 1 or 2 of 255 may be its own."
_PQ, _HLG = 16, 18  # curves of light, as in ISO/IEC 23091-2


def chosen_frames(first: int, count: int, pictures: int) -> list[range]:
    """Runs of frames that are shown, of `count` frames from `first` on: all, or some evenly over them."""
    if count <= pictures:
        return [range(first, first + count)]
    runs = max(1, pictures // RUN)
    size = min(RUN, pictures)
    starts = [first + round((place + 0.5) * count / runs - size / 2) for place in range(runs)]
    return [range(start, start + size) for start in starts]


class Shots:
    """Pictures of at most so many frames, kept as they come; what `compare_films` takes for `shown`."""

    def __init__(self, pictures: int, films: int, layout: PlaneFormat) -> None:
        self.lossless = is_lossless(pictures * films * layout.width * layout.height)
        self.shots: list[Shot] = []
        self._most = pictures
        self._runs: Sequence[range] = ()

    def plan(self, first: int, count: int | None) -> None:
        """Choose the frames: the first ones where it is not known how many there will be."""
        self._runs = chosen_frames(first, self._most if count is None else count, self._most)

    def __call__(self, number: int, films: list[tuple[Planes, PlaneFormat]]) -> None:
        run = next((index for index, run in enumerate(self._runs) if number in run), None)
        if run is not None:
            pictures = [encode_picture(picture(*film), self.lossless) for film in films]
            self.shots.append(Shot(f"frame {number}", pictures, run, number))


def make_page(comparison: Comparison, shots: Shots, transfer: int) -> Page:
    """The page; transfer: the curve of light of the first film."""
    others = comparison.others
    names = names_of([comparison.reference, *(other.path for other in others)])
    sources = [Source(names[0], "what the others are measured against")]
    sources += [Source(name, facts=_facts(other)) for name, other in zip(names[1:], others, strict=True)]
    page = Page(
        f"{names[0]} | {' | '.join(names[1:])}",
        f"{len(comparison.seconds)} frames from frame {comparison.first} of {names[0]} on",
        sources=sources,
        shots=shots.shots,
        plots=_plots(comparison, names),
        tables=[_table(comparison, names)],
        left=max(0, len(names) - 2),
        right=len(names) - 1,
    )
    if comparison.left_out:
        page.notes.append(f"Of {names[0]} are left out: {comparison.left_out}.")
    for other, name in zip(others, names[1:], strict=True):
        if other.place.frames:
            page.notes.append(f"Frame 0 of {name} shows frame {other.place.frames} of {names[0]}.")
        if not other.place.sure:
            page.notes.append(f"Where {name} begins was not told for sure: both films look alike at several places.")
        if other.left_out:
            page.notes.append(f"Of {name} are left out: {other.left_out}.")
    if comparison.how:
        page.notes.append(f"The films are of different kinds and were compared as {comparison.how}.")
    if not shots.lossless:
        page.notes.append(COMPRESSED)
    if transfer in (_PQ, _HLG):
        page.notes.append("The films are HDR; the pictures show their codes as they are, which looks flat.")
    page.notes.append(
        "Flicker is the mean change of the error (a film minus the first one) from one frame to the next, in code "
        "values of 8 bits; less is calmer."
    )
    return page


def names_of(paths: Sequence[Path]) -> list[str]:
    """Short names of files that tell them apart."""
    names = [path.name or str(path) for path in paths]
    if len(set(names)) < len(names):
        names = [str(Path(path.parent.name) / path.name) for path in paths]
    return [name if names.count(name) == 1 else f"{name} ({index + 1})" for index, name in enumerate(names)]


def figure(value: float | None, unit: str = "") -> str:
    """A figure for a reader, a dash where there is none."""
    return "-" if value is None else f"{value:.2f}{unit}"


def _facts(other: Measured) -> list[tuple[str, str]]:
    mean = other.summary()
    facts = [("PSNR", figure(mean["psnr"], " dB")), ("lowest", figure(mean["lowest_psnr"], " dB"))]
    facts.append(("SSIM", "-" if mean["ssim"][0] is None else f"{mean['ssim'][0]:.4f}"))
    facts.append(("flicker", figure(mean["flicker"][0])))
    if mean["identical"]:
        facts.append(("identical", f"{mean['identical']} frame(s)"))
    if mean["vmaf"] is not None:
        facts.append(("VMAF", figure(mean["vmaf"])))
    return facts


def _table(comparison: Comparison, names: Sequence[str]) -> Table:
    planes = comparison.planes
    head = ["film", "PSNR", *(f"PSNR {p}" for p in planes), *(f"SSIM {p}" for p in planes)]
    head += [*(f"flicker {p}" for p in planes), "flicker, still", "VMAF"]
    rows = []
    for other, name in zip(comparison.others, names[1:], strict=True):
        mean = other.summary()
        likeness = ["-" if value is None else f"{value:.4f}" for value in mean["ssim"]]
        values = [mean["psnr"], *mean["psnr_planes"]]
        later = [*mean["flicker"], mean["flicker_still"], mean["vmaf"]]
        rows.append([name, *map(figure, values), *likeness, *map(figure, later)])
    return Table("Means over all frames", head, rows)


def _plots(comparison: Comparison, names: Sequence[str]) -> list[Plot]:
    def series(value: Callable[[Any], float]) -> list[Series]:
        return [
            Series(name, [(comparison.first + index, value(frame)) for index, frame in enumerate(other.frames)])
            for other, name in zip(comparison.others, names[1:], strict=True)
        ]

    first = comparison.planes[0]
    plots = [
        Plot("PSNR, all planes", "frame", "dB", series(lambda f: f.whole), over_frames=True),
        Plot(f"SSIM, {first}", "frame", "", series(lambda f: f.ssim[0]), over_frames=True),
        Plot(
            f"Flicker, {first}",
            "frame",
            "of 255",
            series(lambda f: f.flicker[0] if f.flicker else math.nan),
            over_frames=True,
        ),
    ]
    if any(other.vmaf for other in comparison.others):
        lines = [
            Series(name, [(comparison.first + index, value) for index, value in enumerate(other.vmaf)])
            for other, name in zip(comparison.others, names[1:], strict=True)
        ]
        plots.append(Plot("VMAF", "frame", "", lines, over_frames=True))
    return plots
