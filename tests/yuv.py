"""4:2:0 of R, G and B, and what is measured of its noise."""

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


def planes_of(video: Tensor) -> list[Planes]:
    """Y, U and V of R, G and B [T, 3, H, W], 0 .. 255."""
    images = video.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    return [unpack(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p"))[0] for image in images]


def measured(frames: list[Planes], device: str) -> NoiseModel:
    """The noise of 8-bit planes."""
    height, width = frames[0][0].shape

    def tensors(frame: Planes) -> list[Tensor]:
        return [torch.from_numpy(plane.astype(np.float32)).to(device) for plane in frame]

    return measure_noise(frames, tensors, PlaneFormat("yuv", width, height, 8, 1, 1), 255.0)
