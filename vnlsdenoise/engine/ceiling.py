"""The ceiling of memory that a run works under: what it was given, or what the device or the machine has free."""

import ctypes
from dataclasses import replace

import torch

from vnlsdenoise.budget import demand, least_memory, plan_memory, way_out
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.engine.host import available_memory, resident_memory
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.errors import MemoryLimitError
from vnlsdenoise.learned.memory import NetworkSize
from vnlsdenoise.learned.methods import network_size
from vnlsdenoise.video.fields import field_format
from vnlsdenoise.video.frame import PlaneFormat

_RESERVE = 256 << 20  # of what is free, left to others and to what no tensor shows: at least so much, or a share
_RESERVE_SHARE = 0.06
_HOST_FRAMES = 64  # as they came or as they leave, in host memory: decoded ahead, waiting, in an encoder
_HOST_REST = 128 << 20  # decoders, encoders, the interpreter, what the allocator rounds up
_LARGE = 1 << 18  # bytes from which on memory goes back to the system when it is free
_M_MMAP_THRESHOLD = -3  # malloc.h of glibc


def with_ceiling(format: PlaneFormat, settings: DenoiseSettings) -> DenoiseSettings:
    """The same settings, `max_memory` being what tensors on the device may take; None where all that they need fits.

    On a GPU a ceiling that is given is just that. On the CPU it is one of the whole process, which has taken some
    already. Where none is given it is what is free, less a reserve, or the least that can be worked with if that is
    more. It never changes the result.

    Raises:
        MemoryLimitError: a process on the CPU would need more than it is given.
    """
    if settings.max_memory is not None:
        if settings.device != "cpu":
            return settings
        beside, least = process_memory(format), _least(format, settings)
        if settings.max_memory < beside + least:
            network = network_of_settings(settings)
            raise MemoryLimitError(
                f"{format.width}x{format.height} {demand(network)} needs a process of about "
                f"{(beside + least) >> 20} MiB, {least >> 20} of them for frames that are worked on, and "
                f"{settings.max_memory >> 20} MiB are allowed; allow more or {way_out(network)}"
            )
        return replace(settings, max_memory=settings.max_memory - beside)
    room = _free_on_gpu(settings.device) if settings.device != "cpu" else _free_on_host(format)
    if room is None:
        return settings
    room -= max(_RESERVE, int(_RESERVE_SHARE * room))
    if _unlimited(format, settings) <= room:
        return settings
    return replace(settings, max_memory=max(room, _least(format, settings)))


def network_of_settings(settings: DenoiseSettings) -> NetworkSize | None:
    """What decides the memory of the network that a run works with; None for none."""
    return network_size(settings.method, settings.weights, settings.preset, torch.device(settings.device))


def host_memory(format: PlaneFormat) -> int:
    """What a process takes beside what it has taken already and the tensors of the denoiser, in bytes."""
    return _HOST_REST + _HOST_FRAMES * format.frame_bytes


def process_memory(format: PlaneFormat) -> int:
    """What a process that denoises on the CPU takes beside the tensors of the denoiser, in bytes."""
    return (resident_memory("VmRSS") or 0) + host_memory(format)


def return_large_memory() -> None:
    """Have memory of large tensors go back to the system as soon as it is free, where the C library is glibc.

    Else it keeps pieces of up to 32 MiB, in whose gaps the next ones do not fit.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def _unlimited(format: PlaneFormat, settings: DenoiseSettings) -> int:
    if settings.fields:
        return 2 * _unlimited(field_format(format), replace(settings, fields=False))
    return plan_memory(format, PRESETS[settings.preset], network=network_of_settings(settings)).peak


def _least(format: PlaneFormat, settings: DenoiseSettings) -> int:
    if settings.fields:
        return 2 * _least(field_format(format), replace(settings, fields=False))
    return least_memory(format, PRESETS[settings.preset], network_of_settings(settings)) + 1


def _free_on_host(format: PlaneFormat) -> int | None:
    free = available_memory()
    return None if free is None else free - host_memory(format)


def _free_on_gpu(device: str) -> int:
    try:
        free, _ = torch.cuda.mem_get_info(device)
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        raise MemoryLimitError(
            f"the device {device} is out of memory before the work begins: other programs hold it; end them, take "
            "another device, or --device cpu"
        ) from error
    # What torch keeps of memory that no tensor has is free too.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
