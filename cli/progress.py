"""Progress on stderr: a bar for people, lines for logs, JSON for programs; the same figures in all of them."""

import json
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from vnlsdenoise.cli.talk import Stderr, say, talk

if TYPE_CHECKING:
    from vnlsdenoise.job.pace import Pace, Stage

Style = Literal["auto", "bar", "lines", "json", "none"]
_SECONDS_BETWEEN = {"bar": 0.2, "lines": 10.0, "json": 1.0}
_FIRST_LINE = 2.0  # seconds after which the first line comes
_BAR, _WORDS = "{desc}{percentage:3.0f}%|{bar}| {unit}", "{desc}{unit}"
_STAGES: dict["Stage", str] = {"analysed": "analyse", "denoised": "denoise", "encoded": "encode"}


def chosen_style(style: Style) -> Literal["bar", "lines", "json", "none"]:
    """The style to use where "auto" was asked for: a bar on a terminal, lines elsewhere, none without stderr."""
    if sys.stderr is None:
        return "none"
    if style == "auto":
        return "bar" if sys.stderr.isatty() else "lines"
    return style


@dataclass(frozen=True)
class Place:
    """Of one input among several: its number from 1, how many there are, and its name."""

    number: int
    total: int
    name: str

    def __str__(self) -> str:
        return f"[{self.number}/{self.total}] {self.name}: "


class Progress:
    """Call it with a stage and the number of frames that have come so far, from any thread, inside a `with` block.

    pace: what is made of these numbers. facts: of the run, for the first JSON event. place: among several inputs.
    """

    def __init__(
        self, style: Style, pace: "Pace", facts: dict[str, Any] | None = None, place: Place | None = None
    ) -> None:
        self._style = chosen_style(style)
        self._pace = pace
        self._facts = facts or {}
        self._place = place
        self._start = time.monotonic()
        self._said = self._start - _SECONDS_BETWEEN.get(self._style, 0.0)
        if self._style == "lines":
            self._said += _FIRST_LINE
        self._bar: Any = None
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        if self._style == "bar":
            from tqdm import tqdm

            place, stderr = self._place, Stderr()
            self._bar = tqdm(
                total=self._pace.frames,
                desc=str(place) if place else "",
                unit="",
                bar_format=_BAR if self._pace.frames else _WORDS,
                position=1 if place else 0,
                leave=place is None,
                file=stderr,
            )
            talk.through = partial(self._bar.write, file=stderr)
        self.event("start", frames=self._pace.frames, **self._facts)
        return self

    def __call__(self, stage: "Stage", count: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._pace.saw(stage, count, now)
            if now - self._said >= _SECONDS_BETWEEN.get(self._style, float("inf")):
                self._said = now
                self._say(now)

    def opened(self, first: int, **facts: Any) -> None:
        """The noise of the scene that begins with frame `first` is known."""
        with self._lock:
            self._pace.opened(first, time.monotonic())
        self.event("scene", first=first, **facts)

    def _say(self, now: float) -> None:
        pace, counts = self._pace, self._pace.counts
        if self._style == "bar":
            self._bar.n = min(pace.work, pace.frames or pace.work)
            self._bar.unit = self._words(now)
            self._bar.refresh()
        elif self._style == "lines":
            share = "" if pace.share is None else f"{100 * pace.share:.0f} %, "
            say(f"{self._place or ''}{share}{self._words(now)}")
        left = pace.left(now)
        self.event(
            "progress",
            stage=_STAGES[pace.stage],
            frame=counts["encoded"],
            frames=pace.frames,
            done=None if pace.share is None else round(pace.share, 4),
            fps=round(pace.speed(now), 3),
            eta_s=None if left is None else round(left, 1),
            **counts,
            **_memory(),
        )

    def _words(self, now: float) -> str:
        pace, counts = self._pace, self._pace.counts
        of = f" of {pace.frames}" if pace.frames else ""
        speed, left = pace.speed(now), pace.left(now)
        # What is in flight shows that work goes on before the first frame is written.
        ahead = f" ({counts['analysed']} analysed, {counts['denoised']} denoised)" if pace.in_flight else ""
        words = [f"frame {counts['encoded']}{of}{ahead}"]
        words += [f"{speed:.2f} a second"] if speed else []
        words += [f"{duration(left)} left"] if left is not None else []
        return ", ".join(words)

    def event(self, name: str, **facts: Any) -> None:
        """Write one JSON object, in the style "json" only."""
        if self._style == "json":
            elapsed = round(time.monotonic() - self._start, 3)
            where = {"file": self._place.number, "files": self._place.total} if self._place else {}
            with self._lock:
                say(json.dumps({"t": elapsed, "event": name, **where, **facts}))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            if kind is None:
                self._say(time.monotonic())
                self._bar.n = self._bar.total or self._bar.n
                self._bar.refresh()
            self._bar.close()
            talk.through = None
        if kind is None:
            self.event("done", frame=self._pace.counts["encoded"])


class Overall:
    """A bar over several inputs, above that of the one at work; nothing in other styles."""

    def __init__(self, style: Style, total: int) -> None:
        self._bar: Any = None
        if chosen_style(style) == "bar":
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="file", position=0, file=Stderr())

    def __enter__(self) -> Self:
        return self

    def step(self) -> None:
        """One more input is dealt with."""
        if self._bar is not None:
            self._bar.update(1)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Seconds for a reader: "7 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _memory() -> dict[str, int]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"vram_peak": int(torch.cuda.max_memory_allocated())}
