"""What users would take instead, on the same noisy frames: quality against CPU seconds.

    python tests/benchmarks/peers.py CLIPS --tune OTHERS --sigma 10,30,50 --crop 224x160 --frames 8 --json peers.json
    python tests/benchmarks/peers.py CLIPS --tune OTHERS --vapoursynth /usr/bin/python3 --page peers.html

ffmpeg's nlmeans, hqdn3d, atadenoise, fftdnoiz, vaguedenoiser, OpenCV's fastNlMeansDenoisingColoredMulti, and
with `--vapoursynth PYTHON` (one that has them) VapourSynth's V-BM3D, DFTTest, NLM and MVTools. Each peer has a few
strengths, and is given the one with the best PSNR at that sigma on the clips of `--tune`, which must be others than
those that are measured. Protocol of noise and PSNR: quality.py, but that the noisy frames are rounded to 8 bits and
clipped, as every peer takes them, ours too: told the deviation, as white noise.

CPU seconds are those of the process that does the work, decoding of raw frames included, in one thread where it can be
told. A peer that this machine lacks is left out, and named.
"""

import argparse
import functools
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from clips import chosen_clips, clip_parser

from vnlsdenoise.api import denoise
from vnlsdenoise.bench.quality import Video, add_noise, denoiser_of, flicker, psnr, ssim
from vnlsdenoise.bench.report import quality_plots
from vnlsdenoise.bench.speed import device_name
from vnlsdenoise.job.publish import publish_text
from vnlsdenoise.page.build import Page, Table

Run = Callable[[Video, float, float], Video]  # (noisy frames, sigma, strength) -> denoised frames


@dataclass(frozen=True)
class Peer:
    """A denoiser, and the strengths that it is tuned over, as multiples of what its manual means for a sigma."""

    name: str
    run: Run
    strengths: Sequence[float]


def through_ffmpeg(filter_of: Callable[[float, float], str], program: str) -> Run:
    """An ffmpeg filter, on 4:4:4 of 8 bits (the planes that most of them take)."""

    def run(noisy: Video, sigma: float, strength: float) -> Video:
        frames, height, width = noisy.shape[:3]
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25"]
        graph = f"format=yuv444p,{filter_of(sigma, strength)},format=rgb24"
        command = [program, "-v", "error", "-threads", "1", "-filter_threads", "1", *raw, "-i", "-", "-vf", graph]
        done = subprocess.run(
            [*command, "-f", "rawvideo", "-"], input=noisy.astype(np.uint8).tobytes(), capture_output=True, check=True
        )
        video = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
        if len(video) != frames:
            raise RuntimeError(f"{graph} gave {len(video)} of {frames} frames")
        return video.astype(np.float32)

    return run


def atadenoise(sigma: float, k: float) -> str:
    """Both of its thresholds: of one frame's difference, and of the sum of them over the window of nine frames."""
    one = min(0.3, k * sigma / 255)
    return "atadenoise=s=9" + "".join(f":{plane}a={one:.4f}:{plane}b={4 * one:.4f}" for plane in range(3))


def through_opencv(noisy: Video, sigma: float, strength: float) -> Video:
    frames = [cv2.cvtColor(frame.astype(np.uint8), cv2.COLOR_RGB2BGR) for frame in noisy]
    done = []
    for index in range(len(frames)):
        reach = min(2, index, len(frames) - 1 - index)  # frames on either side, which must be there
        denoised = cv2.fastNlMeansDenoisingColoredMulti(
            frames, index, 2 * reach + 1, None, strength * sigma, strength * sigma, 7, 21
        )
        done.append(cv2.cvtColor(denoised, cv2.COLOR_BGR2RGB))
    return np.stack(done).astype(np.float32)


def through_vapoursynth(python: str, kind: str) -> Run:
    def run(noisy: Video, sigma: float, strength: float) -> Video:
        script = pathlib.Path(__file__).with_name("peers_vapoursynth.py")
        shape = [str(size) for size in noisy.shape[:3]]
        command = [python, str(script), kind, *shape, str(sigma * strength)]
        done = subprocess.run(command, input=noisy.astype(np.uint8).tobytes(), capture_output=True, check=True)
        return np.frombuffer(done.stdout, np.uint8).reshape(noisy.shape).astype(np.float32)

    return run


def ours(name: str) -> Run:
    def run(noisy: Video, sigma: float, strength: float) -> Video:
        tensor = torch.from_numpy(noisy.transpose(0, 3, 1, 2).copy())
        out = denoise(tensor, strength * sigma, **denoiser_of(name), peak=255.0)
        return out.numpy().transpose(0, 2, 3, 1)

    return run


def peers(ffmpeg: str | None, vapoursynth: str | None, presets: Sequence[str]) -> list[Peer]:
    found = [Peer(f"vnlsdenoise {name}", ours(name), (1.0,)) for name in presets]
    if ffmpeg is not None:
        filters: dict[str, tuple[Callable[[float, float], str], Sequence[float]]] = {
            "nlmeans": (lambda sigma, k: f"nlmeans=s={min(30, max(1, k * sigma)):.2f}:p=7:r=15", (0.3, 0.5, 0.7, 1.0)),
            "hqdn3d": (lambda sigma, k: f"hqdn3d={k * sigma:.2f}", (0.5, 1.0, 1.5, 2.5, 4.0)),
            "atadenoise": (atadenoise, (0.6, 1.0, 2.0, 4.0, 8.0)),
            "fftdnoiz": (
                lambda sigma, k: f"fftdnoiz=sigma={min(100, k * sigma):.2f}:prev=1:next=1",
                (0.5, 1.0, 1.5, 2.0, 3.0, 5.0),
            ),
            "vaguedenoiser": (
                lambda sigma, k: f"vaguedenoiser=threshold={k * sigma:.2f}:percent=100",
                (0.5, 1.0, 1.5, 2.5),
            ),
        }
        told = subprocess.run([ffmpeg, "-hide_banner", "-filters"], capture_output=True, text=True, check=True).stdout
        there = {line.split()[1] for line in told.splitlines() if len(line.split()) > 2}
        found += [Peer(f"ffmpeg {n}", through_ffmpeg(f, ffmpeg), s) for n, (f, s) in filters.items() if n in there]
        left_out("ffmpeg's filters", sorted(set(filters) - there))
    else:
        left_out("ffmpeg", ["no program of that name"])
    found.append(Peer("OpenCV NlMeansMulti", through_opencv, (0.3, 0.5, 0.7, 1.0)))
    if vapoursynth is not None:
        script = pathlib.Path(__file__).with_name("peers_vapoursynth.py")
        listed = subprocess.run([vapoursynth, str(script), "list"], capture_output=True, text=True, check=True).stdout
        kinds = listed.split()
        strengths = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
        found += [Peer(f"VapourSynth {kind}", through_vapoursynth(vapoursynth, kind), strengths) for kind in kinds]
    else:
        left_out("VapourSynth", ["give --vapoursynth PYTHON"])
    return found


def left_out(what: str, names: list[str]) -> None:
    if names:
        print(f"left out: {what}: {', '.join(names)}", file=sys.stderr)


def cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def timed(peer: Peer, noisy: Video, sigma: float, strength: float) -> tuple[Video, float, float]:
    """(result, CPU seconds a frame, wall seconds a frame)."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = peer.run(noisy, sigma, strength)
    return result, (cpu_seconds() - cpu) / len(noisy), (time.perf_counter() - wall) / len(noisy)


def shaken(clean: Video, name: str, sigma: int) -> Video:
    return add_noise(clean, name, sigma).round().clip(0, 255)


def tuned(peer: Peer, clips: dict[str, Video], sigma: int) -> float:
    """The strength with the best mean PSNR on other clips."""
    if len(peer.strengths) == 1:
        return peer.strengths[0]

    @functools.cache
    def quality(strength: float) -> float:
        return float(np.mean([psnr(peer.run(shaken(c, n, sigma), sigma, strength), c) for n, c in clips.items()]))

    return max(peer.strengths, key=quality)


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument(
        "--tune", type=pathlib.Path, required=True, help="folder of other clips, to choose strengths on"
    )
    parser.add_argument("--tune-clips", help="names of clips of that folder, separated by commas")
    parser.add_argument("--sigma", default="10,30,50")
    parser.add_argument("--presets", default="fast,balanced", help="of this denoiser")
    parser.add_argument("--ffmpeg", default=shutil.which("ffmpeg"))
    parser.add_argument("--vapoursynth", help="a Python that has VapourSynth and its plugins")
    parser.add_argument("--peers", help="names to measure, separated by commas")
    parser.add_argument("--page", type=pathlib.Path, help="a page with the plot")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(options.threads or 1)
    others = argparse.Namespace(**{**vars(options), "folder": options.tune, "clips": options.tune_clips})
    clips, tuning = dict(chosen_clips(options)), dict(chosen_clips(others))
    if same := set(clips) & set(tuning):
        sys.exit(f"tuned on what is measured: {', '.join(sorted(same))}")
    chosen = peers(options.ffmpeg, options.vapoursynth, options.presets.split(","))
    if options.peers:
        chosen = [peer for peer in chosen if peer.name in options.peers.split(",")]
    rows: list[dict[str, Any]] = []
    for sigma in map(int, options.sigma.split(",")):
        for peer in chosen:
            try:
                rows.append(measured(peer, clips, tuning, sigma))
            except (subprocess.CalledProcessError, RuntimeError, cv2.error) as error:
                why = getattr(error, "stderr", b"") or str(error).encode()
                left_out(peer.name, [why.decode(errors="replace").strip().splitlines()[-1]])
                continue
            print(
                "sigma {sigma:2} {denoiser:26} strength {strength:4.1f} {psnr:6.2f} dB SSIM {ssim:.4f} flicker "
                "{flicker:6.2f} {cpu_seconds_per_frame:8.3f} CPU-s a frame".format(**rows[-1]),
                flush=True,
            )
    report = {
        "device": device_name("cpu"),
        "arguments": {k: v.name if isinstance(v, pathlib.Path) else v for k, v in vars(options).items()},
        "clips": sorted(clips),
        "tuned_on": sorted(tuning),
        "results": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    if options.page:
        publish_text(options.page, page_of(rows, report["device"]).html())


def measured(peer: Peer, clips: dict[str, Video], tuning: dict[str, Video], sigma: int) -> dict[str, Any]:
    strength = tuned(peer, tuning, sigma)
    found: dict[str, list[float]] = {}
    for name, clean in clips.items():
        video, cpu, wall = timed(peer, shaken(clean, name, sigma), sigma, strength)
        figures = {"psnr": psnr(video, clean), "ssim": ssim(video, clean), **flicker(video, clean)}
        for figure, value in (*figures.items(), ("cpu_seconds_per_frame", cpu), ("seconds_per_frame", wall)):
            found.setdefault(figure, []).append(value)
    means = {figure: float(np.mean(values)) for figure, values in found.items()}
    return {"sigma": sigma, "denoiser": peer.name, "strength": strength, **means}


def page_of(rows: Sequence[dict[str, Any]], device: str) -> Page:
    names = ("psnr", "ssim", "flicker", "cpu_seconds_per_frame")
    cells = [[f"sigma {r['sigma']}, {r['denoiser']}", *(f"{r[name]:.3f}" for name in names)] for r in rows]
    head = ["noise, denoiser", "PSNR", "SSIM", "flicker", "CPU-s a frame"]
    page = Page("Quality against CPU seconds", f"on {device}", tables=[Table("Mean over the clips", head, cells)])
    page.plots += quality_plots(rows)
    return page


if __name__ == "__main__":
    main()
