"""Decoding on the GPU: the same samples, or an error that says why not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_clip

from vnlsdenoise.errors import DeviceError, UsageError
from vnlsdenoise.video.open import open_reader


@pytest.mark.needs_cuda
@pytest.mark.parametrize(
    ("encoder", "pix_fmt"), [("libx264", "yuv420p"), ("libx265", "yuv420p"), ("libx265", "yuv420p10le")]
)
def test_the_gpu_decodes_the_same_samples(encoder: str, pix_fmt: str, tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    write_clip(path, pix_fmt, encoder, count=40, size=(320, 180))
    wanted, found = (list(open_reader(path, decoder=decoder)) for decoder in ("cpu", "gpu"))
    assert [frame.pts for frame in found] == [frame.pts for frame in wanted]
    for one, other in zip(wanted, found, strict=True):
        for plane, same in zip(one.planes, other.planes, strict=True):
            assert plane.dtype == same.dtype
            np.testing.assert_array_equal(same, plane)


@pytest.mark.needs_cuda
def test_a_codec_that_no_gpu_knows_is_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", "yuv444p", "ffv1", count=2)
    with pytest.raises(DeviceError, match="--decoder cpu"):
        list(open_reader(tmp_path / "in.mkv", decoder="gpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_cpu_is_advised(tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mp4", encoder="libx264", count=2)
    with pytest.raises(DeviceError, match="--decoder cpu"):
        list(open_reader(tmp_path / "in.mp4", decoder="gpu"))


def test_images_are_not_for_the_gpu(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="images"):
        open_reader(tmp_path / "in_%04d.png", decoder="gpu")
