"""What jobs cost: whole runs against the bare loop of decoding, denoising, encoding and verifying, in turn, on a film.

    python tests/benchmarks/jobs.py --pairs 7
    git worktree add ../before COMMIT && cp vnlsdenoise/*.so ../before/vnlsdenoise/
    python tests/benchmarks/jobs.py --before ../before --pairs 7      # against whole runs of another commit

The bare loop makes one file, with sound and all that is taken along, in no pieces, with no work folder and no report.
Every run is a process of its own; the time is that of `run`, or of the loop. Prints the ratio of each pair, in seconds
that passed and in seconds of the CPU, which a busy machine disturbs less, and the median of each.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from films import write_film

ROOT = Path(__file__).resolve().parent.parent.parent
WHOLE = """
from vnlsdenoise.job.run import run
"""
BARE = """
from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.job.passing import pump
from vnlsdenoise.job.reading import reader_of, stop_of
from vnlsdenoise.job.verify import verify_file
from vnlsdenoise.video.write import VideoWriter
def run(plan):
    output, choice, stop = plan.request.output, plan.encoder, stop_of(plan)
    denoise = lambda frames: denoise_frames(frames, plan.work_format, plan.settings) if plan.settings else frames
    make = lambda: VideoWriter(output, plan.info, choice, plan.taken_along)
    read, writer = pump(reader_of(plan), denoise, make, stop)
    verify_file(output, output, plan.info, choice, writer.written)
"""
RUN = """
import json, sys, time, resource
from pathlib import Path
import vnlsdenoise
from vnlsdenoise.job.plan import Request, make_plan
import torch
torch.set_num_threads(int(sys.argv[4]))
how = json.loads(sys.argv[3])
plan = make_plan(Request(Path(sys.argv[1]), Path(sys.argv[2]), **how))
wall, cpu = time.perf_counter(), time.process_time()
run(plan)
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "code": vnlsdenoise.__file__}))
"""
WORK = {
    "denoise": {"preset": "fast", "sigma": [8.0]},
    "pass": {"strength": 0},
}


def one(loop: str, code: Path, source: Path, output: Path, how: dict[str, Any], threads: int) -> dict[str, Any]:
    """Seconds of one run of `loop`, with the code of a checkout."""
    arguments = [str(source), str(output), json.dumps(how), str(threads)]
    path = os.pathsep.join((str(code), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, "-c", loop + RUN, *arguments],
        cwd=output.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["code"]).is_relative_to(code), found["code"]
    output.unlink()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of other code, in place of the bare loop")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--work", default="denoise", choices=list(WORK))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="write the figures here too")
    options = parser.parse_args()
    size = tuple(map(int, options.size.split("x")))
    how = {**WORK[options.work], "device": options.device}
    pairs: list[dict[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_film(folder / "in.mp4", sound="aac", count=options.frames, size=(size[0], size[1]))
        for number in range(options.pairs + 1):
            other = (BARE, ROOT) if options.before is None else (WHOLE, options.before.resolve())
            order = [("without", other), ("now", (WHOLE, ROOT))]
            order = order if number % 2 else order[::-1]
            pair = {
                name: one(*which, folder / "in.mp4", folder / "out.mp4", how, options.threads) for name, which in order
            }
            if number:  # the first pair warms the caches
                pairs.append(pair)
                print(
                    f"pair {number}: "
                    + ", ".join(
                        f"{what} {pair['without'][what]:.2f} s -> {pair['now'][what]:.2f} s "
                        f"({100 * (pair['now'][what] / pair['without'][what] - 1):+.1f} %)"
                        for what in ("wall", "cpu")
                    ),
                    flush=True,
                )
    medians = {
        what: statistics.median(pair["now"][what] / pair["without"][what] for pair in pairs) for what in ("wall", "cpu")
    }
    print(f"median: {100 * (medians['wall'] - 1):+.1f} % of the time, {100 * (medians['cpu'] - 1):+.1f} % of the CPU's")
    if options.json:
        Path(options.json).write_text(json.dumps({"options": vars(options), "pairs": pairs}, default=str, indent=1))


if __name__ == "__main__":
    main()
