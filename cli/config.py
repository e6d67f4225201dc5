"""Options from a file and into one: TOML, with the names that they have on the command line."""

import json
import os
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from vnlsdenoise.errors import UsageError

# What is of one run alone.
_NOT_KEPT = {"config", "print-config", "dry-run", "help", "output", "residual", "start", "end", "frames"}


def _names(command: click.Command) -> dict[str, click.Option]:
    """The options that a file can hold, by their long names without the dashes."""
    found = {}
    for option in command.params:
        long = [name for name in option.opts if name.startswith("--")] if isinstance(option, click.Option) else []
        if long and long[0][2:] not in _NOT_KEPT:
            found[long[0][2:]] = option
    return found  # type: ignore[return-value]


def default_file() -> Path:
    """Where options are looked for that no file is named for."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "vnlsdenoise" / "config.toml"


def load(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Take the options of a file for defaults, below the environment and the command line; raises UsageError."""
    if context.resilient_parsing:
        return path
    used = path or default_file()
    if path is None and not used.is_file():
        return None
    try:
        found = tomllib.loads(used.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read --config {used}; {error}; give another file") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--config {used} is no TOML: {error}; see --print-config for how it looks") from error
    known = _names(context.command)
    if unknown := sorted(set(found) - set(known)):
        close = "; it is of one run alone" if set(unknown) & _NOT_KEPT else ""
        raise UsageError(
            f"--config {used} has unknown key(s): {', '.join(unknown)}{close}; known are {', '.join(known)}"
        )
    defaults: dict[str, Any] = {}
    for name, value in found.items():
        option = known[name]
        if isinstance(value, dict):
            value = [f"{key}={part}" for key, part in value.items()]
        if option.is_flag and not isinstance(value, bool) and not option.count:
            raise UsageError(f"--config {used}: {name} is true or false, got {value!r}; correct it")
        if option.multiple != isinstance(value, list):
            raise UsageError(f"--config {used}: {name} is {'a list' if option.multiple else 'one value'}; correct it")
        assert option.name is not None
        defaults[option.name] = value
    context.default_map = {**(context.default_map or {}), **defaults}
    return used


def dumped(context: click.Context) -> str:
    """The options in force as TOML, which `load` takes; what has no value is left out."""
    lines = [f"# vnlsdenoise {context.command.name}"]
    for name, option in _names(context.command).items():
        assert option.name is not None
        value = _plain(context.params.get(option.name), option)
        if value is not None and value != []:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines)


def _plain(value: Any, option: click.Option) -> Any:
    """A value as the command line would be given it."""
    if value is None:
        return "auto" if option.default == "auto" else None
    if isinstance(value, dict):
        return [f"{key}={part}" for key, part in value.items()]
    if option.name == "raw_size":
        return "x".join(map(str, value))
    if isinstance(value, tuple):
        return list(map(str, value)) if option.multiple else ",".join(f"{part:g}" for part in value)
    return str(value) if isinstance(value, Fraction | Path) else value


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    # Strings, numbers and booleans are written as in JSON, but for one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
