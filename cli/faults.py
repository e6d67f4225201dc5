"""What an error means for the user: one line and an exit code."""

from vnlsdenoise.errors import MemoryLimitError, VnlsError

INTERNAL = 1


def explain(error: Exception) -> tuple[str, int]:
    """The line to say and the exit code to leave with."""
    if isinstance(error, VnlsError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        text = "out of memory; the frames do not fit; close other programs or lower --max-memory"
        return text, MemoryLimitError.exit_code
    name = type(error).__name__
    return f"internal error: {name}: {error}; a fault of vnlsdenoise; run with -vv and report it", INTERNAL
