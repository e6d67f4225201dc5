"""One run at a time on one output."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vnlsdenoise.errors import OutputError, UsageError

_MOST_BYTES = 4096  # of a lock


@contextmanager
def hold(path: Path, output: Path, make: bool = True) -> Iterator[None]:
    """Hold the lock file at `path` for `output`; raises UsageError where another run does, OutputError.

    make: False for a lock that is only held if it is there, in a folder that need not be writable.

    The system lets go of the lock when its holder ends, however it does; the process and host in the file are for
    whoever reads it, and for file systems that know no locks.
    """
    handle = _acquire(path, output, make)
    if handle is None:
        yield
        return
    try:
        yield
    finally:
        # Deleted while it is held: who waits for it finds out that it is none any more.
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _acquire(path: Path, output: Path, make: bool) -> int | None:
    while True:
        # Some file systems lock only what is open for writing.
        there = os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY
        try:
            # Through a link what is written here would be written over somebody's file.
            flags = (os.O_RDWR | os.O_CREAT if make else there) | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(path, flags, 0o644)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not make:
                return None
            raise _failed(path, output, error) from error
        try:
            holder = _read(handle)
            if holder is None:
                raise _not_a_lock(path, output)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _busy(output, holder) from None
            except OSError:
                if _alive(holder):
                    raise _busy(output, holder) from None
            if not _is_at(handle, path):
                os.close(handle)
                continue
            if make:
                try:
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
                except OSError as error:
                    raise _failed(path, output, error) from error
            return handle
        except BaseException:
            with suppress(OSError):
                os.close(handle)
            raise


def _failed(path: Path, output: Path, error: OSError) -> OutputError:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return _not_a_lock(path, output, f"{error.strerror}; ")
    return OutputError(f"cannot write {output}; {error.strerror}; check that the folder exists and is writable")


def _not_a_lock(path: Path, output: Path, why: str = "") -> OutputError:
    return OutputError(f"cannot write {output}; {why}move away {path}, which is no lock")


def _read(handle: int) -> dict[str, object] | None:
    """Who holds a lock, as far as it is told in there; None where what stands there is somebody's file.

    A lock is empty until its holder is written into it; a power cut makes zeroes of what was not on the disk yet.
    """
    try:
        content = os.pread(handle, _MOST_BYTES + 1, 0)
    except OSError:
        return {}
    if len(content) > _MOST_BYTES:
        return None
    if not content.strip(b"\0"):
        return {}
    with suppress(ValueError, RecursionError):
        found = json.loads(content)
        if isinstance(found, dict) and found.keys() == {"pid", "host"}:
            return found
    return None


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _alive(holder: dict[str, object]) -> bool:
    """Whether the process of a lock runs, as far as can be told; of another host it is taken to."""
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    return Path(f"/proc/{holder.get('pid')}").exists()


def _busy(output: Path, holder: dict[str, object]) -> UsageError:
    who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
    return UsageError(f"{output} is being written by {who}; two runs would spoil each other's work; wait for its end")
