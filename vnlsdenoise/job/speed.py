"""How long a run will take, before it starts: by measured speeds, and by what the last run on this machine took."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.video.frame import PlaneFormat

# Nanoseconds a pixel of 4:2:0 (one core of AMD EPYC with AVX-512, 432x240; one H200, 1080p) and, on a GPU, milliseconds
# a frame that its size does not change. Of `draft`: by its share of `fast` on one core of a Xeon; on a GPU a guess, by
# the number of its groups. Of `best`: by its share of `balanced` on one core of a Xeon, and on an H200.
_CPU = {"draft": 260.0, "fast": 1540.0, "balanced": 4720.0, "best": 4100.0}
_CUDA = {"draft": 1.0, "fast": 3.3, "balanced": 10.8, "best": 8.3}
_CUDA_FRAME = {"draft": 1.5, "fast": 2.4, "balanced": 4.0, "best": 4.0}
_LEARNED = 4.0  # times what the classic denoiser before it takes
_CORES_SHARE = 0.9  # of every further core that is of use
_FULL_CHROMA = 1.6  # times what 4:2:0 takes: 4:4:4 and RGB
_KNOWN = 64  # speeds that are remembered


def device_name(device: str) -> str:
    """What the device is called: the name of the GPU, or that of the processor with the threads in use."""
    import torch

    if device.startswith("cuda"):
        # Work that is done elsewhere has its device there.
        return torch.cuda.get_device_name(device) if torch.cuda.is_available() else device
    return f"CPU, {torch.get_num_threads()} threads"


def predict_seconds(format: PlaneFormat, settings: DenoiseSettings, frames: int) -> float:
    """Seconds that `frames` frames will take, roughly; decoding and encoding, which go on beside, left out."""
    return _by_table(format, settings) * frames * _remembered().get(_key(settings), 1.0)


def remember(format: PlaneFormat, settings: DenoiseSettings, frames: int, seconds: float) -> None:
    """Keep what a run took, for the next prediction; where that cannot be written, it is not."""
    known = {**_remembered(), _key(settings): round(seconds / (frames * _by_table(format, settings)), 4)}
    with suppress(OSError):
        _place().parent.mkdir(parents=True, exist_ok=True)
        beside = _place().with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(dict(list(known.items())[-_KNOWN:])))
        beside.replace(_place())


def _by_table(format: PlaneFormat, settings: DenoiseSettings) -> float:
    """Seconds a frame on the machines that were measured, with the cores of this one."""
    import torch

    pixels = format.width * format.height
    subsampled = format.family == "gray" or format.chroma_x + format.chroma_y > 0
    pixels = int(pixels * (1.0 if subsampled else _FULL_CHROMA))
    if settings.device.startswith("cuda"):
        seconds = _CUDA_FRAME[settings.preset] / 1e3 + pixels * _CUDA[settings.preset] / 1e9
    else:
        cores = 1 + _CORES_SHARE * (torch.get_num_threads() - 1)
        seconds = pixels * _CPU[settings.preset] / 1e9 / cores
    return seconds * (_LEARNED if settings.method == "learned" else 1.0)


def _key(settings: DenoiseSettings) -> str:
    return f"{device_name(settings.device)}, {settings.method}, {settings.preset}"


def _place() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "vnlsdenoise" / "speeds.json"


def _remembered() -> dict[str, float]:
    with suppress(OSError, ValueError, AttributeError):
        found: dict[str, Any] = json.loads(_place().read_text())
        return {str(key): float(value) for key, value in found.items() if 0 < float(value) < 1e6}
    return {}
