"""A frame as planes: the colour transforms and paddings between what a video holds and what a denoiser takes."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from vnlsdenoise.video.frame import Plane, PlaneFormat

# Orthonormal: white noise stays white, with the same deviation in each channel if R, G and B have the same.
_OPPONENT = torch.tensor(
    [
        [3**-0.5, 3**-0.5, 3**-0.5],
        [2**-0.5, 0.0, -(2**-0.5)],
        [6**-0.5, -2 * 6**-0.5, 6**-0.5],
    ],
    dtype=torch.float64,
)


@lru_cache(maxsize=16)
def _opponent_like(device: torch.device, dtype: torch.dtype) -> Tensor:
    # Kept there: to bring it to a device is to wait for all the work on it.
    return _OPPONENT.to(device, dtype)


def opponent_from_rgb(rgb: Tensor) -> Tensor:
    """[..., 3, H, W] R, G, B -> luma-like sum and two differences, by an orthonormal matrix."""
    return torch.einsum("ij,...jhw->...ihw", _opponent_like(rgb.device, rgb.dtype), rgb)


def rgb_from_opponent(opponent: Tensor) -> Tensor:
    """The inverse of `opponent_from_rgb`."""
    return torch.einsum("ji,...jhw->...ihw", _opponent_like(opponent.device, opponent.dtype), opponent)


def planes_to_tensors(planes: tuple[Plane, ...], device: str) -> list[Tensor]:
    """Native integer planes -> float32 tensors [h, w] of the same values; does not wait for the device."""
    on_host = [torch.from_numpy(plane) for plane in planes]
    if torch.device(device).type == "cuda":
        on_host = [_pinned(plane) for plane in on_host]
    return [plane.to(device, non_blocking=True).float() for plane in on_host]


def _pinned(plane: Tensor) -> Tensor:
    # NumPy copies in this thread alone. torch would wake a thread on every core, each of which then spins for more work
    # and takes that time from the decoder and the encoder.
    copy = torch.empty(plane.shape, dtype=plane.dtype, pin_memory=True)
    copy.numpy()[...] = plane.numpy()
    return copy


def tensors_to_planes(tensors: list[Tensor], layout: PlaneFormat) -> tuple[Plane, ...]:
    """Float tensors [h, w] -> native planes: rounded half to even, clipped to 0 .. peak."""
    return planes_on_their_way(tensors, layout)()


def planes_on_their_way(tensors: list[Tensor], layout: PlaneFormat) -> Callable[[], tuple[Plane, ...]]:
    """`tensors_to_planes` begun without waiting for the device; the function that is returned waits for the planes."""
    dtype = torch.uint8 if layout.depth == 8 else torch.uint16
    native = [tensor.round().clamp_(0, layout.peak).to(torch.int32).to(dtype) for tensor in tensors]
    arrived: torch.cuda.Event | None = None
    if native[0].is_cuda:
        device = native[0].device
        native = [
            torch.empty(plane.shape, dtype=dtype, pin_memory=True).copy_(plane, non_blocking=True) for plane in native
        ]
        # A host that sleeps until then leaves its cores to the decoder and the encoder.
        arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(device))

    def planes() -> tuple[Plane, ...]:
        if arrived is not None:
            arrived.synchronize()
        return tuple(plane.numpy() for plane in native)

    return planes


def blend_grain(clean: list[Tensor], noisy: list[Tensor], share: float) -> list[Tensor]:
    """Denoised planes with a share of what was removed put back: 0 returns `clean`, 1 the noisy planes bit for bit."""
    if share == 0:
        return clean
    if share == 1:
        return noisy
    return [torch.lerp(c, n.to(c), share) for c, n in zip(clean, noisy, strict=True)]


def pad_by_reflection(plane: Tensor, height: int, width: int) -> Tensor:
    """[..., h, w] -> [..., height, width] (or h, w where they are larger): mirrored to the right and below."""
    for axis, size in ((-2, height), (-1, width)):
        n = plane.shape[axis]
        if n >= size:
            continue
        period = max(2 * (n - 1), 1)
        index = torch.arange(size, device=plane.device) % period
        plane = plane.index_select(plane.dim() + axis, torch.where(index < n, index, period - index))
    return plane
