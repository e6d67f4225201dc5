"""Real files at the command line: what info tells of them, names of any bytes, and options for what is not kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import Sound, write_clip
from films import write_film

from vnlsdenoise.video.stills import Told, write_still

COMMAND = [sys.executable, "-c", "from vnlsdenoise.cli.main import main; main()"]


def call(*arguments: str | bytes | Path, folder: Path) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of one call."""
    done = subprocess.run(
        [*map(os.fsencode, COMMAND), *(os.fsencode(argument) for argument in arguments)],
        capture_output=True,
        cwd=folder,
        timeout=120,
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def joined(folder: Path) -> None:
    write_film(folder / "part.ts", "mpeg2video", "mp2")
    (folder / "in.ts").write_bytes((folder / "part.ts").read_bytes() * 2)


def cut(folder: Path) -> None:
    write_film(folder / "in.mkv", count=60)
    data = (folder / "in.mkv").read_bytes()
    (folder / "in.mkv").write_bytes(data[: len(data) // 2])


def resized(folder: Path) -> None:
    for index, size in enumerate([(96, 64), (64, 48)]):
        write_film(folder / f"{index}.ts", size=size)
    (folder / "in.ts").write_bytes((folder / "0.ts").read_bytes() + (folder / "1.ts").read_bytes())


@pytest.mark.parametrize(
    ("make", "name", "word"),
    [
        (joined, "in.ts", "jump"),
        (cut, "in.mkv", "missing"),
        (resized, "in.ts", "changes from 96x64"),
        (lambda folder: write_film(folder / "in.avi", "mpeg4", options={"bf": "2"}), "in.avi", "time stamps"),
        (
            lambda folder: write_film(folder / "in.mkv", options={"chroma_sample_location": "topleft"}),
            "in.mkv",
            "topleft",
        ),
    ],
)
def test_info_names_what_is_special(make: object, name: str, word: str, tmp_path: Path) -> None:
    assert callable(make)
    make(tmp_path)
    code, out, err = call("info", name, folder=tmp_path)
    assert code == 0, err
    special = [line for line in out.splitlines() if line.startswith("special:")]
    assert any(word in line for line in special), out
    code, out, _ = call("info", name, "--json", folder=tmp_path)
    assert code == 0 and any(word in note for note in json.loads(out)["notes"])


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"\xff\xfe.mkv", "пример".encode("koi8-r") + b".mov"])
def test_names_need_not_be_utf_8(name: bytes, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv")
    code, _, err = call("in.mkv", "-o", name, "--strength", "0", folder=tmp_path)
    assert code == 0, err
    assert name in os.listdir(os.fsencode(tmp_path))
    for arguments in (["info", name, "--json"], [name, "--dry-run", "--json", "--device", "cpu"]):
        code, out, err = call(*arguments, folder=tmp_path)
        assert code == 0 and json.loads(out), err
    code, _, err = call(name, "-o", b"second-" + name, "--strength", "0", folder=tmp_path)
    assert code == 0, err
    code, _, err = call(name, "-o", name, "-y", folder=tmp_path)
    assert code == 2 and "input itself" in err


def test_folders_for_images_are_made_and_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in (7, 8):
        write_still(tmp_path / "in" / f"{number}.png", np.full((8, 8, 3), number, np.uint8), Told())
    for output in (b"a/b/%04d.tif", b"caf\xe9/%04d.png", b"plain"):
        code, _, err = call("in", "-o", output, "--strength", "0", folder=tmp_path)
        assert code == 0, err
        code, _, err = call("in", "-o", output, "--strength", "0", folder=tmp_path)
        assert code == 2 and "exists" in err
    assert sorted(os.listdir(tmp_path / "a" / "b")) == ["0007.tif", "0008.tif", "images.json"]


def test_a_hole_is_told_before_the_work_and_ends_with_7(tmp_path: Path) -> None:
    source = tmp_path / "in.wmv"
    write_clip(source, encoder="wmv2", size=(96, 64), count=60)
    whole = source.read_bytes()
    at, length = len(whole) // 2, len(whole) // 10
    source.write_bytes(whole[:at] + bytes(length) + whole[at + length :])
    code, _, err = call(source, "-o", "out.mkv", "--strength", "0", folder=tmp_path)
    assert code == 7 and (tmp_path / "out.mkv").exists()
    assert err.index("damaged: a part of the file cannot be read") < err.index("passed through unchanged")


def test_what_is_not_kept_is_told_before_and_in_the_summary_or_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", "yuv420p", "libvpx-vp9", sound=Sound("flac"))
    arguments = ["in.mkv", "-o", "out.webm", "--strength", "0"]
    code, out, _ = call(*arguments, "--dry-run", folder=tmp_path)
    assert code == 0 and "left out: audio stream 1 (flac)" in out and "webm does not take it" in out
    code, _, err = call(*arguments, "--strict", folder=tmp_path)
    assert code == 2 and "--strict" in err and "flac" in err and not (tmp_path / "out.webm").exists()
    code, out, err = call(*arguments, "--json", folder=tmp_path)
    summary = json.loads(out)
    assert code == 0 and err.count("flac") == 1
    assert {"what": "audio stream 1 (flac)", "how": "left out"}.items() <= summary["fates"][-1].items()
    assert any("flac" in warning for warning in summary["warnings"])


def test_gaps_can_be_meant(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in (1, 2, 4):
        write_still(tmp_path / "in" / f"{number}.png", np.zeros((8, 8, 3), np.uint8), Told())
    code, _, err = call("in", "-o", "out", "--strength", "0", folder=tmp_path)
    assert code == 3 and "--gaps ignore" in err
    code, _, err = call("in", "-o", "out", "--strength", "0", "--gaps", "ignore", folder=tmp_path)
    assert code == 0 and sorted(os.listdir(tmp_path / "out")) == [f"frame_{n:06d}.png" for n in (1, 2, 4)]


def test_space_is_named_only_where_it_is_the_cause(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv")
    (tmp_path / "taken").mkdir(mode=0o500)
    for output in ("/proc/out.mkv", "/dev/null/out.mkv", "taken/x.mkv" if os.geteuid() else "/sys/out.mkv"):
        code, _, err = call("in.mkv", "-o", output, "--strength", "0", folder=tmp_path)
        assert code == 4 and "free space" not in err, err
        assert "writable" in err or "not a folder" in err
