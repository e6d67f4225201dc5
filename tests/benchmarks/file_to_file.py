"""How near the whole tool comes to the slower of its parts: H.264 file in, H.264 file out.

    python tests/benchmarks/file_to_file.py --device cuda --size 1080p --presets fast,balanced --json file_to_file.json

Footage as in speed.py, encoded with x264 at CRF 16, which keeps its noise and makes some 300 Mbit/s (`--source-crf`
for less). Timed on the same frames: the decoder alone, the denoiser alone (frames in host memory in and out, noise
measured as the tool does), the encoder alone, and a whole run: decode, denoise, encode, verify, publish. "share" is the
time of the slowest part over that of the whole run; start-up (imports, loading of kernels) is left out, as a first
short run has paid for it. The parts share the CPU: where the CPU time of all of them, over the cores, is more than the
slowest part takes, no order of work makes the whole run faster than that, and "share of CPU" says how near it comes.
The clip is held in host memory twice (1080p: 3 MB a frame).
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import torch

from vnlsdenoise.bench.speed import SIZES, device_name, footage
from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.job.plan import make_plan
from vnlsdenoise.job.request import Request
from vnlsdenoise.job.run import run
from vnlsdenoise.planes import tensors_to_planes
from vnlsdenoise.video.frame import Frame
from vnlsdenoise.video.open import open_reader
from vnlsdenoise.video.pixels import layout_of, pack
from vnlsdenoise.video.read import Decoder
from vnlsdenoise.video.write import VideoWriter

PARTS = ("decode", "denoise", "encode")


def make_clip(path: Path, size: tuple[int, int], frames: int, device: str, crf: int) -> None:
    height, width = size
    layout = layout_of("yuv420p")
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=30, options={"crf": str(crf), "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index, planes in enumerate(itertools.islice(footage(height, width, device), frames)):
            picture = pack(tensors_to_planes(planes, layout.plane_format(width, height)), None, layout, width, height)
            picture.pts = index
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU."""
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - start_cpu


def parts_and_whole(source: Path, folder: Path, preset: str, device: str, decoder: Decoder) -> dict[str, Any]:
    """Seconds, and CPU seconds, of every part alone and of a whole run."""
    output = folder / f"{preset}.mp4"
    plan = make_plan(Request(source, output, device=device, preset=preset, decoder=decoder))
    assert plan.settings is not None and plan.encoder is not None
    settings, encoder = plan.settings, plan.encoder

    def frames() -> Iterator[Frame]:
        yield from open_reader(source, decoder=decoder)

    recorded: list[Frame] = []
    denoised: list[Frame] = []

    def denoise() -> None:
        denoised.extend(denoise_frames(recorded, plan.info.format, settings))

    def encode() -> None:
        with VideoWriter(folder / "alone.mp4", plan.info, encoder, "video") as writer:
            for frame in denoised:
                writer.write(frame)

    measured = {"decode": seconds(lambda: recorded.extend(frames())), "denoise": seconds(denoise)}
    recorded.clear()
    measured["encode"] = seconds(encode)
    denoised.clear()
    measured["whole"] = seconds(lambda: run(plan))
    wall = {part: times[0] for part, times in measured.items()}
    cpu = {part: times[1] for part, times in measured.items()}
    slowest = max(wall[part] for part in PARTS)
    cores = sum(cpu[part] for part in PARTS) / len(os.sched_getaffinity(0))
    shares = {"share": slowest / wall["whole"], "share_of_cpu": max(slowest, cores) / wall["whole"]}
    return {"seconds": wall, "cpu_seconds": cpu} | shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="1080p", choices=list(SIZES))
    parser.add_argument("--presets", default="fast,balanced,best")
    parser.add_argument("--decoder", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--source-crf", type=int, default=16)
    parser.add_argument("--json", help="write the figures here too")
    options = parser.parse_args()
    name = device_name(options.device)
    report: dict[str, Any] = {"device": name, "torch": torch.__version__, "size": options.size}
    report |= {"decoder": options.decoder, "frames": options.frames, "presets": {}}
    print(f"{name}, torch {torch.__version__}, {options.size}, {options.frames} frames, decoder {options.decoder}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        first, source = folder / "first.mp4", folder / "source.mp4"
        make_clip(first, SIZES[options.size], 20, options.device, options.source_crf)
        make_clip(source, SIZES[options.size], options.frames, options.device, options.source_crf)
        report["source_mbit_per_s"] = source.stat().st_size * 8e-6 * 30 / options.frames
        print(f"source of {report['source_mbit_per_s']:.0f} Mbit/s at 30 frames/s")
        for preset in options.presets.split(","):
            parts_and_whole(first, folder, preset, options.device, options.decoder)
            times = report["presets"][preset] = parts_and_whole(source, folder, preset, options.device, options.decoder)
            rates = ", ".join(
                f"{part} {options.frames / wall:.1f} ({1e3 * times['cpu_seconds'][part] / options.frames:.1f})"
                for part, wall in times["seconds"].items()
            )
            print(
                f"{preset:9} frames/s (CPU-ms a frame): {rates}   share {times['share']:.2f}, "
                f"of CPU {times['share_of_cpu']:.2f}",
                flush=True,
            )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
