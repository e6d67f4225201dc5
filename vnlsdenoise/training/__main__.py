"""The command: python -m vnlsdenoise.training FOLDER... --out DIR."""

from pathlib import Path
from typing import get_args

import click
import torch

from vnlsdenoise.errors import UsageError, VnlsError
from vnlsdenoise.learned.sizes import CORRECTABLE, CORRECTED, SIZES
from vnlsdenoise.training.loop import Kind, Process, Settings, Trainer, crops_of_layouts, mosaics_of_layouts
from vnlsdenoise.training.schedule import Length

_MAKERS = 4  # beside a GPU


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder of the network and the log.")
@click.option(
    "--kind",
    type=click.Choice(get_args(Kind)),
    default="clean",
    show_default=True,
    help="Of the footage: clean; pairs, clips of one name in FOLDER/noisy and FOLDER/clean; or noisy clips alone.",
)
@click.option("--weights", help="To begin with, of this size or a smaller one: small, or a file.")
@click.option("--size", type=click.Choice(list(SIZES)), default="small", show_default=True, help="Of the network.")
@click.option(
    "--preset",
    type=click.Choice(CORRECTABLE),
    help="Of the classic results that the network corrects.  [default: fast for small, balanced for base]",
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="When to end, by the clock.")
@click.option("--steps", type=click.IntRange(min=1), help="When to end, by steps: a run that can be repeated.")
@click.option("--resume", is_flag=True, help="Go on with the run in OUT; its earlier time counts.")
@click.option("--rate", type=float, default=1e-3, show_default=True, help="The largest learning rate.")
@click.option(
    "--decay",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.55,
    show_default=True,
    help="The share of the run from which on the rate goes down.",
)
@click.option("--crops", type=click.IntRange(min=8), default=32, show_default=True, help="A step, on every device.")
@click.option(
    "--camera",
    type=click.FloatRange(0, 1),
    default=0.15,
    show_default=True,
    help="Share of the mosaics that a simulated camera records, of clean footage; half of them go through a codec.",
)
@click.option(
    "--coded",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the mosaics whose noise goes through a codec (H.264) or is correlated, of clean footage.",
)
@click.option("--mosaics", type=click.IntRange(min=6), default=216, show_default=True, help="Kept on every device.")
@click.option("--renew", type=click.IntRange(min=1), default=5, show_default=True, help="Steps a new mosaic.")
@click.option(
    "--makers",
    type=click.IntRange(min=1),
    help="Threads that make mosaics, on every device.  [default: 4 beside a GPU, 1 on the CPU, which the steps need]",
)
@click.option("--check", type=float, default=150.0, show_default=True, help="Seconds between validations.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def main(
    folders: tuple[Path, ...],
    out: Path,
    kind: Kind,
    weights: str | None,
    size: str,
    preset: str | None,
    minutes: float | None,
    steps: int | None,
    resume: bool,
    rate: float,
    decay: float,
    crops: int,
    camera: float,
    coded: float,
    mosaics: int,
    renew: int,
    makers: int | None,
    check: float,
    seed: int,
    device: str,
) -> None:
    """Train a network on the clips and photographs under FOLDERS.

    Several GPUs: torchrun --nproc-per-node N -m vnlsdenoise.training ...
    """
    try:
        if (minutes is None) == (steps is None):
            raise UsageError("give --minutes or --steps, and not both")
        if camera + coded > 1:
            raise UsageError(f"--camera and --coded are shares of all mosaics: {camera:g} and {coded:g} are too much")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        length = Length(minutes * 60 if minutes is not None else None, steps, decay)
        settings = Settings(
            folders,
            out,
            SIZES[size],
            length,
            resume,
            kind,
            weights,
            preset or CORRECTED[size],
            seed=seed,
            crops=crops_of_layouts(crops),
            rate=rate,
            plates=mosaics_of_layouts(mosaics),
            renew=renew,
            makers=makers or (_MAKERS if device == "cuda" else 1),
            check=check,
            camera=camera,
            coded=coded,
        )
        Trainer(settings, Process.of_environment(device)).run()
    except VnlsError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from error
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
