"""The clips that the benchmarks of quality run on, and the options that choose them."""

import argparse
import pathlib
import sys
from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt
import torch

Video = npt.NDArray[np.float32]  # [T, H, W, 3], R, G, B

_ENDINGS = (".mkv", ".mp4", ".mov", ".avi")


def denoiser_of(name: str) -> dict[str, str]:
    """A preset of the classic denoiser, or "learned:WEIGHTS"."""
    method, _, weights = name.partition(":")
    return {"method": "learned", "weights": weights or "small"} if method == "learned" else {"preset": name}


def clip_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with what `chosen_clips` reads, and `--json`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--frames", type=int, help="use the first frames only")
    parser.add_argument("--crop", help="WIDTHxHEIGHT of the centre")
    parser.add_argument("--clips", help="names of the clips to use, separated by commas")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    return parser


def chosen_clips(options: argparse.Namespace) -> Iterator[tuple[str, Video]]:
    """Name and frames of every clip, one at a time."""
    if options.threads:
        torch.set_num_threads(options.threads)
    crop = tuple(int(side) for side in options.crop.split("x")) if options.crop else None
    wanted = options.clips.split(",") if options.clips else None
    paths = sorted(path for path in options.folder.iterdir() if path.suffix in _ENDINGS)
    paths = [path for path in paths if wanted is None or path.stem in wanted]
    if not paths:
        sys.exit(f"no clips in {options.folder}")
    for path in paths:
        yield path.stem, _load(path, options.frames, crop)


def _load(path: pathlib.Path, frames: int | None, crop: tuple[int, ...] | None) -> Video:
    with av.open(path) as container:
        images = []
        for frame in container.decode(video=0):
            images.append(frame.to_ndarray(format="rgb24"))
            if len(images) == frames:
                break
    video = np.stack(images).astype(np.float32)
    if crop:
        width, height = crop
        top, left = (video.shape[1] - height) // 2, (video.shape[2] - width) // 2
        video = video[:, top : top + height, left : left + width]
    return video
