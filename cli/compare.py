"""`vnlsdenoise compare`: films against each other, in figures and on a page."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vnlsdenoise.cli.options import FileName, Frames
from vnlsdenoise.cli.talk import one_line, talk

from vnlsdenoise.errors import OutputError, UsageError

if TYPE_CHECKING:
    from vnlsdenoise.compare.films import Comparison


@click.command()
@click.argument("films", metavar="A B...", nargs=-1, required=True, type=FileName(path_type=Path))
@click.option("-o", "--page", type=FileName(path_type=Path, dir_okay=False), help="Write a page to look at (.html).")
@click.option("--csv", "table", type=FileName(path_type=Path, dir_okay=False), help="Write every frame's figures.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@click.option("--frames", type=Frames(), help="Only frames A to B of the first film, counted from 0, without B.")
@click.option(
    "--offset",
    "places",
    multiple=True,
    type=int,
    help="Frame of the first film that the other one's first frame shows; once for each.  [default: found]",
)
@click.option(
    "--pictures", type=click.IntRange(1, 500), default=12, show_default=True, help="Frames of the page, at most."
)
@click.option("--vmaf", type=click.Choice(["auto", "off"]), default="auto", show_default=True, help="Where ffmpeg can.")
@click.option("-y", "overwrite", is_flag=True, help="Overwrite existing files.")
@click.option("-q", "--quiet", is_flag=True, help="Say only errors.")
def compare(
    films: tuple[Path, ...],
    page: Path | None,
    table: Path | None,
    as_json: bool,
    frames: tuple[int, int | None] | None,
    places: tuple[int, ...],
    pictures: int,
    vmaf: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Compare films with the first one, A: PSNR, SSIM and flicker of every frame and plane; VMAF where ffmpeg has it.

    A is a clean original, or the noisy input, of which the figures then tell how much was changed. Films that begin or
    end at other frames are brought together.
    """
    talk.verbosity = -1 if quiet else 0
    for path in (page, table):
        refuse_existing(path, films, overwrite)
    from vnlsdenoise.compare.films import compare_films
    from vnlsdenoise.compare.report import Shots, make_page
    from vnlsdenoise.job.publish import publish_text
    from vnlsdenoise.video.open import open_reader

    info = open_reader(films[0], interlaced="ignore", gaps="ignore").info
    shots = Shots(pictures, len(films), info.format) if page is not None else None
    comparison = compare_films(films, places=places or None, frames=frames or (0, None), shown=shots)
    if vmaf == "auto":
        _add_vmaf(comparison)
    if comparison.left_out:
        talk.note(f"left out of {films[0]}: {comparison.left_out}")
    for other in comparison.others:
        if not other.place.sure:
            talk.warn(f"where {other.path} begins was not told for sure; give --offset where it is known")
        if other.left_out:
            talk.note(f"left out of {other.path}: {other.left_out}")
    if table is not None:
        _write_table(table, comparison)
    if page is not None and shots is not None:
        publish_text(page, make_page(comparison, shots, info.color.transfer).html())
        talk.note(f"page: {page}")
    if as_json:
        click.echo(json.dumps(comparison.as_dict()))
    else:
        _print(comparison)


def refuse_existing(path: Path | None, inputs: tuple[Path, ...], overwrite: bool) -> None:
    """Raise UsageError where a file would be overwritten that must not be, OutputError where its folder is missing."""
    if path is None:
        return
    from vnlsdenoise.job.publish import looking_at

    with looking_at(path):
        if path.exists() and any(name.exists() and path.samefile(name) for name in inputs):
            raise UsageError(f"output {path} is an input; it would be lost; give another name")
        if path.exists() and not overwrite:
            raise UsageError(f"output {path} exists; it would be overwritten; give -y to overwrite, or another name")
        if path.exists() and not path.is_file():
            what = "it is no file that another could take the place of"
            raise OutputError(f"cannot write {path}; {what}; give another name")
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {path}; {path.parent} is no folder; create it or choose another place")


def _add_vmaf(comparison: "Comparison") -> None:
    from vnlsdenoise.compare.vmaf import find_ffmpeg, measure_vmaf

    paths = [comparison.reference, *(other.path for other in comparison.others)]
    program = find_ffmpeg() if all(path.is_file() for path in paths) else None
    if program is None:
        return
    for other in comparison.others:
        starts = comparison.first, comparison.first - other.place.frames
        other.vmaf = measure_vmaf(program, comparison.reference, other.path, starts, len(other.frames))


def _write_table(path: Path, comparison: "Comparison") -> None:
    from vnlsdenoise.job.publish import publish_text

    table = io.StringIO()
    head, rows = comparison.rows()
    writer = csv.writer(table)
    writer.writerow(head)
    writer.writerows(rows)
    publish_text(path, table.getvalue())


def _print(comparison: "Comparison") -> None:
    from vnlsdenoise.compare.report import figure

    click.echo(f"{len(comparison.seconds)} frames against {one_line(str(comparison.reference))}")
    for other in comparison.others:
        mean = other.summary()
        click.echo(one_line(str(other.path)))
        if other.place.frames:
            click.echo(f"  begins at:  frame {other.place.frames}")
        for name, psnr, likeness, flicker in zip(
            comparison.planes, mean["psnr_planes"], mean["ssim"], mean["flicker"], strict=True
        ):
            shown = "-" if likeness is None else f"{likeness:.4f}"
            click.echo(f"  {name}:  PSNR {figure(psnr, ' dB')}  SSIM {shown}  flicker {figure(flicker)}")
        click.echo(f"  all:  PSNR {figure(mean['psnr'], ' dB')}, lowest {figure(mean['lowest_psnr'], ' dB')}")
        if mean["identical"]:
            click.echo(f"  identical:  {mean['identical']} frame(s)")
        if mean["vmaf"] is not None:
            click.echo(f"  VMAF:  {mean['vmaf']:.2f}")
    sys.stdout.flush()
