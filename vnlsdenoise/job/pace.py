"""How much of the work is done, and how long the rest will take.

A denoised frame has passed through passes that follow each other, each of which waits for frames after it: tens of
frames are in flight, some just begun, some nearly done. So neither what was read nor what came out says how much is
done, but both together with the order and the cost of the passes do.
"""

import bisect
from dataclasses import dataclass
from typing import Literal

from vnlsdenoise.classic.presets import PRESETS, Pass
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.video.frame import PlaneFormat

Stage = Literal["analysed", "denoised", "encoded"]
"""What happens to a frame: it goes to the denoiser, leaves it, and is written."""
_FLOW_SHARE = 0.25  # of motion and pyramid, which come first, in the cost of the first pass of the finest level
_NETWORK_SHARE = 1.5  # of the network, likewise
_RECENT = 1 / 3  # of all frames, which tell the speed
_HISTORY = 512  # moments that are remembered


@dataclass(frozen=True)
class Step:
    """One step of the denoiser: it is at work `lag` frames behind the frame that comes in, for `share` of the time."""

    lag: float
    share: float


@dataclass(frozen=True)
class Steps:
    """All of them. lag: frames between the one that comes in and the one that leaves."""

    steps: tuple[Step, ...] = ()
    lag: int = 0


def steps_of(format: PlaneFormat, settings: DenoiseSettings | None) -> Steps:
    """The steps of a run; none where the frames pass through unchanged."""
    if settings is None:
        return Steps()
    # It loads torch, which a run that changes nothing does not need.
    from vnlsdenoise.classic.denoiser import level_sizes, levels_of
    from vnlsdenoise.classic.planar import chroma_is_below

    preset = PRESETS[settings.preset]
    sizes = level_sizes(preset, format.height, format.width, chroma_is_below(format, preset))
    levels = levels_of(PRESETS[settings.preset], sizes)
    area, unit = sizes[0][0] * sizes[0][1], _cost(levels[0].shrink)
    found, lag = [(0.0, _FLOW_SHARE)], 0
    for level, (height, width) in reversed(list(zip(levels, sizes, strict=True))):
        for part in (level.shrink, *level.wiener):
            found.append((lag + level.radius, _cost(part) / unit * height * width / area))
            lag += 2 * level.radius + 1
    if settings.method == "learned":
        found.append((float(lag), _NETWORK_SHARE))
    whole = sum(share for _, share in found)
    return Steps(tuple(Step(at, share / whole) for at, share in found), lag)


def _cost(part: Pass) -> float:
    # Of queries, one a stride, and the patches of each: search and filter together go by the side of a patch, about, as
    # recorded runs of `fast` and `balanced` have it.
    return part.neighbors * part.patch / part.stride**2


class Pace:
    """Told how far every stage has come, knows how much is done and how long the rest will take.

    Frames that wait for the noise of their scene to be measured are no work yet.

    frames: how many there are, None if that is not known. Frames that are encoded before any is analysed are those of
    an earlier run.
    """

    def __init__(self, frames: int | None, steps: Steps) -> None:
        self.frames = frames
        self.counts: dict[Stage, int] = {"analysed": 0, "denoised": 0, "encoded": 0}
        self._steps = steps
        self._before = 0  # frames of an earlier run
        self._scene = 0  # frames before the scene that is at work
        self._moments: list[tuple[float, float]] = []  # time and frames' worth of work that was done
        self._opened = False
        self.work = 0.0

    def saw(self, stage: Stage, count: int, now: float) -> None:
        """Stage `stage` has come to `count` frames, at `now` seconds."""
        if stage == "encoded" and not self.counts["analysed"]:
            self._before = self._scene = self.counts["denoised"] = count
            self.work = float(count)
        self.counts[stage] = count
        self.work = max(self.work, self._worth())
        if not self._moments or self.work > self._moments[-1][1]:
            self._moments.append((now, self.work))
            if len(self._moments) > _HISTORY:
                self._moments = self._moments[::2]

    def opened(self, first: int, now: float) -> None:
        """The noise of the scene that begins with frame `first` is known: all before it have left the denoiser."""
        self._scene = max(self._scene, first)
        if not self._opened:
            # What was set up until now says nothing of the speed.
            self._opened, self._moments = True, [(now, self.work)]

    def _worth(self) -> float:
        """Whole frames of which the work is done."""
        analysed, denoised, encoded = (self.counts[stage] for stage in ("analysed", "denoised", "encoded"))
        if not self._steps.steps:
            return float(encoded)
        scene = min(self._scene, denoised)
        inside, out = max(0, analysed - scene), denoised - scene
        front = max(inside, out + self._steps.lag if out else 0)  # runs on when no more frames come in
        worth = sum(step.share * min(inside, max(0.0, front - step.lag)) for step in self._steps.steps)
        return scene + min(worth, float(inside))

    @property
    def in_flight(self) -> bool:
        """Whether frames are on their way through the denoiser."""
        return bool(self._steps.steps) and self.counts["analysed"] > self.counts["encoded"]

    @property
    def stage(self) -> Stage:
        """What the run waits for."""
        if not self.counts["denoised"]:
            return "analysed"
        return "encoded" if self.counts["denoised"] == self.frames else "denoised"

    @property
    def share(self) -> float | None:
        """How much is done, 0 to 1, None if it is not known how much there is."""
        if not self.frames:
            return None
        if self.counts["encoded"] >= self.frames:
            return 1.0
        return min(self.work / self.frames, 0.999)

    def left(self, now: float) -> float | None:
        """Seconds to the end, None while nothing can be said."""
        if not self.frames or not self._moments:
            return None
        speed = self.speed(now)
        return max(0.0, self.frames - self.work) / speed if speed else None

    def speed(self, now: float) -> float:
        """Frames a second: without the first quarter of what is done, where all is set up, and of late (the last third
        of all), so that it follows where a machine gets other work."""
        if not self._moments:
            return 0.0
        begin = self._before + (self.work - self._before) / 4
        if self.frames:
            begin = max(begin, self.work - _RECENT * self.frames)
        index = bisect.bisect_left([work for _, work in self._moments], begin)
        then, worth = self._moments[min(index, len(self._moments) - 1)]
        return (self.work - worth) / (now - then) if now > then and self.work > worth else 0.0
