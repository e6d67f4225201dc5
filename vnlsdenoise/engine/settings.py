"""The settings of one denoising run, as every engine takes them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DenoiseSettings:
    """What decides the result; two runs with equal settings on one device kind give equal samples.

    sigma: noise deviation of every plane, in native code values of that plane, white noise; None to measure every
        scene. strength: multiplies the noise of each plane; None for 1.
    noise_model: what is measured where `sigma` is None: "auto", all that is found, or "white", one deviation a plane.
    keep_grain: share of what was removed that is put back, 0 to 1.
    method: "classic" or "learned". weights: of the network of "learned", a name or a file.
    preset: "draft", "fast", "balanced" or "best"; no network corrects "draft". device: "cpu", "cuda" or "cuda:N".
    scene_cuts: whether frames on both sides of a cut are kept apart.
    duplicates: whether frames that repeat the one before are told apart and not used as evidence.
    fields: whether frames are interlaced: every second line is denoised among its like.
    max_memory: ceiling of device memory in bytes, on the CPU of the memory of the process; None for what is free. It
        never changes the result.
    """

    sigma: tuple[float, ...] | None
    strength: tuple[float, ...] | None = None
    noise_model: Literal["auto", "white"] = "auto"
    keep_grain: float = 0.0
    method: str = "classic"
    weights: str = "small"
    preset: str = "balanced"
    device: str = "cpu"
    scene_cuts: bool = True
    duplicates: bool = True
    fields: bool = False
    max_memory: int | None = None
