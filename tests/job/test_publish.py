"""Nothing stands under the final name before it is complete."""

from pathlib import Path

import pytest

from vnlsdenoise.errors import OutputError
from vnlsdenoise.job.publish import check_space, publish_file, publish_folder, remove_leftovers


def test_a_file_appears_only_at_the_end(tmp_path: Path) -> None:
    final = tmp_path / "out.mkv"
    final.write_text("old")
    with publish_file(final) as temporary:
        temporary.write_text("new")
        assert final.read_text() == "old"
    assert final.read_text() == "new"
    assert list(tmp_path.iterdir()) == [final]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    for published in (publish_file(tmp_path / "out"), publish_folder(tmp_path / "out", "%d.png")):
        with pytest.raises(RuntimeError), published:
            raise RuntimeError
        assert list(tmp_path.iterdir()) == []


def test_a_folder_is_added_to(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with publish_folder(tmp_path / "out", name) as temporary:
            (temporary / name).touch()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_added_to_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    with publish_folder(Path(), "a.png") as temporary:
        (temporary / "a.png").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a.png"]


def test_who_writes_another_image_of_a_folder_is_left_alone(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        with publish_folder(tmp_path / "out", "a.png") as temporary:
            (temporary / "a.png").touch()
            remove_leftovers(tmp_path / "out", name)
            assert temporary.exists() == (name == "b.png")
            temporary.mkdir(exist_ok=True)


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for final in (tmp_path / "missing" / "out", tmp_path / "file" / "out", tmp_path / "folder", Path("/proc/out.mkv")):
        with pytest.raises(OutputError, match="cannot write"), publish_file(final):
            pass


def test_a_full_disk_is_seen_before(tmp_path: Path) -> None:
    check_space(tmp_path / "out", 1)
    with pytest.raises(OutputError, match="free"):
        check_space(tmp_path / "out", 1 << 60)


def test_very_long_names_work(tmp_path: Path) -> None:
    final = tmp_path / ("é" * 125 + ".mkv")
    with publish_file(final) as temporary:
        temporary.touch()
    assert final.exists()
