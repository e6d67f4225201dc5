"""What an error means for the user: one line and an exit code."""

import errno
from typing import TypeGuard

from vnlsdenoise.errors import MemoryLimitError, OutputError, VnlsError

INTERNAL = 1


def is_full(error: Exception) -> TypeGuard[OSError]:
    """Whether there was no room to write something."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def explain(error: Exception) -> tuple[str, int]:
    """The line to say and the exit code to leave with."""
    if isinstance(error, VnlsError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        text = "out of memory; the frames do not fit; close other programs or lower --max-memory"
        return text, MemoryLimitError.exit_code
    if is_full(error):
        what = error.filename or "a temporary file"
        return f"cannot write {what}; {error.strerror}; free space and run it again", OutputError.exit_code
    name = type(error).__name__
    return f"internal error: {name}: {error}; a fault of vnlsdenoise; run with -vv and report it", INTERNAL
