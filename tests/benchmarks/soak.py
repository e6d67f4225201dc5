"""A long film through the command line: memory of the host must stay flat, and the disk take what was foreseen.

    python tests/benchmarks/soak.py --minutes 120 --size 1920x1080             passes through, `--strength 0`
    python tests/benchmarks/soak.py --minutes 10 --options "--preset fast"     is denoised

The film is a short one, looped. Prints the resident memory and the bytes in the work folder over the time as a graph,
line by line while it runs, and the growth of memory between the first fifth of the frames and the last.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import av

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from films import write_film

COMMAND = [sys.executable, "-c", "from vnlsdenoise.cli.main import main; main()"]
_SECONDS = 25
_EVERY = 20  # seconds between lines
_MIB = 20  # of a bar


def looped(path: Path, short: Path, minutes: float) -> None:
    """The packets of a film over and over, by stream copy."""
    with av.open(str(short)) as source:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        length = max(packet.pts + packet.duration for packet in packets)
        with av.open(str(path), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for turn in range(max(1, round(minutes * 60 / _SECONDS))):
                for packet in packets:
                    copy = av.Packet(bytes(packet))
                    copy.pts, copy.dts = packet.pts + turn * length, packet.dts + turn * length
                    copy.duration, copy.time_base = packet.duration, packet.time_base
                    copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                    target.mux(copy)


def resident(process: int) -> int:
    """MiB of a process that are in memory."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 >> 20
    except (OSError, IndexError):
        return 0


def main() -> None:
    """Print the graph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--options", default="--strength 0 --encoder-opt preset=ultrafast")
    parser.add_argument("--folder", help="where the film, the pieces and the result go")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        write_film(folder / "short.mp4", count=_SECONDS * 25, size=(width, height))
        looped(folder / "in.mp4", folder / "short.mp4", options.minutes)
        job = [str(folder / "in.mp4"), "-o", str(folder / "out.mp4"), *shlex.split(options.options)]
        plan = subprocess.run([*COMMAND, *job, "--dry-run", "--json"], capture_output=True, text=True, check=True)
        foreseen = json.loads(plan.stdout)["disk"]["peak"]
        process = subprocess.Popen([*COMMAND, *job, "--progress", "json"], stderr=subprocess.PIPE, text=True)
        frames = [0]

        def follow() -> None:
            for line in process.stderr or ():
                if line.startswith("{"):
                    frames[0] = json.loads(line).get("frame", frames[0])

        threading.Thread(target=follow, daemon=True).start()
        samples: list[tuple[int, int, int]] = []  # frame, MiB resident, bytes in the work folder and of the result
        begun, said = time.monotonic(), 0.0
        while process.poll() is None:
            size = sum(
                file.stat().st_size for path in folder.glob(".*") for file in [path, *path.rglob("*")] if file.is_file()
            )
            samples.append((frames[0], resident(process.pid), size))
            if time.monotonic() - begun >= said:
                said += _EVERY
                frame, memory, _ = samples[-1]
                graph = f"{memory:5} MiB {'#' * (memory // _MIB)}"
                print(
                    f"{time.monotonic() - begun:5.0f} s, frame {frame:6}, {size / 1e6:8.1f} MB on the disk, {graph}",
                    flush=True,
                )
            time.sleep(1)
        assert process.returncode == 0, f"ended with {process.returncode}"
        total = samples[-1][0] or 1
    early = max(s[1] for s in samples if s[0] <= total / 5)
    late = max(s[1] for s in samples if s[0] >= total * 4 / 5)
    print(f"memory: at most {early} MiB in the first fifth, {late} MiB in the last one")
    print(f"disk: at most {max(s[2] for s in samples) / 1e6:.1f} MB, foreseen {foreseen / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
