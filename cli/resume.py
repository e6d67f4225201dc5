"""`vnlsdenoise resume`: go on with an interrupted job."""

import json
from dataclasses import replace
from pathlib import Path

import click
from vnlsdenoise.cli.carry_out import carry_out_plan
from vnlsdenoise.cli.options import FileName
from vnlsdenoise.cli.progress import Style
from vnlsdenoise.cli.talk import talk

from vnlsdenoise.errors import DamagedInputError, InputError, UsageError


@click.command()
@click.argument("workdir", type=FileName(path_type=Path))
@click.option("--progress", type=click.Choice(["auto", "bar", "lines", "json", "none"]), default="auto")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
@click.option("-y", "overwrite", is_flag=True, help="Overwrite an existing output.")
@click.option("-v", "--verbose", count=True, help="Say more; twice for tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Say only errors.")
def resume(workdir: Path, progress: Style, as_json: bool, overwrite: bool, verbose: int, quiet: bool) -> None:
    """Go on with the job of WORKDIR, as it was asked for, and finish it.

    The same as giving the same command again. The input must be where it was, and unchanged.
    """
    talk.verbosity = -1 if quiet else verbose
    from vnlsdenoise.job.plan import existing_output, make_plan
    from vnlsdenoise.job.request import Request
    from vnlsdenoise.job.workdir import WorkFolder

    folder = WorkFolder(workdir.absolute())
    manifest = folder.manifest()
    if manifest is None:
        raise InputError(f"{workdir} is no work folder of an unfinished job; nothing to go on with; check the name")
    request = replace(Request.from_json(manifest["request"]), resume="require")
    assert request.output is not None
    found = existing_output(request.output)
    if found is not None and not overwrite and not folder.has_published(found):
        raise UsageError(f"output {found} exists; it would be overwritten; give -y to overwrite, or move it away")
    plan = make_plan(request)
    for text in plan.warnings:
        talk.warn(text)
    outcome = carry_out_plan(plan, "none" if quiet and progress == "auto" else progress)
    if as_json:
        click.echo(json.dumps(outcome.summary))
    if outcome.damage:
        raise DamagedInputError(outcome.damage)
