"""Every frame knows the step of the quantiser that it came through, as far as FFmpeg tells it, as of H.264."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from clips import write_clip

from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.quantiser import HeaderSteps
from vnlsdenoise.video.read import VideoReader

DEEP = 1023 / 255


def steps_of(path: Path) -> list[float | None]:
    return [frame.step for frame in VideoReader(path)]


@pytest.mark.parametrize(("pix_fmt", "scale", "more"), [("yuv420p", 1.0, 0), ("yuv420p10le", DEEP, 12)])
def test_h264(pix_fmt: str, scale: float, more: int, tmp_path: Path) -> None:
    for name in ("a.mkv", "a.mp4", "a.ts"):
        for number, qp in enumerate((20, 26, 32)):  # the step doubles every 6
            # x264 counts from the finest, which at 10 bits is 12 further down.
            options = {"x264-params": f"qp={qp + more}:ipratio=1:pbratio=1"}
            write_clip(tmp_path / name, pix_fmt, "libx264", size=(64, 64), options=options)
            assert steps_of(tmp_path / name) == pytest.approx([0.9 * 6.35 * scale * 2**number] * 6, rel=0.01)


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4", "libvpx-vp9"])
def test_threads_that_decode_change_no_step(encoder: str, tmp_path: Path) -> None:
    """FFmpeg's tell a picture's quantiser before the picture is complete, or after, as it comes."""
    noise = np.random.default_rng(1).integers(0, 256, (24, 720, 1280), np.uint8)
    grey = np.full((360, 640), 128, np.uint8)
    frames = [Frame((plane, grey, grey)) for plane in noise]
    options = {"crf": "35", "preset": "ultrafast", "x264-params": "bframes=3:aq-mode=1"}
    how = {"libx264": {"options": options}, "libvpx-vp9": {"options": {"cpu-used": "8"}}}.get(encoder, {})
    write_clip(tmp_path / "a.mkv", encoder=encoder, size=(1280, 720), frames=frames, count=24, **how)
    assert len({tuple(steps_of(tmp_path / "a.mkv")) for _ in range(6)}) == 1


@pytest.mark.parametrize(("pix_fmt", "scale"), [("yuv420p", 1.0), ("yuv420p10le", DEEP)])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_hevc(pix_fmt: str, scale: float, name: str, tmp_path: Path) -> None:
    for number, qp in enumerate((22, 28, 34)):
        path = tmp_path / f"{qp}{name}"
        options = {"x265-params": f"qp={qp}:ipratio=1:pbratio=1:log-level=none"}
        write_clip(path, pix_fmt, "libx265", size=(64, 64), options=options)
        reader = VideoReader(path)
        steps = [frame.step for frame in reader]
        assert steps == pytest.approx([8.0 * scale * 2**number] * 6, rel=0.01)
        assert [frame.step for pair in reader.sample(2) for frame in pair] == pytest.approx(steps[:1] * 4, rel=0.01)


@pytest.mark.parametrize(("encoder", "name"), [("mpeg1video", "a.mpg"), ("mpeg2video", "a.ts"), ("mpeg4", "a.avi")])
@pytest.mark.parametrize(("scale", "step"), [(2, 7.0), (5, 17.5), (13, 28.0)])  # 1.75 of 2 scales, 28 at most
def test_mpeg(encoder: str, name: str, scale: int, step: float, tmp_path: Path) -> None:
    write_clip(tmp_path / name, encoder=encoder, size=(64, 64), qmin=scale, qmax=scale)
    steps = steps_of(tmp_path / name)
    assert steps[:-1] == [step] * 5 and steps[-1] in (step, None)  # as FFmpeg tells of the last


# Of the tables of VP9 and AV1: 47 / 8 at index 40, 87 / 8 at 80, 152 / 8 at 120, 408 / 8 at 176; of VP9 28 at most, of
# AV1 1.25 of it and 22 at most.
@pytest.mark.parametrize(("quantiser", "step"), [(20, 10.875), (30, 19.0), (44, 28.0)])
def test_vp9(quantiser: int, step: float, tmp_path: Path) -> None:
    for name in ("a.webm", "a.mp4", "a.ivf"):
        options = {"crf": str(quantiser), "cpu-used": "8"}
        how = {"qmin": quantiser, "qmax": quantiser, "bit_rate": 0}
        write_clip(tmp_path / name, encoder="libvpx-vp9", size=(64, 64), options=options, **how)
        assert steps_of(tmp_path / name) == pytest.approx([step] * 6, rel=0.004)


def svt_options(quantiser: int, more: str) -> dict[str, str]:
    return {"svtav1-params": f"preset=8:lp=1:aq-mode=0:qp={quantiser}:hierarchical-levels=2:enable-tf=0:{more}"}


@pytest.mark.parametrize(("pix_fmt", "scale"), [("yuv420p", 1.0), ("yuv420p10le", DEEP)])
@pytest.mark.parametrize(("quantiser", "step"), [(10, 7.344), (20, 13.594), (44, 22.0)])
def test_av1(pix_fmt: str, scale: float, quantiser: int, step: float, tmp_path: Path) -> None:
    for name in ("a.mkv", "a.mp4", "a.ivf"):
        options = svt_options(quantiser, "use-fixed-qindex-offsets=1")
        write_clip(tmp_path / name, pix_fmt, "libsvtav1", size=(64, 64), count=9, options=options)
        reader = VideoReader(tmp_path / name)
        assert [frame.step for frame in reader] == pytest.approx([scale * step] * 9, rel=0.004)
        assert [frame.step for frame in reader.clip(0.5, 4)] == pytest.approx([scale * step] * 4, rel=0.004)


def test_hidden_frames_of_av1_keep_their_step(tmp_path: Path) -> None:
    # Of every four frames the last is coded first, then that in the middle, both hidden, and shown later.
    write_clip(tmp_path / "a.mkv", encoder="libsvtav1", size=(64, 64), count=13, options=svt_options(30, "rc=0"))
    steps = [step or 0.0 for step in steps_of(tmp_path / "a.mkv")]
    fourth, middle, between = steps[4::4], steps[2:12:4], steps[1:12:2]
    assert fourth == [fourth[0]] * 3 and middle == [middle[0]] * 3 and between == [between[0]] * 6
    assert 0 < steps[0] < fourth[0] < middle[0] < between[0]


def rewritten(path: Path, change: Callable[[int, bytes], bytes]) -> None:
    """Other packets in a film of the kind IVF: a head of 32 bytes, of a packet four of its size, eight of its time."""
    data = path.read_bytes()
    made, at, number = data[:32], 32, 0
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "little")
        packet = change(number, data[at + 12 : end])
        made += len(packet).to_bytes(4, "little") + data[at + 4 : at + 12] + packet
        at, number = end, number + 1
    path.write_bytes(made)


def test_a_hidden_frame_of_vp9_keeps_its_step(tmp_path: Path) -> None:
    def shown_by_another(number: int, data: bytes) -> bytes:
        if number:
            return data
        # VP9, 6.2: the first byte ends with show_existing_frame, frame_type, show_frame, error_resilient_mode. Annex B:
        # a superframe of two, sizes of two bytes each.
        hidden, shown = bytes([data[0] & ~0b10]) + data[1:], bytes([0b10001000])
        index = b"".join(len(part).to_bytes(2, "little") for part in (hidden, shown))
        return hidden + shown + bytes([0b11001001]) + index + bytes([0b11001001])

    options = {"crf": "30", "cpu-used": "8"}
    write_clip(tmp_path / "a.ivf", encoder="libvpx-vp9", size=(64, 64), options=options, bit_rate=0)
    steps = steps_of(tmp_path / "a.ivf")
    rewritten(tmp_path / "a.ivf", shown_by_another)
    assert steps_of(tmp_path / "a.ivf") == steps and None not in steps and len(set(steps)) > 1


def test_what_is_shown_again_after_lost_packets_has_no_step(tmp_path: Path) -> None:
    """A hidden frame that was in a packet whose headers cannot be read is not taken for what its slot held before."""
    write_clip(tmp_path / "a.ivf", encoder="libsvtav1", size=(64, 64), count=13, options=svt_options(30, "rc=0"))
    whole = steps_of(tmp_path / "a.ivf")
    rewritten(tmp_path / "a.ivf", lambda number, data: data if number != 5 else b"\xff" * 40)
    found = steps_of(tmp_path / "a.ivf")
    assert found[:5] == whole[:5]
    assert all(step in (None, expected) for step, expected in zip(found[5:], whole[5:], strict=False))


@pytest.mark.parametrize(("encoder", "box"), [("libx265", b"hvcC"), ("libsvtav1", b"av1C")])
def test_headers_beside_the_stream_that_cannot_be_read_are_no_error(encoder: str, box: bytes, tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none"} if encoder == "libx265" else svt_options(30, "rc=0")
    write_clip(tmp_path / "a.mp4", encoder=encoder, size=(64, 64), options=options)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(box)
    size = int.from_bytes(data[at - 4 : at], "big")
    data[at + 8 : at - 4 + size] = b"\xff" * (size - 12)  # but for its first bytes
    (tmp_path / "a.mp4").write_bytes(data)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert HeaderSteps.of(container.streams.video[0], 255) is None


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "mpeg2video", "mpeg4"])
def test_damaged_films_are_read_as_before(encoder: str, tmp_path: Path) -> None:
    options = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": svt_options(30, "rc=0")}
    path = tmp_path / ("a.ts" if encoder != "libvpx-vp9" and encoder != "libsvtav1" else "a.ivf")
    write_clip(path, encoder=encoder, size=(64, 64), count=30, options=options.get(encoder, {}))
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 3, len(data), 611):
        data[at] ^= 0x55
    path.write_bytes(data)
    frames = list(VideoReader(path))
    assert len(frames) >= 8 and all(frame.step is None or 0 < frame.step < 230 for frame in frames)


@pytest.mark.parametrize("encoder", ["ffv1", "mjpeg", "libvpx"])
def test_other_codecs_tell_none(encoder: str, tmp_path: Path) -> None:
    how = {"pix_fmt": "yuvj420p"} if encoder == "mjpeg" else {}
    write_clip(tmp_path / "a.mkv", encoder=encoder, size=(64, 64), **how)
    assert steps_of(tmp_path / "a.mkv") == [None] * 6
