"""The methods that a user can choose, and the network that belongs to each."""

import torch

from vnlsdenoise.errors import UsageError
from vnlsdenoise.learned.checkpoint import load_network
from vnlsdenoise.learned.denoiser import on_device
from vnlsdenoise.learned.network import Network

METHODS = ("classic", "learned", "auto")
LEARNED_PRESET = "fast"  # of the classic result that the networks are trained on


def chosen_method(method: str) -> str:
    """ "classic" or "learned"; raises UsageError where there is no such method.

    "auto" is the classic denoiser: no table shows yet that the learned one is nowhere worse.
    """
    if method not in METHODS:
        raise UsageError(f"no such method: {method!r}; there are: {', '.join(METHODS)}")
    return "classic" if method == "auto" else method


def network_of(method: str, weights: str, device: torch.device, max_memory: int | None) -> Network | None:
    """The network of a method, ready to work on a device; None for the classic one.

    Raises:
        UsageError: no such method or weights, or a ceiling of memory with a network, which keeps to none yet.
        InputError: the weights cannot be loaded.
    """
    if chosen_method(method) == "classic":
        return None
    if max_memory is not None:
        raise UsageError(
            "a ceiling of memory was given, and the learned method cannot keep to one yet; "
            "leave --max-memory out, or take --method classic"
        )
    return on_device(load_network(weights), device)
