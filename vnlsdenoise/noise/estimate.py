"""How noisy a video is, measured on the video itself."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from vnlsdenoise.noise import blocks as cutting
from vnlsdenoise.noise.changes import Change, change_between_frames
from vnlsdenoise.noise.curve import measure_curve, quiet_blocks
from vnlsdenoise.noise.model import PlaneNoise
from vnlsdenoise.noise.spectrum import measure_spectrum
from vnlsdenoise.noise.stabilise import Stabiliser
from vnlsdenoise.ops._checks import check_positive, check_tensor

_QUIETEST = 0.02  # share of the blocks of a frame
_CLIPPED_SHARE = 1e-4  # of the samples at black or white, from which noise counts as clipped there
_LEAST_SIGMA = 1 / 1024  # of the peak: less is rounding as much as noise, of no spectrum that could be told
_LEAST_CORRELATED = 4 / 255  # of the peak: correlated noise of less is not told from fine texture
# What changes, of the deviation at low frequencies: 0.67 to 2.1 in noise, 0.28 to 0.55 in most videos of clean texture.
_LEAST_CHANGING = (0.55, 0.65)
# Deviation at high frequencies, of the peak: less may be the texture of a clean video (226 clean clips but one).
_PROOF = (1.6 / 255, 2.4 / 255)
# Proof as well: less of that, if what changes is so much of the peak, not too many times that deviation, and such a
# share of what quiet blocks hold. Of 502 clean videos one has a little of all that, cropped to 224x160.
_LESS_PROOF, _LEAST_CHANGE = (0.9 / 255, 1.3 / 255), (1.3 / 255, 1.7 / 255)
_MOST_TIMES, _LEAST_SHARE = (4.0, 6.0), (0.65, 0.75)
# The same, of noise at the most: motion that was missed changes more than quiet blocks hold (1.2 to 1.55 times).
_MOST_SHARE = (1.3, 1.15)
# Of the variance from middle to high frequencies: white noise has at most the first, even in textured video.
_CODED_FALL = (1.15, 1.4)


def measure_plane(
    planes: Tensor,
    *,
    peak: float,
    luma: PlaneNoise | None = None,
    pairs: bool = False,
    whole: bool = False,
    fading: float = 0.0,
) -> PlaneNoise:
    """The noise of a plane: its deviation, how that depends on the intensity, and whether noise was clipped.

    Args, errors: as `estimate_sigma`, whose result the deviation is where the noise has one, was not clipped, and no
        codec has taken a part of it away.
    whole: the plane itself was not clipped, however many of its samples are black or white.
    luma: the noise of the luma beside a plane of chroma. Codecs leave no high frequencies to chroma: whether there was
        any noise is seen by the luma.
    fading: the share of its noise that every frame has from the one before.
    """
    sigma, least = estimate_sigma(planes, peak=peak), _LEAST_SIGMA * peak
    noise, between = _over_intensities(planes, peak, sigma, whole)
    by_luma = ramp(luma.sigma / peak, *_PROOF) if luma else 0.0
    if noise.sigma < least and not by_luma:
        return noise
    change = change_between_frames(planes, peak, pairs)
    proven = by_luma if luma else _proof(sigma, change, peak)
    stabiliser = Stabiliser(noise, peak, least)
    told = measure_spectrum(((frame, stabiliser.forward(frame)) for frame in planes), peak)
    changing = change.deviation / math.sqrt(1 - fading)
    # All of noise changes from frame to frame; texture moves, and is found again.
    share = changing / (noise.sigma * told.low) if changing and told.low else 1.0
    if told.spectrum and share > _LEAST_CHANGING[1] and noise.sigma * told.deviation >= _LEAST_CORRELATED * peak:
        return replace(noise.times(told.deviation), spectrum=told.spectrum)
    coded = proven * (1 if luma else ramp(told.fall, *_CODED_FALL) * ramp(share, *_LEAST_CHANGING))
    deviation = sigma + coded * (changing - sigma)
    # How the deviation depends on the intensity was measured on what the codec has taken away.
    if coded:
        return PlaneNoise(deviation) if deviation > noise.sigma else noise
    return between


def _proof(sigma: float, change: Change, peak: float) -> float:
    """How sure it is, 0 to 1, that a luma has noise; sigma: the deviation at high frequencies."""
    by_sigma, less = ramp(sigma / peak, *_PROOF), ramp(sigma / peak, *_LESS_PROOF)
    if not less:
        return by_sigma
    times = 1 - ramp(change.deviation / sigma, *_MOST_TIMES)
    share = ramp(change.share, *_LEAST_SHARE) * ramp(change.share, *_MOST_SHARE)
    by_change = ramp(change.deviation / peak, *_LEAST_CHANGE) * times * share
    return max(by_sigma, less * by_change)


def ramp(value: float, none: float, all: float) -> float:
    """How far `value` is on its way from `none` to `all`, which may be the smaller: 0 to 1."""
    return min(max((value - none) / (all - none), 0.0), 1.0)


def measure_intensities(planes: Tensor, *, peak: float) -> PlaneNoise:
    """The noise of a plane taken for white in space: what `measure_plane` finds before it asks for a spectrum."""
    return _over_intensities(planes, peak, estimate_sigma(planes, peak=peak), whole=False)[1]


def _over_intensities(planes: Tensor, peak: float, sigma: float, whole: bool) -> tuple[PlaneNoise, PlaneNoise]:
    """The noise as quiet blocks have it, and level between black and white where its fall there is that of clipping.

    sigma: what `estimate_sigma` says, which stands where nothing speaks against it.
    """
    clipped = not whole and ends_at_the_borders(planes, peak)
    measured = measure_curve(quiet_blocks(list(planes), peak), peak, clipped)
    if measured is None or not (measured.varies or clipped) or sigma < _PROOF[1] * peak:
        return PlaneNoise(sigma), PlaneNoise(sigma)
    noise = measured.noise(peak, clipped)
    return noise, noise if clipped else measured.noise_between(peak)


def ends_at_the_borders(planes: Tensor, peak: float) -> bool:
    """Whether samples are black or white, and none beyond: noise may have been clipped."""
    inside = bool((planes.amin() >= 0) & (planes.amax() <= peak))
    at_ends = sum(int(((frame <= 0) | (frame >= peak)).sum()) for frame in planes)
    return inside and at_ends >= _CLIPPED_SHARE * planes.numel()


def estimate_sigma(planes: Tensor, *, peak: float) -> float:
    """Standard deviation of additive white noise in a plane.

    Per frame, overlapping 8x8 blocks are taken to the DCT domain, those of least energy at low and middle frequencies
    are kept, and sigma is the median magnitude of their high frequencies over 0.6745; then the median over the frames
    (after Ponomarenko et al., "An automatic approach to lossy compression of AVIRIS images", IGARSS 2007, and Colom,
    Buades, "Analysis and extension of the Ponomarenko et al. method", IPOL 2013). Blocks that are very dark or very
    bright, where clipping has taken away noise, and blocks that reach into a flat graphic or border count only where
    there are not enough others.

    Args:
        planes: [T, H, W], float32 or float64, one plane of each frame, on any device; frames under 8x8 are mirrored.
        peak: white in the scale of `planes` (255 for 8-bit codes, 255 sqrt(3) for (R + G + B) / sqrt(3) of them).

    Returns:
        sigma in the scale of `planes`. Fine texture and the source's own noise count as noise: on a clean 8-bit video
        it says 0 to 1.5 of 255.

    Raises:
        ValueError, TypeError: shape, dtype or peak are not as above, or there is no pixel.
    """
    check_tensor("planes", planes, "T H W")
    check_positive(peak=peak)
    if planes.numel() == 0:
        raise ValueError(f"planes must hold at least one pixel, got shape {list(planes.shape)}")
    return torch.stack([_sigma_of_frame(frame, peak) for frame in planes]).median().item()


def _sigma_of_frame(frame: Tensor, peak: float) -> Tensor:
    blocks = cutting.cut_blocks(frame)
    spectrum = cutting.spectrum_of(blocks[cutting.worth_measuring(blocks, peak)])
    count = min(len(spectrum), max(cutting.ENOUGH, round(_QUIETEST * len(spectrum))))
    quietest = cutting.texture_of(spectrum).topk(count, largest=False).indices
    return cutting.noise_part(spectrum[quietest]).abs().median() / cutting.GAUSSIAN_MAD
