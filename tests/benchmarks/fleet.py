"""One film by N workers against one: seconds, efficiency, and where the rest goes.

    python tests/benchmarks/fleet.py --workers cpu:1,cpu:2 --size 240p --scenes 6 --each 40
    python tests/benchmarks/fleet.py --workers 0,all --size 1080p --scenes 12 --each 120 --preset balanced

A film of scenes of footage as in speed.py, H.264 in; --crf of the film: noise that is coded well is dear to decode,
and each frame is decoded twice, where the film is looked through and where it is denoised. With --film it is made
there once, and taken from there the next time. Each step is told with its seconds as it ends. Each set of workers is
started once and warmed up on a short film; then the whole film is timed: "make" is decode, denoise and encode, all of
it that is shared; "rest" is what one process does alone (trial, assembly, verification, report). Efficiency is that
of "make": seconds of the first set times its workers, over seconds times workers of the set. All outputs must have
one hash.

Where the seconds of "make" go, a worker: its device is held for a part ("held"), of which denoising waits for frames
("starved") or for the encoder ("blocked"), and "denoise" is the rest; "idle" is the time in which no part has it.
Beside them "decode" and "encode" are the work of the threads that do it. "look" is how long the driver took to look
through the film, which ranges wait for; "twice" are frames that were fed beside those that were wanted. Decoding and
encoding are also timed by themselves, in one process with all cores.
"""

import argparse
import hashlib
import itertools
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import torch

from vnlsdenoise.bench.speed import SIZES, footage
from vnlsdenoise.engine.cluster import Devices
from vnlsdenoise.engine.ray import Fleet
from vnlsdenoise.engine.seconds import Seconds
from vnlsdenoise.job.fleet import FilmFleet, Spent
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.planes import tensors_to_planes
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.open import open_reader
from vnlsdenoise.video.pixels import layout_of, pack
from vnlsdenoise.video.write import VideoWriter


def make_film(path: Path, size: tuple[int, int], scenes: int, each: int, crf: int) -> None:
    """Scenes of the same footage, of which every second one is brighter and upside down."""
    height, width = size
    layout = layout_of("yuv420p")
    shot = [
        tensors_to_planes(planes, layout.plane_format(width, height))
        for planes in itertools.islice(footage(height, width, "cuda" if torch.cuda.is_available() else "cpu"), each)
    ]
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=30, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(scenes * each):
            planes = shot[number % each]
            if number // each % 2:
                planes = (255 - planes[0][::-1].copy(), *(plane[::-1].copy() for plane in planes[1:]))
            picture = pack(planes, None, layout, width, height)
            picture.pts = number
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


@contextmanager
def step(name: str, steps: dict[str, float]) -> Iterator[None]:
    """Tell what is done, and how long it took."""
    print(f"{name} ...", file=sys.stderr, end=" ", flush=True)
    start = time.perf_counter()
    yield
    steps[name] = round(time.perf_counter() - start, 2)
    print(f"{steps[name]:.1f} s", file=sys.stderr, flush=True)


def spent_by(spent: Spent, make: float) -> list[dict[str, float]]:
    """Of every worker, where the seconds went."""
    rows = []
    for took in spent.workers:
        row = {name: took[name] for name in ("held", "starved", "blocked", "decode", "encode", "turn")}
        row["denoise"] = row["held"] - row["starved"] - row["blocked"]
        row["idle"] = make - row["held"]
        rows.append({name: round(seconds, 3) for name, seconds in row.items()})
    return rows


def parts(film: Path, plan: Any, frames: int) -> dict[str, float]:
    """Seconds of decoding and of encoding all of it, each alone."""
    start = time.perf_counter()
    for _ in open_reader(film):
        pass
    decode = time.perf_counter() - start
    some = list(itertools.islice(open_reader(film), min(frames, 120)))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with VideoWriter(Path(folder) / "out.mkv", plan.info, plan.encoder) as writer:
            for frame in some:
                writer.write(frame)
        encode = (time.perf_counter() - start) * frames / len(some)
    return {"decode": decode, "encode": encode}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="cpu:1,cpu:2", help="sets, as --devices takes them; + joins numbers: 0+1")
    parser.add_argument("--size", default="240p", choices=SIZES)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--each", type=int, default=40, help="frames of a scene, and of a piece")
    parser.add_argument("--preset", default="fast")
    parser.add_argument(
        "--codec", default="h264", help="of the output: what it costs is shared by all workers of a host"
    )
    parser.add_argument("--crf", type=int, default=28)
    parser.add_argument("--film", type=Path, help="folder of the film, which is kept")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    frames = options.scenes * options.each
    rows: list[dict[str, Any]] = []
    steps: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, kept = Path(name), options.film or Path(name)
        kept.mkdir(parents=True, exist_ok=True)
        film, warm = (
            kept / f"{options.size}-{s}x{n}-{options.crf}.mkv" for s, n in ((options.scenes, options.each), (4, 10))
        )
        for path, scenes, each in ((film, options.scenes, options.each), (warm, 4, 10)):
            if not path.exists():
                with step(f"making a film of {scenes} x {each} frames", steps):
                    make_film(folder / "making.mkv", SIZES[options.size], scenes, each, options.crf)
                    shutil.move(folder / "making.mkv", path)
        for workers in options.workers.split(","):
            row = measured(workers, film, warm, folder, options, steps)
            rows.append(row)
            row["fps"] = round(frames / row["make"], 2)
            row["efficiency"] = round(rows[0]["make"] * rows[0]["count"] / (row["make"] * row["count"]), 3)
        with step("decoding and encoding alone", steps):
            request = Request(film, folder / "alone.mkv", device="cpu", encoding=Encoding(options.codec))
            alone = parts(film, make_plan(request), frames)
        size = film.stat().st_size
    print(f"{options.size}, {options.scenes} scenes of {options.each} frames, {options.preset}")
    print("| workers | start s | make s | frames/s | efficiency | parts | twice | look s | rest s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        speeds = f"{row['make']:.2f} | {row['fps']} | {row['efficiency']:.3f}"
        print(
            f"| {row['workers']} | {row['start']:.1f} | {speeds} | {row['parts']} | {row['twice']} | {row['look']:.2f} "
            f"| {row['rest']:.2f} |"
        )
    print("| workers | of | denoise | starved | blocked | idle | decode | encode |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        for number, took in enumerate(row["spent"]):
            names = ("denoise", "starved", "blocked", "idle", "decode", "encode")
            print(f"| {row['workers']} | {number} |", " | ".join(f"{took[name]:.2f}" for name in names), "|")
    print(f"alone: decode {alone['decode']:.2f} s, encode {alone['encode']:.2f} s")
    same = len({row["sha256"] for row in rows}) == 1
    print(f"hashes {'equal' if same else 'DIFFER'}; scenes found {rows[0]['scenes']}")
    if options.json:
        facts = {
            "size": options.size, "scenes": options.scenes, "each": options.each, "preset": options.preset,
            "codec": options.codec, "torch": torch.__version__,
            "platform": platform.platform(), "same": same, "steps": steps,
            "mbit_s": round(8e-6 * size * 30 / frames, 1),
            "alone": alone, "rows": rows,
        }  # fmt: skip
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    raise SystemExit(0 if same else 1)


def measured(
    workers: str, film: Path, warm: Path, folder: Path, options: argparse.Namespace, steps: dict[str, float]
) -> dict[str, Any]:
    """What a set of workers took for the film."""
    devices = Devices.parse(workers.replace("+", ","))
    device = "cpu" if devices.cpus is not None else "cuda"
    with step(f"{workers}: starting Ray and the workers", steps):
        fleet = Fleet("local", devices, device, print)
    with fleet:
        films = FilmFleet(fleet, print)

        def timed(path: Path, piece: int) -> Any:
            wish = Request(path, folder / f"out-{path.name}", device=device, preset=options.preset, piece=piece)
            plan = make_plan(replace(wish, encoding=Encoding(options.codec), resume="off"), elsewhere=films.device)
            return run(plan, make=films.make_pieces)

        with step(f"{workers}: warming up", steps):
            timed(warm, 10)
        films.spent = Spent([Seconds() for _ in range(fleet.size)])
        with step(f"{workers}: the film by {fleet.size} worker(s)", steps):
            report = timed(film, options.each)
    make, spent = report.seconds["denoise"], films.spent
    return {
        "workers": workers, "count": fleet.size, "names": fleet.names,
        "start": steps[f"{workers}: starting Ray and the workers"], "make": make,
        "rest": round(report.seconds["all"] - make, 3), "seconds": report.seconds,
        "sha256": hashlib.sha256((folder / f"out-{film.name}").read_bytes()).hexdigest(),
        "scenes": len(report.scenes), "parts": spent.parts, "twice": spent.twice, "look": round(spent.look, 3),
        "spent": spent_by(spent, make),
    }  # fmt: skip


if __name__ == "__main__":
    main()
