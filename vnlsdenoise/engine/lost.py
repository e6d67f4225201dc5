"""Devices that failed in this process, which can then only end."""

import os
import sys
from typing import NoReturn

_failed: list[str] = []


def lose(device: str) -> None:
    """The device has failed: whatever is asked of it from now on fails."""
    _failed.append(device)


def end_process(code: int) -> NoReturn:
    """Leave with an exit code.

    Where a device failed at once: to free what still lies on it would abort the process.
    """
    if not _failed:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)
