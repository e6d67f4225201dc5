"""Clean footage on the device: clips and photographs as one long row of samples, read by batched indexing."""

import json
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import imageio.v3 as imageio
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vnlsdenoise.errors import InputError

CLIP_ENDINGS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".y4m")
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
LONGEST = 64  # frames of a clip that are taken
_SMALLEST = 32  # a shorter side leaves a file out
_HELD_BACK = 16  # every so manyth scene is held back
Images = npt.NDArray[np.uint8]  # [frames, 3, h, w], R, G, B


@dataclass(frozen=True)
class Source:
    """A clip or, of one frame, a photograph, and the scene it is of: no scene is in training and validation."""

    path: Path
    scene: str

    @property
    def held_back(self) -> bool:
        """Whether its scene is for validation."""
        return zlib.crc32(self.scene.encode()) % _HELD_BACK == 0


def find_sources(folders: Iterable[Path]) -> list[Source]:
    """All clips and photographs under these folders, in the order of their names.

    A `manifest.json` above them, a list of {"file": name, "scene": name}, says which files are of one scene; without,
    every file is a scene of its own. Raises InputError where there is none.
    """
    folders = list(folders)
    sources = []
    for folder in folders:
        scenes: dict[str, str] = {}
        for manifest in sorted(folder.rglob("manifest.json")):
            scenes |= {entry["file"]: entry.get("scene", entry["file"]) for entry in json.loads(manifest.read_text())}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in CLIP_ENDINGS + PHOTO_ENDINGS:
                sources.append(Source(path, scenes.get(path.name, path.name)))
    if not sources:
        endings = ", ".join(CLIP_ENDINGS + PHOTO_ENDINGS)
        raise InputError(f"no footage in {', '.join(map(str, folders))}; expected files that end in {endings}")
    return sources


def find_pairs(folders: Iterable[Path]) -> tuple[list[Source], list[Source]]:
    """Clips of one name under `noisy` and `clean` of each folder, in one order; raises InputError if one is alone."""
    noisy, clean = [], []
    for folder in folders:
        sides = []
        for side in ("noisy", "clean"):
            if not (folder / side).is_dir():
                raise InputError(f"pairs lie in {folder / 'noisy'} and {folder / 'clean'}; there is no folder {side}")
            found = find_sources([folder / side])
            sides.append({source.path.relative_to(folder / side): source for source in found})
        if alone := sorted(sides[0].keys() ^ sides[1].keys()):
            raise InputError(
                f"{alone[0]} is not in both {folder / 'noisy'} and {folder / 'clean'}; add it or take it out"
            )
        noisy += list(sides[0].values())
        # Scenes are those of the noisy side: both of a pair are held back, or none.
        clean += [Source(sides[1][name].path, source.scene) for name, source in sides[0].items()]
    return noisy, clean


def read_images(path: Path) -> Images:
    """The first `LONGEST` frames of a clip, or a photograph, as 8-bit R, G, B; raises InputError."""
    try:
        if path.suffix.lower() in PHOTO_ENDINGS:
            frames = [imageio.imread(path, mode="RGB")]
        else:
            frames = []
            with av.open(path) as container:
                container.streams.video[0].thread_type = "NONE"  # files are read side by side
                for frame in container.decode(video=0):
                    frames.append(frame.to_ndarray(format="rgb24"))
                    if len(frames) == LONGEST:
                        break
        return np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2))
    except (OSError, ValueError, IndexError, av.FFmpegError) as error:
        raise InputError(f"training footage {path} cannot be read: {error}; mend it or take it out") from error


class Footage:
    """Samples of many clips and photographs on a device.

    frames, heights, widths, offsets: of every source, int64, on the host; an offset is where its samples begin.
    """

    def __init__(self, videos: Sequence[Images], device: torch.device) -> None:
        videos = [video for video in videos if min(video.shape[2:]) >= _SMALLEST]
        if not videos:
            raise InputError(f"the footage holds nothing of at least {_SMALLEST} x {_SMALLEST} pixels")
        shapes = np.array([video.shape for video in videos], dtype=np.int64)
        self.frames, self.heights, self.widths = shapes[:, 0], shapes[:, 2], shapes[:, 3]
        sizes = shapes.prod(1)
        self.offsets = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        self.clips = np.flatnonzero(self.frames > 1)
        self.photos = np.flatnonzero(self.frames == 1)
        self._samples = torch.empty(int(sizes.sum()), dtype=torch.uint8, device=device)
        for video, offset, size in zip(videos, self.offsets, sizes, strict=True):
            self._samples[offset : offset + size] = torch.from_numpy(video).reshape(-1).to(device)
        self.device = device

    def sample(self, sources: Tensor, frames: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Bilinear samples at places of one frame of each source; what lies outside is mirrored.

        sources: offset, height and width, int64 [N, 3]. frames: int64 [N]. x, y: float32 [N, h, w], in pixels.
        Returns: float32 [N, 3, h, w], 0..1.
        """
        offset, height, width = (column[:, None, None] for column in sources.unbind(1))
        plane = height * width
        first = offset + frames[:, None, None] * 3 * plane
        x, y = _mirrored(x, width), _mirrored(y, height)
        left, top = x.floor(), y.floor()
        across, down = (x - left)[:, None], (y - top)[:, None]
        column, row = left.long(), top.long()
        right, below = torch.minimum(column + 1, width - 1), torch.minimum(row + 1, height - 1)
        planes = torch.arange(3, device=x.device).view(1, 3, 1, 1) * plane[:, None]

        def at(row: Tensor, column: Tensor) -> Tensor:
            return self._samples[(first + row * width + column)[:, None] + planes].float()

        upper = torch.lerp(at(row, column), at(row, right), across)
        lower = torch.lerp(at(below, column), at(below, right), across)
        return torch.lerp(upper, lower, down) / 255


def _mirrored(place: Tensor, size: Tensor) -> Tensor:
    last = (size - 1).float()
    return last - (last - place.remainder(2 * last)).abs()


def read_all(sources: Sequence[Source], threads: int) -> list[Images]:
    """The samples of all of them, in their order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda source: read_images(source.path), sources))
