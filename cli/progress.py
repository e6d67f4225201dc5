"""Progress on stderr: a bar for people, lines for logs, JSON for programs."""

import json
import sys
import time
from types import TracebackType
from typing import Any, Literal, Self

import click

Style = Literal["auto", "bar", "lines", "json", "none"]
_SECONDS_BETWEEN = {"lines": 10.0, "json": 1.0}


class Progress:
    """Call it with the number of frames done, inside a `with` block. frames: how many to expect, None if unknown."""

    def __init__(self, style: Style, frames: int | None) -> None:
        if style == "auto":
            style = "bar" if sys.stderr.isatty() else "lines"
        self._style = style
        self._frames = frames
        self._start = self._said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._style == "bar":
            from tqdm import tqdm

            self._bar = tqdm(total=self._frames, unit="frame", file=sys.stderr)
        self.event("start", frames=self._frames)
        return self

    def __call__(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._said < _SECONDS_BETWEEN.get(self._style, float("inf")):
            return
        self._said = now
        rate = done / (now - self._start)
        left = max(0.0, (self._frames - done) / rate) if self._frames and rate else None
        if self._style == "lines":
            of = f" of {self._frames}" if self._frames else ""
            click.echo(
                f"frame {done}{of}, {rate:.2f} a second" + (f", {left:.0f} s left" if left is not None else ""),
                err=True,
            )
        self.event("progress", frame=done, frames=self._frames, fps=round(rate, 3), eta_s=left and round(left, 1))

    def event(self, name: str, **facts: Any) -> None:
        """Write one JSON object, in the style "json" only."""
        if self._style == "json":
            elapsed = round(time.monotonic() - self._start, 3)
            click.echo(json.dumps({"t": elapsed, "event": name, **facts}), err=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None:
            self.event("done")
