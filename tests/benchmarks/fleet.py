"""One film by N workers against one: seconds, efficiency, and where the rest goes.

    python tests/benchmarks/fleet.py --workers cpu:1,cpu:2 --size 240p --scenes 6 --each 40
    python tests/benchmarks/fleet.py --workers 0,all --size 1080p --scenes 20 --each 120 --preset balanced --codec ffv1

A film of scenes of footage as in speed.py, H.264 in; --crf of the film: noise that is coded well is dear to decode,
and each frame is decoded twice, where the film is looked through and where it is denoised. With --film it is made
there once, and taken from there the next time. Each step is told with its seconds as it ends. Each set of workers is
started once (without GPUs with one core a worker), and warmed up by a short film that every worker has some of; then
the whole film is timed: "make" is decode, denoise and encode, all of it that is shared; "all" is the whole run, with
what one process does alone (trial, assembly, verification, report). Efficiency is that of "make": seconds of the first
set times its workers, over seconds times workers of the set; "of all" the same of the whole run. All outputs must have
one hash. With --json what is known is written after each set.

Where the seconds of "make" go, a worker: its device is held for a part, of which denoising waits for frames ("starved")
or for the encoder ("blocked"), and "denoise" is the rest; "asked" is for the noise of scenes while no part has it (what
comes while one has is within "denoise", as it is where one worker does all). It has nothing to do before the first of
these ("start"), after the last ("end") and from one to the next ("between"). Beside them "decode" and "encode" are the
work of the threads that do it. "look" is how long the driver took to look through the film, which ranges wait for;
"twice" are frames that were fed beside those that were wanted. The noise of a scene, by a worker, is timed by itself;
with --alone also decoding and encoding, in one process with all cores.
"""

import argparse
import hashlib
import itertools
import json
import os
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
import numpy as np
import torch

from vnlsdenoise.bench.speed import SIZES, footage
from vnlsdenoise.classic.scenewise import MEASURED_FRAMES
from vnlsdenoise.engine.cluster import Devices
from vnlsdenoise.engine.ray import Fleet
from vnlsdenoise.engine.seconds import Seconds
from vnlsdenoise.job.fleet import FilmFleet, Spent
from vnlsdenoise.job.plan import Plan, make_plan
from vnlsdenoise.job.remote import measured_here
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.planes import tensors_to_planes
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.open import open_reader
from vnlsdenoise.video.pixels import layout_of, pack
from vnlsdenoise.video.write import VideoWriter


def make_film(path: Path, size: tuple[int, int], scenes: int, each: int, crf: int) -> None:
    """Scenes of the same footage, of which every second one is brighter and upside down; both are encoded once."""
    height, width = size
    layout = layout_of("yuv420p")
    shot = [
        tensors_to_planes(planes, layout.plane_format(width, height))
        for planes in itertools.islice(footage(height, width, "cuda" if torch.cuda.is_available() else "cpu"), each)
    ]
    other = [(255 - luma[::-1], *(plane[::-1] for plane in chroma)) for luma, *chroma in shot]
    coded = []
    for number, frames in enumerate((shot, other)):
        scene = path.with_name(f"scene-{number}.mp4")
        with av.open(str(scene), "w") as output:
            stream: Any = output.add_stream("libx264", rate=30, options={"crf": str(crf), "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for pts, planes in enumerate(frames):
                picture = pack(tuple(map(np.ascontiguousarray, planes)), None, layout, width, height)
                picture.pts = pts
                output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
        coded.append(scene)
    with av.open(str(coded[0])) as one, av.open(str(coded[1])) as two, av.open(str(path), "w") as output:
        packets = [[packet for packet in source.demux(video=0) if packet.size] for source in (one, two)]
        length = sum(packet.duration or 0 for packet in packets[0])
        stream = output.add_stream_from_template(one.streams.video[0])
        for number in range(scenes):
            for packet in packets[number % 2]:
                again = av.Packet(bytes(packet))
                again.pts, again.dts = packet.pts + number * length, packet.dts + number * length
                again.duration, again.time_base = packet.duration, packet.time_base
                again.is_keyframe, again.stream = packet.is_keyframe, stream
                output.mux(again)


@contextmanager
def step(name: str, steps: dict[str, float]) -> Iterator[None]:
    """Tell what is done, and how long it took."""
    print(f"{name} ...", file=sys.stderr, end=" ", flush=True)
    start = time.perf_counter()
    yield
    steps[name] = round(time.perf_counter() - start, 2)
    print(f"{steps[name]:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def cores(count: int | None) -> Iterator[None]:
    """What begins inside, and this process, have so many cores; None for all."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def spent_by(spent: Spent) -> list[dict[str, float]]:
    """Of every worker, where the seconds went."""
    rows = []
    for took in spent.workers:
        row = {name: took[name] for name in ("held", "starved", "blocked", "decode", "encode", "turn")}
        row["denoise"] = row["held"] - row["starved"] - row["blocked"]
        row["asked"] = took["answered"]
        row["start"], row["end"] = min(took.first, spent.ended) - spent.began, spent.ended - max(took.last, spent.began)
        row["between"] = spent.ended - spent.began - row["held"] - row["asked"] - row["start"] - row["end"]
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


def told(options: argparse.Namespace, facts: dict[str, Any]) -> None:
    """What is known so far, as tables."""
    rows = facts["rows"]
    print(f"{options.size}, {options.scenes} scenes of {options.each} frames, {options.preset}, {options.codec}")
    print("| workers | start s | make s | frames/s | efficiency | all s | of all | parts | twice | look s | noise s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['workers']} | {row['start']:.1f} | {row['make']:.2f} | {row['fps']} | {row['efficiency']:.3f} | "
            f"{row['seconds']['all']:.2f} | {row['of_all']:.3f} | {row['parts']} | {row['twice']} | {row['look']:.2f} "
            f"| {row['noise']:.2f} |"
        )
    names = ("denoise", "asked", "starved", "blocked", "start", "between", "end", "decode", "encode")
    print("| workers | of |", " | ".join(names), "|")
    print("|---" * (2 + len(names)) + "|")
    for row in rows:
        for number, took in enumerate(row["spent"]):
            print(f"| {row['workers']} | {number} |", " | ".join(f"{took[name]:.2f}" for name in names), "|")
    if facts["alone"]:
        print(f"alone: decode {facts['alone']['decode']:.2f} s, encode {facts['alone']['encode']:.2f} s")
    print(f"hashes {'equal' if facts['same'] else 'DIFFER'}; scenes found {rows[0]['scenes']}", flush=True)


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
    parser.add_argument("--alone", action="store_true", help="time decoding and encoding alone, too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    frames = options.scenes * options.each
    rows: list[dict[str, Any]] = []
    steps: dict[str, float] = {}
    facts: dict[str, Any] = {
        "size": options.size, "scenes": options.scenes, "each": options.each, "preset": options.preset,
        "codec": options.codec, "torch": torch.__version__, "platform": platform.platform(),
        "same": True, "steps": steps, "alone": {}, "rows": rows,
    }  # fmt: skip

    def keep() -> None:
        if options.json:
            options.json.write_text(json.dumps(facts, indent=1) + "\n")

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
        facts["mbit_s"] = round(8e-6 * film.stat().st_size * 30 / frames, 1)
        for workers in options.workers.split(","):
            row = measured(workers, film, warm, folder, options, steps)
            rows.append(row)
            row["fps"] = round(frames / row["make"], 2)
            share = row["count"] / rows[0]["count"]
            row["efficiency"] = round(rows[0]["make"] / (row["make"] * share), 3)
            row["of_all"] = round(rows[0]["seconds"]["all"] / (row["seconds"]["all"] * share), 3)
            facts["same"] = len({row["sha256"] for row in rows}) == 1
            keep()
            told(options, facts)
        if options.alone:
            with step("decoding and encoding alone", steps):
                request = Request(film, folder / "alone.mkv", device="cpu", encoding=Encoding(options.codec))
                facts["alone"] = parts(film, make_plan(request), frames)
            keep()
            told(options, facts)
    raise SystemExit(0 if facts["same"] else 1)


def measured(
    workers: str, film: Path, warm: Path, folder: Path, options: argparse.Namespace, steps: dict[str, float]
) -> dict[str, Any]:
    """What a set of workers took for the film."""
    devices = Devices.parse(workers.replace("+", ","))
    device = "cpu" if devices.cpus is not None else "cuda"
    with cores(devices.cpus), step(f"{workers}: starting Ray and the workers", steps):
        fleet = Fleet("local", devices, device, print)
    with cores(devices.cpus), fleet:
        films = FilmFleet(fleet, print)

        def planned(path: Path, piece: int) -> Plan:
            wish = Request(path, folder / f"out-{path.name}", device=device, preset=options.preset, piece=piece)
            return make_plan(replace(wish, encoding=Encoding(options.codec), resume="off"), elsewhere=films.device)

        def warm_up() -> None:
            films.spent = Spent([Seconds() for _ in range(fleet.size)])
            while not all(took["held"] for took in films.spent.workers):
                run(planned(warm, 10), make=films.make_pieces)
            films.spent = Spent([Seconds() for _ in range(fleet.size)])

        with step(f"{workers}: warming up", steps):
            warm_up()
            plan = planned(film, options.each)
            begin = [replace(frame, extra={}) for frame in itertools.islice(open_reader(film), MEASURED_FRAMES)]
            noise = []
            for _ in range(3):
                start = time.perf_counter()
                fleet.ask(measured_here, plan.work_format, plan.settings, begin)
                noise.append(time.perf_counter() - start)
            warm_up()  # after which nothing is left to be told of what was asked
        with step(f"{workers}: the film by {fleet.size} worker(s)", steps):
            report = run(plan, make=films.make_pieces)
    spent = films.spent
    with (folder / f"out-{film.name}").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "workers": workers, "count": fleet.size, "names": fleet.names,
        "start": steps[f"{workers}: starting Ray and the workers"], "make": report.seconds["denoise"],
        "seconds": report.seconds, "noise": round(min(noise), 3),
        "sha256": digest,
        "scenes": len(report.scenes), "parts": spent.parts, "twice": spent.twice, "look": round(spent.look, 3),
        "spent": spent_by(spent),
    }  # fmt: skip


if __name__ == "__main__":
    main()
