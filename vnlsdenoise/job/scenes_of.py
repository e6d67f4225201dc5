"""The scenes of a film with their noise, found in one pass that denoises nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

from vnlsdenoise.classic.scenewise import MEASURED_FRAMES
from vnlsdenoise.engine.local import measure_scene
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.noise.model import NoiseModel
from vnlsdenoise.scenes import mark_cuts
from vnlsdenoise.video.fields import field_format, split_fields
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.open import Reader


@dataclass(frozen=True)
class FoundScene:
    """Where a scene lies, and the noise of its first frames in native code values. seconds: of its first frame.

    begin: the frames that were measured.
    """

    first: int
    frames: int
    seconds: float
    noise: NoiseModel
    begin: tuple[Frame, ...] = ()


def find_scenes(reader: Reader, device: str) -> Iterator[FoundScene]:
    """Every scene of a film, as a run would tell them apart and measure them; of interlaced ones the upper fields."""
    info = reader.info
    layout = field_format(info.format) if info.interlaced else info.format
    settings = DenoiseSettings(None, device=device)

    def noise(frames: list[Frame]) -> NoiseModel:
        shown = [split_fields(frame)[0] for frame in frames] if info.interlaced else frames
        return measure_scene(shown, layout, settings)

    first, count, seconds = 0, 0, 0.0
    begin: list[Frame] = []
    for frame, cut in mark_cuts(reader, lambda frame: frame.planes[info.format.brightness], info.format.peak):
        if cut:
            yield FoundScene(first, count, seconds, noise(begin), tuple(begin))
            first, count, begin = first + count, 0, []
        if not count:
            seconds = float((frame.pts or 0) * info.time_base)
        count += 1
        if len(begin) < MEASURED_FRAMES:
            begin.append(frame)
    if begin:
        yield FoundScene(first, count, seconds, noise(begin), tuple(begin))
