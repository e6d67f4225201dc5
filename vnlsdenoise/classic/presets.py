"""What the presets mean: patch sizes, group sizes, strides and windows of every pass."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Pass:
    """One pass of search, filter and aggregation.

    patch: side of a patch. neighbors: patches a group. stride: distance of queries.
    side, side_other: search window in the own frame (at the least) and in the others.
    mean_threshold: of the group mean's DCT, in deviations of its noise (step 1 only).
    """

    patch: int
    neighbors: int
    stride: int
    side: int
    side_other: int
    mean_threshold: float = 0.0


@dataclass(frozen=True)
class Level:
    """The passes of one resolution: step 1, then one or more of step 2; weights of their results in the output.

    mix: weights of step 1 (recomposed) and of every step-2 pass; they sum to 1. radius: frames searched on each side.
    """

    shrink: Pass
    wiener: tuple[Pass, ...]
    mix: tuple[float, ...]
    radius: int = 4

    def __post_init__(self) -> None:
        if len(self.mix) != 1 + len(self.wiener):
            raise ValueError(f"mix must have {1 + len(self.wiener)} weights, got {len(self.mix)}")


@dataclass(frozen=True)
class Flow:
    """scale: size of the frame over that of the field, 2 or 4. coarse_warps: as in `ops.tvl1_flow`."""

    scale: int = 2
    coarse_warps: int = 20


DEFAULT_FLOW = Flow()


@dataclass(frozen=True)
class Preset:
    """A whole denoiser: the finest level and the coarser ones.

    levels: resolutions, each half the size of the one before.
    guide: weight of the noisy high band in the search image of step 1.
    halved_chroma: whether chroma of luma's size enters one level down, as 4:2:0 does: what it holds beyond is lost.
    flow: how the flow is measured.
    """

    finest: Level
    coarse: Level
    levels: int = 4
    guide: float = 0.6
    halved_chroma: bool = False
    flow: Flow = DEFAULT_FLOW


def _shrink(patch: int, neighbors: int, stride: int, mean_threshold: float) -> Pass:
    # Patches of one frame that overlap share their noise. In flat areas a wide window finds those that share a ripple
    # of it, which their mean and the eigenvalues then take for signal: gratings. Other frames' noise is independent.
    return Pass(patch, neighbors, stride, side=5, side_other=5, mean_threshold=mean_threshold)


def _wiener(patch: int, neighbors: int, stride: int, side: int = 15) -> Pass:
    return Pass(patch, neighbors, stride, side=side, side_other=5)


# Passes with patches of different sizes make different errors: their fixed mean is better than the best of them.
_MIX_1, _MIX_2, _MIX_3 = (0.15, 0.85), (0.1, 0.45, 0.45), (0.1, 0.3, 0.3, 0.3)

_BALANCED = Level(_shrink(10, 48, 8, 2.4), (_wiener(12, 32, 8), _wiener(7, 32, 6), _wiener(5, 32, 5)), _MIX_3, radius=6)

# A third pass there costs a tenth of the time and gains nothing in the mean.
_BALANCED_COARSE = Level(_shrink(10, 64, 8, 2.0), (_wiener(12, 32, 8), _wiener(8, 32, 6)), _MIX_2)

_DRAFT = Level(Pass(8, 16, 8, side=3, side_other=3, mean_threshold=2.4), (), (1.0,), radius=3)

PRESETS = {
    # One step, whose errors the recomposition with the coarser levels holds down; more frames instead of wider windows.
    "draft": Preset(
        finest=_DRAFT,
        coarse=replace(_DRAFT, radius=4),
        halved_chroma=True,
        flow=Flow(scale=4, coarse_warps=3),
    ),
    "fast": Preset(
        finest=Level(_shrink(10, 48, 8, 2.4), (_wiener(8, 32, 8),), _MIX_1, radius=6),
        coarse=Level(_shrink(8, 32, 8, 2.7), (_wiener(8, 32, 8, side=9),), (0.0, 1.0)),
    ),
    "balanced": Preset(
        finest=_BALANCED,
        coarse=_BALANCED_COARSE,
    ),
    # What is left to gain lies in more frames, for the low frequencies too, and in no more work on each of them.
    "best": Preset(
        finest=replace(_BALANCED, radius=8),
        coarse=replace(_BALANCED_COARSE, radius=8),
    ),
}
