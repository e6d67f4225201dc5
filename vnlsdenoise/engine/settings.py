"""The settings of one denoising run, as every engine takes them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DenoiseSettings:
    """What decides the result; two runs with equal settings on one device kind give equal samples.

    sigma: noise deviation of every plane, in native code values of that plane (already multiplied by strength).
    method: "classic". preset: "fast", "balanced" or "best". device: "cpu", "cuda" or "cuda:N".
    scene_cuts: whether frames on both sides of a cut are kept apart.
    max_memory: ceiling of device memory in bytes, None for none; it never changes the result.
    """

    sigma: tuple[float, ...]
    method: str = "classic"
    preset: str = "balanced"
    device: str = "cpu"
    scene_cuts: bool = True
    max_memory: int | None = None
