"""PSNR of the denoiser on noisy video that has been through a codec, on its own 4:2:0 planes.

    python tests/benchmarks/coded_noise.py DIR --preset fast --crop 224x160 --frames 8 --json coded_noise.json

Clips are decoded to 8-bit RGB; white noise of the sigma given is added to R, G and B, clipped and rounded, and all is
encoded as 4:2:0, with libx264 or another encoder. `--gain 0.006` takes the noise of a simulated camera of this gain,
and wants what that makes of the clip without noise; with `--share 0.7` every frame has that share of the noise of the
one before, as cameras filter it in time. PSNR of luma, and of the first chroma plane, against the clean clip converted
alike: as the codec left them ("noisy"), with the noise taken for white ("white"), with the noise measured as the tool
does ("measured"), the same without the step of the codec's quantiser ("stepless"), with the deviation of each plane's
error given ("true"), and with the best of six white deviations for each clip and plane ("given").
`--preset balanced,learned:small` has every denoiser take the same clips, one table each (NAME-PRESET.json); `--ways`
picks some of the ways.
"""

import io
import itertools
import zlib
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
from clips import chosen_clips, clip_parser, write_table

from vnlsdenoise.bench.quality import Video, denoiser_of
from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.noise.camera import Camera
from vnlsdenoise.video.container import decode_next, decoder_of
from vnlsdenoise.video.frame import Frame, Plane, PlaneFormat
from vnlsdenoise.video.pixels import unpack
from vnlsdenoise.video.priority import kept_priority
from vnlsdenoise.video.read import VideoReader

Planes = tuple[Plane, ...]
GIVEN = (1.5, 2.5, 4, 6, 9, 12)  # white deviations


def planes_of(video: npt.NDArray[np.uint8]) -> list[Planes]:
    """Y, U and V of RGB frames [T, H, W, 3]."""
    return [unpack(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p"))[0] for image in video]


def encode(video: npt.NDArray[np.uint8], encoder: str, quality: int, file: io.BytesIO) -> None:
    """RGB frames [T, H, W, 3] as 4:2:0 in Matroska. quality: the scale of the quantiser of MPEG, else the crf."""
    with kept_priority(), av.open(file, "w", format="matroska") as output:
        stream: Any = output.add_stream(encoder, 25)
        context = stream.codec_context
        if encoder.startswith("mpeg"):
            context.qmin = context.qmax = quality
        else:
            context.bit_rate, context.options = 0, {"crf": str(quality)}
        stream.height, stream.width = video.shape[1:3]
        context.thread_count, stream.pix_fmt = 1, "yuv420p"
        for image in video:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    file.seek(0)


def through_h264(video: npt.NDArray[np.uint8], crf: int) -> list[av.VideoFrame]:
    """What libx264 keeps of RGB frames [T, H, W, 3], as 4:2:0.

    Not the same bit for bit each time: figures on it move by some hundredths of a dB.
    """
    file = io.BytesIO()
    encode(video, "libx264", crf, file)
    with av.open(file, "r") as source:
        decoder = decoder_of(source.streams.video[0])
        return [frame for packet in source.demux(video=0) for frame in decode_next(decoder, packet)]


def through(video: npt.NDArray[np.uint8], encoder: str, quality: int) -> list[Frame]:
    """What an encoder keeps, as a reader gives it."""
    file = io.BytesIO()
    encode(video, encoder, quality, file)
    with NamedTemporaryFile(suffix=".mkv") as written:
        written.write(file.getbuffer())
        written.flush()
        return list(VideoReader(Path(written.name)))


def psnr(one: list[Planes], other: list[Planes], plane: int) -> float:
    errors = [float(((a[plane].astype(float) - b[plane]) ** 2).mean()) for a, b in zip(one, other, strict=True)]
    return float(np.mean([10 * np.log10(255**2 / max(error, 1e-6)) for error in errors]))


def with_noise(clean: Video, name: str, sigma: int, gain: float, share: float) -> tuple[Video, Video]:
    """R, G and B [T, H, W, 3] with noise and without: white of `sigma`, or with a gain that of a camera."""
    seed, wanted = zlib.crc32(f"{name}{gain or sigma}".encode()), clean
    if gain:
        camera, random = Camera(gain, gain / 2), torch.Generator().manual_seed(seed)
        pictures = torch.from_numpy(clean / 255).float().permute(0, 3, 1, 2).contiguous()
        sides = zip(*(camera.recorded(picture, random) for picture in pictures), strict=True)
        noisy, wanted = (255 * torch.stack(side).permute(0, 2, 3, 1).numpy() for side in sides)
        noise = noisy - wanted
    else:
        noise = sigma * np.random.RandomState(seed).randn(*clean.shape)
    for before, own in itertools.pairwise(noise) if share else ():
        own *= (1 - share**2) ** 0.5
        own += share * before
    return wanted + noise, wanted


def coded_clip(noisy: Video, clean: Video, crf: int, encoder: str) -> tuple[list[Frame], list[Planes]]:
    """What there is to restore, and what is wanted."""
    noisy, clean = (side.clip(0, 255).round().astype(np.uint8) for side in (noisy, clean))
    wanted = planes_of(clean)
    if crf:
        return through(noisy, encoder, crf), wanted
    return [Frame(planes, index, 1) for index, planes in enumerate(planes_of(noisy))], wanted


def figures(
    frames: list[Frame], wanted: list[Planes], settings: DenoiseSettings, ways: set[str]
) -> dict[str, list[float]]:
    """PSNR of luma and chroma of every way."""
    height, width = wanted[0][0].shape
    coded = [frame.planes for frame in frames]
    format = PlaneFormat("yuv", width, height, 8, 1, 1)
    errors = [[a[plane].astype(float) - b[plane] for a, b in zip(coded, wanted, strict=True)] for plane in range(3)]
    all_ways = {
        "white": replace(settings, noise_model="white"),
        "stepless": settings,
        "measured": settings,
        "true": replace(settings, sigma=tuple(float(np.std(error)) for error in errors)),
    }
    found = {"noisy": coded}
    for way, how in all_ways.items():
        if way in ways:
            given = [replace(frame, step=None) for frame in frames] if way == "stepless" else frames
            found[way] = [frame.planes for frame in denoise_frames(given, format, how)]
    scores = {way: [psnr(planes, wanted, 0), psnr(planes, wanted, 1)] for way, planes in found.items()}
    if "given" in ways:
        trials = [
            [frame.planes for frame in denoise_frames(frames, format, replace(settings, sigma=(sigma,) * 3))]
            for sigma in GIVEN
        ]
        scores["given"] = [max(psnr(planes, wanted, index) for planes in trials) for index in (0, 1)]
    return scores


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--preset", default="fast", help="presets, learned, or learned:WEIGHTS")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sigma", default="10,20,30,50")
    parser.add_argument("--gain", default="", help="of a simulated camera, instead of --sigma")
    parser.add_argument("--share", type=float, default=0.0, help="of the noise of a frame, in the next one")
    parser.add_argument("--crf", default="0,18,22,26", help="0: not encoded; of MPEG the scale of the quantiser")
    parser.add_argument("--encoder", default="libx264")
    parser.add_argument("--ways", help="white, stepless, measured, true, given; default: white, measured, true")
    options = parser.parse_args()
    ways = set(options.ways.split(",")) if options.ways else {"white", "measured", "true"}
    clips = dict(chosen_clips(options))
    presets = options.preset.split(",")
    how = {
        preset: DenoiseSettings(None, **denoiser_of(preset), device=options.device, scene_cuts=False)
        for preset in presets
    }
    results: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = {preset: {} for preset in presets}
    kinds = [(f"gain {gain}", 0, float(gain)) for gain in options.gain.split(",") if gain]
    kinds = kinds or [(f"sigma {sigma:2}", int(sigma), 0.0) for sigma in options.sigma.split(",")]
    for kind, sigma, gain in kinds:
        noisy = {name: with_noise(clean, name, sigma, gain, options.share) for name, clean in clips.items()}
        for crf in map(int, options.crf.split(",")):
            given = {name: coded_clip(*sides, crf, options.encoder) for name, sides in noisy.items()}
            for preset, settings in how.items():
                clip = {name: figures(*planes, settings, ways) for name, planes in given.items()}
                results[preset][f"{' '.join(kind.split())}, crf {crf}"] = clip
                means = {way: np.mean([found[way] for found in clip.values()], 0) for way in next(iter(clip.values()))}
                row = "  ".join(f"{way} {luma:.2f} / {chroma:.2f}" for way, (luma, chroma) in means.items())
                print(f"{kind} crf {crf:2} {preset:16} luma / chroma: {row}", flush=True)
            for preset, found in results.items():
                write_table(options, preset, found, several=len(presets) > 1)


if __name__ == "__main__":
    main()
