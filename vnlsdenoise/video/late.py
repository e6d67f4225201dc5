"""A film read from one of its frames on, of which each is proven to be the one that reading all of it gave."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vnlsdenoise.video.container import decode_next, decoder_of, main_video, packets_of, use_threads
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.part import PartReader
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.sequences import SequenceReader

_STEPS_BACK = (0.0, 12.0)  # seconds before a frame that are sought: most films have a key frame between
_LONGEST_WAY = 2000  # frames that are decoded for the first one that is wanted


class AnotherFrameError(Exception):
    """What is decoded from here is not what was decoded from the start."""


@dataclass
class Looks:
    """Of frames in a row, what each is known by: its time stamp, and a sum over its samples."""

    pts: "array[int]" = field(default_factory=lambda: array("q"))
    sums: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, frame: Frame) -> None:
        """Look at the next frame."""
        self.pts.append(frame.pts if frame.pts is not None else -1)
        self.sums.append(_sum(frame))

    def part(self, first: int, end: int) -> "Looks":
        """Those of some of the frames."""
        return Looks(self.pts[first:end], self.sums[first:end])


def can_be_late(reader: object) -> bool:
    """Whether `read_late` may serve: the times and frames of the file are in order, and nothing is missing."""
    whole = reader.whole if isinstance(reader, PartReader) else reader
    if not isinstance(whole, VideoReader):
        return isinstance(whole, SequenceReader)
    survey = whole.info.survey
    return not (whole.damage or whole.warnings or survey.decoding_order or survey.timeline or whole.info.interlaced)


def read_late(reader: object, number: int, looks: Looks) -> Iterator[Frame]:
    """The frames that `looks` are of, from frame `number` on, without those before it.

    Raises AnotherFrameError where they are not found, or one is another: then only reading from the start serves.
    """
    shift = 0
    if isinstance(reader, PartReader):
        cut = reader.info.cut
        reader, shift = reader.whole, cut.shift if cut is not None else 0
    if isinstance(reader, SequenceReader):
        frames: Iterable[Frame] = reader.from_frame(number)
    else:
        assert isinstance(reader, VideoReader)
        frames = _from(reader, looks.pts[0] + shift, looks.sums[0])
    count = 0
    for frame, pts, total in zip(frames, looks.pts, looks.sums, strict=False):
        if (frame.pts or 0) - shift != pts or _sum(frame) != total:
            raise AnotherFrameError(f"frame {number + count} is another one if {reader.path} is read from its middle")
        frame.pts, count = pts, count + 1
        yield frame
    if count < len(looks.pts):
        raise AnotherFrameError(f"frames are missing where {reader.path} is read from its middle")


def _from(reader: VideoReader, pts: int, total: int) -> Iterator[Frame]:
    """All frames from the one with this time and sum on; nothing where it is not found."""
    for back in _STEPS_BACK:
        with reader.opened() as container:
            stream = main_video(container, reader.path, reader.info.index)
            decoder = decoder_of(stream)
            use_threads(decoder)
            try:
                container.seek(pts - int(back / reader.info.time_base), stream=stream)
            except av.FFmpegError:
                continue
            decoder.flush_buffers()
            found = False
            for index, frame in enumerate(_decoded(reader, container, stream, decoder)):
                if not found and (frame.pts is None or frame.pts > pts or index > _LONGEST_WAY):
                    break
                found = found or (frame.pts == pts and _sum(frame) == total)
                if found:
                    yield frame
            if found:
                return


def _decoded(
    reader: VideoReader, container: InputContainer, stream: VideoStream, decoder: VideoCodecContext
) -> Iterator[Frame]:
    """Every frame from here on; of one that is not whole, one without time."""
    try:
        for packet in packets_of(container, stream):
            for decoded in decode_next(decoder, packet if packet.size else None):
                yield Frame(()) if decoded.is_corrupt else reader.frame_of(decoded)
    except (av.FFmpegError, OSError):
        return  # What is missing then is noticed by its absence.


def _sum(frame: Frame) -> int:
    """A number that changes with any sample."""
    total = 0
    for plane in (*frame.planes, *(frame.extra[name] for name in ("alpha",) if name in frame.extra)):
        samples = np.ascontiguousarray(plane).reshape(-1).view(np.uint8)
        whole = samples.size - samples.size % 8
        total = total * 31 + int(samples[:whole].view(np.uint64).sum(dtype=np.uint64)) + int(samples[whole:].sum())
    return total & ((1 << 64) - 1)
