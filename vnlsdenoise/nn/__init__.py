"""The operators as modules, with the parameter names that users of stnls know, and layers made of them."""

from vnlsdenoise.nn.aggregation import (
    Fold,
    NonLocalGather,
    NonLocalGatherAdd,
    NonLocalScatter,
    NonLocalScatterAdd,
    PooledPatchSum,
    Unfold,
    WeightedFilter,
    WeightedPatchSum,
    iFold,
    iUnfold,
)
from vnlsdenoise.nn.attention import NonLocalAttention, NonLocalAttentionStack
from vnlsdenoise.nn.guided import GuidedAttention
from vnlsdenoise.nn.recurrent import AlignedCell
from vnlsdenoise.nn.search import NonLocalSearch, PairedRefine, PairedSearch, RefineSearch

__all__ = [
    "AlignedCell",
    "Fold",
    "GuidedAttention",
    "NonLocalAttention",
    "NonLocalAttentionStack",
    "NonLocalGather",
    "NonLocalGatherAdd",
    "NonLocalScatter",
    "NonLocalScatterAdd",
    "NonLocalSearch",
    "PairedRefine",
    "PairedSearch",
    "PooledPatchSum",
    "RefineSearch",
    "Unfold",
    "WeightedFilter",
    "WeightedPatchSum",
    "iFold",
    "iUnfold",
]
