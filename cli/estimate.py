"""`vnlsdenoise estimate`: how noisy a file is."""

import json
from pathlib import Path

import click

_SHOWN = (16, 64, 128, 192, 235)  # intensities that a curve is printed at


@click.command()
@click.argument("input", type=click.Path(path_type=Path))
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def estimate(input: Path, device: str, as_json: bool) -> None:
    """Print the noise level of every plane of INPUT, in 8-bit code values; writes nothing."""
    from vnlsdenoise.engine import local
    from vnlsdenoise.job.plan import SAMPLED_PLACES
    from vnlsdenoise.video.open import open_reader

    reader = open_reader(input, interlaced="ignore")
    format = reader.info.format
    pairs = reader.sample(SAMPLED_PLACES)
    native = local.estimate_noise(pairs, format, local.resolve_device(device), fields=reader.info.interlaced)
    noise = native.scaled(1 / (1 << (format.depth - 8)))
    names = {"gray": "Y", "yuv": "YUV", "rgb": "RGB"}[format.family]
    if as_json:
        sigma = {name: round(value, 3) for name, value in zip(names, noise.sigma, strict=True)}
        click.echo(json.dumps({"input": str(input), "sigma": sigma, "noise": noise.as_dict()}))
        return
    for name, plane in zip(names, noise.planes, strict=True):
        curve = "  ".join(f"{plane.deviation_at(level):.2f} at {level}" for level in _SHOWN if plane.signal_dependent)
        clipped = "  (before it was clipped)" if plane.clipped else ""
        click.echo(f"{name}  {plane.sigma:.2f}" + (f"  ({curve})" if curve else "") + clipped)
    if noise.clipped_rgb is not None:
        click.echo(f"R, G, B  {255 * noise.clipped_rgb.noise.sigma:.2f}  (before they were clipped and made Y, U, V)")
