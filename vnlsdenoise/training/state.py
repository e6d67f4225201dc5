"""A run on disk: the network, and what it takes to go on, in two small files; and the log."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.checkpoint import Header, save_network

NETWORK, STATE, LOG = "network.safetensors", "state.safetensors", "log.jsonl"


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    step: int
    seconds: float


def save_run(
    folder: Path,
    header: Header,
    average: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    progress: Progress,
) -> None:
    """Write the moving average as a network to use (half precision), and the weights to go on from."""
    network = folder / f"{NETWORK}.part"
    save_network(network, header, {name: value.half() for name, value in average.items()}, steps=str(progress.step))
    os.replace(network, folder / NETWORK)
    metadata = {"step": str(progress.step), "seconds": str(progress.seconds)}
    state = folder / f"{STATE}.part"
    # As far from float32 as the momentum that is lost anyway: the averaged weights are not touched by it.
    save_file({name: value.bfloat16().contiguous().cpu() for name, value in weights.items()}, state, metadata)
    os.replace(state, folder / STATE)


def load_weights(folder: Path) -> tuple[dict[str, Tensor], Progress]:
    """The weights to go on from; raises InputError."""
    path = folder / STATE
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            return tensors, Progress(int(metadata["step"]), float(metadata["seconds"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"no run to go on with in {folder}: {error}; leave --resume out to begin one") from error


class Log:
    """Lines of JSON, one a report; to the screen too. clock: seconds since the log was opened."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._start = time.monotonic()

    def __call__(self, **entry: Any) -> None:
        """Add a line; only the process that has a path does."""
        if self._path is None:
            return
        entry["clock"] = time.monotonic() - self._start
        line = json.dumps({key: round(v, 5) if isinstance(v, float) else v for key, v in entry.items()})
        with self._path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def busy_share(device: torch.device) -> float | None:
    """The share of the last second that a CUDA device was busy; None where nothing tells."""
    if device.type != "cuda":
        return None
    try:
        return torch.cuda.utilization(device) / 100
    except (ModuleNotFoundError, RuntimeError):  # without nvidia-ml-py
        return None
