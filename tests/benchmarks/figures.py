"""The tables of README.md and of pages in docs, from the JSON that the benchmarks have written.

    python tests/benchmarks/figures.py            # writes the pages anew
    python tests/benchmarks/figures.py --check    # fails where page and JSON differ

A table stands in the page between `<!-- NAME -->` and `<!-- end -->`; all around it is written by hand. What has no
JSON has no table: it stands under "Kept by hand" with its command and its date.
"""

import argparse
import json
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("figures", "experiments", "fleet")))
RESULTS = ROOT / "tests" / "benchmarks" / "results"
PRESETS = ("fast", "balanced")  # `best` has tables of its own
SIZES = ("540p", "1080p", "4k", "8k")


def stored(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def mean(results: dict[str, Any], sigma: object, preset: str, figure: str = "psnr") -> float:
    """Over the clips of one sigma."""
    return float(np.mean([row[preset][figure] for key, row in results.items() if key.endswith(f"/{sigma}")]))


def means(clips: dict[str, dict[str, Any]], way: str) -> Any:
    return np.mean([clip[way] for clip in clips.values()], 0)


def quality_crops() -> str:
    results, sigmas = stored("quality-crops-epyc")["results"], (10, 20, 30, 40, 50)
    rows = [
        [
            preset,
            *(f"{mean(results, sigma, preset):.2f}" for sigma in sigmas),
            f"{mean(results, 30, preset, 'ssim'):.3f}",
            f"{mean(results, 30, preset, 'flicker_still'):.2f}",
        ]
        for preset in PRESETS
    ]
    return table(["preset", *(f"sigma {sigma}" for sigma in sigmas), "SSIM at 30", "flicker at 30, still"], rows)


def quality_whole() -> str:
    results = stored("quality-whole-epyc")["results"]
    rows = [[preset, *(f"{mean(results, sigma, preset):.2f}" for sigma in (10, 30, 50))] for preset in PRESETS]
    return table(["preset", "sigma 10", "30", "50"], rows)


def quality_learned() -> str:
    sigmas = 2, 5, 10, 20, 30, 50, 75
    classic = stored("quality-crops-epyc")["results"] | stored("quality-2-5-20-75-xeon")["results"]
    learned = stored("quality-learned-h200")["results"]
    found = {"fast": classic, "balanced": learned, "learned:small": learned, "learned:base": learned}
    rows = [[name, *(f"{mean(results, sigma, name):.2f}" for sigma in sigmas)] for name, results in found.items()]
    return table(["denoiser", *(f"sigma {sigma}" for sigma in sigmas)], rows)


def best_over_balanced() -> str:
    results = stored("presets-h200")["results"]
    rows = []
    for clips, said in (("other", "14 others, 16 frames"), ("dev", "these 11, 10 frames")):
        for preset in ("best", "best, earlier"):
            gains = [
                [
                    row[preset]["psnr"] - row["balanced"]["psnr"]
                    for key, row in results.items()
                    if key.startswith(f"{clips}/") and key.endswith(f"/{sigma}")
                ]
                for sigma in (10, 30, 50)
            ]
            rows.append([said, preset, *(f"{np.mean(of_sigma):+.3f} ({min(of_sigma):+.3f})" for of_sigma in gains)])
    return table(["clips", "preset", "sigma 10", "30", "50"], rows)


def native_chroma() -> str:
    results = stored("native-chroma-epyc")
    rows = []
    for sigma in (10, 30, 50):
        clips = [row for key, row in results.items() if key.endswith(f"/{sigma}")]
        names = ("native_luma", "native_chroma", "full_luma", "full_chroma")
        rows.append([str(sigma), *(f"{np.mean([clip[name] for clip in clips]):.2f}" for name in names)])
    return table(["sigma", "own planes: luma", "chroma", "enlarged: luma", "chroma"], rows)


def by_ways(name: str, ways: Sequence[str]) -> str:
    results = stored(name)["results"]
    rows = [[kind, *(f"{means(clips, way):.2f}" for way in ways)] for kind, clips in results.items()]
    return table(["noise", *ways], rows)


def real_noise() -> str:
    return by_ways("real-noise-h200", ("noisy", "white", "curve", "everything"))


def camera_noise() -> str:
    rows = []
    for kind, clips in stored("camera-noise-h200")["results"].items():
        given = [way for way in next(iter(clips.values())) if way.isdigit()]
        best = max((float(means(clips, way)), way) for way in given)
        rows.append(
            [kind, *(f"{means(clips, way):.2f}" for way in ("noisy", "measured")), f"{best[0]:.2f} ({best[1]})"]
        )
    return table(["noise", "noisy", "measured", "best of one deviation (which)"], rows)


def coded_noise() -> str:
    ways = ("noisy", "white", "measured", "true")
    rows = [
        [*re.findall(r"\d+", kind), *(" / ".join(f"{value:.2f}" for value in means(clips, way)) for way in ways)]
        for kind, clips in stored("coded-noise-h200")["results"].items()
    ]
    return table(["sigma", "crf", *ways], rows)


def other_codecs() -> str:
    codecs = {"av1": "SVT-AV1", "vp9": "libvpx, VP9", "mpeg2": "MPEG-2", "mpeg4": "MPEG-4 part 2"}
    rows = []
    for name, codec in codecs.items():
        results = stored(f"coded-noise-{name}-epyc")["results"]
        for sigma in (0, 10, 20):
            found = [clips for kind, clips in results.items() if kind.startswith(f"sigma {sigma},")]
            row = [codec, str(sigma)]
            for way in ("noisy", "stepless", "measured", "given"):
                tried = all(way in clip for clips in found for clip in clips.values())
                row.append(" / ".join(f"{means(clips, way)[0]:.2f}" for clips in found) if tried else "-")
            gains = [min(clip["measured"][0] - clip["stepless"][0] for clip in clips.values()) for clips in found]
            rows.append([*row, " / ".join(f"{gain:+.2f}" for gain in gains)])
    return table(["codec", "sigma", "noisy", "stepless", "measured", "given", "least"], rows)


def memory_of(mebibytes: float) -> str:
    return f"{mebibytes / 1024:.1f} GiB"


def speed_cuda() -> str:
    presets = ("draft", "fast", "balanced", "best")
    rows = []
    for size in SIZES:
        found = [stored("speed-h200")["sizes"][size]["denoiser"].get(preset) for preset in presets]
        told = (f"{f['frames_per_second']:.1f} frames/s, {memory_of(f['peak_MiB'])}" if f else "-" for f in found)
        rows.append([size, *told])
    return table(["size", *presets], rows)


def streams_cuda() -> str:
    rows = []
    for variant, found in stored("streams-h200")["ms_per_frame"].items():
        times = (f"{np.median(found[preset]):.2f} ms" if preset in found else "-" for preset in ("fast", "balanced"))
        rows.append([variant, *times])
    return table(["variant", "fast", "balanced"], rows)


def filters_cuda() -> str:
    found = stored("filters-h200")
    rows = [
        [variant, *(f"{ms:.2f} ms" for ms in times.values())]
        for part in ("ms", "left_out_ms")
        for variant, times in found[part].items()
    ]
    return table(["variant", *found["ms"]["before"]], rows)


def speed_learned() -> str:
    rows = []
    for size, entry in stored("speed-learned-h200")["sizes"].items():
        for preset, found in entry["denoiser"].items():
            speed = f"{found['ms_per_frame']:.1f} ms, {found['frames_per_second']:.0f} frames/s"
            rows.append([size, preset, speed, f"{found['predicted_MiB']:.0f} / {found['peak_MiB']:.0f}"])
    return table(["size", "denoiser", "a frame", "peak, MiB: predicted / measured"], rows)


def kernels_cuda() -> str:
    sizes = stored("speed-h200")["sizes"]
    rows = []
    for size in SIZES:
        kernels = [sizes[size]["denoiser"][preset]["kernels_ms"] for preset in PRESETS]
        rows.append([size, *(", ".join(f"{name} {ms:.1f}" for name, ms in found.items()) for found in kernels)])
    return table(["size", *PRESETS], rows)


def ceilings() -> str:
    return under_ceilings("memory-ceilings-h200", "preset")


def ceilings_learned() -> str:
    return under_ceilings("ceilings-learned-h200", "denoiser")


def under_ceilings(name: str, kind: str) -> str:
    rows = []
    for size, entry in stored(name)["sizes"].items():
        for case, found in entry["denoiser"].items():
            denoiser, _, ceiling = case.partition(" ")
            peak = f"{found['predicted_MiB']:.0f} / {found['peak_MiB']:.0f}"
            rows.append([f"{size}, {denoiser}", ceiling or "none", peak, f"{found['frames_per_second']:.1f}"])
    return table([f"size, {kind}", "ceiling", "peak, MiB: predicted / measured", "frames/s"], rows)


def ceilings_cpu() -> str:
    rows = []
    for case, found in stored("ceilings-xeon")["cases"].items():
        size, preset, ceiling = case.split(",")
        if "refused" in found:
            continue
        wanted = ceiling if ceiling == "none" else f"{1024 * float(ceiling):.0f}"
        figures = [f"{found[name]:.0f}" for name in ("predicted_MiB", "peak_MiB", "waiting_MiB")]
        rows.append([f"{size}, {preset}", wanted, *figures, f"{found['frames_per_second']:.2f}"])
    return table(["size, preset", "ceiling, MiB", "predicted", "measured", "in the file at most", "frames/s"], rows)


def file_to_file() -> str:
    rows = []
    for run in stored("file-to-file-h200")["runs"]:
        for preset, found in run["presets"].items():
            rates = [
                f"{run['frames'] / found['seconds'][part]:.0f}" for part in ("decode", "denoise", "encode", "whole")
            ]
            cpu = 1e3 * found["cpu_seconds"]["whole"] / run["frames"]
            source = f"{run['source_mbit_per_s']:.0f} Mbit/s"
            rows.append([preset, source, run["decoder"], str(run["frames"]), *rates, f"{cpu:.0f}"])
    head = ["preset", "source", "decoder", "frames", "decode", "denoise", "encode", "whole, frames/s", "CPU-ms a frame"]
    return table(head, rows)


def fleet() -> str:
    def idle(took: dict[str, float]) -> str:
        parts = [f"{took[part]:.1f}" for part in ("start", "between", "end") if part in took]
        return " / ".join(parts) if parts else f"{took['idle']:.1f}"

    rows = []
    for name in ("ffv1-h200", "h264-h200", "ffv1-cpu"):
        facts = stored(f"fleet-{name}")
        one, many = facts["rows"]
        share = many["count"] / one["count"]
        rows.append(
            [
                f"{facts['size']}, {facts['preset']}, {name.rpartition('-')[2].upper()}",
                {"ffv1": "FFV1", "h264": "H.264"}[facts["codec"]],
                str(facts["scenes"] * facts["each"]),
                *(f"{row['make']:.1f} ({row['fps']:.0f})" for row in (one, many)),
                f"{many['efficiency']:.2f} ({one['seconds']['all'] / (many['seconds']['all'] * share):.2f})",
                "equal" if facts["same"] else "differ",
                *(", ".join(f"{took[what]:.1f}" for took in many["spent"]) for what in ("denoise", "blocked")),
                ", ".join(idle(took) for took in many["spent"]),
            ]
        )
    head = ["film", "output", "frames", "one, s (frames/s)", "two", "efficiency (of the whole run)", "bytes"]
    return table([*head, "each of two denoises, s", "waits to encode", "idle: start / between / end"], rows)


def fleet_shared() -> str:
    def seconds(found: list[float]) -> str:
        return ", ".join(f"{value:.1f}" for value in found)

    rows = [
        [
            *(str(row[name]) for name in ("workers", "frames", "scenes", "parts", "twice")),
            f"{row['efficiency']:.2f} ({row['least']:.2f})",
            *(seconds(row[name]) for name in ("start_s", "between_s", "end_s")),
        ]
        for row in stored("fleet-shared-simulation")
    ]
    head = ["workers", "frames", "scenes", "parts", "denoised twice", "efficiency (least)"]
    return table([*head, "idle at the start, s", "between", "end"], rows)


def operators() -> str:
    cases = stored("operators-h200")["cases"]
    rows = [[name, f"{c['forward_ms']:.1f}", f"{c['forward_backward_ms']:.1f}"] for name, c in cases.items()]
    return table(["case", "forward, ms", "with backward, ms"], rows)


def aggregation() -> str:
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for row in stored("aggregation-h200")["rows"]:
        case = (row["case"], row["offsets"], str(row["ps"]))
        found.setdefault(case, {})[row["pass"]] = f"{row['ms']:.1f}"
    passes = list(dict.fromkeys(name for times in found.values() for name in times))
    rows = [[*case, *(times.get(name, "-") for name in passes)] for case, times in found.items()]
    return table(["lists", "offsets", "ps", *(f"{name}, ms" for name in passes)], rows)


def memory_of_search() -> str:
    rows = [
        [case, memory_of(found["peak_MiB"]), memory_of(found["explicit_MiB"]), f"{found['seconds']:.0f} s"]
        for case, found in stored("memory-epyc")["cases"].items()
    ]
    return table(["case", "peak beyond the inputs", "patches of all neighbours", "time, one thread"], rows)


def speed_cpu() -> str:
    one, two = (stored(f"speed-epyc-{name}")["sizes"]["240p"]["denoiser"] for name in ("1-thread", "2-threads"))
    rows = [
        [
            preset,
            f"{one[preset]['cpu_ms_per_frame'] / 1e3:.2f}",
            f"{two[preset]['frames_per_second'] / one[preset]['frames_per_second']:.1f}",
        ]
        for preset in PRESETS
    ]
    return table(["preset", "CPU-s a frame of 432x240, one core", "times as fast on two"], rows)


def alignment() -> str:
    found = {(row["ws"], row["around"]): row for row in stored("alignment-xeon")["results"]}
    rows = []
    for ws in sorted({ws for ws, _ in found}):
        flow, none = found[ws, "flow"], found[ws, "none"]
        cells = [f"{flow['psnr']:.2f}", f"{flow['over_flow_alone']:+.2f}", f"{flow['least']:+.2f}"]
        rows.append([str(ws), *cells, f"{none['psnr']:.2f}", f"{flow['seconds']:.1f}"])
    return table(["ws", "around the flow, dB", "over flow alone", "worst clip", "without flow, dB", "seconds"], rows)


def search_sweep() -> str:
    return _sweep("search-sweep-xeon", "{:.2f} s", 1)


def search_sweep_cuda() -> str:
    return _sweep("search-sweep-h200", "{:.1f} ms", 1000)


def _sweep(name: str, time: str, unit: float) -> str:
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for row in stored(name)["results"]:
        case = (row["sweep"], str(row["ws"]), str(row["features"]), str(row["nheads"]))
        found.setdefault(case, {})[row["way"]] = f"{time.format(unit * row['seconds'])}, {row['peak_MiB']:.0f} MiB"
    ways = list(next(iter(found.values())))
    return table(
        ["sweep", "ws", "F", "HD", *ways], [[*case, *(cells[way] for way in ways)] for case, cells in found.items()]
    )


def gradients() -> str:
    names = ("between_runs_largest", "against_exact_median", "against_exact_mean")
    rows = [[row["case"], *(f"{row[name]:.1e}" for name in names)] for row in stored("gradients-xeon")["results"]]
    return table(["search", "between runs, largest", "against float64, median", "mean"], rows)


def peers_in_short() -> str:
    rows = {(row["denoiser"], row["sigma"]): row for row in stored("peers-xeon")["results"]}
    ours, others = ("fast", "balanced"), ("BM3D", "DFTTest", "NLM", "MVTools")
    shown = [*(f"vnlsdenoise {name}" for name in ours), *(f"VapourSynth {name}" for name in others)]
    shown += ["ffmpeg nlmeans", "ffmpeg fftdnoiz", "OpenCV NlMeansMulti"]
    cells = []
    for name in shown:
        psnrs = [f"{rows[name, sigma]['psnr']:.1f}" for sigma in (10, 30, 50)]
        cells.append([name, *psnrs, f"{rows[name, 30]['cpu_seconds_per_frame']:.2f}"])
    return table(["denoiser", "10", "30", "50", "CPU-s a frame of 224x160"], cells)


def peers() -> str:
    rows = stored("peers-xeon")["results"]
    found: dict[str, dict[int, dict[str, float]]] = {}
    for row in rows:
        found.setdefault(row["denoiser"], {})[row["sigma"]] = row
    sigmas = sorted({row["sigma"] for row in rows})
    head = ["denoiser", *(f"sigma {sigma}: dB" for sigma in sigmas), "SSIM at 30", "flicker at 30", "CPU-s a frame"]
    cells = []
    for name, by in found.items():
        psnrs = [f"{by[sigma]['psnr']:.2f}" if sigma in by else "-" for sigma in sigmas]
        at = by.get(30, next(iter(by.values())))
        cells.append([name, *psnrs, f"{at['ssim']:.3f}", f"{at['flicker']:.2f}", f"{at['cpu_seconds_per_frame']:.3f}"])
    return table(head, cells)


def choosing() -> str:
    results, sigmas = stored("quality-crops-epyc")["results"], (10, 20, 30, 40, 50)
    at = {preset: [mean(results, sigma, preset) for sigma in sigmas] for preset in PRESETS}
    less = [balanced - fast for balanced, fast in zip(at["balanced"], at["fast"], strict=True)]
    best = [row for key, row in stored("presets-h200")["results"].items() if key.startswith("other/")]
    more = float(np.mean([row["best"]["psnr"] - row["balanced"]["psnr"] for row in best]))
    speeds = stored("speed-h200")["sizes"]["1080p"]["denoiser"]
    fast, balanced, slowest = (speeds[preset]["frames_per_second"] for preset in (*PRESETS, "best"))
    share = balanced / slowest
    points = stored("cost-xeon")["points"]
    draft, loss = points["draft"][0] / points["fast"][0], -points["draft"][1]
    learned = stored("quality-learned-h200")["results"]
    small, base = (mean(learned, 30, f"learned:{w}") - mean(learned, 30, "balanced") for w in ("small", "base"))
    rows = [
        ("the default", "nothing: `--preset balanced`, noise measured"),
        (f"{fast / balanced:.1f} times the speed for {min(less):.1f} to {max(less):.1f} dB less", "`--preset fast`"),
        (
            f"the last {more:.2f} dB (most in strong noise), in {share:.2f} of the time on a GPU and more memory",
            "`--preset best`",
        ),
        (
            f"a preview, or a long film on a CPU: 1/{1 / draft:.0f} of the time of `fast` for {loss:.1f} dB less",
            "`--preset draft`",
        ),
        (
            f"more on strong noise ({small:.1f} dB at sigma 30; {base:.1f} by the larger network), slower",
            "`--method learned`; `--weights base`",
        ),
        ("some grain left", "`--keep-grain 0.2` or `--strength 0.8`"),
        ("more off the colours than off the brightness", "`--chroma 1.3`"),
        ("a noise you know", "`--sigma 12`, or one a plane: `--sigma 12,6,6`"),
    ]
    return table(["wish", "give"], rows)


TABLES: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        *(quality_crops, quality_whole, best_over_balanced, quality_learned, native_chroma),
        *(real_noise, camera_noise, coded_noise, other_codecs),
        *(speed_cuda, speed_learned, kernels_cuda, streams_cuda),
        filters_cuda,
        *(ceilings, ceilings_learned, ceilings_cpu, file_to_file, fleet, fleet_shared),
        *(operators, aggregation, memory_of_search, speed_cpu),
        *(choosing, peers, peers_in_short, alignment, search_sweep, search_sweep_cuda, gradients),
    )
}


def with_tables(page: str) -> str:
    """A page with every table of it made anew."""

    def made(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n(?:.*?\n)??<!-- end -->", made, page, flags=re.S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where page and JSON differ")
    options = parser.parse_args()
    pages = {path: path.read_text() for path in PAGES}
    missing = [name for name in TABLES if not any(f"<!-- {name} -->" in page for page in pages.values())]
    if missing:
        sys.exit(f"no page has a place for {', '.join(missing)}")
    for path, page in pages.items():
        made = with_tables(page)
        if not options.check:
            path.write_text(made)
        elif made != page:
            sys.exit(f"{path} differs from the JSON: run python tests/benchmarks/figures.py")


if __name__ == "__main__":
    main()
