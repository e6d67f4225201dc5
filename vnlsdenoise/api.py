"""The Python front door: a video tensor in, the denoised tensor out."""

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from vnlsdenoise import _library
from vnlsdenoise.budget import plan_memory
from vnlsdenoise.classic.presets import PRESETS
from vnlsdenoise.classic.scenewise import Result, SceneDenoiser
from vnlsdenoise.errors import DeviceError, UsageError
from vnlsdenoise.learned.memory import NetworkSize
from vnlsdenoise.learned.methods import network_of, preset_of
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.planes import blend_grain
from vnlsdenoise.scenes import mark_cuts, repeated
from vnlsdenoise.video.frame import PlaneFormat

_DEVICES = ("cpu", "cuda")


def denoise(
    video: Tensor,
    sigma: float | Sequence[float] | NoiseModel | None = None,
    *,
    method: str = "classic",
    weights: str = "small",
    preset: str | None = None,
    device: str | torch.device | None = None,
    peak: float | None = None,
    scene_cuts: bool = True,
    duplicates: bool = True,
    max_memory: int | None = None,
    batch: int | None = None,
    keep_grain: float = 0.0,
) -> Tensor:
    """Remove the noise of a video.

    Args:
        video: [T, C, H, W], float, finite, C = 1 (grey) or 3 (R, G, B); any T, H, W of at least 1. No gradient goes
            back to it.
        sigma: deviation of the noise in the scale of the data: one for all channels or one each, white noise; a
            `NoiseModel` for noise that depends on the intensity, is correlated or was clipped; None = every scene's is
            measured. Channels whose sigma is 0 are returned as they are.
        method: "classic", or "learned" for a network behind it; "auto" is "learned" on a GPU, with weights that are
            nowhere worse by the tables of docs/quality.md (none yet), else "classic".
        weights: of the network: a name of `vnlsdenoise.weights` or a .safetensors file.
        preset: of the classic method, "draft", "fast", "balanced" or "best"; None for "balanced", and with the learned
            method for the one that its weights were trained on.
        device: where to work, e.g. "cuda"; None = where the video is.
        peak: the value of full white; None = 1 if the mean of the video's absolute values is at most 1.5, else 255. It
            scales the image that flow is measured on, and the estimate of sigma.
        scene_cuts: find cuts and keep the frames on both sides of each apart.
        duplicates: find frames that only repeat the one before, noise and all; they get its result and are no evidence.
        max_memory: ceiling of device memory in bytes; None for none. It does not change the result.
        batch: most queries worked on at once; None = what `max_memory` allows. It does not change the result either.
        keep_grain: share of what was removed that is put back, 0 to 1; 1 returns the video bit for bit.

    Returns:
        [T, C, H, W], dtype and device of the input; not clipped.

    Raises:
        ValueError, TypeError: shapes, dtype, samples, sigma or numbers are not as above.
        UsageError: no such method or preset, or no network corrects it. DeviceError: the device is not there.
        MemoryLimitError: the video cannot be worked on within `max_memory`.
    """
    video = _checked(video)
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"no such preset: {preset!r}; there are: {', '.join(PRESETS)}")
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    if not 0 <= keep_grain <= 1:
        raise ValueError(f"keep_grain must be from 0 to 1, got {keep_grain}")
    if max_memory is not None and not isinstance(max_memory, Integral):
        raise TypeError(f"max_memory must be a number of bytes, such as 4 << 30, got {max_memory!r}")
    if peak is not None and not 0 < peak < float("inf"):
        raise ValueError(f"peak must be a finite value above 0, that of full white, got {peak}")
    work = _device(video.device if device is None else device)
    network = network_of(method, weights, preset, work)
    preset = preset_of(preset, network.preset if network else None)
    peak = peak if peak is not None else _guess_peak(video)
    channels = video.shape[1]
    noise = _model(sigma, channels)
    if keep_grain == 1 or (noise is not None and not any(noise.sigma)):
        return video.clone()
    layout = PlaneFormat("rgb" if channels == 3 else "gray", video.shape[3], video.shape[2], depth=8)
    size = None if network is None else NetworkSize.of(network)
    memory = plan_memory(layout, PRESETS[preset], max_memory, size, measured=noise is None)
    denoiser = SceneDenoiser[Tensor](
        layout,
        lambda frame: list(frame.to(work).float()),
        PRESETS[preset],
        peak=peak,
        noise=noise,
        **{**memory.options, "batch": batch or memory.batch},
        network=network,
    )
    out = torch.empty_like(video, memory_format=torch.contiguous_format)
    done = 0

    def collect(result: Result | None) -> None:
        nonlocal done
        assert result is not None  # the whole video is asked for
        planes = result.planes
        if keep_grain:
            planes = blend_grain(planes, list(video[done].to(work)), keep_grain)
        out[done] = torch.stack(planes)
        done += 1

    # Looked for beforehand: bringing frames to the host would hold up the device in between.
    cuts = _cuts(video, peak) if scene_cuts else [False] * len(video)
    repeats = _repeats(video, peak) if duplicates else [False] * len(video)
    for frame, cut, repeat in zip(video, cuts, repeats, strict=True):
        for result in denoiser.push(frame, cut=cut, repeats=repeat):
            collect(result)
    for result in denoiser.flush():
        collect(result)
    return out


def _checked(video: Tensor) -> Tensor:
    """The video without its gradient; raises TypeError and ValueError where it is none."""
    if not isinstance(video, Tensor):
        raise TypeError(
            f"video must be a floating-point torch.Tensor, got {type(video).__name__}; torch.from_numpy takes arrays"
        )
    if not video.is_floating_point():
        raise TypeError(
            f"video must be a floating-point torch.Tensor, got {video.dtype}; video.float() makes one, in any scale"
        )
    if video.layout is not torch.strided or video.device.type not in _DEVICES:
        raise TypeError(f"video must be dense on {' or '.join(_DEVICES)}, got {video.layout} on {video.device}")
    if video.dim() != 4 or video.shape[1] not in (1, 3) or 0 in video.shape:
        raise ValueError(f"video must have shape [T, 1 or 3, H, W], got {list(video.shape)}")
    video = video.detach()
    if not all(bound.isfinite() for bound in torch.aminmax(video)):
        raise ValueError(f"video must be finite, got {int((~video.isfinite()).sum())} sample(s) that are not")
    return video


def _device(device: str | torch.device) -> torch.device:
    try:
        work = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be one such as 'cpu' or 'cuda:0', got {device!r}") from error
    if work.type not in _DEVICES:
        raise ValueError(f"device must be {' or '.join(_DEVICES)}, got {device!r}")
    if work.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"no device {work}: torch finds no GPU; give device='cpu'")
    if work.type == "cuda" and (work.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"no device {work}: there are {torch.cuda.device_count()} CUDA devices; give another index")
    if work.type == "cuda" and not _library.has_cuda_kernels:
        raise DeviceError(f"no kernels for {work}: rebuild vnlsdenoise with VNLSDENOISE_CUDA=1, or give device='cpu'")
    return work


def _cuts(video: Tensor, peak: float) -> list[bool]:
    return [cut for _, cut in mark_cuts(video[:, video.shape[1] // 2], lambda f: f.float().cpu().numpy(), peak)]


def _repeats(video: Tensor, peak: float) -> list[bool]:
    before = list(video[0].float().cpu().numpy())  # the last frame that was none like the one before it
    found = [False]
    for frame in video[1:]:
        now = list(frame.float().cpu().numpy())
        found.append(repeated(before, now, peak))
        before = before if found[-1] else now
    return found


def _model(sigma: float | Sequence[float] | NoiseModel | None, channels: int) -> NoiseModel | None:
    if sigma is None:
        return None
    if isinstance(sigma, NoiseModel):
        if len(sigma.planes) != channels:
            raise ValueError(f"sigma must be the noise of {channels} channels, got {len(sigma.planes)}")
        return sigma
    try:
        given = torch.as_tensor(sigma, dtype=torch.float64).flatten().tolist()
    except (TypeError, ValueError, RuntimeError):
        given = []
    sigmas = tuple(given * channels if len(given) == 1 else given)
    if len(sigmas) != channels or not all(0 <= s < float("inf") for s in sigmas):
        raise ValueError(f"sigma must be one or {channels} finite values of at least 0, got {sigma!r}")
    return NoiseModel.of_sigma(sigmas)


def _guess_peak(video: Tensor) -> float:
    return 1.0 if float(video.abs().mean()) <= 1.5 else 255.0
