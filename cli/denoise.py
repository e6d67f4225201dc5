"""`vnlsdenoise denoise`: the default command."""

import json
import re
from pathlib import Path
from typing import Any

import click
from vnlsdenoise.cli.progress import Progress, Style
from vnlsdenoise.cli.talk import talk

from vnlsdenoise.errors import DamagedInputError, UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)


class _Sigma(click.ParamType[Any]):
    name = "auto|F|Y,U,V"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...] | None:
        if value is None or isinstance(value, tuple) or value == "auto":
            return None if value == "auto" else value
        try:
            sigma = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            sigma = ()
        if len(sigma) not in (1, 3) or not all(0 <= part < 256 for part in sigma):
            self.fail(
                f"expected auto, a number from 0 to 255, or three separated by commas; got {value!r}.", param, ctx
            )
        return sigma


class _Size(click.ParamType[Any]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None or float(match[1]) == 0:
            self.fail(f"expected a size such as 4GiB or 512MiB; got {value!r}.", param, ctx)
        power = " kmgt".index(match[2].lower() or " ")
        base = 1000 if (match[3] or "").lower() == "b" and match[2] else 1024
        return int(float(match[1]) * base**power)


def _options(_: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    parsed = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"expected KEY=VALUE, got {pair!r}.", param=param)
        parsed[key] = value
    return parsed


# The default command's options are set by VNLSDENOISE_PRESET and so on, without its name in between.
@click.command(context_settings={"auto_envvar_prefix": "VNLSDENOISE"})
@click.argument("input", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File, folder or pattern out_%06d.png. Required unless --dry-run.",
)
@click.option(
    "-s", "--sigma", type=_Sigma(), default="auto", show_default=True, help="Noise deviation, on the scale 0 to 255."
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
    help="The training-free denoiser, or a network behind it (with preset fast); auto is classic.",
)
@click.option(
    "--weights",
    default="small",
    show_default=True,
    help="Of the network of --method learned: small, or a .safetensors file.",
)
@click.option(
    "--preset",
    type=click.Choice(["fast", "balanced", "best"]),
    default="balanced",
    show_default=True,
    help="Speed or quality.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--max-memory", type=_Size(), help="Ceiling of device memory, such as 4GiB; never changes the result.")
@click.option("--codec", help="h264, hevc, vp9, av1, prores, ffv1 or an FFmpeg encoder.  [default: keeps the depth]")
@click.option("--crf", type=click.FloatRange(0, 63), help="Quality of the encoder, smaller is better.")
@click.option(
    "--encoder-opt", multiple=True, metavar="K=V", callback=_options, help="An option of the encoder; repeatable."
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
    type=click.Path(path_type=Path, file_okay=False),
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
@click.option("--dry-run", is_flag=True, help="Show the plan; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan or the summary as JSON on stdout.")
@click.option("-y", "overwrite", is_flag=True, help="Overwrite an existing output.")
@click.option("-n", "keep", is_flag=True, help="Keep an existing output and end well.")
@click.option("-v", "--verbose", count=True, help="Say more; twice for tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Say only errors.")
def denoise(
    input: Path,
    output: Path | None,
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
    **request: Any,
) -> None:
    """Denoise INPUT, a video file or a sequence of images (folder, pattern in_%06d.png or glob), into OUTPUT."""
    talk.verbosity = -1 if quiet else verbose
    if output is None and not dry_run:
        raise UsageError("no output was given; nothing can be written; add -o OUTPUT, or --dry-run to see the plan")
    if overwrite and keep:
        raise UsageError("-y and -n exclude each other; choose one")
    if output is not None and _skips(input, output, request["workdir"], overwrite, keep, dry_run):
        return
    from vnlsdenoise.job.plan import make_plan
    from vnlsdenoise.job.request import Request
    from vnlsdenoise.video.encoders import Encoding

    encoding = Encoding(codec, crf, encoder_opt, pix_fmt, lossless)
    place = _report_place(report, output)
    plan = make_plan(Request(input, output, sigma, encoding=encoding, report=place, **request), estimate=dry_run)
    if dry_run:
        lines = [*plan.lines(), *(f"warning:  {text}" for text in plan.warnings)]
        click.echo(json.dumps(plan.as_dict()) if as_json else "\n".join(lines))
        return
    for line in plan.lines():
        talk.note(line, least=1)
    for text in plan.warnings:
        talk.warn(text)
    carry_out(plan, "none" if quiet and progress == "auto" else progress, as_json, report == "-")


def _skips(input: Path, output: Path, workdir: Path | None, overwrite: bool, keep: bool, dry_run: bool) -> bool:
    """Whether an existing output ends the run well; raises UsageError where it must not be touched."""
    from vnlsdenoise.job.plan import check_output, existing_output, writes_images
    from vnlsdenoise.job.workdir import WorkFolder

    check_output(input, output)
    found = existing_output(output)
    if found is None or overwrite or dry_run:
        return False
    if WorkFolder.of(output, workdir, writes_images(output)).has_published(output):
        return False  # A run was interrupted between giving it its name and ending.
    if keep:
        talk.note(f"output {found} exists; kept, as -n asks")
        return True
    raise UsageError(
        f"output {found} exists; it would be overwritten; give -y to overwrite, -n to keep it, or another name"
    )


def _report_place(report: str | None, output: Path | None) -> Path | None:
    """The file for the report, None for none."""
    if output is None or report in ("-", "none"):
        return None
    from vnlsdenoise.job.report import usual_report

    return usual_report(output) if report is None else Path(report)


def carry_out(plan: Any, style: Style, as_json: bool, tell_report: bool = False) -> None:
    """Run a plan and tell of it; raises the errors of `run`, and DamagedInputError at the end.

    as_json: print a summary on stdout. tell_report: print the report there.
    """
    from vnlsdenoise.job.run import run

    def say(text: str) -> None:
        talk.note(text)
        progress.event("note", text=text)

    with Progress(style, plan.info.frames) as progress:
        report = run(plan, progress, lambda scene: _announce(scene, progress), say)
        for text in report.warnings:
            progress.event("warning", text=text)
    for text in report.warnings:
        if text not in plan.warnings:
            talk.warn(text)
    for scene in report.scenes:
        talk.note(f"scene at frame {scene.first}: {scene.frames} frames, {scene.noise.describe()}", least=1)
    if as_json:
        scenes = [{"first": s.first, "frames": s.frames, "noise": s.noise.as_dict()} for s in report.scenes]
        damage = vars(report.damage)
        click.echo(
            json.dumps(
                {
                    **plan.as_dict(),
                    "frames": report.frames,
                    "scenes": scenes,
                    "damage": damage,
                    "warnings": list(report.warnings),
                    "kept": report.kept,
                    "seconds": report.seconds,
                }
            )
        )
    if tell_report:
        click.echo(json.dumps(report.facts))
    talk.note(f"{report.frames} frames written to {report.output}", least=1)
    if report.damage:
        raise DamagedInputError(
            f"{report.output} is complete for what the input held, but the input is damaged: {report.damage}; "
            "check the input"
        )


def _announce(scene: Any, progress: Progress) -> None:
    sigma = [round(value, 3) for value in scene.noise.sigma]
    progress.event("scene", first=scene.first, sigma=sigma, signal_dependent=scene.noise.signal_dependent)
