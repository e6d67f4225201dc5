"""Video through stdin and stdout, as in `ffmpeg ... | vnlsdenoise - -o - | ffmpeg ...`."""

import io
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from calling import COMMAND, call
from clips import Sound, write_clip

from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.video.read import VideoReader

FORMATS = ["yuv420p", "yuv420p9le", "yuv422p10le", "yuv444p16le", "yuv411p", "yuva444p", "gray", "gray12le"]
ROOT = Path(__file__).resolve().parent.parent.parent
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="needs the ffmpeg program (apt-get install ffmpeg)"
)


def piped(*arguments: object, given: bytes = b"") -> tuple[int, bytes, str]:
    """(exit code, stdout, stderr) of one call that is given bytes through stdin."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], input=given, capture_output=True, timeout=120)
    return done.returncode, done.stdout, done.stderr.decode()


def y4m(pix_fmt: str = "yuv420p", count: int = 5, size: tuple[int, int] = (18, 14)) -> bytes:
    """A film of noise, as FFmpeg's own muxer writes it."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="yuv4mpegpipe", container_options={"strict": "-1"}) as output:
        stream: Any = output.add_stream("rawvideo", rate=30)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        mask = (1 << max(part.bits for part in stream.codec_context.format.components)) - 1
        random = np.random.default_rng(2)
        for index in range(count):
            frame = av.VideoFrame(*size, pix_fmt)
            for plane in frame.planes:
                samples = random.integers(0, mask + 1, plane.buffer_size // (1 if mask == 255 else 2))
                plane.update(samples.astype(np.uint8 if mask == 255 else "<u2").tobytes())
            frame.pts = index
            output.mux(stream.encode(frame))
    return memory.getvalue()


def body(film: bytes) -> bytes:
    """Everything after the header."""
    return film.partition(b"\n")[2]


def raw(film: bytes) -> bytes:
    """The samples alone."""
    frames = body(film).split(b"FRAME\n")
    assert frames[0] == b""
    return b"".join(frames[1:])


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_y4m_passes_through_bit_for_bit(pix_fmt: str) -> None:
    film = y4m(pix_fmt)
    code, out, err = piped("-", "-o", "-", "--strength", 0, "-q", given=film)
    assert (code, err) == (0, "")
    assert body(out) == body(film)
    words = film.split(b"\n")[0].split()
    assert set(words) - {b"A0:0"} <= set(out.split(b"\n")[0].split())


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gray16le", "rgb24", "gbrp12le"])
def test_raw_video_passes_through_bit_for_bit(pix_fmt: str) -> None:
    size = av.VideoFormat(pix_fmt, 16, 12)
    length = sum(part.width * part.height for part in size.components) * (2 if size.components[0].bits > 8 else 1)
    random = np.random.default_rng(0)
    samples = random.integers(0, 256, 3 * length, dtype=np.uint8)
    if size.components[0].bits > 8:
        samples = (samples.view("<u2") & ((1 << size.components[0].bits) - 1)).view(np.uint8)
    given = samples.tobytes()
    wish = ("--raw-size", "16x12", "--raw-format", pix_fmt, "--raw-rate", "24000/1001", "--pipe-format", "rawvideo")
    code, out, err = piped("-", "-o", "-", "--strength", 0, "-q", *wish, given=given)
    assert (code, err) == (0, "")
    assert out == given


def test_a_pipe_gives_what_a_file_gives(tmp_path: Path) -> None:
    """Noise measured, scenes told apart: the frames that come out are those of a file with the same frames."""
    film = y4m("yuv420p", 6, (48, 32))
    (tmp_path / "in.y4m").write_bytes(film)
    reader = VideoReader(tmp_path / "in.y4m")
    wanted = denoise_frames(reader, reader.info.format, DenoiseSettings((9.0, 9.0, 9.0), preset="fast"))
    code, out, err = piped("-", "-o", "-", "--sigma", 9, "--preset", "fast", "--device", "cpu", given=film)
    assert code == 0, err
    assert raw(out) == b"".join(plane.tobytes() for frame in wanted for plane in frame.planes)


def test_pipe_to_file_and_file_to_pipe(tmp_path: Path) -> None:
    film = y4m("yuv422p10le")
    code, _, err = piped("-", "-o", tmp_path / "out.mkv", "--lossless", "--strength", 0, given=film)
    assert code == 0, err
    assert len(list(VideoReader(tmp_path / "out.mkv"))) == 5
    code, out, err = piped(tmp_path / "out.mkv", "-o", "-", "--strength", 0)
    assert code == 0, err
    assert raw(out) == raw(film)


@pytest.mark.parametrize(
    ("ending", "time_base", "pts"),
    [
        (".mkv", Fraction(1, 1000), [0, 42, 83, 125, 167, 208]),
        (".mov", Fraction(1, 24000), [1000 * number for number in range(6)]),
    ],
)
def test_y4m_says_the_rate_of_the_frames_and_not_of_their_ticks(
    ending: str, time_base: Fraction, pts: list[int], tmp_path: Path
) -> None:
    path = tmp_path / f"in{ending}"
    write_clip(path, encoder="mpeg4", time_base=time_base, rate=24, pts=pts)
    code, out, err = piped(path, "-o", "-", "--strength", 0)
    assert (code, err.count("warning")) == (0, 0), err
    assert b" F24:1 " in out.partition(b"\n")[0]
    with av.open(io.BytesIO(out), format="yuv4mpegpipe") as film:
        assert [frame.pts * frame.time_base for frame in film.decode(video=0)] == [Fraction(n, 24) for n in range(6)]


@pytest.mark.parametrize(("pix_fmt", "comes"), [("nv12", "yuv420p"), ("pal8", "rgb24"), ("bgra", None)])
def test_raw_video_that_comes_out_in_another_format_is_told(pix_fmt: str, comes: str | None) -> None:
    given = bytes(range(256)) * 48  # whole frames of each
    wish = ("--raw-size", "32x32", "--raw-format", pix_fmt, "--pipe-format", "rawvideo", "--strength", 0)
    code, _, err = piped("-", "-o", "-", *wish, given=given)
    assert code == 0
    assert (f"raw video comes out as {comes}, not as {pix_fmt}" in err) == (comes is not None), err


@pytest.mark.parametrize("part", [("--frames", "5:9"), ("--start", "3")])
@pytest.mark.parametrize("output", ["-", "out.mkv"])
def test_a_part_that_a_pipe_does_not_reach_ends_with_2(part: tuple[str, str], output: str, tmp_path: Path) -> None:
    where = output if output == "-" else tmp_path / output
    code, _, err = piped("-", "-o", where, *part, "--strength", 0, given=y4m(count=5))
    assert code == 2 and "- has 5 frames, the last one at 0.13 s; nothing of it is in the part" in err
    assert not list(tmp_path.iterdir())


def test_what_a_pipe_does_not_hold_is_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", pts=[0, 1, 2, 9, 10, 11], sound=Sound(audio="flac"))
    code, out, err = piped(tmp_path / "in.mkv", "-o", "-", "--strength", 0)
    assert code == 0 and out.startswith(b"YUV4MPEG2")
    assert "audio stream" in err and "left out" in err and "even times" in err
    assert piped(tmp_path / "in.mkv", "-o", "-", "--strict")[0] == 2
    code, out, _ = piped("-", "--dry-run", "--sigma", 3, given=y4m())
    assert code == 0 and b"resume:" in out


def test_a_film_that_is_cut_off_ends_with_7_and_holds_every_whole_frame() -> None:
    film = y4m(count=5)
    code, out, err = piped("-", "-o", "-", "--strength", 0, given=film[:-40])
    assert code == 7 and "cut off" in err
    assert body(film).startswith(body(out)) and out.count(b"FRAME\n") == 4
    code, out, err = piped("-", "-o", "-", "--strength", 0, "--on-damage", "fail", given=film[:-40])
    assert code == 3 and "cut off" in err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "nothing came"),
        (b"no video at all\n" * 99, "no y4m"),
        (b"YUV4MPEG2 W16 H16 F25:1\n", "no whole frame"),
        (
            b"YUV4MPEG2 W16 H16 F25:1 C440\nFRAME\n" + bytes(512),
            "a kind that is not read: YUV4MPEG2 W16 H16 F25:1 C440;",
        ),
        (b"YUV4MPEG2 W16 H16 F25:1 Im\nFRAME\n" + bytes(384), "with fields in every frame or in none"),
        (b"YUV4MPEG2 W99999 H99999 F25:1\nFRAME\n" + bytes(384), "up to 256 Mi pixels"),
        (b"YUV4MPEG2 W16 H16 F25:1\nFRAMX\n" + bytes(384), "see what broke it"),
    ],
)
def test_what_is_no_video_is_named(given: bytes, words: str, tmp_path: Path) -> None:
    code, _, err = piped("-", "-o", tmp_path / "out.mkv", given=given)
    assert code == 3 and words in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_options_that_cannot_be_meant(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv")
    for wish in (("--codec", "ffv1"), ("--crf", 3), ("--raw-size", "16x16"), ("--raw-rate", 5), ("--json",)):
        code, out, err = piped(tmp_path / "in.mkv", "-o", "-", *wish)
        assert (code, out) == (2, b""), err
    code, out, err = piped("-", "-o", "-", "--raw-size", "18x14", given=y4m())
    assert (code, out) == (2, b"") and "leave --raw-size out" in err
    assert piped("-", "-o", "-", "--raw-size", "16by16")[0] == 2
    assert piped("-", "-o", "-", "--raw-size", "16x16", "--raw-format", "nope")[0] == 3


def test_terminals_are_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv")
    ours, theirs = pty.openpty()
    try:
        for arguments, which in (((str(tmp_path / "in.mkv"), "-o", "-"), "stdout"), (("-", "-o", "x.mkv"), "stdin")):
            streams: dict[str, Any] = {which: theirs}
            done = subprocess.run([*COMMAND, *arguments], stderr=subprocess.PIPE, timeout=60, **streams)
            assert done.returncode == 2 and which.encode() in done.stderr and b"terminal" in done.stderr
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("command", ["info", "estimate", "preview"])
def test_stdin_is_of_denoise_alone(command: str, tmp_path: Path) -> None:
    code, _, err = piped(command, "-", given=y4m())
    assert code == 2 and "only denoise reads" in err


def test_a_reader_that_goes_ends_the_run_quietly_with_4(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(256, 192), count=40)
    for wish in (
        ["--strength", "0", "--progress", "none"],
        ["--preset", "fast", "--sigma", "4", "--device", "cpu", "--progress", "none"],
    ):
        process = subprocess.Popen(
            [*COMMAND, str(tmp_path / "in.mkv"), "-o", "-", *wish], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(20)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 4
        process.stderr.close()


@pytest.mark.parametrize("stuck", ["before", "behind"])
def test_a_signal_ends_a_run_whose_neighbour_is_stuck(stuck: str) -> None:
    film = y4m(count=400, size=(160, 120))
    process = subprocess.Popen(
        [*COMMAND, "-", "-o", "-", "--strength", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL if stuck == "before" else subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        os.write(process.stdin.fileno(), film[:1000])  # and no more
        if stuck == "behind":
            os.set_blocking(process.stdin.fileno(), False)
            written, until = 1000, time.monotonic() + 6
            while time.monotonic() < until and written < len(film):  # until neither side takes any more
                try:
                    written += os.write(process.stdin.fileno(), film[written : written + 65536])
                except BlockingIOError:
                    time.sleep(0.05)
        else:
            time.sleep(4)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@needs_ffmpeg
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gray"])
def test_between_two_ffmpegs(pix_fmt: str, tmp_path: Path) -> None:
    """The line that docs/pipes-and-folders.md shows."""
    write_clip(tmp_path / "in.mkv", pix_fmt, size=(48, 32))
    ours = f"{sys.executable} -c 'from vnlsdenoise.cli.main import main; main()'"
    page = (ROOT / "docs" / "pipes-and-folders.md").read_text()
    [line] = [line.strip() for line in page.splitlines() if line.startswith("    ffmpeg")]
    line = line.replace("vnlsdenoise", ours)
    wish = {"VNLSDENOISE_SIGMA": "5", "VNLSDENOISE_PRESET": "fast", "VNLSDENOISE_DEVICE": "cpu"}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        env={**os.environ, **wish},
    )
    assert done.returncode == 0, done.stderr
    back = VideoReader(tmp_path / "out.mkv")
    assert len(list(back)) == 6 and back.info.pix_fmt == pix_fmt
    assert call("info", tmp_path / "out.mkv")[0] == 0
