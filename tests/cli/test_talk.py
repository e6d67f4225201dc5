"""What is said before, during and after the work, and where options come from."""

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import termios
import tomllib
from pathlib import Path

import pytest
from calling import COMMAND, assert_error, call
from clips import write_clip

FAST = ("--sigma", 4, "--preset", "fast", "--device", "cpu")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_clip(tmp_path / "in.mkv", count=10)
    return tmp_path / "in.mkv"


@pytest.fixture(autouse=True)
def _own_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_the_first_line_tells_what_will_be_done_and_the_last_what_was(clip: Path) -> None:
    code, _, err = call(clip, "-o", clip.with_name("out.mkv"), *FAST)
    assert code == 0
    line, last = err.splitlines()
    for words in ("in.mkv: 32x24 yuv420p, 10 frames", "sigma 4.00", "classic, fast", "on CPU", "MiB", "about 0 s"):
        assert words in line
    assert re.fullmatch(r"vnlsdenoise: 10 frames written to .*out\.mkv in \d+ s", last)
    assert call(clip, "-o", clip.with_name("out.mkv"), "-q", "-y", *FAST)[2] == ""


def test_progress_as_json_knows_its_stages(clip: Path) -> None:
    code, out, err = call(clip, "-o", clip.with_name("out.mkv"), "--progress", "json", "--json", *FAST)
    assert code == 0
    events = [json.loads(line) for line in err.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"] == ["start", "scene", "done"]
    assert events[0]["device"] == "cpu" and events[0]["frames"] == 10 and events[0]["memory"] > 0
    first = next(event for event in events if event["event"] == "progress")
    assert first["stage"] == "analyse" and 0 < first["done"] < 1 and first["analysed"] >= 1
    assert {"frame", "frames", "fps", "eta_s", "denoised", "encoded"} <= set(first)
    summary = json.loads(out)
    assert summary["frames"] == 10 and summary["seconds"]["all"] > 0 and "predicted_seconds" in summary


def test_the_bar_moves_while_frames_are_in_flight(tmp_path: Path) -> None:
    """A run on a terminal: the bar counts what is analysed before the first frame comes out, and ends at 100 %."""
    write_clip(tmp_path / "in.mkv", count=60, size=(96, 64))
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 140))
    arguments = [*COMMAND, str(tmp_path / "in.mkv"), "-o", str(tmp_path / "out.mkv"), *map(str, FAST)]
    process = subprocess.Popen(arguments, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert process.wait(60) == 0
    shown = re.findall(r"(\d+)%\|.*?\| frame (\d+) of 60(?: \((\d+) analysed)?", said.decode())
    assert any(int(percent) > 0 and frame == "0" and int(analysed or 0) > 12 for percent, frame, analysed in shown)
    assert shown[-1][:2] == ("100", "60")


def test_the_log_holds_everything_whatever_is_said(clip: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    assert call(clip, "-o", clip.with_name("out.mkv"), "-q", "--log-file", log, *FAST)[:2] == (0, "")
    assert call(clip, "-o", clip.with_name("out.mkv"), "-q", "--log-file", log, *FAST)[0] == 2
    text = log.read_text()
    assert "10 frames written" in text and "error: output" in text and "exists" in text
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", line) for line in text.splitlines())
    assert_error(call(clip, "-o", clip.with_name("x.mkv"), "--log-file", tmp_path / "no" / "log"), 4, "log")


def test_options_go_through_a_file_and_back(clip: Path, tmp_path: Path) -> None:
    wish = (
        "--sigma",
        "3,2,1",
        "--codec",
        "ffv1",
        "--max-memory",
        "3GiB",
        "--encoder-opt",
        "slices=4",
        "--strict",
        "-v",
    )
    wish += (
        "--encoder-opt",
        "g=1",
        "--raw-size",
        "32x24",
        "--raw-rate",
        "24000/1001",
        "--fail-fast",
        "--keep-grain",
        0.25,
    )
    code, printed, err = call("--print-config", *wish)
    assert (code, err) == (0, "")
    options = tomllib.loads(printed)
    assert options["sigma"] == "3,2,1" and options["encoder-opt"] == ["slices=4", "g=1"] and options["strict"] is True
    assert options["keep-going"] is False and options["max-memory"] == 3 << 30
    file = tmp_path / "options.toml"
    file.write_text(printed)
    assert call("--config", file, "--print-config")[1] == printed
    # The command line wins over the environment, which wins over the file.
    assert tomllib.loads(call("--config", file, "--print-config", VNLSDENOISE_CODEC="hevc")[1])["codec"] == "hevc"
    code, printed, _ = call("--config", file, "--print-config", "--codec", "vp9", VNLSDENOISE_CODEC="hevc")
    assert tomllib.loads(printed)["codec"] == "vp9"
    file.write_text('strength = 0.0\nprogress = "none"\n[encoder-opt]\nslices = 4\n')
    assert call(clip, "-o", clip.with_name("out.mkv"), "--config", file, "--codec", "ffv1")[0] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("presets = 'fast'", "presets"),
        ("dry-run = true", "dry-run"),
        ("preset = ", "no TOML"),
        ("preset = 'slow'", "slow"),
        ("strict = 'yes'", "true or false"),
        ("encoder-opt = 'a=b'", "a list"),
        ("codec = ['ffv1']", "one value"),
    ],
)
def test_what_a_file_may_not_hold(text: str, words: str, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "options.toml").write_text(text)
    assert_error(call(clip, "-o", tmp_path / "x.mkv", "--config", tmp_path / "options.toml"), 2, words)
    assert_error(call(clip, "-o", tmp_path / "x.mkv", "--config", tmp_path / "none.toml"), 2, "none.toml")


def test_the_file_of_the_user_is_found(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "config" / "vnlsdenoise").mkdir(parents=True)
    (tmp_path / "config" / "vnlsdenoise" / "config.toml").write_text("preset = 'best'\n")
    assert tomllib.loads(call("--print-config")[1])["preset"] == "best"
    assert call("info", clip)[0] == 0


def test_what_a_run_took_is_remembered_for_the_next_prediction(tmp_path: Path) -> None:
    from vnlsdenoise.engine.settings import DenoiseSettings
    from vnlsdenoise.job.speed import predict_seconds, remember
    from vnlsdenoise.video.frame import PlaneFormat

    format, settings = PlaneFormat("yuv", 320, 240, 8, 1, 1), DenoiseSettings(None, preset="fast")
    before = predict_seconds(format, settings, 100)
    remember(format, settings, 50, before)  # half as fast
    assert predict_seconds(format, settings, 100) == pytest.approx(2 * before, rel=1e-3)
    bigger = PlaneFormat("yuv", 640, 480, 8, 1, 1)
    assert predict_seconds(bigger, settings, 100) == pytest.approx(8 * before, rel=1e-3)
    (tmp_path / "cache" / "vnlsdenoise" / "speeds.json").write_text("no JSON")
    assert predict_seconds(format, settings, 100) == pytest.approx(before)


def by_shell_told(where: str, *arguments: object) -> tuple[int, str]:
    """(exit code, stderr) of one call whose streams go elsewhere, as the shell is told by `where`."""
    words = shlex.join([*COMMAND, *map(str, arguments)])
    done = subprocess.run(["bash", "-c", f"{words} {where}"], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def by_shell(where: str, *arguments: object) -> int:
    """The exit code of `by_shell_told`."""
    return by_shell_told(where, *arguments)[0]


@pytest.mark.parametrize(
    ("where", "progress"), [("2>/dev/full", "bar"), ("2>/dev/full", "json"), ("<&- >&- 2>&-", "auto")]
)
def test_what_cannot_be_said_does_not_end_the_run(where: str, progress: str, clip: Path) -> None:
    out = clip.with_name("out.mkv")
    assert by_shell(where, clip, "-o", out, "--strength", 0, "--progress", progress) == 0
    assert out.exists() and by_shell(where, "nothing.mkv", "-o", clip.with_name("no.mkv")) == 3


def test_a_log_on_a_full_disk_is_given_up_with_a_word(clip: Path) -> None:
    code, _, said = call(clip, "-o", clip.with_name("out.mkv"), "--log-file", "/dev/full", "--strength", 0)
    assert code == 0 and said.count("cannot be written any more") == 1


@pytest.mark.parametrize(
    ("command", "where"),
    [
        ("info", ">/dev/full"),
        ("info", ">&-"),
        ("--print-config", "1</dev/null"),
        ("--dry-run --strength 0", ">&-"),
        ("--help", ">&-"),
    ],
)
def test_data_that_cannot_be_written_to_stdout_ends_with_4_and_a_word(command: str, where: str, clip: Path) -> None:
    code, said = by_shell_told(where, *command.split(), clip)
    assert code == 4 and "error: cannot write to stdout; " in said and said.count("\n") == 1, said


@pytest.mark.parametrize(("command", "encoding"), [("info", "utf-8"), ("--help", "utf-8"), ("info", "ascii")])
def test_data_that_nobody_reads_ends_quietly_with_4(
    command: str, encoding: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    assert by_shell_told("| true; exit ${PIPESTATUS[0]}", *command.split(), clip) == (4, "")


def test_inputs_do_not_fail_for_what_cannot_be_said_of_them(clip: Path) -> None:
    """What is planned for them has no room on stdout, which is no fault of theirs."""
    shutil.copy(clip, clip.with_name("other.mkv"))
    both = (clip, clip.with_name("other.mkv"))
    code, said = by_shell_told(">/dev/full", *both, "--dry-run", "-o", clip.with_name("out"), "--strength", 0)
    assert code == 4 and "failed" not in said, said


def test_a_pipe_that_is_closed_is_told(clip: Path) -> None:
    assert by_shell(">&-", clip, "-o", "-", "--strength", 0) == 4
    assert by_shell("<&-", "-", "-o", clip.with_name("out.mkv"), "--strength", 0) == 3
