"""The values that options take, and the groups of options that belong together."""

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource
from vnlsdenoise.cli.config import load

from vnlsdenoise.errors import UsageError

if TYPE_CHECKING:
    from vnlsdenoise.video.pipes import RawVideo

Command = TypeVar("Command", bound=Callable[..., Any])
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)


class FileName(click.Path):
    """The name of a file or folder, which "" is not: left to itself it would mean the folder one stands in.

    Whether it may be read or written is found out by who does, which has an exit code of its own.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(readable=False, **how)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it has no name; a variable of the shell may be empty; for this folder give .", param, ctx)
        return super().convert(value, param, ctx)


class Sigma(click.ParamType[Any]):
    """A deviation of noise, one a plane, or None for "auto"."""

    name = "auto|F|Y,U,V"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...] | None:
        if value is None or isinstance(value, tuple) or value == "auto":
            return None if value == "auto" else value
        try:
            sigma = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            sigma = ()
        if len(sigma) not in (1, 3) or not all(0 <= part < 256 for part in sigma):
            self.fail(
                f"expected auto, a number from 0 to 255, or three separated by commas; got {value!r}.", param, ctx
            )
        return sigma


class Size(click.ParamType[Any]):
    """A number of bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None or float(match[1]) == 0:
            self.fail(f"expected a size such as 4GiB or 512MiB; got {value!r}.", param, ctx)
        power = " kmgt".index(match[2].lower() or " ")
        base = 1000 if (match[3] or "").lower() == "b" and match[2] else 1024
        return int(float(match[1]) * base**power)


def key_values(_: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """What "KEY=VALUE" says, of every one of several."""
    parsed = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"expected KEY=VALUE, got {pair!r}.", param=param)
        parsed[key] = value
    return parsed


class _Extent(click.ParamType[Any]):
    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)[xX](\d+)", str(value).strip())
        if match is None or not int(match[1]) or not int(match[2]):
            self.fail(f"expected WIDTHxHEIGHT such as 1920x1080; got {value!r}.", param, ctx)
        return int(match[1]), int(match[2])


class _Rate(click.ParamType[Any]):
    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        try:
            rate = Fraction(value)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if not 0 < rate <= 1000:
            self.fail(f"expected frames a second such as 25 or 30000/1001; got {value!r}.", param, ctx)
        return rate


class Time(click.ParamType[Any]):
    """Seconds, as an exact fraction."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)s?", str(value).strip())
        if match is None:
            self.fail(f"expected seconds or [HH:]MM:SS.mmm; got {value!r}.", param, ctx)
        return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + Fraction(match[3])


class Frames(click.ParamType[Any]):
    """A range of frames: the first one, and the one after the last or None."""

    name = "A:B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int | None]:
        match = re.fullmatch(r"(\d*):(\d*)", str(value).strip())
        first, end = (int(match[1] or 0), int(match[2]) if match[2] else None) if match else (0, 0)
        if end is not None and end <= first:
            self.fail(f"expected A:B, from frame A (0 is the first) up to B and without it; got {value!r}.", param, ctx)
        return first, end


class Rectangle(click.ParamType[Any]):
    """x, y, width and height in pixels."""

    name = "X,Y,W,H"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int, int]:
        match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", str(value).replace(" ", ""))
        if match is None or not int(match[3]) or not int(match[4]):
            self.fail(f"expected X,Y,WIDTH,HEIGHT such as 100,50,640,480; got {value!r}.", param, ctx)
        return int(match[1]), int(match[2]), int(match[3]), int(match[4])


def part_options(command: Command) -> Command:
    """Options of parts of a film and places in its frames."""
    for option in (
        click.option(
            "--residual",
            type=FileName(path_type=Path),
            help="Also write what was removed, on mid grey: a film (.mkv: lossless) or images.",
        ),
        click.option(
            "--roi", type=Rectangle(), help="Denoise only this rectangle, in stored pixels; the rest stays as it is."
        ),
        click.option("--frames", type=Frames(), help="Only frames A to B, counted from 0, without B."),
        click.option("--end", type=Time(), help="Only up to this time: seconds, or [HH:]MM:SS.mmm."),
        click.option(
            "--start", type=Time(), help="Only from this time on; sound, subtitles and chapters are cut alike."
        ),
    ):
        command = option(command)
    return command


def part_of(request: dict[str, Any]) -> dict[str, Any]:
    """What `part_options` say, taken out of `request`, as fields of the request of a job."""
    from vnlsdenoise.video.part import Part
    from vnlsdenoise.video.region import Region

    part = Part(request.pop("start"), request.pop("end"), request.pop("frames"))
    roi = request.pop("roi")
    return {"part": part, "roi": None if roi is None else Region(*roi)}


def batch_options(command: Command) -> Command:
    """Options of many inputs."""
    for option in (
        click.option(
            "--keep-going/--fail-fast",
            default=True,
            show_default=True,
            help="Of several inputs: go on after one that fails, or stop.",
        ),
        click.option("--container", metavar="ENDING", help="Ending of the films in an output folder, such as .mkv."),
        click.option(
            "--glob", metavar="PATTERN", help="Of folders, only files whose names match, such as '*_raw.mov'."
        ),
        click.option("--recursive", is_flag=True, help="Of folders, also the folders in them; OUTPUT mirrors them."),
    ):
        command = option(command)
    return command


def fleet_options(command: Command) -> Command:
    """Options of work on several devices and machines."""
    for option in (
        click.option(
            "--devices",
            metavar="all|0,2|cpu:N",
            help="Work on several devices at a time: all GPUs, some of this machine, or N processes without one.",
        ),
        click.option(
            "--ray",
            metavar="local|auto|ADDRESS",
            help="Work on the devices of a Ray cluster: this machine, the one that runs here, or one by its address.",
        ),
    ):
        command = option(command)
    return command


def config_options(command: Command) -> Command:
    """Options that come from a file, and what is said besides."""
    for option in (
        click.option(
            "--log-file",
            type=FileName(path_type=Path, dir_okay=False),
            help="Append everything that is said, with the time.",
        ),
        click.option(
            "--print-config", is_flag=True, help="Print the options in force as TOML for --config; do nothing."
        ),
        click.option(
            "--config",
            type=FileName(path_type=Path),
            is_eager=True,
            callback=load,
            help="Take options from a TOML file; the environment and flags win.  "
            "[default: ~/.config/vnlsdenoise/config.toml, if there]",
        ),
    ):
        command = option(command)
    return command


def pipe_options(command: Command) -> Command:
    """Options of video through stdin and stdout."""
    for option in (
        click.option(
            "--pipe-format",
            type=click.Choice(["y4m", "rawvideo"]),
            default="y4m",
            show_default=True,
            help="What output - writes.",
        ),
        click.option(
            "--raw-rate",
            type=_Rate(),
            default="25",
            show_default=True,
            help="Frames a second of raw video through stdin.",
        ),
        click.option(
            "--raw-format",
            default="yuv420p",
            show_default=True,
            help="FFmpeg's pixel format of raw video through stdin.",
        ),
        click.option(
            "--raw-size", type=_Extent(), help="WIDTHxHEIGHT of raw video through stdin; without it y4m is expected."
        ),
    ):
        command = option(command)
    return command


def typed(context: click.Context) -> set[str]:
    """The names of the options that stand on the command line, rather than in a file or the environment."""
    return {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}


def raw_video(request: dict[str, Any]) -> "RawVideo | None":
    """What `pipe_options` say of raw video, taken out of `request`; None where there is none."""
    size, format, rate = (request.pop(f"raw_{name}") for name in ("size", "format", "rate"))
    if size is None:
        if (format, rate) != ("yuv420p", 25):
            raise UsageError(
                "--raw-format and --raw-rate are of raw video, whose size is missing; give --raw-size WxH too"
            )
        return None
    from vnlsdenoise.video.pipes import RawVideo

    return RawVideo(size[0], size[1], format, rate)
