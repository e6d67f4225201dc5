"""`vnlsdenoise info`: what the tool sees in a file."""

import json
from pathlib import Path

import click


@click.command()
@click.argument("input", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(input: Path, as_json: bool) -> None:
    """Print what INPUT holds: frames, timing, colour, streams."""
    from vnlsdenoise.video.open import open_reader

    facts = open_reader(input, interlaced="ignore").info.as_dict()
    if as_json:
        click.echo(json.dumps(facts))
        return
    streams = facts.pop("streams")
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' ') + ':':20}{'unknown' if value is None else value}")
    for stream in streams:
        click.echo(
            f"stream {stream['index']}:           {stream['kind']} {stream['codec']} {stream['language']}".rstrip()
        )
