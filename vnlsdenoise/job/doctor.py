"""Whether this machine can do the work: each part is tried, not only looked for."""

import io
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from vnlsdenoise.engine.host import machine_memory

State = Literal["ok", "warning", "failed"]
_ENCODERS = {
    "libx264": "yuv420p",
    "libx265": "yuv420p10le",
    "libvpx-vp9": "yuv420p",
    "libsvtav1": "yuv420p10le",
    "prores_ks": "yuv422p10le",
    "ffv1": "yuv444p16le",
}
_QUIETLY = {"libx265": {"x265-params": "log-level=none"}}
_LITTLE_DISK, _LITTLE_MEMORY = 10 << 30, 4 << 30
_SAME = 2.0  # code values by which CPU and GPU may differ on the film that is tried; rounding gives 1
_REBUILD = "rebuild it in this environment: pip install --no-build-isolation --force-reinstall ."


@dataclass(frozen=True)
class Check:
    """One thing that was tried. advice: what to do where it is not ok."""

    name: str
    state: State
    text: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {**vars(self), "advice": self.advice or None}


def examine(device: str = "auto") -> Iterator[Check]:
    """Try everything that a run needs, in order. device: as for a run; a GPU that is asked for must work."""
    yield from _versions()
    if (library := _tried("kernels, CPU", _cpu_runs, _REBUILD)).state == "failed":
        yield library
        return
    yield library
    yield from _gpus(device)
    yield _tried("codecs", _codecs, "install av again: pip install --force-reinstall 'av>=18,<19'")
    yield _tried("images", _images, "install what is missing: pip install openexr imagecodecs tifffile")
    yield from _room()


def _tried(name: str, work: Callable[[], str], advice: str) -> Check:
    try:
        return Check(name, "ok", work())
    except Exception as error:  # Whatever is wrong with a machine shows as some error or other.
        return Check(name, "failed", f"{type(error).__name__}: {error}", advice)


def _versions() -> Iterator[Check]:
    text = f"vnlsdenoise {metadata.version('vnlsdenoise')}, Python {sys.version.split()[0]}, {platform.platform()}"
    yield Check("versions", "ok", text)
    try:
        import torch
    except ImportError as error:
        yield Check("torch", "failed", str(error), "install it: pip install 'torch>=2.11'")
        return
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
    yield Check("torch", "ok", f"torch {torch.__version__}, {built}, {torch.get_num_threads()} threads")


def _clean(device: str) -> Any:
    """A small film of grey with noise, denoised on a device; raises RuntimeError where the noise stays."""
    import torch

    import vnlsdenoise

    noisy = 128 + 10 * torch.randn(6, 1, 48, 64, generator=torch.Generator().manual_seed(1))
    clean = vnlsdenoise.denoise(noisy.to(device), sigma=10.0, preset="fast", peak=255.0).cpu()
    left = float((clean - 128).std())
    if not left < 3:
        raise RuntimeError(f"a deviation of 10 was denoised to {left:.2f}, expected less than 3")
    return clean


def _cpu_runs() -> str:
    _clean("cpu")
    return "loaded; a small film is denoised"


def _gpus(device: str) -> Iterator[Check]:
    import torch

    from vnlsdenoise import _library

    asked = device.startswith("cuda")
    bad: State = "failed" if asked else "warning"
    driver = _driver()
    if torch.version.cuda is None:
        state: State = bad if asked or driver else "ok"
        advice = "install a CUDA build of torch (https://pytorch.org/get-started) and rebuild" if state != "ok" else ""
        yield Check("GPU", state, f"none can be used: torch is a CPU build; {driver or 'no NVIDIA driver'}", advice)
        return
    if not torch.cuda.is_available():
        advice = (
            f"the driver may be too old for CUDA {torch.version.cuda}: update it, or install a torch for an older CUDA"
            if driver
            else "install NVIDIA's driver, or run in a container with --gpus all; the CPU is used meanwhile"
        )
        yield Check("GPU", bad, f"torch finds none; {driver or 'no NVIDIA driver'}", advice)
        return
    if not _library.has_cuda_kernels:
        advice = "rebuild with a CUDA toolkit: VNLSDENOISE_CUDA=1 pip install --no-build-isolation --force-reinstall ."
        yield Check("kernels, CUDA", bad, "this vnlsdenoise was built without them", advice)
        return
    index = int(device.partition(":")[2] or -1) if asked else -1
    for number in range(torch.cuda.device_count()):
        if index in (-1, number):
            yield _gpu(number, bad, driver)


def _gpu(number: int, bad: State, driver: str) -> Check:
    import torch

    properties = torch.cuda.get_device_properties(number)
    name = f"GPU cuda:{number}"
    text = f"{properties.name}, compute capability {properties.major}.{properties.minor}, {driver}"
    try:
        free, total = torch.cuda.mem_get_info(number)
        difference = float((_clean(f"cuda:{number}") - _clean("cpu")).abs().max())
        if difference > _SAME:
            raise RuntimeError(f"its result differs from the CPU's by {difference:.2f}")
    except Exception as error:  # as in `_tried`
        capability = f"{properties.major}.{properties.minor}"
        advice = f"rebuild for it: TORCH_CUDA_ARCH_LIST={capability} VNLSDENOISE_CUDA=1 pip install --force-reinstall ."
        return Check(name, bad, f"{text}; {error}", advice)
    return Check(name, "ok", f"{text}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free; a small film is denoised")


def _driver() -> str:
    """The NVIDIA driver in words, "" where there is none."""
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split("Module")[1].split()
    except (OSError, IndexError):
        return ""
    return "NVIDIA driver " + next((word for word in words if word[0].isdigit() and "." in word), "of unknown version")


def _codecs() -> str:
    import av

    from vnlsdenoise.video.priority import kept_priority

    os.environ.setdefault("SVT_LOG", "1")  # errors only
    missing = []
    for encoder, pix_fmt in _ENCODERS.items():
        try:
            memory = io.BytesIO()
            with kept_priority(), av.open(memory, "w", format="matroska") as output:
                stream: Any = output.add_stream(encoder, rate=25, options=_QUIETLY.get(encoder, {}))
                stream.width, stream.height, stream.pix_fmt = 64, 64, pix_fmt
                for index in range(2):
                    frame = av.VideoFrame(64, 64, pix_fmt)
                    frame.pts = index
                    output.mux(stream.encode(frame))
                output.mux(stream.encode(None))
            with av.open(io.BytesIO(memory.getvalue()), "r") as back:
                if len(list(back.decode(video=0))) != 2:
                    raise RuntimeError("frames are lost")
        except (av.FFmpegError, ValueError, RuntimeError) as error:
            missing.append(f"{encoder} ({error})")
    if missing:
        raise RuntimeError(f"these do not work: {', '.join(missing)}")
    program = f"; ffmpeg program: {shutil.which('ffmpeg') or 'none (only pipes to other programs need one)'}"
    return f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}: {', '.join(_ENCODERS)}{program}"


def _images() -> str:
    import imagecodecs
    import OpenEXR
    import tifffile

    return f"imagecodecs {imagecodecs.__version__}, tifffile {tifffile.__version__}, OpenEXR {OpenEXR.__version__}"


def _room() -> Iterator[Check]:
    for name, folder in (("disk here", Path.cwd()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
            state: State = "ok" if free > _LITTLE_DISK else "warning"
            advice = "" if state == "ok" else "free some space, or write elsewhere"
            yield Check(name, state, f"{folder}: {free / 2**30:.1f} GiB free", advice)
        except OSError as error:
            yield Check(name, "warning", f"{folder}: {error.strerror}", "give outputs in a folder that can be written")
    available = machine_memory()
    if available is not None:
        state = "ok" if available > _LITTLE_MEMORY else "warning"
        advice = "" if state == "ok" else "close other programs; 4K needs several GiB"
        yield Check("memory", state, f"{available / 2**30:.1f} GiB available", advice)
