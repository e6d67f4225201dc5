"""The command line called as a user calls it: a process of its own, or for what takes none the same within this one."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

COMMAND = [sys.executable, "-c", "from vnlsdenoise.cli.main import main; main()"]


def call(
    *arguments: object, folder: Path | None = None, before: Callable[[], None] | None = None, **variables: str
) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of one call."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        preexec_fn=before,
        env={**os.environ, **variables},
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def assert_error(result: tuple[int, str, str], code: int, *words: str) -> None:
    """One line on stderr that holds `words`, nothing on stdout."""
    status, out, err = result
    assert status == code, err
    assert out == ""
    [line] = [line for line in err.splitlines() if line.startswith("vnlsdenoise: error: ")]
    assert "Traceback" not in err
    assert all(word in line for word in words), line


def called(*arguments: object, folder: Path | None = None, **variables: str) -> tuple[int, str, str]:
    """The same within this process, which has loaded everything already: what only a new one does is not done."""
    from vnlsdenoise.cli import main
    from vnlsdenoise.cli.talk import talk

    talk.verbosity = 0
    with (
        patch.dict(os.environ, variables),
        nullcontext() if folder is None else chdir(folder),
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
    ):
        code = main._run([str(word) for word in arguments])
    return code, out.getvalue(), err.getvalue()


def called_here(*arguments: object) -> None:
    """One call within this process, which has loaded everything already; what fails raises."""
    from vnlsdenoise.cli.main import commands

    commands.main([str(word) for word in arguments], prog_name="vnlsdenoise", standalone_mode=False)
