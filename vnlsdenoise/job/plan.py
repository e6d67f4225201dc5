"""Decide everything about a run before it starts: what is read, what is written, with which settings."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.errors import InputError, OutputError, UsageError
from vnlsdenoise.job.publish import looking_at
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.space import Space, predict_space
from vnlsdenoise.video.carry import Carry, Fate, decide
from vnlsdenoise.video.encoders import EncoderChoice, choose, container_of
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.open import Reader, open_reader
from vnlsdenoise.video.part import cut_out
from vnlsdenoise.video.pipes import PIPE, PipeReader, choose_for_pipe, refuse_terminal
from vnlsdenoise.video.probe import VideoInfo
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.region import Window
from vnlsdenoise.video.sequences import image_names, list_images, names_images, output_folder, refuse_conversion

if TYPE_CHECKING:
    from vnlsdenoise.noise import NoiseModel

SAMPLED_PLACES = 8  # of a file, where its noise is looked at


@dataclass(frozen=True)
class Sharing:
    """How workers share a film. twice: about how many frames are denoised for two ranges each if none of these ends at
    a cut; None where one worker does all, as there is too little to share."""

    workers: int
    twice: int | None

    def told(self, frames: int) -> str:
        """The same for a reader, of a film of so many frames."""
        if self.twice is None:
            return f"{self.workers} worker(s), one of which does all of it"
        share = f"{self.twice} frames ({100 * self.twice / frames:.1f} %)"
        return f"{self.workers} workers; about {share} are denoised twice, less where ranges end at cuts"


@dataclass(frozen=True)
class Plan:
    """A request with every choice made. settings is None where the frames pass through unchanged (strength 0,
    or all grain kept).

    estimate: the noise of a few frames of the whole file, before any strength, in native code values; None unless it
    was asked for.
    identity: (bytes, modification time in ns) of the input file, the folder's where the input is a sequence; zeros of a
    pipe.
    memory: predicted peak of device memory in bytes, None where nothing is denoised.
    encoder is None for an image sequence as output, and where there is no output. carry: what becomes of everything
    beside the video, None where that is nothing. pipe: the input where that can be read only once, opened.
    sharing: how a fleet does it, None without one.
    """

    request: Request
    info: VideoInfo
    identity: tuple[int, int]
    settings: DenoiseSettings | None
    memory: int | None
    encoder: EncoderChoice | None
    warnings: tuple[str, ...] = ()
    estimate: "NoiseModel | None" = None
    carry: Carry | None = None
    pipe: PipeReader | None = None
    sharing: Sharing | None = None

    @property
    def window(self) -> Window | None:
        """What is shown to the denoiser, None for everything."""
        return _window(self.request, self.info)

    @property
    def work_format(self) -> PlaneFormat:
        """The format of the frames that the denoiser is given."""
        return self.info.format if self.window is None else self.window.format

    @property
    def space(self) -> Space:
        """What the run takes on the disk."""
        return predict_space(self.info, self.encoder, self.identity[0])

    @property
    def taken_along(self) -> Carry | None:
        """What the writer takes along beside the video, None for nothing."""
        return self.carry if self.request.streams == "copy" and self.request.output != PIPE else None

    @property
    def goes_through_a_pipe(self) -> bool:
        """Whether the input comes through stdin or the output goes through stdout."""
        return self.pipe is not None or self.request.output == PIPE

    @property
    def fates(self) -> tuple[Fate, ...]:
        """What becomes of everything in the input: kept, converted, or left out."""
        beside = (*self.carry.properties, *self.carry.streams) if self.carry else ()
        return (*(self.encoder.fates if self.encoder else ()), *beside)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        settings, encoder = self.settings, self.encoder
        return {
            "input": self.info.as_dict(),
            "output": str(self.request.output) if self.request.output else None,
            "settings": vars(settings) if settings else None,
            "estimate": self.estimate.as_dict() if self.estimate else None,
            "memory": self.memory,
            "predicted_seconds": self.predicted_seconds,
            "sharing": self.sharing and vars(self.sharing),
            "disk": {"result": self.space.result, "peak": self.space.peak}
            if self.request.output not in (None, PIPE)
            else None,
            "encoder": encoder
            and {
                "name": encoder.encoder,
                "pixel_format": encoder.layout.name,
                "options": encoder.options,
                "exact": encoder.exact,
            },
            "fates": [{"what": fate.what, "how": fate.how, "why": fate.why or None} for fate in self.fates],
            "warnings": list(self.warnings),
        }

    def _noise(self, settings: DenoiseSettings) -> str:
        factors = settings.strength or ()
        strength = "" if set(factors) <= {1.0} else " x " + ", ".join(f"{value:g}" for value in factors)
        unit = f"in code values of {self.info.format.depth} bits"
        if settings.sigma is not None:
            return f"sigma {', '.join(f'{value:.2f}' for value in settings.sigma)}{strength} {unit} (given)"
        if self.estimate is not None:
            return f"{self.estimate.describe()}{strength} {unit} (of sampled frames; every scene is measured by itself)"
        return f"measured scene by scene{strength}"

    def _method(self, settings: DenoiseSettings) -> str:
        network = f", corrected by the network {settings.weights}" if settings.method == "learned" else ""
        chosen = " (chosen by auto)" if self.request.method == "auto" else ""
        return f"{settings.method}{chosen}, {settings.preset}{network}"

    @property
    def predicted_seconds(self) -> float | None:
        """How long it will take, roughly; None where nothing is denoised, or it is not known how much there is."""
        if self.settings is None or not self.info.frames:
            return None
        from vnlsdenoise.job.speed import predict_seconds

        return round(predict_seconds(self.work_format, self.settings, self.info.frames), 1)

    def start_facts(self) -> dict[str, Any]:
        """What is worth knowing before the work, as plain values."""
        settings = self.settings
        facts = {"input": str(self.info.path), "width": self.info.format.width, "height": self.info.format.height}
        if settings is None:
            return facts
        noise = {"sigma": settings.sigma or "measured", "method": settings.method, "preset": settings.preset}
        return {**facts, **noise, "device": settings.device, "memory": self.memory}

    def in_one_line(self) -> str:
        """The same for a reader."""
        info, settings = self.info, self.settings
        frames = f"{info.frames} frames" if info.frames else "nobody knows how many frames"
        parts = [f"{info.path}: {info.format.width}x{info.format.height} {info.pix_fmt}, {frames}"]
        if settings is None:
            parts.append("passed through unchanged")
        else:
            from vnlsdenoise.job.speed import device_name

            parts += [f"noise {self._noise(settings)}", self._method(settings)]
            parts += [f"on {device_name(settings.device)}", f"about {(self.memory or 0) / 2**20:.0f} MiB"]
        if (seconds := self.predicted_seconds) is not None:
            parts.append(f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min")
        if self.goes_through_a_pipe:
            parts.append("a pipe, which cannot be resumed")
        return "; ".join(parts)

    def lines(self) -> list[str]:
        """The plan for a reader, one fact a line; `warnings` apart."""
        info, shape = self.info, self.info.format
        frames = f"about {info.frames} frames" if info.frames else "unknown number of frames"
        lines = [
            f"input:    {info.path} ({info.container}, {info.codec}, {shape.width}x{shape.height} "
            f"{info.pix_fmt}, {frames})"
        ]
        if self.settings is None:
            lines.append("denoise:  nothing (strength 0 or all grain kept): frames pass through unchanged")
        else:
            lines.append(f"denoise:  {self._method(self.settings)}, on {self.settings.device}")
            if self.request.roi is not None:
                lines.append(f"region:   {self.request.roi}; the rest stays as it is")
            lines.append(f"memory:   about {(self.memory or 0) / 2**20:.0f} MiB{self._waiting(self.settings)}")
            lines.append(f"noise:    {self._noise(self.settings)}")
            if (seconds := self.predicted_seconds) is not None:
                lines.append(f"time:     about {seconds:.0f} s, if decoding and encoding keep up")
        if self.sharing is not None:
            lines.append(f"sharing:  {self.sharing.told(info.frames or 1)}")
        if self.encoder is not None:
            options = " ".join(f"{key}={value}" for key, value in self.encoder.options.items())
            lines.append(
                f"output:   {self.request.output} ({self.encoder.encoder} {self.encoder.layout.name} {options})"
            )
        elif self.request.output is not None:
            lines.append(f"output:   {self.request.output} (images)")
        if self.goes_through_a_pipe:
            lines.append("resume:   not possible: what goes through a pipe cannot be read or written again")
        elif self.request.output is not None:
            room = self.space
            lines.append(
                f"disk:     about {room.result / 2**20:.0f} MiB, and as much for the pieces until it is published"
            )
        lines += [f"{fate.how + ':':9} {fate.what}" for fate in self.fates]
        return lines + [f"special:  {text}" for text in info.notes()]

    def _waiting(self, settings: DenoiseSettings) -> str:
        """Where frames wait that do not fit, and what they may take there."""
        from vnlsdenoise.classic.spool import spool_folder
        from vnlsdenoise.engine import local

        waiting = local.predict_waiting(self.work_format, settings)
        if not waiting:
            return ""
        told = f", {'what is free less a reserve' if settings.max_memory is None else 'as allowed'}"
        told += f"; frames that wait: up to {waiting / 2**20:.0f} MiB of "
        if settings.device != "cpu":
            return told + "host memory"
        folder = spool_folder()
        return told + f"{folder} ({shutil.disk_usage(folder).free / 2**20:.0f} MiB free there)"


def make_plan(request: Request, *, estimate: bool = False, elsewhere: str | None = None) -> Plan:
    """Read what is needed of the input and choose; writes nothing. estimate: measure the noise of sampled frames too.
    elsewhere: the device of other machines that the work is done on, which need not be here.

    Raises UsageError (output is the input, options contradict), InputError, OutputError (missing folder), DeviceError,
    MemoryLimitError (more than max_memory would be needed).
    """
    if request.output is not None:
        check_output(request.input, request.output, request.new_folders)
    reader = _open(request)
    pipe = reader if isinstance(reader, PipeReader) else None
    if isinstance(reader, VideoReader):
        reader.refuse_change()
    info = cut_out(reader, request.part) if request.part else reader.info
    encoder = carry = None
    if request.output is not None:
        refuse_conversion(info, image_names(request.output, info.codec) if writes_images(request.output) else None)
    if request.output == PIPE:
        encoder = choose_for_pipe(reader.info, request.encoding, request.pipe_format)
        if isinstance(reader, VideoReader) and pipe is None:
            carry = decide(request.input, reader.info.index, encoder.container, "a pipe holds nothing but the pictures")
    elif request.output is not None and not writes_images(request.output):
        encoder = choose(request.output, reader.info, request.encoding)
        if isinstance(reader, VideoReader) and pipe is None:
            leave_out = "" if request.streams == "copy" else "--streams video leaves it out"
            carry = decide(request.input, reader.info.index, encoder.container, leave_out)
    elif request.output is not None and isinstance(reader, VideoReader) and pipe is None:
        carry = decide(request.input, reader.info.index, "images", "images hold nothing beside the pictures")
    here = request if elsewhere is None else replace(request, device="cpu")
    settings = settings_of(here, reader.info.format)
    if settings is not None and elsewhere is not None:
        settings = replace(settings, device=elsewhere)
    window = _window(request, info)
    memory = _memory(info.format if window is None else window.format, settings)
    noise = _estimate(reader, settings) if estimate else None
    warnings = (*reader.info.warnings(), *reader.warnings)
    identity = (0, 0) if pipe is not None else _identity(request.input)
    plan = Plan(request, info, identity, settings, memory, encoder, warnings, noise, carry, pipe)
    changed = [fate.why for fate in plan.fates if fate.how != "kept"]
    if request.strict and changed:
        raise UsageError(f"--strict: not everything would be kept: {'; '.join(changed)}; leave --strict out to go on")
    # What the user asked to leave out need not be told again.
    told = changed if request.streams == "copy" else encoder.warnings if encoder else ()
    return replace(plan, warnings=tuple(dict.fromkeys((*told, *warnings))))


def _open(request: Request) -> Reader:
    if request.input == PIPE:
        return PipeReader(PIPE, request.interlaced, request.on_damage, raw=request.raw)
    if request.raw is not None:
        raise UsageError(f"--raw-size is for raw video through stdin, and the input is {request.input}; leave it out")
    return open_reader(
        request.input,
        request.interlaced,
        request.on_damage,
        request.decoder,
        stream=request.video_stream,
        gaps=request.gaps,
    )


def writes_images(output: Path) -> bool:
    """Whether an output name means an image sequence: PNG or TIFF, a folder, or a name without an ending."""
    return output != PIPE and (names_images(output) or not output.suffix)


def check_output(source: Path, output: Path, new_folders: bool = False) -> None:
    """Raise UsageError where `output` is of no kind that is written, the input or a terminal, OutputError where its
    folder cannot hold it."""
    if output == PIPE:
        refuse_terminal()
        return
    if not writes_images(output):
        container_of(output)
    with looking_at(output):
        if output.exists() and source.exists() and os.path.samefile(source, output):
            raise UsageError(f"output {output} is the input itself; it would be lost; give another output name")
        folder = output_folder(output) if writes_images(output) else output.parent
        if writes_images(output) or new_folders:  # Folders for images are made.
            while not folder.exists() and folder != folder.parent:
                folder = folder.parent
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise OutputError(f"cannot write {output}; {folder} {what}; create it or choose another place")


def existing_output(output: Path) -> Path | None:
    """What already stands where `output` would go: the file, or the first image; None for nothing."""
    if output == PIPE:
        return None
    if not writes_images(output):
        return output if output.exists() or output.is_symlink() else None
    for codec in ("png", "dpx", "exr"):
        with suppress(InputError):
            return list_images(output_folder(output) / image_names(output, codec), "ignore")[0]
    return None


def _identity(source: Path) -> tuple[int, int]:
    status = (source if source.exists() else source.parent).stat()
    return status.st_size, status.st_mtime_ns


def settings_of(request: Request, format: PlaneFormat) -> DenoiseSettings | None:
    """What a request means for the denoiser; None where nothing is denoised. Raises UsageError and DeviceError."""
    given = native_sigma(request.sigma, format)
    if request.strength == 0 or request.keep_grain == 1:
        return None
    # The engine loads torch, which nothing before this point needs.
    import torch

    from vnlsdenoise.engine import local
    from vnlsdenoise.learned.checkpoint import load_header
    from vnlsdenoise.learned.methods import chosen_method, preset_of

    device = local.resolve_device(request.device)
    method = chosen_method(request.method, request.weights, request.preset, torch.device(device))
    weights = [request.luma] + [request.luma if format.family == "rgb" else request.chroma] * 2
    strength = tuple(float(request.strength * weight) for weight in weights[: len(format.plane_shapes)])
    return DenoiseSettings(
        given,
        strength,
        request.noise_model,
        float(request.keep_grain),
        method,
        request.weights,
        preset_of(request.preset, load_header(request.weights).preset if method == "learned" else None),
        device,
        scene_cuts=request.scene_cuts == "auto",
        duplicates=request.duplicates == "auto",
        fields=request.interlaced == "fields",
        max_memory=request.max_memory,
    )


def _estimate(reader: Reader, settings: DenoiseSettings | None) -> "NoiseModel | None":
    if settings is None or settings.sigma is not None:
        return None
    from vnlsdenoise.engine import local

    pairs = reader.sample(SAMPLED_PLACES)
    if not pairs:
        return None
    white = settings.noise_model == "white"
    return local.estimate_noise(pairs, reader.info.format, settings.device, white=white, fields=settings.fields)


def _window(request: Request, info: VideoInfo) -> Window | None:
    return None if request.roi is None else Window(request.roi, info.format, request.interlaced == "fields")


def _memory(format: PlaneFormat, settings: DenoiseSettings | None) -> int | None:
    if settings is None:
        return None
    from vnlsdenoise.engine import local

    return local.predict_memory(format, settings)


def native_sigma(sigma: tuple[float, ...] | None, format: PlaneFormat) -> tuple[float, ...] | None:
    """A deviation given in 8-bit code values, one number or one a plane, in native code values of every plane."""
    if sigma is None:
        return None
    count = len(format.plane_shapes)
    if len(sigma) not in (1, count):
        raise UsageError(f"--sigma has {len(sigma)} values, the input has {count} plane(s); give one value or {count}")
    scale = float(1 << (format.depth - 8))
    return tuple(value * scale for value in (sigma * count if len(sigma) == 1 else sigma))
