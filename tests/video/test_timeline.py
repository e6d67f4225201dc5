"""Times that start again, wrap, lack an order or are missing."""

import itertools
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from films import Order, decoded, encoded, pictures, stream_bytes, tone, write_film

from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import Report, run
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.probe import probe
from vnlsdenoise.video.timeline import Clock, JumpFinder, TimeKeeper, Timeline

COUNT = 20


def passed(source: Path, output: Path) -> Report:
    encoding = Encoding(options={"preset": "ultrafast"})
    return run(make_plan(Request(source, output, strength=0, encoding=encoding)))


def part(folder: Path, ending: str, encoder: str, order: Order, offset: float) -> bytes:
    """The bytes of a film whose times begin `offset` seconds later."""
    plain, moved = folder / f"plain.{ending}", folder / f"moved.{ending}"
    write_film(plain, encoder, "mp2", order, COUNT)
    if not offset:
        return plain.read_bytes()
    with av.open(str(plain)) as source, av.open(str(moved), "w") as target:
        streams: dict[int, Any] = {s.index: target.add_stream_from_template(s, opaque=True) for s in source.streams}
        for packet in source.demux():
            if packet.pts is not None and packet.dts is not None:
                ticks = round(offset / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    return moved.read_bytes()


@pytest.mark.parametrize("order", ["video first", "sound first", "no sound"])
@pytest.mark.parametrize(
    ("ending", "encoder", "offsets"),
    [
        ("ts", "libx264", (0, 0)),
        ("ts", "libx264", (0, 0, 0)),
        ("ts", "mpeg2video", (50, 0)),
        ("ts", "mpeg2video", (0, 50)),
        ("ts", "libx265", (36000, 0)),
        ("mpg", "mpeg2video", (0, 0)),
    ],
)
def test_joined_recordings_go_on(
    ending: str, encoder: str, offsets: tuple[float, ...], order: Order, tmp_path: Path
) -> None:
    source, output = tmp_path / f"in.{ending}", tmp_path / "out.mkv"
    source.write_bytes(b"".join(part(tmp_path, ending, encoder, order, offset) for offset in offsets))
    report = passed(source, output)
    assert report.frames == COUNT * len(offsets) and not report.damage
    [warning] = report.warnings
    assert f"jump {len(offsets) - 1} time(s)" in warning and "jump" in " ".join(probe(source).notes())
    _, times = decoded(output)
    assert [time - times[0] for time in times] == pytest.approx([i / 25 for i in range(report.frames)], abs=0.002)
    if order != "no sound":
        with av.open(str(output)) as container:
            sounds = [float(p.pts * p.time_base) for p in container.demux(container.streams.audio[0]) if p.size]
        steps = [after - before for before, after in itertools.pairwise(sounds)]
        # No sound overlaps; between two parts there may be a gap as long as the sound of a part was shorter.
        assert min(steps) == pytest.approx(0.024, abs=0.002) and max(steps) < 0.024 + 0.05
        assert abs(sounds[0] - times[0]) < 0.1 and abs(sounds[-1] - times[-1]) < 0.1


def test_what_was_shown_last_is_not_shown_after_what_begins_anew(tmp_path: Path) -> None:
    # The first part is decoded further ahead of its display than the second one.
    data = b""
    for frames_between in ("2", "0"):
        write_film(tmp_path / "part.ts", "libx264", count=COUNT, options={"bf": frames_between})
        data += (tmp_path / "part.ts").read_bytes()
    (tmp_path / "in.ts").write_bytes(data)
    report = passed(tmp_path / "in.ts", tmp_path / "out.mkv")
    assert report.frames == 2 * COUNT and not report.damage and len(report.warnings) == 1
    _, times = decoded(tmp_path / "out.mkv")
    assert [time - times[0] for time in times] == pytest.approx([i / 25 for i in range(2 * COUNT)], abs=0.002)


def test_times_that_wrap_at_33_bits_go_on(tmp_path: Path) -> None:
    source = tmp_path / "in.ts"
    source.write_bytes(part(tmp_path, "ts", "libx264", "video first", (1 << 33) / 90000 - 1.9))
    report = passed(source, tmp_path / "out.mkv")
    assert report.frames == COUNT and not report.damage and report.warnings == ()
    _, times = decoded(tmp_path / "out.mkv")
    assert times[-1] - times[0] == pytest.approx((COUNT - 1) / 25, abs=0.002)


def packet(index: int, dts: float, kind: str = "video") -> Any:
    ticks = round(dts * 1000)
    return SimpleNamespace(
        stream_index=index,
        stream=SimpleNamespace(type=kind),
        dts=ticks,
        pts=ticks,
        duration=40,
        time_base=Fraction(1, 1000),
    )


def test_one_stream_that_starts_again_goes_on_alone() -> None:
    # The sound goes on while the picture starts again; the subtitles follow the picture.
    packets = [packet(0, i * 0.04) for i in range(25)] + [packet(2, 0.5, "subtitle")]
    packets += [packet(0, i * 0.04) for i in range(25)] + [packet(2, 0.5, "subtitle")]
    packets += [packet(1, i * 0.04, "audio") for i in range(50)]
    finder = JumpFinder(0, "matroska,webm")
    for one in packets:
        finder.saw(one)
    timeline = finder.timeline()
    assert timeline.jumps == (-1.0,)
    keeper = TimeKeeper(timeline)
    for one in packets:
        keeper.move(one)
    by_stream = {i: [one.dts for one in packets if one.stream_index == i] for i in range(3)}
    assert by_stream[0] == by_stream[1] == [40 * i for i in range(50)]
    assert by_stream[2] == [500, 1500]


def test_gaps_are_kept_where_times_need_not_run_on() -> None:
    finder = JumpFinder(0, "matroska,webm")
    for dts in (0.0, 0.04, 30.0, 30.04, 90.0):
        finder.saw(packet(0, dts))
    assert not finder.timeline()


@pytest.mark.parametrize("sound", [None, "libmp3lame", "pcm_s16le"])
@pytest.mark.parametrize(
    ("encoder", "options"),
    [("libx264", {"bf": "3"}), ("libx264", {"bf": "0"}), ("mpeg4", {"bf": "2"}), ("mpeg2video", {"bf": "2"})],
)
def test_avi_with_reordered_frames_is_even(
    encoder: str, options: dict[str, str], sound: str | None, tmp_path: Path
) -> None:
    source = tmp_path / "in.avi"
    write_film(source, encoder, sound, count=COUNT, options=options)
    report = passed(source, tmp_path / "out.mkv")
    assert report.frames == COUNT and not report.damage and report.warnings == ()
    _, times = decoded(tmp_path / "out.mkv")
    with av.open(str(source)) as container:
        video = container.streams.video[0]
        stored = [float(p.dts * p.time_base) for p in container.demux(video) if p.size and p.dts is not None]
    if options["bf"] == "0":
        _, stored = decoded(source)  # Nothing is reordered, so FFmpeg's times are those of display.
    assert [time - times[0] for time in times] == pytest.approx([time - stored[0] for time in stored], abs=0.002)


def test_missing_times_are_made_up_and_mad_ones_are_missing() -> None:
    warnings: list[str] = []
    clock = Clock(10, Fraction(1, 1000), warnings)
    stamps = [clock.stamp(pts) for pts in (0, None, 20, 1 << 60, None, 20, 60)]
    assert stamps == [0, 10, 20, 30, 40, 50, 60]
    assert len(warnings) == 1 and "made up" in warnings[0]
    backwards = Clock(10, Fraction(1, 1000), warnings)
    assert [backwards.stamp(pts) for pts in (5, 5, 4, 30)] == [5, 6, 7, 30]
    assert "backwards" in warnings[1]


def test_times_beyond_all_reason_are_missing() -> None:
    clock = Clock(10, Fraction(1, 10), [])
    assert [clock.stamp(pts) for pts in (0, 1 << 40, 20)] == [0, 10, 20]
    keeper = TimeKeeper(Timeline({0: ((0, Fraction(1 << 62)),)}))
    packet = av.Packet(b"0")
    packet.pts = packet.dts = 5
    packet.time_base = Fraction(1, 1000)
    keeper.move(packet)
    assert (packet.pts, packet.dts) == (None, None)


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_sound_that_runs_backwards_is_kept_in_order(ending: str, tmp_path: Path) -> None:
    whole, source, output = tmp_path / "whole.flv", tmp_path / "in.flv", tmp_path / f"out.{ending}"
    write_film(whole, "flv", "aac", count=COUNT)
    data = bytearray(whole.read_bytes())
    tags, at = [], 13  # Of every tag: type, size (3 bytes), time (3 bytes); then its data and 4 bytes more.
    while at < len(data):
        tags.append((data[at], at + 4, int.from_bytes(data[at + 4 : at + 7], "big")))
        at += int.from_bytes(data[at + 1 : at + 4], "big") + 15
    _, place, time = [tag for tag in tags if tag[0] == 8][6]
    data[place : place + 3] = (time - 60).to_bytes(3, "big")
    source.write_bytes(data)
    report = passed(source, output)
    assert any("run backwards in time" in text for text in report.warnings)
    assert stream_bytes(output, "audio") == stream_bytes(source, "audio")


def test_sound_in_packets_shorter_than_a_tick_keeps_its_times(tmp_path: Path) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    with av.open(str(source), "w") as container:
        video: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound: Any = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        container.start_encoding()
        for begin in range(0, 48000 // 2, 20):
            frame = av.AudioFrame.from_ndarray(np.full((1, 20), begin, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, begin, Fraction(1, 48000)
            container.mux(sound.encode(frame))
        container.mux(list(encoded(video, pictures(COUNT))))

    def times(path: Path) -> list[int]:
        with av.open(str(path)) as container:
            return [packet.pts for packet in container.demux(container.streams.audio[0]) if packet.pts is not None]

    assert times(source)[-1] <= 500 and len(times(source)) == 1200
    assert passed(source, output).warnings == () and times(output) == times(source)


def late_sound(path: Path, codec: str, begin: float) -> None:
    """A broadcast of 10 s whose sound is announced at its start, and begins later; never, if that is after its end."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound: Any = container.add_stream(codec, rate=48000)
        container.start_encoding()
        packets = list(encoded(video, pictures(250)))
        for packet in tone(sound, 10 - begin) if begin < 10 else ():
            ticks = round(begin / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
@pytest.mark.parametrize("codec", ["ac3", "aac", "mp2"])
def test_sound_that_begins_late_is_kept(codec: str, ending: str, tmp_path: Path) -> None:
    source, output = tmp_path / "in.ts", tmp_path / f"out.{ending}"
    late_sound(source, codec, 9)
    report = passed(source, output)
    assert report.warnings == () and not report.damage
    with av.open(str(output)) as container:
        first: dict[int, float] = {}
        for packet in container.demux():
            if packet.pts is not None:
                first.setdefault(packet.stream_index, float(packet.pts * packet.time_base))
    assert first[1] - first[0] == pytest.approx(9, abs=0.1)


def test_sound_that_never_begins_is_left_out_with_a_word(tmp_path: Path) -> None:
    late_sound(tmp_path / "in.ts", "ac3", 11)
    report = passed(tmp_path / "in.ts", tmp_path / "out.mkv")
    assert any("nothing of it was found" in warning for warning in report.warnings) and report.frames == 250


def test_a_picture_that_begins_after_the_sound_is_not_short(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.ts"), "w") as container:
        video: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound: Any = container.add_stream("aac", rate=48000)
        container.start_encoding()
        packets = [*encoded(video, pictures(COUNT), first=200), *tone(sound, 10)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    report = passed(tmp_path / "in.ts", tmp_path / "out.mkv")
    assert report.frames == COUNT and not report.damage


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (("mp2", 48000), ("mp2", 44100), "from MPEG layer 2, 48000 Hz to MPEG layer 2, 44100 Hz"),
        (("mp2", 48000), ("ac3", 48000), "from MPEG layer 2, 48000 Hz to AC-3, 48000 Hz"),
        (("aac", 48000), ("aac", 44100), "from AAC, 48000 Hz to AAC, 44100 Hz"),
        (("ac3", 32000), ("eac3", 32000), "from AC-3, 32000 Hz to E-AC-3, 32000 Hz"),
        (("mp3", 24000), ("mp3", 24000), ""),
        (("aac", 48000), ("aac", 48000), ""),
    ],
)
def test_sound_that_becomes_another_is_told(
    before: tuple[str, int], after: tuple[str, int], told: str, tmp_path: Path
) -> None:
    parts = []
    for index, (codec, rate) in enumerate((before, after)):
        path = tmp_path / f"{index}.ts"
        with av.open(str(path), "w") as container:
            video: Any = container.add_stream("mpeg2video", rate=25)
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
            sound: Any = container.add_stream(codec, rate=rate)
            container.start_encoding()
            packets = list(encoded(video, pictures(12))) + tone(sound, 0.5)
            for packet in sorted(packets, key=lambda one: float(one.dts * one.time_base)):
                container.mux(packet)
        parts.append(path.read_bytes())
    (tmp_path / "in.ts").write_bytes(b"".join(parts))
    words = [text for text in probe(tmp_path / "in.ts").warnings() if "sound" in text]
    assert len(words) == bool(told) and all(f"{told} at about " in text for text in words)
