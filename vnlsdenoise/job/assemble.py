"""Pieces become the result: joined by stream copy, or moved together."""

import os
import shutil
from pathlib import Path

from vnlsdenoise.errors import OutputError
from vnlsdenoise.job.plan import Plan
from vnlsdenoise.job.publish import failure
from vnlsdenoise.job.workdir import Piece, WorkFolder
from vnlsdenoise.video.chunk import Chunk, Joint
from vnlsdenoise.video.write import VideoWriter


def assemble_video(path: Path, plan: Plan, folder: WorkFolder, pieces: list[Piece]) -> VideoWriter:
    """Write the film at `path`: the packets of the pieces, and everything beside them; returns the closed writer."""
    info = plan.info
    assert plan.encoder is not None
    step = max(1, round(1 / ((info.rate or 25) * info.time_base)))
    joint = Joint(max((piece.depth for piece in pieces), default=0), step)
    with VideoWriter(path, info, plan.encoder, plan.taken_along) as writer:
        for piece in pieces:
            try:
                chunk = Chunk.open(folder.path / piece.data, writer.headers, info.time_base)
            except OSError as error:
                raise failure(folder.path / piece.data, error) from error
            writer.append(joint.join(chunk), sorted(time for time in chunk.shown if time is not None))
    return writer


def gather_images(target: Path, folder: WorkFolder, pieces: list[Piece]) -> None:
    """Put the images of all pieces into the folder `target`, where they take no more room if that is possible."""
    for piece in pieces:
        for image in sorted((folder.path / piece.data).iterdir()):
            made = target / image.name
            if made.exists():
                raise OutputError(f"two images would be named {image.name}; give an output pattern or rename the input")
            try:
                os.link(image, made)
            except OSError:
                # Another file system, or one that knows no second names.
                shutil.copyfile(image, made)
