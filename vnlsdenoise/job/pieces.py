"""Finished frames become pieces: runs of frames that are closed, synced and never done again."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vnlsdenoise.errors import VnlsError
from vnlsdenoise.job.publish import failure
from vnlsdenoise.job.workdir import WorkFolder
from vnlsdenoise.video.chunk import ChunkWriter, reorder_depth
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.sequences import SequenceWriter

Writer = ChunkWriter | SequenceWriter


@dataclass
class _Open:
    """The piece that is being written."""

    first: int
    writer: Writer
    frames: int = 0
    fed: tuple[int, ...] = ()  # of its last frame


def is_full(frames: int, begins: bool, length: int) -> bool:
    """Whether a piece of so many frames ends before the next frame, with which a scene begins or not."""
    return frames >= length or (begins and 2 * frames >= length)


class PieceWriter:
    """Cuts a video into pieces and writes each by a writer of its own; use it in a `with` block.

    A piece holds `length` frames; where a scene begins after at least half as many it ends there. So where pieces lie
    depends on what is in the video alone, and not on where a run begins.

    make: makes the writer of a piece, from its path and first frame. noted: what else
    is noted with a piece, of its first frame and of the one after it. Frames come in order. A piece is finished by
    another thread, while the next one begins.
    """

    def __init__(
        self,
        folder: WorkFolder,
        length: int,
        output: Path,
        make: Callable[[Path, int], Writer],
        noted: Callable[[int, int], dict[str, Any]],
    ) -> None:
        self._folder, self._length, self._output = folder, length, output
        self._make, self._noted = make, noted
        self._open: _Open | None = None
        self.warnings: list[str] = []
        self._closing: queue.Queue[tuple[_Open, tuple[int, ...]] | None] = queue.Queue(1)
        self._error: BaseException | None = None
        self._closer = threading.Thread(target=self._close_all, name="pieces", daemon=True)

    def write(self, frame: Frame) -> None:
        """Add the next frame; raises what writing it, or the piece before, raised."""
        now = self._open
        if now is not None:
            follows = frame.number == now.first + now.frames
            if is_full(now.frames, frame.begins, self._length) or not follows:
                self._end(frame.fed if follows else now.fed)
        if self._open is None:
            self._open = self._begun(frame.number)
        if self._error is not None:
            raise self._error
        self._open.writer.write(frame)
        self._open.frames += 1
        self._open.fed = frame.fed

    def _begun(self, first: int) -> _Open:
        try:
            return _Open(first, self._make(self._folder.temporary(first), first))
        except OSError as error:
            raise failure(self._output, error) from error

    def _end(self, fed: tuple[int, ...]) -> None:
        assert self._open is not None
        self._closing.put((self._open, fed))
        self._open = None

    def _close_all(self) -> None:
        while (item := self._closing.get()) is not None:
            if self._error is None:
                try:
                    self._close(*item)
                    continue
                except BaseException as error:
                    self._error = error
            self._drop(item[0])

    def _close(self, piece: _Open, fed: tuple[int, ...]) -> None:
        writer = piece.writer
        writer.close()
        self.warnings += writer.warnings
        depth = reorder_depth(writer.shown) if isinstance(writer, ChunkWriter) else 0
        try:
            noted = self._noted(piece.first, piece.first + piece.frames)
            self._folder.finish(piece.first, piece.frames, fed=fed, depth=depth, **noted)
        except OSError as error:
            raise failure(self._output, error) from error

    def _drop(self, piece: _Open) -> None:
        with suppress(VnlsError, OSError):
            if isinstance(piece.writer, ChunkWriter):
                piece.writer.abort()
            self._folder.drop(piece.first)

    def __enter__(self) -> Self:
        self._closer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            if kind is None:
                self._end(self._open.fed)
            else:
                self._drop(self._open)
        self._closing.put(None)
        self._closer.join()
        if kind is None and self._error is not None:
            raise self._error
