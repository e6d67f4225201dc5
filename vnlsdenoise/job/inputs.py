"""Many inputs: which films and shots the names mean, and what each output is called."""

import fnmatch
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vnlsdenoise.errors import InputError, OutputError, UsageError
from vnlsdenoise.job.publish import looking_at
from vnlsdenoise.video.encoders import CONTAINERS
from vnlsdenoise.video.open import check_readable
from vnlsdenoise.video.pipes import PIPE
from vnlsdenoise.video.sequences import IMAGE_ENDINGS, image_names, is_sequence, list_images
from vnlsdenoise.video.stills import shapes_of

VIDEO_ENDINGS = frozenset(CONTAINERS) | {
    *(".3g2", ".3gp", ".amv", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m1v", ".m2p", ".m2t"),
    *(".m2ts", ".m2v", ".mj2", ".mod", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm"),
    *(".rmvb", ".tod", ".tp", ".trp", ".ts", ".vob", ".vro", ".wmv", ".wtv", ".y4m"),
    *(".264", ".265", ".h264", ".h265", ".hevc", ".ivf", ".obu"),
}
"""What is taken for a film in a folder; a file that is named itself may be called anything."""
_DEFAULT_ENDING = ".mkv"  # which holds every kind of stream
_OTHER_IMAGES = (
    *(".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tga", ".jp2", ".ppm", ".pgm", ".heic"),
    *(".dng", ".cr2", ".nef", ".arw"),
)
_MARKS = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Found:
    """A film or shot. place: where it stands below the folder that was named, which the output mirrors."""

    path: Path
    place: Path


@dataclass(frozen=True)
class Task:
    """One input and its output."""

    source: Path
    output: Path


def tasks_of(
    names: Sequence[Path], output: str | None, recursive: bool, glob: str | None, ending: str | None
) -> list[Task] | None:
    """What is to be done where that is more than one input into one output, else None.

    output: as the user gave it; a slash at its end means a folder. Raises UsageError, InputError and OutputError.
    """
    if output is None or output == "-":
        if len(names) > 1 or recursive or glob:
            raise UsageError("several inputs need a folder for their outputs; give -o FOLDER")
        return None
    folder = Path(output)
    for name in names:
        if name != PIPE:
            check_readable(name)
    with looking_at(output):
        is_folder, is_file = folder.is_dir(), folder.is_file()
    if len(names) == 1 and not recursive and glob is None:
        into_folder = output.endswith(os.sep) or is_folder
        if not _means_several(names[0]) and not (into_folder and _is_film(names[0])):
            return None
    if folder.suffix.lower() in (*CONTAINERS, *IMAGE_ENDINGS) or is_file:
        raise UsageError(f"output {folder} is one file, and there are several inputs; give a folder")
    if is_folder and not os.access(folder, os.R_OK | os.X_OK):
        raise OutputError(f"cannot look into {output}; Permission denied; check who may, or give another folder")
    return name_outputs(find_inputs(names, recursive, glob, folder), folder, ending)


def left_out(
    names: Sequence[Path],
    several: bool,
    recursive: bool = False,
    glob: str | None = None,
    leave_out: Path | None = None,
) -> Iterator[str]:
    """What is not taken as it may have been meant, in words.

    names: as the user gave them; several: whether they mean more than one input; recursive, glob, leave_out: as for
    `find_inputs`.
    """
    if not several and names[0].is_dir():
        films = sum(_is_film(entry) for entry in names[0].iterdir())
        if films:
            yield f"{names[0]} holds {films} film(s) beside its images, which are left out; --recursive takes both"
    for folder in (name for name in names if several and glob is None and name.is_dir()):
        yield from _passed_over(folder, recursive, leave_out)
    beside = Counter(name.parent for name in names if _is_one_image(name))  # A stack of images is a film.
    if any(count > 1 for count in beside.values()):
        yield (
            f"{beside.total()} images are named one by one, and denoised each by itself, which leaves more noise; give "
            "their folder, or their pattern in quotes, to take them for the frames of a film"
        )


def _passed_over(folder: Path, recursive: bool, leave_out: Path | None) -> Iterator[str]:
    """What of a folder is neither film nor image, a line for every kind however many there are."""
    kinds, holders, links = Counter[str](), list[Path](), list[Path]()
    for where, folders, files in _walked(folder, recursive, leave_out):
        if found := _unread_kinds(files):
            kinds += found
            holders.append(where)
        links += (where / name for name in folders if (where / name).is_symlink())
    if holders:
        hold = f"{holders[0]} holds" if len(holders) == 1 else f"{len(holders)} folders, {holders[0]} the first, hold"
        yield f"{hold} {_counted(kinds)}, left out: images of these kinds are not read; convert them first"
    if len(links) == 1:
        yield f"{links[0]} is a link to a folder, which is not followed; give it as an input of its own"
    elif links:
        yield f"{len(links)} links to folders, {links[0]} the first, are not followed; give them as inputs of their own"


def _is_film(name: Path) -> bool:
    return name.is_file() and name.suffix.lower() in VIDEO_ENDINGS


def _means_several(name: Path) -> bool:
    """Whether a name means films: a folder without images, or a glob of what are none."""
    if name.is_dir():
        return not any(entry.suffix.lower() in IMAGE_ENDINGS for entry in name.iterdir())
    return name != PIPE and not name.exists() and bool(_MARKS.search(name.name)) and not is_sequence(name)


def find_inputs(
    names: Sequence[Path], recursive: bool = False, glob: str | None = None, leave_out: Path | None = None
) -> list[Found]:
    """The films and shots that names mean, in their order: files, folders of films, folders of frames, globs, patterns.

    recursive: look into the folders of folders, too. glob: only files of folders whose names match. leave_out: a folder
    that is not looked into, that of the outputs. Raises InputError where a name means nothing.
    """
    found: list[Found] = []
    for name in names:
        if name == PIPE:
            raise UsageError("- is one input and cannot stand among others; run it by itself")
        here = list(_meant(name, recursive, glob, leave_out))
        if not here:
            more = "" if recursive or not name.is_dir() else ", or --recursive for the folders in it"
            looked = f"matching {glob}" if glob else f"({', '.join(sorted(VIDEO_ENDINGS))})"
            images = f"no images ({', '.join(IMAGE_ENDINGS)})"
            raise InputError(f"{name} holds no film {looked} and {images}{_others(name)}; check the name{more}")
        found += [one for one in here if one not in found]
    return found


def _others(folder: Path) -> str:
    """A word on the pictures of a folder that are not read."""
    found = _unread(entry.name for entry in folder.iterdir()) if folder.is_dir() else ""
    return f", but {found}, which must be converted to one of these first" if found else ""


def _unread(files: Iterable[str]) -> str:
    """How many images there are of each kind that is not read; "" for none."""
    return _counted(_unread_kinds(files))


def _unread_kinds(files: Iterable[str]) -> Counter[str]:
    """How often there is each ending of images that are not read."""
    endings = (Path(name).suffix.lower() for name in files if not name.startswith("."))
    return Counter(ending for ending in endings if ending in _OTHER_IMAGES)


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{kinds[ending]} {ending}" for ending in _OTHER_IMAGES if kinds[ending])


def _meant(name: Path, recursive: bool, glob: str | None, leave_out: Path | None) -> Iterator[Found]:
    if name.is_dir():
        yield from _in_folder(name, recursive, glob, leave_out)
    elif not name.exists() and _MARKS.search(name.name) and not is_sequence(name):
        for entry in sorted(name.parent.iterdir(), key=_natural) if name.parent.is_dir() else ():
            if entry.match(name.name) and not entry.name.startswith("."):
                yield from (
                    _in_folder(entry, recursive, glob, leave_out)
                    if entry.is_dir()
                    else [Found(entry, Path(entry.name))]
                )
    elif name.suffix.lower() in IMAGE_ENDINGS and not name.exists():
        yield Found(name, Path(name.parent.resolve().name))
    elif not name.exists():
        raise InputError(f"input {name} does not exist; nothing to read; check the name")
    else:
        yield Found(name, Path(name.stem if is_sequence(name) else name.name))


def _in_folder(folder: Path, recursive: bool, glob: str | None, leave_out: Path | None) -> Iterator[Found]:
    unreadable: list[OSError] = []
    for here, _, files in _walked(folder, recursive, leave_out, unreadable.append):
        below = here.relative_to(folder)
        names = [name for name in files if not name.startswith(".") and (glob is None or fnmatch.fnmatch(name, glob))]
        if any(Path(name).suffix.lower() in IMAGE_ENDINGS for name in names):
            place = below if below.parts else Path(folder.resolve().name)
            yield Found(here if glob is None else here / glob, place)
        for path in sorted((here / name for name in names), key=_natural):
            if path.suffix.lower() in VIDEO_ENDINGS or (glob is not None and path.suffix.lower() not in IMAGE_ENDINGS):
                yield Found(path, below / path.name)
    for error in unreadable:  # Each fails by itself, as a film does that cannot be read.
        where = Path(error.filename)
        yield Found(where, where.relative_to(folder))


def _walked(
    folder: Path, recursive: bool, leave_out: Path | None, failed: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """A folder, and those in it where `recursive`, as `os.walk` gives them; hidden ones and `leave_out` are passed
    over."""
    outputs = leave_out.resolve() if leave_out is not None else None
    for where, folders, files in os.walk(folder, onerror=failed):
        here = Path(where)
        shown = (name for name in folders if recursive and not name.startswith("."))
        folders[:] = sorted(
            (name for name in shown if (here / name).resolve() != outputs), key=lambda name: _natural(Path(name))
        )
        yield here, folders, files


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def name_outputs(found: Sequence[Found], folder: Path, ending: str | None = None) -> list[Task]:
    """Where each goes below `folder`: films under their own names, shots into folders with the names of their images.

    ending: of all films, such as ".mkv"; None keeps those that can be written, and takes .mkv for others. Raises
    UsageError where two would become one, or one would become an input.
    """
    if ending is not None and not ending.startswith("."):
        ending = f".{ending}"
    if ending is not None and ending.lower() not in CONTAINERS:
        raise UsageError(f"--container {ending} cannot be written; expected one of {', '.join(CONTAINERS)}")
    tasks = [Task(one.path, _output(one, folder, ending)) for one in found]
    wanted: dict[Path, list[Path]] = defaultdict(list)
    for task in tasks:
        wanted[task.output.absolute()].append(task.source)
    for output, sources in wanted.items():
        if len(sources) > 1:
            raise UsageError(
                f"{' and '.join(map(str, sources))} would both become {output}; nothing was done; rename one, "
                "or run them with different outputs"
            )
    inputs = {task.source.resolve() for task in tasks}
    for task in tasks:
        if task.output.resolve() in inputs:
            raise UsageError(f"output {task.output} is an input; it would be lost; give another folder")
    return tasks


def _output(one: Found, folder: Path, ending: str | None) -> Path:
    if _is_one_image(one.path) and "%" not in one.path.name:  # as the name of an output that would be a pattern
        return folder / one.place.with_name(one.path.name)
    if one.path.is_dir() and not os.access(one.path, os.R_OK | os.X_OK):
        return folder / one.place
    if is_sequence(one.path):
        return folder / one.place / _names_like(list_images(one.path, "ignore")[0])
    place = folder / one.place
    own = place.suffix if place.suffix.lower() in CONTAINERS else _DEFAULT_ENDING
    return place.with_suffix(ending or own)


def _is_one_image(path: Path) -> bool:
    if path.suffix.lower() not in IMAGE_ENDINGS or not path.is_file() or not is_sequence(path):
        return False
    with suppress(InputError):
        return len(shapes_of(path)) == 1
    return True  # What is wrong with it is told when it is read.


def _names_like(image: Path) -> str:
    """The pattern of names that the images of a shot have; as for a folder where they have no numbers."""
    number = re.search(r"(\d+)(?=\D*$)", image.stem)
    if number is None or "%" in image.name:
        return image_names(Path("images"), image.suffix.lower().lstrip("."))
    width = len(number[1]) if number[1].startswith("0") else 0
    counter = f"%0{width}d" if width else "%d"
    return image.stem[: number.start()] + counter + image.stem[number.end() :] + image.suffix
