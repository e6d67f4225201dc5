"""The command: python -m vnlsdenoise.training.plot OUT/log.jsonl -o curve.svg: how a run went, as a picture."""

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import click

from vnlsdenoise.errors import InputError, VnlsError

_WIDTH, _HEIGHT, _LEFT, _RIGHT = 720, 230, 56, 120  # of a panel, and what its axis and its labels take
_TOP, _BOTTOM = 26, 40
_COLOURS = ("#c33", "#d80", "#393", "#36c", "#849", "#555", "#088", "#a64")
_NO_CASES = ("event", "step", "seconds", "clock")  # of a line of validation
_TICKS = 5  # about so many on an axis

Points = list[tuple[float, float]]


def read_curves(lines: Sequence[str], over: str) -> tuple[dict[str, Points], dict[str, Points]]:
    """Of a log: what training gained in a step, and what validation said, by case; over "step" or "seconds".

    What a run that was gone on with had done beyond the state it went on from is left out. Raises InputError.
    """
    training: list[dict[str, Any]] = []
    validation: list[dict[str, Any]] = []
    try:
        for entry in map(json.loads, lines):
            if entry["event"] == "start":
                training, validation = (
                    [e for e in kept if e["step"] <= entry["step"]] for kept in (training, validation)
                )
            elif entry["event"] == "step":
                training.append(entry)
            elif entry["event"] == "validation":
                validation.append(entry)
        gains = {"mean of all noise": [(float(e[over]), float(e["gain"])) for e in training]}
        names = [
            name for name in (validation[-1] if validation else {}) if name.split()[-1] not in ("worst", *_NO_CASES)
        ]
        cases = {name: [(float(e[over]), float(e[name])) for e in validation if name in e] for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"this is no log of training ({type(error).__name__}: {error}); give OUT/log.jsonl") from error
    if not training and not validation:
        raise InputError("the log tells of no step yet; wait for the first, or give another")
    return gains, cases


def drawn(lines: Sequence[str], over: str) -> str:
    """SVG of both, one above the other."""
    panels = zip(
        ("training: dB over the classic result, at the time", "validation: dB over the classic result, moving average"),
        read_curves(lines, over),
        strict=True,
    )
    parts = [_panel(title, curves, over) for title, curves in panels if any(curves.values())]
    height = _HEIGHT * len(parts)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">'
    body = [f'<g transform="translate(0 {_HEIGHT * index})">{part}</g>' for index, part in enumerate(parts)]
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{height}" fill="white"/>', *body, "</svg>", ""])


def _panel(title: str, curves: dict[str, Points], over: str) -> str:
    points = [point for curve in curves.values() for point in curve]
    last = max(x for x, _ in points) or 1.0
    low, high = min(0.0, *(y for _, y in points)), max(0.1, *(y for _, y in points))

    def at(x: float, y: float) -> tuple[float, float]:
        across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return _LEFT + across * x / last, _TOP + down * (high - y) / (high - low)

    parts = [f'<text x="{_LEFT}" y="16" font-size="12">{escape(title)}</text><g font-size="11" fill="#555">']
    for x in _ticks(0, last):
        left, bottom = at(x, low)
        parts.append(f'<path d="M{left:.1f} {_TOP}V{bottom:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left:.1f}" y="{bottom + 14:.1f}" text-anchor="middle">{x:g}</text>')
    for y in _ticks(low, high):
        left, row = at(0, y)
        parts.append(f'<path d="M{left:.1f} {row:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6:.1f}" y="{row + 4:.1f}" text-anchor="end">{y:+.2g}</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{over}</text></g>')
    ends = sorted((at(*curve[-1])[1], name) for name, curve in curves.items() if curve)
    free = -math.inf  # labels do not lie on one another
    rows = {name: (free := max(free + 12, row)) for row, name in ends}
    for colour, (name, curve) in zip(_COLOURS * len(curves), curves.items(), strict=False):
        if not curve:
            continue
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in (at(*point) for point in curve))
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{_WIDTH - _RIGHT + 6}" y="{rows[name] + 4:.1f}" font-size="11" fill="{colour}">'
            f"{escape(name)} {curve[-1][1]:+.2f}</text>"
        )
    return "\n".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Round values of an axis."""
    step = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= _TICKS)
    return [round(step * number, 10) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("log", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="An .svg file.")
@click.option("--over", type=click.Choice(["step", "seconds"]), default="step", show_default=True)
def main(log: Path, out: Path, over: str) -> None:
    """Draw what a training run gained, step by step and in validation."""
    try:
        out.write_text(drawn(log.read_text().splitlines(), over))
    except VnlsError as error:
        click.echo(f"error: {log}: {error}", err=True)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
