"""A frame as planes: the colour transforms and paddings between what a video holds and what a denoiser takes."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vnlsdenoise.pinned import PinnedPlace, PinnedRoom
from vnlsdenoise.video.frame import Plane, PlaneFormat

# Orthonormal: white noise stays white, with the same deviation in each channel if R, G and B have the same.
_OPPONENT = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)

# Where planes leave each GPU. It lasts as long as the process: whoever lets go of a frame, after the device failed too,
# gives nothing back to torch, which would ask the device.
_leaving: dict[torch.device, PinnedRoom] = defaultdict(PinnedRoom)
_MOST_SIZES = 8  # of planes, that there is room for: a process that meets many would pin more and more for ever

_NO_SAMPLE = 64  # times the peak: more is the result of no denoising

# Of the matrices (ISO/IEC 23091-2) that make luma a weighted sum of R, G and B: the weights of R and B.
_UNKNOWN_MATRIX, _BT709, _BT601 = 2, 1, 6
_RED_AND_BLUE = {
    _BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    _BT601: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}


def opponent_from_rgb(rgb: Sequence[Tensor]) -> list[Tensor]:
    """Planes R, G, B -> luma-like sum and two differences, by an orthonormal matrix."""
    return [_weighted_sum(rgb, row) for row in _OPPONENT]


def rgb_from_opponent(opponent: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of `opponent_from_rgb`."""
    return [_weighted_sum(opponent, column) for column in zip(*_OPPONENT, strict=True)]


def _weighted_sum(planes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    # Not as a product of matrices: cuBLAS would take, and keep, 32 MiB of the device for it.
    total = planes[0] * weights[0]
    for plane, weight in zip(planes[1:], weights[1:], strict=True):
        total.add_(plane, alpha=weight)
    return total


def luma_weights(layout: PlaneFormat) -> tuple[float, float, float] | None:
    """The shares of R, G and B in the luma of "yuv"; None where its matrix is none of such shares.

    A matrix that is not told is taken for the usual one: BT.709 of high definition, else BT.601.
    """
    matrix = layout.matrix
    if matrix == _UNKNOWN_MATRIX:
        matrix = _BT709 if layout.width >= 1280 or layout.height > 576 else _BT601
    shares = _RED_AND_BLUE.get(matrix)
    return None if shares is None else (shares[0], 1 - sum(shares), shares[1])


def code_range(layout: PlaneFormat, peak: float) -> tuple[float, float, float]:
    """Black and white of the luma of "yuv", and how far its chroma reaches from end to end; codes reach to `peak`."""
    if layout.full_range:
        return 0.0, peak, peak
    code = (peak + 1) / 256
    return 16 * code, 235 * code, 224 * code


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
    """`tensors_to_planes` begun without waiting for the device; the function that is returned waits for the planes.

    It raises FloatingPointError where some are no samples: not a number, or far from all that samples can be.
    """
    largest = torch.stack([tensor.abs().amax() for tensor in tensors]).amax()
    dtype = torch.uint8 if layout.depth == 8 else torch.uint16
    native = [tensor.round().clamp_(0, layout.peak).to(torch.int32).to(dtype) for tensor in tensors]
    arrived: torch.cuda.Event | None = None
    places: list[PinnedPlace] = []
    if native[0].is_cuda:
        device = native[0].device
        room = _room_to_leave(device)
        places = [room.place(plane) for plane in native]
        for place, plane in zip(places, native, strict=True):
            place.values.copy_(plane, non_blocking=True)
        # A host that sleeps until then leaves its cores to the decoder and the encoder.
        arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        largest = torch.empty((), pin_memory=True).copy_(largest, non_blocking=True)
        arrived.record(torch.cuda.current_stream(device))

    def planes() -> tuple[Plane, ...]:
        if arrived is not None:
            arrived.synchronize()
        if not float(largest) < _NO_SAMPLE * layout.peak:
            raise FloatingPointError(f"its largest value is {float(largest):g}")
        return tuple(place.array() for place in places) or tuple(plane.numpy() for plane in native)

    return planes


def _room_to_leave(device: torch.device) -> PinnedRoom:
    """Where planes leave a GPU; a new one after many sizes, while the device is at work and torch may ask it."""
    if _leaving[device].sizes >= _MOST_SIZES:
        _leaving[device] = PinnedRoom()
    return _leaving[device]


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
