"""Placeholder of the local engine: frames pass through a horizontal smoothing."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.errors import DeviceError
from vnlsdenoise.video.frame import Frame, PlaneFormat


def denoise_frames(frames: Iterable[Frame], format: PlaneFormat, settings: DenoiseSettings) -> Iterator[Frame]:
    """Smooth every frame on its own."""
    for frame in frames:
        planes = tuple(
            ((plane.astype(np.uint32) + np.roll(plane, 1, axis=1)) // 2).astype(plane.dtype) for plane in frame.planes
        )
        yield Frame(planes, frame.pts, frame.duration, frame.extra)


def estimate_sigma(frames: Sequence[Frame], format: PlaneFormat, device: str) -> tuple[float, ...]:
    """A fixed level of noise, scaled to the depth."""
    return tuple(5.0 * 2 ** (format.depth - 8) for _ in format.plane_shapes)


def resolve_device(name: str) -> str:
    """Only the CPU is known here."""
    if name in ("auto", "cpu"):
        return "cpu"
    raise DeviceError(f"no device {name!r}; this machine offers only the CPU; give --device cpu")
