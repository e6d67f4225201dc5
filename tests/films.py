"""Small films of moving texture with sound, in any container, as users' files are made."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
import numpy.typing as npt

Order = Literal["video first", "sound first", "no sound"]
PIX_FMT = {"prores_ks": "yuv422p10le", "mjpeg": "yuvj420p", "gif": "rgb8", "apng": "rgb24", "png": "rgb24"}
_QUICK = {
    "libx264": {"preset": "ultrafast", "bf": "2"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=2"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "libvpx": {"cpu-used": "8", "deadline": "realtime"},
    "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"},
}


def pictures(count: int, size: tuple[int, int] = (96, 64)) -> list[npt.NDArray[np.uint8]]:
    """RGB pictures that move by three pixels a frame."""
    random = np.random.default_rng(0)
    width, height = size
    wide = cv2.GaussianBlur(random.integers(0, 255, (height, width + 3 * count, 3)).astype(np.uint8), (0, 0), 2)
    return [np.ascontiguousarray(wide[:, 3 * index : 3 * index + width]) for index in range(count)]


def write_film(
    path: Path,
    encoder: str = "libx264",
    sound: str | None = None,
    order: Order = "video first",
    count: int = 12,
    size: tuple[int, int] = (96, 64),
    options: dict[str, str] | None = None,
    **video: Any,
) -> None:
    """Write a film of 25 frames a second. video: attributes of the encoder's context, such as pix_fmt."""
    if order == "no sound":
        sound = None
    with av.open(str(path), "w") as output:
        streams: dict[str, Any] = {}
        for kind in ("audio", "video") if order == "sound first" else ("video", "audio"):
            if kind == "video":
                streams[kind] = output.add_stream(encoder, rate=25, options=_QUICK.get(encoder, {}) | (options or {}))
            elif sound is not None:
                streams[kind] = output.add_stream(sound, rate=44100 if sound.startswith("wma") else 48000)
                streams[kind].bit_rate = 128_000
        stream = streams["video"]
        stream.width, stream.height = size
        stream.pix_fmt = PIX_FMT.get(encoder, "yuv420p")
        for name, value in video.items():
            setattr(stream.codec_context, name, value)
        output.start_encoding()
        packets = list(encoded(stream, pictures(count, size)))
        if "audio" in streams:
            packets += tone(streams["audio"], count / 25)
        for packet in sorted(packets, key=_time):
            output.mux(packet)


def _time(packet: Any) -> float:
    return float((packet.dts if packet.dts is not None else packet.pts) * packet.time_base)


def encoded(stream: Any, shown: list[npt.NDArray[np.uint8]], first: int = 0) -> Iterator[Any]:
    """The packets of pictures of 25 a second."""
    for index, picture in enumerate(shown):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = first + index, Fraction(1, 25)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def tone(stream: Any, seconds: float) -> list[Any]:
    """The packets of noise of so many seconds."""
    random = np.random.default_rng(1)
    rate, size = stream.rate, stream.codec_context.frame_size or 1920
    resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=stream.layout.name, rate=rate)
    packets = []
    for begin in range(0, int(seconds * rate) - size + 1, size):
        samples = random.uniform(-0.1, 0.1, (2, size)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        for part in resampler.resample(frame):
            packets += stream.encode(part)
    return packets + stream.encode(None)


def decoded(path: Path) -> tuple[int, list[float]]:
    """How many frames FFmpeg decodes of the video of a file, whatever is wrong with it, and their times in seconds."""
    times: list[float] = []
    count = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets: list[Any] = []
        with contextlib.suppress(av.FFmpegError):
            packets += [packet for packet in container.demux(stream) if packet.size]
        for packet in [*packets, None]:
            try:
                for frame in stream.codec_context.decode(packet):
                    count += 1
                    times += [] if frame.pts is None else [float(frame.pts * stream.time_base)]
            except av.FFmpegError:
                pass
    return count, times


def stream_bytes(path: Path, kind: str) -> bytes:
    """The bytes of all packets of the streams of one kind, also of those that an edit list of MP4 cuts off."""
    with av.open(str(path), container_options={"advanced_editlist": "0"}) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return b"".join(bytes(packet) for packet in container.demux(streams)) if streams else b""
