"""Decide everything about a run before it starts: what is read, what is written, with which settings."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.errors import InputError, OutputError, UsageError
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.space import Space, predict_space
from vnlsdenoise.video.carry import Carry, Fate, decide
from vnlsdenoise.video.encoders import EncoderChoice, choose
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.open import Reader, open_reader
from vnlsdenoise.video.probe import VideoInfo
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.sequences import image_names, list_images, names_images, output_folder

if TYPE_CHECKING:
    from vnlsdenoise.noise import NoiseModel

SAMPLED_PLACES = 8  # of a file, where its noise is looked at


@dataclass(frozen=True)
class Plan:
    """A request with every choice made. settings is None where the frames pass through unchanged (strength 0,
    or all grain kept).

    estimate: the noise of a few frames of the whole file, before any strength, in native code values; None unless it
    was asked for.
    identity: (bytes, modification time in ns) of the input file, the folder's where the input is a sequence.
    memory: predicted peak of device memory in bytes, None where nothing is denoised.
    encoder is None for an image sequence as output, and where there is no output. carry: what becomes of everything
    beside the video, None where that is nothing.
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

    @property
    def space(self) -> Space:
        """What the run takes on the disk."""
        return predict_space(self.info, self.encoder, self.identity[0])

    @property
    def taken_along(self) -> Carry | None:
        """What the writer takes along beside the video, None for nothing."""
        return self.carry if self.request.streams == "copy" else None

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
            "disk": {"result": self.space.result, "peak": self.space.peak} if self.request.output else None,
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

    @staticmethod
    def _method(settings: DenoiseSettings) -> str:
        network = f", corrected by the network {settings.weights}" if settings.method == "learned" else ""
        return f"{settings.method}, {settings.preset}{network}"

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
            lines.append(f"memory:   about {(self.memory or 0) / 2**20:.0f} MiB")
            lines.append(f"noise:    {self._noise(self.settings)}")
        if self.encoder is not None:
            options = " ".join(f"{key}={value}" for key, value in self.encoder.options.items())
            lines.append(
                f"output:   {self.request.output} ({self.encoder.encoder} {self.encoder.layout.name} {options})"
            )
        elif self.request.output is not None:
            lines.append(f"output:   {self.request.output} (images)")
        if self.request.output is not None:
            room = self.space
            lines.append(
                f"disk:     about {room.result / 2**20:.0f} MiB, and as much for the pieces until it is published"
            )
        lines += [f"{fate.how + ':':9} {fate.what}" for fate in self.fates]
        return lines + [f"special:  {text}" for text in info.notes()]


def make_plan(request: Request, *, estimate: bool = False) -> Plan:
    """Read what is needed of the input and choose; writes nothing. estimate: measure the noise of sampled frames too.

    Raises UsageError (output is the input, options contradict), InputError, OutputError (missing folder), DeviceError,
    MemoryLimitError (more than max_memory would be needed).
    """
    if request.output is not None:
        check_output(request.input, request.output)
    reader = open_reader(
        request.input,
        request.interlaced,
        request.on_damage,
        request.decoder,
        stream=request.video_stream,
        gaps=request.gaps,
    )
    if isinstance(reader, VideoReader):
        reader.refuse_change()
    encoder = carry = None
    if request.output is not None and not writes_images(request.output):
        encoder = choose(request.output, reader.info, request.encoding)
        if isinstance(reader, VideoReader):
            leave_out = "" if request.streams == "copy" else "--streams video leaves it out"
            carry = decide(request.input, reader.info.index, encoder.container, leave_out)
    elif request.output is not None and reader.info.format.family == "yuv":
        raise UsageError(
            f"output {request.output} is images, which hold gray or RGB, and the input is YUV; "
            "a conversion would change it; write a video, .mkv with --lossless for exact samples"
        )
    elif request.output is not None and isinstance(reader, VideoReader):
        carry = decide(request.input, reader.info.index, "images", "images hold nothing beside the pictures")
    settings = _settings(request, reader)
    memory = _memory(reader, settings)
    noise = _estimate(reader, settings) if estimate else None
    status = _image_or_file(request.input).stat()
    warnings = (*reader.info.warnings(), *reader.warnings)
    identity = (status.st_size, status.st_mtime_ns)
    plan = Plan(request, reader.info, identity, settings, memory, encoder, warnings, noise, carry)
    changed = [fate.why for fate in plan.fates if fate.how != "kept"]
    if request.strict and changed:
        raise UsageError(f"--strict: not everything would be kept: {'; '.join(changed)}; leave --strict out to go on")
    # What the user asked to leave out need not be told again.
    told = changed if request.streams == "copy" else encoder.warnings if encoder else ()
    return replace(plan, warnings=tuple(dict.fromkeys((*told, *warnings))))


def writes_images(output: Path) -> bool:
    """Whether an output name means an image sequence: PNG or TIFF, a folder, or a name without an ending."""
    return names_images(output) or not output.suffix


def check_output(source: Path, output: Path) -> None:
    """Raise UsageError where `output` is the input itself, OutputError where its folder cannot hold it."""
    if output.exists() and source.exists() and os.path.samefile(source, output):
        raise UsageError(f"output {output} is the input itself; it would be lost; give another output name")
    folder = output_folder(output) if writes_images(output) else output.parent
    if writes_images(output):
        # Folders for images are made.
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise OutputError(f"cannot write {output}; {folder} {what}; create it or choose another place")


def existing_output(output: Path) -> Path | None:
    """What already stands where `output` would go: the file, or the first image; None for nothing."""
    if not writes_images(output):
        return output if output.exists() or output.is_symlink() else None
    pattern = output_folder(output) / image_names(output)
    try:
        return list_images(pattern, "ignore")[0]
    except InputError:
        return None


def _image_or_file(path: Path) -> Path:
    return path if path.exists() else path.parent


def _settings(request: Request, reader: Reader) -> DenoiseSettings | None:
    format = reader.info.format
    given = native_sigma(request.sigma, format)
    if request.strength == 0 or request.keep_grain == 1:
        return None
    # The engine loads torch, which nothing before this point needs.
    from vnlsdenoise.engine import local
    from vnlsdenoise.learned.methods import LEARNED_PRESET, chosen_method

    method = chosen_method(request.method)
    weights = [request.luma] + [request.luma if format.family == "rgb" else request.chroma] * 2
    strength = tuple(float(request.strength * weight) for weight in weights[: len(format.plane_shapes)])
    return DenoiseSettings(
        given,
        strength,
        request.noise_model,
        float(request.keep_grain),
        method,
        request.weights,
        LEARNED_PRESET if method == "learned" else request.preset,
        local.resolve_device(request.device),
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
    white = settings.noise_model == "white"
    return local.estimate_noise(pairs, reader.info.format, settings.device, white=white, fields=settings.fields)


def _memory(reader: Reader, settings: DenoiseSettings | None) -> int | None:
    if settings is None:
        return None
    from vnlsdenoise.engine import local

    return local.predict_memory(reader.info.format, settings)


def native_sigma(sigma: tuple[float, ...] | None, format: PlaneFormat) -> tuple[float, ...] | None:
    """A deviation given in 8-bit code values, one number or one a plane, in native code values of every plane."""
    if sigma is None:
        return None
    count = len(format.plane_shapes)
    if len(sigma) not in (1, count):
        raise UsageError(f"--sigma has {len(sigma)} values, the input has {count} plane(s); give one value or {count}")
    scale = float(1 << (format.depth - 8))
    return tuple(value * scale for value in (sigma * count if len(sigma) == 1 else sigma))
