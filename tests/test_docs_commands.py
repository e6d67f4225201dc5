"""Every command of README and docs is run as it stands, on small films; pages, links and figures are what they say."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from calling import called_here
from clips import write_clip

from vnlsdenoise.bench.speed import SIZES
from vnlsdenoise.compare.vmaf import find_ffmpeg

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What small films are too short and too small for.
SMALLER = {"1:20": "0.04", "1:32": "0.12", "600,200,480,360": "8,8,24,16"}
# Not of this kind of test: they need a run that was killed (tests/cli/test_jobs.py does that).
ELSEWHERE = ("vnlsdenoise resume",)


def lines(page: Path) -> Iterator[str]:
    """The commands of a page: lines of its indented blocks, without their comments."""
    for line in page.read_text().splitlines():
        if line.startswith("    "):
            yield re.split(r"\s+# ", line.strip())[0]


def programs() -> list[tuple[str, str]]:
    """(page, command) of everything that starts this program, once each."""
    found: dict[str, str] = {}
    for page in PAGES:
        for line in lines(page):
            line = line.removeprefix(".venv/bin/")
            words = set(line.split())
            # Those of fleets: tests/fleet runs such, and knows that the options of the page exist.
            if "vnlsdenoise" not in words or words & {"--ray", "--devices"}:
                continue
            if line.startswith((*ELSEWHERE, "import ", "from ", "git ")):
                continue
            for part in line.split("; ") if "|" not in line else [line]:
                found.setdefault(re.sub(r"\s+", " ", part), page.name)
    return [(page, command) for command, page in found.items()]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of every name that the pages use."""
    folder = tmp_path_factory.mktemp("films")
    for name in ("films", "scans", "shot_010", "more", "archive/tape"):
        (folder / name).mkdir(parents=True)
    for name in ("noisy.mkv", "clean.mkv", "other.mkv", "dv.mkv"):
        write_clip(folder / name, size=(48, 32), count=4)
    for name in ("input.mp4", "noisy.mp4", "noisy.mov", "a.mp4", "b.mov", "films/c.mp4", "archive/tape/d_raw.mov"):
        write_clip(folder / name, encoder="libx264", size=(48, 32), count=4)
    shutil.copy(folder / "noisy.mkv", folder / "in.mkv")
    shutil.copy(folder / "noisy.mkv", folder / "more" / "e.mkv")
    random = np.random.default_rng(0)
    for index in range(3):
        for place in ("scans", "shot_010"):
            image = random.integers(0, 255, (32, 48, 3)).astype(np.uint8)
            tifffile.imwrite(folder / place / f"s{index}.tif", image)
    return folder


@pytest.fixture
def here(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with these inputs."""
    shutil.copytree(films, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(SIZES, "240p", (48, 64))
    return tmp_path / "here"


@pytest.mark.parametrize(("page", "command"), programs())
def test_every_command_runs(page: str, command: str, here: Path) -> None:
    if "|" in command:
        run_in_a_shell(command)
        return
    words = [SMALLER.get(word, word) for word in shlex.split(command)[1:]]
    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    lent = "cuda" if devices else "cpu"
    words = [lent if word.startswith("cuda") and word not in devices else word for word in words]
    if words[0] == "verify":
        called_here(*[words[1].replace("clean", "noisy"), "-o", words[1], "--preset", "fast"])
    elif words[0] == "compare" and words[2] == "clean.mp4":
        called_here(*["noisy.mp4", "-o", "clean.mp4", "--preset", "fast"])
    elif "-o" in words and (output := Path(words[words.index("-o") + 1])).is_file():
        output.unlink()
    called_here(*words)


def run_in_a_shell(command: str) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    command = command.removeprefix("... | ").removesuffix(" | ...")
    if "ffmpeg" not in command:
        # The page leaves open what comes before and after.
        size = re.search(r"--raw-size (\d+x\d+)", command)
        before = "ffmpeg -v error -i in.mkv -f yuv4mpegpipe -strict -1 -"
        if size is not None:
            layout = re.search(r"--raw-format (\S+)", command)
            assert layout is not None
            command = command.replace(size[1], "48x32")
            before = f"ffmpeg -v error -i in.mkv -f rawvideo -pix_fmt {layout[1]} -"
        command = f"{before} | {command}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, env={**os.environ, "PATH": path}, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()


def test_every_benchmark_and_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    told = 0
    for page in PAGES:
        for line in lines(page):
            words = line.split()
            if words[:1] == ["python"] and words[1].startswith("tests/"):
                script = ROOT / words[1]
                beside = [script, ROOT / "tests" / "benchmarks" / "clips.py"]
                known = "".join(path.read_text() for path in beside)
                for option in (word for word in words[2:] if word.startswith("--")):
                    assert f'"{option}"' in known, f"{page.name}: {words[1]} has no {option}"
                told += 1
            for target in re.findall(r"\bmake ([a-z-]+)", line):
                assert re.search(rf"^{target}:", makefile, re.M), f"{page.name}: no target {target}"
    assert told > 10


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        text = page.read_text()
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
        for name in re.findall(
            r"(?<![\w/.])((?:docs|tests|vnlsdenoise|csrc)/[\w/.-]+\.(?:md|py|json|cpp|cu|h))\b", text
        ):
            assert (ROOT / name).exists() or "blur" in name, f"{page.name}: {name}"


def test_the_readme_is_read_in_five_minutes() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120 and len(text.split()) < 1300
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120
    assert all(f"docs/{page.name}" in text for page in PAGES[1:] if page.name not in ("installing.md",))


def test_figures_are_those_of_the_json() -> None:
    command = [sys.executable, ROOT / "tests" / "benchmarks" / "figures.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_exit_codes_of_the_pages_are_the_same() -> None:
    codes = []
    for name in ("jobs.md", "troubleshooting.md"):
        rows = re.findall(r"^\| ([\d, ]+) \|", (ROOT / "docs" / name).read_text(), re.M)
        codes.append([row.split(", ") for row in rows])
    assert codes[0] == codes[1]


def test_vmaf_is_where_the_page_says() -> None:
    pytest.importorskip("imageio_ffmpeg")
    assert find_ffmpeg() is not None
