"""What is new in every frame: how sure it is that it is noise, and what noise."""

import math
from typing import NamedTuple

from torch import Tensor

from vnlsdenoise.noise.estimate import ramp
from vnlsdenoise.noise.grain import (
    TOP,
    Grain,
    apart_of,
    flat_blocks,
    grain_of,
    lowest,
    noisier_blocks,
    of_halves,
    peak_of,
)
from vnlsdenoise.noise.opponents import independent_deviation, told_by_differences
from vnlsdenoise.noise.temporal import News, frequency_sums

_BAND = (2, 14)  # sums u + v of 16x16 that tell structure and grain; below lie brightness and slopes
# Of what the frames on both sides do not share, to what is new, in the tenth of the blocks with most of it: less than 1
# in noise, of which this frame happens to have more than they have; 1 to 1.8 where motion was missed.
_NEWEST, _OF_NEWEST = 0.1, (1.15, 0.95)
# The same, times that in flat blocks, of which the frames beside them have more where this has more in the others: 0.7
# and more in noise, 0.1 to 0.4 in what a mosaic of sensors makes of texture that moves by an odd number of its samples,
# which is others in every second frame.
_IN_TURN = (0.45, 0.65)
# Of what the frames on both sides do not share at the lowest frequencies, to what is new, in the noisier blocks beside
# the flat ones: about 1 in the noise of cameras; 1.9 and more in texture that moves by parts of a pixel.
_MOVING, _CARRIED_LOW = (1.3, 1.8), 1.25
# All that flat blocks hold, of what is new in them, at middle frequencies: 1 where they hold noise and nothing else.
_PURE = (1.6, 1.3)
_MIDDLE = (6, 14)
_TEXTURE_BESIDE = (6.0, 4.0)  # the same: beside so much texture independence does not tell noise from what moved on
_BARE = (2.6, 2.1)  # as `_PURE`: where flat blocks hold texture, the noisier ones do
# The same, to the share (below) of what is new that is new in flat blocks: up to 8 where a codec has left less noise in
# flat blocks than elsewhere, or these hold some texture as well; from 10 on in most clean texture, of which the rest
# moves by parts of a pixel or into another brightness.
_TOGETHER, _LEAST_SHARE_NEW, _SUBPIXEL = (12.0, 8.0), (0.08, 0.11), (2.5, 2.0)
# Of what the frames on both sides do not share in flat blocks, to what is new: 1 in noise, 3 in texture that was found
# again but for parts of a pixel, by chance; more in what moves on evenly.
_INDEPENDENT = (1.4, 1.15)
# Of what is new in flat blocks, to what is new in all: noise is everywhere. Where no motion was found, blocks of
# texture are new, and look like noise by all else.
_EVERYWHERE = (0.1, 0.2)
# Of what is new at one frequency, to what is at lower ones (`grain.peak_of`): in flat blocks up to 1.3 in noise, from
# 3.7 on where a regular texture, as of windows far away, aliases; in the noisier blocks up to 3.8 and from 6 on.
_PEAKED, _PEAKED_IN_NOISIER = (3.2, 2.2), (6.0, 4.5)
# Energy of what is new in flat blocks at the lowest frequencies, to that at those of the band: 2 to 8 in the noise of
# cameras, 20 in grain of six pixels, 40 in grain of ten; from 20 on where blocks of another brightness were taken for
# the same.
_STEEP, _TOO_STEEP = (22.0, 18.0), (50.0, 35.0)
_STEEP_IN_MOTION, _INDEPENDENT_GRAIN = (15.0, 12.0), (1.6, 1.3)
# All that blocks hold at low frequencies, to what is new there: 2 to 13 where most motion was not found, or where the
# picture is flat. In noise the noisier blocks then do not move (as at `_MOVING`).
_LOW, _FOUND, _UNMOVED = (1, 2), (12.0, 20.0), (1.8, 1.5)
_OF_NEWEST_NOT_FOUND = (1.05, 0.95)  # as `_OF_NEWEST`, where most motion was not found
# All of running water is new, as noise is. But in the median of its blocks they hold 6 to 14 times as much at those low
# frequencies (from 14 on where only a part of the picture is lost), or flat ones hold more than is new (as at `_PURE`);
# or the noisier ones have 10 times as much that is new and more at all frequencies (noise: up to 5 at some).
_IN_MOST, _HELD_IN_FLAT, _ALIKE = (14.0, 18.0), (1.3, 1.15), (12.0, 7.0)
_RINGS = ((2, 6), (7, 9), (10, 13), (14, 17), (18, 30))  # sums u + v of the frequencies that are compared
# Where the noisier blocks have hardly more that is new than flat ones at all but the lowest frequencies, noise is all
# that is new there, and a few blocks that moved unseen are no reason to doubt the others: 1.2 to 1.8 times in strong
# noise, from 3 on where there is less of it, from 5.7 on in clean films.
_EVEN = (2.4, 1.9)
# Times that noise is stronger at low frequencies than at the highest, in the geometric mean over the channels: of white
# noise on a source that has some grain itself up to 2, of a camera's 4 and more.
_COLOURED = (2.5, 3.5)
_COLOURED_SUM = (1.6, 2.2)  # the same, of the sum of R, G and B alone, which holds most of the texture
# Where nothing moves, what is new is noise, whatever lies under it: the same in flat blocks as in all (`_EVERYWHERE`),
# no more beside the flat ones (as at `_MOVING`), nor in the blocks with most of it (as at `_OF_NEWEST`). It needs less
# colour then: white noise of luma has 1.3 at the most.
_ALL_STILL, _NOTHING_MOVES, _NOTHING_MISSED, _COLOURED_STILL = (0.75, 0.85), (1.3, 1.1), (1.0, 0.9), (1.4, 1.7)
# Of planes that are not R, G and B, the same of the one where it is least, and luma just below the highest frequencies:
# of a camera's noise that no codec has thinned 2.4 to 3.1 and 1.35 to 1.6, in chroma of half the size as well; of white
# noise 1.4 and 1.1, on a source that has grain itself 2.5 and 1.1.
_COLOURED_EACH, _COLOURED_BESIDE = (1.8, 2.3), (1.15, 1.3)
# Flat blocks have a little less noise of luma than the others, along whose edges a camera fills in colours, and too
# little costs more than too much: so much more is removed where the noisier blocks do not tell, blocks were found
# again, and the frames on both sides do not say that there is more.
_MORE_OF_LUMA, _TOLD, _FOUND_ENOUGH, _SINGLE = 0.1, (0.0, 0.5), (0.5, 1.0), (1.4, 1.25)
# As `_COLOURED_EACH`, of luma: noise that no codec has thinned has 2.4 to 2.85. That of chroma is then as much
# everywhere as that of luma is, and what flat blocks have more of than those with least of it is texture.
_THINNED, _EVENLY = (3.0, 2.85), 1.1
# Of such noise the noisier blocks, where they alone tell, have so much more than is best to remove from all.
_LESS_OF_NOISIER, _TOLD_ALONE = 0.08, (0.5, 1.0)
_LEAST_SHARE = 0.1  # of the first channel's deviation: noise of less does not say what the noise is
# Of what the frames on both sides do not share, to what is new: noise that a codec carried on from frame to frame. More
# is motion.
_MOST_CARRIED, _IN_MOTION = 2.5, (2.6, 2.2)
# At the lowest frequencies (as at `_MOVING`): motion would show there first, and what a codec carries on does not.
_STOOD_STILL = (0.9, 0.7)
# What a codec has left of noise shows in flat blocks: deviation, of 255, of what is new at middle frequencies and at
# the highest, and of that at low frequencies to that at middle ones. White noise of 5 and a camera's of gain 0.002 have
# 1.0 and 0.43 or more left through crf 20, 1.5 to 3.5 times as steep where motion was found. Clean films through crf 16
# to 23 have up to 0.56 and 0.33 (water more). Where there is more of both it is 4.5 times as steep, of motion that was
# not found, or flat blocks hold seven times as much as is new (as at `_PURE`), of texture.
_LEFT_AT_MIDDLE, _LEFT_AT_TOP, _LEFT_STEEP, _LEFT_HELD = (0.85, 1.15), (0.35, 0.45), (4.2, 3.3), (5.5, 3.5)
# Beside texture that flat blocks hold the highest frequencies tell alone: white noise of 5 has 0.77 and more of luma
# there through crf 20, 0.4 to 0.7 of what is new in all of the band. Clean films through crf 18 and 20 have more than
# 0.6 only of what moved unseen, of which there is three times as much and more at low frequencies, or of texture, of
# which flat blocks hold 40 times as much.
_LEFT_AT_TOP_ALONE, _LEFT_AT_TOP_OF_BAND, _LEFT_HELD_BESIDE = (0.65, 0.8), (0.36, 0.46), (32.0, 22.0)
# The same of the sum of R, G and B, which is so many times what luma of a film holds; there what is new at middle
# frequencies is 1.34 and more of that at the highest, 1.06 in white noise that no codec was at.
_LUMA_OF_SUM, _LEFT_FALL = 219 / 255 / 3**0.5, (1.15, 1.3)
# Of both differences of R, G and B, at low frequencies and of 255, where even the blocks with least that is new have so
# much of it there was noise, whatever moved unseen beside it, and where other blocks say so as well what is new is
# mostly that: a camera's of gain 0.006 through crf 20 has 1.7 and more, clean films through crf 16 to 23 up to 1.3. But
# not where a large part of the picture rushes by: of half of the blocks all that they hold at low frequencies is at
# most so many times what is new there, or flat ones have next to none of what is new (`_EVERYWHERE`).
_LEFT_IN_COLOUR, _FOUND_IN_HALF = (1.4, 1.75), (4.0, 6.0)
# A codec leaves next to nothing of colour at high frequencies, which half the size cannot hold. Deviation of what is
# new in flat blocks at the highest ones, of the differences of R, G and B to their sum: up to 0.3 behind a codec, from
# 0.68 on in noise of R, G and B, 1.3 in that of a mosaic, 0.17 to 0.5 of cameras that reduce it. And times that there
# is more of those differences at low frequencies: 7 to 20 behind a codec, 1 to 4 in noise and in clean films, 5 to 9 of
# such cameras; and that to the same of the sum, which is alike in grey and tinted films. The sum itself has up to 6
# times as much: more is coarse grain, or motion that was missed. Less than so much of 255, of the sum at the highest
# and of the differences at low frequencies, tells nothing.
_THINNED_COLOUR, _COLOUR_FALLS, _FALLS_MORE, _SUM_FALLS = (0.34, 0.26), (4.2, 6.0), (1.2, 1.6), (9.0, 7.0)
_LEAST_BESIDE, _LEAST_THINNED = 0.05, 0.08
# Of noise that a camera has filtered in time, the share that every frame has from the one before: from where on it is
# believed, and the most. It takes so much of 255 that is new at the highest frequencies in flat blocks, or frames that
# share so much: clean films through crf 16 to 23 have up to 0.9 there, or share up to 0.7 (but one, which has next to
# nothing new).
_SHARED, _MOST_FADING, _LEAST_FADING, _SURELY_FADING = (0.15, 0.3), 0.85, (0.9, 1.1), (0.75, 0.85)
# Or less of both: clean films that share half have up to 0.2 there, and those with 0.5 and more share 0.46 at the most.
_SOME_FADING, _MOSTLY_FADING = (0.3, 0.5), (0.52, 0.65)
# Of what the frames on both sides do not share, to what is new, at middle frequencies to that at the highest: 0.9 to
# 1.2 in such noise, 1.1 to 1.85 behind a codec; from 1.9 on in texture, 1.6 where there is white noise as well. All
# that flat blocks hold at the highest ones, to what is new: up to 12, from 100 on in text that stands still.
_SHARED_ALIKE, _CODED_ALIKE, _HELD_OF_FADING = (1.7, 1.45), (1.95, 1.75), (40.0, 20.0)
# Texture seems to be filtered in time next to never: where blocks were found again, and as much is new as a codec
# leaves of noise, what is new is that, from such a share on.
_TRUSTED_FADING = 0.25, 0.4
# Frames share less where something moves: there flat blocks tell alone, not those with most or with least that is new.
FADING = 0.0, 0.3
_SURER = 2.0  # times as sure as by the sum itself: the differences tell of noise that this has more of
_FEWEST = 64  # blocks


class Verdict(NamedTuple):
    """trust: 0 to 1, how sure it is that what is new in flat blocks is noise, and that it is anything but white.

    white: whether any channel has noise at the highest frequencies that is as strong as elsewhere.
    independent: deviation of the white noise that R, G and B have each for itself, told by their differences; 0 where
    these do not tell, where noise depends on the brightness, or where the three share white noise. everywhere: of what
    is new in all blocks, what is new in flat ones. held: all that these hold at middle frequencies, to what is new in
    them. still: 0 to 1, how sure it is that nothing moves. left: 0 to 1, how sure it is that a codec, if there was one,
    left this of noise. thinned: 0 to 1, how sure it is that R, G and B have been through a codec, which tells no step.
    fading: the share of its noise that every frame has from the one before; all else is as of noise that has none.
    """

    trust: float
    white: bool
    channels: tuple[Grain, ...]
    everywhere: float
    held: float
    still: float
    independent: float = 0.0
    left: float = 0.0
    thinned: float = 0.0
    fading: float = 0.0


def judge(evidence: list[News], to_bytes: float = 1.0) -> Verdict | None:
    """The noise that explains what is new; None where there are too few blocks.

    evidence: of every plane, before which the sum and the differences of R, G and B come if it is these. to_bytes:
    takes a plane to 0..255.

    What is new in flat blocks is noise if they hold nothing else: texture whose motion was not found shows in them too.
    Whether it is coloured is asked of those of the first three channels that have a good part of it.
    """
    guide = evidence[0]
    if len(guide.new) < _FEWEST:
        return None
    sums = frequency_sums(guide.new.device)
    odd = sums % 2 == 1
    band = _within(sums, _BAND)
    flat = flat_blocks(guide, odd, band)
    fading = _fading(evidence, flat, odd, to_bytes)
    if fading:
        evidence = [news.as_independent(fading) for news in evidence]
        guide = evidence[0]
    carried = apart_of(guide, flat, odd, band)
    # A codec that carries noise on does so everywhere, at the lowest frequencies a little.
    slowest, noisier = sums == 1, noisier_blocks(guide, odd, band)
    quiet, noisy = of_halves(guide.new, flat, odd), of_halves(guide.new, noisier, odd)
    moving = apart_of(guide, noisier, odd, slowest) / min(max(1.0, apart_of(guide, flat, odd, slowest)), _CARRIED_LOW)
    held, share = _held(guide, flat, odd), _share(guide, flat, odd, band)
    pure = max(ramp(held, *_PURE), ramp(carried, *_INDEPENDENT) * ramp(held, *_TEXTURE_BESIDE))
    pure *= ramp(share, *_EVERYWHERE)
    thinned = ramp(held / max(share, 1e-12), *_TOGETHER) * ramp(share, *_LEAST_SHARE_NEW) * ramp(moving, *_SUBPIXEL)
    found, same = _was_found(guide, quiet, noisy, band, moving, carried, held)
    pure = max(pure, thinned * found) * same * ramp(peak_of(quiet), *_PEAKED)
    pure *= max(ramp(_moved(guide, flat, odd, band), *_IN_MOTION), ramp(moving, *_STOOD_STILL))
    carried = min(max(carried, 1.0), _MOST_CARRIED)
    newest = lowest(-guide.new[:, band].mean(1), _NEWEST)
    missed = apart_of(guide, dict.fromkeys((True, False), newest), odd, band)
    # Noise that a codec carries on is held, as texture is.
    unsteady = (1 - ramp(moving, *_MOVING)) * ramp(held / carried, *_BARE) * ramp(missed, *_OF_NEWEST)
    unsteady *= ramp(missed * carried, *_IN_TURN)
    unsteady *= max(found, ramp(missed, *_OF_NEWEST_NOT_FOUND)) * ramp(peak_of(noisy), *_PEAKED_IN_NOISIER)
    unsteady *= 1 - ramp(fading, *FADING)
    first, most_times = grain_of(guide, flat, odd, band, carried, unsteady)
    channels = (first, *(grain_of(news, flat, odd, band, carried, unsteady, most_times)[0] for news in evidence[1:]))
    least = _LEAST_SHARE * channels[0].low
    telling = [grain for grain in channels[:3] if grain.low >= least and grain.top > 0]
    ratios = [grain.colour for grain in telling]
    colour = ramp(math.prod(ratios) ** (1 / len(ratios)), *_COLOURED) if ratios else 0.0
    if len(evidence) >= 6 and ratios:
        colour *= ramp(ratios[0], *_COLOURED_SUM)
    trust, white = pure * colour, any(grain.white for grain in telling)
    still = found * ramp(share, *_ALL_STILL) * ramp(moving, *_NOTHING_MOVES) * ramp(missed, *_NOTHING_MISSED)
    filtered = found * ramp(fading, *_TRUSTED_FADING)
    if len(evidence) < 6:
        trust = max(trust, still * ramp(first.colour, *_COLOURED_STILL), pure * _is_of_camera(first, ratios))
        by_noisier, untouched = ramp(unsteady, *_TOLD), trust * ramp(first.colour, *_THINNED)
        more = _MORE_OF_LUMA * trust * (1 - by_noisier) * ramp(found, *_FOUND_ENOUGH) * ramp(carried, *_SINGLE)
        chroma = (_as_everywhere(part, first, untouched * (1 - by_noisier)) for part in channels[1:])
        less = _LESS_OF_NOISIER * untouched * ramp(unsteady, *_TOLD_ALONE)
        channels = tuple(part.times(1 - less) for part in (first.times(1 + more), *chroma))
        left = _left(quiet, held, first.top, to_bytes)
        trust = max(trust, left * filtered)
        return Verdict(trust, white, channels, share, held, still, left=left, fading=fading)
    proof, alike, told = told_by_differences(evidence[:3], channels, odd, band, to_bytes)
    if proof and (alike or proof > _SURER * trust):
        trust, channels = max(proof, trust), (*told, *channels[3:])
    independent = independent_deviation(evidence[:3], odd, band)
    thinned = _is_thinned(channels[:3], to_bytes)
    left = _left(quiet, held, first.top, to_bytes * _LUMA_OF_SUM)
    in_colour = ramp(to_bytes * min(channel.least_low for channel in channels[1:3]), *_LEFT_IN_COLOUR)
    mostly = ramp(_held_at_low(guide), *_FOUND_IN_HALF) * ramp(share, *_EVERYWHERE)
    trust = max(trust, thinned * left * max(in_colour * mostly, filtered))
    left *= ramp(_deviation(quiet, sums, _MIDDLE) / max(first.top, 1e-12), *_LEFT_FALL)
    return Verdict(trust, white, channels, share, held, still, independent, max(left, in_colour), thinned, fading)


def _fading(evidence: list[News], flat: dict[bool, Tensor], odd: Tensor, to_bytes: float) -> float:
    """The share of its noise that every frame has from the one before, 0 where it has none.

    Of such noise neighbouring frames share some, those further apart less, and blocks hold all of it.
    """
    guide, sums = evidence[0], frequency_sums(odd.device)
    top, middle = sums >= TOP, _within(sums, _MIDDLE)
    new, apart, own = (float(of_halves(part, flat, odd)[top].mean()) for part in (guide.new, guide.apart, guide.own))
    if new <= 0:
        return 0.0
    by_apart, by_own = 3 * (apart - new) / (apart + 3 * new), 2 - math.sqrt(1 + 3 * new / max(own, new))
    share = min(by_apart, by_own, _MOST_FADING)
    # Texture that moves by parts of a pixel is shared less at lower frequencies, and a page that stands still is held.
    alike = apart_of(guide, flat, odd, middle) * new / max(apart, 1e-12)
    # Clean films through a codec seem to share as much, where there is little: of luma, or of each of R, G and B.
    planes = evidence[3:] or evidence[:1]
    mean = sum(float(of_halves(plane.new, flat, odd)[top].mean()) for plane in planes) / len(planes)
    each = to_bytes * math.sqrt(mean)
    surely = max(ramp(each, *_LEAST_FADING), ramp(by_apart, *_SURELY_FADING)) * ramp(alike, *_SHARED_ALIKE)
    mostly = ramp(each, *_SOME_FADING) * ramp(by_apart, *_MOSTLY_FADING) * ramp(alike, *_CODED_ALIKE)
    return share * ramp(share, *_SHARED) * ramp(own / new, *_HELD_OF_FADING) * max(surely, mostly)


def _is_thinned(opponents: tuple[Grain, ...], to_bytes: float) -> float:
    """As `Verdict.thinned`; opponents: the sum and the differences of R, G and B.

    Colours of texture that moves show in flat blocks, too, and not in those with least that is new.
    """
    in_flat = [(to_bytes * c.top, to_bytes * c.low) for c in opponents]
    in_calm = [(to_bytes * c.least, to_bytes * c.least_low) for c in opponents]
    return max(_without_colour(*in_flat), _without_colour(*in_calm))


def _without_colour(total: tuple[float, float], *differences: tuple[float, float]) -> float:
    """How sure it is that colour was taken away; deviations at the highest frequencies and at low ones."""
    if total[0] < _LEAST_BESIDE or min(low for _, low in differences) < _LEAST_THINNED:
        return 0.0
    sure = ramp(max(top for top, _ in differences) / total[0], *_THINNED_COLOUR)
    falls, of_sum = min(low / max(top, 1e-12) for top, low in differences), total[1] / total[0]
    return sure * ramp(falls, *_COLOUR_FALLS) * ramp(falls / of_sum, *_FALLS_MORE) * ramp(of_sum, *_SUM_FALLS)


def _is_of_camera(luma: Grain, colours: list[float]) -> float:
    """How sure it is, 0 to 1, that all planes that tell have the noise of a camera; colours: as `Grain.colour`, of each
    of them."""
    if not colours or not luma.top:
        return 0.0
    return ramp(min(colours), *_COLOURED_EACH) * ramp(luma.beside / luma.top, *_COLOURED_BESIDE)


def _left(quiet: Tensor, held: float, top: float, to_bytes: float) -> float:
    """As `Verdict.left`; quiet: [16, 16], what is new in flat blocks. top: its deviation at the highest frequencies."""
    sums = frequency_sums(quiet.device)
    low, middle, whole = (_deviation(quiet, sums, between) for between in (_LOW, _MIDDLE, _BAND))
    sure = ramp(to_bytes * middle, *_LEFT_AT_MIDDLE) * ramp(to_bytes * top, *_LEFT_AT_TOP)
    sure *= ramp(low / max(middle, 1e-12), *_LEFT_STEEP) * ramp(held, *_LEFT_HELD)
    alone = ramp(to_bytes * top, *_LEFT_AT_TOP_ALONE) * ramp(top / max(whole, 1e-12), *_LEFT_AT_TOP_OF_BAND)
    return max(sure, alone * ramp(held, *_LEFT_HELD_BESIDE))


def _deviation(variance: Tensor, sums: Tensor, between: tuple[int, int]) -> float:
    """Of [16, 16] variances, at the frequencies whose sums u + v are these."""
    return math.sqrt(float(variance[_within(sums, between)].mean()))


def _within(sums: Tensor, between: tuple[int, int]) -> Tensor:
    """Whether frequencies have a sum u + v between these, which count."""
    return (sums >= between[0]) & (sums <= between[1])


def _as_everywhere(chroma: Grain, luma: Grain, share: float) -> Grain:
    """Noise of chroma that is as much in the blocks with least of it as luma's is; share: 0 to 1, how far it is so."""
    if not (chroma.low and luma.least_low):
        return chroma
    least = _EVENLY * max(1.0, luma.low / luma.least_low) * chroma.least_low / chroma.low
    return chroma.times(1 - share * (1 - min(1.0, least)))


def _share(guide: News, flat: dict[bool, Tensor], odd: Tensor, band: Tensor) -> float:
    """Of what is new in all blocks, what is new in flat ones: noise is everywhere, and not where motion was missed."""
    return float(of_halves(guide.new, flat, odd)[band].mean() / guide.new[:, band].mean().clamp_min(1e-12))


def _was_found(
    guide: News, quiet: Tensor, noisy: Tensor, band: Tensor, moving: float, carried: float, held: float
) -> tuple[float, float]:
    """How sure it is, 0 to 1, that blocks were found again; and that, if not, at least none was taken for another.

    quiet, noisy: [16, 16], what is new in flat and in the noisier blocks. held: as `_held` says.
    """
    sums = frequency_sums(band.device)
    own, new = _at_low(guide)
    found = ramp(float(own.mean() / new.mean()), *_FOUND)
    steep = float(quiet[sums == 1].mean() / quiet[band].mean().clamp_min(1e-12))
    # Coarse grain is steep and independent; motion that was not found is steep, and the frames on both sides differ.
    as_grain = max(ramp(steep, *_STEEP_IN_MOTION), ramp(carried, *_INDEPENDENT_GRAIN))
    rings = [_within(sums, ring) for ring in _RINGS]
    times = [float(noisy[ring].mean() / quiet[ring].mean().clamp_min(1e-12)) for ring in rings]
    unmoved = ramp(steep, *_STEEP) * max(ramp(moving, *_UNMOVED), ramp(max(times[1:]), *_EVEN)) * as_grain
    unmoved *= max(ramp(_held_at_low(guide), *_IN_MOST), ramp(held, *_HELD_IN_FLAT))
    return found, max(found, unmoved * ramp(min(times), *_ALIKE)) * ramp(steep, *_TOO_STEEP)


def _at_low(guide: News) -> tuple[Tensor, Tensor]:
    """All that every block holds at low frequencies, and what is new there: [N] each."""
    low = _within(frequency_sums(guide.new.device), _LOW)
    return guide.own[:, low].mean(1), guide.new[:, low].mean(1).clamp_min(1e-12)


def _held_at_low(guide: News) -> float:
    """All that blocks hold at low frequencies, to what is new there, in their median."""
    own, new = _at_low(guide)
    return float((own / new).median())


def _held(guide: News, flat: dict[bool, Tensor], odd: Tensor) -> float:
    """All that flat blocks hold at middle frequencies, to what is new in them."""
    middle = _within(frequency_sums(odd.device), _MIDDLE)
    new, own = (float(of_halves(part, flat, odd)[middle].mean()) for part in (guide.new, guide.own))
    return own / new if new > 0 else math.inf


def _moved(news: News, blocks: dict[bool, Tensor], odd: Tensor, band: Tensor) -> float:
    """As `_apart`, where the blocks may have been chosen for having less noise than the frames beside them have.

    What is new is then that of the block, twice as much as of either of these in the second difference, and theirs.
    """
    new, apart, own = (float(of_halves(part, blocks, odd)[band].mean()) for part in (news.new, news.apart, news.own))
    expected = 3 * new - 2 * min(own, new)
    return apart / expected if expected > 0 and apart > 0 else 1.0
