"""`vnlsdenoise denoise`: the default command."""

import json
from pathlib import Path
from typing import Any, Literal

import click
from vnlsdenoise.cli.options import Sigma, Size, key_values, pipe_options, raw_video
from vnlsdenoise.cli.progress import Progress, Style
from vnlsdenoise.cli.talk import talk

from vnlsdenoise.errors import DamagedInputError, UsageError


# The default command's options are set by VNLSDENOISE_PRESET and so on, without its name in between.
@click.command(context_settings={"auto_envvar_prefix": "VNLSDENOISE"})
@click.argument("input", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
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
@click.option("--max-memory", type=Size(), help="Ceiling of device memory, such as 4GiB; never changes the result.")
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
    "--progress",
    type=click.Choice(["auto", "bar", "lines", "json", "none"]),
    default="auto",
    show_default=True,
    help="On stderr.",
)
@pipe_options
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
    """Denoise INPUT into OUTPUT.

    INPUT is a video file, a sequence of images (folder, pattern in_%06d.png or glob), or - for video through stdin.
    """
    talk.verbosity = -1 if quiet else verbose
    if output is None and not dry_run:
        raise UsageError("no output was given; nothing can be written; add -o OUTPUT, or --dry-run to see the plan")
    if overwrite and keep:
        raise UsageError("-y and -n exclude each other; choose one")
    if str(output) == "-" and as_json:
        raise UsageError("--json and output - both write to stdout; give another output, or leave --json out")
    if output is not None and _skips(input, output, overwrite, keep, dry_run):
        return
    from vnlsdenoise.job.plan import Request, make_plan
    from vnlsdenoise.video.encoders import Encoding

    encoding = Encoding(codec, crf, encoder_opt, pix_fmt, lossless)
    raw = raw_video(request)
    plan = make_plan(Request(input, output, sigma, encoding=encoding, raw=raw, **request), estimate=dry_run)
    if dry_run:
        lines = [*plan.lines(), *(f"warning:  {text}" for text in plan.warnings)]
        click.echo(json.dumps(plan.as_dict()) if as_json else "\n".join(lines))
        return
    for line in plan.lines():
        talk.note(line, least=1)
    for text in plan.warnings:
        talk.warn(text)
    _carry_out(plan, "none" if quiet and progress == "auto" else progress, as_json)


def _skips(input: Path, output: Path, overwrite: bool, keep: bool, dry_run: bool) -> bool:
    """Whether an existing output ends the run well; raises UsageError where it must not be touched."""
    from vnlsdenoise.job.plan import check_output, existing_output

    check_output(input, output)
    found = existing_output(output)
    if found is None or overwrite or dry_run:
        return False
    if keep:
        talk.note(f"output {found} exists; kept, as -n asks")
        return True
    raise UsageError(
        f"output {found} exists; it would be overwritten; give -y to overwrite, -n to keep it, or another name"
    )


def _carry_out(plan: Any, style: Literal["auto", "bar", "lines", "json", "none"], as_json: bool) -> None:
    from vnlsdenoise.job.run import run

    with Progress(style, plan.info.frames) as progress:
        report = run(plan, progress, lambda scene: _announce(scene, progress))
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
                }
            )
        )
    talk.note(f"{report.frames} frames written to {report.output}", least=1)
    if report.damage:
        raise DamagedInputError(
            f"{report.output} is complete for what the input held, but the input is damaged: {report.damage}; "
            "check the input"
        )


def _announce(scene: Any, progress: Progress) -> None:
    sigma = [round(value, 3) for value in scene.noise.sigma]
    progress.event("scene", first=scene.first, sigma=sigma, signal_dependent=scene.noise.signal_dependent)
