"""Which frame of one film shows what a frame of another shows: films that begin earlier or later than each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vnlsdenoise.video.frame import Plane

REACH = 120
"""Frames that one film may begin before another and still be found."""
HEAD = 2 * REACH + 60
"""Frames at the start of a film that are looked at."""
_WIDTH, _HEIGHT = 32, 18  # of the thumbnails, in which noise is averaged away
_LEAST_OVERLAP = 8  # frames, where the films have so many
_SLACK, _SLACK_ABSOLUTE = 1.1, 0.05  # times, and code values more than the least: as good, if it is nearer to none
_POOR = 0.7  # of what the films differ by elsewhere: a place that fits no better is none

Thumbnail = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """frames: the number of the first film's frame that the other film's frame 0 shows.

    sure: whether it fits there clearly better than elsewhere; not so in films that stand still.
    """

    frames: int
    sure: bool


def thumbnail(brightness: Plane, peak: int) -> Thumbnail:
    """The brightness [H, W] of a frame, small, in 0..255."""
    small = cv2.resize(brightness, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) * np.float32(255 / peak)


def find_place(first: Sequence[Thumbnail], other: Sequence[Thumbnail]) -> Place:
    """Where another film lies on the first one, by the mean difference of the frames that both show."""
    one, two = np.stack(first), np.stack(other)
    least = min(_LEAST_OVERLAP, -(-min(len(one), len(two)) // 2))
    costs: dict[int, float] = {}
    for place in range(max(-REACH, least - len(two)), min(REACH, len(one) - least) + 1):
        begin, end = max(0, place), min(len(one), len(two) + place)
        costs[place] = float(np.abs(one[begin:end] - two[begin - place : end - place]).mean())
    good = min(costs.values()) * _SLACK + _SLACK_ABSOLUTE
    best = min((place for place, cost in costs.items() if cost <= good), key=abs)
    elsewhere = [cost for place, cost in costs.items() if abs(place - best) > 1]
    return Place(best, not elsewhere or costs[best] < _POOR * float(np.median(elsewhere)))
