"""A short run of the script that kills jobs; the long one is started by hand."""

from pathlib import Path

import kill
import pytest


@pytest.mark.parametrize(("codec", "kills"), [("ffv1", 2), ("x264", 1), ("x265", 1)])
def test_killed_jobs_go_on_to_the_same_bytes(codec: str, kills: int, tmp_path: Path) -> None:
    kill.three_scenes(tmp_path / "in.mkv", 120)
    found = kill.kill_and_go_on(tmp_path / "in.mkv", tmp_path, codec, kills, seed=3, piece=20)
    assert len(found) == kills and all(one.same for one in found)
    assert any(one.kept for one in found) or kills == 1
