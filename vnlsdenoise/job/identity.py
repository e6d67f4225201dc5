"""What tells that an input is still the one that a job began with."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vnlsdenoise.errors import InputError
from vnlsdenoise.video.sequences import is_sequence, list_images

_ENDS, _SAMPLE, _SAMPLES = 1 << 20, 1 << 16, 16  # bytes of head and tail, of a sample between them, and how many
_IMAGES = 8  # of a sequence, whose content is looked at


def identify(path: Path) -> dict[str, Any]:
    """Size, time of the last change, and a hash of head, tail and samples; of images also their names.

    Raises InputError where the input is gone.
    """
    try:
        files = _files(path)
        stats = [file.stat() for file in files]
        digest = hashlib.sha256()
        if len(files) > 1:
            names = [(file.name, s.st_size, s.st_mtime_ns) for file, s in zip(files, stats, strict=True)]
            digest.update(json.dumps(names).encode())
        for number in _spread(len(files), _IMAGES):
            _sample(files[number], stats[number].st_size, digest)
    except OSError as error:
        raise _gone(path, error) from error
    size, changed = sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)
    return {"size": size, "mtime_ns": changed, "hash": digest.hexdigest()}


def check_unchanged(path: Path, identity: dict[str, Any]) -> None:
    """Raise InputError where size or time of the input are other than in `identity`."""
    try:
        stats = [file.stat() for file in _files(path)]
    except OSError as error:
        raise _gone(path, error) from error
    now = sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)
    if now != (identity["size"], identity["mtime_ns"]):
        raise InputError(
            f"{path} was changed while it was read; what was made of it would be of two films; nothing was published; "
            "run it again when it is complete"
        )


def _gone(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be read any more; {error.strerror or error}; bring it back and run again")


def _files(path: Path) -> list[Path]:
    return list_images(path, "ignore") if is_sequence(path) else [path]


def _sample(path: Path, size: int, digest: Any) -> None:
    places: Iterable[tuple[int, int]] = [(0, _ENDS), (max(0, size - _ENDS), _ENDS)]
    between = max(0, size - 2 * _ENDS)
    places = [*places, *((_ENDS + between * part // _SAMPLES, _SAMPLE) for part in range(_SAMPLES if between else 0))]
    with path.open("rb") as file:
        for place, count in places:
            file.seek(place)
            digest.update(file.read(count))


def _spread(count: int, most: int) -> list[int]:
    return sorted({part * (count - 1) // max(1, most - 1) for part in range(most)})
