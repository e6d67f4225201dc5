"""Text subtitles from the form of one container into that of another."""

from contextlib import suppress
from typing import cast

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

TEXT = {"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text", "microdvd", "subviewer", "ttml"}
_FORM = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}


def form_of(container: str) -> str | None:
    """FFmpeg's name of the text subtitles that a container holds, None where it holds none."""
    return _FORM.get(container)


class TextConverter:
    """Turns the packets of one text subtitle stream into those of a new stream of `output`.

    What is italic, bold or coloured stays so where the new form can say it. Construct it before the header is written.
    """

    def __init__(self, source: SubtitleStream, output: OutputContainer, form: str) -> None:
        self._decoder = source.codec_context
        # Their header, the styles, is known once they are open.
        self._decoder.open(strict=False)
        self.target = cast(SubtitleStream, output.add_stream(form))
        self.lost = 0
        encoder = self.target.codec_context
        encoder.time_base = self.target.time_base = source.time_base  # type: ignore[assignment]
        encoder.subtitle_header = self._decoder.subtitle_header if form == "mov_text" else _plain_header()

    def convert(self, packet: "Packet[Stream]") -> "Packet[Stream] | None":
        """The packet in the new form; None where it holds no text, or (counted in `lost`) none that can be read."""
        try:
            shown = self._decoder.decode2(packet)
            if shown is None or not len(shown):
                return None
            converted = self.target.codec_context.encode_subtitle(shown)
        except (av.FFmpegError, ValueError):
            self.lost += 1
            return None
        converted.time_base = packet.time_base
        converted.pts = converted.dts = packet.pts
        # Some forms say only in the text how long it stands.
        stands = round(shown.end_display_time / 1000 / packet.time_base)
        converted.duration = packet.duration or (stands if stands < 1 << 31 else 0)
        converted.stream = self.target
        return converted


def _plain_header() -> bytes | None:
    """The styles that text has by itself; those of another form would be repeated with every line."""
    plain = av.CodecContext.create("subrip", "r")
    with suppress(av.FFmpegError):
        plain.open()
    return plain.subtitle_header
