"""The operators: one a file, each with CPU and CUDA kernels behind one public function."""

from vnlsdenoise.ops.aggregate import new_sums, normalise
from vnlsdenoise.ops.flow import chain_flow
from vnlsdenoise.ops.fold import fold, ifold, iunfold, unfold
from vnlsdenoise.ops.graph import gather_tensor, scatter_labels, scatter_tensor, scatter_topk
from vnlsdenoise.ops.group import shrink_groups, wiener_groups
from vnlsdenoise.ops.patches import gather_patches, scatter_patches, weighted_patches
from vnlsdenoise.ops.pyramid import double, halve, pyramid_down, pyramid_up
from vnlsdenoise.ops.recompose import fine_wiener, guide, local_variance, recompose
from vnlsdenoise.ops.search import search
from vnlsdenoise.ops.tvl1 import flow_image, flow_levels, tvl1_flow
from vnlsdenoise.ops.weighted_filter import weighted_filter
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
    "fold",
    "gather_patches",
    "gather_tensor",
    "guide",
    "halve",
    "ifold",
    "iunfold",
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
    "scatter_labels",
    "scatter_patches",
    "scatter_tensor",
    "scatter_topk",
    "search",
    "shrink_groups",
    "tvl1_flow",
    "unfold",
    "weighted_filter",
    "weighted_patch_sum",
    "weighted_patches",
    "wiener_groups",
]
