"""`vnlsdenoise denoise`: the default command."""

import json
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from vnlsdenoise.cli.batch import one_by_one, run_all
from vnlsdenoise.cli.carry_out import Choices, Outcome, carry_out, report_place
from vnlsdenoise.cli.config import dumped
from vnlsdenoise.cli.fleet import films_of, fleet_of, workers_meant
from vnlsdenoise.cli.options import (
    FileName,
    Sigma,
    Size,
    batch_options,
    config_options,
    fleet_options,
    key_values,
    part_of,
    part_options,
    pipe_options,
    raw_video,
    typed,
)
from vnlsdenoise.cli.progress import Overall, Place, Style
from vnlsdenoise.cli.talk import talk

from vnlsdenoise.errors import DamagedInputError, UsageError

if TYPE_CHECKING:
    from vnlsdenoise.job.request import Request


# The default command's options are set by VNLSDENOISE_PRESET and so on, without its name in between.
@click.command(context_settings={"auto_envvar_prefix": "VNLSDENOISE"})
@click.argument("inputs", metavar="INPUT...", nargs=-1, type=FileName(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=FileName(),
    help="File, folder, pattern out_%06d.png, or - for y4m on stdout. Required unless --dry-run.",
)
@click.option(
    "-s", "--sigma", type=Sigma(), default="auto", show_default=True, help="Noise deviation, on the scale 0 to 255."
)
@click.option(
    "--strength",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    help="Multiplies the noise level; 0 changes nothing.",
)
@click.option(
    "--luma",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    help="Multiplies the noise level of the brightness.",
)
@click.option(
    "--chroma",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    help="Multiplies the noise level of the colour.",
)
@click.option(
    "--noise-model",
    type=click.Choice(["auto", "white"]),
    default="auto",
    show_default=True,
    help="Noise as it is measured, or one deviation a plane; a given --sigma is white.",
)
@click.option(
    "--keep-grain",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of what was removed that is put back; 1 changes nothing.",
)
@click.option(
    "--method",
    type=click.Choice(["classic", "learned", "auto"]),
    default="classic",
    show_default=True,
    help="The training-free denoiser, or a network behind it; auto: the network where, on a GPU, no table of quality "
    "shows it worse (nowhere yet).",
)
@click.option(
    "--weights",
    default="small",
    show_default=True,
    help="Of the network of --method learned: small, base (slower, better on most noise), or a .safetensors file.",
)
@click.option(
    "--preset",
    type=click.Choice(["draft", "fast", "balanced", "best"]),
    help="Speed or quality.  [default: balanced; before a network what it was trained on: small on fast, base on "
    "balanced]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--max-memory",
    type=Size(),
    help="Ceiling of device memory, on the CPU of the process; never changes the result.  [default: what is free]",
)
@click.option("--codec", help="h264, hevc, vp9, av1, prores, ffv1 or an FFmpeg encoder.  [default: keeps the depth]")
@click.option("--crf", type=click.FloatRange(0, 63), help="Quality of the encoder, smaller is better.")
@click.option(
    "--encoder-opt", multiple=True, metavar="K=V", callback=key_values, help="An option of the encoder; repeatable."
)
@click.option("--pix-fmt", help="FFmpeg's pixel format of the output.")
@click.option("--lossless", is_flag=True, help="Keep every sample: FFV1 in .mkv.")
@click.option(
    "--streams",
    type=click.Choice(["copy", "video"]),
    default="copy",
    show_default=True,
    help="Take along sound, subtitles and tags.",
)
@click.option(
    "--video-stream",
    type=click.IntRange(min=0),
    help="Number of the stream to denoise, as info shows it.  [default: the default or largest one]",
)
@click.option("--strict", is_flag=True, help="Refuse where anything of the input would not be kept.")
@click.option(
    "--gaps",
    type=click.Choice(["error", "ignore"]),
    default="error",
    show_default=True,
    help="Images whose numbers have gaps: stop, or take them as they are.",
)
@click.option(
    "--scene-cuts",
    type=click.Choice(["auto", "off"]),
    default="auto",
    show_default=True,
    help="Never mix frames across a cut, or do not look for cuts.",
)
@click.option(
    "--duplicates",
    type=click.Choice(["auto", "off"]),
    default="auto",
    show_default=True,
    help="Do not use repeated frames as evidence, or do not look for them.",
)
@click.option(
    "--interlaced",
    type=click.Choice(["error", "fields", "ignore"]),
    default="error",
    show_default=True,
    help="Interlaced input: stop, denoise each field among its like, or take frames as they are.",
)
@click.option(
    "--on-damage",
    type=click.Choice(["conceal", "fail"]),
    default="conceal",
    show_default=True,
    help="How to take damaged frames.",
)
@click.option(
    "--decoder",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    help="Decode on the CPU, or on the GPU, which leaves the CPU to the encoder but does not notice damage in frames.",
)
@click.option(
    "--resume",
    type=click.Choice(["auto", "require", "off"]),
    default="auto",
    show_default=True,
    help="Finished pieces of an interrupted run of the same job: go on from them, refuse without, or begin anew.",
)
@click.option(
    "--workdir",
    type=FileName(path_type=Path, file_okay=False),
    help="Folder for the work folder.  [default: the output's, hidden]",
)
@click.option("--keep-workdir", is_flag=True, help="Leave the work folder there at the end.")
@click.option(
    "--piece",
    type=click.IntRange(1),
    default=250,
    show_default=True,
    help="Frames of a piece, which is never done twice; encoders start anew with each.",
)
@click.option(
    "--report",
    metavar="PATH|-|none",
    help="JSON report of what was done; - for stdout.  [default: OUTPUT.json]",
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "bar", "lines", "json", "none"]),
    default="auto",
    show_default=True,
    help="On stderr.",
)
@part_options
@batch_options
@pipe_options
@fleet_options
@config_options
@click.option("--dry-run", is_flag=True, help="Show the plan; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan or the summary as JSON on stdout.")
@click.option("-y", "overwrite", is_flag=True, help="Overwrite an existing output.")
@click.option("-n", "keep", is_flag=True, help="Keep an existing output and end well.")
@click.option("-v", "--verbose", count=True, help="Say more; twice for tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Say only errors.")
@click.pass_context
def denoise(
    context: click.Context,
    /,
    inputs: tuple[Path, ...],
    output: str | None,
    sigma: tuple[float, ...] | None,
    report: str | None,
    encoder_opt: dict[str, str],
    codec: str | None,
    crf: float | None,
    pix_fmt: str | None,
    lossless: bool,
    progress: Style,
    dry_run: bool,
    as_json: bool,
    overwrite: bool,
    keep: bool,
    verbose: int,
    quiet: bool,
    config: Path | None,
    print_config: bool,
    log_file: Path | None,
    recursive: bool,
    glob: str | None,
    container: str | None,
    keep_going: bool,
    **request: Any,
) -> None:
    """Denoise INPUT into OUTPUT, or every INPUT into a folder OUTPUT.

    INPUT is a video file, a sequence of images (folder, pattern in_%06d.png or glob), or - for video through stdin;
    several of them, and folders of films, go one after another into the folder OUTPUT under their own names.
    """
    talk.verbosity = -1 if quiet else verbose
    if print_config:
        click.echo(dumped(context))
        return
    if log_file is not None:
        talk.log_to(log_file)
        talk.note(f"vnlsdenoise {shlex.join(sys.argv[1:])}", least=3)
    if config is not None:
        talk.note(f"options: {config}", least=1)
    if not inputs:
        raise click.UsageError("Missing argument 'INPUT...'.", ctx=context)
    if output is None and not dry_run:
        raise UsageError("no output was given; nothing can be written; add -o OUTPUT, or --dry-run to see the plan")
    if overwrite and keep:
        raise UsageError("-y and -n exclude each other; choose one")
    if output == "-" and (as_json or report == "-"):
        raise UsageError("--json or --report - and output - both write to stdout; give another output, or leave it out")
    _refuse_what_would_be_idle(typed(context), output, request["method"])
    from vnlsdenoise.job.inputs import Task, left_out, tasks_of
    from vnlsdenoise.job.request import Request
    from vnlsdenoise.video.encoders import Encoding

    encoding = Encoding(codec, crf, encoder_opt, pix_fmt, lossless)
    raw = raw_video(request)
    request |= part_of(request)
    ray, devices = request.pop("ray"), request.pop("devices")
    tasks = tasks_of(inputs, output, recursive, glob, ".mkv" if lossless else container)
    for told in left_out(inputs, tasks is not None, recursive, glob, Path(output) if output else None):
        talk.warn(told)

    def requested(source: Path, wanted: Path | None) -> Request:
        many = tasks is not None
        place = report_place(report, wanted)
        return Request(source, wanted, sigma, encoding=encoding, raw=raw, new_folders=many, report=place, **request)

    style: Style = "none" if quiet and progress == "auto" else progress
    choices = Choices(style, overwrite, keep, dry_run)
    if tasks is None:
        one = requested(inputs[0], None if output is None else Path(output))
        with _workers(ray, devices, one, choices) as fleet:
            workers = workers_meant(ray, devices, one) if fleet is None else fleet.size
            outcome = carry_out(one, choices, fleet=fleet, workers=workers)
        if outcome is not None:
            if as_json:
                click.echo(json.dumps(outcome.summary))
            elif dry_run:
                click.echo("\n".join(outcome.lines))
            if report == "-" and not dry_run:
                click.echo(json.dumps(outcome.report))
            if outcome.damage:
                raise DamagedInputError(outcome.damage)
        return
    if request["residual"] is not None:
        raise UsageError("--residual is of one input; run them one by one")
    if report not in (None, "none"):
        raise UsageError("--report of several inputs stands beside each output; leave it out, or give none")
    fast = {"fail_fast": not keep_going, "as_json": as_json}
    with _workers(ray, devices, requested(tasks[0].source, tasks[0].output), choices) as fleet:
        if fleet is not None:
            run_all(
                tasks,
                films_of(tasks, lambda task: requested(task.source, task.output), choices, fleet),
                at_a_time=True,
                **fast,
            )
            return
    with Overall(choices.progress, len(tasks)) as overall:

        def work(task: Task) -> Outcome | None:
            place = Place(tasks.index(task) + 1, len(tasks), task.source.name)
            try:
                return carry_out(requested(task.source, task.output), choices, place)
            finally:
                overall.step()

        run_all(tasks, one_by_one(tasks, work), **fast)


def _refuse_what_would_be_idle(named: set[str], output: str | None, method: str) -> None:
    """Raise UsageError for options that mean nothing beside the others: what was meant would not happen."""
    if "weights" in named and method == "classic":
        raise UsageError("--weights is of a network, and the method is classic; add --method learned, or leave it out")
    if "pipe_format" in named and output != "-":
        raise UsageError("--pipe-format is of an output to stdout; give -o -, or leave it out")


def _workers(ray: str | None, devices: str | None, request: "Request", choices: Choices) -> Any:
    if ray is None and devices is None:
        return fleet_of(None, None, request)
    from vnlsdenoise.job.fleet import check_request

    check_request(request)
    return nullcontext() if choices.dry_run else fleet_of(ray, devices, request)
