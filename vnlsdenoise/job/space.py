"""Room on the disk: what a run will take, and whether it is there."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vnlsdenoise.video.encoders import EncoderChoice
from vnlsdenoise.video.probe import VideoInfo

# The result is never foreseen exactly; these shares of the raw or the input's size are what it takes at the very least.
_LEAST_EXACT_SHARE, _LEAST_LOSSY_SHARE = 0.2, 0.05
# What it takes usually: of the raw samples; bits a pixel at quality 16, which halve with every 6 of it; and without a
# scale of quality.
_EXACT_SHARE, _BITS_AT_16, _BITS = 0.6, 0.5, 3.0
_QUALITY = 16.0


@dataclass(frozen=True)
class Space:
    """Bytes on the disk. least: what the result takes at the very least; result: what it probably takes.

    The pieces of the work folder take as much as the result, until it is published.
    """

    least: int
    result: int

    @property
    def peak(self) -> int:
        """What result and work folder probably take together, at the end of the run."""
        return 2 * self.result


def predict_space(info: VideoInfo, encoder: EncoderChoice | None, input_bytes: int) -> Space:
    """What a run takes; encoder None for images."""
    shape, frames = info.format, info.frames or 0
    samples = sum(height * width for height, width in shape.plane_shapes)
    raw = samples * (1 if shape.depth == 8 else 2) * frames
    if encoder is None or encoder.exact:
        return Space(int(_LEAST_EXACT_SHARE * raw), int(_EXACT_SHARE * raw))

    def coded(bits: float) -> int:
        return min(raw, int(bits / 8 * shape.width * shape.height * frames))

    result = coded(_BITS)
    # What is no number, or beyond all bounds, the encoder refuses.
    with suppress(KeyError, ValueError, OverflowError):
        result = coded(_BITS_AT_16 * 2 ** ((_QUALITY - float(encoder.options["crf"])) / 6))
    return Space(int(_LEAST_LOSSY_SHARE * input_bytes), result)


def same_disk(one: Path, other: Path) -> bool:
    """Whether two places, which need not exist yet, share their free room."""
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
