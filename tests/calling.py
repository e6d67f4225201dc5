"""The command line called as a user calls it: a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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


def called_here(*arguments: object) -> None:
    """One call within this process, which has loaded everything already; what fails raises."""
    from vnlsdenoise.cli.main import commands

    commands.main([str(word) for word in arguments], prog_name="vnlsdenoise", standalone_mode=False)
