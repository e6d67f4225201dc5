"""Denoising in this process, on one device."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain, tee

import torch
from torch import Tensor

from vnlsdenoise import _library
from vnlsdenoise.budget import MemoryPlan, plan_memory, way_out
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.classic.scenewise import MEASURED_FRAMES, Result, Scene, SceneDenoiser
from vnlsdenoise.engine.ahead import ahead
from vnlsdenoise.engine.ceiling import network_of_settings, process_memory, return_large_memory, with_ceiling
from vnlsdenoise.engine.host import available_memory
from vnlsdenoise.engine.lanes import Mark, by_scenes
from vnlsdenoise.engine.lost import lose
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.engine.work import Told, Work
from vnlsdenoise.errors import DeviceError, DeviceFaultError, MemoryLimitError, UsageError
from vnlsdenoise.learned.methods import network_of
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.noise.coded import step_of
from vnlsdenoise.noise.frames import measure_noise
from vnlsdenoise.pinned import PINNED_SLACK
from vnlsdenoise.planes import blend_grain, planes_on_their_way, planes_to_tensors
from vnlsdenoise.scenes import mark_cuts, repeated
from vnlsdenoise.video.fields import field_format, split_fields, weave_fields
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat

_AHEAD = 4  # frames that cuts and repeats are looked for in ahead of the denoiser
_MOST_WAITING, _SHARE_WAITING = 1 << 30, 0.1  # bytes of frames that wait in a look, at most, and of what memory is free
_LEAVING = 2  # finished frames that the device need not wait for
# In the errors that torch does not call its OutOfMemoryError.
_NO_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
_DEVICE_FAULTS = ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "CUFFT_")  # in the errors of kernels and libraries
_IF_AGAIN = "run it again; if it fails there again, try another device, its driver, or --device cpu"


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


def estimate_noise(
    pairs: Sequence[tuple[Frame, Frame]],
    format: PlaneFormat,
    device: str,
    *,
    white: bool = False,
    fields: bool = False,
) -> NoiseModel:
    """The noise of every plane, in native code values, from pairs of neighbours; fields: the frames are interlaced."""
    if fields:
        format = field_format(format)
        pairs = [both for one, other in pairs for both in zip(split_fields(one), split_fields(other), strict=True)]

    def planes(frame: Frame) -> list[Tensor]:
        return planes_to_tensors(frame.planes, device)

    frames = [frame for pair in pairs for frame in pair]
    return measure_noise(frames, planes, format, format.peak, white=white, pairs=True, step=step_of(frames))


def measure_scene(frames: Sequence[Frame], format: PlaneFormat, settings: DenoiseSettings) -> NoiseModel:
    """The noise of a scene, of its first frames, as `denoise_frames` measures it."""
    white, sigma = settings.noise_model == "white", settings.sigma

    def planes(frame: Frame) -> list[Tensor]:
        return planes_to_tensors(frame.planes, settings.device)

    return measure_noise(frames, planes, format, format.peak, white=white, sigma=sigma, step=step_of(frames))


def predict_memory(format: PlaneFormat, settings: DenoiseSettings) -> int:
    """The peak of device memory, in bytes, that `denoise_frames` will need; on the CPU, that of the process.

    Raises:
        MemoryLimitError: more than `settings.max_memory` even with the smallest batch.
    """
    beside = process_memory(format) if settings.device == "cpu" else 0
    return beside + _predicted(format, with_ceiling(format, settings))


def predict_waiting(format: PlaneFormat, settings: DenoiseSettings) -> int:
    """Bytes of frames that wait at most: of a GPU in pinned host memory, of the CPU in a file."""
    settings, count = with_ceiling(format, settings), 1
    if settings.fields:
        format, settings, count = field_format(format), _of_one_field(settings), 2
    waiting = count * _plan(format, settings).waiting
    return waiting if settings.device == "cpu" else int(PINNED_SLACK * waiting)


def _predicted(format: PlaneFormat, settings: DenoiseSettings) -> int:
    if settings.fields:
        return 2 * _predicted(field_format(format), _of_one_field(settings))
    return _plan(format, settings).peak


def _plan(format: PlaneFormat, settings: DenoiseSettings) -> MemoryPlan:
    return plan_memory(format, PRESETS[settings.preset], settings.max_memory, network_of_settings(settings))


def denoise_frames(
    frames: Iterable[Frame],
    format: PlaneFormat,
    settings: DenoiseSettings,
    work: Work | None = None,
) -> Iterator[Frame]:
    """Denoise a clip frame by frame: lazily, in order, in constant memory; output lags input by tens of frames.

    frames: all of the video, from its first on, or those that `work.told` tells of. work: which of them are wanted, all
    if it is None; only what these need is denoised, and they get the bits that they have in the whole.

    Raises:
        LookupError: `work.told` does not tell of all frames that the wanted ones need.
        UsageError: unknown method or preset, or no network corrects it. DeviceError, MemoryLimitError: the device is
            missing or too small.
        DeviceFaultError: the device failed, or gave what are no samples.
    """
    work = work or Work()
    if settings.preset not in PRESETS:
        raise UsageError(f"no such preset: {settings.preset!r}; there are: {', '.join(PRESETS)}")
    settings = with_ceiling(format, replace(settings, device=resolve_device(settings.device)))
    if settings.device == "cpu" and settings.max_memory is not None:
        return_large_memory()
    if settings.fields:
        yield from _by_fields(frames, format, settings, work)
        return
    if work.looks:
        yield from _looked(frames, format, settings, work)
        return
    marks = _marked(frames, format, settings) if work.told is None else _as_told(frames, work.told)
    with closing(ahead(marks, _AHEAD)) as marked:
        yield from _denoise_frames(marked, format, settings, work, first=0 if work.told is None else work.told.first)


def _looked(frames: Iterable[Frame], format: PlaneFormat, settings: DenoiseSettings, work: Work) -> Iterator[Frame]:
    """Every frame of a look. No scene depends on another: while one waits for its noise the next ones are looked at."""

    def look(marks: Iterator[Mark]) -> Iterator[Frame | Scene | list[Scene]]:
        begin = next(marks)
        opened: deque[Scene] = deque()
        scene = replace(work, opened=opened.append, scenes=[])
        last: Frame | None = None
        for frame in _denoise_frames(chain([begin], marks), format, settings, scene, first=begin[0].number):
            while opened:
                yield opened.popleft()
            if last is not None:
                yield last
            last = frame
        if last is not None:
            # Said at once: the next scene's first frame comes when its noise is measured.
            yield replace(last, ends=True)
        yield scene.scenes

    room = min(_MOST_WAITING, int(_SHARE_WAITING * (available_memory() or _MOST_WAITING)))
    most = max(MEASURED_FRAMES, room // format.frame_bytes)
    with (
        closing(ahead(frames, _AHEAD)) as read,
        closing(by_scenes(_marked(read, format, settings), look, most)) as looked,
    ):
        for item in looked:
            if isinstance(item, Frame):
                yield item
            elif isinstance(item, list):
                work.scenes.extend(item)
            elif work.opened is not None:
                work.opened(item)


def _as_told(frames: Iterable[Frame], told: Told) -> Iterator[Mark]:
    """What `_marked` gives, of a part of a video; before the frames that come, frames without planes."""
    left_out = (Frame((), number=number) for number in range(told.first, told.start))
    for frame, cut, repeats in zip(chain(left_out, frames), told.cuts, told.repeats, strict=True):
        yield frame, bool(cut), bool(repeats)
    if not told.closed:
        raise LookupError(f"what is told of frames {told.first} to {told.first + len(told.cuts)} does not suffice")


def _marked(frames: Iterable[Frame], format: PlaneFormat, settings: DenoiseSettings) -> Iterator[Mark]:
    """Every frame, whether it begins a scene, and whether it repeats the one before."""
    marked: Iterable[tuple[Frame, bool]] = ((frame, False) for frame in frames)
    if settings.scene_cuts:
        marked = mark_cuts(frames, lambda frame: frame.planes[format.brightness], format.peak)
    before: tuple[Plane, ...] | None = None  # the last frame that was none like the one before it
    alone = False
    for number, (frame, cut) in enumerate(marked):
        frame.number = number
        # What is damaged is no evidence: what conceals it is a repeat, and where there was nothing to, it stays alone.
        concealed, cut = frame.damage == "concealed", number > 0 and (cut or alone or frame.damage == "kept")
        alone = frame.damage == "kept"
        repeats = concealed or (
            settings.duplicates and before is not None and repeated(before, frame.planes, format.peak)
        )
        before = frame.planes if not repeats else before
        yield frame, cut, repeats


def _denoise_frames(
    frames: Iterator[Mark],
    format: PlaneFormat,
    settings: DenoiseSettings,
    work: Work,
    field: int = 0,
    first: int = 0,
) -> Iterator[Frame]:
    """first: number of the first frame."""
    device = resolve_device(settings.device)
    network = network_of(settings.method, settings.weights, settings.preset, torch.device(device))
    memory = _plan(format, settings)
    if work.measure is None:
        measure = partial(measure_scene, format=format, settings=settings)
    else:
        measure = partial(work.measure, format)
    denoiser = SceneDenoiser[Frame](
        format,
        lambda frame: planes_to_tensors(frame.planes, device),
        PRESETS[settings.preset],
        peak=format.peak,
        strength=settings.strength,
        **memory.options,
        network=network,
        opened=work.opened if field == 0 else None,
        wanted=work.ranges(field),
        number=first,
        measured=work.measured[field],
        measure=measure,
    )
    waiting: deque[Frame] = deque()
    leaving: deque[tuple[Frame, Callable[[], tuple[Plane, ...]]]] = deque()
    # The host keeps the frame's samples only where they are needed once more.
    kept = settings.keep_grain or work.keep_sources
    # The device goes on with the next frames while a finished one is copied to the host.
    most_leaving = 0 if device == "cpu" else _LEAVING

    begins, fed = 0, 0

    def finished(results: Iterator[Result | None]) -> Iterator[Frame]:
        nonlocal begins, fed
        for result in results:
            frame = waiting.popleft()
            if work.looks:
                # A repeat is fed from where its frame is; frames without noise from nowhere: their scene will do.
                begins = frame.number if frame.begins else begins
                fed = max(begins, fed if result is None else result.fed)
                yield replace(frame, fed=(fed,), extra={})
                continue
            if result is None or not result.planes:
                continue
            leaving.append((replace(frame, fed=(result.fed,)), denoiser.repeated(partial(on_its_way, frame, result))))
            yield from left(most_leaving)

    def on_its_way(frame: Frame, result: Result) -> Callable[[], tuple[Plane, ...]]:
        planes = result.planes
        if settings.keep_grain:
            planes = blend_grain(planes, planes_to_tensors(frame.planes, device), settings.keep_grain)
        return planes_on_their_way(planes, format)

    def left(most: int) -> Iterator[Frame]:
        while len(leaving) > most:
            frame, planes = leaving.popleft()
            yield replace(frame, planes=_sound(planes, frame, work))

    try:
        for frame, cut, repeats in frames:
            waiting.append(replace(frame, planes=frame.planes if kept else (), begins=cut, repeats=repeats))
            yield from finished(denoiser.push(frame, cut=cut, repeats=repeats))
        yield from finished(denoiser.flush())
        yield from left(0)
        if field == 0:
            work.scenes.extend(denoiser.scenes)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(format, settings) from error
    except RuntimeError as error:
        if any(word in str(error) for word in _NO_MEMORY):
            raise _out_of_memory(format, settings) from error
        if isinstance(error, torch.AcceleratorError) or any(word in str(error) for word in _DEVICE_FAULTS):
            cause = str(error).strip().splitlines()[0]
            fault = DeviceFaultError(f"the device {device} failed ({cause}); {_IF_AGAIN}")
            lose(fault)
            raise fault from error
        raise


def _out_of_memory(format: PlaneFormat, settings: DenoiseSettings) -> MemoryLimitError:
    cpu = settings.device == "cpu"
    where = "this machine is" if cpu else "the device is"
    return MemoryLimitError(
        f"{where} out of memory at {format.width}x{format.height} with preset {settings.preset}, whose frames wait "
        f"elsewhere already; end other programs that use it, {way_out(network_of_settings(settings))}, or take another "
        f"device{'' if cpu else ', or --device cpu'}"
    )


def _sound(planes: Callable[[], tuple[Plane, ...]], frame: Frame, work: Work) -> tuple[Plane, ...]:
    """The finished planes; where they are no samples, those of the frame itself if it was kept."""
    try:
        return planes()
    except FloatingPointError as error:
        if not work.keep_sources:
            raise DeviceFaultError(f"frame {frame.number} came out as no picture ({error}); {_IF_AGAIN}") from error
        work.unsound.append(frame.number)
        return frame.planes


def _by_fields(frames: Iterable[Frame], format: PlaneFormat, settings: DenoiseSettings, work: Work) -> Iterator[Frame]:
    """The upper and the lower fields are two videos of half the height; scenes are told of the upper one."""
    half, settings = field_format(format), _of_one_field(settings)
    # Both lag their input by the same number of frames, which is what `tee` keeps for the second.
    for_upper, for_lower = tee(map(split_fields, frames))
    # Without threads: `tee` is for one alone.
    upper = _denoise_frames(_marked((field for field, _ in for_upper), half, settings), half, settings, work)
    lower = _denoise_frames(_marked((field for _, field in for_lower), half, settings), half, settings, work, 1)
    for one, other in zip(upper, lower, strict=True):
        yield weave_fields(one, other)


def _of_one_field(settings: DenoiseSettings) -> DenoiseSettings:
    ceiling = None if settings.max_memory is None else settings.max_memory // 2
    return replace(settings, fields=False, max_memory=ceiling)
