"""Inputs that are cut, corrupt or no video at all."""

from pathlib import Path

import av
import pytest
from clips import Sound, write_clip

from vnlsdenoise.errors import InputError
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
