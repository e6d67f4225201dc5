"""The step of a codec's quantiser: from the headers of the pictures, or as FFmpeg's decoder tells it block by block.

A step is that of luma's coefficients, under a transform that keeps the sum of squares, in the scale of luma's samples.
What a quantiser leaves depends on the codec around it as well (docs/figures.md, coded noise), so that of another codec
is told as the step of H.264 which leaves about as much.
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vnlsdenoise.video.container import listening
from vnlsdenoise.video.side_data import bytes_of

# AVVideoEncParams of libavutil: blocks, where they begin, the size of one, type, base; of a block x, y, w, h and delta.
_ENC_PARAMS = struct.Struct("@IQQii")
_VP9, _MPEG, _BLOCK_DELTA = 0, 2, 4
# VP9 and AV1: the AC quantiser of 8 bits by its index, in eighths, within 0.4 % if it rises evenly between these. Those
# of 10 and 12 bits are 4 and 16 times as much, within 4 % from a step of 10 on; finer ones are less.
_INDICES = (0, 1, 95, 120, 137, 151, 161, 170, 178, 185, 193, 202, 211, 219, 228, 236, 245, 253, 255)
_EIGHTHS = (4, 8, 102, 152, 203, 260, 311, 366, 424, 483, 560, 663, 786, 915, 1087, 1267, 1508, 1759, 1828)
# Times the own step, and at most so much, in 255ths of the peak, by which clips lose nothing. Likely why: MPEG filters
# nothing and weighs by more than 16 most of what it does not predict; the filters of VP9, and more so of AV1, take most
# of what a long step makes.
_VP9_AS_H264, _AV1_AS_H264, _MPEG_AS_H264 = (1.0, 28.0), (1.25, 22.0), (1.75, 28.0)
# Of H.264, the mean step over the blocks of x264's pictures to that of their slices: 0.6 to 1.6 by clip.
_OF_SLICES = 0.9
_FIELD = re.compile(r"^\d+ +(\w+) .*= (-?\d+)$")
_MOST_KEPT = 256  # steps of packets whose frames have not come


def quantiser_step(frame: VideoFrame, peak: int) -> float | None:
    """The mean step, as of H.264, in the scale of samples up to `peak`; None where the decoder tells none.

    FFmpeg 8 tells those of VP9, MPEG-1, 2 and 4 and their kin, not of HEVC and AV1; those of H.264 before all blocks of
    a picture are decoded, where its threads work on several pictures (`HeaderSteps`).
    """
    data = bytes_of(frame, SideDataType.VIDEO_ENC_PARAMS)
    if len(data) < _ENC_PARAMS.size:
        return None
    count, offset, size, codec, base = _ENC_PARAMS.unpack_from(data)
    blocks = np.frombuffer(data, np.int32, count * size // 4, offset).reshape(count, size // 4)
    quantisers = base + blocks[:, _BLOCK_DELTA]
    if codec == _VP9:  # which has blocks only where they differ
        steps = _as_h264(_ac_step(quantisers if count else [base]), *_VP9_AS_H264)
    elif codec == _MPEG:
        # Steps of coefficients that are weighted by 16 (ISO/IEC 13818-2, 7.4.2.3); 0 where nothing was decoded.
        steps = _as_h264(quantisers[quantisers > 0], *_MPEG_AS_H264)
    else:
        return None
    return float(steps.mean()) * peak / 255 if len(steps) else None


class HeaderSteps:
    """Steps of the quantiser of H.264, HEVC and AV1, as of H.264, by the times of packets; of samples up to `peak`.

    FFmpeg's filter trace_headers logs what the headers hold; what is told block by block beyond them is left out.
    """

    def __init__(self, stream: VideoStream, headers: "_Headers", peak: int) -> None:
        self._scale = peak / 255
        self._headers = headers
        self._steps: dict[int, float] = {}
        with listening() as lines:
            self._filter: Any = av.BitStreamFilterContext("trace_headers", stream)
        headers.step(_fields(lines))

    @staticmethod
    def of(stream: VideoStream, peak: int) -> "HeaderSteps | None":
        """Those of a stream, None where its codec is none of these, or what stands before its packets is damaged."""
        headers = _HEADERS.get(stream.codec_context.codec.canonical_name)
        if headers is None:
            return None
        try:
            return HeaderSteps(stream, headers(), peak)
        except av.FFmpegError:
            return None  # the decoder tells of damage

    def saw(self, packet: "Packet[Any]") -> None:
        """Note what a packet tells."""
        with listening() as lines:
            try:
                self._filter.filter(av.Packet(bytes(packet)))  # which takes what it is given
            except av.FFmpegError:
                self._headers.lost()  # the decoder tells of damage
                return
        step = self._headers.step(_fields(lines))
        if step is not None and packet.pts is not None:
            self._steps[packet.pts] = self._scale * step
        while len(self._steps) > _MOST_KEPT:
            del self._steps[next(iter(self._steps))]

    def at(self, pts: int | None) -> float | None:
        """That of the frame of this time, once."""
        return None if pts is None else self._steps.pop(pts, None)


class _Headers(Protocol):
    """Reads the fields of headers, (name, value), packet by packet."""

    def step(self, fields: Iterable[tuple[str, int]]) -> float | None:
        """Of the picture that a packet shows, in 255ths of the peak; None where it shows none, or an unknown one."""

    def lost(self) -> None:
        """A packet could not be read."""


class _Slices:
    """Of H.264 and HEVC. times: the step of a picture is so many times that of its slices."""

    _SET = ("pic_parameter_set_id", "pps_pic_parameter_set_id", "slice_pic_parameter_set_id")
    _BASE = ("pic_init_qp_minus26", "init_qp_minus26")

    def __init__(self, times: float) -> None:
        self._times = times
        self._base: dict[int, int] = {}  # quantisers of the parameter sets

    def step(self, fields: Iterable[tuple[str, int]]) -> float | None:
        """The mean over the slices."""
        steps, given = [], 0
        for name, value in fields:
            if name in self._SET:
                given = value
            elif name in self._BASE:
                self._base[given] = 26 + value
            elif name == "slice_qp_delta":
                # ITU-T H.264, 8.5.9, H.265, 8.6.1: the step doubles every 6, and is 1 at 4.
                steps.append(self._times * 2 ** ((self._base.get(given, 26) + value - 4) / 6))
        return sum(steps) / len(steps) if steps else None

    def lost(self) -> None:
        pass


class _Av1:
    """Of a packet's pictures all but one are hidden: kept in slots, which a later packet may show."""

    _SLOTS, _ALL, _KEY = 8, 0xFF, 0

    def __init__(self) -> None:
        self._slots: dict[int, tuple[int, float]] = {}  # kind of the picture, step

    def step(self, fields: Iterable[tuple[str, int]]) -> float | None:
        told: dict[str, int] = {}
        shown = None
        for name, value in fields:
            if name == "show_existing_frame":
                told.clear()
            told[name] = value
            if name == "frame_to_show_map_idx":
                kind, shown = self._slots.get(value, (None, None))
                if shown is not None and kind == self._KEY:
                    self._keep(kind, shown, self._ALL)
            elif name == "base_q_idx":
                step = float(_as_h264(_ac_step(value), *_AV1_AS_H264))
                # Key frames that are shown say nothing of the slots, which they fill all; a still picture says neither.
                self._keep(told.get("frame_type", self._KEY), step, told.get("refresh_frame_flags", self._ALL))
                shown = step if told.get("show_frame", 1) else shown
        return shown

    def lost(self) -> None:
        self._slots.clear()

    def _keep(self, kind: int, step: float, slots: int) -> None:
        self._slots.update({slot: (kind, step) for slot in range(self._SLOTS) if slots >> slot & 1})


_HEADERS: dict[str, Callable[[], _Headers]] = {
    "h264": partial(_Slices, _OF_SLICES),
    "hevc": partial(_Slices, 1.0),
    "av1": _Av1,
}


def _fields(lines: list[tuple[int, str, str]]) -> Iterator[tuple[str, int]]:
    """Of what trace_headers says: place, name, bits, "=", value."""
    for _, _, line in lines:
        if match := _FIELD.match(line.strip()):
            yield match[1], int(match[2])


def _as_h264(steps: npt.NDArray[Any], times: float, most: float) -> npt.NDArray[np.float64]:
    return np.minimum(times * steps, most)


def _ac_step(indices: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(np.interp(np.asarray(indices), _INDICES, _EIGHTHS)) / 8
