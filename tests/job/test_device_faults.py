"""A GPU that fails, or that another process fills up, in earnest: what a run ends with, and that nothing is lost."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clips import noisy_film

pytestmark = pytest.mark.needs_cuda

COMMAND = [sys.executable, "-c", "from vnlsdenoise.cli.main import main; main()"]
# An index beyond the end stops the kernel; from then on every call of that process fails.
_FAULT = """
    import os, pathlib, torch, vnlsdenoise.engine.local as local
    real = local.SceneDenoiser.push
    def push(self, frame, **how):
        failed = pathlib.Path(os.environ["FAILED"])
        if frame.number == 45 and len(failed.read_text()) < int(os.environ["FAULTS"]):
            with failed.open("a") as file:
                file.write(".")
            torch.zeros(1, device="cuda")[torch.full((1,), 9, device="cuda")]
        yield from real(self, frame, **how)
    local.SceneDenoiser.push = push
"""
# Leaves other processes so many MiB of the device.
_HOLD = """
    import sys, torch
    free = torch.cuda.mem_get_info()[0]
    held = torch.empty(free - (int(sys.argv[1]) << 20), dtype=torch.uint8, device="cuda")
    print("held", flush=True)
    sys.stdin.read()
"""


def denoise(folder: Path, output: str, *options: str, **variables: str) -> tuple[int, str]:
    """(exit code, stderr) of a run on the GPU over the film of the folder."""
    job = [str(folder / "in.mkv"), "-o", str(folder / output), "--codec", "ffv1", "--piece", "10", "--sigma", "6"]
    done = subprocess.run(
        [*COMMAND, *job, "--preset", "fast", "--device", "cuda", "--progress", "none", *options],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=240,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def with_faults(folder: Path, faults: int) -> dict[str, str]:
    """Variables of processes that meet so many faults of the device at frame 45, all together."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(textwrap.dedent(_FAULT))
    (folder / "failed").write_text("")
    path = os.pathsep.join(filter(None, (str(folder / "site"), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "FAILED": str(folder / "failed"), "FAULTS": str(faults)}


@contextmanager
def little_left(mebibytes: int) -> Iterator[None]:
    """Another process holds all of the device but so much."""
    command = [sys.executable, "-c", textwrap.dedent(_HOLD), str(mebibytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        try:
            assert other.stdout.readline() == "held\n"
            yield
        finally:
            other.stdin.close()


@pytest.mark.parametrize("faults", [1, 2])
def test_another_process_goes_on_after_a_fault_with_the_same_bytes(faults: int, tmp_path: Path) -> None:
    noisy_film(tmp_path / "in.mkv", 50)
    assert denoise(tmp_path, "whole.mkv") == (0, "")
    code, said = denoise(tmp_path, "out.mkv", **with_faults(tmp_path, faults))
    assert code == 0, said
    assert said.count("another process goes on from frame") == faults and "device-side assert" in said
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def test_three_faults_at_one_place_end_with_5_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    noisy_film(tmp_path / "in.mkv", 50)
    code, said = denoise(tmp_path, "out.mkv", **with_faults(tmp_path, 3))
    assert code == 5 and "failed 3 times" in said and "finished frames are kept" in said, said
    code, said = denoise(tmp_path, "out.mkv")
    assert code == 0 and "30 frames are finished" in said, said
    assert denoise(tmp_path, "whole.mkv") == (0, "")
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def test_a_device_that_is_nearly_full_gives_the_same_bytes(tmp_path: Path) -> None:
    noisy_film(tmp_path / "in.mkv", 50)
    assert denoise(tmp_path, "whole.mkv") == (0, "")
    with little_left(1500):  # of which the context and the kernels of a process take a third and more
        code, said = denoise(tmp_path, "out.mkv")
    assert code == 0, said
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def test_a_device_without_room_ends_with_6(tmp_path: Path) -> None:
    noisy_film(tmp_path / "in.mkv", 50)
    with little_left(200):
        code, said = denoise(tmp_path, "out.mkv")
    assert code == 6 and "out of memory" in said and "--device cpu" in said, said
    assert not (tmp_path / "out.mkv").exists()
