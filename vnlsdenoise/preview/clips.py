"""The moments of a film that a preview shows: some neighbouring frames of one scene each, and their noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from vnlsdenoise.classic.scenewise import MEASURED_FRAMES
from vnlsdenoise.errors import InputError
from vnlsdenoise.noise.coded import step_of
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.noise.model import NoiseModel
from vnlsdenoise.planes import planes_to_tensors
from vnlsdenoise.scenes import mark_cuts
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat
from vnlsdenoise.video.open import Reader
from vnlsdenoise.video.region import Region

_WIDTH, _HEIGHT = 480, 272  # of the part that is shown where none was chosen: a second a frame and preset


@dataclass(frozen=True)
class Clip:
    """Neighbouring frames of one scene. seconds: of the first one."""

    frames: tuple[Frame, ...]
    seconds: float

    def noise(
        self, layout: PlaneFormat, device: str, white: bool = False, sigma: tuple[float, ...] | None = None
    ) -> NoiseModel:
        """Of the whole frames, in native code values, as a run measures it where a scene begins here."""
        frames = self.frames[:MEASURED_FRAMES]
        return measure_noise(
            frames,
            lambda frame: planes_to_tensors(frame.planes, device),
            layout,
            layout.peak,
            white=white,
            sigma=sigma,
            step=step_of(frames),
        )


def read_clip(reader: Reader, share: float, length: int) -> Clip:
    """Frames from about this share of the film on, 0 to 1, as far as they are of one scene; raises InputError."""
    frames = reader.clip(share, length)
    if not frames:
        raise InputError(f"no frame of {reader.info.path} could be decoded there; choose another --at")
    info = reader.info
    longest: list[Frame] = []
    scene: list[Frame] = []
    for frame, cut in mark_cuts(frames, lambda f: f.planes[info.format.brightness], info.format.peak):
        scene = [frame] if cut else [*scene, frame]
        longest = max(longest, scene, key=len)
    return Clip(tuple(longest), float((longest[0].pts or 0) * info.time_base))


def shown_region(layout: PlaneFormat) -> Region:
    """The middle of the frame, or all of a small one; its corner does not cut samples of chroma."""
    width, height = min(layout.width, _WIDTH), min(layout.height, _HEIGHT)
    left, top = (layout.width - width) // 2, (layout.height - height) // 2
    return Region(left - left % 4, top - top % 4, width, height)


def cropped(planes: Sequence[Plane], layout: PlaneFormat, region: Region) -> tuple[tuple[Plane, ...], PlaneFormat]:
    """The part of a frame, and its format; whole samples of chroma."""
    x, y = region.x - region.x % (1 << layout.chroma_x), region.y - region.y % (1 << layout.chroma_y)
    part = replace(layout, width=region.x + region.width - x, height=region.y + region.height - y)
    found = []
    for index, (plane, (height, width)) in enumerate(zip(planes, part.plane_shapes, strict=True)):
        left, top = (x >> layout.chroma_x, y >> layout.chroma_y) if index else (x, y)
        found.append(cast(Plane, np.ascontiguousarray(plane[top : top + height, left : left + width])))
    return tuple(found), part
