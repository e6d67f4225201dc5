"""Files through reader and writer: samples, time stamps, tags, and what stands beside the video."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import Sound, packets, write_clip

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.video.carry import decide
from vnlsdenoise.video.encoders import Encoding, choose
from vnlsdenoise.video.open import open_reader
from vnlsdenoise.video.probe import probe
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.write import VideoWriter

FFV1_FORMATS = [
    format.name
    for format in av.Codec("ffv1", "w").video_formats or []
    if "f16" not in format.name and "f32" not in format.name
]


def passed_through(source: Path, target: Path, wish: Encoding) -> list[str]:
    """Copy a clip frame by frame; returns the warnings."""
    reader = VideoReader(source)
    choice = choose(target, reader.info, wish)
    carry = decide(source, reader.info.index, choice.container)
    with VideoWriter(target, reader.info, choice, carry) as writer:
        for frame in reader:
            writer.write(frame)
    return [*choice.warnings, *(fate.why for fate in carry.changed), *writer.warnings, *reader.warnings]


@pytest.mark.parametrize("pix_fmt", FFV1_FORMATS)
def test_lossless_keeps_every_sample_of_every_format(pix_fmt: str, tmp_path: Path) -> None:
    options = {"level": "1"} if pix_fmt in ("yuv410p", "yuv411p") else {}
    frames = write_clip(tmp_path / "in.mkv", pix_fmt, size=(21, 13), count=3, options=options)
    passed_through(tmp_path / "in.mkv", tmp_path / "out.mkv", Encoding(lossless=True))
    back = list(VideoReader(tmp_path / "out.mkv"))
    assert len(back) == len(frames)
    for got, want in zip(back, frames, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(got.planes, want.planes, strict=True))
        assert got.extra.keys() == want.extra.keys()
        assert all(np.array_equal(got.extra[key], want.extra[key]) for key in want.extra)


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_variable_frame_rate_keeps_its_time_stamps(ending: str, tmp_path: Path) -> None:
    pts = [0, 33, 67, 300, 301, 1000, 1040]
    source, target = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    options = {"bf": "0"}
    write_clip(source, encoder="libx264", count=7, pts=pts, time_base=Fraction(1, 1000), options=options)
    read = [frame.pts for frame in VideoReader(source)]
    passed_through(source, target, Encoding())
    info = probe(target)
    assert info.time_base == probe(source).time_base
    assert [frame.pts for frame in VideoReader(target)] == read


def test_negative_time_stamps_survive_in_mp4(tmp_path: Path) -> None:
    reader_pts = [-3, -2, -1, 0, 1, 2]
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    write_clip(source, encoder="libx264", pts=reader_pts, options={"bf": "0"})
    read = [frame.pts for frame in VideoReader(source)]
    passed_through(source, target, Encoding())
    assert [frame.pts for frame in VideoReader(target)] == read


@pytest.mark.parametrize(("codec", "ending"), [("h264", "mov"), ("hevc", "mp4"), ("h264", "mkv"), ("ffv1", "mkv")])
def test_tags_survive(codec: str, ending: str, tmp_path: Path) -> None:
    tags = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    source, target = tmp_path / "in.mov", tmp_path / f"out.{ending}"
    write_clip(source, encoder="libx264", rotation=90, sample_aspect_ratio=Fraction(4, 3), **tags)
    passed_through(source, target, Encoding(codec=codec))
    before, after = probe(source), probe(target)
    assert after.color == before.color
    assert (after.color.primaries, after.color.transfer, after.color.matrix, after.color.range) == (9, 16, 9, 1)
    assert after.sample_aspect == Fraction(4, 3)
    assert after.display_matrix == before.display_matrix
    assert after.rotation == before.rotation == 90


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(12, 11), Fraction(8, 9)])
@pytest.mark.parametrize(("name", "codec"), [("out.webm", "vp9"), ("out.mkv", "ffv1"), ("out.mkv", "prores")])
def test_containers_carry_the_pixel_aspect_that_encoders_do_not(
    aspect: Fraction, name: str, codec: str, tmp_path: Path
) -> None:
    write_clip(tmp_path / "in.mov", encoder="libx264", sample_aspect_ratio=aspect, size=(64, 48))
    assert passed_through(tmp_path / "in.mov", tmp_path / name, Encoding(codec=codec)) == []
    assert probe(tmp_path / name).sample_aspect == aspect
    assert len(list(VideoReader(tmp_path / name))) == 6


def test_full_range_stays_full_range(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", encoder="libx264", color_range=2)
    passed_through(tmp_path / "in.mkv", tmp_path / "out.mkv", Encoding(lossless=True))
    assert probe(tmp_path / "out.mkv").color.range == 2
    before, after = VideoReader(tmp_path / "in.mkv"), VideoReader(tmp_path / "out.mkv")
    for got, want in zip(after, before, strict=True):
        assert np.array_equal(got.planes[0], want.planes[0])


def test_sound_subtitles_and_chapters_are_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    write_clip(source, encoder="libx264", count=12, sound=Sound("aac", "subrip", True))
    assert passed_through(source, target, Encoding()) == []
    assert packets(target, "audio") == packets(source, "audio")
    assert packets(target, "subtitle") == packets(source, "subtitle")
    assert len(packets(source, "subtitle")) == 1
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert [entry["metadata"] for entry in after.chapters()] == [entry["metadata"] for entry in before.chapters()]
        assert after.metadata["title"] == "a film"


def test_ten_bit_hevc_with_sound(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    write_clip(
        source, "yuv420p10le", "libx265", (64, 48), sound=Sound("aac"), options={"x265-params": "log-level=none"}
    )
    assert passed_through(source, target, Encoding()) == []
    info = probe(target)
    assert (info.codec, info.pix_fmt) == ("hevc", "yuv420p10le")
    assert packets(target, "audio") == packets(source, "audio")


def test_attachments_are_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    write_clip(tmp_path / "plain.mkv")
    reader = VideoReader(tmp_path / "plain.mkv")
    with av.open(str(source), "w") as output:
        output.add_attachment("font.ttf", "application/x-truetype-font", b"not really a font")
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for index, _ in enumerate(reader):
            frame = av.VideoFrame(32, 24, "yuv420p")
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    passed_through(source, target, Encoding(lossless=True))
    with av.open(str(target)) as container:
        [attachment] = [stream for stream in container.streams if stream.type == "attachment"]
        assert attachment.data == b"not really a font"
        assert attachment.metadata["filename"] == "font.ttf"


def test_streams_that_do_not_fit_are_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", sound=Sound("flac"))
    [warning] = passed_through(tmp_path / "in.mkv", tmp_path / "out.webm", Encoding())
    assert "audio" in warning and "webm" in warning


@pytest.mark.parametrize(
    ("ending", "pix_fmt", "codec"),
    [
        (".mp4", "yuv420p", "h264"),
        (".mp4", "yuv422p10le", "hevc"),
        (".webm", "yuv420p", "vp9"),
    ],
)
def test_default_encoders_keep_depth_and_chroma(ending: str, pix_fmt: str, codec: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", pix_fmt, size=(64, 48))
    assert passed_through(tmp_path / "in.mkv", tmp_path / f"out{ending}", Encoding()) == []
    info = probe(tmp_path / f"out{ending}")
    assert (info.codec.removeprefix("lib").removeprefix("vpx-"), info.pix_fmt) == (codec, pix_fmt)


def test_odd_sizes_stay_and_say_what_it_costs(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(33, 17))
    [warning] = passed_through(tmp_path / "in.mkv", tmp_path / "out.mp4", Encoding())
    assert "33x17" in warning and "--codec" in warning
    info = probe(tmp_path / "out.mp4")
    assert (info.format.width, info.format.height, info.pix_fmt) == (33, 17, "yuv444p")
    assert passed_through(tmp_path / "in.mkv", tmp_path / "out.webm", Encoding()) == []
    assert probe(tmp_path / "out.webm").format == probe(tmp_path / "in.mkv").format


def test_wishes_that_contradict_are_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(33, 17))
    info = probe(tmp_path / "in.mkv")
    for name, wish in [
        ("out.mp4", Encoding(pix_fmt="yuv420p")),
        ("out.mp4", Encoding(lossless=True)),
        ("out.mkv", Encoding(codec="no_such")),
        ("out.mkv", Encoding(codec="ffv1", crf=3)),
        ("out.mkv", Encoding(pix_fmt="pal8")),
        ("out.avi", Encoding()),
    ]:
        with pytest.raises(UsageError):
            choose(tmp_path / name, info, wish)


def test_an_encoder_that_cannot_say_the_colours_is_refused_before_the_work(tmp_path: Path) -> None:
    wide = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    full = {"color_primaries": 1, "color_trc": 1, "colorspace": 1, "color_range": 2}
    write_clip(tmp_path / "wide.mkv", "yuv420p10le", **wide)
    write_clip(tmp_path / "full.mkv", **full)
    for source, name, codec in [
        ("wide", "out.webm", "libvpx"),
        ("wide", "out.mkv", "libvpx"),
        ("full", "out.webm", "libvpx"),
        ("full", "out.mkv", "mpeg2video"),
        ("full", "out.mov", "prores"),
        ("full", "out.mkv", "mjpeg"),
    ]:
        with pytest.raises(UsageError, match="cannot say the colour"):
            choose(tmp_path / name, probe(tmp_path / f"{source}.mkv"), Encoding(codec))
    for source, name, codec in [("wide", "out.webm", "vp9"), ("full", "out.mp4", "h264"), ("wide", "out.mp4", "hevc")]:
        passed_through(tmp_path / f"{source}.mkv", tmp_path / name, Encoding(codec))


@pytest.mark.parametrize(
    "name", ["with space.mkv", "100%.mkv", "in_%06d.mkv", "пример-日本.mkv", "-dash.mkv", "a:b.mkv"]
)
def test_any_file_name_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    passed_through(Path(name), Path("out") / name, Encoding())
    assert len(list(open_reader(Path("out") / name))) == 6


def test_sampling_spreads_over_a_long_file(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mp4", encoder="libx264", count=200, options={"g": "12"})
    pairs = VideoReader(tmp_path / "in.mp4").sample(8)
    pts = [one.pts or 0 for one, _ in pairs]
    assert len(set(pts)) == 8 and pts == sorted(pts)
    assert all(other.pts == one.pts + 512 for one, other in pairs if one.pts is not None)
    assert len(VideoReader(tmp_path / "in.mp4").sample(1)) == 1


def test_interlaced_input_is_refused_unless_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", encoder="libx264", options={"x264-params": "interlaced=1"}, size=(32, 32))
    with pytest.raises(InputError, match="--interlaced fields"):
        VideoReader(tmp_path / "in.mkv")
    assert len(list(VideoReader(tmp_path / "in.mkv", interlaced="ignore"))) == 6


def test_frames_and_streams_beyond_the_limits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "in.mkv", sound=Sound("aac"))
    monkeypatch.setattr("vnlsdenoise.video.container.MAX_STREAMS", 1)
    with pytest.raises(InputError):
        VideoReader(tmp_path / "in.mkv")
    monkeypatch.undo()
    monkeypatch.setattr("vnlsdenoise.video.container.MAX_PIXELS", 100)
    with pytest.raises(InputError):
        VideoReader(tmp_path / "in.mkv")
