"""What packets of sound say of themselves at their beginning, as broadcast streams hold them."""

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from vnlsdenoise.video.container import codec_of
from vnlsdenoise.video.timeline import when

_CONTAINERS = ("mpegts", "mpeg")
_CODECS = {"mp1", "mp2", "mp3", "ac3", "eac3", "aac"}
_HEAD = 6  # bytes
_AC3_RATES = (48000, 44100, 32000)
_ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_MPEG_RATES = (44100, 48000, 32000)
_MPEG_HALVINGS = {3: 0, 2: 1, 0: 2}  # by version 1, 2 and 2.5
_SURE = 2  # packets in a row: one may be damaged


def form_of_sound(head: bytes) -> str:
    """Codec and sample rate of a packet by its first bytes, "" where they say none."""
    if len(head) < _HEAD:
        return ""
    if head[0] == 0x0B and head[1] == 0x77:
        name, index = "E-AC-3" if head[5] >> 3 > 10 else "AC-3", head[4] >> 6
        return f"{name}, {_AC3_RATES[index]} Hz" if index < len(_AC3_RATES) else ""
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return ""
    if head[1] & 0xF6 == 0xF0:
        index = head[2] >> 2 & 15
        return f"AAC, {_ADTS_RATES[index]} Hz" if index < len(_ADTS_RATES) else ""
    version, layer, index = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 2 & 3
    if version not in _MPEG_HALVINGS or layer == 4 or index == len(_MPEG_RATES):
        return ""
    return f"MPEG layer {layer}, {_MPEG_RATES[index] >> _MPEG_HALVINGS[version]} Hz"


class SoundForms:
    """Notices where the sound of a stream becomes another, which its container tells only once."""

    def __init__(self, container: InputContainer) -> None:
        streams = container.streams.audio if container.format.name in _CONTAINERS else ()
        self._first = {stream.index: "" for stream in streams if codec_of(stream) in _CODECS}
        self._now: dict[int, tuple[str, int]] = {}
        self.change = ""

    def saw(self, packet: "Packet[Stream]") -> None:
        """Look at a packet of any stream."""
        index = packet.stream_index
        if self.change or index not in self._first:
            return
        form = form_of_sound(bytes(memoryview(packet)[:_HEAD]))
        before, times = self._now.get(index, ("", 0))
        times = times + 1 if form == before else 1
        self._now[index] = form, times
        if not form or times < _SURE:
            return
        self._first[index] = self._first[index] or form
        if form != self._first[index]:
            seconds = None if packet.pts is None else float(packet.pts * packet.time_base)
            self.change = f"of stream {index} from {self._first[index]} to {form}{when(seconds)}"
