"""DPX images: samples by way of FFmpeg, and the header of the source kept byte for byte."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from vnlsdenoise.errors import InputError
from vnlsdenoise.video.container import check_size
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.pixels import layout_of, native_name, pack, unpack

MAGICS = (b"SDPX", b"XPDS")
_LUMA, _RGB, _RGBA = 6, 50, 51
_CHANNELS = {_LUMA: 1, _RGB: 3, _RGBA: 4}
_DEPTHS = (8, 10, 12, 16)
_HEADER = 2048


@dataclass(frozen=True)
class _Header:
    """What the header of a file says. data: where the samples begin."""

    width: int
    height: int
    channels: int
    depth: int
    big_endian: bool
    data: int

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's pixel format with the same bytes."""
        end = "be" if self.big_endian else "le"
        if self.depth == 8:
            return {1: "gray", 3: "rgb24", 4: "rgba"}[self.channels]
        if self.channels == 1:
            return f"gray{self.depth}{end}"
        if self.depth == 16:
            return f"{'rgb48' if self.channels == 3 else 'rgba64'}{end}"
        return f"{'gbrp' if self.channels == 3 else 'gbrap'}{self.depth}{end}"


def _header(data: bytes, path: Path) -> _Header:
    if len(data) < _HEADER or data[:4] not in MAGICS:
        raise InputError(f"cannot read image {path}; its header is cut off; save it again as DPX")
    end = ">" if data[:4] == b"SDPX" else "<"
    (begin,) = struct.unpack_from(f"{end}I", data, 4)
    elements, width, height = struct.unpack_from(f"{end}HII", data, 770)
    descriptor, depth = data[800], data[803]
    if descriptor not in _CHANNELS or depth not in _DEPTHS or elements != 1:
        raise InputError(
            f"image {path} holds {elements} element(s) of kind {descriptor} with {depth} bits; expected one of luma, "
            "RGB or RGBA with 8, 10, 12 or 16 bits; convert it"
        )
    check_size(path, width, height)
    return _Header(width, height, _CHANNELS[descriptor], depth, end == ">", begin)


def size_of(path: Path) -> tuple[int, int, int, int]:
    """(width, height, channels, depth) of a file, told by its header; raises InputError."""
    with path.open("rb") as file:
        header = _header(file.read(_HEADER), path)
    return header.width, header.height, header.channels, header.depth


def read(path: Path) -> npt.NDArray[Any]:
    """The samples of a file, [height, width] or [height, width, channels]; raises InputError."""
    data = path.read_bytes()
    header = _header(data, path)
    try:
        decoder = av.CodecContext.create("dpx", "r")
        frames = decoder.decode(av.Packet(data)) + decoder.decode(None)
    except av.FFmpegError as error:
        raise InputError(f"cannot read image {path}; {error.strerror}; save it again as DPX") from error
    if not frames or (frames[0].width, frames[0].height) != (header.width, header.height):
        raise InputError(f"cannot read image {path}; it holds no whole picture; save it again as DPX")
    planes, alpha = unpack(frames[0])
    planes = planes if alpha is None else (*planes, alpha)
    return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)


def write(path: Path, samples: npt.NDArray[Any], depth: int, source: Path | None) -> None:
    """Write samples of `depth` bits; where `source` is a DPX of the same layout, under its header."""
    planes = [samples] if samples.ndim == 2 else [samples[..., index] for index in range(samples.shape[2])]
    like = source.read_bytes() if source is not None and source.suffix.lower() == ".dpx" else b""
    old = _header(like, source) if like and source is not None else None
    same = old is not None and (old.width, old.height, old.channels, old.depth) == (
        planes[0].shape[1],
        planes[0].shape[0],
        len(planes),
        depth,
    )
    encoded = _encoded(planes, depth, old.pix_fmt if same and old is not None else "")
    begin = _header(encoded, path).data
    if same and old is not None and len(like) - old.data >= len(encoded) - begin:
        # What stands behind the samples stays, too.
        end = old.data + len(encoded) - begin
        encoded = like[: old.data] + encoded[begin:] + like[end:]
    path.write_bytes(encoded)


def _encoded(planes: list[npt.NDArray[Any]], depth: int, pix_fmt: str) -> bytes:
    height, width = planes[0].shape
    alpha = planes.pop() if len(planes) in (2, 4) else None
    if not pix_fmt:
        native = native_name(
            PlaneFormat("gray" if len(planes) == 1 else "rgb", width, height, depth), alpha is not None
        )
        pix_fmt = {"gbrp": "rgb24", "gbrap": "rgba", "gbrp16le": "rgb48le", "gbrap16le": "rgba64le"}.get(native, native)
    frame: VideoFrame = pack(tuple(planes), alpha, layout_of(pix_fmt), width, height)
    encoder = av.CodecContext.create("dpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pix_fmt
    encoder.time_base = Fraction(1, 25)
    frame.pts = 0
    try:
        return b"".join(bytes(packet) for packet in encoder.encode(frame) + encoder.encode(None))
    except av.FFmpegError as error:
        raise OSError(f"DPX does not hold {pix_fmt} ({error.strerror})") from error
