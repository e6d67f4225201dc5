"""What a finished run did: for the caller, and as JSON beside the result."""

import hashlib
import json
import platform
import re
import sys
from array import array
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from vnlsdenoise.errors import InputError, OutputError, UsageError
from vnlsdenoise.job.plan import Plan, writes_images
from vnlsdenoise.job.workdir import write_json
from vnlsdenoise.video.damage import Damage
from vnlsdenoise.video.sequences import has_counter, output_folder
from vnlsdenoise.video.write import Written

if TYPE_CHECKING:
    from vnlsdenoise.classic.scenewise import Scene

FORMAT = 1
_KIND = "vnlsdenoise_report"
# Of a report, what a finished output is checked by.
_CHECKED_BY: dict[str, tuple[type, dict[str, type]]] = {
    "output": (dict, {"bytes": int, "sha256": str}),
    "input": (dict, {"path": str}),
    "frames": (int, {}),
    "request": (dict, {}),
}


@dataclass(frozen=True)
class Report:
    """What a finished run did.

    kept: frames that earlier, interrupted runs had finished. unsound: frames whose result was no picture twice, and
    which were taken over as they were. seconds: what the parts of this run took. facts: the report as plain values.
    """

    output: Path
    frames: int
    damage: Damage
    warnings: tuple[str, ...]
    scenes: tuple["Scene", ...] = ()
    kept: int = 0
    unsound: tuple[int, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def summary_of(plan: Plan, done: Report) -> dict[str, Any]:
    """The plan, and what became of it, as plain values for JSON."""
    return {
        **plan.as_dict(),
        "frames": done.frames,
        "scenes": [{"first": s.first, "frames": s.frames, "noise": s.noise.as_dict()} for s in done.scenes],
        "damage": vars(done.damage),
        "warnings": list(done.warnings),
        "kept": done.kept,
        "seconds": done.seconds,
    }


def report_of(
    plan: Plan, identity: dict[str, Any], done: Report, written: Written | None, files: list[Path]
) -> dict[str, Any]:
    """Everything that is told of a finished run, as plain values for JSON.

    files: of the output, which are read for their hash.
    """
    told = plan.as_dict()
    facts: dict[str, Any] = {
        _KIND: FORMAT,
        "versions": versions(plan.settings is not None),
        "input": {"path": str(plan.request.input.absolute()), **identity, "video": told["input"]},
        "output": {"path": str(done.output.absolute()), **hashed(files, writes_images(done.output))},
        "frames": done.frames,
        "request": plan.request.to_json(),
        "settings": told["settings"],
        "encoder": told["encoder"],
        "fates": told["fates"],
        "scenes": [
            {"first": scene.first, "frames": scene.frames, "noise": scene.noise.as_dict()} for scene in done.scenes
        ],
        "damage": asdict(done.damage),
        "unsound": list(done.unsound),
        "warnings": list(done.warnings),
        "kept": done.kept,
        "seconds": done.seconds,
    }
    if written is not None:
        from_first = array("q", (stamp - written.pts[0] for stamp in written.pts))
        facts["pts"] = {"time_base": str(written.time_base), "from_first": pts_hash(from_first)}
        facts["streams"] = [
            {"stream": index, "written": tally.index, "content": tally.count, "crc32": f"{tally.crc:08x}"}
            for index, tally in written.copied.items()
        ]
    return facts


def versions(with_torch: bool) -> dict[str, str]:
    """Of everything that makes the bytes of a result."""
    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    found = {"vnlsdenoise": metadata.version("vnlsdenoise"), "av": av.__version__, "libavcodec": ffmpeg}
    if with_torch:
        found["torch"] = metadata.version("torch")
    return {**found, "python": platform.python_version(), "platform": sys.platform}


def pts_hash(pts: "array[int]") -> str:
    """SHA-256 of time stamps."""
    return hashlib.sha256(pts.tobytes()).hexdigest()


def check_report_place(path: Path, output: Path) -> None:
    """Raise UsageError where a file stands in the place of the report that is none, OutputError for a folder, or none
    to write into; that of the usual report is made with the output."""
    try:
        is_there, is_folder = path.exists(), path.is_dir()
        has_folder = path.parent.is_dir() or path.absolute() == usual_report(output).absolute()
    except OSError as error:
        raise OutputError(
            f"cannot write the report {path}; {error.strerror or error}; give --report PATH, or none"
        ) from error
    if is_folder or not has_folder:
        why = "it is a folder" if is_folder else f"there is no folder {path.parent}"
        raise OutputError(f"cannot write the report {path}; {why}; give --report PATH, or none")
    if is_there:
        try:
            _facts_of(path)
        except InputError as error:
            raise UsageError(
                f"the report would overwrite {path}, which is no report; give --report PATH, or none"
            ) from error


def write_report(path: Path, facts: dict[str, Any], output: Path) -> None:
    """Write the report at once or not at all; raises OutputError."""
    try:
        write_json(path, facts, indent=1)
    except OSError as error:
        raise OutputError(
            f"{output} is complete and verified, but its report {path} cannot be written; {error.strerror or error}; "
            "free space, or give --report PATH, or none"
        ) from error


def read_report(path: Path) -> dict[str, Any]:
    """The facts of a report; raises InputError where it is none, or has lost what a finished output is checked by."""
    facts = _facts_of(path)
    pts = facts.get("pts", {"time_base": "", "from_first": ""})
    wrong = [name for name, (kind, tells) in _CHECKED_BY.items() if not _is(facts.get(name), kind, tells)]
    wrong += [] if _is(pts, dict, {"time_base": str, "from_first": str}) else ["pts"]
    images = facts["output"].get("images", []) if "output" not in wrong else []
    if not isinstance(images, list) or not all(isinstance(image, str) and "\0" not in image for image in images):
        wrong.append("output")
    if wrong:
        raise InputError(
            f"the report {path} was changed or cut off ({', '.join(wrong)}); make the output again, or give another one"
        )
    return facts


def _is(found: Any, kind: type, tells: dict[str, type]) -> bool:
    entries: dict[str, Any] = found if isinstance(found, dict) else {}
    return isinstance(found, kind) and all(isinstance(entries.get(name), of) for name, of in tells.items())


def _facts_of(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"no report can be read from {path}; {error}; give --report PATH") from error
    if not isinstance(facts, dict) or facts.get(_KIND) != FORMAT:
        raise InputError(f"{path} is no report of this version of vnlsdenoise; give --report PATH")
    return facts


def usual_report(output: Path) -> Path:
    """Where the report of an output stands unless it is told otherwise: beside it, or among numbered images."""
    if writes_images(output) and output_folder(output) != output and has_counter(output.name):
        name = re.sub(r"%0?\d*d", "", output.stem).strip("_-. ") or "images"
        return output.with_name(f"{name}.json")
    return output.absolute().with_name(f"{output.absolute().name}.json")


def hashed(files: list[Path], images: bool) -> dict[str, Any]:
    """Bytes and SHA-256 of a file; of images, their names, and the hash of their hashes; raises OSError."""
    total, hashes = 0, []
    for file in files:
        with file.open("rb") as opened:
            hashes.append(hashlib.file_digest(opened, "sha256").hexdigest())
            total += opened.tell()
    if not images:
        return {"bytes": total, "sha256": hashes[0]}
    whole = hashlib.sha256("".join(hashes).encode()).hexdigest()
    return {"bytes": total, "sha256": whole, "images": [file.name for file in files]}
