"""Names that may not be looked at, read or written: told as what they are, each with its exit code."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from calling import assert_error, call
from clips import write_clip

from vnlsdenoise.video.stills import Told, write_still

SAME = ("--strength", 0)
_DROP_FROM_BOUNDS, _OVERRIDE, _READ_AND_SEARCH = 24, 1, 2  # of Linux's prctl and its capabilities


def as_anyone() -> None:
    """Let rights count for the superuser, too."""
    for capability in (_OVERRIDE, _READ_AND_SEARCH):
        ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDS, capability, 0, 0, 0)


def call_as_anyone(*arguments: object) -> tuple[int, str, str]:
    return call(*arguments, before=as_anyone)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Takes all rights of a file or folder away until the test ends."""
    paths: list[Path] = []

    def lock(path: Path) -> Path:
        path.chmod(0)
        paths.append(path)
        return path

    yield lock
    for path in paths:
        path.chmod(0o700)


@pytest.mark.parametrize("wish", [("info",), ("denoise", "-o", "out.mkv")])
def test_an_input_that_may_not_be_read_ends_with_3(
    wish: tuple[str, ...], tmp_path: Path, locked: Callable[[Path], Path]
) -> None:
    write_clip(tmp_path / "in.mkv", count=2)
    command, *more = wish
    found = call_as_anyone(command, locked(tmp_path / "in.mkv"), *more)
    assert_error(found, 3, "in.mkv cannot be read", "Permission denied")


def test_a_place_out_of_reach_ends_with_3_or_4_before_the_work(tmp_path: Path, locked: Callable[[Path], Path]) -> None:
    write_clip(tmp_path / "in.mkv", count=2)
    closed = tmp_path / "closed"
    closed.mkdir()
    locked(closed)
    film, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    assert_error(call_as_anyone(closed / "in.mkv", "-o", out), 3, "cannot be looked at", "Permission denied")
    for wish in (
        ("-o", closed / "out.mkv"),
        ("-o", out, "--workdir", closed),
        ("-o", out, "--workdir", closed / "within"),
        ("-o", out, "--report", closed / "r"),
    ):
        code, _, said = call_as_anyone(film, *wish, *SAME, "-q")
        assert code == 4 and "Permission denied" in said, (wish, said)
    assert_error(call(film, "-o", out, *SAME, "-q", "--report", tmp_path / "none" / "r.json"), 4, "no folder")
    assert_error(call("a" * 300 + ".mkv", "-o", out), 3, "too long")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed", "in.mkv"]


def test_a_folder_that_may_be_written_needs_not_be_read(tmp_path: Path, locked: Callable[[Path], Path]) -> None:
    write_clip(tmp_path / "in.mkv", count=2)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    locked(inbox).chmod(0o300)
    code, _, said = call_as_anyone(tmp_path / "in.mkv", "-o", inbox / "out.mkv", *SAME)
    assert code == 0, said
    inbox.chmod(0o700)
    assert sorted(path.name for path in inbox.iterdir()) == ["out.mkv", "out.mkv.json"]


def test_what_a_tree_holds_beside_films_is_told_and_a_closed_folder_in_it_fails(
    tmp_path: Path, locked: Callable[[Path], Path]
) -> None:
    tree = tmp_path / "films"
    for name in ("a.mkv", "closed/b.mkv"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(tree / name, count=2)
    write_clip(tree / "moves.gif", "bgr8", "gif", count=3, size=(16, 16))
    (tree / "shot").mkdir()
    write_still(tree / "shot" / "0001.png", np.zeros((16, 16, 3), np.uint8), Told())
    (tree / "shot" / "0002.jpg").write_bytes(b"a photograph")
    (tree / "elsewhere").symlink_to(tmp_path)
    (tree / "out" / "shot").mkdir(parents=True)
    (tree / "out" / "shot" / "0001.jpg").write_bytes(b"a photograph of an output")
    locked(tree / "closed")
    out = tree / "out"
    code, _, said = call_as_anyone(tree, "-o", out, "--recursive", "--report", "none", *SAME)
    assert code == 9, said
    assert said.count("shot holds 1 .jpg, left out") == 1 and "elsewhere is a link to a folder" in said
    assert "closed cannot be read; Permission denied" in said
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == ["a.mkv", "moves.mkv", "shot/0001.jpg", "shot/0001.png"]
