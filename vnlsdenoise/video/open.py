"""Open a source of frames by its name."""

from pathlib import Path
from typing import Literal

from vnlsdenoise.errors import UsageError
from vnlsdenoise.video.probe import VideoInfo
from vnlsdenoise.video.read import Decoder, Interlaced, VideoReader
from vnlsdenoise.video.sequences import SequenceReader, is_sequence

Reader = VideoReader | SequenceReader


def open_reader(
    path: Path,
    interlaced: Interlaced = "error",
    on_damage: Literal["conceal", "fail"] = "conceal",
    decoder: Decoder = "cpu",
    known: VideoInfo | None = None,
) -> Reader:
    """A reader of a video file or of an image sequence (folder, pattern or glob); raises InputError.

    known: what an earlier reader of the same file found, which spares opening and decoding it once more.
    """
    if not is_sequence(path):
        return VideoReader(path, interlaced, on_damage, decoder, known=known)
    if decoder == "gpu":
        raise UsageError(f"input {path} is images, which no GPU decodes; use --decoder cpu")
    return SequenceReader(path)
