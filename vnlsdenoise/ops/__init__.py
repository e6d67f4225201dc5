"""The operators: one a file, each with CPU and CUDA kernels behind one public function."""

from vnlsdenoise.ops.pyramid import double, halve, pyramid_down, pyramid_up
from vnlsdenoise.ops.tvl1 import flow_image, flow_levels, tvl1_flow

__all__ = ["double", "flow_image", "flow_levels", "halve", "pyramid_down", "pyramid_up", "tvl1_flow"]
