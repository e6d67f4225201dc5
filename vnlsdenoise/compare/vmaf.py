"""VMAF, by an FFmpeg that has it: metrics that a well-kept program measures are not written again."""

import importlib.util
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from vnlsdenoise.errors import InputError

_LIST_SECONDS = 20


def find_ffmpeg() -> str | None:
    """An ffmpeg whose filters hold libvmaf: the one of this machine, or that of the package imageio-ffmpeg."""
    places = [shutil.which("ffmpeg")]
    if importlib.util.find_spec("imageio_ffmpeg") is not None:
        import imageio_ffmpeg

        places.append(imageio_ffmpeg.get_ffmpeg_exe())
    return next((place for place in places if place and _has_vmaf(place)), None)


def _has_vmaf(program: str) -> bool:
    try:
        told = subprocess.run(
            [program, "-hide_banner", "-filters"], capture_output=True, text=True, timeout=_LIST_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(line.split()[1:2] == ["libvmaf"] for line in told.splitlines())


def measure_vmaf(program: str, reference: Path, other: Path, starts: tuple[int, int], frames: int) -> list[float]:
    """VMAF of `frames` frames of two files from their frames `starts` on; raises InputError."""
    chain = "[{0}:v]trim=start_frame={1}:end_frame={2},setpts=N[{3}]"
    parts = [chain.format(i, starts[1 - i], starts[1 - i] + frames, name) for i, name in ((0, "other"), (1, "first"))]
    with tempfile.TemporaryDirectory() as folder:
        graph = ";".join(parts) + ";[other][first]libvmaf=log_fmt=json:log_path=vmaf.json"
        inputs = [word for path in (other, reference) for word in ("-i", f"file:{path.absolute()}")]
        command = [program, "-v", "error", "-nostdin", *inputs, "-lavfi", graph, "-f", "null", "-"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            raise InputError(f"VMAF of {other} could not be measured; {program}: {why}; leave it out by --vmaf off")
        told = json.loads((Path(folder) / "vmaf.json").read_text())
    return [float(frame["metrics"]["vmaf"]) for frame in told["frames"]]
