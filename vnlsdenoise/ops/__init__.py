"""The operators: one a file, each with CPU and CUDA kernels behind one public function."""

from vnlsdenoise.ops.aggregate import new_sums, normalise
from vnlsdenoise.ops.flow import chain_flow
from vnlsdenoise.ops.group import shrink_groups, wiener_groups
from vnlsdenoise.ops.neighbors import absolute_from_offsets, non_local_inds, offsets_from_absolute, topk
from vnlsdenoise.ops.nonlocal_search import nonlocal_search
from vnlsdenoise.ops.paired_search import paired_refine, paired_search
from vnlsdenoise.ops.pyramid import double, halve, pyramid_down, pyramid_up
from vnlsdenoise.ops.recompose import fine_wiener, guide, local_variance, recompose
from vnlsdenoise.ops.refine_search import refine_search
from vnlsdenoise.ops.search import search
from vnlsdenoise.ops.search_flow import accumulate_flow, extract_search_from_accumulated, search_flow
from vnlsdenoise.ops.tvl1 import flow_image, flow_levels, tvl1_flow

__all__ = [
    "absolute_from_offsets",
    "accumulate_flow",
    "chain_flow",
    "double",
    "extract_search_from_accumulated",
    "fine_wiener",
    "flow_image",
    "flow_levels",
    "guide",
    "halve",
    "local_variance",
    "new_sums",
    "non_local_inds",
    "nonlocal_search",
    "normalise",
    "offsets_from_absolute",
    "paired_refine",
    "paired_search",
    "pyramid_down",
    "pyramid_up",
    "recompose",
    "refine_search",
    "search",
    "search_flow",
    "shrink_groups",
    "topk",
    "tvl1_flow",
    "wiener_groups",
]
