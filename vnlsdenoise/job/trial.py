"""The first second before the work: encoded, written with every stream beside it and verified, as all will be."""

from dataclasses import replace
from itertools import islice

from vnlsdenoise.errors import OutputError, UsageError, VerificationError
from vnlsdenoise.job.plan import Plan
from vnlsdenoise.job.publish import scratch_file
from vnlsdenoise.job.reading import reader_of
from vnlsdenoise.job.verify import verify_file
from vnlsdenoise.video.write import VideoWriter

_SECONDS = 1.0
_LEAST_FRAMES, _MOST_FRAMES = 2, 60
_MOST_BYTES = 1 << 28  # of the frames, as they are in memory
_WORTH = 4  # A film that passes through unchanged is tried if it is so many times as long.


def worth_trying(plan: Plan) -> bool:
    """Whether the work takes so much longer than the trial that it should not fail at its end."""
    if plan.pipe is not None:
        return False  # what was read is gone
    return plan.encoder is not None and (
        plan.settings is not None or (plan.info.frames or _MOST_FRAMES) > _WORTH * _frames(plan)
    )


def try_first_second(plan: Plan) -> int:
    """Write the first second of the input beside the output, verify it and delete it again.

    Returns the bytes that the whole takes if all of it is alike.

    Raises what would be raised after the work: UsageError and OutputError where encoder or container refuse, the
    latter also where the result would not pass for what went in.
    """
    request, encoder = plan.request, plan.encoder
    assert request.output is not None and encoder is not None
    reader = reader_of(replace(plan, request=replace(request, on_damage="conceal")))
    frames = list(islice(reader, _frames(plan)))
    until = float((frames[-1].pts or 0) * plan.info.time_base) if frames else 0.0
    with scratch_file(request.output) as scratch:
        try:
            with VideoWriter(scratch, plan.info, encoder, plan.taken_along, until) as writer:
                for frame in frames:
                    writer.write(frame)
            verify_file(scratch, request.output, plan.info, encoder, writer.written)
            return scratch.stat().st_size * (plan.info.frames or 0) // max(1, len(frames))
        except (VerificationError, OutputError, UsageError) as error:
            raise type(error)(f"{error} (found on the first second, before the work)") from error


def _frames(plan: Plan) -> int:
    shape, rate = plan.info.format, plan.info.rate or 25
    size = shape.frame_bytes
    return max(_LEAST_FRAMES, min(_MOST_FRAMES, round(rate * _SECONDS), _MOST_BYTES // size))
