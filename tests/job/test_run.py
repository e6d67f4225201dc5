"""Plans and runs: what is decided, what comes out, and what a failure anywhere leaves behind."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import Sound, packets, write_clip

from vnlsdenoise.engine import local
from vnlsdenoise.errors import DeviceError, OutputError, UsageError, VerificationError
from vnlsdenoise.job.plan import make_plan, native_sigma
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.job.verify import verify_file
from vnlsdenoise.video.chunk import ChunkWriter
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.frame import Frame, PlaneFormat
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.sequences import list_images
from vnlsdenoise.video.stills import Told, read_still, write_still
from vnlsdenoise.video.write import VideoWriter

LOSSLESS = Encoding(lossless=True)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gbrp16le", "gray12le", "bgra"])
def test_strength_zero_changes_no_sample(pix_fmt: str, tmp_path: Path) -> None:
    frames = write_clip(tmp_path / "in.mkv", pix_fmt, size=(21, 13), count=30, sound=Sound("flac"))
    plan = make_plan(Request(tmp_path / "in.mkv", tmp_path / "out.mkv", strength=0, encoding=LOSSLESS))
    assert plan.settings is None
    seen: dict[str, list[int]] = {"analysed": [], "denoised": [], "encoded": []}
    report = run(plan, lambda stage, frames: seen[stage].append(frames))
    assert report.frames == 30 and not report.damage
    assert all(counts == list(range(1, 31)) for counts in seen.values())
    back = list(VideoReader(tmp_path / "out.mkv"))
    for got, want in zip(back, frames, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(got.planes, want.planes, strict=True))
        assert all(np.array_equal(got.extra[key], want.extra[key]) for key in want.extra)
    assert packets(tmp_path / "out.mkv", "audio") == packets(tmp_path / "in.mkv", "audio")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.mkv"]


def test_long_sound_is_verified_to_its_last_packet(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", encoder="libx264", count=800, sound=Sound("aac"), options={"preset": "ultrafast"})
    for ending in ("mp4", "mov", "mkv"):
        encoding = Encoding(options={"preset": "ultrafast"})
        report = run(make_plan(Request(tmp_path / "in.mkv", tmp_path / f"out.{ending}", strength=0, encoding=encoding)))
        assert report.frames == 800


def lagging(frames: Iterable[Frame], *_: Any) -> Iterator[Frame]:
    """An engine that holds frames back, as the real one does."""
    held = list[Frame]()
    for frame in frames:
        held.append(frame)
        if len(held) > 20:
            yield held.pop(0)
    yield from held


def test_an_engine_that_lags_keeps_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "in.mkv", count=50)
    monkeypatch.setattr(local, "denoise_frames", lagging)
    assert run(make_plan(Request(tmp_path / "in.mkv", tmp_path / "out.mkv", (5,), device="cpu"))).frames == 50


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_short_clips_work(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "denoise_frames", lagging)
    write_clip(tmp_path / "in.mkv", count=count)
    assert run(make_plan(Request(tmp_path / "in.mkv", tmp_path / "out.mp4", (5,), device="cpu"))).frames == count


def test_a_failing_engine_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(frames: Iterable[Frame], *_: Any) -> Iterator[Frame]:
        for index, frame in enumerate(frames):
            if index == 20:
                raise DeviceError("lost")
            yield frame

    write_clip(tmp_path / "in.mkv", count=60)
    monkeypatch.setattr(local, "denoise_frames", failing)
    with pytest.raises(DeviceError, match="lost"):
        run(make_plan(Request(tmp_path / "in.mkv", tmp_path / "out.mkv", (5,), device="cpu")))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_an_engine_that_loses_frames_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "in.mkv", count=10)
    monkeypatch.setattr(local, "denoise_frames", lambda frames, *_: (frame for frame in list(frames)[1:]))
    with pytest.raises(VerificationError, match="9 frames"):
        run(make_plan(Request(tmp_path / "in.mkv", tmp_path / "out.mkv", (5,), device="cpu")))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_a_failing_writer_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "in.mkv", count=60)
    real = ChunkWriter.write

    def full(writer: ChunkWriter, frame: Frame) -> None:
        if frame.number == 10:
            raise OutputError("full")
        real(writer, frame)

    monkeypatch.setattr(ChunkWriter, "write", full)
    with pytest.raises(OutputError, match="full"):
        run(make_plan(Request(tmp_path / "in.mkv", tmp_path / "out.mkv", strength=0)))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_images_pass_through_and_keep_alpha(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 65536, (12, 10, 4)).astype(np.uint16) for _ in range(3)]
    (tmp_path / "in").mkdir()
    for index, image in enumerate(images):
        write_still(tmp_path / "in" / f"{index}.png", image, Told())
    for output in (tmp_path / "new", tmp_path / "o_%03d.tif"):
        run(make_plan(Request(tmp_path / "in", output, strength=0)))
        found = list_images(output)
        assert len(found) == 3
        assert all(np.array_equal(read_still(path).samples, image) for path, image in zip(found, images, strict=True))


def test_images_become_a_video(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(3):
        write_still(tmp_path / "in" / f"{index}.png", np.full((16, 16, 3), 40 * index, np.uint8), Told())
    report = run(make_plan(Request(tmp_path / "in", tmp_path / "out.mp4", strength=0)))
    assert any("RGB" in warning for warning in report.warnings)
    assert len(list(VideoReader(tmp_path / "out.mp4"))) == 3


def test_sigma_is_scaled_to_the_depth_and_by_strength(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", "yuv420p10le")
    request = Request(tmp_path / "in.mkv", None, (4, 2, 1), strength=2, luma=3, chroma=5, device="cpu")
    settings = make_plan(request).settings
    assert settings is not None
    assert settings.sigma == (4 * 4, 2 * 4, 1 * 4)
    assert settings.strength == (2 * 3, 2 * 5, 2 * 5)
    assert native_sigma((3,), PlaneFormat("gray", 8, 8, 8)) == (3,)
    with pytest.raises(UsageError, match="--sigma"):
        native_sigma((3, 2, 1), PlaneFormat("gray", 8, 8, 8))


def test_a_plan_writes_nothing_and_can_be_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv")
    plan = make_plan(Request(tmp_path / "in.mkv", tmp_path / "out.mkv", (5,), device="cpu"))
    assert "in.mkv" in "\n".join(plan.lines())
    assert plan.as_dict()["encoder"]["name"] == "libx264"
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_verification_sees_what_differs(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    write_clip(source, sound=Sound("aac"))
    plan = make_plan(Request(source, target, strength=0, encoding=LOSSLESS))
    assert plan.encoder is not None
    with VideoWriter(target, plan.info, plan.encoder, plan.carry) as writer:
        for frame in VideoReader(source):
            writer.write(frame)
    written = writer.written
    verify_file(target, target, plan.info, plan.encoder, written)
    written.pts[3] += 20
    with pytest.raises(VerificationError, match="frame 3"):
        verify_file(target, target, plan.info, plan.encoder, written)
    written.pts[3] -= 20
    next(iter(written.copied.values())).crc ^= 1
    with pytest.raises(VerificationError, match="checksum"):
        verify_file(target, target, plan.info, plan.encoder, written)
    written.pts.append(10)
    with pytest.raises(VerificationError, match="frames"):
        verify_file(target, target, plan.info, plan.encoder, written)
    target.write_bytes(target.read_bytes()[:100])
    with pytest.raises(VerificationError, match="open"):
        verify_file(target, target, plan.info, plan.encoder, written)


def test_input_and_output_must_differ(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv")
    (tmp_path / "soft.mkv").symlink_to("in.mkv")
    (tmp_path / "hard.mkv").hardlink_to(tmp_path / "in.mkv")
    for name in ("in.mkv", "soft.mkv", "hard.mkv"):
        with pytest.raises(UsageError, match="input itself"):
            make_plan(Request(tmp_path / "in.mkv", tmp_path / name, strength=0))


def test_av_is_the_version_the_package_asks_for() -> None:
    assert av.__version__.split(".")[0] == "18"
