"""One input from its plan to its summary, as the command line shows it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vnlsdenoise.cli.progress import Place, Progress, Style, chosen_style, duration
from vnlsdenoise.cli.talk import talk

from vnlsdenoise.errors import OutputError, UsageError

if TYPE_CHECKING:
    from vnlsdenoise.job.fleet import FilmFleet
    from vnlsdenoise.job.plan import Plan
    from vnlsdenoise.job.request import Request

_LONG_ENOUGH = 10.0  # seconds of a run that tells how fast this machine is


@dataclass(frozen=True)
class Choices:
    """What the user wants to see, and to happen to outputs that exist."""

    progress: Style = "auto"
    overwrite: bool = False
    keep: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What was done, or with a dry run would be.

    summary: for JSON; lines: for a reader. damage: of the input, told. report: that of the finished output.
    """

    summary: dict[str, Any]
    lines: tuple[str, ...] = ()
    damage: str = ""
    report: dict[str, Any] = field(default_factory=dict)


def carry_out(
    request: "Request",
    choices: Choices,
    place: Place | None = None,
    fleet: "FilmFleet | None" = None,
    workers: int | None = None,
) -> Outcome | None:
    """Do what is asked of one input; None where its output is there already. place: among several inputs. fleet: of
    workers that do it, None for this process. workers: how many share it, or would with a dry run.

    Raises what `make_plan` and `run` raise, and UsageError for an output that must not be touched.
    """
    from vnlsdenoise.job.plan import make_plan
    from vnlsdenoise.job.residual import check_residual

    if is_there(request, choices, many=place is not None):
        return None
    elsewhere = None if fleet is None else fleet.device
    plan = make_plan(request, estimate=choices.dry_run and fleet is None, elsewhere=elsewhere)
    check_residual(plan, choices.overwrite)
    if workers is not None:
        from vnlsdenoise.job.sharing import planned_sharing

        plan = replace(plan, sharing=planned_sharing(plan, workers))
    if choices.dry_run:
        lines = (*plan.lines(), *(f"warning:  {text}" for text in plan.warnings))
        return Outcome(plan.as_dict(), (*lines, "") if place else lines)
    for line in plan.lines():
        talk.note(line, least=1)
    for text in plan.warnings:
        talk.warn(f"{place or ''}{text}")
    if request.new_folders and request.output is not None:
        make_folder(request.output.parent)
    return carry_out_plan(plan, choices.progress, place, fleet)


def make_folder(folder: Path) -> None:
    """Make a folder and those on the way to it; raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}; {error.strerror}; choose another place") from error


def is_there(request: "Request", choices: Choices, many: bool) -> bool:
    """Whether an existing output ends the run well; raises UsageError where it must not be touched."""
    from vnlsdenoise.job.finished import is_finished
    from vnlsdenoise.job.plan import check_output, existing_output, writes_images
    from vnlsdenoise.job.workdir import WorkFolder

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
    images = writes_images(request.output)
    if any(place.has_published(found) for place in WorkFolder.places(request.output, request.workdir, images)):
        return False  # A run was interrupted between giving it its name and ending.
    if choices.keep:
        talk.note(f"output {found} exists; kept, as -n asks")
        return True
    raise UsageError(
        f"output {found} exists; it would be overwritten; give -y to overwrite, -n to keep it, or another name"
    )


def report_place(report: str | None, output: Path | None) -> Path | None:
    """The file for the report of an output, None for none. report: as the user gave it."""
    if output is None or str(output) == "-" or report in ("-", "none"):
        return None
    from vnlsdenoise.job.report import usual_report

    return usual_report(output) if report is None else Path(report)


def carry_out_plan(plan: "Plan", style: Style, place: Place | None = None, fleet: "FilmFleet | None" = None) -> Outcome:
    """Run a plan, by a fleet if there is one, and tell of it."""
    from vnlsdenoise.job import run
    from vnlsdenoise.job.pace import Pace, Steps, steps_of
    from vnlsdenoise.job.report import summary_of
    from vnlsdenoise.job.residual import write_residual
    from vnlsdenoise.job.speed import remember

    if chosen_style(style) not in ("json", "none"):
        talk.note(f"{place or ''}{plan.in_one_line()}")
    # Of frames that several workers have in flight only those that are done tell anything.
    steps = steps_of(plan.work_format, plan.settings) if fleet is None else Steps()
    pace = Pace(plan.info.frames, steps)
    facts = {**plan.start_facts(), "seconds": plan.predicted_seconds}
    with Progress(style, pace, facts, place) as progress:

        def opened(scene: Any) -> None:
            sigma = [round(value, 3) for value in scene.noise.sigma]
            progress.opened(scene.first, sigma=sigma, signal_dependent=scene.noise.signal_dependent)

        def say(text: str) -> None:
            talk.note(f"{place or ''}{text}")
            progress.event("note", text=text)

        report = run.run(plan, progress, opened, say, None if fleet is None else fleet.make_pieces)
        for text in report.warnings:
            progress.event("warning", text=text)
    seconds = report.seconds.get("denoise", 0.0)
    if plan.settings is not None and seconds > _LONG_ENOUGH and not report.kept and fleet is None:
        remember(plan.work_format, plan.settings, report.frames, seconds)
    for text in report.warnings:
        if text not in plan.warnings:
            talk.warn(f"{place or ''}{text}")
    if plan.request.residual is not None and (clipped := write_residual(plan)):
        talk.warn(f"{clipped} sample(s) of {plan.request.residual} had no room on mid grey and are clipped")
    for scene in report.scenes:
        talk.note(f"scene at frame {scene.first}: {scene.frames} frames, {scene.noise.describe()}", least=1)
    written = f"{report.frames} frames written to {report.output} in {duration(report.seconds['all'])}"
    # A bar shows that it is full; a log would end with whichever line of progress came last.
    talk.note(f"{place or ''}{written}", least=0 if chosen_style(style) == "lines" else 1)
    damage = damage_told(report.output, str(report.damage)) if report.damage else ""
    return Outcome(summary_of(plan, report), (), damage, report.facts)


def damage_told(output: object, damage: str) -> str:
    """What is said of a finished output of a damaged input."""
    return f"{output} is complete for what the input held, but the input is damaged: {damage}; check the input"
