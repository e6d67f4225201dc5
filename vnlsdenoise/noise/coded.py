"""What a codec leaves: of noise that it has taken for the most part, and of its own.

Where a quantiser has made noise into blocks, smears and ripples, the picture tells little of it: at crf 26 of x264
noise of deviation 10 measures as a clean film does at crf 18. The step of the quantiser tells it. Against the source
before noise and codec, a deviation of a sixth to a third of the step removes an error there at every step, whether or
not there was noise (`tests/benchmarks/coded_noise.py`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from vnlsdenoise.noise.estimate import ramp
from vnlsdenoise.noise.model import Evidence, NoiseModel, PlaneNoise, Spectrum
from vnlsdenoise.video.frame import Frame

# The deviation to remove, of luma, where nothing tells of noise: so much of what the step has beyond the first, in
# 255ths of the peak, and at most so much.
_FINE, _LEFT, _MOST_LEFT = 10.5, 0.28, 9.0
# The same of the steps of fine quantisers, and at most so much: clean films are not to be told more.
_LEFT_OF_FINE, _MOST_OF_FINE = 0.25, 0.95
_MOST_BY_LETTERS = 2.0
# From which measured deviation on there may have been noise, and was; of the step then, of fine quantisers more, and so
# much at most: white noise and that of cameras is restored best by 0.4 of a step of up to 12, 0.3 of one of 16.
_NOISE, _LEFT_OF_NOISE, _LEFT_OF_FINE_NOISE, _MOST_OF_FINE_NOISE = (1.0, 1.5), 0.27, 0.4, 3.5
# Trust in what is new, and its deviation in luma, from which on there may have been noise, and was, though less of it
# is left than that: clean films through crf 16 to 23 have a trust of 0.2 at the most, but one, or 0.3 that is new.
_TRUSTED, _NEW = (0.25, 0.45), (0.4, 0.6)
# Of luma and chroma, from which on what is new even in the calmest blocks (`Evidence.calm`) is a trace of noise: clean
# films through crf 18 have up to 1.7 and 0.4, or more than 0.6 in one of both alone. It does not tell of much: missed
# motion shows as well.
_TRACE, _TRACE_IN_CHROMA = 1.0, 0.5
# Of luma alone, the same, where the quantiser is coarser than those of clean films through crf 18: of the step then. A
# codec leaves chroma no noise of R, G and B that it was halved from.
_TRACE_IN_LUMA, _COARSE, _LEFT_OF_TRACE = (0.6, 0.9), (13.5, 16.0), 0.2
_CHROMA = 0.4  # of luma's
# R, G and B of which it is told that a codec had them (`Verdict.thinned`) and not by which step: the same as of a fine
# quantiser, in luma so many times the mean deviation of the three, and in the differences of colour so many. At all
# frequencies alike, beside what noise is there: what is new of that is little at the high ones.
_NOISE_IN_RGB = (1.7, 2.4)  # as `_NOISE`: what a codec leaves of luma's noise all three share, so that it is more
_MOST_OF_RGB, _MOST_OF_NOISY_RGB, _OF_SUM, _OF_DIFFERENCES = 0.95, 5.0, 2**0.5, 0.5**0.5
# Of the deviation that is meant: noise of more keeps its curve. Noise of a spectrum keeps that, however little it is,
# and has the codec's own error beside it, which is white: at the frequencies that the codec took nothing else is told.
_SAME_KIND = 0.5


def step_of(frames: Sequence[Frame]) -> float | None:
    """The mean step of the quantiser of some frames, None where no decoder tells it."""
    return mean_step(frame.step for frame in frames)


def mean_step(steps: Iterable[float | None]) -> float | None:
    """The mean of those that are told."""
    told = [step for step in steps if step is not None]
    return sum(told) / len(told) if told else None


def with_what_codecs_leave(noise: NoiseModel, step: float, peak: float, letters: Callable[[], bool]) -> NoiseModel:
    """Noise of YUV or grey, measured in frames that came through a quantiser of this step, in the scale of `peak`.

    letters: says whether the frames show any (`letters.has_letters`), which are left as they are but for little; asked
    only where more would be removed.
    """
    unit = peak / 255
    least = max(_LEFT * (step - _FINE * unit), min(_LEFT_OF_FINE * step, _MOST_OF_FINE * unit))
    of_little = min(_LEFT_OF_FINE_NOISE * step, _MOST_OF_FINE_NOISE * unit)
    of_noise = max(_LEFT_OF_NOISE * step, of_little)
    calm = noise.evidence.calm if noise.evidence else ()
    if calm:
        coarse = ramp(step / unit, *_COARSE)
        least = max(least, ramp(calm[0] / unit, *_TRACE_IN_LUMA) * coarse * _LEFT_OF_TRACE * step)
    if _is_trace(calm, unit):
        least = max(least, of_little)
    least, sure = min(least, _MOST_LEFT * unit), ramp(max(noise.sigma) / unit, *_NOISE)
    sure = max(sure, _was_noise(noise.evidence, unit)) if noise.evidence else sure
    if least > _MOST_BY_LETTERS * unit and letters():
        least, sure = _MOST_BY_LETTERS * unit, float(sure == 1)
    least += sure * max(of_noise - least, 0.0)
    planes = tuple(
        _at_least(plane, least if index == 0 else _CHROMA * least) for index, plane in enumerate(noise.planes)
    )
    if planes == noise.planes:
        return noise
    if noise.sigma[0] >= _SAME_KIND * least:
        return replace(noise, planes=planes)
    evidence = noise.evidence and replace(noise.evidence, taken="the codec's quantiser")
    return NoiseModel(planes, evidence=evidence)


def with_what_codecs_leave_in_rgb(noise: NoiseModel, peak: float, letters: Callable[[], bool]) -> NoiseModel:
    """Noise of R, G and B, measured in frames that may have come through a codec; letters: as above."""
    unit, evidence = peak / 255, noise.evidence
    if evidence is None or not evidence.thinned or noise.clipped:
        return noise
    sure = max(_was_noise(evidence, unit), ramp(max(noise.sigma) / unit, *_NOISE_IN_RGB))
    least = evidence.thinned * (_MOST_OF_RGB + sure * (_MOST_OF_NOISY_RGB - _MOST_OF_RGB))
    if least > _MOST_BY_LETTERS and sure < 1 and letters():
        least = _MOST_BY_LETTERS
    least *= unit
    if any(noise.opponent_spectra):
        return _with_white(noise, least)
    deviation = (sum(value**2 for value in noise.sigma) / 3) ** 0.5
    if deviation >= least:
        return noise
    if noise.opponent or (noise.signal_dependent and deviation >= _SAME_KIND * least):
        return replace(noise, planes=tuple(_at_least(plane, least) for plane in noise.planes))
    white = (PlaneNoise(least, assumed=True),) * 3
    taken = replace(evidence, taken="the codec's quantiser")
    return NoiseModel(white, opponent=(_OF_SUM, _OF_DIFFERENCES, _OF_DIFFERENCES), evidence=taken)


def _with_white(noise: NoiseModel, deviation: float) -> NoiseModel:
    """Noise of R, G and B, of spectra, and white noise of this mean deviation beside it."""
    own, white = sum(noise.sigma) / 3, (_OF_SUM, _OF_DIFFERENCES, _OF_DIFFERENCES)
    opponents = [
        _beside_white(own * times, spectrum, part * deviation)
        for times, spectrum, part in zip(noise.opponent, noise.opponent_spectra, white, strict=True)
    ]
    sigma = (sum(value**2 for value, _ in opponents) / 3) ** 0.5
    return replace(
        noise,
        planes=(PlaneNoise(sigma),) * 3,
        opponent=tuple(value / sigma for value, _ in opponents),
        opponent_spectra=tuple(spectrum for _, spectrum in opponents),
    )


def _beside_white(sigma: float, spectrum: Spectrum, deviation: float) -> tuple[float, Spectrum]:
    """Deviation and spectrum of noise with white noise of a deviation beside it; white for an empty spectrum."""
    variances = [sigma**2 * value + deviation**2 for value in spectrum or (1.0,)]
    mean = sum(variances) / len(variances)
    return mean**0.5, tuple(round(value / mean, 6) for value in variances) if spectrum else ()


def _was_noise(evidence: Evidence, unit: float) -> float:
    """How sure it is, 0 to 1, that there was noise, however little of it is told."""
    if not evidence.new:
        return 0.0
    return max(evidence.left, ramp(evidence.trust or 0.0, *_TRUSTED) * ramp(evidence.new[0] / unit, *_NEW))


def _is_trace(calm: Sequence[float], unit: float) -> bool:
    """Whether something is new everywhere, in luma and in chroma, as noise is."""
    return len(calm) == 3 and calm[0] >= _TRACE * unit and min(calm[1:]) >= _TRACE_IN_CHROMA * unit


def _at_least(plane: PlaneNoise, deviation: float) -> PlaneNoise:
    if plane.spectrum and plane.sigma:
        sigma, spectrum = _beside_white(plane.sigma, plane.spectrum, deviation)
        few = plane.sigma < _SAME_KIND * deviation
        return replace(plane.times(sigma / plane.sigma), spectrum=spectrum, assumed=few)
    if plane.sigma >= deviation:
        return plane
    if plane.sigma >= _SAME_KIND * deviation:
        return plane.times(deviation / plane.sigma)
    return PlaneNoise(deviation, assumed=True)
