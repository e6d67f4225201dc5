"""4:2:0 and other planes of R, G and B, and what is measured of their noise."""

from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.noise.model import NoiseModel
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.pixels import unpack

Planes = tuple[Any, ...]


def planes_of(video: Tensor, format: str = "yuv420p") -> list[Planes]:
    """Y, U and V, or Y alone, of R, G and B [T, 3, H, W], 0 .. 255."""
    images = video.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    return [unpack(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=format))[0] for image in images]


def measured(frames: list[Planes], device: str) -> NoiseModel:
    """The noise of 8-bit planes."""
    height, width = frames[0][0].shape

    def tensors(frame: Planes) -> list[Tensor]:
        return [torch.from_numpy(plane.astype(np.float32)).to(device) for plane in frame]

    halved = [whole > half for whole, half in zip((width, height), frames[0][-1].shape[::-1], strict=True)]
    layout = PlaneFormat("yuv" if len(frames[0]) == 3 else "gray", width, height, 8, *map(int, halved))
    return measure_noise(frames, tensors, layout, 255.0)
