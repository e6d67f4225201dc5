"""Video denoising by optical flow, shifted non-local search and patch-group filtering."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vnlsdenoise.api import denoise
    from vnlsdenoise.noise.model import NoiseModel, PlaneNoise

__all__ = ["NoiseModel", "PlaneNoise", "denoise"]


def __getattr__(name: str) -> Any:
    """Load torch and the operators only when they are asked for: the command line's --help needs neither."""
    if name == "denoise":
        from vnlsdenoise.api import denoise

        return denoise
    if name in ("NoiseModel", "PlaneNoise"):
        from vnlsdenoise.noise import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
