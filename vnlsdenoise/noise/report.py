"""The page of a measurement: the noise of every scene, how it depends on the brightness, how it is spread, how sure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vnlsdenoise.noise.model import NoiseModel, PlaneNoise
from vnlsdenoise.page.build import Page, Plot, Series, Shot, Source, Table, encode_picture, is_lossless
from vnlsdenoise.planes import code_range
from vnlsdenoise.video.display import picture
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat

_LEVELS = tuple(range(0, 256, 5))
_MOST_SCENES = 24  # whose curves and pictures are shown
_SURE, _FAIRLY = 0.8, 0.5


@dataclass(frozen=True)
class SceneNoise:
    """The noise of a scene, in code values of 8 bits. seconds: of its first frame; frames: None where not counted.

    clipped: shares of the samples of every plane at black and at white. shots: its first frames, encoded.
    """

    first: int | None
    frames: int | None
    seconds: float
    noise: NoiseModel
    clipped: tuple[tuple[float, float], ...] = ()
    shots: tuple[bytes, ...] = ()

    @property
    def certainty(self) -> float | None:
        """How far the witnesses of the noise agree, 0 to 1; None where there is only one."""
        return self.noise.evidence.agreement(255) if self.noise.evidence else None

    def how_sure(self) -> str:
        """The same in words."""
        sure, evidence = self.certainty, self.noise.evidence
        taken = f"by {evidence.taken}" if evidence else "given"
        if sure is None:
            return f"{taken}; one witness only"
        words = "sure" if sure >= _SURE else "fairly sure" if sure >= _FAIRLY else "not sure: the witnesses differ"
        return f"{taken}; {words} ({sure:.2f})"

    def title(self) -> str:
        """Where it is, for a reader."""
        if self.first is None:
            return "frames from all over the film"
        return f"frame {self.first}, {self.seconds:.2f} s, {self.frames} frames"


def clipped_shares(planes: Sequence[tuple[Plane, ...]], layout: PlaneFormat) -> tuple[tuple[float, float], ...]:
    """Of every plane of some frames, the shares of samples at black or beyond, and at white; of chroma at its ends."""
    ends = [(0.0, float(layout.peak))] * len(layout.plane_shapes)
    if layout.family == "yuv":
        ends[0] = code_range(layout, layout.peak)[:2]
    shares = []
    for stack, (black, white) in zip(zip(*planes, strict=True), ends, strict=True):
        size = sum(plane.size for plane in stack)
        low, high = sum(int((p <= black).sum()) for p in stack), sum(int((p >= white).sum()) for p in stack)
        shares.append((round(low / size, 6), round(high / size, 6)))
    return tuple(shares)


def first_pictures(frames: Sequence[Frame], layout: PlaneFormat) -> tuple[bytes, ...]:
    """Two neighbours to look at."""
    lossless = is_lossless(2 * _MOST_SCENES * layout.width * layout.height)
    return tuple(encode_picture(picture(frame.planes, layout), lossless) for frame in frames[:2])


def curve_of(plane: PlaneNoise) -> list[tuple[float, float]]:
    """(intensity, deviation) to draw."""
    return [(float(level), plane.deviation_at(level)) for level in _LEVELS]


def spectrum_of(plane: PlaneNoise) -> list[tuple[float, float]]:
    """(frequency, deviation) of correlated noise: cycles a pixel, and the mean over each sum of frequencies u + v."""
    side = round(len(plane.spectrum) ** 0.5)
    rings: dict[int, list[float]] = {}
    for index, variance in enumerate(plane.spectrum):
        if index:
            rings.setdefault(index // side + index % side, []).append(variance)
    return [(ring / (4 * side), plane.sigma * (sum(v) / len(v)) ** 0.5) for ring, v in sorted(rings.items())]


def make_page(path: Path, names: Sequence[str], scenes: Sequence[SceneNoise]) -> Page:
    """The page of the scenes of a film; names: of its planes."""
    shown = scenes[:_MOST_SCENES]
    shots = [
        Shot(f"frame {(scene.first or 0) + index}", [data], run, (scene.first or 0) + index)
        for run, scene in enumerate(shown)
        for index, data in enumerate(scene.shots)
    ]
    page = Page(
        f"Noise of {path.name}",
        f"{len(scenes)} scene(s); deviations in code values of 8 bits",
        sources=[Source(path.name)],
        shots=shots,
        right=0,
        plots=_plots(names, scenes, shown),
        tables=[_table(names, scenes)],
    )
    page.notes.append("The right side shows what is new from one frame to the next, amplified: noise, and what moves.")
    page.notes.append(
        "How sure: 1 where quiet areas and what is new in every frame tell the same noise, 0 where they differ."
    )
    if len(scenes) > len(shown):
        page.notes.append(f"Curves and pictures are of the first {len(shown)} scenes.")
    return page


def _plots(names: Sequence[str], scenes: Sequence[SceneNoise], shown: Sequence[SceneNoise]) -> list[Plot]:
    plots = []
    if len(scenes) > 1:
        steps = [
            Series(
                name,
                [
                    point
                    for scene in scenes
                    for point in (
                        (scene.first or 0, scene.noise.sigma[index]),
                        ((scene.first or 0) + max((scene.frames or 1) - 1, 0), scene.noise.sigma[index]),
                    )
                ],
            )
            for index, name in enumerate(names)
        ]
        plots.append(Plot("Noise of every scene", "frame", "deviation", steps, over_frames=True))
    for scene in shown:
        where = f" (from frame {scene.first})" if len(scenes) > 1 else ""
        curves = [Series(name, curve_of(p)) for name, p in zip(names, scene.noise.planes, strict=True)]
        plots.append(Plot(f"Noise over the brightness{where}", "intensity of the plane", "deviation", curves))
        if any(plane.correlated for plane in scene.noise.planes):
            spread = [Series(name, spectrum_of(p)) for name, p in zip(names, scene.noise.planes, strict=True)]
            note = "White noise is flat; what is correlated between neighbouring pixels falls."
            plots.append(Plot(f"Noise over the frequency{where}", "cycles a pixel", "deviation", spread, note=note))
    return plots


def _table(names: Sequence[str], scenes: Sequence[SceneNoise]) -> Table:
    head = ["scene", *names, "kind", "black / white", "how sure"]
    rows = []
    for scene in scenes:
        kind = scene.noise.describe().partition(", ")[2].split(", ")[len(names) - 1 :]
        ends = " ".join(f"{100 * low:.1f} / {100 * high:.1f} %" for low, high in scene.clipped[:1])
        sigma = [f"{value:.2f}" for value in scene.noise.sigma]
        rows.append([scene.title(), *sigma, ", ".join(kind) or "white", ends, scene.how_sure()])
    return Table("Noise of every scene", head, rows)
