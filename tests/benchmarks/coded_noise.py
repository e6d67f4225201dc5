"""PSNR of the denoiser on noisy video that has been through a codec, on its own 4:2:0 planes.

    python tests/benchmarks/coded_noise.py DIR --preset fast --crop 224x160 --frames 8 --json coded_noise.json

Clips are decoded to 8-bit RGB; white noise of the sigma given is added to R, G and B, clipped and rounded, and all is
encoded with libx264 as 4:2:0. PSNR of luma, and of the first chroma plane, against the clean clip converted alike:
as the codec left them ("noisy"), with the noise taken for white ("white"), with the noise measured as the tool does
("measured"), and with the deviation of each plane's error given ("true"). `--preset balanced,learned:small` has every
denoiser take the same clips, one table each (NAME-PRESET.json); `--ways` picks some of the ways.
"""

import io
import zlib
from dataclasses import replace
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from clips import chosen_clips, clip_parser, write_table

from vnlsdenoise.bench.quality import Video, denoiser_of
from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.video.container import decode_next, decoder_of
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat
from vnlsdenoise.video.pixels import unpack
from vnlsdenoise.video.side_data import quantiser_step

Planes = tuple[Plane, ...]


def planes_of(video: npt.NDArray[np.uint8]) -> list[Planes]:
    """Y, U and V of RGB frames [T, H, W, 3]."""
    return [unpack(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p"))[0] for image in video]


def through_h264(video: npt.NDArray[np.uint8], crf: int) -> list[av.VideoFrame]:
    """What libx264 keeps of RGB frames [T, H, W, 3], as 4:2:0.

    Not the same bit for bit each time: figures on it move by some hundredths of a dB.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream: Any = output.add_stream("libx264", 25, options={"crf": str(crf)})
        stream.height, stream.width = video.shape[1:3]
        stream.codec_context.thread_count, stream.pix_fmt = 1, "yuv420p"
        for image in video:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        decoder = decoder_of(source.streams.video[0])
        return [frame for packet in source.demux(video=0) for frame in decode_next(decoder, packet)]


def frames_of(decoded: list[av.VideoFrame]) -> list[Frame]:
    """Frames as a reader gives them."""
    return [Frame(unpack(f)[0], i, 1, step=quantiser_step(f, 255)) for i, f in enumerate(decoded)]


def psnr(one: list[Planes], other: list[Planes], plane: int) -> float:
    errors = [float(((a[plane].astype(float) - b[plane]) ** 2).mean()) for a, b in zip(one, other, strict=True)]
    return float(np.mean([10 * np.log10(255**2 / max(error, 1e-6)) for error in errors]))


def coded_clip(clean: Video, name: str, sigma: int, crf: int) -> tuple[list[Frame], list[Planes]]:
    """What there is to restore, and what is wanted."""
    random = np.random.RandomState(zlib.crc32(f"{name}{sigma}".encode()))
    noisy = (clean + sigma * random.randn(*clean.shape)).clip(0, 255).round().astype(np.uint8)
    wanted = planes_of(clean.astype(np.uint8))
    if crf:
        return frames_of(through_h264(noisy, crf)), wanted
    return [Frame(planes, index, 1) for index, planes in enumerate(planes_of(noisy))], wanted


def figures(
    frames: list[Frame], wanted: list[Planes], settings: DenoiseSettings, ways: set[str] | None
) -> dict[str, list[float]]:
    """PSNR of luma and chroma of every way."""
    height, width = wanted[0][0].shape
    coded = [frame.planes for frame in frames]
    format = PlaneFormat("yuv", width, height, 8, 1, 1)
    errors = [[a[plane].astype(float) - b[plane] for a, b in zip(coded, wanted, strict=True)] for plane in range(3)]
    all_ways = {
        "white": replace(settings, noise_model="white"),
        "measured": settings,
        "true": replace(settings, sigma=tuple(float(np.std(error)) for error in errors)),
    }
    found = {"noisy": coded}
    for way, how in all_ways.items():
        if ways is None or way in ways:
            found[way] = [frame.planes for frame in denoise_frames(frames, format, how)]
    return {way: [psnr(planes, wanted, 0), psnr(planes, wanted, 1)] for way, planes in found.items()}


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--preset", default="fast", help="presets, learned, or learned:WEIGHTS")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sigma", default="10,20,30,50")
    parser.add_argument("--crf", default="0,18,22,26", help="0: not encoded")
    parser.add_argument("--ways", help="white, measured, true; default: all")
    options = parser.parse_args()
    ways = set(options.ways.split(",")) if options.ways else None
    clips = dict(chosen_clips(options))
    presets = options.preset.split(",")
    how = {
        preset: DenoiseSettings(None, **denoiser_of(preset), device=options.device, scene_cuts=False)
        for preset in presets
    }
    results: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = {preset: {} for preset in presets}
    for sigma in map(int, options.sigma.split(",")):
        for crf in map(int, options.crf.split(",")):
            given = {name: coded_clip(clean, name, sigma, crf) for name, clean in clips.items()}
            for preset, settings in how.items():
                clip = {name: figures(*planes, settings, ways) for name, planes in given.items()}
                results[preset][f"sigma {sigma}, crf {crf}"] = clip
                means = {way: np.mean([found[way] for found in clip.values()], 0) for way in next(iter(clip.values()))}
                row = "  ".join(f"{way} {luma:.2f} / {chroma:.2f}" for way, (luma, chroma) in means.items())
                print(f"sigma {sigma:2} crf {crf:2} {preset:16} luma / chroma: {row}", flush=True)
            for preset, found in results.items():
                write_table(options, preset, found, several=len(presets) > 1)


if __name__ == "__main__":
    main()
