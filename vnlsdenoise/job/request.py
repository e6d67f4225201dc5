"""What a user asks for: one input, one output, and everything that is to be done between them."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.part import Part
from vnlsdenoise.video.pipes import PipeFormat, RawVideo
from vnlsdenoise.video.read import Decoder, Interlaced
from vnlsdenoise.video.region import Region
from vnlsdenoise.video.sequences import Gaps

USUAL_PIECE = 250  # frames: as often as encoders put a key frame without being asked


@dataclass(frozen=True)
class Request:
    """One input and what to do with it.

    sigma: noise deviation in 8-bit code values, one number or one a plane, white noise; None to measure every scene.
    strength multiplies it; luma and chroma multiply further (RGB: luma all planes). noise_model: "auto", or "white" to
    take the noise for one deviation a plane. keep_grain: share of what was removed that is put back. preset None: what
    the method usually takes. output None: only
    plan. video_stream: index of the stream to denoise, None for the film. gaps: whether images may lack numbers.
    part: of the film that is meant. roi: the rectangle that is denoised, None for everything. residual: where what was
    removed is written, None for nowhere. strict: refuse where anything would not be kept. new_folders: those on the way
    to the output are made. raw: of raw video through stdin; pipe_format: of stdout.
    workdir: folder for the work folder, None for the output's own; keep_workdir: leave it there at the end. piece:
    frames of a piece, the unit of what is never done again. resume: go on from pieces of the same job ("auto"), refuse
    where there are none ("require"), or begin anew ("off"). report: file for the report, None for none.
    """

    input: Path
    output: Path | None
    sigma: tuple[float, ...] | None = None
    strength: float = 1.0
    luma: float = 1.0
    chroma: float = 1.0
    noise_model: Literal["auto", "white"] = "auto"
    keep_grain: float = 0.0
    method: str = "classic"
    weights: str = "small"
    preset: str | None = None
    device: str = "auto"
    max_memory: int | None = None
    encoding: Encoding = field(default_factory=Encoding)
    streams: Literal["copy", "video"] = "copy"
    scene_cuts: Literal["auto", "off"] = "auto"
    duplicates: Literal["auto", "off"] = "auto"
    interlaced: Interlaced = "error"
    on_damage: Literal["conceal", "fail"] = "conceal"
    decoder: Decoder = "cpu"
    video_stream: int | None = None
    gaps: Gaps = "error"
    strict: bool = False
    part: Part = field(default_factory=Part)
    roi: Region | None = None
    residual: Path | None = None
    new_folders: bool = False
    raw: RawVideo | None = None
    pipe_format: PipeFormat = "y4m"
    workdir: Path | None = None
    keep_workdir: bool = False
    piece: int = USUAL_PIECE
    resume: Literal["auto", "require", "off"] = "auto"
    report: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values for JSON, files by their whole names; `from_json` is the inverse."""
        found = {name: _plain(value) for name, value in vars(self).items()}
        raw = self.raw and {**vars(self.raw), "rate": str(self.raw.rate)}
        part = {name: _plain(value) for name, value in vars(self.part).items()}
        own = {"raw": raw, "part": part, "roi": self.roi and vars(self.roi)}
        return {**found, **own, "encoding": {**vars(self.encoding), "options": dict(self.encoding.options)}}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Request":
        """What `to_json` gave; raises KeyError, TypeError."""
        paths = {
            name: found[name] and Path(found[name]) for name in ("input", "output", "workdir", "report", "residual")
        }
        sigma = found["sigma"] and tuple(found["sigma"])
        raw = found["raw"] and RawVideo(**{**found["raw"], "rate": Fraction(found["raw"]["rate"])})
        told = found["part"]
        start, end = (told[name] and Fraction(told[name]) for name in ("start", "end"))
        part = Part(start, end, told["frames"] and tuple(told["frames"]))
        own = {"raw": raw, "part": part, "roi": found["roi"] and Region(**found["roi"])}
        return cls(**{**found, **paths, **own, "sigma": sigma, "encoding": Encoding(**found["encoding"])})


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    return str(value.absolute()) if isinstance(value, Path) else value
