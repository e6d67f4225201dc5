"""`vnlsdenoise doctor`: whether this machine can do the work, and what to do where it cannot."""

import json
import os

import click
from vnlsdenoise.cli.talk import one_line

from vnlsdenoise.errors import DeviceError

_MARKS = {"ok": "ok", "warning": "!!", "failed": "NO"}


@click.command()
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N; a GPU asked for must work."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(context: click.Context, /, device: str, as_json: bool) -> None:
    """Try everything that a run needs: torch, kernels, GPUs, codecs, disk. Exit code 0 only if all of it works."""
    from vnlsdenoise.job.doctor import Check, examine

    checks = []
    for check in [*examine(device), *(Check("environment", "warning", *told) for told in _unknown_variables(context))]:
        checks.append(check)
        if not as_json:
            click.echo(f"{_MARKS[check.state]}  {check.name + ':':26}{one_line(check.text)}")
            if check.advice:
                click.echo(f"    {'':26}-> {check.advice}")
    if as_json:
        click.echo(
            json.dumps({"usable": all(c.state != "failed" for c in checks), "checks": [c.as_dict() for c in checks]})
        )
    if failed := [check.name for check in checks if check.state == "failed"]:
        raise DeviceError(f"not usable as it is: {', '.join(failed)}; do what is said above and try again")


def _unknown_variables(context: click.Context) -> list[tuple[str, str]]:
    """Variables that look like options and are none."""
    group = context.parent.command if context.parent is not None else None
    names = set()
    for name in group.list_commands(context) if isinstance(group, click.Group) else []:
        command = group.get_command(context, name) if isinstance(group, click.Group) else None
        for option in command.params if command is not None else []:
            # Those of the default command go without its name.
            own = option.name if name == "denoise" else f"{name}_{option.name}"
            names.add(f"VNLSDENOISE_{own}".upper())
    given = [name for name in os.environ if name.startswith("VNLSDENOISE_") and name not in names | _OF_THE_BUILD]
    return [(f"{name} is no option", "see vnlsdenoise denoise --help for their names") for name in sorted(given)]


_OF_THE_BUILD = {"VNLSDENOISE_CUDA"}
