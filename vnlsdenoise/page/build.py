"""A page in one file, which needs no network: pictures side by side, plots, tables. Its source stands beside this."""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata, resources
from typing import Any, Literal

import cv2

from vnlsdenoise.video.display import Picture

_LOSSLESS_PIXELS = 24_000_000
"""Of all pictures of a page: up to so many they are PNG, and a page is at most some 60 MB; beyond, JPEG."""
_JPEG_QUALITY = 95
_MOST_POINTS = 1200  # of a line: more than a screen has columns
_PARTS = ("page.css", "plots.js", "viewer.js", "page.js")


@dataclass(frozen=True)
class Source:
    """Something that pictures are of: a film, or what a setting makes of one.

    command: a command line to copy. facts: what is known of it, as pairs of a name and a value.
    """

    name: str
    detail: str = ""
    command: str = ""
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Shot:
    """One moment: its encoded picture (`encode_picture`) of every source, None where there is none.

    run: shots of one run follow each other frame by frame. frame: its number, which plots over frames refer to.
    """

    label: str
    pictures: Sequence[bytes | None]
    run: int = 0
    frame: int | None = None


@dataclass(frozen=True)
class Series:
    """(x, y) of a line, or of single points; what is not finite is left out. labels: of single points."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Plot:
    """over_frames: x is the number of a frame, and a click shows the nearest shot."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    kind: Literal["line", "points"] = "line"
    log_x: bool = False
    over_frames: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table of text and numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Page:
    """What a page shows. lead: under the title. waiting: what is still being made, "" for nothing.

    left, right: sources that are shown at first.
    """

    title: str
    lead: str = ""
    notes: list[str] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    left: int = 0
    right: int = 1
    waiting: str = ""

    def html(self) -> str:
        """The whole page."""
        shots = [{**vars(shot), "pictures": [_data_url(p) for p in shot.pictures]} for shot in self.shots]
        plots = [{**asdict(plot), "series": [_plain(series) for series in plot.series]} for plot in self.plots]
        told = {**vars(self), "shots": shots, "plots": plots, "version": metadata.version("vnlsdenoise")}
        told |= {"sources": [asdict(s) for s in self.sources], "tables": [asdict(t) for t in self.tables]}
        here = resources.files("vnlsdenoise.page")
        text = (here / "page.html").read_text(encoding="utf-8")
        for name in _PARTS:
            text = text.replace(f"/* {name} */", (here / name).read_text(encoding="utf-8"))
        # Nothing that a file name or a setting holds can end the script that the data stands in.
        data = json.dumps(told, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")
        return text.replace("{{data}}", data)


def is_lossless(pixels: int) -> bool:
    """Whether the pictures of a page keep every sample, for so many pixels in all."""
    return pixels <= _LOSSLESS_PIXELS


def encode_picture(shown: Picture, lossless: bool) -> bytes:
    """A picture [H, W, 3] as PNG, or as JPEG of full chroma."""
    bgr = cv2.cvtColor(shown, cv2.COLOR_RGB2BGR)
    how = [
        cv2.IMWRITE_JPEG_QUALITY,
        _JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    done, data = cv2.imencode(".png", bgr) if lossless else cv2.imencode(".jpg", bgr, how)
    assert done  # of samples in memory
    return data.tobytes()


def _data_url(data: bytes | None) -> str | None:
    if data is None:
        return None
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _plain(series: Series) -> dict[str, Any]:
    kept = [index for index, point in enumerate(series.points) if all(map(math.isfinite, point))]
    if len(kept) > _MOST_POINTS:
        kept = _telling(series, kept)
    points = [[round(float(value), 5) for value in series.points[index]] for index in kept]
    return {"name": series.name, "points": points, "labels": [series.labels[i] for i in kept] if series.labels else []}


def _telling(series: Series, kept: list[int]) -> list[int]:
    """The least and the greatest value of every stretch of a long line."""
    size = -(-2 * len(kept) // _MOST_POINTS)
    chosen: set[int] = set()
    for begin in range(0, len(kept), size):
        part = kept[begin : begin + size]
        chosen |= {min(part, key=lambda i: series.points[i][1]), max(part, key=lambda i: series.points[i][1])}
    return sorted(chosen)
