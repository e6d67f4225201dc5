"""Where one scene ends and another begins, and which frames only repeat the one before."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from vnlsdenoise.video.frame import Plane

_LONG_SIDE = 32  # of the thumbnails that are compared, in pixels: so few that the noise is averaged away
_REACH = 2  # largest motion between two thumbnails that is forgiven, in pixels: 6 % of the picture's long side
_BLOCK = 5  # side of the blocks whose motion is found
_BINS = 32
_OUTSTANDING = 1.6  # times the change on the calmer side
_STILL = 0.05  # change, in code values, of a frame that repeats the one before: it says nothing of those around it
_LONGEST_FLASH = 3  # frames
_MEMORY = 15  # pairs of frames that tell how much this scene changes from frame to frame

_SAME = 0.25 / 255  # mean difference, of the peak, up to which a block counts as the same
_SAME_BLOCK = 8

Thumbnail = npt.NDArray[np.float32]
Samples = Plane | npt.NDArray[np.float32]
Item = TypeVar("Item")


@dataclass
class _Pair:
    """How much a frame differs from the one before, and whether it begins a scene if the next pair does not object."""

    change: float
    stands_out: bool


def mark_cuts(frames: Iterable[Item], luma: Callable[[Item], Samples], peak: float) -> Iterator[tuple[Item, bool]]:
    """Every frame, in order, with whether it begins a new scene; the first frame of a video does not count as one.

    Works on thumbnails of the brightness: cheap, and the same on any device. A frame begins a new scene if, after block
    motion of a few per cent of the picture, it differs from the one before by far more than frames lately did and than
    the frames on at least one side of it do, and its brightness is distributed differently (or it differs hugely).
    Slow changes (fades, dissolves), motion however fast that goes on, and noise are no cuts; nor is a flash, after
    which the picture is what it was before. Some frames are held back, until those after them are known.

    luma: gives the brightness of a frame, [H, W]. peak: its largest sample value.
    """
    scale = 255 / peak
    lately: deque[float] = deque(maxlen=_MEMORY)
    before: Thumbnail | None = None
    earlier = pair = None  # the last pair that was decided and no repeat, and that of the frame before and this one
    flashing = 0  # frames that still belong to a flash, and the first one after it
    for frame, now, following in _with_following(frames, lambda frame: _thumbnail(luma(frame), scale)):
        next_pair = _compare(now, following[0], lately) if following else None
        begins = False
        if flashing:
            flashing -= 1
        elif before is not None and pair is not None:
            begins = _outstanding(earlier, pair, next_pair)
            if begins:
                flashing = _flash(before, following, lately)
                begins = not flashing
            if begins:
                lately.clear()
            if pair.change >= _STILL and not flashing:
                earlier = pair
                if not begins:
                    lately.append(pair.change)
        yield frame, begins
        before, pair = now, next_pair


def _with_following(
    frames: Iterable[Item], thumbnail: Callable[[Item], Thumbnail]
) -> Iterator[tuple[Item, Thumbnail, list[Thumbnail]]]:
    """Every frame, its thumbnail, and those of the frames after it, as many as a flash may last."""
    held: deque[tuple[Item, Thumbnail]] = deque()
    for frame in frames:
        held.append((frame, thumbnail(frame)))
        if len(held) > _LONGEST_FLASH:
            yield *held.popleft(), [after for _, after in held]
    while held:
        yield *held.popleft(), [after for _, after in held]


def _compare(before: Thumbnail, now: Thumbnail, lately: deque[float]) -> _Pair:
    change = unexplained_change(before, now)
    usual = float(np.median(lately)) if lately else 0.0
    shifted = histogram_distance(before, now)
    return _Pair(change, (change > max(8.0, 3 * usual) and shifted > 0.05) or change > max(20.0, 4 * usual))


def _outstanding(earlier: _Pair | None, pair: _Pair, following: _Pair | None) -> bool:
    """Whether `pair` differs by more than what lies on at least one side of it does."""
    near = [other.change for other in (earlier, following) if other is not None and other.change >= _STILL]
    return pair.stands_out and pair.change > _OUTSTANDING * min(near, default=0.0)


def _flash(before: Thumbnail, following: list[Thumbnail], lately: deque[float]) -> int:
    """Of frames that differ from the one before them: in how many the picture is back; 0 if it does not come back."""
    for length, after in enumerate(following, 1):
        if not _compare(before, after, lately).stands_out:
            return length
    return 0


def _thumbnail(luma: Samples, scale: float) -> Thumbnail:
    height, width = luma.shape
    shrink = max(1.0, max(height, width) / _LONG_SIDE)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) * np.float32(scale)


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


def repeated(before: Sequence[Samples], now: Sequence[Samples], peak: float) -> bool:
    """Whether a frame shows the one before again, its noise too, but for what a codec may have added.

    So it is where a frame rate was raised by doubling frames: the noise of such frames is no new evidence. Every block
    of 8 x 8 samples of every plane must be the same to a quarter of an 8-bit code value in the mean; motion of the
    smallest object and any noise that is worth removing are more.

    before, now: planes [h, w] of equal shapes. peak: their largest value.
    """
    return all(_same(one, other, _SAME * peak) for one, other in zip(before, now, strict=True))


def _same(before: Samples, now: Samples, most: float) -> bool:
    # The mean over all tells most frames apart at once.
    if cv2.norm(before, now, cv2.NORM_L1) > most * now.size:
        return False
    difference = cv2.absdiff(before, now).astype(np.float32)
    height, width = difference.shape
    for axis, size in ((0, height), (1, width)):
        difference = np.add.reduceat(difference, np.arange(0, size, _SAME_BLOCK), axis=axis)
    rows, columns = (np.minimum(size - np.arange(0, size, _SAME_BLOCK), _SAME_BLOCK) for size in (height, width))
    return bool((difference <= most * np.outer(rows, columns)).all())
