"""Weights on disk: safetensors, with what else there is to know of the network in the file's own metadata."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.learned.network import Dimensions, Network
from vnlsdenoise.learned.sizes import CORRECTABLE
from vnlsdenoise.weights import WEIGHTS

_FORMAT, _BEFORE = "vnlsdenoise-network-2", "vnlsdenoise-network-1"
_PREFIX = "network."  # of the names of the network's own tensors; a file may hold others beside them


@dataclass(frozen=True)
class Header:
    """What a file tells of its network beside the weights: its dimensions, and the classic preset that it corrects."""

    dimensions: Dimensions
    preset: str = "fast"


def save_network(path: Path, header: Header, tensors: Mapping[str, Tensor], **notes: str) -> None:
    """Write a network's weights, named as in its `state_dict`, with its header and further notes."""
    dimensions = json.dumps(asdict(header.dimensions))
    metadata = {"format": _FORMAT, "dimensions": dimensions, "preset": header.preset, **notes}
    save_file({_PREFIX + name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, path, metadata)


def find_weights(name: str) -> Path:
    """The file of shipped weights, checked against its sum, or of a path; raises UsageError, InputError."""
    shipped = WEIGHTS.get(name)
    if shipped is None:
        path = Path(name)
        if path.suffix != ".safetensors":
            names = ", ".join(WEIGHTS)
            raise UsageError(f"no such weights: {name!r}; there are: {names}; or give a .safetensors file")
        return path
    path = Path(str(resources.files("vnlsdenoise.weights") / shipped.file))
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if found != shipped.sha256:
        raise InputError(f"weights {name}: {path} is not as shipped (sha256 {found}); install vnlsdenoise again")
    return path


def load_network(name: str) -> Network:
    """A network with the weights of this name or path, float32, on the CPU, for inference.

    Raises:
        UsageError: no such name. InputError: the file is missing, or does not hold such a network.
    """
    path = find_weights(name)
    with _opened(path) as (file, header):
        network = Network(header.dimensions, header.preset)
        keys = [key for key in file.keys() if key.startswith(_PREFIX)]  # noqa: SIM118
        network.load_state_dict({key.removeprefix(_PREFIX): file.get_tensor(key).float() for key in keys})
    if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
        raise InputError(f"weights {path} hold values that are not finite; take another file")
    return network.eval().requires_grad_(False)


def load_header(name: str) -> Header:
    """Of the file of this name or path, whose weights stay where they are; errors as of `load_network`."""
    with _opened(find_weights(name)) as (_, header):
        return header


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Header]]:
    """A file of weights, while it is read."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") == _BEFORE:
                raise InputError(
                    f"weights {path} are of an earlier vnlsdenoise, whose networks were told less of the noise; train "
                    "them anew, or go back to that version"
                )
            if metadata.get("format") != _FORMAT:
                raise InputError(
                    f"{path} does not hold weights of vnlsdenoise (format {metadata.get('format')!r}); give others"
                )
            preset = metadata["preset"]
            if preset not in CORRECTABLE:
                raise ValueError(f"it corrects preset {preset!r}, which is not known")
            yield file, Header(_dimensions(json.loads(metadata["dimensions"])), preset)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"weights {path} cannot be loaded: {reason}; check the file") from error


def _dimensions(found: dict[str, object]) -> Dimensions:
    def sides(value: object) -> tuple[int, int, int]:
        a, b, c = (int(part) for part in value)  # type: ignore[attr-defined]
        return a, b, c

    return Dimensions(
        sides(found["channels"]), int(str(found["encoder"])), sides(found["cell"]), int(str(found["decoder"]))
    )
