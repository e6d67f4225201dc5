"""Images go into a folder that exists without anything being asked of the folder above it."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip

from vnlsdenoise.errors import UsageError
from vnlsdenoise.job import run as running
from vnlsdenoise.job.lock import hold
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.publish import check_space, publish_folder, remove_leftovers
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.job.workdir import WorkFolder
from vnlsdenoise.video.stills import Told, write_still

COMMAND = "from vnlsdenoise.cli.main import main; main()"
_DROP_FROM_BOUNDS, _RIGHTS_OVER_FILES = 24, (1, 2)  # of prctl(2) and capabilities(7)


def call(*arguments: object, program: str = "") -> tuple[int, str]:
    """(exit code, stderr) of one call, which permissions of files bind as they do any user. program: done before."""
    command = [sys.executable, "-c", program + COMMAND, *map(str, arguments), "--progress", "none"]
    bound = give_up_rights if os.geteuid() == 0 else None
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=bound)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def give_up_rights() -> None:
    """Have root's program, from the next one that is started on, no more rights over files than their owner has."""
    for right in _RIGHTS_OVER_FILES:
        ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDS, right, 0, 0, 0)


def all_in(folder: Path) -> list[str]:
    """Every name below a folder, the hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder of images that may be written, below one that may not."""
    above = tmp_path / "above"
    (above / "home").mkdir(parents=True)
    for number in range(3):
        image = np.full((32, 32, 3), 40 * number, np.uint8)
        write_still(above / "home" / f"scan{number}.tif", image, Told())
    above.chmod(0o555)
    yield above / "home"
    above.chmod(0o755)


@pytest.mark.parametrize(
    ("source", "output", "made"),
    [
        ("scan1.tif", "clean.tif", ["clean.tif", "clean.tif.json"]),
        ("scan%d.tif", "out_%02d.png", [*(f"out_{number:02d}.png" for number in range(3)), "out.json"]),
    ],
)
def test_the_folder_above_need_not_be_writable(source: str, output: str, made: list[str], home: Path) -> None:
    scans = [f"scan{number}.tif" for number in range(3)]
    job = (home / source, "-o", home / output, "--strength", 0)
    assert call(*job) == (0, "")
    assert all_in(home.parent) == sorted(["home", *(f"home/{name}" for name in scans + made)])
    assert call(*job, "-y") == (0, "")
    assert call(*job, "-y", "--residual", home / f"less_{output}")[0] == 0
    assert not list(home.rglob(".*")) and len(list(home.iterdir())) == 3 + 2 * len(made) - 1


def test_a_killed_run_leaves_all_within_and_is_gone_on_with(home: Path) -> None:
    kill = "import os, vnlsdenoise.job.run as r\nr.gather_images = lambda *_: os.kill(os.getpid(), 9)\n"
    job = (home / "scan%d.tif", "-o", home / "out_%d.tif", "--strength", 0)
    before = all_in(home)
    assert call(*job, program=kill)[0] == -9
    assert [path.name for path in home.parent.iterdir()] == ["home"]
    left = {path.suffix for path in home.glob(".out_%d.tif.*")}
    assert left == {".vnlsdenoise", ".lock", ".part"}
    code, err = call(*job, "--resume", "require")
    assert code == 0 and "3 frames are finished" in err
    assert all_in(home) == sorted([*before, "out.json", *(f"out_{number}.tif" for number in range(3))])


def film_of_images(folder: Path, output: str = "out/%d.png", **wish: object) -> Request:
    write_clip(folder / "in.mkv", "bgr0", size=(32, 32), count=30)
    return Request(folder / "in.mkv", folder / output, strength=0, piece=10, **wish)  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", ["gather_images", "note_publishing", "remove"])
def test_work_that_began_before_the_folder_was_there_is_found(moment: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", "bgr0", size=(32, 32), count=30)
    job = (tmp_path / "in.mkv", "-o", tmp_path / "out" / "%d.png", "--strength", 0, "--piece", 10)
    where = "vnlsdenoise.job.run" if moment == "gather_images" else "vnlsdenoise.job.workdir"
    owner = "r" if moment == "gather_images" else "r.WorkFolder"
    kill = f"import os, {where} as r\nbegin = r.WorkFolder.begin\n"
    if moment == "remove":  # which is also done where a job begins
        kill += "r.WorkFolder.begin = lambda s, m: (s.path.mkdir(), s._put(r._MANIFEST, {'format': r.FORMAT, **m}))\n"
    kill += f"{owner}.{moment} = lambda *_: os.kill(os.getpid(), 9)\n"
    assert call(*job, program=kill)[0] == -9
    assert list(tmp_path.glob(".out.*.vnlsdenoise")) and (tmp_path / "out").exists() is (moment == "remove")
    (tmp_path / "out").mkdir(exist_ok=True)
    code, err = call(*job)
    assert code == 0 and "30 frames are finished" in err, err
    assert all_in(tmp_path) == sorted(["in.mkv", "out", "out/images.json", *(f"out/{n}.png" for n in range(1, 31))])


@pytest.mark.parametrize("left", ["a whole job", "none"])
def test_work_at_both_places_does_not_stay(left: str, tmp_path: Path) -> None:
    wish = film_of_images(tmp_path)
    assert wish.output is not None
    before = WorkFolder.of(wish.output, None, True)
    before.begin({"what": "another job"})
    (tmp_path / "out").mkdir()
    within = WorkFolder.of(wish.output, None, True)
    assert within.path.parent == tmp_path / "out" and before.path.parent == tmp_path
    within.begin({"what": "a newer job"})
    if left == "none":
        (before.path / "manifest.json").unlink()
    within.take_over(before)
    assert not before.path.exists()
    assert within.manifest() == {"format": 1, "what": "a newer job"}


def test_what_may_not_be_moved_hinders_nobody(home: Path) -> None:
    above, output = home.parent, home / "out_%d.tif"
    above.chmod(0o755)
    before = WorkFolder.before(output, True)
    before.begin({"what": "of another user"})
    before.lock.touch(0o444)
    before.path.chmod(0o555)
    above.chmod(0o555)
    assert call(home / "scan%d.tif", "-o", output, "--strength", 0) == (0, "")
    with hold(before.lock, output, make=False):
        code, err = call(home / "scan%d.tif", "-o", output, "--strength", 0, "-y")
    assert code == 2 and "is being written by" in err
    assert not list(home.glob(".*"))


@pytest.mark.parametrize("made_while", ["it runs", "it takes the lock", "never"])
def test_runs_that_began_before_and_after_the_folder_see_each_other(
    made_while: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = film_of_images(tmp_path)
    assert wish.output is not None
    plan = make_plan(wish)
    if made_while == "it takes the lock":
        (tmp_path / "out").mkdir()
        real, seen = WorkFolder.of, iter([False])

        def of(output: Path, workdir: Path | None, images: bool) -> WorkFolder:
            """What is seen just before the folder is made."""
            return real(output, workdir, images) if next(seen, True) else WorkFolder.before(output, images)

        monkeypatch.setattr(WorkFolder, "of", of)
    with running._locked(wish.output, True):
        monkeypatch.undo()
        if made_while != "never":
            (tmp_path / "out").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="is being written by"):
            run(plan)
        others = run(make_plan(film_of_images(tmp_path, "out/other_%d.png")))
        assert others.frames == 30
    assert run(plan).frames == 30
    assert not list(tmp_path.rglob(".*"))


def test_one_folder_by_two_ways_has_one_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = film_of_images(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    for output in (tmp_path / "link" / "%d.png", Path("%d.png"), Path("..") / "out" / "%d.png"):
        with running._locked(output, True), pytest.raises(UsageError, match="is being written by"):
            run(make_plan(wish))


def test_what_killed_runs_left_goes_from_both_places(tmp_path: Path) -> None:
    for there in (False, True):
        if there:
            (tmp_path / "out").mkdir()
        with publish_folder(tmp_path / "out", "%d.png") as temporary:
            assert temporary.parent == (tmp_path / "out" if there else tmp_path)
            kept = temporary.with_name(temporary.name[:-13] + "0123abcd.part")
            kept.mkdir()
        remove_leftovers(tmp_path / "out", "x%d.png")
        assert kept.exists()
        if there:
            remove_leftovers(tmp_path / "out", "%d.png")
            assert all_in(tmp_path) == ["out"]
        else:
            (tmp_path / "out").rmdir()


def test_the_room_is_that_of_the_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    real = running.shutil.disk_usage
    monkeypatch.setattr(running.shutil, "disk_usage", lambda path: (asked.append(Path(path)), real(path))[1])
    for place in (tmp_path, tmp_path / "out", tmp_path / "out" / "%d.png"):
        check_space(place, 1)
    assert asked == [tmp_path] * 3
