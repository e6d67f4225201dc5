"""Carry out a plan: make the pieces that are missing, join them, verify, publish, and report."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from vnlsdenoise.errors import (
    ContinuableError,
    DeviceFaultError,
    InputError,
    OutputError,
    UsageError,
    VerificationError,
    VnlsError,
)
from vnlsdenoise.job.assemble import assemble_video, gather_images
from vnlsdenoise.job.identity import check_unchanged, identify
from vnlsdenoise.job.lock import hold
from vnlsdenoise.job.manifest import differences, manifest_of
from vnlsdenoise.job.passing import Opened, Progress, make_pieces
from vnlsdenoise.job.piping import run_into_pipe
from vnlsdenoise.job.plan import Plan, writes_images
from vnlsdenoise.job.publish import check_space, publish_file, publish_folder, remove_leftovers
from vnlsdenoise.job.report import Report, check_report_place, report_of, write_report
from vnlsdenoise.job.space import same_disk
from vnlsdenoise.job.trial import try_first_second, worth_trying
from vnlsdenoise.job.verify import verify_file
from vnlsdenoise.job.workdir import Piece, WorkFolder
from vnlsdenoise.job.worker import go_on_elsewhere
from vnlsdenoise.video.damage import Damage
from vnlsdenoise.video.pipes import PIPE
from vnlsdenoise.video.sequences import image_names, list_images, output_folder
from vnlsdenoise.video.write import Written

Make = Callable[[Plan, WorkFolder, list[Piece], Progress | None, Opened | None], None]
"""Makes the pieces of a plan that are not kept, as `make_pieces` does."""
MOST_FAULTS = 3  # of the device at one place, after which the run ends


def run(
    plan: Plan,
    progress: Progress | None = None,
    opened: Opened | None = None,
    say: Callable[[str], None] | None = None,
    make: Make | None = None,
) -> Report:
    """Denoise as planned; calls `progress(stage, frames)` from several threads as frames come through the stages.

    opened: told of every scene once its noise is known, before its length is. say: told in words what becomes of an
    earlier run's work. make: what makes the missing pieces, None for this process.

    The output is complete under its name when this returns. Damage of the input is in the report, not raised. Whatever
    interrupts it, what is finished is kept in a work folder, from which the next run with an equal plan goes on. Raises
    the errors of reading, denoising and writing, and VerificationError; then nothing stands under the final name.
    ContinuableError in place of KeyboardInterrupt and its like where something is kept.
    """
    output = plan.request.output
    if output is None:
        raise ValueError("a plan without an output cannot be run")
    if output == PIPE:
        return run_into_pipe(plan, progress, opened)
    # Through a link the file is written that it leads to.
    output = output.resolve() if output.is_symlink() else output
    plan = replace(plan, request=replace(plan.request, output=output))
    images = writes_images(output)
    if plan.request.report is not None:
        check_report_place(plan.request.report, output)
    beside = WorkFolder.of(output, None, images).path.parent
    folder = WorkFolder.of(output, plan.request.workdir, images)
    if plan.request.workdir is not None:
        _check_workdir(plan.request.workdir)
    _check_room(plan, output, folder)
    try:
        beside.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {error.filename}; {error.strerror}; choose another place") from error
    with _locked(output, images):
        if images:
            remove_leftovers(output_folder(output), image_names(output))
        else:
            remove_leftovers(output)
        if plan.request.workdir is None:
            folder = WorkFolder.of(output, None, images)  # The folder of the images may have been made by now.
            folder.take_over(WorkFolder.before(output, images))
        return _Job(plan, output, folder, say or (lambda _: None), make).run(progress, opened)


def _check_workdir(within: Path) -> None:
    """Raise OutputError where nobody may look into the folder of work folders, or for it."""
    try:
        closed = within.exists() and not os.access(within, os.R_OK | os.X_OK)
    except OSError as error:
        raise OutputError(f"cannot look for --workdir {within}; {error.strerror}; choose another folder") from error
    if closed:
        raise OutputError(f"cannot look into --workdir {within}; Permission denied; choose another folder")


@contextmanager
def _locked(output: Path, images: bool) -> Iterator[None]:
    """Hold the lock of an output, beside it wherever the work folder is: two runs must not write one output.

    The lock of images is in their folder, or beside that where it does not exist. Who began before it did is seen by
    who begins later: whoever finds it looks beside it after that, and whoever does not looks again under the lock.
    """
    before, own = WorkFolder.before(output, images).lock, WorkFolder.of(output, None, images).lock
    with ExitStack() as held:
        held.enter_context(hold(before, output, make=own == before))
        if own == before:
            own = WorkFolder.of(output, None, images).lock
        if own != before:
            held.enter_context(hold(own, output))
        yield


def _check_room(plan: Plan, output: Path, folder: WorkFolder) -> None:
    """Raise OutputError where not even the least is free: once for the pieces, and once for the result."""
    places = WorkFolder.places(output, plan.request.workdir, writes_images(output))
    least, there = plan.space.least, sum(place.size() for place in places)
    if same_disk(output, folder.path):
        check_space(output, max(0, 2 * least - there))
    else:
        check_space(output, least)
        check_space(folder.path, max(0, least - there))


class _Job:
    """One run, under the lock of its output."""

    def __init__(
        self, plan: Plan, output: Path, folder: WorkFolder, say: Callable[[str], None], make: Make | None
    ) -> None:
        self._make = make
        self._plan, self._output, self._folder, self._say = plan, output, folder, say
        self._identity = identify(plan.request.input) if plan.pipe is None else {}
        self._seconds: dict[str, float] = {}
        self._done_before = 0

    def run(self, progress: Progress | None, opened: Opened | None) -> Report:
        started = time.monotonic()
        kept = self._kept()
        try:
            if kept is None:
                kept = []
                if worth_trying(self._plan):
                    foreseen = self._timed("trial", lambda: try_first_second(self._plan))
                    self._warn_of_room(foreseen)
                self._folder.begin(manifest_of(self._plan, self._identity))
            self._done_before = sum(piece.frames for piece in kept)
            told = self._folder.reading()
            if told is None or _gaps(kept) or told["frames"] != self._done_before:
                self._timed("denoise", lambda: self._make_pieces(kept, progress, opened))
            elif progress is not None:
                progress("encoded", self._done_before)
            report, written, files = self._published()
        except BaseException as error:
            raise self._failed(error) from error
        self._seconds["all"] = time.monotonic() - started
        report = self._reported(report, written, files)
        if not self._plan.request.keep_workdir:
            self._folder.remove()
        return report

    def _timed(self, what: str, work: Callable[[], Any]) -> Any:
        started = time.monotonic()
        try:
            return work()
        finally:
            self._seconds[what] = round(time.monotonic() - started, 3)

    # --- what is there already

    def _kept(self) -> list[Piece] | None:
        """The pieces of an earlier run of the same job, None where a new one begins."""
        folder, how = self._folder, self._plan.request.resume
        if self._plan.pipe is not None:
            if how == "require":
                raise UsageError("--resume require: what comes through a pipe is gone; save it to a file first")
            return None
        found = folder.manifest()
        if found is None or how == "off":
            if how == "require":
                raise UsageError(
                    f"--resume require: there is no unfinished work for {self._output} in {folder.path}; "
                    "leave --resume out to begin"
                )
            if how != "off" and folder.is_unreadable():
                self._say(
                    f"the note of earlier work in {folder.path} was changed or is of another version; it begins anew"
                )
            return None
        changed = differences(found, manifest_of(self._plan, self._identity))
        if changed:
            told = f"earlier work for {self._output} cannot be gone on with: {'; '.join(changed)}"
            if how == "require":
                raise UsageError(f"--resume require: {told}; leave --resume out to begin anew")
            self._say(f"{told}; it begins anew")
            return None
        pieces, wrong = folder.sound_pieces()
        for text in wrong:
            self._say(text)
        cores, exact = len(os.sched_getaffinity(0)), self._plan.encoder is None or self._plan.encoder.exact
        if found["cores"] != cores and not exact:
            self._say(
                f"began with {found['cores']} cores and goes on with {cores}: encoders make other bytes there; "
                "the frames are whole all the same"
            )
        if pieces:
            frames = sum(piece.frames for piece in pieces)
            self._say(f"goes on where it was interrupted: {frames} frames are finished in {folder.path}")
        return pieces

    def _warn_of_room(self, foreseen: int) -> None:
        """foreseen: bytes of the whole if all of it is as the first second, not denoised, is."""
        need = 2 * foreseen if same_disk(self._output, self._folder.path) else foreseen
        free = shutil.disk_usage(self._output.absolute().parent).free
        if need > free > 0:
            self._say(
                f"up to {need / 1e6:.0f} MB may be needed on the disk, and {free / 1e6:.0f} MB are free; "
                "if it runs full, what is finished is kept"
            )

    # --- the work

    def _make_pieces(self, kept: list[Piece], progress: Progress | None, opened: Opened | None) -> None:
        if self._make is not None:
            self._make(self._plan, self._folder, kept, progress, opened)
            return
        try:
            make_pieces(self._plan, self._folder, kept, progress, opened)
            return
        except DeviceFaultError as error:
            if self._plan.pipe is not None:
                raise  # Another process has no way to what was read.
            fault = error
        while True:
            # The device is lost to this process, and may be found again by another one.
            first = _ends(self._folder.pieces())[0]
            if self._folder.fail_at(first) >= MOST_FAULTS:
                raise DeviceFaultError(f"{fault} (it failed {MOST_FAULTS} times from frame {first} on)") from fault
            self._say(f"{fault}; another process goes on from frame {first}")
            try:
                go_on_elsewhere(self._folder.path, progress)
                return
            except DeviceFaultError as error:
                fault = error

    def _published(self) -> tuple[Report, Written | None, list[Path]]:
        """The output under its name, complete and verified."""
        plan, folder = self._plan, self._folder
        pieces, told = folder.pieces(), folder.reading()
        if told is None or _gaps(pieces) or sum(piece.frames for piece in pieces) != told["frames"]:
            raise VerificationError(f"pieces of {self._output} went missing in {folder.path}; run it again")
        self._check_input()
        written: Written | None = None
        warnings = list(told["warnings"])
        if writes_images(self._output):
            target = output_folder(self._output)
            with publish_folder(target, image_names(self._output)) as temporary:
                self._timed("assemble", lambda: gather_images(temporary, folder, pieces))
                names = [image.name for image in list_images(temporary, "ignore")] if told["frames"] else []
                if len(names) != told["frames"]:
                    raise VerificationError(
                        f"{len(names)} images of {self._output} were written, expected {told['frames']}; "
                        "nothing was published"
                    )
                folder.note_publishing(temporary / name for name in names)
            files = [target / name for name in names]
        else:
            assert plan.encoder is not None
            with publish_file(self._output) as temporary:
                writer = self._timed("assemble", lambda: assemble_video(temporary, plan, folder, pieces))
                written, choice = writer.written, plan.encoder
                self._check_input()
                self._timed("verify", lambda: verify_file(temporary, self._output, plan.info, choice, written))
                folder.note_publishing([temporary])
            warnings += writer.warnings
            files = [self._output]
        unsound = tuple(number for piece in pieces for number in piece.unsound)
        if unsound:
            warnings.append(f"{len(unsound)} frame(s) came out as no picture twice and were taken over as they are")
        report = Report(
            self._output,
            told["frames"],
            Damage(**{**told["damage"], "frames": [tuple(run) for run in told["damage"]["frames"]]}),
            tuple(dict.fromkeys(warnings)),
            _scenes(told["scenes"]),
            self._done_before,
            unsound,
        )
        return report, written, files

    def _check_input(self) -> None:
        if self._plan.pipe is None:
            check_unchanged(self._plan.request.input, self._identity)

    def _reported(self, report: Report, written: Written | None, files: list[Path]) -> Report:
        seconds = {name: round(value, 3) for name, value in self._seconds.items()}
        report = replace(report, seconds=seconds)
        report = replace(report, facts=report_of(self._plan, self._identity, report, written, files))
        if self._plan.request.report is not None:
            write_report(self._plan.request.report, report.facts, self._output)
        return report

    # --- what goes wrong

    def _failed(self, error: BaseException) -> BaseException:
        """The error for the user, once it is settled what is kept."""
        if isinstance(error, OSError) and self._folder.path in Path(str(error.filename)).parents:
            error = OutputError(
                f"cannot write {error.filename}; {error.strerror}; make room there or choose another --workdir"
            )
        frames = 0
        if self._plan.pipe is None and not isinstance(error, VerificationError) and self._folder.manifest() is not None:
            with suppress(OSError, ValueError):
                frames = sum(piece.frames for piece in self._folder.pieces())
        if not frames:
            if not self._plan.request.keep_workdir:
                with suppress(OSError):
                    self._folder.remove()
            return error
        told = f"{frames} finished frames are kept; the same call goes on from there"
        if not isinstance(error, Exception):
            return ContinuableError(f"interrupted; {told}, or vnlsdenoise resume {self._folder.path}")
        if isinstance(error, VnlsError) and not isinstance(error, (UsageError, InputError, ContinuableError)):
            return type(error)(f"{error} ({told})")
        return error


def _ends(pieces: list[Piece]) -> list[int]:
    """Numbers of frames after which a piece is missing, but for the last."""
    at, found = 0, []
    for piece in pieces:
        if piece.first > at:
            found.append(at)
        at = piece.end
    return [*found, at]


def _gaps(pieces: list[Piece]) -> bool:
    return len(_ends(pieces)) > 1


def _scenes(told: list[dict[str, Any]]) -> tuple[Any, ...]:
    if not told:
        return ()
    # This loads torch, which a run that changes nothing does not need.
    from vnlsdenoise.classic.scenewise import Scene
    from vnlsdenoise.noise import NoiseModel

    return tuple(Scene(s["first"], s["frames"], NoiseModel.from_json(s["noise"])) for s in told)
