"""A short run of the fuzzing script over every container and kind of image; the long one is started by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz.py")


@pytest.mark.parametrize("seed", [0])
def test_mutated_files_end_well_or_with_a_reason(seed: int, tmp_path: Path) -> None:
    # In a process of its own, which forks: the one of the tests has threads.
    command = [sys.executable, str(SCRIPT), "--count", "44", "--seed", str(seed), "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "44 files, 0 faults" in done.stdout
