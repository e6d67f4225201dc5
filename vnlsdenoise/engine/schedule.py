"""What a fleet of workers does next: whole films longest first, and films that are shared as ranges that get smaller
towards the end. Plain bookkeeping, without workers, clocks or files; what is finished leaves nothing behind.
"""

import bisect
import itertools
import math
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

_SHARES = 2  # A range takes this part of what every worker still has before it, so that all end together.
_FIRST = 4  # times smaller is the range of a worker whose speed nobody knows: it may be far slower than the others
# A range within a scene of r frames costs its support, and in the end all wait for half of it: the sum is least where
# r^2 is some times the support and what is left for each worker (times by simulation: ranges get smaller).
_EVEN = 4
_UNEVEN = 1.5  # times the size that is aimed at, up to which a range goes on to the next cut; and down to 1 / it


@dataclass(frozen=True)
class Span:
    """Frames first to end (not included) of a film that one worker does: whole pieces. cut: a scene ends there."""

    first: int
    end: int
    cut: bool

    @property
    def frames(self) -> int:
        """How many."""
        return self.end - self.first


@dataclass(frozen=True)
class Part:
    """What one worker is given: a film, or (span) a range of it. work: in any unit that is the same for all films.

    tries: how often it was given before.
    """

    film: Hashable
    work: float
    span: Span | None = None
    tries: int = 0


@dataclass
class _Shared:
    """A film that is shared among workers.

    each: work of a frame. least: frames of a range within a scene, of which its support is as many. pieces: those that
    nobody was given yet; ready: frames of them; cuts: how many end a scene.
    """

    left: float
    each: float
    least: int
    pieces: deque[Span] = field(default_factory=deque)
    ready: int = 0
    cuts: int = 0
    closed: bool = False


class Schedule:
    """Knows what is left to do. workers: how many there are."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._numbers = itertools.count()
        self._whole: list[tuple[float, int, Hashable]] = []  # shortest first, of equals the last that came
        self._shared: dict[Hashable, _Shared] = {}
        self._again: deque[Part] = deque()
        self.left = 0.0  # work that nobody was given yet

    def add(self, film: Hashable, work: float) -> None:
        """A film that one worker does."""
        bisect.insort(self._whole, (work, -next(self._numbers), film))
        self.left += work

    def share(self, film: Hashable, frames: int, work: float, least: int = 1) -> None:
        """A film of which pieces will be found; frames: how many there are, about. least: of a range within a scene."""
        self._shared[film] = _Shared(work, work / max(1, frames), least)
        self.left += work

    def found(self, film: Hashable, piece: Span) -> None:
        """The next piece of a film that is shared."""
        shared = self._shared[film]
        shared.pieces.append(piece)
        shared.ready += piece.frames
        shared.cuts += piece.cut

    def close(self, film: Hashable) -> None:
        """All pieces of a film were found."""
        shared = self._shared[film]
        shared.closed = True
        self.left += shared.ready * shared.each - shared.left
        shared.left = shared.ready * shared.each
        self._tidy(film)

    def drop(self, film: Hashable) -> None:
        """Give nothing more of a film."""
        if (shared := self._shared.pop(film, None)) is not None:
            self.left -= shared.left
        self._again = deque(part for part in self._again if part.film != film)

    def next(self, speed: float | None = 1.0, beside: bool = False) -> Part | None:
        """What a worker does now, None where there is nothing yet. speed: of the worker, of the mean of all; None where
        it is not known. beside: whether it has another part still: then it can wait until ranges are long enough, and
        is given nothing that was lost before, which whoever shares a process with it would share the fate of.
        """
        if self._again and not beside:
            return self._again.popleft()
        share = 1 / _FIRST if speed is None else speed
        speed = 1.0 if speed is None else speed
        size = self.left * share / (_SHARES * self.workers)
        ready = [(one.left, film) for film, one in self._shared.items() if self._is_ready(one, size, share, beside)]
        longest, film = max(ready, key=lambda one: one[0], default=(0.0, None))
        if self._whole and self._whole[-1][0] >= longest:
            index = self._fitting(speed)
            if self._is_too_late(self._whole[index][0], speed):
                return None
            work, _, film = self._whole.pop(index)
            self.left -= work
            return Part(film, work)
        if not ready:
            return None
        shared = self._shared[film]
        if self._is_too_late(max(size, shared.pieces[0].frames * shared.each), speed):
            return None
        span = _gathered(shared, size, self._frames_within(shared, size, share))
        work = span.frames * shared.each
        shared.ready -= span.frames
        shared.left, self.left = shared.left - work, self.left - work
        self._tidy(film)
        return Part(film, work, span)

    def lost(self, part: Part) -> None:
        """A part whose worker was lost goes to the next one."""
        self._again.append(Part(part.film, part.work, part.span, part.tries + 1))

    @property
    def empty(self) -> bool:
        """Whether nothing is left to give."""
        return not (self._whole or self._shared or self._again)

    def _is_too_late(self, work: float, speed: float) -> bool:
        """Whether all would wait in the end for a slow worker, if it did this: longer than for what is left, and for
        two such parts after each other, of a mean one. The fastest is never too late."""
        return speed < 1 and work / speed > self.left / self.workers + 2 * work

    def _fitting(self, speed: float) -> int:
        """Which whole film a worker does next: the longest that it ends no later than a mean one the longest."""
        longest = self._whole[-1][0]
        return max(0, bisect.bisect_right(self._whole, longest * min(1.0, speed), key=lambda one: one[0]) - 1)

    def _frames_within(self, shared: _Shared, size: float, share: float) -> float:
        """How many frames a range within a scene has. share: of what a mean worker is given."""
        even = math.sqrt(_EVEN * shared.least * shared.left / shared.each / self.workers)
        return max(shared.least, size / shared.each, min(1.0, share) * even)

    def _is_ready(self, shared: _Shared, size: float, share: float, beside: bool) -> bool:
        if shared.closed or not shared.pieces:
            return bool(shared.pieces)
        if not beside:  # Whoever has nothing to do takes what costs little.
            return bool(shared.cuts) or shared.ready >= shared.least
        wanted = size / shared.each if shared.cuts else self._frames_within(shared, size, share)
        return shared.ready >= _UNEVEN * wanted

    def _tidy(self, film: Hashable) -> None:
        if self._shared[film].closed and not self._shared[film].pieces:
            self.left -= self._shared.pop(film).left


def _gathered(shared: _Shared, size: float, least: float) -> Span:
    """The first pieces of a film, together about `size` of work, up to a cut if there is one near, else `least` frames.

    Where fewer are known yet it ends at the last cut among them.
    """
    wanted = size / shared.each
    chosen, frames, last_cut = 1, 0, 0
    for count, piece in enumerate(_unbroken(shared.pieces), 1):
        frames += piece.frames
        if frames > _UNEVEN * least and count > 1:
            break
        if piece.cut and frames >= wanted / _UNEVEN:
            chosen = count
            break
        last_cut = count if piece.cut else last_cut
        if frames - piece.frames < least:
            chosen = count
    else:
        if not shared.closed and last_cut and frames < least:
            chosen = last_cut
    taken = [shared.pieces.popleft() for _ in range(chosen)]
    shared.cuts -= sum(piece.cut for piece in taken)
    return Span(taken[0].first, taken[-1].end, taken[-1].cut)


def _unbroken(pieces: deque[Span]) -> Iterator[Span]:
    at = pieces[0].first
    for piece in pieces:
        if piece.first != at:
            return
        yield piece
        at = piece.end
