"""Every codec in every container, with the sound first, last and absent: all frames, their times, the sound, exit 0."""

import itertools
from pathlib import Path

import pytest
from films import Order, decoded, stream_bytes, write_film

from vnlsdenoise.errors import InputError
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.read import VideoReader

COUNT = 24
SOUND = {
    "mp4": "aac",
    "mov": "pcm_s16le",
    "mkv": "aac",
    "webm": "libopus",
    "avi": "libmp3lame",
    "ts": "mp2",
    "mpg": "mp2",
    "mxf": "pcm_s16le",
}
ENCODERS = {
    "mp4": "libx264 libx265 mpeg1video mpeg2video mpeg4 libvpx-vp9 libsvtav1 ffv1 mjpeg",
    "mov": "libx264 libx265 mpeg1video mpeg2video mpeg4 prores_ks mjpeg rawvideo",
    "mkv": "libx264 libx265 mpeg1video mpeg2video mpeg4 libvpx libvpx-vp9 libsvtav1 prores_ks ffv1 mjpeg rawvideo",
    "webm": "libvpx libvpx-vp9 libsvtav1",
    "avi": "libx264 mpeg1video mpeg2video mpeg4 libvpx libvpx-vp9 libsvtav1 ffv1 mjpeg rawvideo",
    "ts": "libx264 libx265 mpeg1video mpeg2video mpeg4",
    "mpg": "mpeg1video mpeg2video",
    "mxf": "libx264 mpeg2video prores_ks ffv1",
}
CASES = [
    (ending, encoder, order)
    for ending, encoders in ENCODERS.items()
    for encoder, order in itertools.product(encoders.split(), ("video first", "sound first", "no sound"))
    if (ending, order) != ("mxf", "sound first")  # which its muxer does not write
]


def make(folder: Path, ending: str, encoder: str, order: Order) -> Path:
    path = folder / f"in.{ending}"
    pix_fmt = {"pix_fmt": "uyvy422"} if (ending, encoder) == ("mov", "rawvideo") else {}
    write_film(path, encoder, SOUND[ending], order, COUNT, **pix_fmt)
    return path


@pytest.mark.parametrize(("ending", "encoder", "order"), CASES)
def test_all_frames_times_and_sounds_arrive(ending: str, encoder: str, order: Order, tmp_path: Path) -> None:
    source, output = make(tmp_path, ending, encoder, order), tmp_path / "out.mkv"
    report = run(make_plan(Request(source, output, strength=0, encoding=Encoding(options={"preset": "ultrafast"}))))
    assert (report.frames, bool(report.damage), report.warnings) == (COUNT, False, ())
    _, written = decoded(output)
    # AVI leaves out a number where its first sound stands before its first frame.
    gap = 1 if ending == "avi" and order != "no sound" else 0
    shown = [time - written[0] for time in written]
    assert shown == pytest.approx([0.0, *((index + gap) / 25 for index in range(1, COUNT))], abs=0.002) or (
        gap and shown == pytest.approx([index / 25 for index in range(COUNT)], abs=0.002)
    )
    assert stream_bytes(output, "audio") == stream_bytes(source, "audio")


@pytest.mark.parametrize(("ending", "encoder", "order"), CASES)
def test_what_is_left_of_a_cut_file_is_given_and_told_to_be_damaged(
    ending: str, encoder: str, order: Order, tmp_path: Path
) -> None:
    source = make(tmp_path, ending, encoder, order)
    data = source.read_bytes()
    # An odd number of bytes, so that the cut is not by chance between two packets.
    source.write_bytes(data[: len(data) * 3 // 5 // 2 * 2 + 1])
    try:
        left, _ = decoded(source)
    except Exception:
        with pytest.raises(InputError):  # FFmpeg does not open it either.
            VideoReader(source)
        return
    reader = VideoReader(source)
    assert len(list(reader)) >= left > 0
    assert reader.damage
