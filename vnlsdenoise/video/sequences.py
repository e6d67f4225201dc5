"""Image sequences (PNG, TIFF; 8 and 16 bits; gray and RGB, with or without alpha) as a source and sink of frames."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vnlsdenoise.errors import InputError, OutputError, UsageError
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat
from vnlsdenoise.video.probe import MAX_PIXELS, ColorTags, VideoInfo
from vnlsdenoise.video.read import Damage

IMAGE_ENDINGS = (".png", ".tif", ".tiff")
SEQUENCE_RATE = 25
_COUNTER = re.compile(r"%0?(\d*)d")
_NUMBER = re.compile(r"(\d+)(?=\D*$)")


def is_sequence(path: Path) -> bool:
    """Whether a name means images: a folder, or a PNG or TIFF name, with or without `%06d` or `*`."""
    return path.is_dir() or path.suffix.lower() in IMAGE_ENDINGS


def list_images(path: Path) -> list[Path]:
    """The images of a folder, pattern (`in_%06d.png`) or glob, in the order of their numbers; raises InputError.

    An existing file is taken by its name even where that holds "%" or "*". A gap in the numbering is an error.
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
    if len(numbers) == len(images):
        for before_number, number in itertools.pairwise(numbers):
            if number > before_number + 1:
                missing = (
                    str(before_number + 1) if number == before_number + 2 else f"{before_number + 1} to {number - 1}"
                )
                raise InputError(
                    f"{path} has a gap: image {missing} is missing; frames would jump; add it or renumber the images"
                )
    return images


def _siblings(path: Path) -> list[Path]:
    return [entry for entry in path.parent.iterdir() if entry.is_file()] if path.parent.is_dir() else []


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def read_image(path: Path) -> npt.NDArray[Any]:
    """An image as (height, width) or (height, width, channels), uint8 or uint16, RGB(A) order; raises InputError."""
    try:
        if path.suffix.lower() == ".png":
            import cv2

            # The bytes go through numpy because OpenCV opens no name that the locale cannot encode.
            image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
            if image is None:
                raise ValueError("not a readable PNG")
            if image.ndim == 3:
                image = image[..., [2, 1, 0, 3][: image.shape[2]]]
        else:
            import tifffile

            with tifffile.TiffFile(path) as file:
                page = file.pages[0]
                if int(np.prod(page.shape)) > 4 * MAX_PIXELS:
                    raise ValueError(f"larger than {MAX_PIXELS} pixels")
                image = page.asarray()
    except Exception as error:  # The decoders raise whatever they like on damaged files.
        raise InputError(f"cannot read image {path}; {error}; save it again as PNG or TIFF") from error
    image = np.asarray(image)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or channels not in (1, 2, 3, 4):
        raise InputError(
            f"image {path} is {image.dtype} of shape {image.shape}; "
            "expected 8- or 16-bit gray or RGB, with or without alpha; convert it"
        )
    return image


def write_image(path: Path, image: npt.NDArray[Any]) -> None:
    """Write what `read_image` gives; raises OutputError."""
    try:
        if path.suffix.lower() == ".png":
            import cv2

            if image.ndim == 3 and image.shape[2] == 2:
                raise ValueError("PNG output has no gray with alpha; name the output .tif")
            stored = image[..., [2, 1, 0, 3][: image.shape[2]]] if image.ndim == 3 else image
            done, data = cv2.imencode(".png", np.ascontiguousarray(stored))
            if not done:
                raise ValueError("PNG encoding failed")
            path.write_bytes(data.tobytes())
        else:
            import tifffile

            alpha = ["unassalpha"] if image.ndim == 3 and image.shape[2] in (2, 4) else None
            is_rgb = image.ndim == 3 and image.shape[2] >= 3
            tifffile.imwrite(
                path, image, photometric="rgb" if is_rgb else "minisblack", compression="zlib", extrasamples=alpha
            )
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write image {path}; {error}; free space or choose another place") from error


def _split(image: npt.NDArray[Any]) -> tuple[tuple[Plane, ...], Plane | None]:
    if image.ndim == 2:
        return (np.ascontiguousarray(image),), None
    planes = tuple(np.ascontiguousarray(image[..., index]) for index in range(image.shape[2]))
    return (planes[:-1], planes[-1]) if len(planes) in (2, 4) else (planes, None)


@dataclass
class SequenceReader:
    """Iterate over an image sequence: pts 0, 1, 2, ... at 25 frames a second; same face as `VideoReader`."""

    path: Path
    damage: Damage = field(default_factory=Damage)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._images = list_images(self.path)
        planes, alpha = _split(read_image(self._images[0]))
        height, width = planes[0].shape
        depth = 8 if planes[0].dtype == np.uint8 else 16
        family = "rgb" if len(planes) == 3 else "gray"
        suffix = self._images[0].suffix.lower().removeprefix(".")
        self.info = VideoInfo(
            path=self.path,
            container="image sequence",
            codec="png" if suffix == "png" else "tiff",
            pix_fmt=f"{family}{'a' if alpha is not None else ''}{depth}",
            format=PlaneFormat("rgb" if family == "rgb" else "gray", width, height, depth),
            alpha=alpha is not None,
            rate=Fraction(SEQUENCE_RATE),
            time_base=Fraction(1, SEQUENCE_RATE),
            color=ColorTags(matrix=0 if family == "rgb" else 2, range=2),
            frames=len(self._images),
            duration=len(self._images) / SEQUENCE_RATE,
        )

    def __iter__(self) -> Iterator[Frame]:
        return (self._frame(index) for index in range(len(self._images)))

    def _frame(self, index: int) -> Frame:
        path = self._images[index]
        planes, alpha = _split(read_image(path))
        shape = self.info.format
        depth = 8 if planes[0].dtype == np.uint8 else 16
        fits = tuple(plane.shape for plane in planes) == shape.plane_shapes and depth == shape.depth
        if not fits or (alpha is not None) != self.info.alpha:
            raise InputError(
                f"image {path} has {len(planes)} colour plane(s) of {planes[0].shape[1]}x{planes[0].shape[0]}, "
                f"{depth} bits; the first image "
                f"has {len(shape.plane_shapes)} of {shape.width}x{shape.height}, {shape.depth} bits; all must be alike"
            )
        return Frame(planes, index, 1, {} if alpha is None else {"alpha": alpha})

    def sample(self, places: int) -> list[tuple[Frame, Frame]]:
        """Pairs of neighbouring frames from at most so many places; a lone frame is its own neighbour."""
        total = len(self._images)
        firsts = sorted({(2 * part + 1) * total // (2 * places) for part in range(places)})
        return [(self._frame(first), self._frame(min(first + 1, total - 1))) for first in firsts]


def image_names(path: Path) -> tuple[str, int]:
    """The name pattern of the images of an output folder or pattern, and the first number; raises UsageError."""
    if path.suffix.lower() not in IMAGE_ENDINGS:
        return "frame_%06d.png", 1
    if len(_COUNTER.findall(path.name)) != 1:
        raise UsageError(
            f"output {path.name} is one image; expected a folder or a name with a counter such as out_%06d.png"
        )
    return path.name, 1


class SequenceWriter:
    """Write frames as numbered images into an existing `folder`; same face as `VideoWriter`.

    names: a pattern such as "out_%06d.tif". Depths between 8 and 16 are stored in 16 bits, scaled by a power of two.
    """

    def __init__(self, folder: Path, names: str, info: VideoInfo, first: int = 1) -> None:
        if info.format.family == "yuv":
            raise UsageError(
                "images hold gray or RGB, the input is YUV; a conversion would change it; write .mkv --lossless instead"
            )
        self.path, self.info = folder, info
        self.warnings: list[str] = []
        self._names, self._next = names, first
        self._shift = 0 if info.format.depth in (8, 16) else 16 - info.format.depth
        counter = _COUNTER.search(names)
        assert counter is not None
        self._before, self._after, self._width = names[: counter.start()], names[counter.end() :], int(counter[1] or 0)

    def write(self, frame: Frame) -> None:
        """Store one frame as the next image."""
        alpha = frame.extra.get("alpha")
        planes = frame.planes if alpha is None else (*frame.planes, alpha)
        image = np.stack(planes, axis=-1) if len(planes) > 1 else planes[0]
        name = f"{self._before}{self._next:0{self._width}d}{self._after}"
        write_image(self.path / name, image << self._shift if self._shift else image)
        self._next += 1

    def close(self) -> None:
        """Nothing is left to do: every image is complete once written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
