"""Noise of R, G and B that was clipped before they became luma and chroma: told from the luma, undone on results."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from vnlsdenoise.noise import blocks as cutting
from vnlsdenoise.noise.clipping import clipped_share
from vnlsdenoise.noise.curve import QuietBlocks, measure_curve, measured_bin, quiet_blocks
from vnlsdenoise.noise.model import ClippedRgb, PlaneNoise
from vnlsdenoise.noise.stabilise import unclipping
from vnlsdenoise.planes import code_range, luma_weights
from vnlsdenoise.video.frame import PlaneFormat

_LEAST_SIGMA = 2.4 / 255  # of R, G and B: less may be the texture of a clean video
# Deviations beyond black or white that samples count from, within half of the codes there: a codec leaves some nearer.
_BEYOND = 0.5
_FEWEST = 300  # samples that unclipped noise would have there
# Of those, how many there are: of clipped noise 0, through most codecs up to 0.6; of noise that was not, 0.8 and more.
_MOST_LEFT = 0.6
_AT_END, _OF_LUMA = 1e-3, 0.75  # of the peak, from the end; of the samples there, had luma itself been clipped
UNCLIP_WORK = 16  # floats a luma sample that undoing it allocates at most, the results included


def measure_clipped_rgb(luma: Tensor, layout: PlaneFormat, peak: float) -> ClippedRgb | None:
    """Whether R, G and B were clipped after noise came in, and that noise; None where nothing speaks for it.

    Noise that was not clipped goes beyond black and white. What it was before is told by its mean and deviation in the
    quiet areas of every brightness, taken for grey: luma's variance there is the weighted sum of the clipped variances
    of R, G and B.

    luma: [T, H, W], in a scale that reaches to `peak`.
    """
    weights = luma_weights(layout)
    if layout.family != "yuv" or weights is None:
        return None
    black, white, _ = code_range(layout, peak)
    quiet = quiet_blocks(list(luma), peak)
    ends = [_ends_there(quiet, end, side, peak) for end, side in ((black, -1), (white, 1))]
    if not any(ends):
        return None
    span = white - black
    grey = replace(quiet, spectrum=quiet.spectrum / (span * math.hypot(*weights)), mean=(quiet.mean - black) / span)
    measured = measure_curve(grey, 1.0, True)
    if measured is None or measured.sigma < _LEAST_SIGMA:
        return None
    curve = measured.knots(1.0) if measured.varies else ()
    return ClippedRgb(PlaneNoise(measured.sigma, curve, clipped=True), *ends)


def _ends_there(quiet: QuietBlocks, end: float, side: int, peak: float) -> bool:
    """Whether R, G and B were clipped at one end of the luma's range; side: -1 for black, 1 for white."""
    room = end if side < 0 else peak - end  # none in full range
    expected = found = at_end = at_end_of_luma = 0.0
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
        if not room:
            at_end += float((side * (samples - end) > -_AT_END * peak).sum())
            at_end_of_luma += samples.numel() * clipped_share(measured.mean, measured.deviation, peak, side)
    if expected < _FEWEST or found > _MOST_LEFT * expected:
        return False
    # Nothing can be beyond full range. More samples of a clipped luma lie at its end than of a sum of clipped parts.
    return bool(room) or at_end < _OF_LUMA * at_end_of_luma


class Unclipper:
    """Estimates of luma and chroma of clipped R, G and B -> estimates of what these were before.

    Every sample is given the change of its R, G and B, which away from black and white is none; chroma the mean over
    the luma samples that share it.
    """

    def __init__(self, clipped: ClippedRgb, layout: PlaneFormat, peak: float) -> None:
        weights = luma_weights(layout)
        if layout.family != "yuv" or weights is None:
            raise ValueError("R, G and B can have been clipped only where a matrix tells luma and chroma from them")
        self._clipped, self._weights = clipped, weights
        self._shared = (1 << layout.chroma_y, 1 << layout.chroma_x)
        self._black, white, self._chroma_span = code_range(layout, peak)
        self._luma_span, self._neutral = white - self._black, (peak + 1) / 2
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
        large = ((chroma - self._neutral) / self._chroma_span).repeat_interleave(down, 0).repeat_interleave(across, 1)
        return large[: luma.shape[0], : luma.shape[1]]

    def _at_chroma(self, plane: Tensor) -> Tensor:
        # Of what is left of a block at the right and lower edge the mean is taken over what is there.
        return torch.nn.functional.avg_pool2d(plane[None], self._shared, ceil_mode=True)[0]
