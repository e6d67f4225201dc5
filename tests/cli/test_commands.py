"""The command line as a user meets it: its exit codes, its stdout and its stderr."""

import json
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from calling import COMMAND, assert_error, call, called
from clips import write_clip
from films import write_film
from test_clipped_rgb import SD, noisy_frames

from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.learned.checkpoint import Header, load_network, save_network
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.read import VideoReader


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A short lossless clip in a folder of its own."""
    write_clip(tmp_path / "in.mkv", count=8)
    return tmp_path / "in.mkv"


def test_importing_the_command_line_loads_neither_torch_nor_av() -> None:
    code = "import sys, vnlsdenoise.cli.main; print({'torch', 'av', 'numpy', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_help_and_version() -> None:
    for arguments in (["--help"], ["-h"], ["denoise", "--help"], ["info", "--help"], ["estimate", "-h"]):
        code, out, err = call(*arguments)
        assert (code, err) == (0, "") and "Usage" in out
    code, out, _ = call("--version")
    assert code == 0 and out.startswith("vnlsdenoise ") and out.count("\n") == 1
    code, out, err = call()
    assert code == 2 and out == "" and "Usage" in err


def test_denoise_is_the_default_and_strength_zero_is_exact(clip: Path) -> None:
    output = clip.with_name("out.mkv")
    assert call(clip, "-o", output, "--strength", 0, "--lossless", "--progress", "none") == (0, "", "")
    for got, want in zip(VideoReader(output), VideoReader(clip), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(got.planes, want.planes, strict=True))
        assert got.pts == want.pts


def test_strength_zero_does_not_load_torch(clip: Path) -> None:
    code = (
        "import sys\nfrom vnlsdenoise.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    assert 'torch' not in sys.modules\n"
    )
    arguments = [str(clip), "-o", str(clip.with_name("out.mkv")), "--strength", "0"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_denoising_end_to_end(clip: Path) -> None:
    output = clip.with_name("out.mp4")
    code, out, err = call(
        clip, "-o", output, "--sigma", "5", "--device", "cpu", "--preset", "fast", "--json", "--progress", "json"
    )
    assert code == 0, err
    summary = json.loads(out)
    assert summary["frames"] == 8 and summary["settings"]["sigma"] == [5, 5, 5]
    events = [json.loads(line)["event"] for line in err.splitlines() if line.startswith("{")]
    assert events[0] == "start" and events[-1] == "done" and "scene" in events
    scenes = summary["scenes"]
    assert scenes[0]["first"] == 0 and sum(scene["frames"] for scene in scenes) == 8
    assert all(scene["noise"]["planes"][0]["sigma"] == 5 for scene in scenes)
    assert len(list(VideoReader(output))) == 8


def test_options_before_the_input_and_from_the_environment(clip: Path) -> None:
    output = clip.with_name("out.mkv")
    code, out, err = called("--strength", 0, "-o", output, clip, "--dry-run", VNLSDENOISE_CODEC="ffv1")
    assert code == 0 and "ffv1" in out and err == ""
    assert not output.exists()


def test_existing_output(clip: Path) -> None:
    output = clip.with_name("out.mkv")
    output.write_text("precious")
    assert_error(call(clip, "-o", output, "--strength", 0), 2, "exists", "-y")
    code, _, err = called(clip, "-o", output, "--strength", 0, "-n")
    assert code == 0 and "kept" in err and output.read_text() == "precious"
    assert called(clip, "-o", output, "--strength", 0, "-y")[0] == 0
    assert len(list(VideoReader(output))) == 8


def test_usage_errors(clip: Path) -> None:
    output = clip.with_name("out.mkv")
    clip.with_name("link.mkv").symlink_to(clip)
    assert_error(call(clip), 2, "-o OUTPUT")
    assert_error(call(clip, "-o", clip, "-y"), 2, "input itself")
    assert_error(called(clip, "-o", clip.with_name("link.mkv"), "-y"), 2, "input itself")
    assert_error(called(clip, "-o", output, "--no-such-option"), 2, "--no-such-option")
    assert_error(called(clip, "-o", output, "--sigma", "much"), 2, "auto")
    assert_error(called(clip, "-o", output, "--sigma", "nan"), 2, "auto")
    assert_error(called(clip, "-o", output, "--max-memory", "lots"), 2, "4GiB")
    assert_error(called(clip, "-o", output, "--encoder-opt", "x"), 2, "KEY=VALUE")
    assert_error(called(clip, "-o", output, "--codec", "nope"), 2, "nope")
    assert_error(called(clip, "-o", output, "--pix-fmt", "nope"), 2, "--pix-fmt nope")
    for crf in ("much", "nan", "-inf", "-1e9"):
        wish = ["--codec", "h264", "--encoder-opt", f"crf={crf}", "--strength", 0, "--progress", "none"]
        assert_error(called(clip, "-o", output, *wish), 2, "--encoder-opt")
    # As the shell gives a variable that is not set: else the folder one stands in would be meant.
    assert_error(called("", "-o", output, folder=clip.parent), 2, "no name")
    assert_error(called(clip, "-o", "", folder=clip.parent), 2, "no name")
    assert_error(called("info", "", folder=clip.parent), 2, "no name")
    assert_error(called(clip, "-o", clip.with_name("out.xyz"), "--strength", 0), 2, ".mkv")
    assert sorted(path.name for path in clip.parent.iterdir()) == ["in.mkv", "link.mkv"]


def test_input_errors(clip: Path) -> None:
    output = clip.with_name("out.mkv")
    folder = clip.parent
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("Dear all,\nthis is a text.\n" * 100)
    write_clip(folder / "cut.mp4", encoder="libx264", count=30)
    data = (folder / "cut.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    assert_error(call(folder / "none.mp4", "-o", output), 3, "does not exist")
    assert_error(call(folder / "empty.mp4", "-o", output), 3, "empty")
    assert_error(called(folder / "text.mp4", "-o", output), 3, "text")
    assert_error(called(folder / "cut.mp4", "-o", output), 3, "moov")
    assert_error(called("info", folder / "cut.mp4"), 3, "moov")
    (folder / "shot").mkdir()
    for name in ("shot/1.jpg", "shot/2.jpg"):
        write_film(folder / name, "mjpeg", count=1)
    write_film(folder / "picture.tga", "targa", count=1, pix_fmt="bgr24")
    assert_error(called(folder / "picture.tga", "-o", output), 3, "PNG, TIFF, DPX or OpenEXR")
    assert_error(called(folder / "shot", "-o", output.with_name("out")), 3, "2 .jpg", ".png")
    assert not output.exists()


def test_output_errors(clip: Path) -> None:
    (clip.parent / "file").touch()
    assert_error(call(clip, "-o", clip.parent / "missing" / "out.mkv", "--strength", 0), 4, "does not exist")
    assert_error(called(clip, "-o", clip.parent / "file" / "out.mkv", "--strength", 0), 4, "not a folder")
    assert_error(called(clip, "-o", "/proc/out.mkv", "--strength", 0), 4, "cannot write")


def test_a_full_disk_ends_with_4_and_leaves_nothing(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(128, 96), count=40)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    for name in ("out.mkv", "out.mp4"):
        wish = ["--lossless"] if name == "out.mkv" else ["--crf", "1"]
        result = call(
            tmp_path / "in.mkv", "-o", tmp_path / name, "--strength", 0, *wish, "--progress", "none", before=limit
        )
        assert_error(result, 4, "cannot write")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize(("option", "found"), [((), True), (("--scene-cuts", "off"), False)])
def test_scene_cuts_are_looked_for_unless_told_otherwise(clip: Path, option: tuple[str, ...], found: bool) -> None:
    code, out, _ = called(clip, "--sigma", 5, "--dry-run", "--json", *option)
    assert code == 0
    assert json.loads(out)["settings"]["scene_cuts"] is found


def test_interlaced_input_is_denoised_field_by_field(tmp_path: Path) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    write_clip(source, encoder="libx264", options={"x264-params": "bff=1"}, size=(64, 64))
    assert_error(called(source, "-o", output), 3, "interlaced", "--interlaced fields")
    wish = ["--interlaced", "fields", "--lossless", "--preset", "fast", "--sigma", 20, "--device", "cpu"]
    code, _, err = called(source, "-o", output, *wish)
    assert code == 0, err
    written = VideoReader(output, interlaced="ignore")
    assert (written.info.interlaced, written.info.bottom_first) == (True, True)
    noisy, clean = list(VideoReader(source, interlaced="ignore")), list(written)
    assert [frame.pts for frame in clean] == [frame.pts for frame in noisy]
    # The upper lines are what they are without the lower ones.
    for frame in noisy:
        frame.planes = tuple(plane[0::2].copy() for plane in frame.planes)
    settings = DenoiseSettings((20.0, 20.0, 20.0), preset="fast")
    fields = list(denoise_frames(noisy, PlaneFormat("yuv", 64, 32, 8, 1, 1), settings))
    for field, frame in zip(fields, clean, strict=True):
        assert all(np.array_equal(plane, whole[0::2]) for plane, whole in zip(field.planes, frame.planes, strict=True))


def test_a_ceiling_too_low_ends_with_6(clip: Path) -> None:
    result = called(clip, "-o", clip.with_name("out.mkv"), "--max-memory", "16KiB", "--sigma", 5)
    assert_error(result, 6, "0 MiB are allowed")
    assert not clip.with_name("out.mkv").exists()


def test_the_plan_says_where_frames_wait_that_do_not_fit(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", count=4, size=(640, 480))
    given = (tmp_path / "in.mkv", "--dry-run", "--sigma", 5, "--preset", "fast", "--device", "cpu")
    code, out, _ = called(*given)
    assert code == 0
    told = re.search(r"memory: +about (\d+) MiB\n", out)
    assert told is not None, out
    everything = int(told[1])
    ceiling = everything - 60  # frames and work on them take 300
    code, out, err = called(*given, "--max-memory", f"{ceiling}MiB")
    assert (code, err) == (0, "")
    told = re.search(
        r"memory: +about (\d+) MiB, as allowed; frames that wait: up to (\d+) MiB of \S+ \(\d+ MiB free", out
    )
    assert told is not None, out
    assert int(told[1]) <= ceiling
    assert int(told[2]) > 60


def test_no_such_device_ends_with_5(clip: Path) -> None:
    result = called(clip, "-o", clip.with_name("out.mkv"), "--device", "cuda:99", "--sigma", 5)
    assert_error(result, 5, "cuda:99")


def test_short_input_ends_with_7_and_a_complete_output(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", encoder="libx264", count=60)
    data = (tmp_path / "in.mkv").read_bytes()
    (tmp_path / "in.mkv").write_bytes(data[: len(data) // 2])
    output = tmp_path / "out.mkv"
    assert_error(call(tmp_path / "in.mkv", "-o", output, "--strength", 0, "--progress", "none"), 7, "missing")
    assert len(list(VideoReader(output))) == len(list(VideoReader(tmp_path / "in.mkv")))
    output.unlink()
    output.with_name("out.mkv.json").unlink()
    result = called(tmp_path / "in.mkv", "-o", output, "--strength", 0, "--on-damage", "fail", "--progress", "none")
    assert_error(result, 3, "damaged")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_signals_leave_nothing(sent: signal.Signals, code: int, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(256, 192), count=400, encoder="libx264", options={"preset": "ultrafast"})
    arguments = [
        str(tmp_path / "in.mkv"),
        "-o",
        str(tmp_path / "out.mkv"),
        "--strength",
        "0",
        "--encoder-opt",
        "preset=placebo",
    ]
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 60
        while not any(path.name.endswith(".part") for path in tmp_path.iterdir()) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("name", ["with space.mkv", "100%.mkv", "пример.mkv", "-dash.mkv", "a\nb.mkv"])
def test_any_file_name_works(name: str, tmp_path: Path) -> None:
    write_clip(tmp_path / name)
    (tmp_path / "out").mkdir()
    code, _, err = called("--strength", 0, "-o", f"out/{name}", "--", name, folder=tmp_path)
    assert code == 0, err
    assert len(list(VideoReader(tmp_path / "out" / name))) == 6


def test_info_and_estimate_print_json(clip: Path) -> None:
    code, out, _ = called("info", clip, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["width"] == 32 and facts["frames"] == 8
    assert "32" in called("info", clip)[1]
    code, out, err = called("estimate", clip, "--json", "--device", "cpu")
    assert code == 0, err
    assert set(json.loads(out)["sigma"]) == {"Y", "U", "V"}


def test_noise_that_was_clipped_is_named(tmp_path: Path) -> None:
    clip, out = tmp_path / "dark.mkv", tmp_path / "out.mkv"
    write_clip(clip, size=(SD.width, SD.height), frames=noisy_frames(SD, 0.2))
    code, told, err = called("estimate", clip, "--device", "cpu")
    assert code == 0, err
    [line] = [line for line in told.splitlines() if line.startswith("R, G, B")]
    assert float(line.split()[3]) == pytest.approx(51, rel=0.06)
    code, _, err = called(clip, "-o", out, "--lossless", "--preset", "fast", "--device", "cpu", "-v")
    assert code == 0 and "clipped" in err
    # The steps of black and white, which noise had taken to 33 and 218.
    luma = np.stack([frame.planes[0] for frame in VideoReader(out)]).astype(float)
    assert luma[:, :, 4:28].mean() < 21 and luma[:, :, -28:-4].mean() > 230


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    code, out, _ = called("completion", shell)
    assert code == 0 and "_VNLSDENOISE_COMPLETE" in out


def test_an_internal_error_is_one_line_and_1(clip: Path) -> None:
    code = (
        "import vnlsdenoise.job.run, sys\nfrom vnlsdenoise.cli.main import main\n"
        "vnlsdenoise.job.run.run = None\nmain(sys.argv[1:])\n"
    )
    arguments = [str(clip), "-o", str(clip.with_name("out.mkv")), "--strength", "0"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert "internal error" in done.stderr and "Traceback" not in done.stderr
    loud = subprocess.run([sys.executable, "-c", code, *arguments, "-vv"], capture_output=True, text=True)
    assert loud.returncode == 1 and "Traceback" in loud.stderr


def test_the_learned_method_is_planned_and_carried_out(clip: Path, tmp_path: Path) -> None:
    """It starts from the preset of its weights, or the one that is asked for; the plan and the summary say so."""
    status, out, err = called(
        clip, "-o", tmp_path / "out.mkv", "--method", "learned", "--sigma", 8, "--lossless", "--json"
    )
    assert status == 0, err
    settings = json.loads(out)["settings"]
    assert (settings["method"], settings["weights"], settings["preset"]) == ("learned", "small", "fast")
    status, out, err = called(clip, "--dry-run", "--method", "learned", "--sigma", 8)
    assert status == 0 and "learned, fast, corrected by the network small" in out, err
    network, other = load_network("small"), tmp_path / "other.safetensors"
    save_network(other, Header(network.dimensions, "balanced"), network.state_dict())
    status, out, err = called(clip, "--dry-run", "--method", "learned", "--weights", other, "--sigma", 8)
    assert status == 0 and "learned, balanced, corrected by the network" in out, err
    status, out, err = called(clip, "--dry-run", "--method", "learned", "--preset", "best", "--sigma", 8)
    assert status == 0 and "learned, best, corrected by the network small" in out, err


def test_options_that_would_be_idle_are_refused(clip: Path, tmp_path: Path) -> None:
    """Of a network without one, and of stdout where nothing goes there; but a file of options may hold them."""
    wish = (clip, "-o", tmp_path / "out.mkv", "--strength", 0)
    assert_error(called(*wish, "--weights", "base"), 2, "the method is classic", "add --method learned")
    assert_error(called(*wish, "--pipe-format", "rawvideo"), 2, "to stdout", "give -o -")
    assert called(clip, "--dry-run", "--weights", "base", "--method", "auto", "--sigma", 8)[0] == 0
    (tmp_path / "options.toml").write_text('weights = "base"\npipe-format = "rawvideo"\n')
    status, _, err = called(*wish, "--config", tmp_path / "options.toml")
    assert status == 0, err


def test_what_auto_chose_is_said(clip: Path, tmp_path: Path) -> None:
    asked = ("--method", "auto", "--device", "cpu", "--sigma", 8)
    status, out, err = called(clip, "--dry-run", *asked)
    assert status == 0 and "classic (chosen by auto), balanced" in out, err
    status, out, err = called(clip, "-o", tmp_path / "out.mkv", *asked, "--lossless", "--json")
    assert status == 0 and json.loads(out)["settings"]["method"] == "classic", err
    assert "classic (chosen by auto)" in called(clip, "-o", tmp_path / "other.mkv", *asked)[2]


def test_the_learned_method_names_what_it_cannot_do(clip: Path, tmp_path: Path) -> None:
    learned = (clip, "-o", tmp_path / "out.mkv", "--method", "learned")
    assert_error(called(*learned, "--max-memory", "1MiB"), 6, "with the learned method needs", "take --method classic")
    assert_error(
        called(*learned, "--preset", "draft"), 2, "does not work behind preset draft", "take fast, balanced, best"
    )
    text = tmp_path / "text.safetensors"
    text.write_text("these are no weights, but there is enough of them for a header")
    assert_error(called(*learned, "--weights", text), 3, "cannot be loaded", "text.safetensors")
    assert not (tmp_path / "out.mkv").exists()
