"""The methods that a user can choose, and the network that belongs to each."""

import torch

from vnlsdenoise.errors import UsageError
from vnlsdenoise.learned.checkpoint import load_header, load_network
from vnlsdenoise.learned.denoiser import for_inference, working_type
from vnlsdenoise.learned.memory import NetworkSize
from vnlsdenoise.learned.network import Network
from vnlsdenoise.learned.sizes import CORRECTABLE

METHODS = ("classic", "learned", "auto")
USUAL = "balanced"  # preset of the classic method
# The weights that the tables of tests/benchmarks/results show to be nowhere worse than `balanced`, on any kind of
# noise. A test holds this to them.
NEVER_WORSE: frozenset[str] = frozenset()


def chosen_method(method: str, weights: str, preset: str | None, device: torch.device) -> str:
    """ "classic" or "learned".

    "auto" is the learned one on a GPU, with weights that are nowhere worse (`NEVER_WORSE`) and behind a preset that
    networks correct, and else the classic one.
    preset: that is asked for, of the classic method; None for the usual one of the method (`preset_of`).

    Raises:
        UsageError: no such method, or no network corrects the preset.
    """
    if method not in METHODS:
        raise UsageError(f"no such method: {method!r}; there are: {', '.join(METHODS)}")
    if method == "auto":
        trusted = weights in NEVER_WORSE and (preset is None or preset in CORRECTABLE)
        method = "learned" if device.type == "cuda" and trusted else "classic"
    if method == "learned" and preset is not None and preset not in CORRECTABLE:
        those = ", ".join(CORRECTABLE)
        raise UsageError(f"the learned method does not work behind preset {preset}; take {those}, or --method classic")
    return method


def preset_of(asked: str | None, trained: str | None) -> str:
    """The classic preset: what is asked for, else "balanced", or that whose results the network was trained on.

    trained: None without a network.
    """
    return asked or trained or USUAL


def network_of(method: str, weights: str, preset: str | None, device: torch.device) -> Network | None:
    """The network of a method, ready to work on a device; None for the classic one.

    Raises:
        UsageError: as of `chosen_method`; no such weights. InputError: the weights cannot be loaded.
    """
    chosen = chosen_method(method, weights, preset, device)
    return None if chosen == "classic" else for_inference(load_network(weights), device)


def network_size(method: str, weights: str, preset: str | None, device: torch.device) -> NetworkSize | None:
    """What decides the memory of the network of a method, which is not loaded; errors as of `network_of`."""
    if chosen_method(method, weights, preset, device) == "classic":
        return None
    return NetworkSize(load_header(weights).dimensions, working_type(device).itemsize)
