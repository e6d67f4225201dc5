"""Small clips made on the spot: every sample is known, so that nothing has to be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from vnlsdenoise.video.frame import Frame, PlaneFormat
from vnlsdenoise.video.pixels import layout_of, pack


@dataclass
class Sound:
    """What to put beside the video: a tone, subtitles, chapters."""

    audio: str | None = None
    subtitles: str | None = None
    chapters: bool = False


def random_frames(format: PlaneFormat, count: int, alpha: bool = False, seed: int = 0) -> list[Frame]:
    """Frames of uniform noise over the full range of codes, pts 0, 1, 2, ..."""
    random = np.random.default_rng(seed)
    dtype: Any = np.uint8 if format.depth == 8 else np.uint16
    frames = []
    for index in range(count):
        planes = tuple(random.integers(0, format.peak + 1, shape).astype(dtype) for shape in format.plane_shapes)
        extra = {"alpha": random.integers(0, format.peak + 1, format.plane_shapes[0]).astype(dtype)} if alpha else {}
        frames.append(Frame(planes, index, 1, extra))
    return frames


def write_clip(
    path: Path,
    pix_fmt: str = "yuv420p",
    encoder: str = "ffv1",
    size: tuple[int, int] = (32, 24),
    count: int = 6,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    rate: int = 25,
    sound: Sound | None = None,
    frames: list[Frame] | None = None,
    **video: Any,
) -> list[Frame]:
    """Write a clip and return its frames, as they went into the encoder.

    frames: random ones if there are none. video: attributes of the encoder's context.
    """
    sound = sound or Sound()
    layout = layout_of(pix_fmt)
    format = layout.plane_format(*size)
    frames = frames or random_frames(format, count, layout.alpha)
    options = video.pop("options", {})
    rotation = video.pop("rotation", None)
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(encoder, rate=rate, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        for name, value in video.items():
            setattr(stream.codec_context, name, value)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        audio: Any = output.add_stream(sound.audio, rate=48000) if sound.audio else None
        titles: Any = output.add_mux_stream(sound.subtitles) if sound.subtitles else None
        if titles is not None:
            titles.time_base = Fraction(1, 1000)
        if sound.chapters:
            output.set_chapters([_chapter(1, 0, 100, "one"), _chapter(2, 100, 200, "two")])
        output.metadata["title"] = "a film"
        for index, frame in enumerate(frames):
            frame.pts = index if pts is None else pts[index]
            encoded = pack(frame.planes, frame.extra.get("alpha"), layout, *size)
            encoded.pts, encoded.time_base = frame.pts, time_base
            for name in ("colorspace", "color_range", "color_trc", "color_primaries"):
                setattr(encoded, name, getattr(stream.codec_context, name))
            output.mux(stream.encode(encoded))
        output.mux(stream.encode(None))
        if audio is not None:
            _write_tone(output, audio, count / rate)
        if titles is not None:
            _write_title(output, titles)
    return frames


def noisy_film(path: Path, count: int = 60, **how: Any) -> None:
    """Two scenes, the second one from frame 35 on; x265 does not repeat itself at frames much smaller."""
    layout = PlaneFormat("yuv", 96, 96, 8, 1, 1)
    random = np.random.default_rng(0)
    frames = []
    for number in range(count):
        scene = np.random.default_rng(9 + number // 35)
        textures = [scene.uniform(60, 180, (height // 4, width // 4)) for height, width in layout.plane_shapes]
        shown = [np.kron(texture, np.ones((4, 4))) for texture in textures]
        noisy = [plane + 6 * random.standard_normal(plane.shape) for plane in shown]
        frames.append(Frame(tuple(plane.round().clip(0, 255).astype(np.uint8) for plane in noisy)))
    write_clip(path, size=(96, 96), frames=frames, count=count, **how)


def _chapter(number: int, start: int, end: int, title: str) -> Any:
    return {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}


def _write_tone(output: Any, stream: Any, seconds: float) -> None:
    random = np.random.default_rng(1)
    size = stream.codec_context.frame_size or 1024
    for index in range(max(1, int(seconds * 48000 / size))):
        samples = random.uniform(-0.1, 0.1, (2, size)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, index * size, Fraction(1, 48000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _write_title(output: Any, stream: Any) -> None:
    packet = av.Packet(b"hello")
    packet.pts = packet.dts = 40
    packet.duration = 80
    packet.time_base = Fraction(1, 1000)
    packet.stream = stream
    output.mux(packet)


def packets(path: Path, kind: str) -> list[tuple[bytes, float]]:
    """The packets of all streams of one kind: their bytes and time in seconds."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [
            (bytes(packet), float((packet.pts or 0) * packet.time_base))
            for packet in container.demux(streams)
            if packet.size
        ]
