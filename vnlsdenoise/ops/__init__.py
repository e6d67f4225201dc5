"""The operators: one a file, each with CPU and CUDA kernels behind one public function."""

from vnlsdenoise.ops.aggregate import new_sums, normalise
from vnlsdenoise.ops.flow import chain_flow
from vnlsdenoise.ops.group import shrink_groups, wiener_groups
from vnlsdenoise.ops.pyramid import double, halve, pyramid_down, pyramid_up
from vnlsdenoise.ops.recompose import fine_wiener, guide, local_variance, recompose
from vnlsdenoise.ops.search import search
from vnlsdenoise.ops.tvl1 import flow_image, flow_levels, tvl1_flow
from vnlsdenoise.ops.weighted_patch_sum import (
    nonlocal_gather,
    nonlocal_scatter,
    nonlocal_scatter_add,
    normalise_distances,
    pooled_patch_sum,
    weighted_patch_sum,
)

__all__ = [
    "chain_flow",
    "double",
    "fine_wiener",
    "flow_image",
    "flow_levels",
    "guide",
    "halve",
    "local_variance",
    "new_sums",
    "nonlocal_gather",
    "nonlocal_scatter",
    "nonlocal_scatter_add",
    "normalise",
    "normalise_distances",
    "pooled_patch_sum",
    "pyramid_down",
    "pyramid_up",
    "recompose",
    "search",
    "shrink_groups",
    "tvl1_flow",
    "weighted_patch_sum",
    "wiener_groups",
]
