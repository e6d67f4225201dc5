"""Devices that failed in this process, which can then only end."""

import os
import sys
from typing import NoReturn

_faults: list[BaseException] = []


def lose(fault: BaseException) -> None:
    """A device has failed, and whatever is asked of it from now on fails; `fault` is what is raised for it.

    It is kept, with all the tensors that its traceback leads to: to free one of them would abort the process.
    """
    _faults.append(fault)


def end_process(code: int) -> NoReturn:
    """Leave with an exit code.

    Where a device failed, at once: nothing that lies on it may be freed.
    """
    if not _faults:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(code)
