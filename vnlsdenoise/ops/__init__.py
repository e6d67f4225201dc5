"""The operators: one a file, each with CPU and CUDA kernels behind one public function."""

from vnlsdenoise.ops.aggregate import new_sums, normalise
from vnlsdenoise.ops.flow import chain_flow
from vnlsdenoise.ops.fold import fold, ifold, iunfold, unfold
from vnlsdenoise.ops.graph import gather_tensor, scatter_labels, scatter_tensor, scatter_topk
from vnlsdenoise.ops.group import shrink_groups, wiener_groups
from vnlsdenoise.ops.joining import joined_frame, search_image
from vnlsdenoise.ops.neighbors import absolute_from_offsets, non_local_inds, offsets_from_absolute, topk
from vnlsdenoise.ops.nonlocal_search import nonlocal_search
from vnlsdenoise.ops.paired_search import paired_refine, paired_search
from vnlsdenoise.ops.patches import gather_patches, scatter_patches, weighted_patches
from vnlsdenoise.ops.pyramid import double, halve, pyramid_down, pyramid_up
from vnlsdenoise.ops.query_search import query_search
from vnlsdenoise.ops.recompose import fine_wiener, guide, local_variance, recompose
from vnlsdenoise.ops.refine_search import refine_search
from vnlsdenoise.ops.search import search, search_along_flow
from vnlsdenoise.ops.search_flow import accumulate_flow, extract_search_from_accumulated, search_flow
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
    "absolute_from_offsets",
    "accumulate_flow",
    "chain_flow",
    "double",
    "extract_search_from_accumulated",
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
    "joined_frame",
    "local_variance",
    "new_sums",
    "non_local_inds",
    "nonlocal_gather",
    "nonlocal_scatter",
    "nonlocal_scatter_add",
    "nonlocal_search",
    "normalise",
    "normalise_distances",
    "offsets_from_absolute",
    "paired_refine",
    "paired_search",
    "pooled_patch_sum",
    "pyramid_down",
    "pyramid_up",
    "query_search",
    "recompose",
    "refine_search",
    "scatter_labels",
    "scatter_patches",
    "scatter_tensor",
    "scatter_topk",
    "search",
    "search_along_flow",
    "search_flow",
    "search_image",
    "shrink_groups",
    "topk",
    "tvl1_flow",
    "unfold",
    "weighted_filter",
    "weighted_patch_sum",
    "weighted_patches",
    "wiener_groups",
]
