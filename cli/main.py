"""The entry point: the group of commands, and the one place where errors become exit codes."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from types import FrameType
from typing import Any, NoReturn, TextIO, cast

import click
from click_default_group import DefaultGroup
from vnlsdenoise.cli.bench import bench
from vnlsdenoise.cli.compare import compare
from vnlsdenoise.cli.completion import completion
from vnlsdenoise.cli.denoise import denoise
from vnlsdenoise.cli.doctor import doctor
from vnlsdenoise.cli.estimate import estimate
from vnlsdenoise.cli.faults import explain
from vnlsdenoise.cli.info import info
from vnlsdenoise.cli.preview import preview
from vnlsdenoise.cli.resume import resume
from vnlsdenoise.cli.talk import Stdout, say, talk
from vnlsdenoise.cli.verify import verify

from vnlsdenoise.engine.lost import end_process
from vnlsdenoise.errors import ReaderGoneError

PREFIX = "VNLSDENOISE"
_INTERRUPTED = 130
_BY_SIGNAL = 128  # and its number


class _Terminated(BaseException):
    """A signal arrived; unwinds like Ctrl-C, so that temporary files go and what is finished is kept."""


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"vnlsdenoise {metadata.version('vnlsdenoise')}")
        context.exit()


@click.group(
    cls=DefaultGroup,
    default="denoise",
    default_if_no_args=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version and exit."
)
def commands() -> None:
    """Denoise video: vnlsdenoise INPUT -o OUTPUT.

    `denoise` is the default command; see `vnlsdenoise denoise --help` for its options. Every option can be set by an
    environment variable such as VNLSDENOISE_PRESET. A file named like a command is given as ./name.

    Exit codes: 0 done, 1 internal error, 2 usage, 3 input missing or unreadable, 4 output not writable or disk full,
    5 no usable device, 6 out of memory, 7 finished but the input was damaged or short, 8 verification failed,
    9 some of several inputs failed, 75 interrupted and to be continued by the same command, 130 interrupted, 143
    terminated.
    """


for command in (denoise, resume, verify, info, estimate, preview, compare, bench, doctor, completion):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    sys.stdout = cast(TextIO, Stdout(sys.stdout))
    _fill_standard_streams()
    # Decoder, encoder and kernels share the cores: threads that spin while they wait take them from the others (a
    # third of the speed was left on two busy cores). Read when torch loads, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Of AV1's encoder, which else tells its settings at every piece: errors only.
    os.environ.setdefault("SVT_LOG", "1")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _interrupt)
    end_process(_run(arguments))


def _fill_standard_streams() -> None:
    """Open what is closed of stdin, stdout and stderr: else a file gets its number, and what libraries say there."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """The first signal ends the work in order; a SIGINT after it ends it at once, as a power cut would.

    Schedulers send SIGTERM more than once: what is ending goes on ending, and tells by 75 that it may be continued.
    """
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(again, _end_at_once)
    raise KeyboardInterrupt if number == signal.SIGINT else _Terminated(number)


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        os._exit(_INTERRUPTED)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result: Any = commands.main(
            arguments, prog_name="vnlsdenoise", standalone_mode=False, auto_envvar_prefix=PREFIX
        )
    except ReaderGoneError as error:
        talk.note(str(error), least=1)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return error.exit_code
    except click.ClickException as error:
        hint = f"see {error.ctx.command_path} --help" if isinstance(error, click.UsageError) and error.ctx else ""
        return _fail(f"{error.format_message()} {hint}", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted; nothing was published; run it again", _INTERRUPTED)
    except _Terminated as error:
        return _fail("terminated; nothing was published; run it again", _BY_SIGNAL + error.args[0])
    except Exception as error:
        return _fail(*explain(error))
    return result if isinstance(result, int) else 0


def _fail(text: str, code: int) -> int:
    if talk.verbosity >= 2:
        traceback.print_exc()
    talk.error(text)
    return code
