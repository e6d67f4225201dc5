"""The clips that the benchmarks of quality run on, and the options that choose them."""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import torch

from vnlsdenoise.bench.quality import Video, clips_in, load_clip


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
    paths = clips_in(options.folder)
    paths = [path for path in paths if wanted is None or path.stem in wanted]
    if not paths:
        sys.exit(f"no clips in {options.folder}")
    for path in paths:
        yield path.stem, load_clip(path, options.frames, crop)


def write_table(options: argparse.Namespace, preset: str, results: dict[str, Any], *, several: bool) -> None:
    """What one denoiser made, and how, as JSON, where that is wanted; of several ones a file each: NAME-PRESET.json."""
    if options.json is None:
        return
    path = options.json
    if several:
        path = path.with_stem("-".join([path.stem, *(pathlib.Path(part).stem for part in preset.split(":"))]))
    arguments = {"preset": preset, "crop": options.crop, "frames": options.frames}
    path.write_text(json.dumps({"arguments": arguments, "results": results}, indent=1))
