"""Small whole files of every container and kind of image, to be mutated."""

from pathlib import Path

import numpy as np
from films import pictures, write_film

# By ending: encoder of the video, and of the sound.
_VIDEOS: dict[str, tuple[str, str | None]] = {
    "mp4": ("libx264", "aac"),
    "mov": ("prores_ks", "pcm_s16le"),
    "mkv": ("libx264", "flac"),
    "webm": ("libvpx-vp9", "libopus"),
    "avi": ("mpeg4", "libmp3lame"),
    "ts": ("mpeg2video", "mp2"),
    "mpg": ("mpeg1video", "mp2"),
    "mxf": ("mpeg2video", "pcm_s16le"),
    "flv": ("flv", "libmp3lame"),
    "asf": ("wmv2", "wmav2"),
    "ogv": ("libvpx", None),
    "nut": ("ffv1", "aac"),
    "3gp": ("mpeg4", "aac"),
    "gif": ("gif", None),
    "apng": ("apng", None),
    "h264": ("libx264", None),
    "ivf": ("libsvtav1", None),
    "avif": ("libsvtav1", None),
}


def make_files(folder: Path, endings: list[str] | None = None) -> None:
    """Write one file of each ending, or of those given, into a folder."""
    for ending in endings or [*_VIDEOS, "webp", "png", "tif"]:
        if ending in _VIDEOS:
            write_film(folder / f"film.{ending}", *_VIDEOS[ending], count=10, size=(64, 48))
        else:
            _make_images(folder, ending)


def _make_images(folder: Path, ending: str) -> None:
    import tifffile
    from PIL import Image

    shown = pictures(4, (64, 48))
    if ending == "webp":
        first, *rest = map(Image.fromarray, shown)
        first.save(folder / "film.webp", save_all=True, append_images=rest, duration=40, lossless=True)
    elif ending == "png":
        Image.fromarray(shown[0]).save(folder / "image.png", dpi=(300, 300), icc_profile=b"profile" * 20)
    else:
        tifffile.imwrite(folder / "image.tif", np.stack(shown), photometric="rgb", compression="lzw")
        tifffile.imwrite(folder / "tiles.tif", shown[0], photometric="rgb", tile=(16, 16), compression="jpeg")
