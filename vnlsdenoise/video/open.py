"""Open a source of frames by its name."""

from pathlib import Path
from typing import Literal

from vnlsdenoise.video.read import Interlaced, VideoReader
from vnlsdenoise.video.sequences import SequenceReader, is_sequence

Reader = VideoReader | SequenceReader


def open_reader(
    path: Path, interlaced: Interlaced = "error", on_damage: Literal["conceal", "fail"] = "conceal"
) -> Reader:
    """A reader of a video file or of an image sequence (folder, pattern or glob); raises InputError."""
    if is_sequence(path):
        return SequenceReader(path)
    return VideoReader(path, interlaced, on_damage)
