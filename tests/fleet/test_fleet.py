"""Films by a real Ray cluster of this machine: the bytes of one process, whatever becomes of workers and drivers."""

import gc
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calling import COMMAND, assert_error, call, called_here
from clips import write_clip

from vnlsdenoise.engine.cluster import shown
from vnlsdenoise.errors import (
    BatchError,
    ContinuableError,
    DeviceError,
    DeviceFaultError,
    InputError,
    OutputError,
)
from vnlsdenoise.job.lock import hold
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.job.workdir import WorkFolder
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.frame import Frame

# Ray leaves files, sockets and processes of its own open.
pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra vnlsdenoise[ray]"),
    pytest.mark.filterwarnings("ignore"),
]
SIZE = (48, 40)
DEADLY, REFUSED = "deadly.mkv", "refused.mkv"
HOOK = f"""
import os, signal, sys

def see(event, facts):
    if event == "open" and str(facts[0]).endswith("{DEADLY}"):
        os.kill(os.getpid(), signal.SIGKILL)
    if event == "open" and str(facts[0]).endswith("{REFUSED}"):
        raise PermissionError(13, "Permission denied")

if any("default_worker.py" in word for word in sys.orig_argv):
    sys.addaudithook(see)
"""


def film(path: Path, scenes: list[int], **wish: Any) -> None:
    """Scenes of moving texture and noise, of so many frames."""
    random = np.random.default_rng(3)
    shapes = ((SIZE[1], SIZE[0]), (SIZE[1] // 2, SIZE[0] // 2), (SIZE[1] // 2, SIZE[0] // 2))
    frames = []
    for number, count in enumerate(scenes):
        wide = [np.kron(random.uniform(40, 120, (h // 4 + 1, w // 4 + 60)), np.ones((4, 4))) for h, w in shapes]
        for index in range(count):
            noise = [8 * random.standard_normal(shape) + 80 * (number % 2) for shape in shapes]
            shown = [t[:h, index % 90 : index % 90 + w] for t, (h, w) in zip(wide, shapes, strict=True)]
            planes = tuple((a + b).round().clip(0, 255).astype(np.uint8) for a, b in zip(shown, noise, strict=True))
            frames.append(Frame(planes))
    write_clip(path, size=SIZE, frames=frames, **wish)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def request(folder: Path, output: str, **wish: Any) -> Request:
    lossless = Encoding(lossless=True)
    return Request(folder / "in.mkv", folder / output, device="cpu", preset="fast", piece=10, encoding=lossless, **wish)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from vnlsdenoise.engine import cluster

    with pytest.MonkeyPatch.context() as patch:
        # What it starts has this too: a Python that dies of DEADLY as soon as it opens it.
        patch.setenv("PYTHONPATH", str(tmp_path_factory.mktemp("deadly")))
        Path(os.environ["PYTHONPATH"], "sitecustomize.py").write_text(HOOK)
        here = cluster.Cluster("local", cluster.Devices(cpus=2), "cpu")
        yield
        here.leave()
    gc.collect()  # of what Ray left open, within the filter of this file


@pytest.fixture(scope="module")
def fleet(cluster: None) -> Iterator[Any]:
    """Two workers, warm from test to test as from film to film."""
    from vnlsdenoise.engine.cluster import Devices
    from vnlsdenoise.engine.ray import Fleet

    said: list[str] = []
    with Fleet("local", Devices(cpus=2), "cpu", said.append) as fleet:
        fleet.said = said
        yield fleet


@pytest.fixture
def films(fleet: Any) -> Any:
    from vnlsdenoise.job.fleet import FilmFleet

    fleet.said.clear()
    return FilmFleet(fleet, fleet.said.append)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film of a long scene and short ones, and what one process makes of it."""
    folder = tmp_path_factory.mktemp("whole")
    film(folder / "in.mkv", [130, 20, 20])
    run(make_plan(request(folder, "out.mkv")))
    return folder


def begun(whole: Path, folder: Path) -> Request:
    (folder / "in.mkv").hardlink_to(whole / "in.mkv")
    return request(folder, "out.mkv")


def given(films: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The parts that are given to workers from here on."""
    parts: list[Any] = []
    real = films._give
    monkeypatch.setattr(films, "_give", lambda worker, part: (parts.append(part), real(worker, part)))
    return parts


@pytest.mark.parametrize("how", ["a shared folder", "the object store", "from its start", "one worker"])
def test_two_workers_make_the_bytes_of_one_process(
    how: str, whole: Path, tmp_path: Path, films: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = given(films, monkeypatch)
    if how == "the object store":
        real = films._begun

        def elsewhere(*arguments: Any) -> Any:
            begun = real(*arguments)
            begun.place = replace(begun.place, token=("not-there", ""))
            return begun

        monkeypatch.setattr(films, "_begun", elsewhere)
    if how == "from its start":
        monkeypatch.setattr("vnlsdenoise.job.looking.can_be_late", lambda _: False)
        monkeypatch.setattr("vnlsdenoise.job.looking.Look.late", False, raising=False)
    if how == "one worker":
        monkeypatch.setattr(type(films), "size", 1)
    counts: list[int] = []
    opened: list[int] = []
    report = run(
        make_plan(begun(whole, tmp_path)),
        lambda stage, count: counts.append(count),
        lambda scene: opened.append(scene.first),
        make=films.make_pieces,
    )
    assert digest(tmp_path / "out.mkv") == digest(whole / "out.mkv")
    assert [scene.first for scene in report.scenes] == [0, 130, 150]
    assert counts[-1] == 170 and all(0 <= count <= 170 for count in counts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.mkv"]
    if how != "one worker":
        assert len(parts) >= 3 and opened == [0, 130, 150]


def test_a_worker_that_is_killed_costs_nothing_but_time(
    whole: Path, tmp_path: Path, films: Any, fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []

    def progress(_: str, count: int) -> None:
        if not killed and count > 10:
            killed.append(int(re.search(r"process (\d+)", fleet.names[0])[1]))  # type: ignore[index]
            os.kill(killed[0], signal.SIGKILL)

    run(make_plan(begun(whole, tmp_path)), progress, make=films.make_pieces)
    assert killed and "was lost" in fleet.said[0]
    assert digest(tmp_path / "out.mkv") == digest(whole / "out.mkv")


def test_short_tasks_at_one_time_go_to_different_workers(fleet: Any) -> None:
    def who(_: Any) -> int:
        import os
        import time

        time.sleep(1)
        return os.getpid()

    while not (fleet.is_up(0) and fleet.is_up(1)):  # after the test before this one
        assert not list(fleet.news(0.1))
    with ThreadPoolExecutor(2) as pool:
        assert len({asked.result() for asked in [pool.submit(fleet.ask, who) for _ in range(2)]}) == 2


def test_a_full_disk_ends_with_4_and_what_is_finished_is_kept(whole: Path, tmp_path: Path, films: Any) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this user may not mount file systems")

    def fill(_: str, count: int) -> None:
        if count > 10 and not (small / "other").exists():
            with suppress(OSError), (small / "other").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass

    try:
        (tmp_path / "in.mkv").hardlink_to(whole / "in.mkv")
        wish = request(tmp_path, "out.mkv", workdir=small)
        with pytest.raises(OutputError, match=r"No space left.*finished frames are kept"):
            run(make_plan(wish), fill, make=films.make_pieces)
        assert wish.output is not None
        assert WorkFolder.of(wish.output, small, False).pieces() and not wish.output.exists()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_storage_that_is_not_shared_is_said(whole: Path, tmp_path: Path, films: Any, monkeypatch: Any) -> None:
    real = films._begun

    def other(*arguments: Any) -> Any:
        begun = real(*arguments)
        begun.place = replace(begun.place, identity={"size": 1, "hash": ""})
        return begun

    monkeypatch.setattr(films, "_begun", other)
    with pytest.raises(InputError, match=r"is another file on node .*; give every node the same one"):
        run(make_plan(begun(whole, tmp_path)), make=films.make_pieces)


def test_nodes_that_do_not_fit_are_refused(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from vnlsdenoise.engine import cluster, ray

    devices = cluster.Devices
    [node] = fleet._ray.nodes()
    reserved = [seat.memory for seat in fleet._seats]
    assert len(reserved) == 2 and 0.9 * node["Resources"]["memory"] < sum(reserved) <= node["Resources"]["memory"]
    assert fleet._ray.available_resources().get("memory", 0) < 0.1 * node["Resources"]["memory"]
    with pytest.raises(DeviceError, match=r"no GPU in the cluster \(1 node"):
        ray.Fleet("auto", devices(), "cuda", print)
    with pytest.raises(DeviceError, match=r"no room for 99 worker"):
        ray.Fleet("auto", devices(cpus=99), "cpu", print)
    with pytest.raises(DeviceError, match=r"no room for 2 worker\(s\), 1048576 MiB each"):
        ray.Fleet("auto", devices(cpus=2), "cpu", print, 1 << 40)
    here = cluster.versions_here()
    monkeypatch.setattr(cluster, "versions_here", lambda: {**here, "vnlsdenoise": "9.9"})
    with pytest.raises(DeviceError, match=r"node \S+ has vnlsdenoise \S+ \(here 9.9\); its results would be others"):
        ray.Fleet("auto", devices(), "cpu", print)


def test_a_film_that_kills_its_workers_fails_alone(
    tmp_path: Path, fleet: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever process of a worker opens it dies, with what else that worker had; three do."""
    (tmp_path / "in").mkdir()
    for number in range(5):
        write_clip(tmp_path / "in" / f"{number}.mkv", count=8)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vnlsdenoise.engine.ray.Fleet", lambda *_: nullcontext(fleet))
    words = ["in", "--preset", "fast", "--device", "cpu", "--lossless", "--json", "--progress", "none"]
    called_here(*words, "-o", "alone", "--devices", "cpu:2")
    write_clip(tmp_path / "in" / DEADLY, count=30)  # the longest, which begins first
    capsys.readouterr()
    processes = [fleet.names]
    monkeypatch.setattr(fleet, "replace", lambda worker, real=fleet.replace: (processes.append(worker), real(worker)))
    with pytest.raises(BatchError, match=r"1 of 6 inputs failed \(5 done, 1 failed\)") as caught:
        called_here(*words, "-o", "with", "--devices", "cpu:2")
    assert caught.value.exit_code == 9 and len(processes) == 1 + 3
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [failed] = [one for one in told if one["status"] == "failed"]
    assert failed["source"].endswith(DEADLY) and failed["exit_code"] == DeviceFaultError.exit_code
    assert "failed 3 times at one place (its worker died" in failed["text"] and "check the file" in failed["text"]
    assert all(digest(tmp_path / "with" / f"{n}.mkv") == digest(tmp_path / "alone" / f"{n}.mkv") for n in range(5))


def test_fail_fast_ends_what_is_at_work_and_keeps_what_is_finished(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "long.mkv").hardlink_to(whole / "in.mkv")  # longer than half of all: it is shared
    write_clip(tmp_path / "in" / REFUSED, count=8)
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    words = ["in", "-o", "out", "--preset", "fast", "--device", "cpu", "--lossless", "--piece", "10", "--json"]
    words += ["--devices", "cpu:2", "--progress", "none", "--fail-fast"]
    status, out, err = call(*words, folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert status == 9 and "1 of 2 inputs failed (1 failed, 1 not tried)" in err, err
    told = {one["source"]: one for one in map(json.loads, out.splitlines())}
    assert told[f"in/{REFUSED}"]["exit_code"] == InputError.exit_code
    assert told["in/long.mkv"]["text"] == "--fail-fast; what is finished of it is kept"
    assert not list((tmp_path / "out").glob("*.mkv"))
    output = tmp_path / "out" / "long.mkv"
    with hold(WorkFolder.of(output, None, False).lock, output):
        pass  # nobody is at it any more


def test_a_plan_tells_what_sharing_costs(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["in.mkv", "--dry-run", "--preset", "fast", "--device", "cpu", "--piece", "10"]
    monkeypatch.chdir(whole)
    told = []
    for more in ([], ["--devices", "cpu:1"], ["--devices", "cpu:2"]):
        called_here(*words, *more, "--json")
        told.append(json.loads(capsys.readouterr().out)["sharing"])
    assert told[0] is None and told[1] == {"workers": 1, "twice": None}
    assert told[2]["workers"] == 2 and 0 < told[2]["twice"] < 170
    called_here(*words, *more)
    assert f"2 workers; about {told[2]['twice']} frames (" in capsys.readouterr().out


@pytest.mark.parametrize("before", ["3,4", None])
def test_the_gpus_that_are_meant_are_shown_to_ray_alone(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "CUDA_VISIBLE_DEVICES"
    monkeypatch.setenv(name, before) if before else monkeypatch.delenv(name, raising=False)
    with shown(["4"]):
        assert os.environ[name] == "4"
    assert os.environ.get(name) == before


def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('No module named ray')\n")
    write_clip(tmp_path / "in.mkv")
    result = call("in.mkv", "-o", "out.mkv", "--ray", "local", folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert_error(result, 5, "pip install 'vnlsdenoise[ray]'")


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv")
    result = call("in.mkv", "-o", "out.mkv", "--ray", "127.0.0.1:9", folder=tmp_path)
    assert_error(result, 5, "no Ray cluster at 127.0.0.1:9", "ray start --head")
    result = call("in.mkv", "-o", "out.mkv", "--devices", "some", folder=tmp_path)
    assert_error(result, 2, "--devices some means no devices")
    result = call("-", "-o", "out.mkv", "--devices", "all", folder=tmp_path)
    assert_error(result, 2, "pipe")


def test_a_driver_that_is_killed_or_interrupted_goes_on(whole: Path, tmp_path: Path) -> None:
    wish = begun(whole, tmp_path)
    assert wish.output is not None
    folder = WorkFolder.of(wish.output, None, False)
    words = ["in.mkv", "-o", "out.mkv", "--device", "cpu", "--preset", "fast", "--piece", "10", "--lossless"]
    for how, code in ((signal.SIGKILL, -9), (signal.SIGINT, ContinuableError.exit_code)):
        before = len(folder.pieces())
        driver = subprocess.Popen(
            [*COMMAND, *words, "--devices", "cpu:2"], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True
        )
        while len(folder.pieces()) < before + 2 and driver.poll() is None:
            time.sleep(0.1)
        driver.send_signal(how)
        err = driver.communicate(timeout=60)[1].decode()
        assert driver.returncode == code, err
    assert "finished frames are kept" in err
    run(make_plan(wish))
    assert digest(tmp_path / "out.mkv") == digest(whole / "out.mkv")


def test_forty_films_of_which_two_are_broken(
    tmp_path: Path, fleet: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(38):
        write_clip(tmp_path / "in" / f"{number:02}.mkv", count=4)
    (tmp_path / "in" / "text.mkv").write_text("no film " * 100)
    (tmp_path / "in" / "empty.mkv").touch()
    monkeypatch.chdir(tmp_path)
    # The workers that are warm already.
    monkeypatch.setattr("vnlsdenoise.engine.ray.Fleet", lambda *_: nullcontext(fleet))
    words = ["in", "-o", "out", "--preset", "fast", "--device", "cpu", "--devices", "cpu:2", "--json"]
    with pytest.raises(BatchError, match=r"2 of 40 inputs failed \(38 done, 2 failed\)") as caught:
        called_here(*words, "--progress", "json")
    assert caught.value.exit_code == 9
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert sorted(one["status"] for one in told) == ["done"] * 38 + ["failed"] * 2
    assert all((tmp_path / "out" / f"{number:02}.mkv.json").exists() for number in range(38))
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [event["event"] for event in events].count("file") == 38 and "empty (0 bytes)" in err
    with pytest.raises(BatchError, match=r"2 of 40 inputs failed \(38 skipped, 2 failed\)"):
        called_here(*words, "--progress", "none")
