"""`vnlsdenoise verify`: a finished output against its report and its input."""

import json
from pathlib import Path

import click
from vnlsdenoise.cli.options import FileName
from vnlsdenoise.cli.talk import talk


@click.command()
@click.argument("output", type=FileName(path_type=Path))
@click.option(
    "--report", type=FileName(path_type=Path), help="The report that was written with it.  [default: OUTPUT.json]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(output: Path, report: Path | None, as_json: bool) -> None:
    """Check that OUTPUT is, to the last byte, what its report tells of, and that all of it decodes.

    Ends with 0 where it is, 8 where it is not, 3 where the output or its report cannot be read. Tells also whether the
    input is still the one that it was made of.
    """
    from vnlsdenoise.job.check import check_finished

    found = check_finished(output, report)
    if as_json:
        click.echo(json.dumps({"output": str(output), "facts": found.facts, "input_is_same": found.input_is_same}))
    else:
        for fact in found.facts:
            click.echo(fact)
    if not found.input_is_same:
        talk.warn("the input is not there any more, or is another one")
