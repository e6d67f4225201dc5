"""What the noise of a video is taken to be: a curve over the intensity for every plane."""

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

Spectrum = tuple[float, ...]  # variances at the frequencies (u, v) of a DCT, row by row, of mean 1


@dataclass(frozen=True)
class PlaneNoise:
    """The noise of one plane, in the scale of its samples.

    sigma: the deviation; of noise that depends on the intensity, its root mean square over the picture.
    curve: (intensity, deviation) knots in ascending order of intensity, between which the deviation is interpolated
        and beyond which it is held; empty where the deviation is `sigma` at every intensity.
    clipped: whether samples were clipped to 0 .. peak after the noise came in: then noise has shifted the mean of dark
        and bright areas inwards, which denoising undoes.
    spectrum: of noise that is correlated between neighbouring pixels, its variance at the frequencies of an 8x8 or
        16x16 DCT, row by row, of mean 1; empty where the noise is white.
    overstated: how many times the real deviation sigma and the curve are, so that more is removed or less.
    assumed: whether sigma is as far as to go against what a codec left, told by the step of its quantiser: less than
        half of it was measured in this plane.
    """

    sigma: float
    curve: tuple[tuple[float, float], ...] = ()
    clipped: bool = False
    spectrum: Spectrum = ()
    overstated: float = 1.0
    assumed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"sigma must be finite and at least 0, got {self.sigma}")
        levels = [level for level, _ in self.curve]
        if any(b <= a for a, b in itertools.pairwise(levels)):
            raise ValueError(f"curve must be in ascending order of intensity, got {levels}")
        if not all(0 < deviation < float("inf") for _, deviation in self.curve):
            raise ValueError("deviations of the curve must be finite and greater than 0")
        _check_spectrum(self.spectrum)

    @property
    def signal_dependent(self) -> bool:
        """Whether the deviation depends on the intensity."""
        return bool(self.curve)

    @property
    def correlated(self) -> bool:
        """Whether the noise is correlated between neighbouring pixels."""
        return bool(self.spectrum)

    def deviation_at(self, intensity: float) -> float:
        """The deviation at one intensity."""
        if not self.curve:
            return self.sigma
        levels, deviations = zip(*self.curve, strict=True)
        return float(np.interp(intensity, levels, deviations))

    def times(self, factor: float) -> "PlaneNoise":
        """The same noise, `factor` times as strong."""
        curve = tuple((level, deviation * factor) for level, deviation in self.curve) if factor else ()
        return replace(self, sigma=self.sigma * factor, curve=curve)

    def scaled(self, scale: float) -> "PlaneNoise":
        """The same noise of samples that are `scale` times as large."""
        curve = tuple((level * scale, deviation * scale) for level, deviation in self.curve)
        return replace(self, sigma=self.sigma * scale, curve=curve)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {
            "sigma": round(self.sigma, 4),
            "curve": [[round(level, 2), round(deviation, 4)] for level, deviation in self.curve],
            "clipped": self.clipped,
            "spectrum": list(self.spectrum),
        }


def _plane_from_json(found: dict[str, Any]) -> PlaneNoise:
    curve = tuple((float(level), float(deviation)) for level, deviation in found["curve"])
    return PlaneNoise(
        float(found["sigma"]),
        curve,
        bool(found["clipped"]),
        tuple(map(float, found["spectrum"])),
        float(found["overstated"]),
        bool(found.get("assumed", False)),
    )


def _evidence_from_json(found: dict[str, Any] | None) -> "Evidence | None":
    if found is None:
        return None
    quiet, new_top, new, calm = (tuple(map(float, found[name])) for name in ("quiet", "new_top", "new", "calm"))
    left, thinned = (float(found[name]) for name in ("left", "thinned"))
    return Evidence(found["taken"], quiet, new_top, new, found["trust"], calm, left, thinned)


def _check_spectrum(spectrum: Spectrum) -> None:
    if len(spectrum) not in (0, 64, 256) or not all(0 < variance < float("inf") for variance in spectrum):
        raise ValueError("spectrum must be of 64 or 256 variances, finite and greater than 0, or empty")


@dataclass(frozen=True)
class ClippedRgb:
    """Noise of R, G and B that was clipped to black and white before they became luma and chroma.

    noise: of each of the three, in the scale where black is 0 and white is 1. black, white: where it was clipped, as
        far as luma tells.
    """

    noise: PlaneNoise
    black: bool
    white: bool


Witness = Literal["quiet areas", "what is new", "the shape of cameras' noise", "the codec's quantiser"]


@dataclass(frozen=True)
class Evidence:
    """What spoke for a measured noise: two witnesses where frames follow each other, one in a single picture.

    taken: the one whose word the noise is. quiet: deviation of every plane by what quiet areas hold at the highest
    frequencies. new_top, new: by what is new in every frame, at the highest frequencies and at all; empty where that
    was not asked. trust: 0 to 1, how sure it is that what is new is noise, and is not white. calm: what is new at low
    frequencies in the blocks with least of it, of every plane. left: 0 to 1, how sure it is that what is new is what a
    codec left of noise, if there was a codec (`Verdict.left`). thinned: 0 to 1, how sure it is that there was one, of
    R, G and B (`Verdict.thinned`).
    """

    taken: Witness
    quiet: tuple[float, ...] = ()
    new_top: tuple[float, ...] = ()
    new: tuple[float, ...] = ()
    trust: float | None = None
    calm: tuple[float, ...] = ()
    left: float = 0.0
    thinned: float = 0.0

    def agreement(self, peak: float) -> float | None:
        """How far the witnesses agree, 0 to 1: `trust` where what is new was taken; None where there is only one.

        Otherwise the mean over the planes of the ratio between what quiet areas hold and the nearest value that what is
        new allows, less than half a code value of 8 bits being the same as none.
        """
        if not self.new:
            return None
        if self.taken == "what is new":
            return self.trust
        least = peak / 510
        ratios = []
        for quiet, top, new in zip(self.quiet, self.new_top, self.new, strict=True):
            nearest = min(max(quiet, min(top, new)), max(top, new))
            ratios.append((min(quiet, nearest) + least) / (max(quiet, nearest) + least))
        return sum(ratios) / len(ratios)

    def scaled(self, scale: float) -> "Evidence":
        """The same of samples that are `scale` times as large."""
        parts = (self.quiet, self.new_top, self.new, self.calm)
        quiet, new_top, new, calm = (tuple(v * scale for v in part) for part in parts)
        return replace(self, quiet=quiet, new_top=new_top, new=new, calm=calm)


@dataclass(frozen=True)
class NoiseModel:
    """The noise of a video or scene.

    planes: one `PlaneNoise` a plane (or channel), in their order.
    clipped_rgb: of luma and chroma, the noise that R, G and B had when they were clipped; None where they were not. It
        has shifted the mean of dark and bright areas inwards, which denoising undoes.
    opponent: of R, G and B whose noise is not independent (they have been YUV, or a camera's): the deviations of their
        sum and of the two differences (`planes.opponent_from_rgb`), each plane in units of its own noise; empty where
        all are 1.
    opponent_spectra: of the noise of these three, like `PlaneNoise.spectrum`; empty where it is white.
    evidence: what spoke for it where it was measured; models that differ in nothing else are equal.
    """

    planes: tuple[PlaneNoise, ...]
    opponent: tuple[float, ...] = ()
    opponent_spectra: tuple[Spectrum, ...] = ()
    clipped_rgb: ClippedRgb | None = None
    evidence: Evidence | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if len(self.opponent) not in (0, 3) or not all(0 < value < float("inf") for value in self.opponent):
            raise ValueError(f"opponent must be 3 deviations greater than 0, or empty, got {self.opponent}")
        if len(self.opponent_spectra) not in (0, len(self.opponent)):
            raise ValueError(f"opponent_spectra must be one a deviation of opponent, got {len(self.opponent_spectra)}")
        for spectrum in self.opponent_spectra:
            _check_spectrum(spectrum)

    @classmethod
    def of_sigma(cls, sigma: Iterable[float]) -> "NoiseModel":
        """White noise of one deviation a plane."""
        return cls(tuple(PlaneNoise(float(value)) for value in sigma))

    @property
    def sigma(self) -> tuple[float, ...]:
        """The deviation of every plane."""
        return tuple(plane.sigma for plane in self.planes)

    @property
    def signal_dependent(self) -> bool:
        """Whether the deviation of any plane depends on the intensity."""
        return any(plane.signal_dependent for plane in self.planes)

    @property
    def correlated(self) -> bool:
        """Whether the noise of any plane is correlated between neighbouring pixels."""
        return any(plane.correlated for plane in self.planes) or any(self.opponent_spectra)

    @property
    def clipped(self) -> bool:
        """Whether noise was clipped, in the planes themselves or in R, G and B before they became luma and chroma."""
        return self.clipped_rgb is not None or any(plane.clipped for plane in self.planes)

    def times(self, factors: Iterable[float]) -> "NoiseModel":
        """The noise of every plane said to be so many times what it is; 0 is none.

        What clipping did to R, G and B is undone as far as luma's noise is removed, but not twice.
        """
        factors = tuple(factors)
        planes = (
            replace(plane.times(factor), overstated=plane.overstated * factor or 1.0)
            for plane, factor in zip(self.planes, factors, strict=True)
        )
        rgb = self.clipped_rgb and replace(self.clipped_rgb, noise=self.clipped_rgb.noise.times(min(factors[0], 1.0)))
        return replace(self, planes=tuple(planes), clipped_rgb=rgb)

    def scaled(self, scale: float) -> "NoiseModel":
        """The same noise of samples that are `scale` times as large."""
        evidence = self.evidence and self.evidence.scaled(scale)
        return replace(self, planes=tuple(plane.scaled(scale) for plane in self.planes), evidence=evidence)

    def describe(self) -> str:
        """The deviations, and what else the noise is, for a reader."""
        values = ", ".join(f"{value:.2f}" for value in self.sigma)
        told = (
            (self.signal_dependent, "signal-dependent"),
            (self.correlated, "correlated"),
            (self.opponent, "shared"),
            (self.clipped, "clipped"),
        )
        return ", ".join([f"sigma {values}", *(what for found, what in told if found)])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values for JSON, to the last bit; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "NoiseModel":
        """What `to_json` gave, before or after it went through JSON; raises KeyError, TypeError, ValueError."""
        rgb = found["clipped_rgb"]
        return cls(
            tuple(_plane_from_json(plane) for plane in found["planes"]),
            tuple(map(float, found["opponent"])),
            tuple(tuple(map(float, spectrum)) for spectrum in found["opponent_spectra"]),
            rgb and ClippedRgb(_plane_from_json(rgb["noise"]), bool(rgb["black"]), bool(rgb["white"])),
            _evidence_from_json(found.get("evidence")),
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything for a reader, rounded, as plain values for JSON; `clipped_rgb` in the scale of 0 to 255."""
        return {
            "signal_dependent": self.signal_dependent,
            "correlated": self.correlated,
            "planes": [plane.as_dict() for plane in self.planes],
            "opponent": [round(value, 4) for value in self.opponent],
            "opponent_spectra": [list(spectrum) for spectrum in self.opponent_spectra],
            "clipped_rgb": self.clipped_rgb
            and {
                "noise": self.clipped_rgb.noise.scaled(255).as_dict(),
                "black": self.clipped_rgb.black,
                "white": self.clipped_rgb.white,
            },
            "evidence": self.evidence and vars(self.evidence),
        }
