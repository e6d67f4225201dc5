"""What a work folder keeps is whole or not there; one run at a time; an input that changed is another one."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from clips import write_clip

from vnlsdenoise.errors import InputError, OutputError, UsageError, VerificationError
from vnlsdenoise.job.identity import check_unchanged, identify
from vnlsdenoise.job.lock import hold
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.job.workdir import Piece, WorkFolder, missing
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.noise.model import ClippedRgb, PlaneNoise
from vnlsdenoise.video.chunk import Chunk, ChunkWriter, Joint, reorder_depth
from vnlsdenoise.video.encoders import Encoding, choose
from vnlsdenoise.video.read import VideoReader


def test_noise_goes_through_json_to_the_last_bit() -> None:
    third, spectrum = 1 / 3, tuple(1 + index / 97 for index in range(64))
    plane = PlaneNoise(third, ((0.1, 0.2), (1e-17 + 7, 3 * third)), True, spectrum, 1.1)
    noise = NoiseModel(
        (plane, PlaneNoise(1.0, assumed=True)),
        (1.1, third, 2.0),
        (spectrum, (), spectrum),
        ClippedRgb(plane, True, False),
    )
    for model in (noise, NoiseModel.of_sigma([third])):
        assert NoiseModel.from_json(json.loads(json.dumps(model.to_json()))) == model
        assert repr(NoiseModel.from_json(json.loads(json.dumps(model.to_json())))) == repr(model)


def folder_of(path: Path, *runs: tuple[int, int]) -> WorkFolder:
    folder = WorkFolder(path / "work")
    folder.begin({"decides": {}})
    for first, frames in runs:
        folder.temporary(first).write_bytes(bytes([first]) * 100)
        folder.finish(first, frames, fed=(first,), depth=1, measured=(((first, {"a": 0.1}),), ()))
    return folder


def test_pieces_come_back_as_they_were_noted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, (0, 10), (10, 5))
    pieces, wrong = folder.sound_pieces()
    assert not wrong and pieces == folder.pieces() and [piece.end for piece in pieces] == [10, 15]
    assert pieces[1].measured == (((10, {"a": 0.1}),), ()) and pieces[1].fed == (10,)


@pytest.mark.parametrize("harm", ["flip", "cut", "gone", "record", "number", "no record"])
def test_a_piece_that_is_not_whole_is_done_again(harm: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, (0, 10), (10, 5), (15, 5))
    folder.temporary(20).write_bytes(b"half of a piece")
    data = folder.path / "000000010.chunk"
    if harm == "flip":
        data.write_bytes(b"\1" + data.read_bytes()[1:])
    elif harm == "cut":
        data.write_bytes(data.read_bytes()[:50])
    elif harm == "gone":
        data.unlink()
    elif harm == "record":
        data.with_suffix(".json").write_text("{")
    elif harm == "number":
        data.with_suffix(".json").write_text(
            data.with_suffix(".json").read_text().replace('"frames": 5', '"frames": 6')
        )
    else:
        data.with_suffix(".json").unlink()
        data.with_suffix(".json").mkdir()
    pieces, wrong = folder.sound_pieces()
    assert [piece.first for piece in pieces] == [0, 15] and len(wrong) == 1
    assert list(missing(pieces)) == [(10, 15, (0,)), (20, None, (15,))]
    assert not list(folder.path.glob("*.part"))


KINDS: dict[str, Callable[[Path], object]] = {
    "a file": lambda place: place.write_text("somebody's"),
    "a link to nothing": lambda place: place.symlink_to("none/nothing"),
    "a link to a file": lambda place: place.symlink_to("in.mkv"),
    "a link to a folder": lambda place: place.symlink_to("elsewhere"),
    "a pipe": os.mkfifo,
    "a folder": lambda place: (place.mkdir(), (place / "somebody's").touch()),
}


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        *(("", kind) for kind in KINDS),
        *((".lock", kind) for kind in KINDS),
    ],
)
def test_what_stands_in_the_place_of_the_work_is_named_and_left(ending: str, kind: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", count=2)
    (tmp_path / "elsewhere").mkdir()
    place = Path(f"{WorkFolder.of(tmp_path / 'out.mkv', None, images=False).path}{ending}")
    KINDS[kind](place)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=f"(?=.*{re.escape(str(place))})(?=.*move away)"):
        run(make_plan(Request(tmp_path / "in.mkv", tmp_path / "out.mkv", strength=0)))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_where_a_note_is_to_stand_ends_with_a_word(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", count=2)
    wish = Request(tmp_path / "in.mkv", tmp_path / "out.mkv", strength=0, keep_workdir=True)
    run(make_plan(wish))
    (tmp_path / "out.mkv").unlink()
    folder = WorkFolder.of(tmp_path / "out.mkv", None, images=False).path
    (folder / "read.json").unlink()
    (folder / "read.json").mkdir()
    with pytest.raises(OutputError, match=r"read\.json.*--workdir"):
        run(make_plan(wish))


ROTTED = [
    "",
    "{}",
    "[]",
    "7",
    "[" * 5000,
    "\0" * 40,
    "\udcff",
    '{"format": 1, "frames": 2}',
    "its own with another number",
]


@pytest.mark.parametrize("note", ["manifest.json", "read.json", "faults.json", "published.json", "000000000.json"])
def test_a_note_that_has_rotted_is_as_good_as_none(note: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", count=2)
    wish = Request(tmp_path / "in.mkv", tmp_path / "out.mkv", strength=0, keep_workdir=True)
    run(make_plan(wish))
    whole = (tmp_path / "out.mkv").read_bytes()
    folder = WorkFolder.of(tmp_path / "out.mkv", None, images=False)
    folder.fail_at(0)
    place = folder.path / note
    for text in ROTTED:
        (tmp_path / "out.mkv").unlink()
        rotted = re.sub(r"\d(?=[,\]}])", "3", place.read_text()) if text.startswith("its") else text
        place.write_text(rotted, errors="surrogateescape")
        told: list[str] = []
        run(make_plan(wish), say=told.append)
        assert (tmp_path / "out.mkv").read_bytes() == whole
        assert any("begins anew" in line for line in told) == (note == "manifest.json"), told
        assert any("done again" in line for line in told) == (note == "000000000.json"), told
        assert folder.fail_at(0) >= 1


def test_what_is_missing_is_found_anywhere() -> None:
    assert list(missing([])) == [(0, None, ())]
    pieces = [Piece(4, 4, "", 0, "", (3,)), Piece(8, 2, "", 0, "", (6,)), Piece(12, 1, "", 0, "", (9,))]
    assert list(missing(pieces)) == [(0, 4, ()), (10, 12, (6,)), (13, None, (9,))]


def test_an_input_is_known_by_its_size_time_and_bytes(tmp_path: Path) -> None:
    source = tmp_path / "in.bin"
    source.write_bytes(bytes(range(256)) * 40000)
    before = identify(source)
    check_unchanged(source, before)
    stamp = (source.stat().st_atime_ns, source.stat().st_mtime_ns)
    data = bytearray(source.read_bytes())
    for place in (0, len(data) - 1, 1 << 20):
        changed = bytearray(data)
        changed[place] ^= 1
        source.write_bytes(changed)
        os.utime(source, ns=stamp)
        assert identify(source) != before, place
    source.write_bytes(data)
    os.utime(source, ns=(0, 1))
    with pytest.raises(InputError, match="changed while"):
        check_unchanged(source, before)
    source.unlink()
    for look in (lambda: identify(source), lambda: check_unchanged(source, before)):
        with pytest.raises(InputError, match="cannot be read any more"):
            look()


def test_images_are_known_by_all_their_names(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:03d}.png").write_bytes(bytes([number]) * 50)
    before = identify(tmp_path)
    (tmp_path / "013.png").rename(tmp_path / "031.png")
    assert identify(tmp_path) != before


HOLD = """
import sys, time
from pathlib import Path
from vnlsdenoise.job.lock import hold
with hold(Path(sys.argv[1]), Path("out.mkv")):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one_and_let_go_by_the_dead(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            with (
                pytest.raises(UsageError, match=f"being written by process {process.pid} on"),
                hold(lock, Path("out.mkv")),
            ):
                pass
        finally:
            process.kill()
    assert lock.exists()
    with hold(lock, Path("out.mkv")):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()
    # A holder may have ended before it had written itself into it, or a power cut before that was on the disk.
    for content in ("", "\0" * 40):
        lock.write_text(content)
        with hold(lock, Path("out.mkv")):
            assert json.loads(lock.read_text())["pid"] == os.getpid()
    for content in ("{}", "[1]", '{"pid": 1, "host": "a", "mine": 1}', "[" * 4096, "\0" * 5000):
        lock.write_text(content)
        for make in (True, False):
            with pytest.raises(OutputError, match="move away"), hold(lock, Path("out.mkv"), make=make):
                pass
        assert lock.read_text() == content
    lock.unlink()
    with pytest.raises(OutputError, match="writable"), hold(tmp_path / "none" / "lock", Path("out.mkv")):
        pass


def test_chunks_of_one_film_have_rising_times_of_decoding(tmp_path: Path) -> None:
    """Frames at uneven times in chunks of any length, of encoders that reorder them."""
    times = [0, 3, 4, 9, 10, 30, 31, 32, 33, 60, 61, 63, 64, 70, 99, 100, 101, 102, 103, 150, 151]
    write_clip(tmp_path / "in.mkv", size=(64, 48), count=len(times), pts=times)
    reader = VideoReader(tmp_path / "in.mkv")
    choice = choose(tmp_path / "out.mkv", reader.info, Encoding("h264", options={"bf": "3", "b-pyramid": "normal"}))
    frames = list(reader)
    for length in (1, 2, 5, 7, 21):
        chunks = []
        for first in range(0, len(frames), length):
            with ChunkWriter(tmp_path / f"{first}", reader.info, choice) as writer:
                for frame in frames[first : first + length]:
                    writer.write(frame)
            headers = writer.headers
            chunks.append(Chunk.open(tmp_path / f"{first}", headers, Fraction(1, 25)))
        joint = Joint(max(reorder_depth(chunk.shown) for chunk in chunks), 40)
        packets = [packet for chunk in chunks for packet in joint.join(chunk)]
        dts = [packet.dts for packet in packets]
        assert all(one < other for one, other in itertools.pairwise(dts))
        assert all(packet.dts <= packet.pts for packet in packets)
        assert sorted(packet.pts for packet in packets) == [frame.pts for frame in frames]


@pytest.mark.parametrize("harm", ["mark", "headers", "end"])
def test_what_is_no_chunk_is_named(harm: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", size=(64, 48), count=4)
    reader = VideoReader(tmp_path / "in.mkv")
    choice = choose(tmp_path / "out.mkv", reader.info, Encoding("h264"))
    path = tmp_path / "chunk"
    with ChunkWriter(path, reader.info, choice) as writer:
        for frame in reader:
            writer.write(frame)
    headers = writer.headers
    assert len(list(Chunk.open(path, headers, Fraction(1, 25)).packets())) == 4
    data = path.read_bytes()
    path.write_bytes(b"x" + data[1:] if harm == "mark" else data[:-1] if harm == "end" else data)
    with pytest.raises(VerificationError, match="no piece of this film"):
        Chunk.open(path, headers + b"1" if harm == "headers" else headers, Fraction(1, 25))
