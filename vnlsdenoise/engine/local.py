"""Denoising in this process, on one device."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from vnlsdenoise import _library
from vnlsdenoise.budget import plan_memory
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.classic.scenewise import Scene, SceneDenoiser, measure_noise
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.errors import DeviceError, MemoryLimitError, UsageError
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.planes import blend_grain, planes_to_tensors, tensors_to_planes
from vnlsdenoise.scenes import SceneDetector
from vnlsdenoise.video.frame import Frame, PlaneFormat

_BRIGHTNESS = {"gray": 0, "yuv": 0, "rgb": 1}  # the plane that scene cuts are looked for in


def resolve_device(name: str) -> str:
    """ "auto", "cpu", "cuda" or "cuda:N" -> the device to work on, "cpu" or "cuda:N".

    Raises:
        DeviceError: the device is not there, or the installed build has no kernels for it.
    """
    if name == "cpu":
        return "cpu"
    usable = torch.cuda.is_available() and _library.has_cuda_kernels
    if name == "auto":
        return "cuda:0" if usable else "cpu"
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise DeviceError(f"no such device: {name!r}; use auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        built = "a CPU build" if torch.version.cuda is None else "a CUDA build, but it finds no GPU"
        raise DeviceError(f"no device {name}: the installed torch is {built}; use --device cpu")
    if not _library.has_cuda_kernels:
        raise DeviceError("this vnlsdenoise was built without CUDA kernels: rebuild it with VNLSDENOISE_CUDA=1")
    if int(index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"no device {name}: there are {torch.cuda.device_count()} CUDA devices")
    return f"cuda:{int(index or 0)}"


def estimate_noise(frames: Sequence[Frame], format: PlaneFormat, device: str, *, white: bool = False) -> NoiseModel:
    """The noise of every plane, in native code values, from a few frames."""
    return measure_noise([planes_to_tensors(frame.planes, device) for frame in frames], format.peak, white=white)


def predict_memory(format: PlaneFormat, settings: DenoiseSettings) -> int:
    """The peak of device memory, in bytes, that `denoise_frames` will need.

    Raises:
        MemoryLimitError: more than `settings.max_memory` even with the smallest batch.
    """
    return plan_memory(format, PRESETS[settings.preset], settings.max_memory).peak


def denoise_frames(
    frames: Iterable[Frame],
    format: PlaneFormat,
    settings: DenoiseSettings,
    opened: Callable[[Scene], None] | None = None,
    scenes: list[Scene] | None = None,
) -> Iterator[Frame]:
    """Denoise a clip frame by frame: lazily, in order, in constant memory; output lags input by tens of frames.

    opened: told of every scene once its noise is known, before its length is. scenes: filled with all of them at the
    end.

    Raises:
        UsageError: unknown method or preset. DeviceError, MemoryLimitError: the device is missing or too small.
    """
    if settings.method != "classic":
        raise UsageError(f"no such method: {settings.method!r}; there is: classic")
    if settings.preset not in PRESETS:
        raise UsageError(f"no such preset: {settings.preset!r}; there are: {', '.join(PRESETS)}")
    device = resolve_device(settings.device)
    preset = PRESETS[settings.preset]
    memory = plan_memory(format, preset, settings.max_memory)
    denoiser = SceneDenoiser[Frame](
        format,
        lambda frame: planes_to_tensors(frame.planes, device),
        preset,
        peak=format.peak,
        noise=NoiseModel.of_sigma(settings.sigma) if settings.sigma is not None else None,
        white=settings.noise_model == "white",
        strength=settings.strength,
        batch=memory.batch,
        opened=opened,
    )
    detector = SceneDetector(format.peak) if settings.scene_cuts else None
    waiting: deque[Frame] = deque()

    def finished(results: Iterator[list[torch.Tensor]]) -> Iterator[Frame]:
        for planes in results:
            frame = waiting.popleft()
            if settings.keep_grain:
                planes = blend_grain(planes, planes_to_tensors(frame.planes, device), settings.keep_grain)
            yield Frame(tensors_to_planes(planes, format), frame.pts, frame.duration, frame.extra)

    try:
        for frame in frames:
            cut = detector is not None and detector.push(frame.planes[_BRIGHTNESS[format.family]])
            # The host keeps the frame's samples only where grain is to be put back.
            kept = frame.planes if settings.keep_grain else ()
            waiting.append(Frame(kept, frame.pts, frame.duration, frame.extra))
            yield from finished(denoiser.push(frame, cut=cut))
        yield from finished(denoiser.flush())
        if scenes is not None:
            scenes.extend(denoiser.scenes)
    except torch.OutOfMemoryError as error:
        raise MemoryLimitError(
            f"the device is out of memory at {format.width}x{format.height} with preset {settings.preset}; "
            "use a faster preset, another device, or --device cpu"
        ) from error
