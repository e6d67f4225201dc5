"""Open a source of frames by its name."""

import os
from pathlib import Path
from typing import Literal

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.video.animations import AnimationReader, is_webp
from vnlsdenoise.video.probe import VideoInfo
from vnlsdenoise.video.read import Decoder, Interlaced, VideoReader
from vnlsdenoise.video.sequences import Gaps, SequenceReader, is_sequence

Reader = VideoReader | SequenceReader | AnimationReader


def check_readable(path: Path) -> None:
    """Raise InputError where a file or folder, or that of a pattern, may not be looked at or read."""
    try:
        there = path if path.exists() else path.parent
        allowed = not there.exists() or os.access(there, os.R_OK | os.X_OK if there.is_dir() else os.R_OK)
    except OSError as error:
        raise InputError(
            f"input {path} cannot be looked at; {error.strerror or error}; check name and rights"
        ) from error
    if not allowed:
        raise InputError(f"input {there} cannot be read; Permission denied; check who may read it")


def open_reader(
    path: Path,
    interlaced: Interlaced = "error",
    on_damage: Literal["conceal", "fail"] = "conceal",
    decoder: Decoder = "cpu",
    known: VideoInfo | None = None,
    stream: int | None = None,
    gaps: Gaps = "error",
) -> Reader:
    """A reader of a video file or of an image sequence (folder, pattern or glob); raises InputError.

    known: what an earlier reader of the same file found, which spares opening and decoding it once more. stream: index
    of the video stream, None for the film. gaps: whether images may lack numbers.
    """
    if path == Path("-") and not path.exists():
        raise UsageError("- is stdin, which passes once and only denoise reads; save it to a file first")
    check_readable(path)
    is_animation = is_webp(path)
    if not is_animation and not is_sequence(path):
        return VideoReader(path, interlaced, on_damage, decoder, stream=stream, known=known)
    if decoder == "gpu":
        raise UsageError(f"input {path} is images, which no GPU decodes; use --decoder cpu")
    return AnimationReader(path) if is_animation else SequenceReader(path, gaps)
