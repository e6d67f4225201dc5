"""A run of encoded frames in a file of its own, closed and complete, that later becomes part of a film.

Every packet is kept to the last bit, with its times in ticks and its transparency beside it, which containers would
round, reorder or repack. A file holds a mark, the encoder's headers, and then packet after packet.
"""

import io
import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, cast

import av
from av.packet import Packet, PacketSideData
from av.video.stream import VideoStream

from vnlsdenoise.errors import VerificationError, VnlsError
from vnlsdenoise.video.encode import VideoEncoder
from vnlsdenoise.video.encoders import EncoderChoice
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.matroska import alpha_document
from vnlsdenoise.video.probe import VideoInfo
from vnlsdenoise.video.write import failure

_MARK = b"vnlsdenoise chunk 1\n"
_SIZE = struct.Struct("<I")
_HEAD = struct.Struct("<qqqBII")  # pts, dts, duration, key frame, bytes of the packet, bytes of its alpha
_NONE = -(1 << 63)
_ALPHA: Literal["matroska_block_additional"] = "matroska_block_additional"


class ChunkWriter:
    """Encodes frames into a new chunk at `path` by an encoder of its own; complete after `close`.

    Raises OutputError where the file cannot be written, UsageError where the encoder refuses.
    """

    def __init__(self, path: Path, info: VideoInfo, choice: EncoderChoice) -> None:
        self.path, self._choice = path, choice
        self.shown: list[int | None] = []  # times of display of the packets, in the order of decoding
        try:
            # The encoder is set up as for the film; nothing is written to this container.
            self._container = av.open(io.BytesIO(), "w", format=choice.container)
            self._encoder = VideoEncoder(self._container, info, choice)
            self._encoder.open()
            self._file = path.open("wb")
            self.headers = self._encoder.stream.codec_context.extradata or b""
            self._file.write(_MARK + _SIZE.pack(len(self.headers)) + self.headers)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    @property
    def warnings(self) -> list[str]:
        """What the encoder did not understand."""
        return self._encoder.warnings

    def write(self, frame: Frame) -> None:
        """Encode one frame; its pts must be later than the one before."""
        self._encode(frame)

    def close(self) -> None:
        """Write what the encoder still holds, and close the file."""
        self._encode(None)
        try:
            self._file.close()
        except OSError as error:
            raise self._failure(error) from error
        self._container.close()  # which lets go of the encoder: nothing else does before Python looks for cycles

    def _encode(self, frame: Frame | None) -> None:
        try:
            for packet in self._encoder.encode(frame):
                alpha = (
                    bytes(PacketSideData.from_packet(cast(Any, packet), _ALPHA)) if packet.has_sidedata(_ALPHA) else b""
                )
                # Of a film of one frame some encoders tell no time of decoding, but what memory happened to hold.
                dts = packet.dts if packet.pts is None else None
                times = (_NONE if time is None else time for time in (packet.pts, dts))
                head = _HEAD.pack(*times, packet.duration or 0, packet.is_keyframe, packet.size, len(alpha))
                self._file.write(head + bytes(packet) + alpha)
                self.shown.append(packet.pts)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def abort(self) -> None:
        """Let go of the file, which the caller removes."""
        self._file.close()
        self._container.close()

    def _failure(self, error: Exception) -> VnlsError:
        return failure(self.path, self._choice, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close() if kind is None else self.abort()


@dataclass(frozen=True)
class Chunk:
    """A finished chunk. shown: the times of display of its packets, in the order of decoding."""

    path: Path
    time_base: Fraction
    shown: tuple[int | None, ...]
    _start: int

    @classmethod
    def open(cls, path: Path, headers: bytes, time_base: Fraction) -> Self:
        """headers: what the encoder of the film writes. Raises VerificationError where the file is no chunk, or was
        made by another encoder; OSError.
        """
        try:
            with path.open("rb") as file:
                if file.read(len(_MARK)) != _MARK:
                    raise ValueError("it does not begin as one")
                [size] = _SIZE.unpack(file.read(_SIZE.size))
                if file.read(size) != headers:
                    raise ValueError("another encoder wrote it")
                start = file.tell()
                shown = []
                for head in _heads(file):
                    shown.append(None if head[0] == _NONE else head[0])
                    file.seek(head[4] + head[5], os.SEEK_CUR)
                if file.tell() != path.stat().st_size:
                    raise ValueError("it ends within a packet")
        except (ValueError, struct.error) as error:
            raise VerificationError(f"{path} is no piece of this film; {error}; remove it and run again") from error
        return cls(path, time_base, tuple(shown), start)

    def packets(self) -> "Iterator[Packet[VideoStream]]":
        """All packets, in the order of decoding, one at a time in memory; times are in ticks of `time_base`."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            for pts, dts, duration, key, size, alpha in _heads(file):
                packet: Packet[Any] = Packet(file.read(size))
                if alpha:
                    _attach(file.read(alpha), packet)
                packet.pts, packet.dts = (None if time == _NONE else time for time in (pts, dts))
                packet.duration, packet.is_keyframe, packet.time_base = duration, bool(key), self.time_base
                yield packet


def _heads(file: BinaryIO) -> Iterator[tuple[int, int, int, int, int, int]]:
    while head := file.read(_HEAD.size):
        yield _HEAD.unpack(head)


def _attach(alpha: bytes, packet: "Packet[Any]") -> None:
    """Put the coded transparency beside a packet; PyAV makes side data of no bytes but those of a file."""
    with av.open(io.BytesIO(alpha_document(alpha)), "r", format="matroska") as document:
        read = next(packet for packet in document.demux() if packet.size)
        packet.set_sidedata(PacketSideData.from_packet(read, _ALPHA))


def reorder_depth(pts: Sequence[int | None]) -> int:
    """By how many packets the order of decoding runs ahead of that of display at most."""
    known = [time for time in pts if time is not None]
    ranks = {time: rank for rank, time in enumerate(sorted(known))}
    return max((index - ranks[time] for index, time in enumerate(known)), default=0)


class Joint:
    """Gives the packets of chunks, one after the other, the decoding times of one film.

    Each encoder makes them up from its own start. depth: the largest `reorder_depth` of all chunks. step: ticks between
    frames, before the first of which time runs so.
    """

    def __init__(self, depth: int, step: int) -> None:
        self._depth, self._step = depth, step
        self._lately: list[int] = []  # the last `depth` times of display, in order

    def join(self, chunk: Chunk) -> "Iterator[Packet[VideoStream]]":
        """The packets of the next chunk."""
        shown = sorted(time for time in chunk.shown if time is not None)
        if len(shown) < len(chunk.shown):
            return chunk.packets()  # of an encoder that tells no times; the muxer makes them up
        start, times = len(self._lately), self._lately + shown
        self._lately = times[max(0, len(times) - self._depth) :]
        return map(partial(self._timed, times), itertools.count(start), chunk.packets())

    def _timed(self, times: list[int], index: int, packet: "Packet[VideoStream]") -> "Packet[VideoStream]":
        ahead = index - self._depth
        packet.dts = times[ahead] if ahead >= 0 else times[0] + ahead * self._step
        return packet
