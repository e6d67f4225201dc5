"""The frames of a plan: of the whole input, or of the part that is meant."""

import threading

from vnlsdenoise.job.plan import Plan
from vnlsdenoise.video.open import Reader, open_reader
from vnlsdenoise.video.part import PartReader

Source = Reader | PartReader


def reader_of(plan: Plan) -> Source:
    """A reader of the input of a plan; where that comes through a pipe the one that has begun with it."""
    request = plan.request
    reader = plan.pipe or open_reader(
        request.input, request.interlaced, request.on_damage, request.decoder, plan.info, gaps=request.gaps
    )
    if plan.info.cut is None:
        return reader
    reader.info = plan.info
    return PartReader(reader)


def stop_of(plan: Plan) -> threading.Event:
    """What is set where a run of the plan ends early: a reader of a pipe waits no longer then."""
    return threading.Event() if plan.pipe is None else plan.pipe.stop
