"""The page of a benchmark: speed over sizes, and quality against CPU seconds."""

from collections.abc import Sequence
from typing import Any

from vnlsdenoise.page.build import Page, Plot, Series, Table


def make_page(report: dict[str, Any]) -> Page:
    """The page of what `vnlsdenoise bench --json` prints."""
    page = Page(
        "Speed and quality of this machine",
        f"{report['device']}, torch {report['torch']}, {report['threads']} threads",
        tables=[],
    )
    if report["speed"]:
        page.tables.append(_speed_table(report["speed"]))
        page.plots.append(_speed_plot(report["speed"]))
    if report["quality"]:
        page.tables.append(_quality_table(report["quality"]))
        page.plots += quality_plots(report["quality"])
    return page


def _speed_table(speed: Sequence[dict[str, Any]]) -> Table:
    rows = [
        [
            f"{row['size']}, {row['preset']}",
            f"{row['frames_per_second']:.2f}",
            f"{row['cpu_ms_per_frame'] / 1e3:.2f}",
            f"{row['predicted_MiB']:.0f}",
            f"{row['peak_MiB']:.0f}" if "peak_MiB" in row else "-",
        ]
        for row in speed
    ]
    return Table("Speed and memory", ["size, preset", "frames/s", "CPU-s a frame", "predicted MiB", "peak MiB"], rows)


def _speed_plot(speed: Sequence[dict[str, Any]]) -> Plot:
    presets = list(dict.fromkeys(row["preset"] for row in speed))
    series = []
    for preset in presets:
        own = [row for row in speed if row["preset"] == preset]
        points = [(row["pixels"] / 1e6, row["ms_per_frame"] / 1e3) for row in own]
        series.append(Series(preset, points, [row["size"] for row in own]))
    return Plot("Seconds a frame", "megapixels", "s", series, "points", log_x=True)


def _quality_table(quality: Sequence[dict[str, Any]]) -> Table:
    names = ("psnr", "ssim", "flicker", "cpu_seconds_per_frame")
    rows = [
        [f"sigma {row['sigma']}, {row['denoiser']}", *("-" if n not in row else f"{row[n]:.3f}" for n in names)]
        for row in quality
    ]
    return Table("Quality, mean over the clips", ["noise, denoiser", "PSNR", "SSIM", "flicker", "CPU-s a frame"], rows)


def quality_plots(quality: Sequence[dict[str, Any]]) -> list[Plot]:
    """PSNR against CPU seconds a frame, one plot a sigma."""
    plots = []
    for sigma in dict.fromkeys(row["sigma"] for row in quality):
        own = [row for row in quality if row["sigma"] == sigma and row.get("cpu_seconds_per_frame")]
        series = [
            Series(row["denoiser"], [(row["cpu_seconds_per_frame"], row["psnr"])], [row["denoiser"]]) for row in own
        ]
        note = "Further left is quicker, higher is better."
        plots.append(Plot(f"Sigma {sigma}", "CPU-s a frame", "PSNR, dB", series, "points", log_x=True, note=note))
    return plots
