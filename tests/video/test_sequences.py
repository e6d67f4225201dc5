"""Image sequences keep every sample of every kind of image, in the order of their numbers."""

from pathlib import Path

import numpy as np
import pytest

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.video.sequences import SequenceReader, SequenceWriter, list_images
from vnlsdenoise.video.stills import Told, read_still, write_still

SHAPES = {"gray": (5, 7), "gray and alpha": (5, 7, 2), "rgb": (5, 7, 3), "rgb and alpha": (5, 7, 4)}


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", SHAPES)
def test_images_keep_every_sample(ending: str, dtype: type, kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    images = [random.integers(0, np.iinfo(dtype).max + 1, SHAPES[kind]).astype(dtype) for _ in range(3)]
    for index, image in enumerate(images):
        write_still(tmp_path / f"in_{index + 8}{ending}", image, Told())
    reader = SequenceReader(tmp_path)
    (tmp_path / "out").mkdir()
    with SequenceWriter(tmp_path / "out", f"o_%04d{ending}", reader.info) as writer:
        for frame in reader:
            assert ("alpha" in frame.extra) == ("alpha" in kind)
            writer.write(frame)
    for index, image in enumerate(images):
        back = read_still(tmp_path / "out" / f"o_{index + 8:04d}{ending}").samples
        assert back.dtype == dtype
        assert np.array_equal(back, image)


def make(folder: Path, names: list[str]) -> None:
    for name in names:
        write_still(folder / name, np.zeros((4, 4), np.uint8), Told())


def test_patterns_globs_and_folders_find_images_in_natural_order(tmp_path: Path) -> None:
    make(tmp_path, ["in_9.png", "in_10.png", "in_11.png"])
    (tmp_path / "notes.txt").touch()
    wanted = [tmp_path / "in_9.png", tmp_path / "in_10.png", tmp_path / "in_11.png"]
    for name in ("in_%d.png", "*.png", "."):
        assert list_images(tmp_path / name) == wanted


def test_a_literal_name_with_a_percent_sign_is_taken_as_it_is(tmp_path: Path) -> None:
    make(tmp_path, ["in_%06d.png"])
    assert list_images(tmp_path / "in_%06d.png") == [tmp_path / "in_%06d.png"]


def test_gaps_are_named(tmp_path: Path) -> None:
    make(tmp_path, ["in_000001.png", "in_000002.png", "in_000005.png"])
    with pytest.raises(InputError, match="3 to 4"):
        list_images(tmp_path / "in_%06d.png")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image"):
        list_images(tmp_path)
    make(tmp_path, ["in_1.png"])
    write_still(tmp_path / "in_2.png", np.zeros((4, 5), np.uint8), Told())
    with pytest.raises(InputError, match="one size"):
        list(SequenceReader(tmp_path))
    (tmp_path / "in_1.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot read"):
        SequenceReader(tmp_path)


def test_yuv_is_not_turned_into_images(tmp_path: Path) -> None:
    from clips import write_clip

    from vnlsdenoise.video.probe import probe

    write_clip(tmp_path / "in.mkv")
    with pytest.raises(UsageError, match="YUV"):
        SequenceWriter(tmp_path, "o_%d.png", probe(tmp_path / "in.mkv"))


def test_images_of_one_number_are_taken_with_a_word(tmp_path: Path) -> None:
    make(tmp_path, ["a_01.png", "a_02.png", "b_01.png", "b_02.png"])
    reader = SequenceReader(tmp_path)
    assert len(list(reader)) == 4
    assert reader.warnings == [
        "images a_01.png and b_01.png have the same number: all are taken for one film, in the order of their names; "
        "if they are several shots give the pattern of one"
    ]
    assert SequenceReader(tmp_path / "a_*.png").warnings == []


@pytest.mark.parametrize(("content", "why"), [(b"", "it is empty"), (b"\xff\xd8\xff\xe0JFIF", "no PNG, TIFF, DPX or")])
def test_what_is_no_image_is_told_as_what_it_is(content: bytes, why: str, tmp_path: Path) -> None:
    make(tmp_path, ["1.png", "2.png"])
    (tmp_path / "3.png").write_bytes(content)
    with pytest.raises(InputError, match=f"cannot read image .*3.png; .*{why}"):
        SequenceReader(tmp_path)
