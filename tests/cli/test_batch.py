"""Many inputs: what they mean, what outputs are called, and that one that fails stops none of the others."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from calling import COMMAND, assert_error, call, called
from clips import write_clip

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.job.inputs import find_inputs, left_out, name_outputs
from vnlsdenoise.job.plan import check_output
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.stills import Told, write_still

SAME = ("--strength", 0)


def write_shot(folder: Path, first: int = 1001, count: int = 3) -> None:
    folder.mkdir(parents=True)
    for number in range(first, first + count):
        write_still(folder / f"{folder.name}.{number:04d}.png", np.full((16, 16, 3), number % 200, np.uint8), Told())


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Films and shots in a tree."""
    for name in ("a.mkv", "b.mov", "c.avi", "day 2/d.mkv", "day 2/.hidden.mkv", "day 10/e.mkv"):
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, count=3, encoder="ffv1" if path.suffix != ".mov" else "libx264")
    write_shot(tmp_path / "films" / "shots" / "010")
    write_shot(tmp_path / "films" / "shots" / "020")
    (tmp_path / "films" / "notes.txt").write_text("none of it")
    return tmp_path / "films"


def found(names: list[Path], **wish: object) -> list[str]:
    return [str(one.place) for one in find_inputs(names, **wish)]  # type: ignore[arg-type]


def test_what_names_mean(films: Path) -> None:
    assert found([films]) == ["a.mkv", "b.mov", "c.avi"]
    tree = ["a.mkv", "b.mov", "c.avi", "day 2/d.mkv", "day 10/e.mkv", "shots/010", "shots/020"]
    assert found([films], recursive=True) == tree
    assert found([films], recursive=True, glob="*.mkv") == ["a.mkv", "day 2/d.mkv", "day 10/e.mkv"]
    assert found([films], recursive=True, leave_out=films / "shots") == tree[:-2]
    assert found([films / "*.m*"]) == ["a.mkv", "b.mov"]
    assert found([films / "shots" / "*"]) == ["010", "020"]
    assert found([films / "shots" / "020", films / "b.mov"]) == ["020", "b.mov"]
    assert found([films / "a.mkv", films]) == ["a.mkv", "b.mov", "c.avi"]
    with pytest.raises(InputError, match="--recursive"):
        find_inputs([films / "shots"])
    with pytest.raises(InputError, match="does not exist"):
        find_inputs([films / "none.mkv"])
    with pytest.raises(InputError, match="matching"):
        find_inputs([films], glob="*.xyz")


def test_outputs_are_named_after_inputs_and_never_share_a_name(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tasks = name_outputs(find_inputs([films], recursive=True), out)
    assert [str(task.output.relative_to(out)) for task in tasks] == [
        *("a.mkv", "b.mov", "c.mkv", "day 2/d.mkv", "day 10/e.mkv"),
        *("shots/010/010.%d.png", "shots/020/020.%d.png"),
    ]
    assert name_outputs(find_inputs([films / "b.mov", films / "a.mkv"]), out, "mp4")[0].output == out / "b.mp4"
    write_clip(films / "c.mkv", count=2)
    with pytest.raises(
        UsageError, match=r"c\.avi and .*c\.mkv would both become|c\.mkv and .*c\.avi would both become"
    ):
        name_outputs(find_inputs([films]), out)
    with pytest.raises(UsageError, match="is an input"):
        name_outputs(find_inputs([films / "a.mkv", films / "b.mov"]), films)
    with pytest.raises(UsageError, match="cannot be written"):
        name_outputs(find_inputs([films / "a.mkv"]), out, ".avi")


def test_a_tree_is_mirrored_and_every_program_opens_what_is_written(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, err = called(films, "-o", out, "--recursive", *SAME)
    assert code == 0, err
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.suffix != ".json")
    shots = [f"shots/{shot}/{shot}.{number}.png" for shot in ("010", "020") for number in (1001, 1002, 1003)]
    assert written == sorted(["a.mkv", "b.mov", "c.mkv", "day 2/d.mkv", "day 10/e.mkv", *shots])
    for name in written:
        if name.endswith(".png"):
            assert cv2.imread(str(out / name)) is not None
            continue
        with av.open(str(out / name)) as container:
            assert len(list(container.decode(video=0))) == 3
        video = cv2.VideoCapture(str(out / name))
        assert video.isOpened() and video.read()[0]
        video.release()
        if shutil.which("ffprobe"):
            told = subprocess.run(["ffprobe", "-v", "error", str(out / name)], capture_output=True, check=True)
            assert told.stderr == b""


def test_usage(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_error(called(films / "a.mkv", films / "b.mov", "-o", tmp_path / "one.mkv"), 2, "is one file")
    assert_error(called(films / "a.mkv", films / "b.mov", "--dry-run"), 2, "-o FOLDER")
    assert_error(called(films / "a.mkv", "-", "-o", out), 2, "among others")
    assert_error(called(films, "-o", out, "--glob", "*.xyz"), 3, "*.xyz")
    assert not out.exists()
    # One film into a folder: one that is there, or is called one.
    for folder in (f"{out}/", out):
        assert called(films / "a.mkv", "-o", folder, "-y", *SAME)[0] == 0
        assert len(list(VideoReader(out / "a.mkv"))) == 3


def test_fail_fast_and_lines_of_json(films: Path, tmp_path: Path) -> None:
    (films / "a.mkv").write_bytes(b"poison")
    code, out, err = called(films, "-o", tmp_path / "out", "--json", "--fail-fast", *SAME)
    assert code == 9
    told = [json.loads(line) for line in out.splitlines()]
    assert [(Path(line["source"]).name, line["status"], line["exit_code"]) for line in told] == [
        ("a.mkv", "failed", 3),
        ("b.mov", "not tried", 0),
        ("c.avi", "not tried", 0),
    ]
    assert "1 failed, 2 not tried" in err
    code, out, _ = called(films, "-o", tmp_path / "out", "--json", *SAME)
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 9 and [line["status"] for line in told] == ["failed", "done", "done"]
    assert told[1]["summary"]["frames"] == 3 and told[1]["seconds"] > 0


def test_a_crash_and_no_memory_are_of_one_file_alone(films: Path, tmp_path: Path) -> None:
    program = """
import sys
import vnlsdenoise.job.run as job
from vnlsdenoise.cli.main import main

whole = job.run

def run(plan, *rest, **more):
    if plan.request.input.name == "a.mkv":
        raise RuntimeError("a fault")
    if plan.request.input.name == "b.mov":
        raise MemoryError
    return whole(plan, *rest, **more)

job.run = run
main(sys.argv[1:])
"""
    arguments = [str(films), "-o", str(tmp_path / "out"), "--strength", "0"]
    done = subprocess.run([COMMAND[0], "-c", program, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 9
    assert "internal error: RuntimeError: a fault" in done.stderr and "out of memory" in done.stderr
    assert "1 done, 2 failed" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "out" / "c.mkv").exists()


def test_damaged_inputs_alone_end_with_7(tmp_path: Path) -> None:
    for name in ("a.mkv", "b.mkv"):
        write_clip(tmp_path / name, encoder="libx264", count=60)
    data = (tmp_path / "b.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(data[: len(data) // 2])
    code, out, err = called(tmp_path / "a.mkv", tmp_path / "b.mkv", "-o", tmp_path / "out", "--json", *SAME)
    assert code == 7 and "1 done, 1 damaged" in err
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["done", "damaged"]
    assert (tmp_path / "out" / "b.mkv").exists()


def test_a_signal_ends_all_and_tells_what_was_done(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index, count in enumerate((3, 300, 300)):
        write_clip(tmp_path / "in" / f"{index}.mkv", size=(256, 192), count=count)
    wish = ["--strength", "0", "--codec", "h264", "--encoder-opt", "preset=placebo"]
    process = subprocess.Popen(
        [*COMMAND, str(tmp_path / "in"), "-o", str(tmp_path / "out"), *wish],
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "out" / "0.mkv").exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (75, 143), err
    assert "1 of 3 inputs: 1 done" in err


def test_forty_films_of_which_two_are_broken_and_one_is_done(tmp_path: Path) -> None:
    folder, out = tmp_path / "films", tmp_path / "out"
    folder.mkdir()
    write_clip(folder / "film 1.mkv", count=3)
    for index in range(2, 41):
        os.link(folder / "film 1.mkv", folder / f"film {index}.mkv")
    for index, broken in ((7, b"no film"), (23, (folder / "film 1.mkv").read_bytes()[:600])):
        (folder / f"film {index}.mkv").unlink()
        (folder / f"film {index}.mkv").write_bytes(broken)
    assert call(folder / "film 12.mkv", "-o", f"{out}/", *SAME)[0] == 0
    done = (out / "film 12.mkv").stat()
    code, told, err = call(folder, "-o", out, "--json", *SAME)
    assert code == 9, err
    statuses = [json.loads(line)["status"] for line in told.splitlines()]
    assert (statuses.count("done"), statuses.count("skipped"), statuses.count("failed")) == (37, 1, 2)
    assert "37 done, 1 skipped, 2 failed" in err
    rows = [line for line in err.splitlines() if line.startswith("vnlsdenoise:   failed")]
    assert [row.split("film ")[1].split(".")[0] for row in rows] == ["7", "23"]
    assert (out / "film 12.mkv").stat() == done
    assert sorted(path.name for path in out.glob("*.mkv")) == sorted(
        f"film {index}.mkv" for index in range(1, 41) if index not in (7, 23)
    )
    # Once more: all that is done is skipped.
    code, told, _ = call(folder, "-o", out, "--json", *SAME)
    assert code == 9 and [json.loads(line)["status"] for line in told.splitlines()].count("skipped") == 38
    # Other settings make other films: these are no longer what is asked for.
    code, told, err = call(folder / "film 12.mkv", folder / "film 13.mkv", "-o", out, "--sigma", 3, "--preset", "fast")
    assert code == 9 and "exists" in err


def test_one_image_keeps_its_name(tmp_path: Path) -> None:
    write_shot(tmp_path / "010", count=1)
    [image] = (tmp_path / "010").iterdir()
    clean = tmp_path / "clean.png"
    assert called(image, "-o", clean, "--sigma", 5, "--preset", "draft", "--progress", "none")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"010", "clean.png", "clean.png.json"}
    assert called("verify", clean)[0] == 0
    assert_error(called(image, "-o", clean, *SAME), 2, "exists")
    assert called(image.name, "-o", "clean.png", "-y", *SAME, folder=image.parent)[0] == 0  # names without a folder
    assert_error(called(image, "-o", tmp_path / "%d_%d.png", *SAME), 2, "more than one counter")
    for name in ("clean.png", "clean.png.json"):
        (image.parent / name).unlink()
    assert called(tmp_path / "010", "-o", tmp_path / "out", *SAME)[0] == 0
    assert called("verify", tmp_path / "out")[0] == 0
    write_shot(tmp_path / "020", count=2)
    assert_error(called(tmp_path / "020", "-o", tmp_path / "two.png", *SAME), 2, "%06d")
    assert called(tmp_path / "020", "-o", tmp_path / "two.png", "--frames", "1:2", *SAME)[0] == 0
    assert cv2.imread(str(tmp_path / "two.png"))[0, 0, 0] == 1002 % 200


def test_images_that_the_shell_has_named_one_by_one_are_told(tmp_path: Path) -> None:
    write_shot(tmp_path / "010")
    names = sorted((tmp_path / "010").iterdir())
    code, _, said = called(*names, "-o", tmp_path / "out", *SAME)
    assert code == 0 and "3 images are named one by one" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {path.name for path in names}
    code, _, said = called(*names, "-o", tmp_path / "out", *SAME)
    assert code == 0 and "3 skipped" in said


def test_stacks_of_images_are_films_and_not_called_images_named_one_by_one(tmp_path: Path) -> None:
    pages = [np.full((16, 16, 3), level, np.uint8) for level in (20, 90)]
    stacks = [tmp_path / name for name in ("one.tif", "two.tif")]
    assert all(cv2.imwritemulti(str(stack), pages) for stack in stacks)
    code, _, said = called(*stacks, "-o", tmp_path / "out", *SAME)
    assert code == 0 and "one by one" not in said, said


def test_an_image_whose_name_is_a_pattern_is_not_renamed(tmp_path: Path) -> None:
    write_shot(tmp_path / "010")
    sources = sorted((tmp_path / "010").iterdir())
    odd, plain = sources[0].rename(tmp_path / "010" / "50%d.png"), sources[1]
    assert called(odd, plain, "-o", tmp_path / "out", *SAME)[0] == 0
    assert [path.name for path in (tmp_path / "out").rglob("*.png")].count("frame_000050.png") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"50%d", plain.name, f"{plain.name}.json"}


def test_films_beside_images_are_not_left_out_without_a_word(tmp_path: Path) -> None:
    write_shot(tmp_path / "010")
    write_clip(tmp_path / "010" / "film.mkv", count=3, encoder="ffv1")
    code, _, said = called(tmp_path / "010", "-o", tmp_path / "out", *SAME)
    assert code == 0 and "1 film(s) beside its images" in said and "--recursive" in said
    code, _, said = called(tmp_path / "010", "-o", tmp_path / "both", "--recursive", *SAME)
    assert code == 0 and "warning" not in said and (tmp_path / "both" / "film.mkv").exists()


def test_what_many_folders_hold_is_left_out_in_one_line(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / "films" / f"{number:02d}").mkdir(parents=True)
        (tmp_path / "films" / f"{number:02d}" / "cover.jpg").touch()
        (tmp_path / "films" / f"{number:02d}" / "more").symlink_to(tmp_path)
    (tmp_path / "films" / "07" / "back.webp").touch()
    images, links = left_out([tmp_path / "films"], several=True, recursive=True)
    assert f"50 folders, {tmp_path / 'films' / '00'} the first, hold 50 .jpg, 1 .webp, left out" in images
    assert f"50 links to folders, {tmp_path / 'films' / '00' / 'more'} the first" in links


@pytest.mark.parametrize("name", ["clean.jpg", "%03d.jpeg", "new/%03d.jpg", "new/clean.avi"])
def test_an_output_of_a_kind_that_is_not_written_tells_what_is(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ending.*\.mkv.*\.png, \.tif, \.dpx or \.exr"):
        check_output(tmp_path / "in.mkv", tmp_path / name)
