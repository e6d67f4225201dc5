"""A finished output against its report and its input."""

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vnlsdenoise.errors import InputError, VerificationError
from vnlsdenoise.job.identity import identify
from vnlsdenoise.job.plan import writes_images
from vnlsdenoise.job.report import hashed, pts_hash, read_report, usual_report
from vnlsdenoise.video.open import check_readable, open_reader
from vnlsdenoise.video.sequences import output_folder


@dataclass(frozen=True)
class Checked:
    """What was found: facts in words, and whether the input is there and the one that the output was made of."""

    facts: tuple[str, ...]
    input_is_same: bool


def check_finished(output: Path, report: Path | None = None, decode: bool = True) -> Checked:
    """Compare an output with its report (None: the one beside it), decode all of it, and look at its input.

    decode: False compares bytes only, which are those that were verified when it was made. Raises InputError where
    output or report cannot be read, VerificationError where they differ.
    """
    check_readable(output)
    images = writes_images(output)
    target = output_folder(output) if images else output
    told = read_report(usual_report(output) if report is None else report)
    facts = []
    files = [target / name for name in told["output"]["images"]] if "images" in told["output"] else [target]
    try:
        found = hashed(files, "images" in told["output"])
    except OSError as error:
        raise InputError(f"cannot read {error.filename or output}; {error.strerror}; check the name") from error
    if (found["bytes"], found["sha256"]) != (told["output"]["bytes"], told["output"]["sha256"]):
        raise VerificationError(
            f"{output} is not what its report tells of ({found['bytes']} bytes, then {told['output']['bytes']}); "
            "it was changed or cut off since; make it again"
        )
    facts.append(f"the {found['bytes']} bytes are those that were written and verified")
    if decode:
        facts += _decoded(output, told)
    return Checked(tuple(facts), _input_is_same(told))


def _decoded(output: Path, told: dict[str, Any]) -> list[str]:
    reader = open_reader(output, interlaced="ignore", gaps="ignore")
    stamps = array("q", (frame.pts or 0 for frame in reader))
    if len(stamps) != told["frames"] or reader.damage:
        raise VerificationError(
            f"{output} decodes to {len(stamps)} frames (damage: {reader.damage}), expected {told['frames']}; "
            "it was damaged when it was made; make it again"
        )
    facts = [f"all {len(stamps)} frames decode"]
    if "pts" in told and told["pts"]["time_base"] == str(reader.info.time_base):
        shifted = array("q", (stamp - stamps[0] for stamp in stamps))
        if pts_hash(shifted) != told["pts"]["from_first"]:
            raise VerificationError(f"time stamps of {output} are others than its report tells; make it again")
        facts.append("every frame has the time that it had in the input")
    return facts


def _input_is_same(told: dict[str, Any]) -> bool:
    try:
        found = identify(Path(told["input"]["path"]))
    except InputError:
        return False
    return all(told["input"].get(name) == value for name, value in found.items())
