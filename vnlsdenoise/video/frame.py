"""What a decoded frame is: native integer planes and their place in time."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_PLANES = {"gray": ("Y",), "yuv": ("Y", "U", "V"), "rgb": ("R", "G", "B")}


@dataclass(frozen=True)
class PlaneFormat:
    """The layout of a stream's samples.

    family: "gray" (Y), "yuv" (Y, Cb, Cr) or "rgb" (R, G, B), in this order of planes.
    depth: bits a sample, 8 to 16; 8-bit samples are uint8, all others uint16 with the value in the low bits.
    chroma_x, chroma_y: log2 of the chroma subsampling along x and y (1, 1 for 4:2:0); 0 unless family is "yuv".
    matrix, full_range: what the samples of "yuv" mean: the matrix in the code points of ISO/IEC 23091-2 (2: unknown),
        and whether black and white are 0 and the peak. Formats that differ in nothing else are equal.
    """

    family: Literal["gray", "yuv", "rgb"]
    width: int
    height: int
    depth: int
    chroma_x: int = 0
    chroma_y: int = 0
    matrix: int = field(default=2, compare=False)
    full_range: bool = field(default=False, compare=False)

    @property
    def plane_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of every plane."""
        luma = (self.height, self.width)
        if self.family == "gray":
            return (luma,)
        chroma = (-(-self.height >> self.chroma_y), -(-self.width >> self.chroma_x))
        return (luma, chroma, chroma)

    @property
    def frame_bytes(self) -> int:
        """Of the samples of one frame."""
        return (1 if self.depth == 8 else 2) * sum(height * width for height, width in self.plane_shapes)

    @property
    def plane_names(self) -> tuple[str, ...]:
        """What a reader calls the planes."""
        return _PLANES[self.family]

    @property
    def brightness(self) -> int:
        """The plane that scenes are told by: luma, or green."""
        return 1 if self.family == "rgb" else 0

    @property
    def peak(self) -> int:
        """The largest sample value."""
        return (1 << self.depth) - 1


@dataclass
class Frame:
    """One frame: planes as `PlaneFormat` says, and what travels beside them untouched (time stamps, side data).

    number: in the video, from 0. damage: "concealed" where it is the frame before instead of a damaged one, "kept"
    where it is damaged itself. begins: whether a scene begins with it. ends: whether it is known that one ends with it.
    repeats: whether it is the frame before over again. fed: numbers of the frames that a denoiser must be fed from to
    get it once more, one, or one for each field.
    step: of the codec's quantiser, in the scale of luma's samples, in the mean over the picture, of codecs other than
    H.264 as the step of H.264 that leaves as much (`video.quantiser`); None where nothing tells it.
    """

    planes: tuple[Plane, ...]
    pts: int | None = None
    duration: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    damage: Literal["", "concealed", "kept"] = ""
    begins: bool = False
    ends: bool = False
    repeats: bool = False
    fed: tuple[int, ...] = ()
    step: float | None = None
