"""The step of the quantiser of HEVC, which FFmpeg's decoder does not tell: from the headers of the slices."""

import re
from typing import Any

import av
from av.packet import Packet
from av.video.stream import VideoStream

from vnlsdenoise.video.container import listening

_FIELD = re.compile(r"\b((?:pps|slice)_pic_parameter_set_id|init_qp_minus26|slice_qp_delta)\b.* = (-?\d+)")
_MOST_KEPT = 256  # steps of packets whose frames have not come


class SliceSteps:
    """Steps of the quantiser of an HEVC stream by the times of its packets, in the scale of samples up to `peak`.

    FFmpeg's filter trace_headers logs what the headers hold; the mean over a picture's slices is taken, and what is
    told block by block within them is left out.
    """

    def __init__(self, stream: VideoStream, peak: int) -> None:
        self._scale = peak / 255
        self._base: dict[int, int] = {}  # quantisers of the parameter sets
        self._steps: dict[int, float] = {}
        with listening() as lines:
            self._filter: Any = av.BitStreamFilterContext("trace_headers", stream)
        self._quantisers(lines)

    @staticmethod
    def of(stream: VideoStream, peak: int) -> "SliceSteps | None":
        """Those of a stream, None where it is none of HEVC."""
        return SliceSteps(stream, peak) if stream.codec_context.codec.canonical_name == "hevc" else None

    def saw(self, packet: "Packet[Any]") -> None:
        """Note what a packet tells."""
        if packet.pts is None:
            return
        with listening() as lines:
            try:
                self._filter.filter(av.Packet(bytes(packet)))  # which takes what it is given
            except av.FFmpegError:
                return  # the decoder tells of damage
        # ITU-T H.265, 8.6.1: the step doubles every 6, and is 1 at 4.
        steps = [2 ** ((quantiser - 4) / 6) for quantiser in self._quantisers(lines)]
        if steps:
            self._steps[packet.pts] = self._scale * sum(steps) / len(steps)
        while len(self._steps) > _MOST_KEPT:
            del self._steps[next(iter(self._steps))]

    def at(self, pts: int | None) -> float | None:
        """That of the frame of this time, once."""
        return None if pts is None else self._steps.pop(pts, None)

    def _quantisers(self, lines: list[tuple[int, str, str]]) -> list[int]:
        """Of the slices; notes those of parameter sets."""
        found, given = [], 0
        for _, _, line in lines:
            match = _FIELD.search(line)
            if match is None:
                continue
            name, value = match[1], int(match[2])
            if name == "init_qp_minus26":
                self._base[given] = 26 + value
            elif name == "slice_qp_delta":
                found.append(self._base.get(given, 26) + value)
            else:
                given = value
        return found
