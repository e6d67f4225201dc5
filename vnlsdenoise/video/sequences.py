"""Image sequences, PNG, TIFF, DPX and OpenEXR, as a source and sink of frames."""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

import numpy as np

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.video import exr
from vnlsdenoise.video.damage import Damage
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat
from vnlsdenoise.video.light import Light
from vnlsdenoise.video.probe import ColorTags, VideoInfo
from vnlsdenoise.video.stills import Samples, Shape, Still, Told, kind_of, read_still, shapes_of, write_still

Gaps = Literal["error", "ignore"]
"""What to do where numbers of images are missing."""
IMAGE_ENDINGS = (".png", ".tif", ".tiff", ".dpx", ".exr")
SEQUENCE_RATE = 25
_LIGHT_PLACES = 5  # of a sequence, where it is looked at how far its light reaches
_LINEAR = 8  # of `ColorTags.transfer`
_DPX_DEPTHS = {"gray": (8, 16), "rgb": (8, 10, 12, 16)}
# How players turn a picture whose rows and columns are stored otherwise: TIFF's orientation as FFmpeg's display matrix.
_ONE = 1 << 16
_MATRICES = {
    number: (a * _ONE, b * _ONE, 0, c * _ONE, d * _ONE, 0, 0, 0, 1 << 30)
    for number, (a, b, c, d) in {
        2: (-1, 0, 0, 1),
        3: (-1, 0, 0, -1),
        4: (1, 0, 0, -1),
        5: (0, 1, 1, 0),
        6: (0, 1, -1, 0),
        7: (0, -1, -1, 0),
        8: (0, -1, 1, 0),
    }.items()
}
_COUNTER = re.compile(r"%0?(\d*)d")
_NUMBER = re.compile(r"(\d+)(?=\D*$)")


def is_sequence(path: Path) -> bool:
    """Whether a name means still images: a folder, the name of an image, with or without `%06d` or `*`.

    Of a file that is there the content decides: pictures that move are video, whatever they are called.
    """
    if path.is_file() and path.stat().st_size:
        return kind_of(path) is not None
    return names_images(path)


def names_images(path: Path) -> bool:
    """Whether an output of this name is still images."""
    return path.is_dir() or path.suffix.lower() in IMAGE_ENDINGS


def list_images(path: Path, gaps: Gaps = "error") -> list[Path]:
    """The images of a folder, pattern (`in_%06d.png`) or glob, in the order of their numbers; raises InputError.

    An existing file is taken by its name even where that holds "%" or "*". A gap in the numbering is an error, unless
    no two numbers follow each other at all: then they are times, or every tenth.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [
            entry
            for entry in path.iterdir()
            if entry.suffix.lower() in IMAGE_ENDINGS and not entry.name.startswith(".")
        ]
    elif counter := _COUNTER.search(path.name):
        before, after = re.escape(path.name[: counter.start()]), re.escape(path.name[counter.end() :])
        digits = rf"\d{{{int(counter[1])},}}" if counter[1] else r"\d+"
        matches = re.compile(f"{before}{digits}{after}")
        found = [entry for entry in _siblings(path) if matches.fullmatch(entry.name)]
    elif any(mark in path.name for mark in "*?["):
        found = [entry for entry in _siblings(path) if entry.match(path.name)]
    else:
        raise InputError(f"input {path} does not exist; nothing to read; check the name")
    if not found:
        raise InputError(
            f"no image matches {path}; expected {', '.join(IMAGE_ENDINGS)} files; check folder and pattern"
        )
    images = sorted(found, key=_natural)
    numbers = [int(match[1]) for image in images if (match := _NUMBER.search(image.stem))]
    steps = [number - before for before, number in itertools.pairwise(numbers)]
    if gaps == "error" and len(numbers) == len(images) and 1 in steps and max(steps) > 1:
        first = numbers[steps.index(next(step for step in steps if step > 1))] + 1
        last = first + next(step for step in steps if step > 1) - 2
        missing = str(first) if first == last else f"{first} to {last}"
        raise InputError(
            f"{path} has a gap: image {missing} is missing; frames would jump; add it, renumber the images, "
            "or give --gaps ignore if it is meant so"
        )
    return images


def _siblings(path: Path) -> list[Path]:
    return [entry for entry in path.parent.iterdir() if entry.is_file()] if path.parent.is_dir() else []


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


@dataclass(frozen=True)
class _Picture:
    """One image of a sequence: its file, the page in it, and its number in the names, None where there is none."""

    path: Path
    page: int
    number: int | None
    shape: Shape


def _pictures(path: Path, gaps: Gaps) -> list[_Picture]:
    images = list_images(path, gaps)
    pictures = [_Picture(image, page, _number(image), s) for image in images for page, s in enumerate(shapes_of(image))]
    numbers = [picture.number for picture in pictures]
    if None in numbers or len(set(numbers)) < len(numbers):
        # Pages have no numbers of their own.
        pictures = [replace(picture, number=None) for picture in pictures]
    first = pictures[0]
    for picture in pictures:
        if (picture.shape.width, picture.shape.height) != (first.shape.width, first.shape.height):
            raise InputError(
                f"image {picture.path} is {picture.shape}, image {first.path} is {first.shape}; "
                "all must be of one size; scale or leave out one of them"
            )
    return pictures


def _number(image: Path) -> int | None:
    return int(match[1]) if (match := _NUMBER.search(image.stem)) else None


def _of_one_number(images: list[Path]) -> tuple[Path, Path] | None:
    """Two images whose names have the same number, None where there are no such."""
    known: dict[int, Path] = {}
    for image in images:
        number = _number(image)
        if number is not None and known.setdefault(number, image) != image:
            return known[number], image
    return None


@dataclass
class SequenceReader:
    """Iterate over an image sequence: pts 0, 1, 2, ... at 25 frames a second; same face as `VideoReader`.

    Gray images, RGB ones, such with alpha and such of 8 and of 16 bits become alike. In `Frame.extra` travel: "alpha",
    "told", what the file tells about its samples, and "number", that of the image. Samples of OpenEXR are
    codes of 16 bits (`video.light`), on one curve for all images.
    """

    path: Path
    gaps: Gaps = "error"
    damage: Damage = field(default_factory=Damage)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._images = _pictures(self.path, self.gaps)
        self._kind, self._light = self._what()
        shapes = list(dict.fromkeys(image.shape for image in self._images))
        channels = {shape.channels for shape in shapes}
        has_color, has_alpha = bool(channels & {3, 4}), bool(channels & {2, 4})
        depth = max(shape.depth for shape in shapes)
        width, height = shapes[0].width, shapes[0].height
        if len({image.depth for image in shapes} - {8, 16}) and len({image.depth for image in shapes}) > 1:
            raise InputError(f"the images of {self.path} differ in depth ({', '.join(map(str, shapes))}); convert them")
        first = self._read(self._images[0])
        self._shape = Shape(width, height, 1 + 2 * has_color + has_alpha, depth)
        if len(shapes) > 1:
            other = next(image for image in self._images if image.shape != shapes[0])
            self.warnings.append(
                f"image {self._images[0].path.name} is {shapes[0]}, {other.path.name} is {other.shape}: "
                f"all are taken as {self._shape}"
            )
        if len(self._images) > len({image.path for image in self._images}):
            self.warnings.append(f"a file holds several pages: {len(self._images)} images are taken as frames")
        if twice := _of_one_number(list(dict.fromkeys(image.path for image in self._images))):
            self.warnings.append(
                f"images {twice[0].name} and {twice[1].name} have the same number: all are taken for one film, in the "
                "order of their names; if they are several shots give the pattern of one"
            )
        matrix = _MATRICES.get(first.told.orientation)
        family: Literal["gray", "rgb"] = "rgb" if has_color else "gray"
        self.info = VideoInfo(
            path=self.path,
            container="image sequence",
            codec=self._kind,
            pix_fmt=f"{family}{'a' if has_alpha else ''}{depth}",
            format=PlaneFormat(family, width, height, depth),
            alpha=has_alpha,
            rate=Fraction(SEQUENCE_RATE),
            time_base=Fraction(1, SEQUENCE_RATE),
            color=ColorTags(transfer=_LINEAR if self._light else 2, matrix=0 if has_color else 2, range=2),
            frames=len(self._images),
            duration=len(self._images) / SEQUENCE_RATE,
            display_matrix=matrix,
            rotation=-round(math.degrees(math.atan2(matrix[1], matrix[0]))) if matrix else 0,
            side_data=("colour profile",) if first.told.profile else (),
        )
        self._note(self._images[0], first)

    def _what(self) -> tuple[str, Light | None]:
        """The kind of the images, and the curve of their light where they hold that."""
        first, total = self._images[0].path, len(self._images)
        other = next(
            (image.path for image in self._images if (kind_of(image.path) == "exr") != (kind_of(first) == "exr")), None
        )
        if other is not None:
            raise InputError(
                f"image {first} and image {other} are of different kinds, light and codes; choose by a pattern"
            )
        if kind_of(first) != "exr":
            return kind_of(first) or "png", None
        places = sorted({(2 * part + 1) * total // (2 * _LIGHT_PLACES) for part in range(_LIGHT_PLACES)})
        return "exr", Light.of(exr.read_light(self._images[index].path) for index in places)

    def _read(self, image: _Picture) -> Still:
        return read_still(image.path, image.page, self._light)

    def __iter__(self) -> Iterator[Frame]:
        return self.from_frame(0)

    def from_frame(self, first: int) -> Iterator[Frame]:
        """The frames from one of them on."""
        return (self._frame(index) for index in range(first, len(self._images)))

    def _note(self, image: _Picture, still: Still) -> None:
        text = f"image {image.path.name}: {still.converted}"
        if still.converted and not any(still.converted in known for known in self.warnings):
            self.warnings.append(text)

    def _frame(self, index: int) -> Frame:
        image = self._images[index]
        still = self._read(image)
        self._note(image, still)
        planes = _alike(still.samples, self._shape)
        if planes is None:
            raise InputError(f"image {image.path} is not what its header says; it is damaged; save it again")
        extra: dict[str, Any] = {"told": still.told}
        if image.number is not None:
            extra["number"] = image.number
        if self.info.alpha:
            *planes, extra["alpha"] = planes
        return Frame(tuple(planes), index, 1, extra)

    def sample(self, places: int) -> list[tuple[Frame, Frame]]:
        """Pairs of neighbouring frames from at most so many places; a lone frame is its own neighbour."""
        total = len(self._images)
        firsts = sorted({(2 * part + 1) * total // (2 * places) for part in range(places)})
        return [(self._frame(first), self._frame(min(first + 1, total - 1))) for first in firsts]

    def clip(self, share: float, length: int) -> list[Frame]:
        """Up to `length` neighbouring frames from about this share of the sequence on, 0 to 1."""
        total = len(self._images)
        first = min(int(share * total), max(total - length, 0))
        return [self._frame(index) for index in range(first, min(first + length, total))]


def _alike(samples: Samples, shape: Shape) -> list[Plane] | None:
    """The planes of an image brought to `shape`, which holds at least as much; None where it does not."""
    planes = [samples] if samples.ndim == 2 else [samples[..., index] for index in range(samples.shape[2])]
    alpha = planes.pop() if len(planes) in (2, 4) else None
    if planes[0].shape != (shape.height, shape.width) or len(planes) > shape.channels:
        return None
    if shape.channels >= 3 and len(planes) == 1:
        planes *= 3
    if shape.channels in (2, 4):
        planes.append(np.full_like(planes[0], np.iinfo(samples.dtype).max) if alpha is None else alpha)
    elif alpha is not None:
        return None
    if samples.dtype == np.uint8 and shape.depth == 16:
        planes = [plane.astype(np.uint16) * np.uint16(257) for plane in planes]
    return [cast(Plane, np.ascontiguousarray(plane)) for plane in planes]


def output_folder(output: Path) -> Path:
    """The folder that the images of an output name go to."""
    return output.parent if output.suffix.lower() in IMAGE_ENDINGS else output


def image_names(path: Path, codec: str = "png") -> str:
    """The name pattern of the images of an output folder or pattern, or the name of one image; raises UsageError.

    codec: the source's.
    """
    if path.suffix.lower() not in IMAGE_ENDINGS:
        return f"frame_%06d.{codec if codec in ('dpx', 'exr') else 'png'}"
    if len(_COUNTER.findall(path.name)) > 1:
        raise UsageError(f"output {path.name} has more than one counter; give a name with one, such as out_%06d.png")
    return path.name


def has_counter(name: str) -> bool:
    """Whether a name is one of many images, not of one."""
    return len(_COUNTER.findall(name)) == 1


def refuse_conversion(info: VideoInfo, names: str | None) -> None:
    """Raise UsageError where samples would have to become others; names: of images to write, None for a video."""
    ending = names and Path(names).suffix.lower()
    if names is not None and not has_counter(names) and info.frames != 1:
        raise UsageError(
            f"output {names} is one image, and the input more than one; give a folder or a name with a counter such as "
            "out_%06d.png"
        )
    if names is not None and info.format.family == "yuv":
        raise UsageError(
            "output is images, which hold gray or RGB, and the input is YUV; a conversion would change it; "
            "write a video, .mkv with --lossless for exact samples"
        )
    if info.codec == "exr" and ending != ".exr":
        raise UsageError(
            f"{info.path} holds linear light, which only OpenEXR takes; give a folder or a name such as out_%06d.exr"
        )
    if info.codec != "exr" and ending == ".exr":
        raise UsageError(f"{info.path} holds codes, not linear light, and .exr would call them so; write .tif or .dpx")


class SequenceWriter:
    """Write frames as numbered images into an existing `folder`; same face as `VideoWriter`.

    names: a pattern such as "out_%06d.tif", or the name of the only image. Frames keep the number of the image that
    they come from; others are counted from `first`. Depths that images lack are stored in 16 bits, scaled by a power of
    two.
    """

    def __init__(self, folder: Path, names: str, info: VideoInfo, first: int = 1) -> None:
        refuse_conversion(info, names)
        self.path, self.info = folder, info
        self.warnings: list[str] = []
        self._next = first
        whole = _DPX_DEPTHS[info.format.family] if names.lower().endswith(".dpx") else (8, 16)
        self._shift = 0 if info.format.depth in whole else 16 - info.format.depth
        self._names = names

    def write(self, frame: Frame) -> None:
        """Store one frame as the next image."""
        alpha = frame.extra.get("alpha")
        planes = frame.planes if alpha is None else (*frame.planes, alpha)
        image = np.stack(planes, axis=-1) if len(planes) > 1 else planes[0]
        number = frame.extra.get("number", self._next)
        name = _COUNTER.sub(lambda counter: f"{number:0{int(counter[1] or 0)}d}", self._names)
        stored = cast(Samples, image << self._shift if self._shift else image)
        depth = self.info.format.depth + self._shift
        write_still(self.path / name, stored, frame.extra.get("told", Told()), depth)
        self._next = number + 1

    def close(self) -> None:
        """Nothing is left to do: every image is complete once written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
