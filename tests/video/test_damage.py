"""Inputs that are cut, corrupt or no video at all."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import Sound, write_clip
from films import Order, decoded, encoded, pictures, tone, write_film

from vnlsdenoise.errors import InputError
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.video.read import VideoReader


def cut(path: Path, share: float) -> None:
    """Keep only the first share of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("sound", [None, "aac"])
def test_a_whole_file_is_not_damaged(sound: str | None, tmp_path: Path) -> None:
    for ending in ("mkv", "mp4", "mov"):
        write_clip(tmp_path / f"in.{ending}", encoder="libx264", count=30, sound=Sound(sound))
        reader = VideoReader(tmp_path / f"in.{ending}")
        assert len(list(reader)) == 30
        assert not reader.damage


@pytest.mark.parametrize("sound", [None, "aac"])
def test_a_cut_matroska_is_short(sound: str | None, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", encoder="libx264", count=60, sound=Sound(sound))
    cut(tmp_path / "in.mkv", 0.5)
    reader = VideoReader(tmp_path / "in.mkv")
    assert 0 < len(list(reader)) < 60
    assert reader.damage.short_by > 0


PARTS = [
    ("webm", "libvpx"),
    ("mkv", "libx264"),
    ("ogv", "libvpx"),
    ("gif", "gif"),
    ("y4m", "rawvideo"),
    ("ts", "mpeg2video"),
]


@pytest.mark.parametrize(("ending", "encoder"), PARTS)
def test_what_ends_within_a_part_is_cut_and_what_is_whole_is_not(ending: str, encoder: str, tmp_path: Path) -> None:
    source, noise = tmp_path / f"in.{ending}", np.random.default_rng(0)
    # Less is missing than a container's promise is taken for exact.
    with av.open(str(source), "w", format="yuv4mpegpipe" if ending == "y4m" else None) as output:
        stream: Any = output.add_stream("wrapped_avframe" if ending == "y4m" else encoder, rate=50)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8" if ending == "gif" else "yuv420p"
        output.mux(list(encoded(stream, [noise.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(12)])))
    assert len(list(VideoReader(source))) == 12
    whole = VideoReader(source)
    assert len(list(whole)) == 12 and not whole.damage
    cut(source, 0.9)
    reader = VideoReader(source)
    assert 0 < len(list(reader)) <= 12 and reader.damage.cut


@pytest.mark.parametrize("share", [1.0, 0.9])
def test_a_matroska_whose_writer_was_killed_is_cut(share: float, tmp_path: Path) -> None:
    write_film(tmp_path / "in.mkv", "mpeg4", count=30)
    cut(tmp_path / "in.mkv", share)
    data = bytearray((tmp_path / "in.mkv").read_bytes())
    at = data.index(b"\x18\x53\x80\x67") + 4
    data[at : at + 8] = b"\x01" + b"\xff" * 7  # the size of the segment, which is written last
    (tmp_path / "in.mkv").write_bytes(data)
    reader = VideoReader(tmp_path / "in.mkv")
    assert list(reader) and reader.damage.cut == (share < 1)


@pytest.mark.parametrize("padding", [bytes(1000), bytes(1), bytes(3), b"\n", b"TAG" + b" " * 125])
def test_padding_behind_a_film_is_no_damage(padding: bytes, tmp_path: Path) -> None:
    for name, encoder in (("in.ts", "mpeg2video"), ("in.mpg", "mpeg2video"), ("in.mkv", "mpeg4"), ("in.ogv", "libvpx")):
        write_film(tmp_path / name, encoder, count=12)
    write_film(tmp_path / "in.m2ts", "mpeg2video", count=12, options={"mpegts_m2ts_mode": "1"})
    data = (tmp_path / "in.mkv").read_bytes()
    at = data.index(b"\x18\x53\x80\x67") + 4
    (tmp_path / "live.mkv").write_bytes(data[:at] + b"\x01" + b"\xff" * 7 + data[at + 8 :])
    for source in sorted(tmp_path.iterdir()):
        if source.suffix == ".mpg" and padding == bytes(1):
            continue  # so does the start of a pack begin
        source.write_bytes(source.read_bytes() + padding)
        reader = VideoReader(source)
        assert len(list(reader)) == 12 and not reader.damage, source


def test_a_gif_without_the_mark_of_its_end_is_whole(tmp_path: Path) -> None:
    write_film(tmp_path / "in.gif", "gif", count=6)
    data = (tmp_path / "in.gif").read_bytes()
    assert data[-1:] == b";"
    (tmp_path / "in.gif").write_bytes(data[:-1])
    reader = VideoReader(tmp_path / "in.gif")
    assert len(list(reader)) == 6 and not reader.damage


def test_a_cut_mp4_with_its_index_in_front_is_short(tmp_path: Path) -> None:
    write_clip(tmp_path / "plain.mp4", encoder="libx264", count=60)
    with (
        av.open(str(tmp_path / "plain.mp4")) as source,
        av.open(str(tmp_path / "in.mp4"), "w", container_options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    cut(tmp_path / "in.mp4", 0.6)
    reader = VideoReader(tmp_path / "in.mp4")
    assert 0 < len(list(reader)) < 60
    assert reader.damage.short_by > 0
    with pytest.raises(InputError, match="--on-damage"):
        list(VideoReader(tmp_path / "in.mp4", on_damage="fail"))


def test_corrupt_frames_are_concealed_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "in.mov"
    write_clip(path, "yuv422p10le", "prores_ks", count=20, size=(64, 48))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    reader = VideoReader(path)
    frames = list(reader)
    assert [frame.pts for frame in frames] == [512 * index for index in range(20)]
    assert reader.damage.corrupt == 1
    repeated = [index for index in range(1, 20) if frames[index].planes is frames[index - 1].planes]
    assert len(repeated) == 1
    with pytest.raises(InputError, match="corrupt"):
        list(VideoReader(path, on_damage="fail"))


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.mp4"
    with pytest.raises(InputError, match="does not exist"):
        VideoReader(missing)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(InputError, match="empty"):
        VideoReader(empty)
    text = tmp_path / "text.mp4"
    text.write_text("This is a letter, not a film.\n" * 50)
    with pytest.raises(InputError, match="text"):
        VideoReader(text)
    headless = tmp_path / "headless.mp4"
    write_clip(headless, encoder="libx264", count=30)
    cut(headless, 0.7)
    with pytest.raises(InputError, match="moov"):
        VideoReader(headless)
    song = tmp_path / "song.mkv"
    with av.open(str(song), "w") as output:
        output.add_attachment("cover.png", "image/png", b"\x89PNG\r\n\x1a\n")
        stream: Any = output.add_stream("flac", rate=48000)
        output.mux(tone(stream, 0.5))
    with pytest.raises(InputError, match="found only audio, cover picture"):
        VideoReader(song)
    playlist = tmp_path / "list.mp4"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n/etc/hostname\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        VideoReader(playlist)


def test_a_change_of_size_is_refused(tmp_path: Path) -> None:
    for index, size in enumerate([(32, 24), (48, 32)]):
        write_clip(tmp_path / f"{index}.ts", encoder="libx264", size=size, count=12)
    joined = tmp_path / "in.ts"
    joined.write_bytes((tmp_path / "0.ts").read_bytes() + (tmp_path / "1.ts").read_bytes())
    with pytest.raises(InputError, match="changes from 32x24"):
        list(VideoReader(joined))


@pytest.mark.parametrize("zeros", [1, 16, 500])
@pytest.mark.parametrize("encoder", ["mpeg2video", "mpeg1video"])
@pytest.mark.parametrize("ending", ["mkv", "ts", "mpg", "avi"])
def test_stuffing_is_no_damage(encoder: str, ending: str, zeros: int, tmp_path: Path) -> None:
    """Coders of constant bit rate put zeros after pictures (ISO/IEC 13818-2, zero stuffing)."""
    path = tmp_path / f"in.{ending}"
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 96, 64, "yuv420p", 2_000_000
        for packet in encoded(stream, pictures(15)):
            longer = av.Packet(bytes(packet) + bytes(zeros))
            longer.pts, longer.dts, longer.duration = packet.pts, packet.dts, packet.duration
            longer.time_base, longer.is_keyframe, longer.stream = packet.time_base, packet.is_keyframe, stream
            output.mux(longer)
    with av.open(str(path)) as container:
        plain = [frame.to_ndarray()[:64, :96] for frame in container.decode(video=0)]
    reader = VideoReader(path)
    got = [frame.planes[0] for frame in reader]
    assert not reader.damage and np.array_equal(got, plain)


@pytest.mark.parametrize(
    ("name", "encoder", "video"),
    [
        ("a.asf", "wmv1", {}),
        ("a.wmv", "wmv2", {}),
        ("a.avi", "msmpeg4v2", {}),
        ("a.avi", "msmpeg4", {}),
        ("a.flv", "flv", {}),
        ("a.avi", "huffyuv", {"pix_fmt": "yuv422p"}),
        ("a.avi", "utvideo", {}),
        ("a.mov", "dvvideo", {"size": (720, 576)}),
        ("a.mov", "png", {"pix_fmt": "rgb24"}),
        ("a.mov", "qtrle", {"pix_fmt": "rgb24"}),
        ("a.mov", "cfhd", {"pix_fmt": "yuv422p10le"}),
        ("a.mov", "dnxhd", {"pix_fmt": "yuv422p", "options": {"profile": "dnxhr_sq"}, "size": (256, 144)}),
        ("a.mkv", "jpeg2000", {}),
        ("a.mkv", "mpeg2video", {"options": {"bf": "2", "flags": "+ildct+ilme"}}),
        ("a.mkv", "mpeg4", {"options": {"bf": "2", "flags": "+qpel"}}),
        ("a.webm", "libvpx", {"options": {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good"}}),
        ("a.webm", "libvpx-vp9", {"options": {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good"}}),
        ("a.ts", "libx264", {"options": {"x264-params": "open-gop=1:keyint=8:bframes=3"}}),
        ("a.mkv", "libx264", {"options": {"x264-params": "intra-refresh=1:keyint=8"}}),
        ("a.mkv", "libx264", {"options": {"x264-params": "slices=4:tff=1"}}),
        ("a.h264", "libx264", {}),
        ("a.hevc", "libx265", {}),
        ("a.nut", "ffvhuff", {}),
    ],
)
def test_clean_streams_are_not_damaged(name: str, encoder: str, video: dict[str, Any], tmp_path: Path) -> None:
    write_film(tmp_path / name, encoder, count=40, **video)
    count, _ = decoded(tmp_path / name)
    reader = VideoReader(tmp_path / name, interlaced="ignore")
    assert len(list(reader)) == count == 40
    assert not reader.damage, reader.damage


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "libvpx", "mpeg4", "prores_ks"])
@pytest.mark.parametrize("spoilt", [7, 20, 29])
def test_what_a_decoder_drops_without_a_word_is_counted(encoder: str, spoilt: int, tmp_path: Path) -> None:
    path = tmp_path / "in.mkv"
    write_film(tmp_path / "whole.mkv", encoder, count=30)
    with av.open(str(tmp_path / "whole.mkv")) as source, av.open(str(path), "w") as target:
        stream: Any = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for index, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.size:
                if index == spoilt:
                    # The muxer of VP9 itself drops what its header does not show.
                    head = bytes(packet)[:4] if encoder == "libvpx-vp9" else b"\0\0\0\x01"
                    packet.update((head + bytes(packet.size))[: packet.size])
                packet.stream = stream
                target.mux(packet)
    count, _ = decoded(path)
    reader = VideoReader(path)
    frames = list(reader)
    # Every frame that is missing stands there as the one before, and what is left has its own time.
    assert [frame.pts for frame in frames] == [40 * index for index in range(30)]
    assert bool(reader.damage) or count == 30
    if encoder in ("libx265", "libsvtav1", "libvpx", "mpeg4", "prores_ks"):
        assert reader.damage


def test_what_is_lost_of_streams_without_times_is_counted(tmp_path: Path) -> None:
    for name, encoder in (("a.hevc", "libx265"), ("b.avi", "libx264")):
        path = tmp_path / name
        write_film(tmp_path / f"whole-{name}", encoder, count=30)
        with av.open(str(tmp_path / f"whole-{name}")) as source, av.open(str(path), "w") as target:
            stream: Any = target.add_stream_from_template(source.streams.video[0], opaque=True)
            for index, packet in enumerate(source.demux(source.streams.video[0])):
                if packet.size:
                    if index == 20:
                        packet.update((b"\0\0\0\x01\x02\x01" + bytes(packet.size))[: packet.size])
                    if packet.dts is None:
                        packet.pts = packet.dts = index
                    packet.stream = stream
                    target.mux(packet)
        count, _ = decoded(path)
        reader = VideoReader(path)
        assert len(list(reader)) >= count
        assert bool(reader.damage) == (count < 30)


@pytest.mark.parametrize("order", ["sound first", "video first"])
def test_films_of_one_frame(order: Order, tmp_path: Path) -> None:
    for name, encoder in (("a.mp4", "libx264"), ("a.mkv", "libx265"), ("a.ts", "mpeg2video"), ("a.avi", "mpeg4")):
        write_film(tmp_path / name, encoder, "mp2" if name != "a.mp4" else "aac", order, count=1)
        reader = VideoReader(tmp_path / name)
        assert len(list(reader)) == 1 and not reader.damage


def test_a_last_frame_without_a_duration_may_stand_for_long(tmp_path: Path) -> None:
    # ASF promises every stream the length of the longest, and packets of it have no duration.
    with av.open(str(tmp_path / "in.asf"), "w") as output:
        stream: Any = output.add_stream("wmv2", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        audio: Any = output.add_stream("wmav2", rate=44100)
        audio.bit_rate = 128_000
        output.start_encoding()
        packets = list(encoded(stream, pictures(10))) + tone(audio, 1.2)
        for packet in sorted(packets, key=lambda one: float(one.pts * one.time_base)):
            output.mux(packet)
    reader = VideoReader(tmp_path / "in.asf")
    assert len(list(reader)) == 10 and not reader.damage


def test_a_transport_stream_that_ends_within_a_packet_is_cut(tmp_path: Path) -> None:
    write_film(tmp_path / "in.ts", "mpeg2video", count=30)
    data = (tmp_path / "in.ts").read_bytes()
    (tmp_path / "in.ts").write_bytes(data[: len(data) - 100])
    reader = VideoReader(tmp_path / "in.ts")
    assert len(list(reader)) == decoded(tmp_path / "in.ts")[0] and reader.damage.cut
    with pytest.raises(InputError, match="--on-damage"):
        list(VideoReader(tmp_path / "in.ts", on_damage="fail"))


def test_what_ffmpeg_says_in_other_threads_is_not_printed() -> None:
    # In a process of its own: the logging of these tests takes what nobody else does.
    lines = (
        "import threading, av.logging",
        "from vnlsdenoise.video.container import listening",
        "with listening():",
        "    other = threading.Thread(target=av.logging.log, args=(av.logging.ERROR, 'h264', 'no picture there'))",
        "    other.start()",
        "    other.join()",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"colorspace": 1, "color_trc": 1}, {"colorspace": 6, "color_trc": 6}, "transfer, matrix at about 0."),
        ({"colorspace": 1, "color_range": 1}, {"colorspace": 1, "color_range": 2}, "range at about 0."),
        ({}, {"colorspace": 1, "color_range": 1}, ""),
        ({"colorspace": 1}, {"colorspace": 1}, ""),
        ({}, {"colorspace": 9, "color_trc": 16}, "transfer, matrix at about 0."),
        ({}, {"color_trc": 18, "color_range": 2}, "transfer, range at about 0."),
    ],
)
def test_colours_that_become_others_are_told(
    before: dict[str, int], after: dict[str, int], told: str, tmp_path: Path
) -> None:
    parts = []
    for index, tags in enumerate((before, after)):
        part = tmp_path / f"{index}.ts"
        write_clip(part, encoder="libx264", size=(32, 32), count=12, options={"x264-params": "keyint=4"}, **tags)
        parts.append(part.read_bytes())
    joined = tmp_path / "in.ts"
    joined.write_bytes(b"".join(parts))
    words = [text for text in VideoReader(joined).info.warnings() if "colour" in text]
    assert len(words) == bool(told) and all(f"the tags of colour change ({told}" in text for text in words)


HOLES = [
    ("mkv", "ffv1"),
    ("webm", "libvpx"),
    ("ogv", "libvpx"),
    ("gif", "gif"),
    ("ts", "mpeg2video"),
    ("mxf", "mpeg2video"),
    ("flv", "flv"),
    ("mp4", "libx264"),
    ("nut", "ffv1"),
    ("wmv", "wmv2"),
    ("vob", "mpeg2video"),
]


@pytest.mark.parametrize(("ending", "encoder"), HOLES)
def test_a_hole_in_a_file_is_told_though_all_that_is_found_decodes(ending: str, encoder: str, tmp_path: Path) -> None:
    source, count = tmp_path / f"in.{ending}", 30
    fragments = {"movflags": "frag_every_frame+empty_moov+default_base_moof"} if ending == "mp4" else {}
    with av.open(str(source), "w", options=fragments) as output:
        stream: Any = output.add_stream(encoder, rate=25, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb8" if ending == "gif" else "yuv420p"
        output.mux(list(encoded(stream, pictures(count))))
    reader = VideoReader(source)
    assert len(list(reader)) == count and not reader.damage
    whole = source.read_bytes()
    for begin in (3, 6):
        holed = bytearray(whole)
        at, length = len(whole) * begin // 10, len(whole) // 10
        holed[at : at + length] = bytes(length + (ending == "ts" and begin == 3))  # of which the rest is out of step
        source.write_bytes(holed)
        reader = VideoReader(source)
        assert len(list(reader)) < count and reader.damage.torn, begin
        assert "cannot be read" in str(reader.damage) and "damaged" in " ".join(reader.info.notes())
        with pytest.raises(InputError, match="on-damage"):
            VideoReader(source, on_damage="fail")


LOSSES = [
    ("nut", "ffv1", None),
    ("nut", "libx264", "aac"),
    ("wmv", "wmv2", None),
    ("avi", "mjpeg", "aac"),
    ("mpg", "mpeg1video", "mp2"),
]


@pytest.mark.parametrize(("ending", "encoder", "sound"), LOSSES)
def test_bytes_that_are_cut_out_or_zeroes_are_told(
    ending: str, encoder: str, sound: str | None, tmp_path: Path
) -> None:
    source, pix_fmt = tmp_path / f"in.{ending}", "yuvj420p" if encoder == "mjpeg" else "yuv420p"
    write_clip(source, pix_fmt, encoder, (96, 64), 60, sound=Sound(sound), options={"g": "12"})
    reader = VideoReader(source)
    assert len(list(reader)) == 60 and not reader.damage
    whole = source.read_bytes()
    for begin in (3, 5, 7):
        at = len(whole) * begin // 10
        for length in (len(whole) // 30, len(whole) // 10):
            for instead in (b"", bytes(length)):
                source.write_bytes(whole[:at] + instead + whole[at + length :])
                reader = VideoReader(source)
                assert len(list(reader)) <= 60 and reader.damage, (begin, length, len(instead))


def test_a_hole_after_which_times_begin_anew_is_a_hole(tmp_path: Path) -> None:
    """Where packets are gone FFmpeg takes times for others, which looks like recordings that were joined."""
    source = tmp_path / "in.ts"
    for name in ("one.ts", "two.ts"):
        write_clip(tmp_path / name, encoder="libx264", size=(96, 64), count=30, sound=Sound("aac"))
    one, two = ((tmp_path / name).read_bytes() for name in ("one.ts", "two.ts"))
    source.write_bytes(one + two)
    reader = VideoReader(source)
    assert reader.info.survey.timeline and len(list(reader)) == 60 and not reader.damage
    source.write_bytes(one + two[: 188 * 200] + bytes(188 * 100) + two[188 * 300 :])
    reader = VideoReader(source)
    assert reader.info.survey.timeline and len(list(reader)) < 60 and reader.damage.torn


def test_tags_of_a_server_that_numbers_its_stream_are_whole(tmp_path: Path) -> None:
    """The number of a stream in FLV ought to be zero, and is not everywhere."""
    write_film(tmp_path / "in.flv", "flv", count=6)
    data, at = bytearray((tmp_path / "in.flv").read_bytes()), 13
    while at < len(data):
        data[at + 10] = 1
        at += 11 + int.from_bytes(data[at + 1 : at + 4]) + 4
    (tmp_path / "in.flv").write_bytes(data)
    reader = VideoReader(tmp_path / "in.flv")
    assert len(list(reader)) == 6 and not reader.damage


def test_segments_of_a_transport_stream_that_were_put_together_are_whole(tmp_path: Path) -> None:
    segments = []
    for first in (0, 12):
        with av.open(str(tmp_path / "segment.ts"), "w") as output:
            stream: Any = output.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            output.mux(list(encoded(stream, pictures(12), first)))
        segments.append((tmp_path / "segment.ts").read_bytes())
    (tmp_path / "in.ts").write_bytes(b"".join(segments))
    reader = VideoReader(tmp_path / "in.ts")
    assert len(list(reader)) == 24 and not reader.damage and not reader.info.survey.timeline
    # The same, where the second one lacks what it would begin with.
    (tmp_path / "in.ts").write_bytes(segments[0] + segments[1][5 * 188 :])
    assert VideoReader(tmp_path / "in.ts").info.survey.torn


@pytest.mark.parametrize("spoilt", [3, 30])
def test_sound_that_is_no_sound_for_a_moment_costs_that_moment(spoilt: int, tmp_path: Path) -> None:
    write_film(tmp_path / "in.ts", "mpeg2video", "aac", count=50)
    data, at = bytearray((tmp_path / "in.ts").read_bytes()), -1
    for _ in range(spoilt):
        at = data.index(b"\xff\xf1", at + 1)
    data[at + 3 : at + 7] = b"\xff" * 4
    (tmp_path / "in.ts").write_bytes(data)
    report = run(make_plan(Request(tmp_path / "in.ts", tmp_path / "out.mkv", strength=0)))
    assert report.frames == 50
    assert any("1 packet(s) of stream 1 are damaged" in text for text in report.warnings), report.warnings
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert sum(packet.size > 0 for packet in container.demux(audio=0)) > 20  # its length says more


def test_an_asf_that_is_shorter_than_it_says_is_cut(tmp_path: Path) -> None:
    write_film(tmp_path / "in.wmv", "wmv2", "wmav2", count=30)
    assert not VideoReader(tmp_path / "in.wmv").info.survey.cut
    cut(tmp_path / "in.wmv", 0.8)
    assert VideoReader(tmp_path / "in.wmv").info.survey.cut


def test_a_stream_that_begins_within_the_file_is_told(tmp_path: Path) -> None:
    write_film(tmp_path / "in.flv", "flv", "aac", count=100)
    data, at = (tmp_path / "in.flv").read_bytes(), 13
    while at < len(data) * 4 // 5:
        at += 15 + int.from_bytes(data[at + 1 : at + 4])
    sound = bytes([0x2F]) + bytes(100)  # MP3, which is no AAC
    tag = b"\x08" + len(sound).to_bytes(3) + data[at + 4 : at + 8] + bytes(3) + sound
    (tmp_path / "in.flv").write_bytes(data[:at] + tag + len(tag).to_bytes(4) + data[at:])
    reader = VideoReader(tmp_path / "in.flv")
    assert len(list(reader)) == 100 and not reader.damage
    assert "begin only within the file are left out: Audio: mp3" in " ".join(reader.info.warnings())


@pytest.mark.parametrize("ending", ["mkv", "avi", "nut"])
@pytest.mark.parametrize("group", ["1", "4"])
def test_frames_of_ffv1_whose_checksum_is_wrong_are_concealed(ending: str, group: str, tmp_path: Path) -> None:
    source = tmp_path / f"in.{ending}"
    write_film(source, "ffv1", count=12, options={"slices": "4", "slicecrc": "1", "level": "3", "g": group})
    shown = [frame.planes[0].tobytes() for frame in VideoReader(source)]
    with av.open(str(source)) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][5]
    data = bytearray(source.read_bytes())
    data[place + size // 2] ^= 0x10
    source.write_bytes(data)
    reader = VideoReader(source)
    frames = [frame.planes[0].tobytes() for frame in reader]
    until = 6 if group == "1" else 8
    assert frames == [*shown[:5], *[shown[4]] * (until - 5), *shown[until:]]
    assert (reader.damage.corrupt, reader.damage.frames) == (until - 5, [(5, until - 1)])


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "gray"])
@pytest.mark.parametrize("kind", ["1", "3"])
def test_pictures_of_hevc_that_are_not_what_their_hash_says_are_concealed(
    kind: str, pix_fmt: str, tmp_path: Path
) -> None:
    source, options = tmp_path / "in.mkv", {"x265-params": f"hash={kind}:keyint=8:log-level=none:lossless=1"}
    write_clip(source, pix_fmt, "libx265", (64, 48), 24, options=options)
    reader = VideoReader(source)
    assert len(list(reader)) == 24 and not reader.damage
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    spoilt = max(packets[8:16], key=len)  # a key frame, from which those up to the next one go on
    data[data.index(spoilt) + len(spoilt) * 3 // 4] ^= 1
    source.write_bytes(data)
    reader = VideoReader(source)
    frames = list(reader)
    assert len(frames) == 24 and 0 < reader.damage.corrupt <= 16
    assert [frame.damage for frame in frames].count("concealed") == reader.damage.corrupt


def test_hashes_of_another_picture_than_the_decoder_gives_are_no_damage(tmp_path: Path) -> None:
    """What is hashed is the whole of the coded picture, of which the decoder cuts off what is not to be shown."""
    options = {"x265-params": "hash=1:keyint=8:log-level=none"}
    write_clip(tmp_path / "in.mkv", "yuv420p", "libx265", (62, 46), 24, options=options)
    reader = VideoReader(tmp_path / "in.mkv")
    assert len(list(reader)) == 24 and not reader.damage


def test_ffv1_without_checksums_is_not_damaged(tmp_path: Path) -> None:
    for name, options in (("a", {"slicecrc": "0", "level": "3"}), ("b", {"level": "1"})):
        write_film(tmp_path / f"{name}.mkv", "ffv1", count=3, options=options)
        reader = VideoReader(tmp_path / f"{name}.mkv")
        assert len(list(reader)) == 3 and not reader.damage


def test_a_film_is_decoded_on_from_the_next_key_frame_however_far_that_is(tmp_path: Path) -> None:
    source = tmp_path / "in.webm"
    write_film(source, "libsvtav1", count=110, options={"g": "50", "svtav1-params": "lp=1:pred-struct=1"})
    with av.open(str(source)) as container:
        places = [(packet.pos, packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    assert [number for number, place in enumerate(places) if place[2]] == [0, 50, 100]
    data = bytearray(source.read_bytes())

    def spoil(numbers: Sequence[int]) -> None:
        for number in numbers:
            place, size, _ = places[number]
            data[place + 12 : place + size] = bytes(size - 12)
        source.write_bytes(data)

    spoil([50])
    reader = VideoReader(source)
    assert len(list(reader)) == 110 and reader.damage.frames == [(50, 99)]
    spoil(range(20, 110))
    with pytest.raises(InputError, match="packets in a row failed"):
        list(VideoReader(source))
