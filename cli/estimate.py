"""`vnlsdenoise estimate`: how noisy a file is."""

import json
from pathlib import Path

import click


@click.command()
@click.argument("input", type=click.Path(path_type=Path))
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def estimate(input: Path, device: str, as_json: bool) -> None:
    """Print the noise level of every plane of INPUT, in 8-bit code values; writes nothing."""
    from vnlsdenoise.engine import local
    from vnlsdenoise.job.plan import SAMPLED_FRAMES
    from vnlsdenoise.video.open import open_reader

    reader = open_reader(input, interlaced="ignore")
    format = reader.info.format
    native = local.estimate_sigma(reader.sample(SAMPLED_FRAMES), format, local.resolve_device(device))
    names = {"gray": "Y", "yuv": "YUV", "rgb": "RGB"}[format.family]
    sigma = {
        name: round(float(value) / (1 << (format.depth - 8)), 3) for name, value in zip(names, native, strict=True)
    }
    if as_json:
        click.echo(json.dumps({"input": str(input), "sigma": sigma}))
    else:
        for name, value in sigma.items():
            click.echo(f"{name}  {value:.2f}")
