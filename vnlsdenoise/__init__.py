"""Video denoising by optical flow, shifted non-local search and patch-group filtering."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vnlsdenoise.api import denoise

__all__ = ["denoise"]


def __getattr__(name: str) -> Any:
    """Load torch and the operators only when they are asked for: the command line's --help needs neither."""
    if name == "denoise":
        from vnlsdenoise.api import denoise

        return denoise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
