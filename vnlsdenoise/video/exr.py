"""OpenEXR images: the picture among their channels, and the same file with that picture changed.

OpenEXR's own library keeps what FFmpeg, OpenCV and imageio lose: other channels, parts, types, windows, attributes.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vnlsdenoise.errors import InputError
from vnlsdenoise.video.container import check_size
from vnlsdenoise.video.light import Light, Samples

MAGIC = b"\x76\x2f\x31\x01"
_PICTURES = (("R", "G", "B"), ("Y",))


def _opened(path: Path, header_only: bool = False) -> Any:
    import OpenEXR

    try:
        # OpenEXR takes names of UTF-8 only.
        return OpenEXR.File(str(path), separate_channels=True, header_only=header_only)
    except Exception as error:  # It raises whatever it likes on damaged files.
        raise InputError(f"cannot read image {path}; {error}; render or save it again") from error


def _picture(file: Any, path: Path) -> tuple[Any, tuple[str, ...]]:
    """The part that holds the picture and the names of its channels."""
    told = []
    for part in file.parts:
        channels = {channel.name: channel for channel in part.header["channels"]}
        told += list(channels)
        names = next((names for names in _PICTURES if set(names) <= set(channels)), None)
        if names is None or (names == ("Y",) and {"RY", "BY"} & set(channels)):
            continue
        if "deep" in str(part.header["type"]).lower():
            raise InputError(f"image {path} is deep: many samples a pixel; flatten it first")
        return part, names
    if not told:  # OpenEXR leaves out parts that it cannot read, with a word on stdout only.
        raise InputError(f"cannot read image {path}; its samples are cut off or damaged; render or save it again")
    raise InputError(
        f"image {path} holds no picture that is known; its channels are {', '.join(told) or 'none'}, "
        "expected R, G and B, or Y; render those"
    )


def size_of(path: Path) -> tuple[int, int, int]:
    """(width, height, channels) of the picture in a file; raises InputError."""
    with _opened(path, header_only=True) as file:
        part, names = _picture(file, path)
        (left, top), (right, bottom) = part.header["dataWindow"]
        width, height = int(right) - int(left) + 1, int(bottom) - int(top) + 1
        check_size(path, width, height)
        return width, height, len(names)


def read_light(path: Path) -> Samples:
    """The picture of a file as it is, [height, width] or [height, width, 3], linear; raises InputError."""
    with _opened(path) as file:
        planes = _planes(file, path)[1]
        return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)


def _planes(file: Any, path: Path) -> tuple[list[Any], list[Samples]]:
    part, names = _picture(file, path)
    channels = [part.channels[name] for name in names]
    planes = [channel.pixels for channel in channels]
    kinds = {str(plane.dtype) for plane in planes}
    if not kinds <= {"float16", "float32"} or len({plane.shape for plane in planes}) > 1:
        raise InputError(
            f"image {path} has a picture of {', '.join(sorted(kinds))}; expected half or float; convert it"
        )
    return channels, planes


def write_changed(path: Path, source: Path, codes: npt.NDArray[np.uint16], light: Light) -> None:
    """Write `source` again with the picture that `codes` tell; where they change nothing, its very bytes."""
    with _opened(source) as file:
        channels, planes = _planes(file, source)
        wanted = [codes] if codes.ndim == 2 else [codes[..., index] for index in range(codes.shape[2])]
        changed = [light.changed(plane, code) for plane, code in zip(planes, wanted, strict=True)]
        if all(np.array_equal(one, other, equal_nan=True) for one, other in zip(planes, changed, strict=True)):
            shutil.copyfile(source, path)
            return
        for channel, plane in zip(channels, changed, strict=True):
            channel.pixels[...] = plane
        try:
            file.write(str(path))
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"OpenEXR cannot write it ({error})") from error
