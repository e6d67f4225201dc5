"""One input from its plan to its summary, as the command line shows it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vnlsdenoise.cli.progress import Place, Progress, Style, chosen_style, duration
from vnlsdenoise.cli.talk import talk

from vnlsdenoise.errors import OutputError, UsageError

if TYPE_CHECKING:
    from vnlsdenoise.job.plan import Plan, Request


@dataclass(frozen=True)
class Choices:
    """What the user wants to see, and to happen to outputs that exist."""

    progress: Style = "auto"
    overwrite: bool = False
    keep: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What was done, or with a dry run would be. summary: for JSON; lines: for a reader. damage: of the input, told."""

    summary: dict[str, Any]
    lines: tuple[str, ...] = ()
    damage: str = ""


def carry_out(request: "Request", choices: Choices, place: Place | None = None) -> Outcome | None:
    """Do what is asked of one input; None where its output is there already. place: among several inputs.

    Raises what `make_plan` and `run` raise, and UsageError for an output that must not be touched.
    """
    from vnlsdenoise.job.plan import make_plan

    if _is_there(request, choices, many=place is not None):
        return None
    plan = make_plan(request, estimate=choices.dry_run)
    if choices.dry_run:
        lines = (*plan.lines(), *(f"warning:  {text}" for text in plan.warnings))
        return Outcome(plan.as_dict(), (*lines, "") if place else lines)
    for line in plan.lines():
        talk.note(line, least=1)
    for text in plan.warnings:
        talk.warn(f"{place or ''}{text}")
    if request.new_folders and request.output is not None:
        make_folder(request.output.parent)
    return _run(plan, choices, place)


def make_folder(folder: Path) -> None:
    """Make a folder and those on the way to it; raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}; {error.strerror}; choose another place") from error


def _is_there(request: "Request", choices: Choices, many: bool) -> bool:
    """Whether an existing output ends the run well; raises UsageError where it must not be touched."""
    from vnlsdenoise.job.finished import is_finished
    from vnlsdenoise.job.plan import check_output, existing_output

    if request.output is None:
        return False
    check_output(request.input, request.output, request.new_folders)
    found = existing_output(request.output)
    if found is None or choices.dry_run:
        return False
    if many and is_finished(request):
        talk.note(f"{found} is finished and verified; skipped", least=1)
        return True
    if choices.overwrite:
        return False
    if choices.keep:
        talk.note(f"output {found} exists; kept, as -n asks")
        return True
    raise UsageError(
        f"output {found} exists; it would be overwritten; give -y to overwrite, -n to keep it, or another name"
    )


def _run(plan: "Plan", choices: Choices, place: Place | None) -> Outcome:
    from vnlsdenoise.job import run
    from vnlsdenoise.job.pace import Pace, steps_of
    from vnlsdenoise.job.speed import remember

    _say_start(plan, choices.progress, place)
    facts = {**plan.start_facts(), "seconds": plan.predicted_seconds}
    begin = time.monotonic()
    with Progress(
        choices.progress, Pace(plan.info.frames, steps_of(plan.info.format, plan.settings)), facts, place
    ) as progress:

        def opened(scene: Any) -> None:
            sigma = [round(value, 3) for value in scene.noise.sigma]
            progress.opened(scene.first, sigma=sigma, signal_dependent=scene.noise.signal_dependent)

        report = run.run(plan, progress, opened)
        for text in report.warnings:
            progress.event("warning", text=text)
    seconds = time.monotonic() - begin
    if plan.settings is not None and seconds > _LONG_ENOUGH:
        remember(plan.info.format, plan.settings, report.frames, seconds)
    for text in report.warnings:
        if text not in plan.warnings:
            talk.warn(f"{place or ''}{text}")
    for scene in report.scenes:
        talk.note(f"scene at frame {scene.first}: {scene.frames} frames, {scene.noise.describe()}", least=1)
    talk.note(f"{report.frames} frames written to {report.output} in {duration(seconds)}", least=1)
    summary = {
        **plan.as_dict(),
        "frames": report.frames,
        "scenes": [{"first": s.first, "frames": s.frames, "noise": s.noise.as_dict()} for s in report.scenes],
        "damage": vars(report.damage),
        "warnings": list(report.warnings),
        "seconds": round(seconds, 3),
    }
    damage = (
        f"{report.output} is complete for what the input held, but the input is damaged: {report.damage}; "
        "check the input"
        if report.damage
        else ""
    )
    return Outcome(summary, (), damage)


_LONG_ENOUGH = 10.0  # seconds of a run that tells how fast this machine is


def _say_start(plan: "Plan", style: Style, place: Place | None) -> None:
    """One line before the work: what goes in, what is done to it, where, and how long that will take."""
    if chosen_style(style) in ("json", "none"):
        return
    talk.note(f"{place or ''}{plan.in_one_line()}")
