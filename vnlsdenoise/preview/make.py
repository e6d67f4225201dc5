"""A film under several settings, before a long run: some frames of each, its noise, and what each will take."""

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vnlsdenoise.engine import local
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.engine.work import Work
from vnlsdenoise.job.speed import device_name, predict_seconds
from vnlsdenoise.noise.model import NoiseModel
from vnlsdenoise.noise.report import SceneNoise, curve_of
from vnlsdenoise.page.build import Page, Plot, Series, Shot, Source, Table, encode_picture, is_lossless
from vnlsdenoise.preview.clips import Clip, cropped, read_clip, shown_region
from vnlsdenoise.video.display import picture
from vnlsdenoise.video.encoders import CONTAINERS
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.open import Reader
from vnlsdenoise.video.region import Region, Window

_SHOWN = 3  # frames of the middle of each clip: their neighbours are their evidence
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Candidate:
    """Settings to be tried. options: how they are given on the command line."""

    name: str
    options: tuple[str, ...]
    settings: DenoiseSettings


@dataclass
class Tried:
    """A candidate, and what became of it.

    memory: bytes for the whole film, predicted. pictures: those of every clip that is done. work: seconds that these
    took; frames: how many were denoised.
    """

    candidate: Candidate
    memory: int
    pictures: list[list[bytes]] = field(default_factory=list)
    work: float = 0.0
    frames: int = 0

    @property
    def took(self) -> float:
        """Seconds a frame of the part that was denoised here."""
        return self.work / max(self.frames, 1)


@dataclass
class Preview:
    """What a preview has so far. shares: the moments of the film, 0 to 1; length: frames of each clip.

    region: what is shown, None for the middle. Raises UsageError where it does not lie within the frame.
    """

    reader: Reader
    candidates: Sequence[Candidate]
    shares: Sequence[float]
    length: int
    region: Region | None = None

    def __post_init__(self) -> None:
        info = self.reader.info
        self.layout = info.format
        self.part = self.region or shown_region(info.format)
        Window(self.part, info.format)  # refuses what does not lie within the frame
        self.clips: list[Clip] = []
        self.noise: list[NoiseModel] = []
        self.before: list[list[bytes]] = []
        self._white: dict[tuple[int, tuple[float, ...] | None], NoiseModel] = {}
        self.tried = [
            Tried(candidate, local.predict_memory(info.format, candidate.settings)) for candidate in self.candidates
        ]
        pictures = len(self.shares) * _SHOWN * (1 + len(self.candidates))
        self.lossless = is_lossless(pictures * self.part.width * self.part.height)

    def steps(self) -> Iterator[str]:
        """Do the work; says after each step what was done. The first picture comes first: one candidate, one clip."""
        for number, tried in enumerate(self.tried):
            for index, share in enumerate(self.shares):
                if number == 0:
                    self._read(index, share)
                self._try(tried, index)
                yield f"{tried.candidate.name}, moment {index + 1} of {len(self.shares)}"

    @property
    def waiting(self) -> str:
        """What is not done yet, for a reader."""
        left = [t.candidate.name for t in self.tried if len(t.pictures) < len(self.shares)]
        return ", ".join(left)

    def _read(self, index: int, share: float) -> None:
        clip = read_clip(self.reader, share, self.length)
        device = self.candidates[0].settings.device
        self.clips.append(clip)
        self.noise.append(clip.noise(self.layout, device))
        self.before.append([self._encoded(frame) for frame in _middle(clip.frames)])

    def _try(self, tried: Tried, index: int) -> None:
        settings, clip = tried.candidate.settings, self.clips[index]
        settings = replace(settings, scene_cuts=False)
        window = self._window(settings)
        work = Work()
        if not settings.fields:
            work.measured[0][0] = self._measured(index, settings)
        begin = time.monotonic()
        done = list(local.denoise_frames(map(window.take, clip.frames), window.format, settings, work))
        tried.work += time.monotonic() - begin
        tried.frames += len(done)
        shown = [self._encoded(window.put_back(frame)) for frame in _middle(done)]
        tried.pictures.append(shown)

    def _window(self, settings: DenoiseSettings) -> Window:
        return Window(self.part, self.layout, settings.fields)

    def seconds(self, tried: Tried) -> float | None:
        """Of the whole film, predicted; None where its length is not known, or nothing is done yet.

        On a CPU by what the part took: frames of a short clip take what those of a long film do, to 1 %.
        """
        info, settings = self.reader.info, tried.candidate.settings
        if not info.frames or not tried.frames:
            return None
        if settings.device != "cpu":
            return predict_seconds(info.format, settings, info.frames)
        part = self._window(settings).format
        return tried.took * info.frames * self.layout.width * self.layout.height / (part.width * part.height)

    def _measured(self, index: int, settings: DenoiseSettings) -> NoiseModel:
        white, sigma = settings.noise_model == "white", settings.sigma
        if not white and sigma is None:
            return self.noise[index]
        if (index, sigma) not in self._white:
            self._white[index, sigma] = self.clips[index].noise(self.layout, settings.device, white, sigma)
        return self._white[index, sigma]

    def _encoded(self, frame: Frame) -> bytes:
        return encode_picture(picture(*cropped(frame.planes, self.layout, self.part)), self.lossless)

    def _source(self, tried: Tried) -> Source:
        seconds = self.seconds(tried)
        facts = [("whole film", "unknown" if seconds is None else _about(seconds))]
        facts += [
            ("memory", f"{tried.memory / _MEBIBYTE:.0f} MiB"),
            ("here", f"{tried.took:.2f} s a frame of this part"),
        ]
        return Source(tried.candidate.name, "", command_line(self.reader.info.path, tried.candidate), facts)

    def scenes(self) -> list[SceneNoise]:
        """The noise of every moment, in code values of 8 bits."""
        scale = 1 / (1 << (self.layout.depth - 8))
        return [
            SceneNoise(None, len(clip.frames), clip.seconds, noise.scaled(scale))
            for clip, noise in zip(self.clips, self.noise, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the pictures as plain values for JSON."""
        source = self.reader.info.path
        return {
            "input": str(source),
            "moments": [
                {"at": round(s.seconds, 4), "frames": s.frames, "noise": s.noise.as_dict(), "certainty": s.certainty}
                for s in self.scenes()
            ],
            "candidates": [
                {
                    "name": tried.candidate.name,
                    "command": command_line(source, tried.candidate),
                    "predicted_seconds": _rounded(self.seconds(tried)),
                    "memory": tried.memory,
                    "seconds_a_frame_here": round(tried.took, 4),
                }
                for tried in self.tried
            ],
        }

    def page(self) -> Page:
        """The page of what there is so far."""
        info, done = self.reader.info, [tried for tried in self.tried if tried.pictures]
        shots = []
        for index, (clip, before) in enumerate(zip(self.clips, self.before, strict=True)):
            for place, (frame, data) in enumerate(zip(_middle(clip.frames), before, strict=True)):
                others = [t.pictures[index][place] if index < len(t.pictures) else None for t in done]
                at = float((frame.pts or 0) * info.time_base)
                shots.append(Shot(f"at {at:.2f} s", [data, *others], index))
        frames = f"{info.frames} frames" if info.frames else "an unknown number of frames"
        best = next((i for i, tried in enumerate(done, 1) if tried.candidate.name == "balanced"), min(1, len(done)))
        page = Page(
            f"Preview of {info.path.name}",
            f"{info.format.width}x{info.format.height}, {frames}; shown: {self.part}; on "
            f"{device_name(self.candidates[0].settings.device)}",
            sources=[Source("as it is", info.path.name), *(self._source(tried) for tried in done)],
            shots=shots,
            tables=[_noise_table(self.layout.plane_names, self.scenes())],
            plots=[_curves(self.layout.plane_names, scene) for scene in self.scenes()],
            right=best,
            waiting=self.waiting,
        )
        page.notes += [
            f"Every moment is a clip of at most {self.length} frames; a run searches in up to 13, and gains a little.",
            "The time is predicted for the whole film, by what this part took; decoding and encoding go on beside.",
        ]
        if not self.lossless:
            page.notes.append("The pictures are JPEG of quality 95; give a smaller --roi to see every sample.")
        return page


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _middle(frames: Sequence[Frame]) -> Sequence[Frame]:
    first = max(0, (len(frames) - _SHOWN) // 2)
    return frames[first : first + _SHOWN]


def command_line(source: Path, candidate: Candidate) -> str:
    """What to type for the whole film."""
    # Names that begin with a dash would be taken for options.
    name = str(source) if not str(source).startswith("-") else f"./{source}"
    ending = source.suffix if source.suffix.lower() in CONTAINERS else ".mkv"  # which holds every kind of stream
    output = source.with_name(f"{source.stem}.clean{ending}") if source.is_file() else Path("clean")
    output_name = str(output) if not str(output).startswith("-") else f"./{output}"
    return shlex.join(["vnlsdenoise", name, "-o", output_name, *candidate.options])


def _about(seconds: float) -> str:
    if seconds < 100:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"


def _noise_table(names: Sequence[str], scenes: Sequence[SceneNoise]) -> Table:
    rows = [
        [f"at {s.seconds:.2f} s", *(f"{value:.2f}" for value in s.noise.sigma), s.noise.describe(), s.how_sure()]
        for s in scenes
    ]
    return Table("Measured noise, in code values of 8 bits", ["moment", *names, "in words", "how sure"], rows)


def _curves(names: Sequence[str], scene: SceneNoise) -> Plot:
    curves = [Series(name, curve_of(plane)) for name, plane in zip(names, scene.noise.planes, strict=True)]
    return Plot(f"Noise over the brightness, at {scene.seconds:.2f} s", "intensity of the plane", "deviation", curves)
