"""One film by N workers against one: seconds, efficiency, and where the rest goes.

    python tests/benchmarks/fleet.py --workers cpu:1,cpu:2 --size 240p --scenes 6 --each 40
    python tests/benchmarks/fleet.py --workers 0,all --size 1080p --scenes 12 --each 120 --preset balanced

A film of scenes of footage as in speed.py, H.264 in and out. Each set of workers is started once and warmed up on a
short film; then the whole film is timed: "make" is decode, denoise and encode, all of it that is shared; "rest" is what
one process does alone (trial, assembly, verification, report). Efficiency is that of "make": seconds of the first set
times its workers, over seconds times workers of the set. Decoding and encoding are also timed by themselves, in one
process with all cores, and given as shares of "make". All outputs must have one hash.
"""

import argparse
import hashlib
import itertools
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import torch

from vnlsdenoise.bench.speed import SIZES, footage
from vnlsdenoise.engine.ray import Devices, Fleet
from vnlsdenoise.job.fleet import FilmFleet
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.planes import tensors_to_planes
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.open import open_reader
from vnlsdenoise.video.pixels import layout_of, pack
from vnlsdenoise.video.write import VideoWriter


def make_film(path: Path, size: tuple[int, int], scenes: int, each: int) -> None:
    """Scenes of the same footage, of which every second one is brighter and upside down."""
    height, width = size
    layout = layout_of("yuv420p")
    shot = [
        tensors_to_planes(planes, layout.plane_format(width, height))
        for planes in itertools.islice(footage(height, width, "cuda" if torch.cuda.is_available() else "cpu"), each)
    ]
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=30, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(scenes * each):
            planes = shot[number % each]
            if number // each % 2:
                planes = (255 - planes[0][::-1].copy(), *(plane[::-1].copy() for plane in planes[1:]))
            picture = pack(planes, None, layout, width, height)
            picture.pts = number
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def parts(film: Path, plan: Any, frames: int) -> dict[str, float]:
    """Seconds of decoding and of encoding all of it, each alone."""
    start = time.perf_counter()
    for _ in open_reader(film):
        pass
    decode = time.perf_counter() - start
    some = list(itertools.islice(open_reader(film), min(frames, 120)))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with VideoWriter(Path(folder) / "out.mp4", plan.info, plan.encoder) as writer:
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
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    frames = options.scenes * options.each
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_film(folder / "film.mp4", SIZES[options.size], options.scenes, options.each)
        make_film(folder / "warm.mp4", SIZES[options.size], 4, 10)
        for workers in options.workers.split(","):
            devices = Devices.parse(workers.replace("+", ","))
            device = "cpu" if devices.cpus is not None else "cuda"
            started = time.perf_counter()
            with Fleet("local", devices, device, print) as fleet:
                films = FilmFleet(fleet, print)
                start_up = time.perf_counter() - started

                def timed(name: str, piece: int, films: FilmFleet = films, device: str = device) -> Any:
                    output = folder / f"out-{name}"
                    wish = Request(folder / name, output, device=device, preset=options.preset, piece=piece)
                    wish = Request(**{**vars(wish), "encoding": Encoding("h264"), "resume": "off"})
                    plan = make_plan(wish, elsewhere=films.device)
                    return plan, run(plan, make=films.make_pieces)

                timed("warm.mp4", 10)
                plan, report = timed("film.mp4", options.each)
                row = {
                    "workers": workers,
                    "count": fleet.size,
                    "names": fleet.names,
                    "start": round(start_up, 2),
                    "make": report.seconds["denoise"],
                    "rest": round(report.seconds["all"] - report.seconds["denoise"], 3),
                    "sha256": hashlib.sha256((folder / "out-film.mp4").read_bytes()).hexdigest(),
                    "scenes": len(report.scenes),
                }
            row["fps"] = round(frames / row["make"], 2)
            first = rows[0] if rows else row
            row["efficiency"] = round(first["make"] * first["count"] / (row["make"] * row["count"]), 3)
            rows.append(row)
        alone = parts(folder / "film.mp4", plan, frames)
    for row in rows:
        row |= {f"{part}_share": round(took / row["make"], 3) for part, took in alone.items()}
    print(f"{options.size}, {options.scenes} scenes of {options.each} frames, {options.preset}")
    print("| workers | start s | make s | frames/s | efficiency | decode share | encode share | rest s |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        shares = f"{row['decode_share']:.2f} | {row['encode_share']:.2f}"
        speeds = f"{row['make']:.2f} | {row['fps']} | {row['efficiency']:.3f}"
        print(f"| {row['workers']} | {row['start']:.1f} | {speeds} | {shares} | {row['rest']:.2f} |")
    same = len({row["sha256"] for row in rows}) == 1
    print(f"hashes {'equal' if same else 'DIFFER'}; scenes found {rows[0]['scenes']}")
    if options.json:
        facts = {
            "size": options.size, "scenes": options.scenes, "each": options.each, "preset": options.preset,
            "torch": torch.__version__, "platform": platform.platform(), "same": same, **alone, "rows": rows,
        }  # fmt: skip
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
