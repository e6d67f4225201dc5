"""The operators: one a file, each with CPU and CUDA kernels behind one public function."""

from vnlsdenoise.ops.flow import chain_flow
from vnlsdenoise.ops.pyramid import double, halve, pyramid_down, pyramid_up
from vnlsdenoise.ops.search import search

__all__ = ["chain_flow", "double", "halve", "pyramid_down", "pyramid_up", "search"]
