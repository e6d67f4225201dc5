"""Make a result appear under its final name only when it is complete."""

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vnlsdenoise.errors import OutputError

_RESERVE = 1 << 20
LONGEST_NAME = 150  # bytes of the output's name, so that all that is made of it stays within 255


@contextmanager
def looking_at(output: Path | str) -> Iterator[None]:
    """For what is asked of an output's place before the work; raises OutputError where that may not be looked at."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {output}; {error.strerror or error}; check name and rights") from error


@contextmanager
def publish_file(final: Path) -> Iterator[Path]:
    """Give a temporary name beside `final`; on a clean exit sync it and rename it to `final`, else delete it.

    Raises OutputError where the folder is missing or not writable, or the disk is full.
    """
    temporary = _beside(final)
    try:
        _claim(temporary, final)
        yield temporary
        sync(temporary)
        os.replace(temporary, final)
        sync(final.parent)
    except OSError as error:
        raise failure(final, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def publish_text(final: Path, text: str) -> None:
    """Write a page or a table, whole or not at all; through a link, the file that it leads to. Raises OutputError."""
    with publish_file(final.resolve()) as made:
        made.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


@contextmanager
def scratch_file(final: Path) -> Iterator[Path]:
    """Give a temporary name beside `final`, for a trial; whatever happens it is deleted."""
    temporary = _beside(final)
    try:
        _claim(temporary, final)
        yield temporary
    except OSError as error:
        raise failure(final, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def publish_folder(final: Path, names: str) -> Iterator[Path]:
    """The same for the images of a folder: all are moved into `final`, which may exist, once the last is complete.

    names: of the images, which tell it from what else is written into the folder. Folders on the way to it are made.
    The temporary name is within `final` where that exists: of the folder above it nothing is asked then.
    """
    final = final.absolute()
    temporary = _beside(final, names)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        for image in temporary.iterdir():
            sync(image)
        if final.exists():
            for image in sorted(temporary.iterdir()):
                os.replace(image, final / image.name)
            sync(final)
        else:
            os.replace(temporary, final)
            sync(final.parent)
    except OSError as error:
        raise failure(final, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(final: Path, names: str = "") -> None:
    """Delete what runs that were killed have left of `final`, as far as that may be; for who holds the lock of it.

    names: of images, where `final` is their folder; they may have begun before it was there.
    """
    final = final.absolute()
    for place in (final, final / names) if names else (final,):
        name = re.compile(re.escape(f".{_stem(place, names)}.") + r"[0-9a-f]{8}\.part")
        with suppress(OSError):
            for entry in place.parent.iterdir():
                if name.fullmatch(entry.name):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def check_space(final: Path, needed: int) -> None:
    """Raise OutputError where the disk of `final` has less than `needed` bytes left."""
    folder = final  # of images, perhaps a disk of its own
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    disk = shutil.disk_usage(folder)
    needed += _RESERVE
    # A file system without a size, such as /proc, is not full.
    if disk.total and disk.free < needed:
        raise OutputError(
            f"cannot write {final}; about {needed / 1e6:.1f} MB are needed and {disk.free / 1e6:.1f} MB are free; "
            "free space or choose another place"
        )


def _beside(final: Path, names: str = "") -> Path:
    place = final / names if names and final.is_dir() else final
    return place.with_name(f".{_stem(place, names)}.{secrets.token_hex(4)}.part")


def _stem(final: Path, names: str = "") -> str:
    if names:
        return marked_name(final.name, names)
    # Cut by bytes: with the decoration the name must stay within the 255 that file systems allow.
    return os.fsdecode(os.fsencode(final.name)[:200])


def marked_name(name: str, told: str) -> str:
    """A name, cut to `LONGEST_NAME`, with the mark of what `told` is all of, by which it is known."""
    cut = os.fsdecode(os.fsencode(name)[:LONGEST_NAME])
    return f"{cut}.{hashlib.sha256(os.fsencode(told)).hexdigest()[:8]}"


def _claim(temporary: Path, final: Path) -> None:
    if final.is_dir():
        raise OutputError(f"cannot write {final}; it is a folder; give a file name")
    temporary.touch(exist_ok=False)


def sync(path: Path) -> None:
    """Have a file or folder written to the disk; raises OSError."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # that may be written, not read; the file itself has been synced
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems cannot sync a folder; the file itself has been synced.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def failure(final: Path, error: OSError) -> OutputError:
    """What an error of the system while `final` is made means for the user."""
    reason = error.strerror or str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    what = "free space or choose another place" if full else "check that the folder exists and is writable"
    return OutputError(f"cannot write {final}; {reason}; {what}")
