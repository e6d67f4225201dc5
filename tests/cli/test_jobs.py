"""Jobs as a user meets them: exit codes, the report, `verify` and `resume`."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from calling import called
from clips import write_clip

from vnlsdenoise.video.read import VideoReader

COMMAND = [sys.executable, "-c", "from vnlsdenoise.cli.main import main; main()"]


def call(*arguments: object, program: str = "") -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of one call. program: what is done before the command line is called."""
    command = [COMMAND[0], "-c", program + COMMAND[2], *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def job(tmp_path: Path) -> list[object]:
    write_clip(tmp_path / "in.mkv", count=30)
    wish = ["--strength", 0, "--lossless", "--piece", 10, "--progress", "none"]
    return [tmp_path / "in.mkv", "-o", tmp_path / "out.mkv", *wish]


def test_verify_ends_with_0_8_and_3(job: list[object], tmp_path: Path) -> None:
    assert call(*job) == (0, "", "")
    output = tmp_path / "out.mkv"
    code, out, err = call("verify", output)
    assert code == 0 and "all 30 frames decode" in out and err == ""
    (tmp_path / "in.mkv").rename(tmp_path / "moved.mkv")
    code, out, err = call("verify", output, "--json")
    assert code == 0 and json.loads(out)["input_is_same"] is False and "the input is not there" in err
    output.write_bytes(output.read_bytes()[:-1])
    code, out, err = call("verify", output)
    assert code == 8 and "not what its report tells" in err
    assert call("verify", output, "--report", tmp_path / "none.json")[0] == 3


ENTRIES = [
    "output",
    "input",
    "frames",
    "request",
    "pts",
    "output/bytes",
    "output/sha256",
    "input/path",
    "pts/from_first",
]


def test_a_report_that_has_rotted_ends_with_3_and_its_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "in.mkv", count=2)
    wish = [tmp_path / "in", "-o", tmp_path / "out", "--strength", 0, "--lossless", "--progress", "none"]
    assert called(*wish)[0] == 0
    output = tmp_path / "out" / "in.mkv"
    report = output.with_name("in.mkv.json")
    facts = json.loads(report.read_text())
    for entry, value in itertools.product(ENTRIES, (None, [3])):
        first, _, second = entry.partition("/")
        report.write_text(json.dumps({**facts, first: {**facts[first], second: value} if second else value}))
        code, _, err = called("verify", output)
        assert code == 3 and str(report) in err and first in err, (entry, value, err)
        # What nothing is known of is not skipped.
        code, _, err = called(*wish)
        assert code == 9 and "exists" in err, (entry, value, err)
    report.write_text(json.dumps({**facts, "output": {**facts["output"], "images": ["\0"]}}))
    assert called("verify", output)[0] == 3


def test_the_report_goes_where_it_is_asked_to(job: list[object], tmp_path: Path) -> None:
    code, out, _ = call(*job, "--report", "-")
    assert code == 0 and json.loads(out)["frames"] == 30
    assert call(*job, "-y", "--report", "none")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.mkv"]
    assert call(*job, "-y", "--report", tmp_path / "r.json")[0] == 0
    assert json.loads((tmp_path / "r.json").read_text())["output"]["path"] == str(tmp_path / "out.mkv")
    (tmp_path / "out.mkv.json").write_text("a list of mine")
    code, _, err = call(*job, "-y")
    assert code == 2 and "is no report" in err and (tmp_path / "out.mkv.json").read_text() == "a list of mine"


def test_resume_require_without_work_ends_with_2(job: list[object]) -> None:
    code, _, err = call(*job, "--resume", "require")
    assert code == 2 and "there is no unfinished work" in err


def test_an_input_that_changes_ends_with_3(job: list[object], tmp_path: Path) -> None:
    """It grows while the last piece is finished."""
    grows = (
        "import vnlsdenoise.job.workdir as w\nreal = w.WorkFolder.finish_reading\n"
        "def finish(self, told):\n    real(self, told)\n    open("
        + repr(str(tmp_path / "in.mkv"))
        + ", 'ab').write(b'x')\n"
        "w.WorkFolder.finish_reading = finish\n"
    )
    code, _, err = call(*job, program=grows)
    assert code == 3 and "was changed while it was read" in err
    assert not (tmp_path / "out.mkv").exists()
    code, _, err = call(*job)
    assert code == 0 and "the input was changed" in err and "begins anew" in err


def test_the_plan_tells_of_the_room_that_is_needed(job: list[object]) -> None:
    code, out, _ = call(*job, "--dry-run")
    assert code == 0 and "disk:" in out
    disk = json.loads(call(*job, "--dry-run", "--json")[1])["disk"]
    assert disk["peak"] == 2 * disk["result"] > 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_killed_around_its_end_only_ends(moment: str, job: list[object], tmp_path: Path) -> None:
    """Between all pieces and the result, and between the result and its report."""
    place = "note_publishing" if moment == "before" else "remove"
    killed = f"import os, vnlsdenoise.job.workdir as w\nw.WorkFolder.{place} = lambda *_: os.kill(os.getpid(), 9)\n"
    begun = (
        "real = w.WorkFolder.begin\nw.WorkFolder.begin = lambda self, m: (self.path.mkdir(), self._put(w._MANIFEST, "
    )
    begun += "{'format': w.FORMAT, **m}))\n"
    assert call(*job, program=killed + begun)[0] == -9
    assert (tmp_path / "out.mkv").exists() is (moment == "after")
    code, out, err = call(*job, "--json")
    assert code == 0 and json.loads(out)["kept"] == 30, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.mkv", "out.mkv.json"]
    assert len(list(VideoReader(tmp_path / "out.mkv"))) == 30


def test_resume_does_not_overwrite_unasked(job: list[object], tmp_path: Path) -> None:
    killed = "import os, vnlsdenoise.job.run as r\nr.assemble_video = lambda *_: os.kill(os.getpid(), 9)\n"
    assert call(*job, program=killed)[0] == -9
    [folder] = tmp_path.glob(".*.vnlsdenoise")
    (tmp_path / "out.mkv").write_text("precious")
    code, _, err = call("resume", folder)
    assert code == 2 and "exists" in err and (tmp_path / "out.mkv").read_text() == "precious"
    code, out, err = call("resume", folder, "-y", "--json", "--progress", "none")
    assert code == 0 and json.loads(out)["kept"] == 30, err
    assert call("verify", tmp_path / "out.mkv")[0] == 0
