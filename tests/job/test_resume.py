"""An interrupted job is gone on with: nothing that is finished is done again, and the result has the same bytes."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import Sound, noisy_film, packets, random_frames, write_clip

from vnlsdenoise.engine import local
from vnlsdenoise.engine.work import Work
from vnlsdenoise.errors import ContinuableError, DeviceError, InputError, UsageError, VerificationError
from vnlsdenoise.job.check import check_finished
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.report import Report, usual_report
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.job.workdir import WorkFolder
from vnlsdenoise.video.encoders import Encoding
from vnlsdenoise.video.frame import Frame, PlaneFormat
from vnlsdenoise.video.read import VideoReader
from vnlsdenoise.video.sequences import list_images
from vnlsdenoise.video.stills import Told, write_still


class Interrupt(BaseException):
    """Like Ctrl-C."""


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException], None]:
    """Makes the engine fail before frame `at` comes out, until it is called with another number.

    idle: let it pass the frames on as they are.
    """
    real = local.denoise_frames
    limits: dict[str, Any] = {}

    def idle(frames: Iterable[Frame], _format: Any, _settings: Any, work: Work) -> Iterator[Frame]:
        return (frame for frame in frames if any(span.wants(frame.number) for span in work.spans))

    def engine(frames: Iterable[Frame], *rest: Any) -> Iterator[Frame]:
        for frame in (idle if limits["idle"] else real)(frames, *rest):
            if frame.number == limits["at"]:
                raise limits["error"]
            yield frame

    def set_limit(at: int, error: BaseException | None = None, idle: bool = False) -> None:
        limits.update(at=at, error=error or Interrupt(), idle=idle)
        monkeypatch.setattr(local, "denoise_frames", engine)

    return set_limit


def request(folder: Path, output: str, **wish: Any) -> Request:
    return Request(folder / "in.mkv", folder / output, device="cpu", preset="fast", piece=16, **wish)


def work_folder(wish: Request) -> WorkFolder:
    assert wish.output is not None
    return WorkFolder.of(wish.output, wish.workdir, images=not wish.output.suffix)


CODECS = {
    "ffv1": ("mkv", Encoding(lossless=True)),
    "x264": ("mp4", Encoding("h264")),
    "x265": ("mkv", Encoding("hevc")),
    "vp9": ("webm", Encoding("vp9")),
    "av1": ("mp4", Encoding("av1", options={"preset": "12"})),
    "prores": ("mov", Encoding("prores")),
    "mpeg2": ("mkv", Encoding("mpeg2video", options={"bf": "2"})),
    "mpeg4": ("mp4", Encoding("mpeg4")),
}


@pytest.mark.parametrize("codec", CODECS)
def test_the_result_is_that_of_a_run_left_alone(codec: str, tmp_path: Path, interrupted: Callable[..., None]) -> None:
    ending, encoding = CODECS[codec]
    noisy_film(
        tmp_path / "in.mkv", sound=Sound("flac" if ending == "mkv" else "aac" if ending != "webm" else "libopus")
    )
    idle = codec != "ffv1"
    interrupted(10**9, idle=idle)
    whole = run(make_plan(request(tmp_path, f"whole.{ending}", encoding=encoding)))
    interrupted(50, idle=idle)
    wish = request(tmp_path, f"part.{ending}", encoding=encoding)
    with pytest.raises(ContinuableError, match=r"interrupted; \d+ finished frames are kept"):
        run(make_plan(wish))
    assert not (tmp_path / f"part.{ending}").exists()
    assert sum(piece.frames for piece in work_folder(wish).pieces()) in (32, 35, 48)
    interrupted(10**9, idle=idle)
    done: list[int] = []
    said: list[str] = []
    part = run(make_plan(wish), lambda _, count: done.append(count), say=said.append)
    assert part.kept in (32, 35, 48) and done[0] == part.kept and done[-1] == 60
    assert "goes on where it was interrupted" in said[0]
    assert (tmp_path / f"part.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()
    assert (part.frames, part.scenes, part.damage) == (whole.frames, whole.scenes, whole.damage)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    # Closed chunks, joined: every frame decodes, at its own time.
    reader = VideoReader(tmp_path / f"part.{ending}")
    times = [float(frame.pts * reader.info.time_base) for frame in reader if frame.pts is not None]
    assert np.allclose(np.diff(times), 0.04, atol=0.0011) and len(times) == 60 and not reader.damage


def test_two_interruptions_and_a_piece_that_rots(tmp_path: Path, interrupted: Callable[..., None]) -> None:
    noisy_film(tmp_path / "in.mkv")
    lossless = Encoding(lossless=True)
    run(make_plan(request(tmp_path, "whole.mkv", encoding=lossless)))
    wish = request(tmp_path, "part.mkv", encoding=lossless, keep_workdir=True)
    for at in (30, 55):
        interrupted(at)
        with pytest.raises(ContinuableError):
            run(make_plan(wish))
    folder = work_folder(wish)
    second = folder.path / folder.pieces()[1].data
    second.write_bytes(second.read_bytes()[:-1])
    interrupted(10**9)
    said: list[str] = []
    run(make_plan(wish), say=said.append)
    assert any("is done again" in text for text in said)
    assert (tmp_path / "part.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()
    assert folder.path.exists()  # as --keep-workdir asks; it serves once more
    (tmp_path / "part.mkv").unlink()
    assert run(make_plan(wish)).kept == 60
    assert (tmp_path / "part.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def test_what_was_not_denoised_goes_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vnlsdenoise.job.pieces import PieceWriter

    noisy_film(tmp_path / "in.mkv")
    real = PieceWriter.write

    def stops(writer: PieceWriter, frame: Frame) -> None:
        if frame.number == 40:
            raise OSError(5, "Input/output error")
        real(writer, frame)

    wish = request(tmp_path, "out.mkv", strength=0, encoding=Encoding(lossless=True), keep_workdir=True)
    with monkeypatch.context() as patch:
        patch.setattr(PieceWriter, "write", stops)
        with pytest.raises(OSError):
            run(make_plan(wish))
    assert run(make_plan(wish)).kept == 32
    # The last piece of what is all there goes bad: nothing is missing between others.
    folder, made = work_folder(wish), (tmp_path / "out.mkv").read_bytes()
    last = folder.path / folder.pieces()[-1].data
    last.write_bytes(last.read_bytes()[:-1])
    (tmp_path / "out.mkv").unlink()
    assert run(make_plan(wish)).kept < 60
    assert (tmp_path / "out.mkv").read_bytes() == made
    for one, other in zip(VideoReader(tmp_path / "out.mkv"), VideoReader(tmp_path / "in.mkv"), strict=True):
        assert one.pts == other.pts and all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))


@pytest.mark.parametrize("output", ["frames", "all/o_%03d.tif"])
def test_images_go_on_as_runs_of_images(output: str, tmp_path: Path, interrupted: Callable[..., None]) -> None:
    random = np.random.default_rng(2)
    (tmp_path / "in.mkv").mkdir()  # a folder by any name
    texture = random.uniform(60, 180, (32, 32, 3))
    for number in range(5, 55):
        image = (texture + 8 * random.standard_normal(texture.shape)).round().clip(0, 255).astype(np.uint8)
        write_still(tmp_path / "in.mkv" / f"i{number:03d}.png", image, Told())
    run(make_plan(request(tmp_path, f"whole/{output}")))
    wish = request(tmp_path, output)
    interrupted(30)
    with pytest.raises(ContinuableError):
        run(make_plan(wish))
    interrupted(10**9)
    assert run(make_plan(wish)).kept == 16
    ours, theirs = list_images(tmp_path / output), list_images(tmp_path / "whole" / output)
    assert [path.name for path in ours] == [path.name for path in theirs] and "005" in ours[0].name and len(ours) == 50
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(ours, theirs, strict=True))


CHANGES: dict[str, Callable[[Path, Request], Request]] = {
    "the input was changed": lambda folder, wish: (noisy_film(folder / "in.mkv", 61), wish)[1],
    "--preset": lambda folder, wish: replace(wish, preset="balanced"),
    "--strength": lambda folder, wish: replace(wish, strength=1.5),
    "--piece": lambda folder, wish: replace(wish, piece=17),
    "--encoder": lambda folder, wish: replace(wish, encoding=Encoding("hevc", crf=30)),
    "--scene_cuts": lambda folder, wish: replace(wish, scene_cuts="off"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_another_job_begins_anew_and_says_why(
    change: str, tmp_path: Path, interrupted: Callable[..., None]
) -> None:
    noisy_film(tmp_path / "in.mkv")
    wish = request(tmp_path, "out.mkv")
    interrupted(40, idle=True)
    with pytest.raises(ContinuableError):
        run(make_plan(wish))
    interrupted(10**9, idle=True)
    other = CHANGES[change](tmp_path, wish)
    with pytest.raises(UsageError, match=r"--resume require: earlier work .* cannot be gone on with"):
        run(make_plan(replace(other, resume="require")))
    said: list[str] = []
    report = run(make_plan(other), say=said.append)
    assert report.kept == 0 and change in said[0] and "begins anew" in said[0]


def test_what_changes_no_byte_is_the_same_job(tmp_path: Path, interrupted: Callable[..., None]) -> None:
    noisy_film(tmp_path / "in.mkv")
    wish = request(tmp_path, "out.mkv")
    interrupted(40, idle=True)
    with pytest.raises(ContinuableError):
        run(make_plan(wish))
    interrupted(10**9, idle=True)
    wish = replace(wish, max_memory=8 << 30, resume="require", report=tmp_path / "r.json")
    assert run(make_plan(wish)).kept == 32
    with pytest.raises(UsageError, match="--resume require: there is no unfinished work"):
        run(make_plan(replace(wish, output=tmp_path / "new.mkv")))


def test_resume_off_begins_anew(tmp_path: Path, interrupted: Callable[..., None]) -> None:
    noisy_film(tmp_path / "in.mkv")
    wish = request(tmp_path, "out.mkv", workdir=tmp_path / "elsewhere")
    interrupted(40, idle=True)
    with pytest.raises(ContinuableError, match="elsewhere"):
        run(make_plan(wish))
    assert list((tmp_path / "elsewhere").iterdir())
    interrupted(10**9, idle=True)
    assert run(make_plan(replace(wish, resume="off"))).kept == 0
    assert not list((tmp_path / "elsewhere").iterdir())


def test_nothing_is_left_where_nothing_was_finished(tmp_path: Path, interrupted: Callable[..., None]) -> None:
    noisy_film(tmp_path / "in.mkv")
    interrupted(10, idle=True)
    with pytest.raises(Interrupt):
        run(make_plan(request(tmp_path, "out.mkv")))
    interrupted(10, DeviceError("gone"), idle=True)
    with pytest.raises(DeviceError, match=r"^gone$"):
        run(make_plan(request(tmp_path, "out.mkv")))
    interrupted(40, DeviceError("gone"), idle=True)
    with pytest.raises(DeviceError, match=r"gone \(\d+ finished frames are kept"):
        run(make_plan(request(tmp_path, "other.mkv")))
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["in.mkv"]
    assert not list(tmp_path.glob(".out*"))


def test_an_input_that_changes_during_the_run_is_not_published(tmp_path: Path) -> None:
    noisy_film(tmp_path / "in.mkv")

    def grow(stage: str, done: int) -> None:
        if (stage, done) == ("encoded", 30):
            with (tmp_path / "in.mkv").open("ab") as file:
                file.write(b"more")

    with pytest.raises(InputError, match="changed while it was read"):
        run(make_plan(request(tmp_path, "out.mkv", strength=0)), grow)
    assert not (tmp_path / "out.mkv").exists()


def test_an_input_that_vanishes_can_come_back(tmp_path: Path) -> None:
    noisy_film(tmp_path / "in.mkv")
    away = tmp_path / "away.mkv"

    def vanish(stage: str, done: int) -> None:
        if (stage, done) == ("encoded", 30) and not away.exists():
            (tmp_path / "in.mkv").rename(away)

    wish = request(tmp_path, "out.mkv", strength=0)
    with pytest.raises(InputError, match="cannot be read any more"):
        run(make_plan(wish), vanish)
    assert not (tmp_path / "out.mkv").exists()
    away.rename(tmp_path / "in.mkv")
    assert run(make_plan(wish)).kept == 60


def test_the_report_tells_what_was_done_and_verify_believes_only_it(tmp_path: Path) -> None:
    noisy_film(tmp_path / "in.mkv", sound=Sound("flac"))
    output = tmp_path / "out.mkv"
    wish = request(tmp_path, "out.mkv", report=usual_report(output))
    report: Report = run(make_plan(wish))
    facts = json.loads(usual_report(output).read_text())
    assert facts["frames"] == 60 and facts["scenes"][0]["first"] == 0 and facts["versions"]["torch"]
    assert facts["request"]["piece"] == 16 and facts["streams"][0]["content"].endswith("packets")
    assert facts == json.loads(json.dumps(report.facts))
    found = check_finished(output)
    assert found.input_is_same and any("60 frames decode" in fact for fact in found.facts)
    assert any("the time that it had" in fact for fact in found.facts)
    (tmp_path / "in.mkv").rename(tmp_path / "was.mkv")
    assert not check_finished(output).input_is_same
    data = bytearray(output.read_bytes())
    data[len(data) // 2] ^= 1
    output.write_bytes(data)
    with pytest.raises(VerificationError, match="not what its report tells"):
        check_finished(output)
    usual_report(output).write_text("{}")
    with pytest.raises(InputError, match="is no report"):
        check_finished(output)
    with pytest.raises(UsageError, match="which is no report"):
        run(make_plan(replace(wish, input=tmp_path / "was.mkv")))


def test_damaged_frames_are_listed_by_number(tmp_path: Path) -> None:
    write_clip(tmp_path / "whole.mkv", encoder="libx264", count=40, size=(64, 48), options={"g": "10", "bf": "0"})
    with av.open(str(tmp_path / "whole.mkv")) as source, av.open(str(tmp_path / "in.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux() if packet.size):
            if number == 17:
                packet.update(bytes(packet)[:6] + b"\xff" * (packet.size - 6))
            packet.stream = stream
            target.mux(packet)
    report = run(make_plan(request(tmp_path, "out.mkv", strength=0)))
    assert report.damage and report.damage.frames[0][0] == 17


def test_a_link_is_written_through(tmp_path: Path) -> None:
    noisy_film(tmp_path / "in.mkv", 5)
    (tmp_path / "place").mkdir()
    (tmp_path / "link.mkv").symlink_to(tmp_path / "place" / "real.mkv")
    report = run(make_plan(request(tmp_path, "link.mkv", strength=0)))
    assert (tmp_path / "link.mkv").is_symlink() and report.output == tmp_path / "place" / "real.mkv"
    assert len(list(VideoReader(tmp_path / "place" / "real.mkv"))) == 5


def test_a_few_frames_make_one_piece(tmp_path: Path) -> None:
    noisy_film(tmp_path / "in.mkv", 3)
    wish = request(tmp_path, "out.mkv", strength=0, keep_workdir=True)
    run(make_plan(wish))
    assert [piece.frames for piece in work_folder(wish).pieces()] == [3]


def test_pieces_end_where_scenes_begin(tmp_path: Path) -> None:
    noisy_film(tmp_path / "in.mkv", 60)
    for piece, expected in ((16, [16, 16, 16, 12]), (20, [20, 15, 20, 5]), (50, [35, 25]), (80, [60])):
        wish = replace(request(tmp_path, f"out{piece}.mkv", keep_workdir=True), sigma=(6.0,), piece=piece)
        run(make_plan(wish))
        assert [found.frames for found in work_folder(wish).pieces()] == expected


def test_sound_and_pictures_stay_together(tmp_path: Path) -> None:
    frames = random_frames(PlaneFormat("yuv", 32, 24, 8, 1, 1), 30)
    write_clip(tmp_path / "in.mkv", frames=frames, count=30, sound=Sound("flac", "subrip", True))
    run(make_plan(request(tmp_path, "out.mkv", strength=0, encoding=Encoding(lossless=True))))
    for kind in ("audio", "subtitle"):
        assert packets(tmp_path / "out.mkv", kind) == packets(tmp_path / "in.mkv", kind)
    for one, other in itertools.zip_longest(VideoReader(tmp_path / "out.mkv"), frames):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
