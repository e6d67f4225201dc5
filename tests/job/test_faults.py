"""Every fault that a run may meet, as it really is: what it ends with, what is left, and that it goes on afterwards."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import noisy_film, write_clip

from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.engine import local
from vnlsdenoise.errors import DeviceFaultError
from vnlsdenoise.job import publish, workdir
from vnlsdenoise.job.passing import pump
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.job.workdir import WorkFolder
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.read import VideoReader

COMMAND = [sys.executable, "-c", "from vnlsdenoise.cli.main import main; main()"]


def call(*arguments: object, before: Callable[[], None] | None = None, **variables: str) -> tuple[int, str]:
    """(exit code, stderr) of one call."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments), "--progress", "none"],
        capture_output=True,
        text=True,
        preexec_fn=before,
        env={**os.environ, **variables},
        timeout=240,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def mounted(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many KiB, and of another size when it is asked again."""
    place = tmp_path / "disk"
    place.mkdir()

    def disk(size: int, *, read_only: bool = False) -> Path:
        options = f"size={size}k" + (",remount" if place.is_mount() else "") + (",ro" if read_only else ",rw")
        if not mounted("-t", "tmpfs", "-o", options, "tmpfs", str(place)):
            pytest.skip("this user may not mount file systems")
        return place

    yield disk
    subprocess.run(["umount", str(place)], capture_output=True)


def random_film(path: Path, count: int = 100) -> int:
    """A film of noise, which no encoder makes smaller; KiB of its samples."""
    write_clip(path, size=(160, 120), count=count)
    return count * 160 * 120 * 3 // 2 // 1024


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize(("share", "where"), [(0.85, "a piece"), (1.7, "the assembly")])
def test_a_full_disk_ends_with_4_and_goes_on_when_there_is_room(
    share: float, where: str, tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    size = random_film(tmp_path / "in.mkv")
    disk = small_disk(int(share * size))
    job = (tmp_path / "in.mkv", "-o", disk / "out.mkv", "--strength", 0, "--lossless", "--piece", 10)
    code, err = call(*job)
    assert code == 4 and "No space left" in err and "finished frames are kept" in err, err
    assert left_in(disk) == []
    small_disk(4 * size)
    code, err = call(*job)
    assert code == 0 and "goes on where it was interrupted" in err, err
    kept = json.loads((disk / "out.mkv.json").read_text())["kept"]
    assert kept == 100 if where == "the assembly" else 0 < kept < 100
    for one, other in zip(VideoReader(disk / "out.mkv"), VideoReader(tmp_path / "in.mkv"), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
    assert [path.name for path in disk.iterdir() if path.name.startswith(".")] == []


def test_a_disk_that_is_too_small_is_refused_before_the_work(tmp_path: Path, small_disk: Callable[[int], Path]) -> None:
    size = random_film(tmp_path / "in.mkv", 200)
    disk = small_disk(size // 4)
    code, err = call(tmp_path / "in.mkv", "-o", disk / "out.mkv", "--strength", 0, "--lossless")
    assert code == 4 and "are needed and" in err
    # The pieces may go elsewhere; the result then fits no better.
    elsewhere = ("--workdir", tmp_path / "work")
    assert call(tmp_path / "in.mkv", "-o", disk / "out.mkv", "--strength", 0, "--lossless", *elsewhere)[0] == 4
    assert list(disk.iterdir()) == []


def test_a_report_that_finds_no_room_does_not_undo_the_result(
    tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    random_film(tmp_path / "in.mkv", 20)
    disk = small_disk(16)
    (disk / "fill").write_bytes(bytes(12 << 10))
    with suppress(OSError), (disk / "more").open("wb") as file:
        file.write(bytes(16 << 10))
    job = (tmp_path / "in.mkv", "-o", tmp_path / "out.mkv", "--strength", 0, "--lossless")
    code, err = call(*job, "--report", disk / "report.json")
    assert code == 4 and "is complete and verified, but its report" in err
    assert len(list(VideoReader(tmp_path / "out.mkv"))) == 20
    assert left_in(disk) == ["fill", "more"]
    # What is left to be done is the report.
    assert call(*job, "--report", tmp_path / "report.json")[0] == 0
    assert json.loads((tmp_path / "report.json").read_text())["frames"] == 20


def test_a_read_only_folder_ends_with_4_at_once(tmp_path: Path, small_disk: Callable[..., Path]) -> None:
    random_film(tmp_path / "in.mkv", 5)
    disk = small_disk(3000)
    small_disk(3000, read_only=True)
    code, err = call(tmp_path / "in.mkv", "-o", disk / "out.mkv", "--strength", 0)
    assert code == 4 and "Read-only file system" in err
    code, err = call(tmp_path / "in.mkv", "-o", tmp_path / "out.mkv", "--strength", 0, "--workdir", disk)
    assert code == 4 and "Read-only file system" in err
    assert left_in(tmp_path) == ["disk", "in.mkv"]


def wait_for_pieces(folder: Path, count: int, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 120
    while len(list(folder.glob(".*.vnlsdenoise/0*.json"))) < count and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def slow_job(folder: Path, *more: str) -> list[str]:
    """A run that takes some seconds, and has pieces after a few tenths."""
    wish = [
        "--strength",
        "0",
        "--codec",
        "h264",
        "--encoder-opt",
        "preset=placebo",
        "--piece",
        "10",
        "--progress",
        "none",
    ]
    return [*COMMAND, str(folder / "in.mkv"), "-o", str(folder / "out.mkv"), *wish, *more]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_with_75_where_something_is_kept(sent: signal.Signals, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(160, 120), count=100, encoder="libx264", options={"preset": "ultrafast"})
    process = subprocess.Popen(slow_job(tmp_path), stderr=subprocess.PIPE, text=True)
    try:
        wait_for_pieces(tmp_path, 2, process)
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 75, err
    assert "the same call goes on from there, or vnlsdenoise resume" in err and "Traceback" not in err
    [folder] = tmp_path.glob(".out.mkv.*.vnlsdenoise")
    assert left_in(tmp_path) == ["in.mkv"] and not list(tmp_path.glob(".*.lock"))
    assert call("resume", folder)[0] == 0
    assert left_in(tmp_path) == ["in.mkv", "out.mkv", "out.mkv.json"] and not folder.exists()
    assert call("resume", folder)[0] == 3


def test_the_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(160, 120), count=100, encoder="libx264", options={"preset": "ultrafast"})
    # The first one waits for what the disk has not taken yet.
    slow = "import vnlsdenoise.job.workdir as w, time; w.sync = lambda path: time.sleep(30)\n"
    command = [COMMAND[0], "-c", slow + COMMAND[2], *slow_job(tmp_path)[3:]]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 60
        while not list(tmp_path.glob(".*.vnlsdenoise/.manifest*")) and time.monotonic() < until:
            time.sleep(0.01)
        began = time.monotonic()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130 and time.monotonic() - began < 10


def test_the_second_run_on_one_output_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(160, 120), count=100, encoder="libx264", options={"preset": "ultrafast"})
    process = subprocess.Popen(slow_job(tmp_path), stderr=subprocess.PIPE, text=True)
    try:
        wait_for_pieces(tmp_path, 1, process)
        for more in ((), ("--workdir", str(tmp_path / "elsewhere"))):
            second = subprocess.run(slow_job(tmp_path, *more), capture_output=True, text=True, timeout=60)
            assert second.returncode == 2 and f"being written by process {process.pid} on" in second.stderr
        process.kill()
        process.communicate()
        # A lock that a dead process left is none.
        assert list(tmp_path.glob(".*.lock"))
        done = subprocess.run(slow_job(tmp_path), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "goes on where it was interrupted" in done.stderr, done.stderr
    finally:
        process.kill()
    assert left_in(tmp_path) == ["in.mkv", "out.mkv", "out.mkv.json"]


def test_a_run_that_is_killed_while_images_move_into_a_folder_is_gone_on_with(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", "bgr0", size=(32, 32), count=1500)
    job = [*COMMAND, str(tmp_path / "in.mkv"), "-o", str(tmp_path / "out" / "%04d.png"), "--strength", "0"]
    moved = 0
    for _ in range(8):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "readme.txt").write_text("there before")
        process = subprocess.Popen([*job, "--progress", "none"], stderr=subprocess.DEVNULL)
        while process.poll() is None and not list((tmp_path / "out").glob("[0-9]*.png")):
            pass
        process.kill()
        process.wait()
        moved = len(list((tmp_path / "out").glob("[0-9]*.png")))
        if 0 < moved < 1500:
            break
    assert 0 < moved < 1500
    code, err = call(*job[3:])
    assert code == 0 and "goes on where it was interrupted" in err, err
    assert call(tmp_path / "in.mkv", "-o", tmp_path / "whole" / "%04d.png", "--strength", "0")[0] == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.png")}
    (tmp_path / "out" / "readme.txt").unlink()
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")} == whole
    assert len(whole) == 1500 and not list(tmp_path.rglob(".*"))


def test_no_memory_on_the_host_ends_with_6(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(1920, 1080), count=3)
    limit = """
        import re, resource
        import numpy, torch, cv2, vnlsdenoise.engine.local, vnlsdenoise.job.run
        import torch._dynamo  # scipy comes with it, at the first call of an operator else
        # OpenBLAS ends a process in which it finds no room for its buffer, which small products do without.
        numpy.linalg.lstsq(numpy.ones((512, 512)) @ numpy.ones((512, 512)), numpy.ones(512), rcond=None)
        size = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1])
        resource.setrlimit(resource.RLIMIT_AS, (size + (500 << 20),) * 2)
        from vnlsdenoise.cli.main import main
        main()
    """
    arguments = [tmp_path / "in.mkv", "-o", tmp_path / "out.mkv", "--sigma", "5", "--device", "cpu", "--preset", "fast"]
    command = [sys.executable, "-c", textwrap.dedent(limit), *map(str, arguments), "--progress", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 6 and "out of memory" in done.stderr, done.stderr
    assert left_in(tmp_path) == ["in.mkv"]


def film_and_request(folder: Path) -> Request:
    noisy_film(folder / "in.mkv", 50)
    return Request(
        folder / "in.mkv",
        folder / "out.mkv",
        (6.0,),
        device="cpu",
        preset="fast",
        piece=10,
        encoding=Encoding(lossless=True),
    )


# Each of them makes every process fail that loads the engine; the file that it waits for says at which frame.
_FAULT = """
    import os, vnlsdenoise.engine.local as local, torch
    real = local.SceneDenoiser.push
    def push(self, frame, **how):
        if frame.number == int(os.environ["FAIL_AT"]):
            FAULT
        yield from real(self, frame, **how)
    local.SceneDenoiser.push = push
"""
_KERNEL = 'raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")'


@pytest.fixture
def failing_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Makes the processes that this one starts fail."""

    def fail(fault: str, at: int) -> None:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(textwrap.dedent(_FAULT).replace("FAULT", fault))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
        monkeypatch.setenv("FAIL_AT", str(at))

    return fail


def fail_here(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Make the engine fail in this process alone, as a lost CUDA device does: it fails ever after."""
    real = local.SceneDenoiser.push

    def push(denoiser: object, frame: object, **how: bool) -> Iterator[object]:
        if frame.number >= at:  # type: ignore[attr-defined]
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        yield from real(denoiser, frame, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(local.SceneDenoiser, "push", push)


def test_a_lost_device_is_found_again_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = film_and_request(tmp_path)
    run(make_plan(replace(wish, output=tmp_path / "whole.mkv")))
    fail_here(monkeypatch, 45)
    said: list[str] = []
    done: list[int] = []
    report = run(make_plan(wish), lambda _, count: done.append(count), say=said.append)
    assert report.frames == 50 and done[-1] == 50
    assert len(said) == 1 and "CUDA error" in said[0] and "another process goes on from frame" in said[0]
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def test_a_device_that_fails_three_times_at_one_place_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_processes: Callable[[str, int], None]
) -> None:
    wish = film_and_request(tmp_path)
    failing_processes(_KERNEL, 45)
    with monkeypatch.context() as here:
        fail_here(here, 45)
        said: list[str] = []
        with pytest.raises(DeviceFaultError, match=r"failed 3 times from frame \d+ on.*finished frames are kept"):
            run(make_plan(wish), say=said.append)
    assert len(said) == 2
    # Where the device is well again, the work goes on.
    assert run(make_plan(wish)).kept > 0


def test_what_a_device_had_finished_is_written_before_its_fault_is_told() -> None:
    """However long a writer takes."""
    written: list[int] = []

    class Slow(nullcontext[None]):
        def write(self, frame: Frame) -> None:
            time.sleep(0.05)
            written.append(frame.number)

    def denoise(frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if frame.number == 4:
                raise DeviceFaultError("the device failed")
            yield frame

    frames = [Frame((np.zeros((2, 2), np.uint8),)) for _ in range(6)]
    with pytest.raises(DeviceFaultError, match="the device failed"):
        pump(frames, denoise, Slow, threading.Event())
    assert written == [0, 1, 2, 3]


def test_a_process_that_the_driver_kills_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_processes: Callable[[str, int], None]
) -> None:
    wish = film_and_request(tmp_path)
    failing_processes("os.abort()", 45)
    with monkeypatch.context() as here:
        fail_here(here, 45)
        with pytest.raises(DeviceFaultError, match="ended with status -6"):
            run(make_plan(wish))


def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    real = PlanarDenoiser._delivered
    count = iter(range(10**6))

    def delivered(denoiser: PlanarDenoiser, result: object) -> object:
        planes = real(denoiser, result)  # type: ignore[arg-type]
        if next(count) == 30:
            planes[0][3, 4] = float("nan")
        return planes

    monkeypatch.setattr(PlanarDenoiser, "_delivered", delivered)


def test_a_frame_of_no_numbers_is_done_again_by_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = film_and_request(tmp_path)
    run(make_plan(replace(wish, output=tmp_path / "whole.mkv")))
    no_picture(monkeypatch)
    said: list[str] = []
    report = run(make_plan(wish), say=said.append)
    assert "frame 30 came out as no picture" in said[0] and report.unsound == ()
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def test_a_frame_that_stays_no_picture_is_taken_over_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_processes: Callable[[str, int], None]
) -> None:
    wish = film_and_request(tmp_path)
    failing_processes("pass", 0)
    (tmp_path / "site" / "sitecustomize.py").write_text(
        textwrap.dedent("""
            import vnlsdenoise.engine.local as local
            real = local.SceneDenoiser._released
            def released(self, results):
                def spoiled():
                    for planes in results:
                        if self._waiting[0].number == 30:
                            planes[0][3, 4] = float("inf")
                        yield planes
                yield from real(self, spoiled())
            local.SceneDenoiser._released = released
        """)
    )
    no_picture(monkeypatch)
    report = run(make_plan(wish))
    assert report.unsound == (30,) and any("taken over as they are" in text for text in report.warnings)
    source, result = (list(VideoReader(tmp_path / name)) for name in ("in.mkv", "out.mkv"))
    same = [
        all(np.array_equal(a, b) for a, b in zip(s.planes, r.planes, strict=True))
        for s, r in zip(source, result, strict=True)
    ]
    assert [number for number, equal in enumerate(same) if equal] == [30]


def test_a_slow_disk_only_takes_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk like that of a network, of which every sync takes long: nothing is written over or left out."""
    wish = film_and_request(tmp_path)
    run(make_plan(replace(wish, output=tmp_path / "quick.mkv")))

    def slowly(path: Path) -> None:
        time.sleep(0.3)

    monkeypatch.setattr(workdir, "sync", slowly)
    monkeypatch.setattr(publish, "sync", slowly)
    assert run(make_plan(wish)).frames == 50
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "quick.mkv").read_bytes()


def test_a_file_system_without_locks_is_served_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    wish = film_and_request(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = WorkFolder.of(tmp_path / "out.mkv", None, False).lock
    lock.write_text(json.dumps({"pid": 2**22 + 1, "host": os.uname().nodename}))  # no such process
    assert run(make_plan(replace(wish, strength=0))).frames == 50
    assert not lock.exists()


def test_the_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    random_film(tmp_path / "in.mkv")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    job = (tmp_path / "in.mkv", "-o", tmp_path / "out.mkv", "--strength", 0, "--lossless")
    assert call(*job, "--piece", 50, before=limit)[0] == 4  # a piece is too large
    assert left_in(tmp_path) == ["in.mkv"]
    assert call(*job, "--piece", 5, before=limit)[0] == 4  # the film is
    assert left_in(tmp_path) == ["in.mkv"]
    assert call(*job, "--piece", 5)[0] == 0
