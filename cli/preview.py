"""`vnlsdenoise preview`: some frames of a film under several settings, on a page."""

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from vnlsdenoise.cli.compare import refuse_existing
from vnlsdenoise.cli.denoise import denoise
from vnlsdenoise.cli.options import FileName, Rectangle, Time, typed
from vnlsdenoise.cli.progress import duration
from vnlsdenoise.cli.talk import talk

from vnlsdenoise.errors import UsageError

if TYPE_CHECKING:
    from vnlsdenoise.preview.make import Candidate
    from vnlsdenoise.video.frame import PlaneFormat
    from vnlsdenoise.video.probe import VideoInfo

# What is tried where nothing is asked for, the quickest first.
_USUAL = (
    "--preset fast",
    "--preset balanced",
    "--preset best",
    "--preset balanced --strength 0.7",
    "--preset balanced --strength 1.4",
    "--method learned",
)
_OF_A_CANDIDATE = {
    *("preset", "sigma", "strength", "luma", "chroma", "noise_model", "keep_grain", "method", "weights"),
    *("duplicates", "max_memory"),
}


@click.command()
@click.argument("input", type=FileName(path_type=Path))
@click.option(
    "-o",
    "--page",
    type=FileName(path_type=Path, dir_okay=False),
    default="preview.html",
    show_default=True,
    help="The page to write.",
)
@click.option(
    "--try",
    "wanted",
    multiple=True,
    metavar="OPTIONS",
    help="Options of denoise to try, such as '--preset best --strength 0.8'; repeatable.  [default: six usual ones]",
)
@click.option("--at", "moments", multiple=True, type=Time(), help="A moment to show; repeatable.  [default: --moments]")
@click.option(
    "--moments",
    "count",
    type=click.IntRange(1, 20),
    default=3,
    show_default=True,
    help="So many moments, evenly over the film.",
)
@click.option(
    "--length", type=click.IntRange(1, 64), default=7, show_default=True, help="Frames denoised at each moment."
)
@click.option("--roi", type=Rectangle(), help="The part that is shown.  [default: at most 480x272 in the middle]")
@click.option("--interlaced", type=click.Choice(["error", "fields", "ignore"]), default="error", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print noise, predictions and commands as JSON.")
@click.option("-y", "overwrite", is_flag=True, help="Overwrite an existing page.")
@click.option("-q", "--quiet", is_flag=True, help="Say only errors.")
def preview(
    input: Path,
    page: Path,
    wanted: tuple[str, ...],
    moments: tuple[Any, ...],
    count: int,
    length: int,
    roi: tuple[int, int, int, int] | None,
    interlaced: Any,
    device: str,
    as_json: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Denoise some frames of INPUT with several settings, and write a page to choose from before a long run.

    The page shows what each does, the measured noise, the time and memory it will take for the whole film, and its
    command line. It is there after the first setting, and grows.
    """
    talk.verbosity = -1 if quiet else 0
    refuse_existing(page, (input,), overwrite)
    begin = time.monotonic()
    from vnlsdenoise.job.publish import publish_text
    from vnlsdenoise.preview.make import Preview
    from vnlsdenoise.video.open import open_reader
    from vnlsdenoise.video.region import Region

    reader = open_reader(input, interlaced)
    candidates = [
        _candidate(shlex.split(text), reader.info.format, input, interlaced, device) for text in wanted or _USUAL
    ]
    shares = [_share(float(moment), reader.info) for moment in moments]
    made = Preview(
        reader,
        candidates,
        shares or [(place + 0.5) / count for place in range(count)],
        length,
        None if roi is None else Region(*roi),
    )
    for number, step in enumerate(made.steps()):
        publish_text(page, made.page().html())
        seconds = duration(time.monotonic() - begin)
        if number == 0:
            talk.note(f"first picture after {seconds}: open {page} in a browser; it grows")
        talk.note(f"{step}: {seconds}")
    if as_json:
        click.echo(json.dumps(made.as_dict()))


def _candidate(options: list[str], layout: "PlaneFormat", source: Path, interlaced: Any, device: str) -> "Candidate":
    """What options of denoise mean; raises UsageError for those that a preview has no use for."""
    from vnlsdenoise.job.plan import settings_of
    from vnlsdenoise.job.request import Request
    from vnlsdenoise.preview.make import Candidate

    context = denoise.make_context("preview --try", [*options, "--", str(source)])
    if other := sorted(typed(context) - _OF_A_CANDIDATE - {"inputs"}):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(_OF_A_CANDIDATE))
        raise UsageError(f"--try {shlex.join(options)}: {', '.join(other)} cannot be tried; expected {names}")
    chosen = {name: context.params[name] for name in _OF_A_CANDIDATE}
    request = Request(source, None, interlaced=interlaced, device=device, **chosen)
    settings = settings_of(request, layout)
    if settings is None:
        raise UsageError(f"--try {shlex.join(options)} changes nothing; there is nothing to show; leave it out")
    words = [word.removeprefix("--").removeprefix("preset ") for word in " ".join(options).split(" --")]
    more = [] if interlaced == "error" else ["--interlaced", interlaced]
    return Candidate(", ".join(words).replace("preset ", "") or "default", (*options, *more), settings)


def _share(seconds: float, info: "VideoInfo") -> float:
    if not info.duration or seconds > info.duration:
        ends = f"lasts {info.duration:.2f} s" if info.duration else "does not say how long it lasts"
        raise UsageError(f"--at {seconds:g}: {info.path} {ends}; give an earlier moment, or leave it out")
    return float(seconds / float(info.duration))
