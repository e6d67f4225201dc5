"""Carry out a plan: decode, denoise and encode at the same time, verify, and only then publish."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vnlsdenoise.errors import VerificationError
from vnlsdenoise.job.pace import Stage
from vnlsdenoise.job.plan import Plan, writes_images
from vnlsdenoise.job.publish import check_space, publish_file, publish_folder
from vnlsdenoise.job.trial import try_first_second, worth_trying
from vnlsdenoise.job.verify import verify_file
from vnlsdenoise.video.damage import Damage
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.open import open_reader
from vnlsdenoise.video.pipes import PIPE, PipeSink
from vnlsdenoise.video.sequences import SequenceWriter, image_names, list_images, output_folder
from vnlsdenoise.video.write import VideoWriter

if TYPE_CHECKING:
    from vnlsdenoise.classic.scenewise import Scene

QUEUED_FRAMES = 8
_POLL_SECONDS = 0.1
Writer = TypeVar("Writer", bound=VideoWriter | SequenceWriter)
# The result is never foreseen exactly; these shares of the raw or the input's size are what it takes at the very least.
_LEAST_EXACT_SHARE, _LEAST_LOSSY_SHARE = 0.2, 0.05


@dataclass(frozen=True)
class Report:
    """What a finished run did."""

    output: Path
    frames: int
    damage: Damage
    warnings: tuple[str, ...]
    scenes: tuple["Scene", ...] = ()


def run(
    plan: Plan,
    progress: Callable[[Stage, int], None] | None = None,
    opened: Callable[["Scene"], None] | None = None,
) -> Report:
    """Denoise as planned; calls `progress(stage, frames)` from several threads as frames come through the stages.

    opened: told of every scene once its noise is known, before its length is.

    The output is complete under its name when this returns. Damage of the input is in the report, not raised. Raises
    the errors of reading, denoising and writing, and VerificationError; then nothing stands under the final name.
    """
    output = plan.request.output
    if output is None:
        raise ValueError("a plan without an output cannot be run")
    if output == PIPE:
        return _run_into_pipe(plan, progress, opened)
    check_space(output, _least_bytes(plan))
    if writes_images(output):
        return _run_images(plan, output, progress, opened)
    if worth_trying(plan):
        try_first_second(plan)
    with publish_file(output) as temporary:
        assert plan.encoder is not None
        open_writer = partial(VideoWriter, temporary, plan.info, plan.encoder, plan.taken_along)
        report, writer = _pump(plan, output, open_writer, progress, opened)
        verify_file(temporary, output, plan.info, plan.encoder, writer.written)
    return report


def _run_images(
    plan: Plan,
    output: Path,
    progress: Callable[[Stage, int], None] | None,
    opened: Callable[["Scene"], None] | None,
) -> Report:
    with publish_folder(output_folder(output)) as temporary:
        open_writer = partial(SequenceWriter, temporary, image_names(output, plan.info.codec), plan.info)
        report, _ = _pump(plan, output, open_writer, progress, opened)
        found = len(list_images(temporary, "ignore")) if report.frames else 0
        if found != report.frames:
            raise VerificationError(
                f"{found} images of {output} were written, expected {report.frames}; nothing was published"
            )
    return report


def _run_into_pipe(
    plan: Plan,
    progress: Callable[[Stage, int], None] | None,
    opened: Callable[["Scene"], None] | None,
) -> Report:
    assert plan.encoder is not None
    stop = threading.Event() if plan.pipe is None else plan.pipe.stop
    aspect = plan.info.sample_aspect if plan.encoder.container != "rawvideo" else None
    open_writer = partial(VideoWriter, PIPE, plan.info, plan.encoder, sink=PipeSink(stop, aspect))
    return _pump(plan, PIPE, open_writer, progress, opened, stop)[0]


def _least_bytes(plan: Plan) -> int:
    if plan.encoder is not None and not plan.encoder.exact:
        return int(_LEAST_LOSSY_SHARE * plan.identity[0])
    samples = sum(height * width for height, width in plan.info.format.plane_shapes)
    return int(_LEAST_EXACT_SHARE * samples * (1 if plan.info.format.depth == 8 else 2) * (plan.info.frames or 0))


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


def _pump(
    plan: Plan,
    output: Path,
    open_writer: Callable[[], Writer],
    progress: Callable[[Stage, int], None] | None,
    opened: Callable[["Scene"], None] | None,
    stop: threading.Event | None = None,
) -> tuple[Report, Writer]:
    """Decode in one thread, denoise in this one, encode in a third; the first error of any stops all and is raised."""
    request = plan.request
    reader = plan.pipe or open_reader(
        request.input, request.interlaced, request.on_damage, request.decoder, plan.info, gaps=request.gaps
    )
    if stop is None:
        stop = threading.Event() if plan.pipe is None else plan.pipe.stop
    decoded, finished = _Belt(stop), _Belt(stop)
    errors: list[BaseException] = []
    counts = {"read": 0, "denoised": 0, "written": 0}
    told = progress or (lambda stage, frames: None)
    scenes: list[Scene] = []

    def guard(work: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)
                stop.set()

        return guarded

    def decode() -> None:
        for frame in reader:
            counts["read"] += 1
            decoded.put(frame)
            if stop.is_set():
                return
        decoded.end()

    def analysed() -> Iterator[Frame]:
        for index, frame in enumerate(decoded):
            told("analysed", index + 1)
            yield frame

    def encode() -> None:
        for frame in finished:
            writer.write(frame)
            counts["written"] += 1
            told("encoded", counts["written"])

    decoding, encoding = (
        threading.Thread(target=guard(work), name=work.__name__, daemon=True) for work in (decode, encode)
    )
    with _stopping(stop, decoding):  # which goes on while the output is opened
        writer = open_writer()
        # The writer is left last: it must not be closed under a thread that still writes.
        with writer, _stopping(stop, encoding):
            for frame in _denoised(analysed(), plan, opened, scenes):
                counts["denoised"] += 1
                told("denoised", counts["denoised"])
                finished.put(frame)
                if stop.is_set():
                    break
            finished.end()
            encoding.join()
            if errors:
                raise errors[0]
    if counts["read"] != counts["written"]:
        raise VerificationError(
            f"{counts['written']} frames were written of {counts['read']} read; nothing was published"
        )
    warnings = tuple(dict.fromkeys((*plan.warnings, *reader.warnings, *writer.warnings)))
    return Report(output, counts["written"], reader.damage, warnings, tuple(scenes)), writer


@contextmanager
def _stopping(stop: threading.Event, thread: threading.Thread) -> Iterator[None]:
    """A thread runs inside, and whatever happens there, it has ended when the block is left."""
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _denoised(
    frames: Iterable[Frame], plan: Plan, opened: Callable[["Scene"], None] | None, scenes: list["Scene"]
) -> Iterable[Frame]:
    if plan.settings is None:
        return frames
    # The engine loads torch, which a run that changes nothing does not need.
    from vnlsdenoise.engine import local

    return local.denoise_frames(frames, plan.info.format, plan.settings, opened, scenes)
