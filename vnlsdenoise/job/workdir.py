"""The work folder of a job: what it is (the manifest), and the pieces that are finished.

    manifest.json     what is made of what: written once, when the job begins
    000000000.json    a finished piece, named after its first frame: written after its data, so that it is there or not
    000000000.chunk   its data: encoded frames, or a folder of images
    read.json         what reading the whole input told; there once every piece is

Everything is written under another name, synced and renamed: a power cut leaves it whole or not there. What is noted
holds the hash of itself: a note that a failing disk has changed is as good as none.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vnlsdenoise.errors import OutputError
from vnlsdenoise.job.publish import LONGEST_NAME, failure, marked_name, sync
from vnlsdenoise.video.sequences import image_names, output_folder

FORMAT = 1
_MANIFEST, _READ, _FAULTS, _PUBLISHED = "manifest.json", "read.json", "faults.json", "published.json"
_ENDING, _TEMPORARY = ".json", ".part"
_HASH = "sha256 of this"
RANGE, SEEN = "range-", "seen-"
"""How what lies in it for workers begins: folders in which they make their pieces, files by which they find it."""
_NOTES = "|".join(re.escape(name) for name in (_MANIFEST, _READ, _FAULTS, _PUBLISHED))
_OWN = re.compile(rf"\.?(?:\d+\.(?:json|chunk)|{_NOTES})(?:\.part)?|(?:{RANGE}|{SEEN})\w+|\.nfs.*")


@dataclass(frozen=True)
class Piece:
    """A finished run of frames.

    first, frames: where it lies in the video. data: name of its file or folder. bytes, sha256: of what is in there.
    fed: `Frame.fed` for the frame after it. depth: `reorder_depth` of its packets. measured: for whole frames or upper
    fields and for lower ones, pairs of (first frame, `NoiseModel.to_json`) that no piece before it has. unsound: frames
    in it that were taken over as they were, because their result was no picture.
    """

    first: int
    frames: int
    data: str
    bytes: int
    sha256: str
    fed: tuple[int, ...] = ()
    depth: int = 0
    measured: tuple[tuple[tuple[int, dict[str, Any]], ...], ...] = ((), ())
    unsound: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        """Number of the frame after it."""
        return self.first + self.frames


class WorkFolder:
    """A folder of one job. output: for which it is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, output: Path, workdir: Path | None, images: bool) -> "WorkFolder":
        """The folder for an output: beside it, hidden, or within `workdir`; for images beside them if theirs exists."""
        final = (output_folder(output) if images else output).absolute()
        if workdir is not None:
            return cls(workdir / _name_of(output, images))
        if not images or not final.is_dir():
            return cls.before(output, images)
        # By whatever way one comes to the folder, these are the images.
        return cls(final / f".{marked_name(image_names(output), image_names(output))}.vnlsdenoise")

    @classmethod
    def before(cls, output: Path, images: bool) -> "WorkFolder":
        """The folder for an output whose own folder of images does not exist: beside that."""
        final = (output_folder(output) if images else output).absolute()
        return cls(final.parent / f".{_name_of(output, images)}.vnlsdenoise")

    @classmethod
    def places(cls, output: Path, workdir: Path | None, images: bool) -> tuple["WorkFolder", ...]:
        """Where there may be work for an output: where it is to be, and where it was begun if that is elsewhere."""
        now, before = cls.of(output, workdir, images), cls.before(output, images)
        return (now,) if workdir is not None or now.path == before.path else (now, before)

    @property
    def lock(self) -> Path:
        """Of the lock file, beside the folder."""
        return self.path.with_name(f"{self.path.name}.lock")

    def manifest(self) -> dict[str, Any] | None:
        """What the job is, None where there is none."""
        found = _read_note(self.path / _MANIFEST)
        return found if found is not None and found.get("format") == FORMAT else None

    def is_unreadable(self) -> bool:
        """Whether there is a manifest that tells nothing: it was changed, or another version wrote it."""
        return os.path.isfile(self.path / _MANIFEST) and self.manifest() is None

    def begin(self, manifest: dict[str, Any]) -> None:
        """Empty the folder and put a new job into it; raises OutputError, also where it holds what is of no job."""
        try:
            if (other := self._others()) is not None:
                raise OutputError(
                    f"cannot make the work folder {self.path}; it holds {other}, which is of no job; move away what "
                    "has its name or choose another --workdir"
                )
            self.remove()
            self.path.mkdir(parents=True)
            self._put(_MANIFEST, {"format": FORMAT, **manifest})
        except OSError as error:
            there = self.path.is_symlink() or (self.path.exists() and not self.path.is_dir())
            what = "move away what has its name" if there else "free space"
            raise OutputError(
                f"cannot make the work folder {self.path}; {error.strerror}; {what} or choose another --workdir"
            ) from error

    def _others(self) -> str | None:
        """A name in it that no job gives, where it is the folder of none; None for none."""
        if not self.path.is_dir() or self.manifest() is not None:
            return None
        return min((entry.name for entry in self.path.iterdir() if not _OWN.fullmatch(entry.name)), default=None)

    def take_over(self, earlier: "WorkFolder") -> None:
        """Go on with the work of `earlier`, which lies elsewhere, as far as there is any that may be moved.

        Raises OutputError. What is here goes first: both are there only where `earlier` could not be moved before.
        """
        movable = all(os.access(place, os.W_OK) for place in (earlier.path, earlier.path.parent))
        if earlier.path == self.path or not earlier.path.is_dir() or not movable:
            return
        if self.manifest() is not None or earlier.manifest() is None:
            earlier.remove()
        else:
            self.remove()
            try:
                shutil.move(earlier.path, self.path)
            except OSError as error:
                if earlier.manifest() is not None:
                    self.remove()  # a copy on another disk, which is not whole
                raise failure(self.path, error) from error

    def pieces(self) -> list[Piece]:
        """All pieces, in order, as they were noted."""
        notes = (_read_note(path) for path in self._records())
        return [_piece(note) for note in notes if note is not None]

    def _records(self) -> list[Path]:
        return sorted(self.path.glob(f"[0-9]*{_ENDING}"))

    def sound_pieces(self) -> tuple[list[Piece], list[str]]:
        """The pieces whose data is there to the last byte, in order, and what is wrong with the others, which go."""
        found, wrong = [], []
        for leftover in (*self.path.glob(f"*{_TEMPORARY}"), *self.path.glob(f"{RANGE}*")):
            delete(leftover)
        for path in self._records():
            try:
                note = _read_note(path)
                if note is None:
                    raise ValueError("its note is not what was written")
                piece = _piece(note)
                if _digest(self.path / piece.data) != (piece.bytes, piece.sha256):
                    raise ValueError("its data is not what was written")
                found.append(piece)
            except (ValueError, OSError) as error:
                wrong.append(f"piece {path.stem} is done again: {error}")
                delete(path)
                delete(path.with_suffix(".chunk"))
        return found, wrong

    def temporary(self, first: int) -> Path:
        """Where the data of a piece is made."""
        return self.path / f"{first:09d}.chunk{_TEMPORARY}"

    def finish(self, first: int, frames: int, **known: Any) -> Piece:
        """Make what lies at `temporary(first)` a piece of the job: synced, renamed, noted."""
        made, data = self.temporary(first), self.path / f"{first:09d}.chunk"
        for file in _files(made):
            sync(file)
        size, digest = _digest(made)
        delete(data)
        os.replace(made, data)
        piece = Piece(first, frames, data.name, size, digest, **known)
        self._put(f"{first:09d}{_ENDING}", asdict(piece))
        return piece

    def adopt(self, piece: Piece, data: "Path | dict[str, bytes]") -> None:
        """Take over a piece that was finished elsewhere: in a folder of the same file system, or sent as `contents`.

        Raises ValueError where it is not what was sent.
        """
        target = self.path / piece.data
        delete(target)
        if isinstance(data, Path):
            os.replace(data / piece.data, target)
        else:
            made = self.temporary(piece.first)
            delete(made)
            write_contents(made, data)
            for file in _files(made):
                sync(file)
            if _digest(made) != (piece.bytes, piece.sha256):
                raise ValueError(f"the piece from frame {piece.first} on did not arrive as it was sent")
            os.replace(made, target)
        self._put(f"{piece.first:09d}{_ENDING}", asdict(piece))

    def contents(self, piece: Piece) -> dict[str, bytes]:
        """The data of a piece, by the names of its files; that of a lone file by ""."""
        data = self.path / piece.data
        return {"" if file == data else file.name: file.read_bytes() for file in _files(data)}

    def drop(self, first: int) -> None:
        """Remove what lies at `temporary(first)`."""
        delete(self.temporary(first))

    def finish_reading(self, told: dict[str, Any]) -> None:
        """Note what reading the whole input told: all pieces are there."""
        self._put(_READ, told)

    def reading(self) -> dict[str, Any] | None:
        """What `finish_reading` noted, None before."""
        return _read_note(self.path / _READ)

    def note_publishing(self, made: Iterable[Path]) -> None:
        """Note the files that are about to get the names of the output."""
        states = [file.stat() for file in made]
        self._put(_PUBLISHED, {"files": [[status.st_dev, status.st_ino] for status in states]})

    def has_published(self, found: Path) -> bool:
        """Whether what has a name of the output is this job's own: only what comes after is missing."""
        noted = _read_note(self.path / _PUBLISHED) or {}
        try:
            status = found.stat()
        except OSError:
            return False
        return [status.st_dev, status.st_ino] in noted.get("files", [])

    def fail_at(self, first: int) -> int:
        """Note that the device failed before the piece from frame `first` on was done; how often it has there."""
        before = _read_note(self.path / _FAULTS) or {}
        times = int(before.get("times", 0)) + 1 if before.get("first") == first else 1
        self._put(_FAULTS, {"first": first, "times": times})
        return times

    def faults(self) -> int:
        """How often the device has failed where it did last."""
        return int((_read_note(self.path / _FAULTS) or {}).get("times", 0))

    def size(self) -> int:
        """Bytes of everything in it."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def remove(self) -> None:
        """Delete the folder; what else has its name stays, which is somebody's."""
        if self.path.is_dir() and self._others() is None:
            # The manifest goes first: what is left of an interrupted deletion is no job.
            delete(self.path / _MANIFEST)
            shutil.rmtree(self.path, ignore_errors=True)

    def _put(self, name: str, content: dict[str, Any]) -> None:
        write_json(self.path / name, {**content, _HASH: _hash_of(content)})


def write_json(path: Path, content: dict[str, Any], indent: int | None = None) -> None:
    """Write JSON so that it stands there whole or not at all; raises OSError."""
    temporary = path.with_name(f".{path.name[:LONGEST_NAME]}{_TEMPORARY}")
    try:
        temporary.write_text(json.dumps(content, indent=indent) + "\n")
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_contents(path: Path, contents: dict[str, bytes]) -> None:
    """The inverse of `WorkFolder.contents`."""
    if "" in contents:
        path.write_bytes(contents[""])
        return
    path.mkdir()
    for name, content in contents.items():
        (path / name).write_bytes(content)


def missing(pieces: Sequence[Piece]) -> Iterator[tuple[int, int | None, tuple[int, ...]]]:
    """(first, end, fed) of every run of frames that no piece holds; the last one has no end."""
    at: int = 0
    fed: tuple[int, ...] = ()
    for piece in pieces:
        if piece.first > at:
            yield at, piece.first, fed
        at, fed = piece.end, piece.fed
    yield at, None, fed


def _name_of(output: Path, images: bool) -> str:
    """That of an output, and of its images, wherever the folder lies."""
    final = (output_folder(output) if images else output).absolute()
    return marked_name(final.name, f"{final}\n{image_names(output) if images else ''}")


def _piece(record: dict[str, Any]) -> Piece:
    measured = tuple(tuple((int(first), noise) for first, noise in field) for field in record["measured"])
    return Piece(**{**record, "fed": tuple(record["fed"]), "measured": measured, "unsound": tuple(record["unsound"])})


def _read_note(path: Path) -> dict[str, Any] | None:
    """What `_put` wrote, None where that is not what stands there."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.pop(_HASH, None) == _hash_of(found) else None


def _hash_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _digest(path: Path) -> tuple[int, str]:
    """(bytes, SHA-256) of a file, or of the files of a folder with their names."""
    total, digest = 0, hashlib.sha256()
    for file in _files(path):
        if path.is_dir():
            digest.update(os.fsencode(file.name) + b"\0")
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
            total += opened.tell()
    return total, digest.hexdigest()


def delete(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing where there is none. Raises OSError."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
