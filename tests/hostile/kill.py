"""Jobs killed at random moments (kill -9) and started again, against one that was left alone: the bytes must be equal.

python tests/hostile/kill.py --kills 20 --codec ffv1     prints a table of the moments and of what was done again
"""

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from clips import Sound, write_clip

from vnlsdenoise.video.frame import Frame, PlaneFormat

COMMAND = [sys.executable, "-c", "from vnlsdenoise.cli.main import main; main()"]
CODECS = {
    "ffv1": (".mkv", ["--lossless"]),
    "x264": (".mp4", ["--codec", "h264"]),
    "x265": (".mkv", ["--codec", "hevc"]),
    "vp9": (".webm", ["--codec", "vp9"]),
    "prores": (".mov", ["--codec", "prores"]),
}
LAYOUT = PlaneFormat("yuv", 96, 96, 8, 1, 1)  # x265 does not repeat itself at frames much smaller


@dataclass(frozen=True)
class Killed:
    """One job. after: seconds until it was killed; kept: frames that the next run did not do again; same: the bytes."""

    after: float
    kept: int
    frames: int
    same: bool


def three_scenes(path: Path, count: int) -> None:
    """A noisy film of three scenes, one of frames shown twice, with sound."""
    random = np.random.default_rng(7)
    frames = []
    for scene in range(3):
        textures = [
            np.kron(random.uniform(40, 170, (shape[0] // 4 + 1, shape[1] // 4 + 30)), np.ones((4, 4)))
            for shape in LAYOUT.plane_shapes
        ]
        for index in range(count // 3):
            if scene == 1 and index % 2:
                frames.append(Frame(frames[-1].planes))
                continue
            planes = []
            for texture, (height, width) in zip(textures, LAYOUT.plane_shapes, strict=True):
                at = index % 100
                shown = (
                    texture[:height, at : at + width]
                    + 40 * scene
                    + (4 + 3 * scene) * random.standard_normal((height, width))
                )
                planes.append(shown.round().clip(0, 255).astype(np.uint8))
            frames.append(Frame(tuple(planes)))
    write_clip(path, size=(LAYOUT.width, LAYOUT.height), frames=frames, count=len(frames), sound=Sound("flac"))


def start(source: Path, output: Path, options: list[str]) -> "subprocess.Popen[str]":
    """A run in a process of its own."""
    wish = [
        str(source),
        "-o",
        str(output),
        *options,
        "--preset",
        "fast",
        "--device",
        "cpu",
        "--progress",
        "none",
        "--json",
    ]
    return subprocess.Popen([*COMMAND, *wish], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kill_and_go_on(source: Path, folder: Path, codec: str, kills: int, seed: int, piece: int) -> list[Killed]:
    """Kill so many jobs, each once, at moments spread over the time that a whole one takes."""
    ending, options = CODECS[codec]
    options = [*options, "--piece", str(piece)]
    whole = folder / f"whole{ending}"
    began = time.monotonic()
    _finish(start(source, whole, options))
    seconds = time.monotonic() - began
    draws, found = random.Random(seed), []
    for number in range(kills):
        output = folder / f"killed{number}{ending}"
        after = seconds * (0.3 + 0.5 * (number + draws.random()) / kills)
        process = start(source, output, options)
        try:
            process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        if output.exists():  # It was finished, but perhaps for what is told of it.
            output.unlink()
        summary = _finish(start(source, output, options))
        found.append(Killed(after, summary["kept"], summary["frames"], digest(output) == digest(whole)))
        left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
        assert not left, f"left behind: {left}"
        output.unlink()
    return found


def _finish(process: "subprocess.Popen[str]") -> dict[str, int]:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    summary: dict[str, int] = json.loads(out)
    return summary


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--piece", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--codec", default="ffv1", choices=list(CODECS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        three_scenes(folder / "in.mkv", options.frames)
        found = kill_and_go_on(folder / "in.mkv", folder, options.codec, options.kills, options.seed, options.piece)
    print("killed after   frames kept   frames done again   bytes equal")
    for one in found:
        print(f"{one.after:10.2f} s {one.kept:13} {one.frames - one.kept:19} {'yes' if one.same else 'NO':>13}")
    sys.exit(0 if all(one.same for one in found) else 1)


if __name__ == "__main__":
    main()
