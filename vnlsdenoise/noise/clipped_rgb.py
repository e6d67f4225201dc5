"""Noise of R, G and B that was clipped before they became luma and chroma: told from the luma, undone on results."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from vnlsdenoise.noise import blocks as cutting
from vnlsdenoise.noise.curve import MeasuredCurve, QuietBlocks, measure_curve, measured_bin, quiet_blocks
from vnlsdenoise.noise.model import ClippedRgb
from vnlsdenoise.noise.stabilise import unclipping
from vnlsdenoise.planes import code_range, luma_weights
from vnlsdenoise.video.frame import PlaneFormat

_LEAST_SIGMA = 2.4 / 255  # of R, G and B: less may be the texture of a clean video
# Deviations beyond black or white that samples count from, within half of the codes there: a codec leaves some nearer.
_BEYOND = 0.5
_FEWEST = 300  # samples that unclipped noise would have there
# Of those, how many there are: of clipped noise 0, through most codecs up to 0.6; of noise that was not, 0.8 and more.
_MOST_LEFT = 0.6
_SOME = 30  # samples there that say something, where there would be too few
# By how much the ratio of the largest to the smallest deviation must differ to tell one case from the other; and the
# chroma's noise, of what independent noise leaves there, below which it is the same in R, G and B (a codec leaves 0.4).
_TELLING, _LEAST_CHROMA = 0.03, 0.25
UNCLIP_WORK = 16  # floats a luma sample that undoing it allocates at most, the results included


def measure_clipped_rgb(luma: Tensor, layout: PlaneFormat, peak: float, chroma: float) -> ClippedRgb | None:
    """Whether R, G and B were clipped after noise came in, and that noise; None where nothing speaks for it.

    Noise that was not clipped goes beyond black and white. What it was before is told by its mean and deviation in the
    quiet areas of every brightness, taken for grey: luma's variance there is the weighted sum of the clipped variances
    of R, G and B, if their noise is independent, and the very variance of each, if it is the same in all three (or if
    luma itself was clipped, which comes to the same). Of the two the one is taken that makes it noise of one deviation;
    where both do, it is the second if chroma has hardly any noise.

    luma: [T, H, W], in a scale that reaches to `peak`. chroma: the deviation of its noise, of luma's.
    """
    weights = luma_weights(layout)
    if layout.family != "yuv" or weights is None:
        return None
    black, white, _ = code_range(layout, peak)
    quiet = quiet_blocks(list(luma), peak)
    at_black, at_white = (_is_clipped(quiet, end, side, peak) for end, side in ((black, -1), (white, 1)))
    if not (at_black or at_white):
        return None
    independent, shared = (_noise_of_grey(quiet, black, white, share) for share in (math.hypot(*weights), 1.0))
    measured = independent or shared
    if independent and shared:
        differ = independent.contrast - shared.contrast
        grey = chroma < _LEAST_CHROMA * _independent_chroma(layout, weights)
        measured = shared if differ > _TELLING or (grey and differ > -_TELLING) else independent
    if measured is None or measured.sigma < _LEAST_SIGMA:
        return None
    # An end where nothing is to be seen is like the other.
    return ClippedRgb(measured.noise(1.0, clipped=True), at_black is not False, at_white is not False)


def _is_clipped(quiet: QuietBlocks, end: float, side: int, peak: float) -> bool | None:
    """Whether noise was clipped at one end of the luma's range, side -1 black, 1 white; None where nothing tells."""
    room = end if side < 0 else peak - end  # none in full range
    expected = found = 0.0
    for index in range(len(quiet.population)):
        measured = measured_bin(quiet, index)
        if measured is None or not measured.deviation:
            continue
        own = quiet.bin == index
        samples, means = cutting.blocks_of(quiet.spectrum[own]), quiet.mean[own]
        reach = _BEYOND * measured.deviation
        beyond = end + side * (min(reach, room / 2) if room else reach)
        share = torch.special.ndtr(side * (means - beyond) / measured.deviation).mean()
        expected += samples.numel() * float(share)
        found += float((side * (samples - beyond) > 0).sum())
    if expected < _FEWEST and found < _SOME:
        return None
    return expected >= _FEWEST and found <= _MOST_LEFT * expected


def _noise_of_grey(quiet: QuietBlocks, black: float, white: float, share: float) -> MeasuredCurve | None:
    """The noise of R, G and B in the scale of 0 to 1, of which luma has a share."""
    span = white - black
    grey = replace(quiet, spectrum=quiet.spectrum / (span * share), mean=(quiet.mean - black) / span)
    return measure_curve(grey, 1.0, True, sums=True)


def _independent_chroma(layout: PlaneFormat, weights: tuple[float, float, float]) -> float:
    """The deviation that independent noise of R, G and B leaves in chroma, the mean over its samples, of luma's."""
    red, green, blue = weights
    difference = math.hypot(red, green, 1 - blue) / (2 * (1 - blue))
    return difference / math.hypot(*weights) / 2 ** ((layout.chroma_x + layout.chroma_y) / 2)


class Unclipper:
    """Estimates of luma and chroma of clipped R, G and B -> estimates of what these were before.

    Every sample is given the change of its R, G and B, which between black and white is none, but near them; chroma the
    mean over the luma samples that share it. neutral: the chroma of grey.
    """

    def __init__(self, clipped: ClippedRgb, layout: PlaneFormat, peak: float) -> None:
        weights = luma_weights(layout)
        if layout.family != "yuv" or weights is None:
            raise ValueError("R, G and B can have been clipped only where a matrix tells luma and chroma from them")
        self._clipped, self._weights = clipped, weights
        self._shared = (1 << layout.chroma_y, 1 << layout.chroma_x)
        self._black, white, self._chroma_span = code_range(layout, peak)
        self._luma_span, self.neutral = white - self._black, (peak + 1) / 2
        self._true = unclipping(clipped.noise, 1.0)

    def __call__(self, luma: Tensor, cb: Tensor, cr: Tensor) -> list[Tensor]:
        """Planes [h, w] -> the same without what clipping did to them."""
        red, green, blue = self._weights
        y = (luma - self._black) / self._luma_span
        v = self._at_luma(cr, luma)
        r = y + 2 * (1 - red) * v
        u = self._at_luma(cb, luma)
        b = y + 2 * (1 - blue) * u
        g = (y - red * r - blue * b) / green
        del y, u, v
        r, g, b = map(self._change, (r, g, b))
        y = red * r + green * g + blue * b
        u, v = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
        return [
            torch.add(luma, y, alpha=self._luma_span),
            torch.add(cb, self._at_chroma(u), alpha=self._chroma_span),
            torch.add(cr, self._at_chroma(v), alpha=self._chroma_span),
        ]

    def _change(self, channel: Tensor) -> Tensor:
        change = self._true(channel).clamp_(0, 1).sub_(channel)
        # At an end where nothing was clipped samples are what they are, beyond it too.
        if not self._clipped.black:
            change.mul_(channel >= 0.5)
        if not self._clipped.white:
            change.mul_(channel < 0.5)
        return change

    def _at_luma(self, chroma: Tensor, luma: Tensor) -> Tensor:
        down, across = self._shared
        large = ((chroma - self.neutral) / self._chroma_span).repeat_interleave(down, 0).repeat_interleave(across, 1)
        return large[: luma.shape[0], : luma.shape[1]]

    def _at_chroma(self, plane: Tensor) -> Tensor:
        # Of what is left of a block at the right and lower edge the mean is taken over what is there.
        return torch.nn.functional.avg_pool2d(plane[None], self._shared, ceil_mode=True)[0]
