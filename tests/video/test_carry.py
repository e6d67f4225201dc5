"""What stands beside the video: kept, converted or left out, each decided and told before the work."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from clips import Sound, packets, write_clip
from films import encoded, pictures, stream_bytes, tone, write_film

from vnlsdenoise.errors import UsageError, VerificationError
from vnlsdenoise.job.plan import Plan, make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import Report, run
from vnlsdenoise.video import streams
from vnlsdenoise.video.carry import decide
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.part import Part
from vnlsdenoise.video.probe import probe

QUICK = Encoding(options={"preset": "ultrafast"})


def passed(source: Path, output: Path, **wishes: Any) -> tuple[Plan, Report]:
    """A run that changes no samples."""
    plan = make_plan(Request(source, output, **{"strength": 0, "encoding": QUICK, **wishes}))
    return plan, run(plan)


def fates(plan: Plan) -> dict[str, str]:
    return {fate.what: fate.how for fate in plan.fates}


def kinds(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.type for stream in container.streams]


def film(output: Any, encoder: str = "libx264", size: tuple[int, int] = (96, 64)) -> Any:
    stream = output.add_stream(encoder, rate=25)
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    return stream


@pytest.mark.parametrize("ending", ["mov", "mp4", "mkv"])
def test_time_codes_are_kept(ending: str, tmp_path: Path) -> None:
    source, output = tmp_path / "in.mov", tmp_path / f"out.{ending}"
    with av.open(str(source), "w") as container:
        stream = film(container)
        stream.metadata["timecode"] = "01:00:00:00"
        container.mux(list(encoded(stream, pictures(6))))
    assert "data" in kinds(source)
    plan, report = passed(source, output)
    assert report.warnings == () and set(fates(plan).values()) == {"kept"}
    with av.open(str(output)) as container:
        tags = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
    assert tags["timecode"] == "01:00:00:00"


def put_time_codes(source: Path, target: Path, hours: int, minutes: int, seconds: int, number: int) -> None:
    """Have the picture timing (SEI) of every frame of H.264 tell its time code, of 25 a second."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for index, packet in enumerate(found for found in read.demux(video=0) if found.size):
            told = f"00001{0:08b}100{number + index:08b}{seconds:06b}{minutes:06b}{hours:05b}{0:024b}1"
            timing = int(told.ljust(72, "0"), 2).to_bytes(9)
            units, data, at = b"", bytes(packet), 0
            while at < len(data):
                unit = data[at + 4 : at + 4 + int.from_bytes(data[at : at + 4])]
                at += 4 + len(unit)
                if unit.startswith(b"\x06\x01"):
                    unit = b"\x06\x01" + bytes([len(timing)]) + timing.replace(b"\0\0\0", b"\0\0\3\0") + b"\x80"
                units += len(unit).to_bytes(4) + unit
            changed = av.Packet(units)
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.is_keyframe, changed.stream = packet.is_keyframe, stream
            written.mux(changed)


@pytest.mark.parametrize("ending", ["mov", "mp4", "mkv", "webm"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_time_codes_within_the_video_become_those_of_the_container(codec: str, ending: str, tmp_path: Path) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / f"out.{ending}"
    if codec == "libx264":
        write_clip(tmp_path / "plain.mkv", encoder=codec, options={"x264-params": "pic-struct=1:bframes=0"}, count=10)
        put_time_codes(tmp_path / "plain.mkv", source, 10, 20, 30, 5)
    else:
        write_clip(source, encoder=codec, options={"gop_timecode": "10:20:30:05", "bf": "2", "g": "5"}, count=10)
    for part, code in ((Part(), "10:20:30:05"), (Part(frames=(4, 9)), "10:20:30:09")):
        output.unlink(missing_ok=True)
        plan, report = passed(source, output, part=part, encoding=Encoding())
        assert report.warnings == () and fates(plan)["time code of frames"] == "kept"
        with av.open(str(output)) as container:
            tags = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
        assert tags["timecode"] == code


def test_a_group_that_counts_from_zero_is_no_time_code(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", encoder="mpeg2video", count=10)
    plan, _ = passed(tmp_path / "in.mkv", tmp_path / "out.mp4", encoding=Encoding())
    assert kinds(tmp_path / "out.mp4") == ["video"] and "time code of frames" not in fates(plan)


def hdr10_plus() -> bytes:
    """A message (SEI) of HEVC that holds metadata of HDR10+ for one window, of which nothing is zero."""
    numbers = (*[(12345, 17)] * 3, (4321, 17), (0, 4), (600, 10), (0, 3))
    told = "01" + f"{1000 << 7 | 1:027b}0" + "".join(f"{value:0{bits}b}" for value, bits in numbers)
    content = int(told.ljust(-(-len(told) // 8) * 8, "0"), 2).to_bytes(-(-len(told) // 8))
    message = bytes.fromhex("b5003c00010401") + content
    return bytes.fromhex("4e0104") + bytes([len(message)]) + message + b"\x80"


DYNAMIC = {"HDR10+ metadata": hdr10_plus(), "Dolby Vision metadata": bytes.fromhex("7c0119") + b"\x55" * 20 + b"\x80"}


@pytest.mark.parametrize("name", DYNAMIC)
@pytest.mark.parametrize("begin", [0, 12])
def test_dynamic_hdr_is_left_out_with_a_word_wherever_it_begins(name: str, begin: int, tmp_path: Path) -> None:
    options = {"x265-params": "keyint=6:bframes=0:log-level=none"}
    write_clip(tmp_path / "plain.mkv", "yuv420p10le", "libx265", (64, 64), 24, options=options)
    source = tmp_path / "in.mkv"
    with av.open(str(tmp_path / "plain.mkv")) as read, av.open(str(source), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for index, packet in enumerate(found for found in read.demux(video=0) if found.size):
            unit = len(DYNAMIC[name]).to_bytes(4) + DYNAMIC[name] if index >= begin else b""
            is_message = DYNAMIC[name].startswith(b"\x4e")
            changed = av.Packet(unit + bytes(packet) if is_message else bytes(packet) + unit)
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.is_keyframe, changed.stream = packet.is_keyframe, stream
            written.mux(changed)
    plan, report = passed(source, tmp_path / "out.mkv", encoding=Encoding())
    assert fates(plan)[name] == "left out" and any(name in warning for warning in report.warnings)
    assert report.frames == 24 and name in plan.info.notes()


@pytest.mark.parametrize("codec", ["klv", "timed_id3", "bin_data"])
def test_data_is_kept_where_the_container_can_else_left_out_with_a_word(codec: str, tmp_path: Path) -> None:
    source = tmp_path / "in.ts"
    with av.open(str(source), "w") as container:
        stream, data = film(container), container.add_data_stream(codec)
        data.time_base = Fraction(1, 90000)
        container.start_encoding()
        for index, packet in enumerate(encoded(stream, pictures(6))):
            container.mux(packet)
            telemetry = av.Packet(b"telemetry %d" % index)
            telemetry.stream, telemetry.time_base = data, Fraction(1, 90000)
            telemetry.pts = telemetry.dts = 3600 * index
            container.mux(telemetry)
    for ending in ("mov", "mp4", "mkv", "webm"):
        output = tmp_path / f"out.{ending}"
        _, report = passed(source, output, encoding=Encoding())
        if "data" in kinds(output):
            assert stream_bytes(output, "data") == stream_bytes(source, "data")
            assert report.warnings == ()
        else:
            assert any("data stream 1" in warning and "left out" in warning for warning in report.warnings)


def test_telemetry_of_cameras_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    write_titles(source, "mov_text", {100: b"accelerometer", 400: b"gyroscope"})
    # The track of a camera's telemetry is one of text under another name.
    source.write_bytes(source.read_bytes().replace(b"tx3g", b"gpmd").replace(b"sbtl", b"meta"))
    assert kinds(source) == ["video", "data"]
    for ending in ("mp4", "mov"):
        output = tmp_path / f"out.{ending}"
        assert passed(source, output)[1].warnings == ()
        assert packets(output, "data") == packets(source, "data") != []
    assert any("data" in warning for warning in passed(source, tmp_path / "out.mkv")[1].warnings)


@pytest.mark.parametrize(
    ("source", "encoder", "sound", "ending"),
    [
        ("asf", "wmv2", "wmav2", "mkv"),
        ("asf", "wmv2", "wmav1", "mkv"),
        ("mov", "mjpeg", "pcm_mulaw", "mkv"),
        ("avi", "mjpeg", "pcm_mulaw", "mov"),
        ("avi", "mjpeg", "pcm_alaw", "mov"),
        ("avi", "mjpeg", "adpcm_ms", "mkv"),
        ("avi", "mjpeg", "pcm_s24le", "mov"),
        ("wav.mkv", "ffv1", "pcm_f32le", "mov"),
        ("mkv", "libx264", "alac", "mp4"),
        ("mkv", "libx264", "eac3", "mov"),
    ],
)
def test_sound_is_kept_wherever_the_container_takes_it(
    source: str, encoder: str, sound: str, ending: str, tmp_path: Path
) -> None:
    path, output = tmp_path / f"in.{source}", tmp_path / f"out.{ending}"
    write_film(path, encoder, sound)
    _, report = passed(path, output)
    assert report.warnings == ()
    assert stream_bytes(output, "audio") == stream_bytes(path, "audio") != b""


def test_sound_that_does_not_fit_is_left_out_or_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    write_clip(source, sound=Sound("flac"))
    _, report = passed(source, tmp_path / "out.webm", encoding=Encoding())
    assert any("flac" in warning and "webm does not take it" in warning for warning in report.warnings)
    with pytest.raises(UsageError, match=r"--strict.*flac"):
        make_plan(Request(source, tmp_path / "strict.webm", strength=0, strict=True))
    make_plan(Request(source, tmp_path / "strict.mkv", strength=0, strict=True))


def test_sound_whose_decoder_would_lack_its_headers_is_left_out_with_a_word(tmp_path: Path) -> None:
    source = tmp_path / "in.asf"
    write_film(source, "wmv2", "wmav2")
    _, report = passed(source, tmp_path / "out.mov")
    assert any("wmav2" in warning and "what its decoder needs" in warning for warning in report.warnings)


def write_titles(path: Path, form: str, texts: dict[int, bytes]) -> None:
    """A film with text subtitles, by their milliseconds."""
    with av.open(str(path), "w") as container:
        stream = film(container, "libvpx-vp9" if path.suffix == ".webm" else "libx264")
        titles: Any = container.add_stream(form)
        titles.codec_context.time_base = titles.time_base = Fraction(1, 1000)
        titles.codec_context.subtitle_header = b"[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\n[Events]\n"
        container.mux(list(encoded(stream, pictures(25))))
        for begin, text in texts.items():
            packet = av.Packet(struct.pack(">H", len(text)) + text if form == "mov_text" else text)
            packet.stream, packet.time_base = titles, Fraction(1, 1000)
            packet.pts = packet.dts = begin
            packet.duration = 200
            container.mux(packet)


def texts(path: Path) -> list[tuple[float, str]]:
    """When each text is shown, and the text itself."""
    shown = []
    with av.open(str(path)) as container:
        stream: Any = container.streams.subtitles[0]
        for packet in container.demux(stream):
            if packet.size:
                found = stream.codec_context.decode2(packet)
                for text in found.rects if found is not None else ():
                    shown.append((float(packet.pts * packet.time_base), text.ass.decode().rpartition(",,")[2]))
    return shown


@pytest.mark.parametrize(
    ("source", "form", "output", "converted"),
    [
        ("in.mkv", "srt", "out.mp4", "mov_text"),
        ("in.mkv", "srt", "out.mov", "mov_text"),
        ("in.mkv", "srt", "out.mkv", None),
        ("in.mkv", "srt", "out.webm", "webvtt"),
        ("in.webm", "webvtt", "out.mp4", "mov_text"),
        ("in.mp4", "mov_text", "out.mp4", None),
        ("in.mp4", "mov_text", "out.mov", None),
        ("in.mp4", "mov_text", "out.mkv", "subrip"),
        ("in.mov", "mov_text", "out.webm", "webvtt"),
    ],
)
def test_text_subtitles_are_kept_or_converted(
    source: str, form: str, output: str, converted: str | None, tmp_path: Path
) -> None:
    write_titles(tmp_path / source, form, {100: b"Hello", 400: "Wörld".encode()})
    plan, report = passed(tmp_path / source, tmp_path / output, encoding=Encoding())
    assert texts(tmp_path / output) == [(0.1, "Hello"), (0.4, "Wörld")]
    if converted is None:
        assert report.warnings == ()
    else:
        assert any(f"converted to {converted}" in warning for warning in report.warnings)
        assert "converted" in fates(plan).values()


def test_ass_subtitles_keep_what_mp4_can_say(tmp_path: Path) -> None:
    write_titles(tmp_path / "in.mkv", "ass", {100: b"0,0,Default,,0,0,0,,{\\i1}Hello{\\i0} you"})
    passed(tmp_path / "in.mkv", tmp_path / "out.mp4")
    [(_, text)] = texts(tmp_path / "out.mp4")
    assert "\\i1" in text and "Hello" in text and "you" in text


def test_more_streams_than_a_demuxer_usually_takes(tmp_path: Path) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    with av.open(str(source), "w") as container:
        stream = film(container)
        for index in range(150):
            container.add_attachment(f"font{index}.ttf", "application/x-truetype-font", b"\0\1\0\0" + bytes(9))
        container.mux(list(encoded(stream, pictures(3))))
    assert passed(source, output)[1].warnings == ()
    assert kinds(output).count("attachment") == 150
    _, report = passed(source, tmp_path / "out.mp4")
    assert len([warning for warning in report.warnings if "attachment" in warning]) == 150


@pytest.mark.parametrize(
    ("ending", "lost"),
    [
        ("mkv", {}),
        ("mp4", {}),
        ("mov", {"audio stream 1": "comment", "subtitle stream 2": "forced, hearing impaired"}),
        ("webm", {"audio stream 1": "comment", "subtitle stream 2": "hearing impaired"}),
    ],
)
def test_what_streams_are_marked_as_is_kept_or_told(ending: str, lost: dict[str, str], tmp_path: Path) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / f"out.{ending}"
    codec = "libopus" if ending == "webm" else "aac"
    with av.open(str(source), "w") as container:
        stream, sound = film(container), container.add_stream(codec, rate=48000)
        text: Any = container.add_mux_stream("subrip")
        text.time_base = Fraction(1, 1000)
        sound.disposition, text.disposition = Disposition.comment, Disposition.forced | Disposition.hearing_impaired
        container.start_encoding()
        packet = av.Packet(b"hello")
        packet.stream, packet.pts, packet.dts, packet.duration, packet.time_base = text, 0, 0, 100, Fraction(1, 1000)
        container.mux([*encoded(stream, pictures(6)), *tone(sound, 0.2), packet])
    _, report = passed(source, output, encoding=Encoding())
    told = [warning for warning in report.warnings if "mark" in warning]
    assert len(told) == len(lost)
    for warning, (name, marks) in zip(told, lost.items(), strict=True):
        assert name in warning and f"as {marks}: that is left out" in warning
    with av.open(str(source)) as before, av.open(str(output)) as after:
        for one, other in zip([*before.streams][1:], [*after.streams][1:], strict=True):
            named = lost.get(f"{one.type} stream {one.index}", "")
            kept = [m for m in Disposition if m & one.disposition and str(m.name).replace("_", " ") not in named]
            assert all(mark & other.disposition for mark in kept)


@pytest.mark.parametrize(("container", "lost"), [("matroska", 0), ("mp4", 0), ("mov", 2), ("webm", 0)])
@pytest.mark.parametrize("codec", ["aac", "ac3"])
def test_marks_of_streams_that_say_nothing_near_the_beginning(
    codec: str, container: str, lost: int, tmp_path: Path
) -> None:
    """MP4 makes no track of what holds nothing."""
    with av.open(str(tmp_path / "in.mkv"), "w") as source:
        stream, sound, text = film(source), source.add_stream(codec, rate=48000), source.add_mux_stream("subrip")
        sound.disposition = text.disposition = Disposition.forced
        source.mux(list(encoded(stream, pictures(6))))
    told = [fate.why for fate in decide(tmp_path / "in.mkv", 0, container).changed if "does not mark" in fate.why]
    assert len(told) == lost + ((codec, container) == ("ac3", "mp4"))


def write_cover(path: Path, codec: str) -> bytes:
    """A film with a cover picture; returns the bytes of that."""
    cover: Any = av.CodecContext.create(codec, "w")
    cover.width = cover.height = 32
    cover.pix_fmt, cover.time_base = ("yuvj420p" if codec == "mjpeg" else "rgb24"), Fraction(1, 25)
    [picture] = [bytes(packet) for packet in encoded(cover, pictures(1, (32, 32)))]
    with av.open(str(path), "w") as container:
        stream = film(container)
        if path.suffix == ".mkv":
            container.add_attachment("cover.png", "image/png", picture)
        else:
            art: Any = container.add_stream(codec, rate=25)
            art.width = art.height = 32
            art.pix_fmt, art.disposition = cover.pix_fmt, Disposition.attached_pic
            container.start_encoding()
            packet = av.Packet(picture)
            packet.stream, packet.pts, packet.dts, packet.time_base = art, 0, 0, Fraction(1, 25)
            packet.is_keyframe = True
            container.mux(packet)
        container.mux(list(encoded(stream, pictures(6))))
    return picture


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
@pytest.mark.parametrize("source", ["in.mp4", "in.mkv"])
def test_covers_are_kept_or_left_out_with_a_word(source: str, codec: str, tmp_path: Path) -> None:
    if source == "in.mkv" and codec == "mjpeg":
        pytest.skip("the clip names its attachment PNG")
    picture = write_cover(tmp_path / source, codec)
    for ending in ("mp4", "mkv", "mov", "webm"):
        output = tmp_path / f"out.{ending}"
        _, report = passed(tmp_path / source, output, encoding=Encoding())
        with av.open(str(output)) as container:
            covers = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
            found = [bytes(packet) for packet in container.demux(covers) if packet.size] if covers else []
        if ending in ("mp4", "mkv"):
            assert found == [picture] and report.warnings == ()
        else:
            assert not found and any("cover" in warning for warning in report.warnings)


@pytest.mark.parametrize("order", [("art", "sound"), ("sound", "art"), ("art", "sound", "art")])
def test_a_cover_of_mp4_stands_behind_the_other_streams_and_the_chapters(
    order: tuple[str, ...], tmp_path: Path
) -> None:
    """MP4 makes no track of it, wherever it stood: what is read back is in another order."""
    write_cover(tmp_path / "cover.mp4", "mjpeg")
    write_clip(tmp_path / "sound.mp4", encoder="libx264", size=(64, 48), sound=Sound("aac", chapters=True))
    with av.open(str(tmp_path / "cover.mp4")) as one, av.open(str(tmp_path / "sound.mp4")) as other:
        found = {"art": one.streams.video[1], "sound": other.streams.audio[0], "film": other.streams.video[0]}
        sent: dict[str, list[Any]] = {}
        for name, stream in found.items():
            stream.container.seek(0)
            sent[name] = [packet for packet in stream.container.demux(stream) if packet.size]
        art = bytes(sent["art"][0])
        with av.open(str(tmp_path / "in.mp4"), "w") as container:
            names = ("film", *order)
            targets = [container.add_stream_from_template(found[name]) for name in names]
            for name, target in zip(names, targets, strict=True):
                target.disposition = found[name].disposition
            container.set_chapters(other.chapters())
            container.start_encoding()
            for name, target in zip(names, targets, strict=True):
                for packet in sent[name]:
                    copy = av.Packet(bytes(packet))
                    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                    copy.is_keyframe, copy.stream = packet.is_keyframe, target
                    container.mux(copy)
    for name, part in (("part.mp4", Part(frames=(1, 5))), ("out.mp4", Part())):
        _, report = passed(tmp_path / "in.mp4", tmp_path / name, part=part)
        assert report.warnings == ()
        with av.open(str(tmp_path / name)) as container:
            covers = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
            assert len(covers) == order.count("art") and len(container.chapters()) == 2
            assert [bytes(packet) for packet in container.demux(covers) if packet.size] == [art] * len(covers)
    assert stream_bytes(tmp_path / "out.mp4", "audio") == stream_bytes(tmp_path / "in.mp4", "audio")


def test_the_default_or_largest_video_is_denoised_and_it_is_said(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        streams = [film(container, size=size) for size in ((64, 48), (96, 64), (128, 96))]
        for stream in streams:
            stream.disposition = Disposition.default if stream.index == 1 else Disposition(0)
        for stream, size in zip(streams, ((64, 48), (96, 64), (128, 96)), strict=True):
            container.mux(list(encoded(stream, pictures(6, size))))
    assert probe(source).index == 1
    plan, report = passed(source, tmp_path / "out.mkv")
    assert plan.info.format.width == 96
    assert any("stream 1 (96x64)" in warning and "--video-stream" in warning for warning in report.warnings)
    assert kinds(tmp_path / "out.mkv") == ["video"] * 3
    plan, _ = passed(source, tmp_path / "chosen.mkv", video_stream=0)
    assert plan.info.format.width == 64
    with pytest.raises(UsageError, match="--video-stream 7"):
        make_plan(Request(source, None, video_stream=7))
    # Where nothing is called default, the largest one is the film.
    with av.open(str(tmp_path / "in.ts"), "w") as container:
        streams = [film(container, size=size) for size in ((64, 48), (96, 64))]
        for stream, size in zip(streams, ((64, 48), (96, 64)), strict=True):
            container.mux(list(encoded(stream, pictures(6, size))))
    assert probe(tmp_path / "in.ts").format.width == 96


KEYS = {
    "com.apple.quicktime.make": "Maker",
    "com.apple.quicktime.model": "Phone",
    "com.apple.quicktime.location.ISO6709": "+10.0000+020.0000/",
}


@pytest.mark.parametrize("ending", ["mov", "mp4", "mkv"])
def test_keys_of_quicktime_are_kept(ending: str, tmp_path: Path) -> None:
    source, output = tmp_path / "in.mov", tmp_path / f"out.{ending}"
    with av.open(str(source), "w", container_options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(KEYS)
        stream = film(container)
        container.mux(list(encoded(stream, pictures(6))))
    assert passed(source, output)[1].warnings == ()
    with av.open(str(output)) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}
    assert all(found[key.lower()] == value for key, value in KEYS.items())


@pytest.mark.parametrize("ending", ["mov", "mp4", "mkv"])
@pytest.mark.parametrize("source", ["in.mp4", "in.mov", "in.mkv"])
def test_titles_of_tracks_are_kept(source: str, ending: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / source), "w") as container:
        streams = {"Angle 1": film(container), "Comments": container.add_stream("aac", rate=48000)}
        for title, stream in streams.items():
            stream.metadata["title"] = title
        container.start_encoding()
        container.mux(list(encoded(streams["Angle 1"], pictures(6))) + tone(streams["Comments"], 0.2))
    assert passed(tmp_path / source, tmp_path / f"out.{ending}")[1].warnings == ()
    key = "title" if ending == "mkv" else "name"  # as FFmpeg reads what it writes
    with av.open(str(tmp_path / f"out.{ending}")) as container:
        assert [stream.metadata.get(key) for stream in container.streams] == list(streams)


@pytest.mark.parametrize(
    ("language", "kept"),
    [("deu", "ger"), ("ger", "ger"), ("cze", "ces"), ("fre", "fra"), ("fra", "fra"), ("swe", "sve"), ("jpn", "jpn")],
)
def test_languages_are_kept_in_quicktime(language: str, kept: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        video, sound = film(container), container.add_stream("aac", rate=48000)
        sound.metadata["language"] = language
        container.start_encoding()
        container.mux(list(encoded(video, pictures(6))) + tone(sound, 0.2))
    for ending, code in (("mov", kept), ("mp4", language)):
        assert passed(tmp_path / "in.mkv", tmp_path / f"out.{ending}")[1].warnings == ()
        with av.open(str(tmp_path / f"out.{ending}")) as container:
            assert container.streams.audio[0].language == code


@pytest.mark.parametrize("ending", ["mov", "mp4", "mkv"])
def test_the_track_of_chapters_is_not_called_lost(ending: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        chapter = {"id": 0, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
        container.set_chapters([chapter])
        container.mux(list(encoded(film(container), pictures(6))))
    assert "data" in kinds(tmp_path / "in.mp4")
    assert passed(tmp_path / "in.mp4", tmp_path / f"out.{ending}")[1].warnings == ()
    with av.open(str(tmp_path / f"out.{ending}")) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One"]


def test_side_data_that_is_not_known_is_told(tmp_path: Path) -> None:
    write_film(tmp_path / "in.mov", "tiff", count=4, pix_fmt="rgb24")  # whose tags FFmpeg reads as Exif
    plan, report = passed(tmp_path / "in.mov", tmp_path / "out.mkv")
    assert report.frames == 4 and fates(plan)["Exif data"] == "left out"


def test_tags_without_a_place_are_told(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        container.metadata["SHOT_BY"] = "somebody"
        stream = film(container)
        container.mux(list(encoded(stream, pictures(6))))
    _, report = passed(source, tmp_path / "out.mp4")
    assert any("SHOT_BY" in warning for warning in report.warnings)
    assert passed(source, tmp_path / "copy.mkv")[1].warnings == ()


def test_pcm_is_compared_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(tmp_path / "in.avi", "mjpeg", "pcm_s16le")
    passed(tmp_path / "in.avi", tmp_path / "out.mov")

    class Lossy(streams.Tally):
        """Counts a byte that is not written."""

        def add(self, packet: Any) -> None:
            super().add(packet)
            self.bytes += 1

    monkeypatch.setattr(streams, "Tally", Lossy)
    with pytest.raises(VerificationError, match="content of stream"):
        passed(tmp_path / "in.avi", tmp_path / "bad.mov")
    assert not (tmp_path / "bad.mov").exists()


def test_streams_video_leaves_all_out_without_a_word(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", sound=Sound("aac", "subrip", True))
    plan, report = passed(tmp_path / "in.mkv", tmp_path / "out.mkv", streams="video")
    assert kinds(tmp_path / "out.mkv") == ["video"] and report.warnings == ()
    assert list(fates(plan).values()).count("left out") == 2


def test_sound_beside_images_is_left_out_with_a_word(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", "bgr0", sound=Sound("aac"))
    _, report = passed(tmp_path / "in.mkv", tmp_path / "images")
    assert report.frames == 6 and any("audio stream 1" in warning for warning in report.warnings)


def test_the_plan_tells_everything(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", "yuv444p", sound=Sound("aac", "subrip"), size=(64, 48))
    wish = Encoding(pix_fmt="yuv420p")
    plan = make_plan(Request(tmp_path / "in.mkv", tmp_path / "out.mp4", strength=0, encoding=wish))
    told = {fate["what"]: fate["how"] for fate in plan.as_dict()["fates"]}
    assert told == {"chroma": "converted", "audio stream 1 (aac)": "kept", "subtitle stream 2 (subrip)": "converted"}
    assert any(line.startswith("converted:") for line in plan.lines())
    assert np.all([fate.why for fate in plan.fates if fate.how != "kept"])
