"""Frames into stdout as they come: one pass, that nothing can be gone on with."""

import time
from collections.abc import Iterable

from vnlsdenoise.job.passing import Opened, Progress, pump
from vnlsdenoise.job.plan import Plan
from vnlsdenoise.job.reading import reader_of, stop_of
from vnlsdenoise.job.report import Report
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.pipes import PIPE, PipeSink
from vnlsdenoise.video.region import within
from vnlsdenoise.video.write import VideoWriter


def run_into_pipe(plan: Plan, progress: Progress | None = None, opened: Opened | None = None) -> Report:
    """Denoise as planned, into stdout; raises ReaderGoneError where nobody reads it any more."""
    started, choice = time.monotonic(), plan.encoder
    assert choice is not None
    reader = reader_of(plan)
    aspect = plan.info.sample_aspect if choice.container != "rawvideo" else None
    stop = stop_of(plan)
    sink = PipeSink(stop, aspect)
    work = None
    if plan.settings is not None:
        # The engine loads torch, which a run that changes nothing does not need.
        from vnlsdenoise.engine.work import Work

        work = Work(opened=opened)

    def denoise(frames: Iterable[Frame]) -> Iterable[Frame]:
        settings = plan.settings
        if settings is None:
            return frames
        from vnlsdenoise.engine import local

        return within(plan.window, frames, lambda shown: local.denoise_frames(shown, plan.work_format, settings, work))

    def open_writer() -> VideoWriter:
        return VideoWriter(PIPE, plan.info, choice, sink=sink)

    read, writer = pump(reader, denoise, open_writer, stop, progress)
    warnings = tuple(dict.fromkeys((*plan.warnings, *reader.warnings, *writer.warnings)))
    scenes = tuple(work.scenes) if work is not None else ()
    seconds = {"all": round(time.monotonic() - started, 3)}
    return Report(PIPE, read, reader.damage, warnings, scenes, seconds=seconds)
