"""Still images, PNG, TIFF, DPX and OpenEXR: their samples as they are meant, and what is told about them."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from vnlsdenoise.errors import InputError, OutputError
from vnlsdenoise.video import dpx, exr
from vnlsdenoise.video.container import check_size
from vnlsdenoise.video.light import Light

Kind = Literal["png", "tiff", "dpx", "exr"]
Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Of PNG, what is told about the colour and the size of the samples; it is handed on as it is.
_TOLD_CHUNKS = (b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"pHYs", b"eXIf", b"mDCV", b"cLLI")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6  # TIFF's photometric interpretation
_READ_AS_RGB_BY_CODEC = (6, 7)  # JPEG compression: its decoder turns YCbCr into RGB
_ORIENTATION, _PROFILE = 274, 34675
_INCH, _CENTIMETRE = 2, 3
_LARGEST_PROFILE = 16 << 20
_METRES = {_INCH: 0.0254, _CENTIMETRE: 0.01}


@dataclass(frozen=True)
class Told:
    """What a file tells about its samples.

    profile: the ICC profile. resolution: pixels a metre along x and y, None where there is none. orientation: TIFF's
    number of how the stored rows and columns are turned, 1 for as they are. chunks: those of PNG, by kind.
    source: of DPX and OpenEXR the file itself, whose header and other channels are read again where it is written.
    light: of OpenEXR the curve of its samples.
    """

    profile: bytes = b""
    resolution: tuple[float, float] | None = None
    orientation: int = 1
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    source: Path | None = None
    light: Light | None = None


@dataclass(frozen=True)
class Still:
    """One image: samples (height, width) or (height, width, channels), RGB(A) order. converted: how, "" for not."""

    samples: Samples
    told: Told = field(default_factory=Told)
    converted: str = ""


@dataclass(frozen=True)
class Shape:
    """Size, channels (1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha) and bits a sample of an image."""

    width: int
    height: int
    channels: int
    depth: int

    def __str__(self) -> str:
        kinds = {1: "gray", 2: "gray with alpha", 3: "RGB", 4: "RGB with alpha"}
        kind = kinds.get(self.channels, f"{self.channels} channels")
        return f"{self.width}x{self.height} {kind} of {self.depth} bits"


def kind_of(path: Path) -> Kind | None:
    """What still image a file holds, whatever its name; None for none, or for a PNG that moves. Raises InputError."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise InputError(f"cannot read image {path}; {error.strerror}; check name and rights") from error
    if head.startswith(_TIFF):
        return "tiff"
    if head.startswith(dpx.MAGICS):
        return "dpx"
    if head.startswith(exr.MAGIC):
        return "exr"
    return "png" if head.startswith(_PNG) and b"acTL" not in head[: head.find(b"IDAT")] else None


def shapes_of(path: Path) -> list[Shape]:
    """What `read_still` will give for every image of a file, told by its header; raises InputError."""
    kind = kind_of(path)
    if kind == "exr":
        return [Shape(*exr.size_of(path), depth=16)]
    if kind == "dpx":
        return [Shape(*dpx.size_of(path))]
    if kind is None and not _is_png(path):
        why = "it holds no PNG, TIFF, DPX or OpenEXR" if path.stat().st_size else "it is empty"
        raise InputError(f"cannot read image {path}; {why}; save it again as one of them, or leave it out")
    if kind == "tiff":
        with _open_tiff(path) as file:
            try:
                return [_tiff_shape(page) for page in _pages(file, path)]
            except InputError:
                raise
            except Exception as error:  # as above
                raise _unreadable(path, error) from error
    with path.open("rb") as opened:
        chunks = dict(_chunks(opened.read(1 << 20)))
    if len(chunks.get(b"IHDR", b"")) < 13:
        raise InputError(f"cannot read image {path}; it has no header; save it again as PNG or TIFF")
    width, height, depth, kind = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    channels = _PNG_CHANNELS.get(kind, 3) + (b"tRNS" in chunks)
    return [Shape(width, height, channels, 16 if depth == 16 else 8)]


def _tiff_shape(page: Any) -> Shape:
    kind, bits = int(page.photometric), int(page.bitspersample)
    channels = 3 if kind in (_PALETTE, _CMYK) else int(page.samplesperpixel)
    if kind == _PALETTE:
        bits = 8 * _through_palette(np.zeros(1, np.uint8), page.colormap).dtype.itemsize
    return Shape(page.imagewidth, page.imagelength, channels, 16 if bits > 8 else 8)


def read_still(path: Path, page: int = 0, light: Light | None = None) -> Still:
    """The image of a file, of a stack of images the one numbered `page`; raises InputError.

    light: the curve for OpenEXR, that of the image itself without one.
    """
    try:
        kind = kind_of(path)
        if kind == "exr":
            exr.size_of(path)  # which refuses what is too large
            linear = exr.read_light(path)
            light = light or Light.of([linear])
            return Still(light.codes(linear), Told(source=path, light=light))
        if kind == "dpx":
            return Still(dpx.read(path), Told(source=path))
        if _is_png(path):
            return _read_png(path)
        with _open_tiff(path) as file:
            return _read_tiff(_pages(file, path)[page], path)
    except InputError:
        raise
    except Exception as error:  # The decoders raise whatever they like on damaged files.
        raise _unreadable(path, error) from error


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_PNG)) == _PNG


def _read_png(path: Path) -> Still:
    import imagecodecs

    data = path.read_bytes()
    chunks = dict(_chunks(data))
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    check_size(path, width, height)
    samples = imagecodecs.png_decode(data)
    resolution = None
    if len(chunks.get(b"pHYs", b"")) == 9:
        x, y, unit = struct.unpack(">IIB", chunks[b"pHYs"])
        resolution = (float(x), float(y)) if unit == 1 else None
    profile = b""
    if b"iCCP" in chunks:
        _, _, packed = chunks[b"iCCP"].partition(b"\0")
        with suppress(zlib.error):  # A profile that cannot be read does not make the picture unreadable.
            profile = zlib.decompressobj().decompress(packed[1:], _LARGEST_PROFILE)
    told = Told(profile, resolution, 1, tuple((kind, chunks[kind]) for kind in _TOLD_CHUNKS if kind in chunks))
    return Still(samples, told)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and contents of the chunks of a PNG before its samples."""
    at = len(_PNG)
    while at + 8 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind = data[at + 4 : at + 8]
        if kind == b"IDAT":
            return
        yield kind, data[at + 8 : at + 8 + size]
        at += 12 + size


def _open_tiff(path: Path) -> Any:
    import tifffile

    try:
        return tifffile.TiffFile(path)
    except Exception as error:  # It raises whatever it likes on damaged files.
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"cannot read image {path}; {error}; save it again as PNG or TIFF")


def _pages(file: Any, path: Path) -> list[Any]:
    """The pages of a TIFF that are images of their own, not smaller copies of others."""
    pages = [page for page in file.pages if not page.is_reduced and not page.is_mask]
    if not pages:
        raise InputError(f"image {path} holds no picture but smaller copies; save it again as PNG or TIFF")
    first = pages[0]
    count = (file.imagej_metadata or {}).get("images", 1) if file.is_imagej else 1
    count = max(count, first.imagedepth)
    if count > len(pages) or len(first.shape) > 3:
        raise InputError(
            f"image {path} holds {count} images in one page of shape {first.shape}, which is not supported; "
            "save them as pages or files of their own"
        )
    return pages


def _read_tiff(page: Any, path: Path) -> Still:
    check_size(path, page.imagewidth, page.imagelength)
    kind, bits = int(page.photometric), int(page.bitspersample)
    samples = page.asarray()
    if page.planarconfig == 2 and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    if samples.ndim == 3 and samples.shape[2] == 1:
        samples = samples[..., 0]
    told = _told(page)
    converted = ""
    if kind == _PALETTE:
        samples = _through_palette(samples, page.colormap)
        bits = 8 * samples.dtype.itemsize
    samples, converted = _as_integers(samples, bits, path)
    peak = np.iinfo(samples.dtype).max
    if kind == _WHITE_IS_ZERO:
        samples, converted = peak - samples, "white is zero: turned over, black is zero now"
    elif kind == _CMYK:
        samples, told, converted = _from_inks(samples, told, path)
    elif kind not in (_BLACK_IS_ZERO, _RGB, _PALETTE) and not (
        kind == _YCBCR and int(page.compression) in _READ_AS_RGB_BY_CODEC
    ):
        raise InputError(
            f"image {path} holds {page.photometric.name} samples, which are neither gray nor RGB; convert it to RGB"
        )
    usual = 3 if kind in (_RGB, _PALETTE, _CMYK, _YCBCR) else 1
    channels = samples.shape[2] if samples.ndim == 3 else 1
    if channels not in (usual, usual + 1) or samples.ndim not in (2, 3):
        raise InputError(
            f"image {path} has {channels} channels of {page.photometric.name}; expected gray or RGB, with or without "
            "one of alpha; save it without the others"
        )
    return Still(cast(Samples, np.ascontiguousarray(samples)), told, converted)


def _as_integers(samples: npt.NDArray[Any], bits: int, path: Path) -> tuple[Samples, str]:
    """Samples of 8 or 16 bits over their whole range, and what was done to make them so."""
    kind = samples.dtype.kind
    if kind == "b":
        return samples.astype(np.uint8) * np.uint8(255), ""
    if kind == "f":
        wide = samples.astype(np.float64)
        if not np.isfinite(wide).all() or wide.min() < 0 or wide.max() > 1:
            raise InputError(
                f"image {path} holds floating point samples from {np.nanmin(wide):g} to {np.nanmax(wide):g}; expected "
                "0 to 1, black to white; scale them, or save 16-bit integers"
            )
        return np.rint(wide * 65535).astype(
            np.uint16
        ), f"{8 * samples.dtype.itemsize}-bit floating point became 16 bits"
    if kind != "u" or samples.dtype.itemsize > 4:
        raise InputError(
            f"image {path} holds samples of type {samples.dtype}; expected unsigned integers or floating point; "
            "convert it"
        )
    if samples.dtype.itemsize == 4:
        return (samples >> 16).astype(np.uint16), "32-bit samples became 16 bits"
    whole = 8 * samples.dtype.itemsize
    if bits < whole:
        scaled = samples.astype(np.uint32) * ((1 << whole) - 1) // ((1 << bits) - 1)
        return scaled.astype(samples.dtype), f"{bits}-bit samples became {whole} bits" if bits > 8 else ""
    return samples.astype(samples.dtype.newbyteorder("=")), ""


def _through_palette(indices: npt.NDArray[Any], colormap: npt.NDArray[np.uint16]) -> Samples:
    colors = np.moveaxis(colormap, 0, -1)
    # A palette is of 16 bits, most of them 8-bit colours, with the byte repeated or followed by zeros.
    low, high = colors & 255, colors >> 8
    if np.array_equal(low, high) or not low.any():
        colors = high.astype(np.uint8)
    return np.asarray(colors[indices])


def _from_inks(samples: Samples, told: Told, path: Path) -> tuple[Samples, Told, str]:
    from io import BytesIO

    from PIL import Image, ImageCms

    if not told.profile or samples.dtype != np.uint8 or samples.shape[2:] != (4,):
        why = "without a profile" if not told.profile else f"of {8 * samples.dtype.itemsize} bits"
        raise InputError(f"image {path} holds inks (CMYK) {why}, whose colours are not known; convert it to RGB first")
    inks = ImageCms.ImageCmsProfile(BytesIO(told.profile))
    screen = ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(Image.fromarray(samples, "CMYK"), inks, screen, outputMode="RGB")
    profile = ImageCms.ImageCmsProfile(screen).tobytes()
    told = Told(profile, told.resolution, told.orientation)
    return np.asarray(image), told, "inks (CMYK) became sRGB by their profile"


def _told(page: Any) -> Told:
    tags = page.tags
    unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else _INCH
    resolution = None
    if "XResolution" in tags and "YResolution" in tags and unit in _METRES:
        x, y = (
            top / bottom if bottom else 0.0 for top, bottom in (tags[n].value for n in ("XResolution", "YResolution"))
        )
        resolution = (x / _METRES[unit], y / _METRES[unit]) if x > 0 and y > 0 else None
    profile = tags[_PROFILE].value if _PROFILE in tags else b""
    orientation = int(tags[_ORIENTATION].value) if _ORIENTATION in tags else 1
    return Told(bytes(profile), resolution, orientation if 1 <= orientation <= 8 else 1)


def write_still(path: Path, samples: Samples, told: Told, depth: int = 16) -> None:
    """Write an image as the name's ending says, with what is told about it; raises OutputError.

    depth: bits of the samples, for DPX; for the others they fill their type.
    """
    try:
        if path.suffix.lower() == ".exr":
            if told.source is None or told.light is None:
                raise ValueError("OpenEXR is written from OpenEXR only")
            exr.write_changed(path, told.source, cast(Any, samples), told.light)
        elif path.suffix.lower() == ".dpx":
            dpx.write(path, samples, 8 if samples.dtype == np.uint8 else depth, told.source)
        elif path.suffix.lower() == ".png":
            path.write_bytes(_with_chunks(_encoded_png(samples), _told_chunks(told)))
        else:
            _write_tiff(path, samples, told)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write image {path}; {error}; free space or choose another place") from error


def _encoded_png(samples: Samples) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.png_encode(samples))


def _told_chunks(told: Told) -> list[tuple[bytes, bytes]]:
    if told.chunks:
        return list(told.chunks)
    chunks = []
    if told.profile:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(told.profile)))
    if told.resolution:
        x, y = map(round, told.resolution)
        chunks.append((b"pHYs", struct.pack(">IIB", x, y, 1)))
    if told.orientation != 1:
        # A TIFF of one tag.
        entry = struct.pack(">HHIHH", _ORIENTATION, 3, 1, told.orientation, 0)
        chunks.append((b"eXIf", b"MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)))
    return chunks


def _with_chunks(data: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    end = len(_PNG) + 12 + 13  # of the header, which comes first
    told = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return data[:end] + told + data[end:]


def _write_tiff(path: Path, samples: Samples, told: Told) -> None:
    import tifffile

    channels = samples.shape[2] if samples.ndim == 3 else 1
    resolution = (told.resolution[0] * _METRES[_INCH], told.resolution[1] * _METRES[_INCH]) if told.resolution else None
    extra = [(_ORIENTATION, 3, 1, told.orientation, True)] if told.orientation != 1 else []
    tifffile.imwrite(
        path,
        samples,
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig="contig",
        compression="zlib",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        iccprofile=told.profile or None,
        resolution=resolution,
        resolutionunit="INCH" if told.resolution else None,
        extratags=extra,
        metadata=None,
    )
