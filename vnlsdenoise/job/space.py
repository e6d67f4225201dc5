"""Room on the disk: what a run will take."""

from vnlsdenoise.job.plan import Plan

# The result is never foreseen exactly; these shares of the raw or the input's size are what it takes at the very least.
_LEAST_EXACT_SHARE, _LEAST_LOSSY_SHARE = 0.2, 0.05


def least_bytes(plan: Plan) -> int:
    """What the result takes at the very least."""
    if plan.encoder is not None and not plan.encoder.exact:
        return int(_LEAST_LOSSY_SHARE * plan.identity[0])
    return int(_LEAST_EXACT_SHARE * _raw_bytes(plan))


def _raw_bytes(plan: Plan) -> int:
    shape = plan.info.format
    samples = sum(height * width for height, width in shape.plane_shapes)
    return samples * (1 if shape.depth == 8 else 2) * (plan.info.frames or 0)
