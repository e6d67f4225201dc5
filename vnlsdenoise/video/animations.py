"""Animated WebP, which FFmpeg does not decode, as a source of frames."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vnlsdenoise.errors import InputError
from vnlsdenoise.video.container import MAX_PIXELS
from vnlsdenoise.video.damage import Damage
from vnlsdenoise.video.frame import Frame, PlaneFormat
from vnlsdenoise.video.probe import ColorTags, VideoInfo

_MILLISECONDS = Fraction(1, 1000)
_USUAL_STAND = 100  # milliseconds of a frame that does not say how long it stands


def is_webp(path: Path) -> bool:
    """Whether a file holds WebP, whatever its name; raises InputError where it cannot be read."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise InputError(f"{path} cannot be read; {error.strerror or error}; check who may read it") from error
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


@dataclass
class AnimationReader:
    """Iterate over the frames of a WebP file, each at its own time in milliseconds; same face as `VideoReader`."""

    path: Path
    damage: Damage = field(default_factory=Damage)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        with self._opened() as image:
            width, height = image.size
            self._count = getattr(image, "n_frames", 1)
            self._mode = "RGBA" if image.mode == "RGBA" else "RGB"
        alpha = self._mode == "RGBA"
        seconds = sum(frame.duration or 0 for frame in self) / 1000
        self.info = VideoInfo(
            path=self.path,
            container="webp",
            codec="webp",
            pix_fmt=self._mode.lower(),
            format=PlaneFormat("rgb", width, height, 8),
            alpha=alpha,
            rate=Fraction(self._count / seconds).limit_denominator(1000),
            time_base=_MILLISECONDS,
            color=ColorTags(matrix=0, range=2),
            frames=self._count,
            duration=seconds,
        )

    def _opened(self) -> Any:
        from PIL import Image

        try:
            image = Image.open(self.path, formats=["webp"])
        except Exception as error:  # Of a damaged file Pillow raises whatever it meets.
            raise InputError(f"cannot read {self.path}; {error}; save it again, or as video") from error
        if image.size[0] * image.size[1] > MAX_PIXELS:
            raise InputError(f"{self.path} is {image.size[0]}x{image.size[1]}; the limit is {MAX_PIXELS} pixels")
        return image

    def __iter__(self) -> Iterator[Frame]:
        pts = 0
        with self._opened() as image:
            for index in range(self._count):
                try:
                    image.seek(index)
                    samples = np.asarray(image.convert(self._mode))
                except Exception as error:  # as above
                    raise InputError(f"frame {index} of {self.path} cannot be read; {error}; save it again") from error
                stands = int(image.info.get("duration", 0)) or _USUAL_STAND
                *planes, last = (np.ascontiguousarray(samples[..., channel]) for channel in range(samples.shape[2]))
                if self._mode == "RGBA":
                    yield Frame(tuple(planes), pts, stands, {"alpha": last})
                else:
                    yield Frame((*planes, last), pts, stands)
                pts += stands

    def sample(self, places: int) -> list[tuple[Frame, Frame]]:
        """Pairs of neighbouring frames from at most so many places; a lone frame is its own neighbour."""
        chosen = {(2 * part + 1) * self._count // (2 * places) for part in range(places)}
        pairs: list[tuple[Frame, Frame]] = []
        before: Frame | None = None
        for index, frame in enumerate(self):
            if before is not None and (index - 1 in chosen or not pairs):
                pairs.append((before, frame))
            before = frame
        return pairs[-places:] or ([(before, before)] if before is not None else [])

    def clip(self, share: float, length: int) -> list[Frame]:
        """Up to `length` neighbouring frames from about this share of the animation on, 0 to 1."""
        first = min(int(share * self._count), max(self._count - length, 0))
        return [frame for index, frame in enumerate(self) if first <= index < first + length]
