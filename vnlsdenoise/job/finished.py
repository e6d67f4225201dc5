"""Whether there is anything left to do for an output."""

import json

from vnlsdenoise.errors import InputError, VerificationError
from vnlsdenoise.job.check import check_finished
from vnlsdenoise.job.report import read_report, usual_report
from vnlsdenoise.job.request import Request

# Of a request, what does not decide what is in the output.
_INDIFFERENT = {"max_memory", "workdir", "keep_workdir", "resume", "report", "strict", "new_folders", "device"}


def is_finished(request: Request) -> bool:
    """Whether the output is there, to the last byte as it was verified, of this very input and these very settings.

    What tells is its report. Where there is none, or another one, nothing is known, and the answer is no.
    """
    if request.output is None:
        return False
    report = request.report or usual_report(request.output)
    try:
        told = read_report(report)["request"]
        found = check_finished(request.output, report, decode=False)
    except (InputError, VerificationError, KeyError, TypeError):
        return False
    return found.input_is_same and _deciding(told) == _deciding(request.to_json())


def _deciding(request: dict[str, object]) -> dict[str, object]:
    # As it is in a file: tuples are lists there.
    kept = {name: value for name, value in request.items() if name not in _INDIFFERENT}
    found: dict[str, object] = json.loads(json.dumps(kept))
    return found
