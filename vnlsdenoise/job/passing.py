"""One pass over an input: decoded, denoised and encoded at the same time, into the pieces that are missing."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from vnlsdenoise.engine.seconds import Seconds, timed, timed_each
from vnlsdenoise.errors import DeviceFaultError, VerificationError
from vnlsdenoise.job.pace import Stage
from vnlsdenoise.job.pieces import PieceWriter, Writer
from vnlsdenoise.job.plan import Plan, writes_images
from vnlsdenoise.job.reading import reader_of, stop_of
from vnlsdenoise.job.workdir import Piece, WorkFolder, missing
from vnlsdenoise.video.chunk import ChunkWriter
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.region import within
from vnlsdenoise.video.sequences import SequenceWriter, image_names

if TYPE_CHECKING:
    from vnlsdenoise.classic.scenewise import Scene
    from vnlsdenoise.engine.work import Work

Turn = Callable[[Iterable[Frame], Seconds], Iterable[Frame]]
QUEUED_FRAMES = 8
_POLL_SECONDS = 0.1
Progress = Callable[[Stage, int], None]
Opened = Callable[["Scene"], None]


def make_pieces(
    plan: Plan,
    folder: WorkFolder,
    kept: list[Piece],
    progress: Progress | None = None,
    opened: Opened | None = None,
    turn: Turn | None = None,
    took: Seconds | None = None,
) -> None:
    """Make all pieces but those that are kept, and note in the folder what reading the input told.

    progress: told how many frames have come to each stage; those in pieces have come to all. The input is decoded from
    its start on; only what the missing frames need is denoised. turn: what denoising waits for. took: added to. Raises
    the errors of reading, denoising and writing, and VerificationError where frames went missing on the way.
    """
    took = Seconds() if took is None else took
    request, spans = plan.request, list(missing(kept))
    reader = reader_of(plan)
    work = _work(plan, folder, kept, spans, opened)
    assert request.output is not None
    output = request.output

    def open_writer() -> PieceWriter:
        return PieceWriter(folder, request.piece, output, _maker(plan), _noted(work, kept))

    done = sum(piece.frames for piece in kept)
    read, writer = pump(
        reader,
        lambda frames: _in_turn(turn, _denoised(frames, plan, work, spans), took),
        open_writer,
        stop_of(plan),
        progress,
        done,
        took=took,
    )
    warnings = dict.fromkeys((*plan.warnings, *reader.warnings, *writer.warnings))
    scenes = work.scenes if work is not None else []
    folder.finish_reading(
        {
            "frames": read,
            "damage": asdict(reader.damage),
            "warnings": list(warnings),
            "scenes": [{"first": s.first, "frames": s.frames, "noise": s.noise.to_json()} for s in scenes],
        }
    )


def make_range(
    plan: Plan,
    folder: WorkFolder,
    reader: Iterable[Frame],
    work: "Work",
    count: int,
    progress: Progress | None = None,
    turn: Turn | None = None,
    took: Seconds | None = None,
) -> list[str]:
    """Make the pieces of one range of frames, `count` of them; returns warnings of the encoder.

    reader: of the whole input, or of the part that `work.told` tells of; it is read as far as the range needs. turn,
    took: as of `make_pieces`. Raises what that raises.
    """
    took = Seconds() if took is None else took
    request = plan.request
    assert request.output is not None and plan.settings is not None
    output = request.output
    _, writer = pump(
        reader,
        lambda frames: _in_turn(turn, islice(_denoised(frames, plan, work, []), count), took),
        lambda: PieceWriter(folder, request.piece, output, _maker(plan), _noted(work, [])),
        threading.Event(),
        progress,
        start=work.told.start if work.told is not None else 0,
        wanted=count,
        took=took,
    )
    return writer.warnings


def _in_turn(turn: Turn | None, frames: Iterable[Frame], took: Seconds) -> Iterable[Frame]:
    return frames if turn is None else turn(frames, took)


class FrameWriter(AbstractContextManager["FrameWriter"], Protocol):
    """What frames are written to."""

    def write(self, frame: Frame) -> None:
        """Take one frame."""


W = TypeVar("W", bound=FrameWriter)


def pump(
    reader: Iterable[Frame],
    denoise: Callable[[Iterable[Frame]], Iterable[Frame]],
    open_writer: Callable[[], W],
    stop: threading.Event,
    progress: Progress | None = None,
    done: int = 0,
    start: int = 0,
    wanted: int | None = None,
    took: Seconds | None = None,
) -> tuple[int, W]:
    """Decode in one thread, denoise in this one, write in a third; the first error of any stops all and is raised.

    stop: set where it ends early. done: frames that were written before. start: number of the first that is read.
    wanted: how many are to be written, None for all that are read. took: added to. Returns the number after that of the
    last frame that was read, and the writer, closed. Raises VerificationError where as many were not written.
    """
    spent = Seconds() if took is None else took
    decoded, finished = _Belt(stop), _Belt(stop)
    errors: list[BaseException] = []
    read, written, told = start, done, progress or (lambda stage, frames: None)

    def guard(task: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                task()
            except BaseException as error:
                errors.append(error)
                stop.set()

        return guarded

    def decode() -> None:
        nonlocal read
        for frame in timed_each(spent, "decode", reader):
            frame.number, read = read, read + 1
            decoded.put(frame)
            if stop.is_set():
                return
        decoded.end()

    def analysed() -> Iterator[Frame]:
        for frame in timed_each(spent, "starved", decoded):
            told("analysed", frame.number + 1)
            yield frame

    def encode() -> None:
        nonlocal written
        for frame in finished:
            with timed(spent, "encode"):
                writer.write(frame)
            written += 1
            told("encoded", written)

    if done:
        told("encoded", done)
    decoding, encoding = (
        threading.Thread(target=guard(task), name=task.__name__, daemon=True) for task in (decode, encode)
    )
    with _stopping(stop, decoding):  # which goes on while the output is opened
        writer = open_writer()
        # The writer is left last: it must not be closed under a thread that still writes.
        with writer, _stopping(stop, encoding):
            try:
                for number, frame in enumerate(denoise(analysed()), done + 1):
                    told("denoised", number)
                    with timed(spent, "blocked"):
                        finished.put(frame)
                    if stop.is_set():
                        break
            except DeviceFaultError:
                # What the device had finished is kept, and not to be done again.
                finished.end()
                encoding.join()
                raise
            finished.end()
            encoding.join()
            if errors:
                raise errors[0]
    if written != (read if wanted is None else wanted):
        of = f"{read} read" if wanted is None else f"{wanted} wanted"
        raise VerificationError(f"{written} frames were written of {of}; nothing was published")
    return read, writer


class _Belt:
    """A bounded queue between two threads that lets go on both sides when the run stops."""

    _END = object()

    def __init__(self, stop: threading.Event) -> None:
        self._items: queue.Queue[Any] = queue.Queue(QUEUED_FRAMES)
        self._stop = stop

    def put(self, item: Any) -> None:
        while not self._stop.is_set():
            try:
                self._items.put(item, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue

    def end(self) -> None:
        self.put(self._END)

    def __iter__(self) -> Iterator[Frame]:
        while not self._stop.is_set():
            try:
                item = self._items.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if item is self._END:
                return
            yield item


@contextmanager
def _stopping(stop: threading.Event, thread: threading.Thread) -> Iterator[None]:
    """A thread runs inside, and whatever happens there, it has ended when the block is left."""
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _maker(plan: Plan) -> Callable[[Path, int], Writer]:
    """What makes the writer of a piece."""
    output = plan.request.output
    assert output is not None

    def images(path: Path, first: int) -> Writer:
        path.mkdir()
        return SequenceWriter(path, image_names(output, plan.info.codec), plan.info, first + 1)

    def video(path: Path, first: int) -> Writer:
        assert plan.encoder is not None
        return ChunkWriter(path, plan.info, plan.encoder)

    return images if writes_images(output) else video


Spans = list[tuple[int, int | None, tuple[int, ...]]]


def _work(plan: Plan, folder: WorkFolder, kept: list[Piece], spans: Spans, opened: Opened | None) -> "Work | None":
    """What the engine is to do, None where frames pass through unchanged."""
    if plan.settings is None:
        return None
    # The engine loads torch, which a run that changes nothing does not need.
    from vnlsdenoise.engine.work import Span, Work
    from vnlsdenoise.noise import NoiseModel

    upper, lower = (
        {first: NoiseModel.from_json(noise) for piece in kept for first, noise in piece.measured[field]}
        for field in (0, 1)
    )
    return Work([Span(*span) for span in spans], (upper, lower), opened, keep_sources=folder.faults() > 0)


def _noted(work: "Work | None", kept: list[Piece]) -> Callable[[int, int], dict[str, Any]]:
    """What is noted with a piece, of its first frame and the one after it."""
    noted = [{first for piece in kept for first, _ in piece.measured[field]} for field in (0, 1)]

    def note(first: int, end: int) -> dict[str, Any]:
        if work is None:
            return {}
        measured = []
        for known, found in zip(noted, work.measured, strict=True):
            fresh = {number: noise for number, noise in dict(found).items() if number not in known}
            known |= fresh.keys()
            measured.append(tuple((number, noise.to_json()) for number, noise in sorted(fresh.items())))
        unsound = sorted({number for number in list(work.unsound) if first <= number < end})
        return {"measured": tuple(measured), "unsound": tuple(unsound)}

    return note


def _denoised(frames: Iterable[Frame], plan: Plan, work: "Work | None", spans: Spans) -> Iterable[Frame]:
    if plan.settings is None or work is None:
        return (
            frame
            for frame in frames
            if any(first <= frame.number and (end is None or frame.number < end) for first, end, _ in spans)
        )
    from vnlsdenoise.engine import local

    settings, window = plan.settings, plan.window
    return within(window, frames, lambda shown: local.denoise_frames(shown, plan.work_format, settings, work))
