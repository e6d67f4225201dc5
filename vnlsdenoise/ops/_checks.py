"""Checks of arguments, in words: what was expected and what came."""

from functools import lru_cache

import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64)


def check_tensor(
    name: str, tensor: Tensor, dims: str, dtypes: tuple[torch.dtype, ...] = FLOATING, like: Tensor | None = None
) -> None:
    """Raise unless `tensor` has the shape that `dims` spells, one of `dtypes`, and the device (and dtype) of `like`.

    dims: names or numbers separated by spaces, a leading `...` for any number of dimensions before: `"... H W"`.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    # torch.compile looks into what is kept, and warns.
    any_before, count, sizes = (_parsed if torch.compiler.is_compiling() else _kept_parsed)(dims)
    shape = tensor.shape
    right = len(shape) >= count if any_before else len(shape) == count
    if right:
        for place, size in sizes:
            right = right and shape[place] == size
    if not right:
        raise ValueError(f"{name} must have shape [{', '.join(dims.split())}], got {list(shape)}")
    if tensor.dtype not in dtypes:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name} must be {names}, got {str(tensor.dtype).removeprefix('torch.')}")
    if like is not None and tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, got {tensor.device}")


def _parsed(dims: str) -> tuple[bool, int, tuple[tuple[int, int], ...]]:
    """Whether any dimensions may come first, how many follow, and those that are numbers: place from the end, size."""
    words = dims.split()
    any_before = words[0] == "..."
    fixed = words[any_before:]
    sizes = tuple((index - len(fixed), int(word)) for index, word in enumerate(fixed) if word.isdigit())
    return any_before, len(fixed), sizes


_kept_parsed = lru_cache(maxsize=1024)(_parsed)


def check_frames(
    name: str,
    frames: list[Tensor],
    dims: str,
    like: Tensor | None = None,
    dtypes: tuple[torch.dtype, ...] = FLOATING,
) -> None:
    """Raise unless `frames` is a non-empty list of tensors of one shape, one of `dtypes`, and one device."""
    if not isinstance(frames, (list, tuple)) or not frames:
        raise ValueError(f"{name} must be a non-empty list of tensors, one a frame, got {type(frames).__name__}")
    if len(frames) > MAX_FRAMES:
        raise ValueError(f"{name} must hold at most {MAX_FRAMES} frames, got {len(frames)}")
    check_tensor(f"{name}[0]", frames[0], dims, dtypes)
    shape, dtype, device = frames[0].shape, frames[0].dtype, frames[0].device
    for index, frame in enumerate(frames):
        if isinstance(frame, Tensor) and frame.shape == shape and frame.dtype == dtype and frame.device == device:
            continue
        check_tensor(f"{name}[{index}]", frame, dims, (frames[0].dtype,), frames[0])
        raise ValueError(f"{name}[{index}] must have the shape of the first, {list(shape)}, got {list(frame.shape)}")
    if like is not None and frames[0].device != like.device:
        raise ValueError(f"{name} must be on {like.device}, got {frames[0].device}")


MAX_FRAMES = 33  # kMaxFrames of csrc/frames.h


def check_int(**values: int) -> None:
    """Raise unless every named value is an int."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, got {type(value).__name__}")


def check_positive(**values: float) -> None:
    """Raise unless every named value is greater than zero."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be greater than 0, got {value}")
