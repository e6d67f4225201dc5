"""What the command line says on stderr: errors, warnings, notes. Data alone goes to stdout."""

import codecs
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

import click
from vnlsdenoise.cli.faults import is_full

from vnlsdenoise.errors import OutputError, ReaderGoneError


class Talk:
    """Verbosity: -1 errors only, 0 warnings too, 1 notes too, 2 tracebacks too.

    through: what prints a line while a bar stands on the terminal, None for stderr as it is.
    """

    def __init__(self) -> None:
        self.verbosity = 0
        self.through: Callable[[str], object] | None = None
        self._log: IO[str] | None = None

    def log_to(self, path: Path) -> None:
        """From now on also append everything, whatever the verbosity, to a file, with the time; raises OutputError."""
        try:
            self._log = path.open("a", encoding="utf-8", errors="surrogateescape", buffering=1)
        except OSError as error:
            raise OutputError(f"cannot write the log {path}; {error.strerror}; choose another --log-file") from error

    def error(self, text: str) -> None:
        """Say in one line why the run failed."""
        self._say(f"error: {one_line(text)}", True)

    def warn(self, text: str) -> None:
        """Say what the user should know but need not act upon."""
        self._say(f"warning: {one_line(text)}", self.verbosity >= 0)

    def note(self, text: str, least: int = 0) -> None:
        """Say something from verbosity `least` on."""
        self._say(one_line(text), self.verbosity >= least)

    def row(self, text: str) -> None:
        """Say one row of a table, whatever was asked for but silence."""
        self._say(text, self.verbosity >= 0)

    def _say(self, text: str, aloud: bool) -> None:
        self._write_log(text)
        if not aloud:
            return
        if self.through is not None:
            self.through(f"vnlsdenoise: {text}")
        else:
            say(f"vnlsdenoise: {text}")

    def _write_log(self, text: str) -> None:
        if self._log is None:
            return
        try:
            self._log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")
        except OSError as error:
            name, self._log = self._log.name, None
            self.warn(f"the log {name} cannot be written any more; {error.strerror}; the run goes on without it")


def say(text: str) -> None:
    """Write a line to stderr. What cannot be said - a full disk, a terminal that is gone - is lost, but not the run."""
    with suppress(OSError, ValueError):
        click.echo(text, err=True)


class Stderr:
    """stderr for a bar, which must not end the run either."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        """Write `text` if that is possible."""
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class Stdout:
    """stdout for data, which is not lost without a word: what cannot be written raises OutputError, and so does all
    that is written after it.

    stream: None where stdout was closed before the start.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        if isinstance(stream, TextIOWrapper) and codecs.lookup(stream.encoding).name == "ascii":
            stream.reconfigure(encoding="utf-8", errors="replace")  # As click has it, which else goes round this class.
        self._stream = stream
        closed = OutputError("cannot write to stdout; it is closed; put a program or a file behind it")
        self._fault = closed if stream is None else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def closed(self) -> bool:
        """Whether nothing can be written; others are flushed by Python when it ends."""
        return self._stream is None or self._fault is not None

    def write(self, text: str) -> int:
        """Write `text`."""
        with self._told():
            return 0 if self._stream is None else self._stream.write(text)

    def flush(self) -> None:
        """Flush what was written."""
        with self._told():
            if self._stream is not None:
                self._stream.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        if self._fault is not None:
            raise self._fault
        try:
            yield
        except BrokenPipeError as error:
            self._fault = ReaderGoneError("nobody reads stdout any more")
            raise self._fault from error
        except OSError as error:
            advice = "free space" if is_full(error) else "put another program or file behind it"
            self._fault = OutputError(f"cannot write to stdout; {error.strerror}; {advice} and run it again")
            raise self._fault from error


def one_line(text: str) -> str:
    """The text without line breaks and control characters, which file names may hold."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))


talk = Talk()
