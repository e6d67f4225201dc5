"""The priority of threads that a codec's library raises, given back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextmanager
def kept_priority() -> Iterator[None]:
    """Threads that turn real-time inside are ordinary again afterwards, where the system tells them.

    SVT-AV1 (4.1), where it may, as root may, gives itself *and the thread that opens it* the highest real-time priority
    (SCHED_FIFO, 99). Every thread and process begun there later inherits it, and a machine with few cores does nothing
    else, input from its keyboard and the network included.
    """
    if not _THREADS.is_dir():
        yield
        return
    before = _real_time()
    try:
        yield
    finally:
        for thread in _real_time() - before:
            try:
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
            except ProcessLookupError:
                continue  # ended meanwhile


def _real_time() -> set[int]:
    """Threads of this process that ordinary ones must wait for."""
    found = set()
    for entry in _THREADS.iterdir():
        try:
            if os.sched_getscheduler(int(entry.name)) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(int(entry.name))
        except ProcessLookupError:
            continue
    return found
