"""Write what stands beside the video (sound, subtitles, chapters, tags) as it was decided, in step with the video."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from vnlsdenoise.video.carry import Carry, Tally, add_copy, container_tags, copy_tags, cover_name
from vnlsdenoise.video.container import codec_of, is_still, main_video, open_input, packets_of
from vnlsdenoise.video.part import StreamCut
from vnlsdenoise.video.subtitles import TextConverter, form_of
from vnlsdenoise.video.timeline import PacketOrder, TimeKeeper, Timeline


class StreamCopier:
    """Writes every stream but the denoised one of `source` to `output` as `carry` says.

    Construct it after the video stream was added to `output` and before its first packet. Memory is constant: packets
    pass one by one. until: seconds after which no packet is read any more, None for none. cut: the part of them that is
    kept, None for all.
    """

    def __init__(
        self,
        source: Path,
        output: OutputContainer,
        video: Stream,
        index: int,
        carry: Carry,
        timeline: Timeline,
        until: float | None = None,
        cut: StreamCut | None = None,
    ) -> None:
        self.copied: dict[int, Tally] = {}
        self._output, self._keeper, self._until, self._cut = output, TimeKeeper(timeline), until, cut
        self._input: InputContainer = open_input(source)
        main = main_video(self._input, source, index)
        copy_tags(main, video)
        output.metadata.update(container_tags(self._input))
        chapters = self._input.chapters() if cut is None else cut.chapters(self._input.chapters())
        if chapters:
            output.set_chapters(chapters)
        self._targets: dict[int, Stream] = {}
        self._converters: dict[int, TextConverter] = {}
        for fate in carry.streams:
            stream = self._input.streams[fate.index]
            if fate.by == "attachment":
                name, kind = cover_name(stream)
                output.add_attachment(name, kind, fate.picture)
            elif fate.by == "text":
                assert isinstance(stream, SubtitleStream)
                form = form_of(output.format.name)
                assert form is not None
                converter = self._converters[fate.index] = TextConverter(stream, output, form)
                copy_tags(stream, converter.target)
                self._targets[fate.index] = converter.target
            elif fate.by == "copy":
                self._targets[fate.index] = add_copy(output, stream)
            if fate.by in ("copy", "text") and stream.type != "attachment":
                target = self._targets[fate.index]
                codec = codec_of(target) or codec_of(stream)
                self.copied[fate.index] = Tally(codec, target.index, is_still(stream))
        if cut is not None:
            for tags in (output.metadata, *(target.metadata for target in (video, *self._targets.values()))):
                cut.move_timecode(tags)
        self._packets = self._demux()
        self._spoilt: Counter[int] = Counter()
        self._held: Packet[Stream] | None = None
        self._orders = {index: PacketOrder(self._input.streams[index], output.format) for index in self.copied}

    @property
    def warnings(self) -> list[str]:
        """What could not be carried after all."""
        lost = [
            f"{converter.lost} subtitle(s) of stream {index} could not be read and are left out"
            for index, converter in self._converters.items()
            if converter.lost
        ]
        late = [
            f"{order.late} packet(s) of stream {index} run backwards in time; each was put right after the one before"
            for index, order in self._orders.items()
            if order.late
        ]
        spoilt = [
            f"{count} packet(s) of stream {index} are damaged and left out" for index, count in self._spoilt.items()
        ]
        return lost + late + spoilt

    def _demux(self) -> "Iterator[Packet[Stream]]":
        # Where the source cannot be read on it is damaged, which whoever reads its video reports.
        with suppress(av.FFmpegError):
            for packet in packets_of(self._input) if self.copied else ():
                if packet.size:
                    self._keeper.move(packet)
                    kept = packet.stream_index in self.copied and (self._cut is None or self._cut.keeps(packet))
                    if kept:
                        yield packet

    def advance(self, until: float | None) -> None:
        """Mux the packets that decode before `until` seconds; None for all the rest."""
        until = self._until if until is None else until
        while True:
            packet = self._held or next(self._packets, None)
            self._held = None
            if packet is None:
                return
            stamp = packet.dts if packet.dts is not None else packet.pts
            if until is not None and stamp is not None and float(stamp * packet.time_base) > until:
                self._held = packet
                return
            self._mux(packet)

    def _mux(self, packet: "Packet[Stream]") -> None:
        source = packet.stream_index
        if source in self._converters:
            converted = self._converters[source].convert(packet)
            if converted is None:
                return
            packet = converted
        tally = copy(self.copied[source])
        tally.add(packet)
        self._orders[source].put(packet)
        packet.stream = self._targets[source]
        try:
            self._output.mux_one(packet)
        except av.InvalidDataError:
            # Nothing but bytes that are none: that the container takes the stream was tried before the work.
            self._spoilt[source] += 1
        else:
            self.copied[source] = tally

    def close(self) -> None:
        """Close the source."""
        self._input.close()
