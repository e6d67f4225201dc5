"""New memory full of zeroes, for encoders that read what they never wrote.

x264's macroblock tree does (no-mbtree=1 ends it): in a process in which other encoders have been, its bytes then depend
on what they left behind. x265 does at frames of some 64 pixels.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_M_PERTURB, _ZEROES = -6, 255  # malloc.h of glibc: new memory is filled with the complement

_lock = threading.Lock()
_users = 0


@contextmanager
def zeroed_memory() -> Iterator[None]:
    """Within, all memory that this process takes begins as zeroes; nothing changes where the C library is not glibc."""
    _change(1)
    try:
        yield
    finally:
        _change(-1)


def _change(by: int) -> None:
    global _users
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    with _lock:
        before, _users = _users, _users + by
        if (before == 0) != (_users == 0):
            library.mallopt(_M_PERTURB, _ZEROES if _users else 0)
