"""What the operators on lists of neighbours share: checks, heads, layout, coverage."""

import torch
from torch import Tensor

from vnlsdenoise.ops._checks import check_int, check_positive, check_tensor

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
OFFSETS = (torch.int32, torch.int64, *FLOATING)


def working_dtype(tensor: Tensor) -> torch.dtype:
    """float64 stays, everything else is summed in float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def check_geometry(**values: int) -> None:
    """Raise unless every named value is an int greater than zero."""
    check_int(**values)
    check_positive(**values)


def check_sizes(
    name: str,
    tensor: Tensor,
    sizes: tuple[int | str, ...],
    dtypes: tuple[torch.dtype, ...],
    like: Tensor | None = None,
) -> None:
    """`check_tensor` for sizes taken from other tensors, which a compiler may not know yet: no text unless it fails."""
    shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else sizes
    if len(shape) != len(sizes) or any(
        not isinstance(size, str) and size != found for size, found in zip(sizes, shape, strict=True)
    ):
        raise ValueError(f"{name} must have shape [{', '.join(map(str, sizes))}], got {list(shape)}")
    check_tensor(name, tensor, "...", dtypes, like)


def check_lists(weights: Tensor, offsets: Tensor, like: Tensor) -> None:
    """weights [B, HD, T, nH, nW, K] and offsets [..., K, 3] that agree with each other and with the video `like`."""
    check_tensor("weights", weights, "B HD T nH nW K", FLOATING, like)
    check_sizes("offsets", offsets, (*weights.shape, 3), OFFSETS, like)


def list_type(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights and offsets as the kernels read them: whole offsets int32, the rest in the working type."""
    return tensor.to(dtype if tensor.is_floating_point() else torch.int32)


def channels_last(name: str, video: Tensor, heads: int) -> Tensor:
    """[B, T, C, H, W] or [B, HD, T, F, H, W] -> [B * HD, T, H, W, F] in the working type."""
    if not isinstance(video, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(video).__name__}")
    if video.dim() == 5:
        check_tensor(name, video, "B T C H W", FLOATING)
        if video.shape[2] % heads:
            raise ValueError(f"{name} must have channels that {heads} heads divide, got {video.shape[2]}")
        video = video.reshape(*video.shape[:2], heads, -1, *video.shape[3:]).transpose(1, 2)
    else:
        check_sizes(name, video, ("B", heads, "T", "F", "H", "W"), FLOATING)
    return video.permute(0, 1, 2, 4, 5, 3).flatten(0, 1).to(working_dtype(video)).contiguous()


def coverage(size: int, queries: int, stride: int, taps: Tensor) -> Tensor:
    """How many (query, tap) pairs of one axis fall on each of its `size` pixels."""
    at = torch.arange(size, device=taps.device)[:, None] - taps
    return ((at >= 0) & (at % stride == 0) & (at < queries * stride)).sum(1)


def inverse_coverage(frames: Tensor, rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
    """1 / number of patches over each pixel, [T, H, W]; 0 where no patch falls."""
    count = frames[:, None, None] * rows[:, None] * columns
    return torch.where(count > 0, 1 / count.clamp(min=1).to(dtype), 0)
