"""A larger network that begins where a smaller one ended: the same results, and more to learn with.

After Net2Net (Chen et al., ICLR 2016): training of the larger network need not begin from nothing. Where that copies
channels, new ones here are random features, as a new network's are, which what was there takes no notice of yet: zero
are the weights that old channels read them with, and only those, so that the first step's gradient reaches these, and
every later one's what lies behind. New residual blocks come last in their row and end in zeros, for the same reason.
"""

from dataclasses import asdict

import torch
from torch import Tensor

from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.network import Dimensions, Network

# Convolutions that take several sets of maps side by side: old channels lie at the start of each.
_SETS = {"backward_cell.mix.weight": 2, "forward_cell.mix.weight": 3, "decoder.0.weight": 3}
_LAST = (".second.weight", ".second.bias")  # of a residual block


def grown(network: Network, dimensions: Dimensions, seed: int = 0) -> dict[str, Tensor]:
    """Weights, by their names, of a network of these dimensions that gives what this one gives, but for rounding.

    seed: of what is random. Raises InputError where a dimension is smaller than that of the network.
    """
    _check(network.dimensions, dimensions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = dict(Network(dimensions).state_dict())
    old = network.state_dict()
    for name, weight in new.items():
        if name in old:
            _place(weight, old[name], _SETS.get(name, 1))
        elif name.endswith(_LAST):
            weight.zero_()
    return new


def _place(weight: Tensor, old: Tensor, sets: int) -> None:
    """Lay an old weight into a new one, [out, ...] or [out, in, ...]; what it reads of other inputs is zero.

    The four samples that a pixel of a coarser map becomes lie together in `out`, channel by channel: so old ones are
    at its start there too.
    """
    rows = weight[: len(old)]
    if weight.dim() == 1 or weight.shape[1] == old.shape[1]:
        rows.copy_(old)
        return
    rows.zero_()
    for mine, theirs in zip(rows.chunk(sets, 1), old.chunk(sets, 1), strict=True):
        mine[:, : theirs.shape[1]] = theirs


def _check(old: Dimensions, new: Dimensions) -> None:
    for name, value in asdict(old).items():
        least, given = ([side] if isinstance(side, int) else side for side in (value, asdict(new)[name]))
        if any(a < b for a, b in zip(given, least, strict=True)):
            raise InputError(
                f"a network of {name} {value} cannot become one of {asdict(new)[name]}: it can only grow; "
                "give a larger --size, or other --weights"
            )
