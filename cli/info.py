"""`vnlsdenoise info`: what the tool sees in a file."""

import json
from pathlib import Path

import click
from vnlsdenoise.cli.talk import one_line


@click.command()
@click.argument("input", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(input: Path, as_json: bool) -> None:
    """Print what INPUT holds: frames, timing, colour, streams."""
    from vnlsdenoise.video.open import open_reader

    reader = open_reader(input, interlaced="ignore", gaps="ignore")
    facts = reader.info.as_dict()
    facts["notes"] += reader.warnings
    if as_json:
        click.echo(json.dumps(facts))
        return
    streams, tags, notes = (facts.pop(name) for name in ("streams", "tags", "notes"))
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' ') + ':':20}{'unknown' if value is None else value}")
    for stream in streams:
        click.echo(
            f"stream {stream['index']}:           {stream['kind']} {stream['codec']} {stream['language']}".rstrip()
        )
    for key, value in tags.items():
        click.echo(f"tag:                {one_line(f'{key}: {value}')}")
    for note in notes:
        click.echo(f"special:            {note}")
