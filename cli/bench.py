"""`vnlsdenoise bench`: how fast this machine is, what memory that takes, and the quality on clean clips."""

import json
from pathlib import Path
from typing import Any

import click
from vnlsdenoise.cli.compare import refuse_existing
from vnlsdenoise.cli.options import FileName, Size
from vnlsdenoise.cli.talk import talk

from vnlsdenoise.errors import InputError, MemoryLimitError, UsageError


@click.command()
@click.option("--sizes", default="240p,540p", show_default=True, help="Of 240p, 540p, 1080p, 4k, 8k; or none.")
@click.option(
    "--presets", default="fast,balanced,best", show_default=True, help="Presets, learned, or learned:WEIGHTS."
)
@click.option("--frames", type=click.IntRange(1), default=5, show_default=True, help="Frames timed in each case.")
@click.option("--max-memory", type=Size(), help="Ceiling of device memory, such as 4GiB.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: all]")
@click.option("--clips", type=FileName(path_type=Path, file_okay=False), help="Folder of clean clips, for quality.")
@click.option("--sigma", default="10,30,50", show_default=True, help="Deviations of the noise added to the clips.")
@click.option("--clip-frames", type=click.IntRange(1), default=8, show_default=True, help="First frames of each clip.")
@click.option("--crop", default="224x160", show_default=True, help="WIDTHxHEIGHT of the clips' centre, or none.")
@click.option("-o", "--page", type=FileName(path_type=Path, dir_okay=False), help="Write a page with plots (.html).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-y", "overwrite", is_flag=True, help="Overwrite an existing page.")
def bench(
    sizes: str,
    presets: str,
    frames: int,
    max_memory: int | None,
    device: str,
    threads: int | None,
    clips: Path | None,
    sigma: str,
    clip_frames: int,
    crop: str,
    page: Path | None,
    as_json: bool,
    overwrite: bool,
) -> None:
    """Measure this machine: frames a second and peak memory of each size and preset, on footage made on the spot.

    With --clips also PSNR, SSIM, flicker and CPU seconds on clean clips that noise is added to.
    """
    refuse_existing(page, (), overwrite)
    import torch

    from vnlsdenoise.bench.quality import clips_in
    from vnlsdenoise.bench.speed import SIZES, device_name
    from vnlsdenoise.classic.presets import PRESETS
    from vnlsdenoise.engine import local

    if threads:
        torch.set_num_threads(threads)
    chosen = local.resolve_device(device)
    named = [] if sizes == "none" else sizes.split(",")
    if unknown := [size for size in named if size not in SIZES]:
        raise UsageError(f"--sizes {','.join(unknown)}: no such size; there are {', '.join(SIZES)}, or none")
    wanted = presets.split(",")
    if unknown := [name for name in wanted if name not in PRESETS and name.partition(":")[0] != "learned"]:
        raise UsageError(f"--presets {','.join(unknown)}: no such preset; there are {', '.join(PRESETS)}, learned")
    paths = clips_in(clips) if clips is not None and clips.is_dir() else []
    if clips is not None and not paths:
        raise InputError(f"{clips} holds no clips (.mkv, .mp4, .mov, .avi); nothing to measure; check the name")
    report: dict[str, Any] = {
        "device": device_name(chosen),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "speed": [],
        "quality": [],
    }
    if not as_json:
        click.echo(f"{report['device']}, torch {report['torch']}, {report['threads']} threads")
    with torch.no_grad():
        for size in named:
            for preset in wanted:
                row = _speed(size, preset, chosen, frames, max_memory)
                if row is not None:
                    report["speed"].append(row)
                    if not as_json:
                        _print_speed(row)
        if paths:
            for row in _quality(paths, wanted, sigma, clip_frames, crop, chosen):
                report["quality"].append(row)
                if not as_json:
                    _print_quality(row)
    if page is not None:
        from vnlsdenoise.bench.report import make_page
        from vnlsdenoise.job.publish import publish_text

        publish_text(page, make_page(report).html())
        talk.note(f"page: {page}")
    if as_json:
        click.echo(json.dumps(report))


def _speed(size: str, preset: str, device: str, frames: int, ceiling: int | None) -> dict[str, Any] | None:
    from vnlsdenoise.bench.speed import SIZES, denoiser

    height, width = SIZES[size]
    try:
        figures = denoiser(height, width, preset, device, frames, ceiling, 0)
    except MemoryLimitError as error:
        talk.warn(f"{size}, {preset}: {error}")
        return None
    return {"size": size, "preset": preset, "pixels": height * width, **figures}


def _print_speed(row: dict[str, Any]) -> None:
    peak = f", measured {row['peak_MiB']:.0f}" if "peak_MiB" in row else ""
    click.echo(
        f"{row['size']:6} {row['preset']:10} {row['frames_per_second']:8.2f} frames/s "
        f"{row['cpu_ms_per_frame'] / 1e3:8.2f} CPU-s a frame   MiB: predicted {row['predicted_MiB']:.0f}{peak}"
    )


def _quality(
    paths: list[Path], presets: list[str], sigma: str, frames: int, crop: str, device: str
) -> list[dict[str, Any]]:
    from vnlsdenoise.bench.quality import add_noise, denoiser_of, load_clip, measure, psnr

    try:
        size = None if crop == "none" else tuple(int(side) for side in crop.split("x"))
        sigmas = [int(value) for value in sigma.split(",")]
    except ValueError as error:
        raise UsageError(f"--crop is WIDTHxHEIGHT and --sigma whole numbers, got {crop} and {sigma}") from error
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    for path in paths:
        clean = load_clip(path, frames, size)
        for value in sigmas:
            noisy = add_noise(clean, path.stem, value)
            found.setdefault((value, "noisy"), []).append({"psnr": psnr(noisy, clean)})
            for preset in presets:
                figures = measure(clean, noisy, value, denoiser_of(preset), device)
                found.setdefault((value, preset), []).append(figures)
    return [
        {"sigma": value, "denoiser": name, "clips": len(rows)}
        | {figure: sum(row[figure] for row in rows) / len(rows) for figure in rows[0]}
        for (value, name), rows in sorted(found.items(), key=lambda item: item[0][0])
    ]


def _print_quality(row: dict[str, Any]) -> None:
    told = f"sigma {row['sigma']:3} {row['denoiser']:10} {row['psnr']:6.2f} dB"
    if "ssim" in row:
        told += (
            f"  SSIM {row['ssim']:.4f}  flicker {row['flicker']:.3f}  {row['cpu_seconds_per_frame']:.2f} CPU-s a frame"
        )
    click.echo(told)
