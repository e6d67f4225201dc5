"""Copy what stands beside the video (sound, subtitles, chapters, attachments, tags) packet by packet."""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from vnlsdenoise.video.probe import main_video, open_input

# The muxer writes these itself from the tags it is given.
_REWRITTEN_TAGS = {"encoder", "duration", "_statistics_writing_app", "_statistics_writing_date_utc", "_statistics_tags"}
_REWRITTEN_CONTAINER_TAGS = {"encoder", "major_brand", "minor_version", "compatible_brands"}


@dataclass
class CopiedStream:
    """Tally of one copied stream: its index in the output, packets and a running CRC-32 of their bytes."""

    index: int
    packets: int = 0
    crc: int = 0

    def add(self, packet: "Packet[Stream]") -> None:
        """Count one packet."""
        self.packets += 1
        self.crc = zlib.crc32(packet, self.crc)


class StreamCopier:
    """Copies every stream but the denoised one from `source` to `output`, in step with the video.

    Construct it after the video stream was added to `output` and before its first packet. Streams that the container
    does not take are left out and named in `warnings`. Memory is constant: packets pass one by one.
    """

    def __init__(self, source: Path, output: OutputContainer, video: Stream, container: str) -> None:
        self.warnings: list[str] = []
        self.copied: dict[int, CopiedStream] = {}
        self._output = output
        self._input: InputContainer = open_input(source)
        main = main_video(self._input, source)
        _copy_tags(main, video)
        output.metadata.update(
            {key: value for key, value in self._input.metadata.items() if key.lower() not in _REWRITTEN_CONTAINER_TAGS}
        )
        if self._input.chapters():
            output.set_chapters(self._input.chapters())
        self._targets: dict[int, Stream] = {}
        for stream in self._input.streams:
            if stream.index == main.index:
                stream.discard = av.stream.Discard.all
            elif stream.type == "data" and stream.codec_tag == "tmcd":
                continue  # The muxer makes the time code track anew from its tag.
            elif _accepts(container, stream):
                target = output.add_stream_from_template(stream, opaque=True if stream.codec_context else None)
                _copy_tags(stream, target)
                self._targets[stream.index] = target
                if stream.type != "attachment":
                    self.copied[stream.index] = CopiedStream(target.index)
            else:
                codec = stream.codec_context.name if stream.codec_context else "unknown codec"
                self.warnings.append(
                    f"{stream.type} stream {stream.index} ({codec}) is left out: {container} does not take it"
                )
        self._packets = self._demux()
        self._held: Packet[Stream] | None = None

    def _demux(self) -> "Iterator[Packet[Stream]]":
        streams = [self._input.streams[index] for index in self.copied]
        if streams:
            for packet in self._input.demux(streams):
                if packet.size:
                    yield packet

    def advance(self, until: float | None) -> None:
        """Mux the packets that decode before `until` seconds; None for all the rest."""
        while True:
            packet = self._held or next(self._packets, None)
            self._held = None
            if packet is None:
                return
            stamp = packet.dts if packet.dts is not None else packet.pts
            if until is not None and stamp is not None and float(stamp * packet.time_base) > until:
                self._held = packet
                return
            source = packet.stream_index
            self.copied[source].add(packet)
            packet.stream = self._targets[source]
            self._output.mux_one(packet)

    def close(self) -> None:
        """Close the source."""
        self._input.close()


def _copy_tags(source: Stream, target: Stream) -> None:
    target.metadata.update(
        {key: value for key, value in source.metadata.items() if key.lower().split("-")[0] not in _REWRITTEN_TAGS}
    )
    target.disposition = source.disposition


def _accepts(container: str, stream: Stream) -> bool:
    """Whether the container takes the stream, found out by writing a header to memory."""
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            _copy_tags(stream, trial.add_stream_from_template(stream, opaque=True if stream.codec_context else None))
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True
