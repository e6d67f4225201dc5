"""What was removed, as a film or images of its own: input less output, on mid grey."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import numpy as np

from vnlsdenoise.errors import UsageError, VerificationError
from vnlsdenoise.job.plan import Plan, check_output, existing_output, writes_images
from vnlsdenoise.job.publish import publish_file, publish_folder
from vnlsdenoise.job.reading import reader_of
from vnlsdenoise.video.encoders import EncoderChoice, Encoding, choose
from vnlsdenoise.video.frame import Frame, Plane
from vnlsdenoise.video.open import open_reader
from vnlsdenoise.video.pipes import PIPE
from vnlsdenoise.video.sequences import SequenceWriter, image_names, output_folder, refuse_conversion
from vnlsdenoise.video.write import VideoWriter


def check_residual(plan: Plan, overwrite: bool) -> None:
    """Raise UsageError or OutputError where the residual of a plan could not be written after the work."""
    path, output, info = plan.request.residual, plan.request.output, plan.info
    if path is None or output is None:
        return
    if plan.goes_through_a_pipe or path == PIPE:
        raise UsageError("--residual reads input and output once more, which a pipe cannot be; write to a file first")
    if info.codec == "exr":
        raise UsageError(
            "--residual of linear light has no form of its own yet; subtract the files where you grade them"
        )
    check_output(plan.request.input, path)
    if path.absolute() == output.absolute():
        raise UsageError(f"--residual {path} is the output itself; give another name")
    if writes_images(path):
        refuse_conversion(info, image_names(path, info.codec))
    else:
        _choice(plan, path)
    layout = plan.encoder.layout if plan.encoder is not None else None
    format = info.format
    if layout is not None and layout.plane_format(format.width, format.height) != format:
        raise UsageError(
            f"--residual needs an output of the same kind of samples, but {layout.name} is written of {info.pix_fmt}; "
            f"give --pix-fmt {info.pix_fmt} or --lossless"
        )
    if (found := existing_output(path)) is not None and not overwrite:
        raise UsageError(f"residual {found} exists; it would be overwritten; give -y to overwrite, or another name")


def write_residual(plan: Plan) -> int:
    """Write what a finished run removed, by reading its input and output once more; returns samples that had no room.

    A sample is mid grey plus what was taken away, clipped to the range of codes. Where the output was encoded with
    losses, these are in it, too.
    """
    path, output = plan.request.residual, plan.request.output
    assert path is not None and output is not None
    if writes_images(path):
        names = image_names(path, plan.info.codec)
        with publish_folder(output_folder(path), names) as temporary:
            return _write(plan, output, cast(Any, SequenceWriter(temporary, names, plan.info)))
    with publish_file(path) as temporary:
        return _write(plan, output, cast(Any, VideoWriter(temporary, plan.info, _choice(plan, path))))


def _choice(plan: Plan, path: Path) -> EncoderChoice:
    lossless = path.suffix.lower() == ".mkv"
    return choose(path, plan.info, Encoding(lossless=lossless))


def _write(plan: Plan, output: Path, writer: "AbstractContextManager[Any]") -> int:
    request = plan.request
    before = iter(reader_of(plan))
    after = iter(open_reader(output, "ignore" if request.interlaced == "error" else request.interlaced, gaps="ignore"))
    middle = 1 << (plan.info.format.depth - 1)
    clipped = 0
    with writer as opened:
        for noisy in before:
            clean = next(after, None)
            if clean is None:
                raise VerificationError(f"{output} has fewer frames than went in; make it again")
            planes = []
            for one, other in zip(noisy.planes, clean.planes, strict=True):
                removed = one.astype(np.int32) - other.astype(np.int32) + middle
                inside = np.clip(removed, 0, plan.info.format.peak)
                clipped += int((inside != removed).sum())
                planes.append(cast(Plane, inside.astype(one.dtype)))
            opened.write(Frame(tuple(planes), noisy.pts, noisy.duration, noisy.extra))
    return clipped
