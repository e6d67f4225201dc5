"""Where one scene ends and another begins: frames on both sides of a cut must not be mixed."""

from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from vnlsdenoise.video.frame import Plane

_LONG_SIDE = 96  # of the thumbnails that are compared, in pixels
_REACH = 3  # largest motion between two thumbnails that is forgiven, in pixels: 3 % of the picture's long side
_BLOCK = 5  # side of the blocks whose motion is found
_BINS = 32
_MEMORY = 15  # pairs of frames that tell how much this scene changes from frame to frame

Thumbnail = npt.NDArray[np.float32]


class SceneDetector:
    """Finds cuts frame by frame, on thumbnails of the brightness: cheap, and the same on any device.

    A frame begins a new scene if, after block motion of a few per cent of the picture, it still differs from the one
    before by far more than frames lately did, and its brightness is distributed differently (or it differs hugely).
    Slow changes (fades, dissolves) and motion are no cuts; a flash is a cut before and a cut after.

    peak: the largest sample value.
    """

    def __init__(self, peak: float) -> None:
        self._scale = 255 / peak
        self._before: Thumbnail | None = None
        self._lately: deque[float] = deque(maxlen=_MEMORY)

    def push(self, luma: Plane | npt.NDArray[np.float32]) -> bool:
        """Whether this frame, [H, W], begins a new scene. The first frame of a video does not count as one."""
        now = self._thumbnail(luma)
        before, self._before = self._before, now
        if before is None:
            return False
        change = unexplained_change(before, now)
        usual = float(np.median(self._lately)) if self._lately else 0.0
        shifted = histogram_distance(before, now)
        cut = (change > max(8.0, 3 * usual) and shifted > 0.05) or change > max(20.0, 4 * usual)
        if cut:
            self._lately.clear()
        else:
            self._lately.append(change)
        return cut

    def _thumbnail(self, luma: Plane | npt.NDArray[np.float32]) -> Thumbnail:
        height, width = luma.shape
        shrink = max(1.0, max(height, width) / _LONG_SIDE)
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        return small.astype(np.float32) * np.float32(self._scale)


def unexplained_change(before: Thumbnail, now: Thumbnail) -> float:
    """Mean difference of two images, [H, W] in 0..255, after the best motion of every block, in code values."""
    padded = cv2.copyMakeBorder(now, _REACH, _REACH, _REACH, _REACH, cv2.BORDER_REPLICATE)
    height, width = before.shape
    best = np.full_like(before, np.inf)
    for dy in range(2 * _REACH + 1):
        for dx in range(2 * _REACH + 1):
            difference = np.abs(before - padded[dy : dy + height, dx : dx + width])
            best = np.minimum(best, cv2.blur(difference, (_BLOCK, _BLOCK)))
    return float(best.mean())


def histogram_distance(before: Thumbnail, now: Thumbnail) -> float:
    """Chi-square distance of the brightness distributions, 0 (equal) to 1 (disjoint)."""
    one, other = (np.histogram(image, _BINS, (0, 255))[0] / image.size for image in (before, now))
    total = one + other
    return float((((one - other) ** 2)[total > 0] / total[total > 0]).sum() / 2)
