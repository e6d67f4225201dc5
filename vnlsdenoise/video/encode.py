"""Encode frames into packets, with the input's time stamps and tags: what goes to a container, or waits for it."""

from array import array
from fractions import Fraction

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vnlsdenoise.errors import UsageError
from vnlsdenoise.video.encoders import EncoderChoice
from vnlsdenoise.video.fields import says_fields_itself, with_fields
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.memory import zeroed_memory
from vnlsdenoise.video.pixels import to_video_frame
from vnlsdenoise.video.priority import kept_priority
from vnlsdenoise.video.probe import VideoInfo

_TOP_FIRST, _BOTTOM_FIRST = 2, 3  # of FFmpeg's AVFieldOrder
# These know only a few frame rates, and times in frames.
_COUNT_FRAMES = ("mpeg1video", "mpeg2video")
WITHOUT_TIMES = ("yuv4mpegpipe", "rawvideo")
"""Containers that say one rate, if any: FFmpeg takes the tick of their stream for it."""


class VideoEncoder:
    """Encodes frames of `info.format` as `choice` says. The encoder belongs to a new stream of `output`, `stream`.

    What is told of the video, tags and fields and so on, is told to the stream, and to the encoder by `open`. Raises
    FFmpegError where the encoder fails, UsageError where it refuses.
    """

    def __init__(self, output: OutputContainer, info: VideoInfo, choice: EncoderChoice) -> None:
        self.info, self.choice = info, choice
        self.warnings: list[str] = []
        self.pts = array("q")  # of the frames that were encoded
        self._without_times = choice.container in WITHOUT_TIMES
        self._counts = self._without_times or choice.encoder in _COUNT_FRAMES
        self._stamps: dict[str, Graph] = {}
        self._are_interlaced: dict[int, bool] = {}  # frames in the encoder, by their time
        self.stream = self._add_video(output)

    def _add_video(self, output: OutputContainer) -> VideoStream:
        info, choice = self.info, self.choice
        # The rate of the encoder is what MP4 and MOV have the time code count by.
        counted = info.timecode_rate if choice.container in ("mp4", "mov") and not self._counts else None
        stream = output.add_stream(choice.encoder, rate=counted or info.rate or 25, options=self._options())
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = info.format.width, info.format.height
        context.pix_fmt = choice.layout.name
        context.time_base = 1 / (info.rate or Fraction(25)) if self._counts else info.time_base
        stream.time_base = context.time_base if self._without_times else info.time_base
        context.flags |= Flags.frame_duration
        if info.interlaced:
            context.flags |= Flags.interlaced_dct
            context.field_order = _BOTTOM_FIRST if info.bottom_first else _TOP_FIRST
        context.color_primaries, context.color_trc = choice.color.primaries, choice.color.transfer
        context.colorspace, context.color_range = choice.color.matrix, choice.color.range
        if info.sample_aspect:
            context.sample_aspect_ratio = info.sample_aspect
        if choice.display_matrix is not None:
            stream.set_display_matrix(choice.display_matrix)
        if info.timecode:
            stream.metadata["timecode"] = info.timecode
        if info.stereo_mode and choice.container in ("matroska", "webm"):
            stream.metadata["stereo_mode"] = info.stereo_mode
        return stream

    def _options(self) -> dict[str, str]:
        options = dict(self.choice.options)
        if self.info.chroma_location and self.choice.layout.family == "yuv":
            options["chroma_sample_location"] = self.info.chroma_location
        if self.choice.encoder == "libx265":
            options.setdefault("a53cc", "1")  # closed captions, which it leaves out unless it is told
        return options

    def open(self) -> None:
        """Open the encoder, after which the stream has its headers."""
        asked = dict(self.choice.options)
        try:
            with zeroed_memory(), kept_priority():
                self.stream.codec_context.open()
        except av.FFmpegError as error:
            raise UsageError(
                f"encoder {self.choice.encoder} refused {self.info.format.width}x{self.info.format.height} "
                f"{self.choice.layout.name} with options {asked} ({error.strerror}); "
                "change --encoder-opt, --pix-fmt or --codec"
            ) from error
        ignored = sorted(set(asked) & set(self.stream.codec_context.options))
        if ignored:
            self.warnings.append(
                f"encoder {self.choice.encoder} does not know the option(s) {', '.join(ignored)}; ignored"
            )

    def encode(self, frame: Frame | None) -> "list[Packet[VideoStream]]":
        """The packets that a frame completes, None for the rest; its pts must be later than the one before."""
        if frame is None:
            return self._encoded(None)
        if frame.pts is None:
            raise ValueError("a frame to write needs a pts, got None")
        info, color = self.info, self.choice.color
        alpha, carrier = frame.extra.get("alpha"), frame.extra.get("carrier")
        encoded = to_video_frame(frame.planes, alpha, info.format, self.choice.layout, carrier)
        encoded = self._stamped(encoded, bool(frame.extra.get("interlaced")))
        encoded.pts, encoded.duration, encoded.time_base = frame.pts, frame.duration or 0, info.time_base
        if self._counts:
            encoded.pts, encoded.duration = len(self.pts), 1
            encoded.time_base = self.stream.codec_context.time_base
        encoded.colorspace, encoded.color_range = color.matrix, color.range
        encoded.color_primaries, encoded.color_trc = color.primaries, color.transfer
        if info.interlaced and says_fields_itself(self.choice.encoder):
            self._are_interlaced[frame.pts] = bool(frame.extra.get("interlaced")) or not info.mixed
        self.pts.append(frame.pts)
        return self._encoded(encoded)

    def _encoded(self, frame: VideoFrame | None) -> "list[Packet[VideoStream]]":
        with zeroed_memory():
            packets = self.stream.encode(frame)
        return [self._finished(packet) for packet in packets]

    def _stamped(self, encoded: VideoFrame, interlaced: bool) -> VideoFrame:
        """The frame with the order of its fields, which PyAV does not let one say."""
        info = self.info
        if not info.interlaced:
            return encoded
        # Of the encoders only FFV1 takes frames of both kinds; the others would go by any one of them.
        progressive = self.choice.encoder == "ffv1" and info.mixed and not interlaced
        order = "prog" if progressive else "bff" if info.bottom_first else "tff"
        if order not in self._stamps:
            self._stamps[order] = _field_setter(encoded, info.time_base, order)
        encoded.pts, encoded.time_base = 0, info.time_base
        self._stamps[order].push(encoded)
        return self._stamps[order].vpull()

    def _finished(self, packet: "Packet[VideoStream]") -> "Packet[VideoStream]":
        if self._counts and not self._without_times:
            self._uncount(packet)
        if packet.pts is not None and (interlaced := self._are_interlaced.pop(packet.pts, None)) is not None:
            packet.update(with_fields(packet, self.choice.encoder, interlaced, self.info.bottom_first))
        return packet

    def _uncount(self, packet: "Packet[VideoStream]") -> None:
        """Give a packet the times of the frames whose numbers it has."""
        pts = self.pts
        step = max(1, round(1 / ((self.info.rate or 25) * self.info.time_base)))

        def time(number: int | None) -> int | None:
            if number is None:
                return None
            return pts[number] if number >= 0 else pts[0] + number * step

        packet.pts, packet.dts, packet.duration = time(packet.pts), time(packet.dts), step
        packet.time_base = self.info.time_base


def _field_setter(like: VideoFrame, time_base: Fraction, order: str) -> Graph:
    """A filter that marks frames like this one: "tff", "bff", or "prog" for no fields."""
    graph = Graph()
    source = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=time_base)
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
    return graph
