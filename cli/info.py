"""`vnlsdenoise info`: what the tool sees in a file."""

import json
from pathlib import Path
from typing import Any

import click
from vnlsdenoise.cli.options import FileName
from vnlsdenoise.cli.progress import duration
from vnlsdenoise.cli.talk import one_line


@click.command()
@click.argument("input", type=FileName(path_type=Path))
@click.option("--scenes", is_flag=True, help="Read all frames: scenes and their noise, predicted time and memory.")
@click.option("--device", default="auto", show_default=True, help="Of --scenes: auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(input: Path, scenes: bool, device: str, as_json: bool) -> None:
    """Print what INPUT holds: frames, timing, colour, streams."""
    from vnlsdenoise.video.open import open_reader

    reader = open_reader(input, interlaced="ignore", gaps="ignore")
    facts = reader.info.as_dict()
    facts["notes"] += reader.warnings
    if scenes:
        facts |= _work(reader, device)
    if as_json:
        click.echo(json.dumps(facts))
        return
    streams, tags, notes = (facts.pop(name) for name in ("streams", "tags", "notes"))
    found, presets = facts.pop("scenes", []), facts.pop("presets", {})
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
    for scene in found:
        click.echo(f"scene:              frame {scene['first']}, at {scene['at']:.2f} s: {scene['text']}")
    for preset, needs in presets.items():
        time = duration(needs["seconds"])
        click.echo(f"{f'preset {preset}:':20}about {time} and {needs['memory'] / 2**20:.0f} MiB on {needs['device']}")


def _work(reader: Any, device: str) -> dict[str, Any]:
    """The scenes, and what each preset will take, as plain values."""
    from vnlsdenoise.classic.presets import PRESETS
    from vnlsdenoise.engine import local
    from vnlsdenoise.engine.settings import DenoiseSettings
    from vnlsdenoise.job.scenes_of import find_scenes
    from vnlsdenoise.job.speed import device_name, predict_seconds

    chosen, format = local.resolve_device(device), reader.info.format
    scale = 1 / (1 << (format.depth - 8))
    found: list[dict[str, Any]] = [
        {
            "first": scene.first,
            "frames": scene.frames,
            "at": round(scene.seconds, 4),
            "noise": scene.noise.scaled(scale).as_dict(),
            "text": f"{scene.frames} frames, {scene.noise.scaled(scale).describe()}",
        }
        for scene in find_scenes(reader, chosen)
    ]
    frames = sum(scene["frames"] for scene in found)
    presets = {}
    for preset in PRESETS:
        settings = DenoiseSettings(None, preset=preset, device=chosen)
        presets[preset] = {
            "seconds": round(predict_seconds(format, settings, frames), 1),
            "memory": local.predict_memory(format, settings),
            "device": device_name(chosen),
        }
    return {"scenes": found, "presets": presets}
