"""A short run of the script that kills jobs; the long one is started by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill.py")


@pytest.mark.parametrize(("codec", "kills"), [("ffv1", 1), ("x264", 1)])
def test_killed_jobs_go_on_to_the_same_bytes(codec: str, kills: int) -> None:
    command = [sys.executable, str(SCRIPT), "--codec", codec, "--kills", str(kills), "--frames", "120", "--piece", "20"]
    done = subprocess.run([*command, "--seed", "3"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" yes\n") == kills
