"""`vnlsdenoise estimate`: how noisy a file is."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from vnlsdenoise.cli.compare import refuse_existing
from vnlsdenoise.cli.options import FileName
from vnlsdenoise.cli.talk import talk

if TYPE_CHECKING:
    from vnlsdenoise.noise.report import SceneNoise
    from vnlsdenoise.video.open import Reader

_SHOWN = (16, 64, 128, 192, 235)  # intensities that a curve is printed at
_SHORT = 1000  # frames: so many are read at once without being asked


@click.command()
@click.argument("input", type=FileName(path_type=Path))
@click.option(
    "--scenes/--sampled",
    default=None,
    help=f"Read all frames and measure every scene, or frames of 8 places.  [default: scenes up to {_SHORT} frames]",
)
@click.option("-o", "--page", type=FileName(path_type=Path, dir_okay=False), help="Write a page with curves (.html).")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-y", "overwrite", is_flag=True, help="Overwrite an existing page.")
def estimate(input: Path, scenes: bool | None, page: Path | None, device: str, as_json: bool, overwrite: bool) -> None:
    """Print the noise of every scene and plane of INPUT, in 8-bit code values, and how sure it is.

    The deviation, how it depends on the intensity, whether it is correlated between neighbouring pixels, and whether
    samples were clipped at black and white. Writes nothing but a page that is asked for.
    """
    refuse_existing(page, (input,), overwrite)
    from vnlsdenoise.engine import local
    from vnlsdenoise.job.publish import publish_text
    from vnlsdenoise.noise.report import make_page
    from vnlsdenoise.video.open import open_reader

    reader = open_reader(input, interlaced="ignore", gaps="ignore")
    names = reader.info.format.plane_names
    chosen = local.resolve_device(device)
    if scenes is None:
        scenes = reader.info.frames is not None and reader.info.frames <= _SHORT
    found = _by_scenes(reader, chosen) if scenes else [_sampled(reader, chosen)]
    if not scenes:
        talk.note("frames of 8 places were measured; --scenes reads all frames")
    if page is not None:
        publish_text(page, make_page(input, names, found).html())
        talk.note(f"page: {page}")
    if as_json:
        sampled = _sampled(reader, chosen) if scenes else found[0]
        sigma = {name: round(value, 3) for name, value in zip(names, sampled.noise.sigma, strict=True)}
        told = {"input": str(input), "sigma": sigma, "noise": sampled.noise.as_dict()}
        click.echo(json.dumps({**told, "scenes": [_as_dict(scene) for scene in found] if scenes else None}))
        return
    for scene in found:
        _print(names, scene)


def _sampled(reader: "Reader", device: str) -> "SceneNoise":
    from vnlsdenoise.engine import local
    from vnlsdenoise.job.plan import SAMPLED_PLACES
    from vnlsdenoise.noise.report import SceneNoise, clipped_shares, first_pictures

    layout = reader.info.format
    pairs = reader.sample(SAMPLED_PLACES)
    noise = local.estimate_noise(pairs, layout, device, fields=reader.info.interlaced)
    shares = clipped_shares([frame.planes for frame, _ in pairs], layout)
    shots = first_pictures(pairs[len(pairs) // 2], layout)
    return SceneNoise(None, None, 0.0, noise.scaled(1 / (1 << (layout.depth - 8))), shares, shots)


def _by_scenes(reader: "Reader", device: str) -> "list[SceneNoise]":
    from vnlsdenoise.job.scenes_of import find_scenes
    from vnlsdenoise.noise.report import SceneNoise, clipped_shares, first_pictures

    layout = reader.info.format
    scale = 1 / (1 << (layout.depth - 8))
    return [
        SceneNoise(
            scene.first,
            scene.frames,
            scene.seconds,
            scene.noise.scaled(scale),
            clipped_shares([frame.planes for frame in scene.begin], layout),
            first_pictures(scene.begin, layout),
        )
        for scene in find_scenes(reader, device)
    ]


def _as_dict(scene: "SceneNoise") -> dict[str, Any]:
    where = {"first": scene.first, "frames": scene.frames, "at": round(scene.seconds, 4)}
    sure = None if scene.certainty is None else round(scene.certainty, 4)
    return {**where, "noise": scene.noise.as_dict(), "clipped": scene.clipped, "certainty": sure}


def _print(names: tuple[str, ...], scene: "SceneNoise") -> None:
    click.echo(f"{scene.title()}: {scene.how_sure()}")
    noise = scene.noise
    for name, plane, (low, high) in zip(names, noise.planes, scene.clipped, strict=True):
        curve = "  ".join(f"{plane.deviation_at(level):.2f} at {level}" for level in _SHOWN if plane.signal_dependent)
        told = [f"({curve})"] if curve else []
        told += ["(correlated)"] if plane.correlated else []
        told += ["(before it was clipped)"] if plane.clipped else []
        told += [f"({100 * low:.1f} % at black, {100 * high:.1f} % at white)"] if low + high >= 0.001 else []
        click.echo("  ".join([name, f"{plane.sigma:.2f}", *told]))
    if noise.clipped_rgb is not None:
        click.echo(f"R, G, B  {255 * noise.clipped_rgb.noise.sigma:.2f}  (before they were clipped and made Y, U, V)")
