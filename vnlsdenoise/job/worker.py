"""Another process that goes on with a job, where the device is lost to this one.

`python -m vnlsdenoise.job.worker FOLDER` makes the pieces that are missing there and ends. It writes a JSON object a
line to stdout: {"stage": .., "frames": ..}, and in the end {"error": kind, "text": ...} where it fails. It ends when
its stdin does, which whoever started it holds open.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from vnlsdenoise import errors
from vnlsdenoise.engine.lost import end_process
from vnlsdenoise.errors import VnlsError
from vnlsdenoise.job.passing import Progress

_telling = threading.Lock()


def go_on_elsewhere(folder: Path, progress: Progress | None) -> None:
    """Let another process make the missing pieces of a work folder; raises what stopped it there."""
    command = [sys.executable, "-m", "vnlsdenoise.job.worker", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    last: dict[str, str] = {}
    try:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if "stage" not in told:
                last = told
            elif progress is not None:
                progress(told["stage"], told["frames"])
        status = process.wait()
    finally:
        process.kill()
        process.communicate()
    if last:
        kind = getattr(errors, last["error"], VnlsError)
        raise kind(last["text"])
    if status:
        # A driver may end the process that it fails in.
        raise errors.DeviceFaultError(f"the process that did the work ended with status {status}")


def main(folder: Path) -> None:
    """Make the missing pieces of a work folder whose lock the starting process holds."""
    from vnlsdenoise.job.passing import make_pieces
    from vnlsdenoise.job.plan import make_plan
    from vnlsdenoise.job.request import Request
    from vnlsdenoise.job.workdir import WorkFolder

    work = WorkFolder(folder)
    manifest = work.manifest()
    if manifest is None:
        raise errors.InputError(f"{folder} is no work folder; nothing to go on with")
    plan = make_plan(Request.from_json(manifest["request"]))
    make_pieces(plan, work, work.sound_pieces()[0], lambda stage, frames: _tell(stage=stage, frames=frames))


def _tell(**facts: object) -> None:
    # Several threads tell: each a whole line.
    with _telling:
        sys.stdout.write(f"{json.dumps(facts)}\n")
        sys.stdout.flush()


def _end_with_starter() -> None:
    # Not by way of `sys.stdin`, whose lock would be missed when the interpreter ends.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    try:
        main(Path(sys.argv[1]))
    except VnlsError as error:
        _tell(error=type(error).__name__, text=str(error))
    end_process(0)
