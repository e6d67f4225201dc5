"""The operators: one a file, each with CPU and CUDA kernels behind one public function."""

from vnlsdenoise.ops.pyramid import double, halve, pyramid_down, pyramid_up

__all__ = ["double", "halve", "pyramid_down", "pyramid_up"]
