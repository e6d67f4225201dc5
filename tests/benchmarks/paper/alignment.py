"""Alignment of video by the shifted search: what a window around the end of the flow adds to the flow.

    python tests/benchmarks/paper/alignment.py CLIPS --frames 5 --crop 224x160 --json alignment.json

After Gauen and Chan, "Space-time attention with shifted non-local search" (arXiv 2309.16849): white noise of sigma 15
on [0, 255], unclipped, seed 123; every patch of 3x3 of a frame is looked for in each of its two neighbours (at the
ends of the clip those that follow or precede), in ws x ws places with bilinear samples around where the flow leads
("flow") or around its own place ("none"); the one nearest in the noisy frames is taken out of the clean neighbour,
overlapping patches are averaged. PSNR of that against the clean frame, mean over pairs, then over clips. ws = 1 with
flow is the warp by the flow alone. The flow is TV-L1 (`ops.tvl1_flow`), measured on the noisy frames at half their
resolution and enlarged. Seconds are those of the search alone.
"""

import json
import time
from typing import Any

import numpy as np
import torch
from benchmarks_path import HERE  # noqa: F401
from clips import chosen_clips, clip_parser
from torch import Tensor
from torch.nn import functional

from vnlsdenoise import ops
from vnlsdenoise.bench.speed import begin_peak, device_name, peak
from vnlsdenoise.ops.search_flow import window_frames

SIGMA, SEED, PATCH, REACH = 15.0, 123, 3, 1


def flows_of(noisy: Tensor) -> tuple[Tensor, Tensor]:
    """[T, 3, H, W] of 0..255 -> (forward, backward), each [1, T, 2, H, W] in pixels."""
    height, width = noisy.shape[-2:]
    image = ops.flow_image(noisy.mean(1), 1.0)
    there, back = ops.tvl1_flow(image[:-1], image[1:]), ops.tvl1_flow(image[1:], image[:-1])
    whole = [
        2 * functional.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
        for flow in (there, back)
    ]
    none = torch.zeros(1, 2, height, width, device=noisy.device)
    return torch.cat((whole[0], none))[None], torch.cat((none, whole[1]))[None]


def aligned(noisy: Tensor, clean: Tensor, flows: Tensor, ws: int, stride0: int) -> tuple[list[float], float]:
    """PSNR of every frame from each neighbour, and the seconds of the search; flows [1, T, 2, 2, nH, nW]."""
    order = window_frames(len(noisy), REACH)
    found, took = [], 0.0
    for slot in range(1, len(order[0])):
        offsets = []
        for t, row in enumerate(order):
            begin = time.perf_counter()
            _, best = ops.paired_search(
                noisy[t][None],
                noisy[row[slot]][None],
                flows[:, t, slot - 1],
                ws=ws,
                ps=PATCH,
                k=1,
                stride0=stride0,
                full_ws=False,
                itype="float",
            )
            took += time.perf_counter() - begin
            offsets.append(functional.pad(best, (1, 0), value=row[slot] - t))
        lists = torch.stack(offsets, 2)  # [1, 1, T, nH, nW, 1, 3]
        weights = torch.ones(lists.shape[:-1], device=lists.device)
        video = ops.weighted_patch_sum(clean[None], weights, lists, ps=PATCH, stride0=stride0, merge_heads=True)[0]
        errors = (video.clamp(0, 255) - clean).double().square().mean((1, 2, 3))
        found += [float(10 * np.log10(255**2 / error)) for error in errors.tolist()]
    return found, took


def main() -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--ws", default="1,3,5,7,11,15,21,27,33")
    parser.add_argument("--stride0", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    rows: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for name, frames in chosen_clips(options):
        clean = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()).to(options.device)
        random = torch.Generator().manual_seed(SEED)
        noisy = clean + SIGMA * torch.randn(clean.shape, generator=random).to(options.device)
        with torch.no_grad():
            flow = ops.search_flow(*flows_of(noisy), wt=REACH, stride0=options.stride0)
            for ws in map(int, options.ws.split(",")):
                for kind, flows in (("flow", flow), ("none", torch.zeros_like(flow))):
                    before = begin_peak(options.device)
                    psnrs, took = aligned(noisy, clean, flows, ws, options.stride0)
                    most = peak(options.device)
                    used = None if before is None or most is None else (most - before) / 2**20
                    figures = {"clip": name, "psnr": float(np.mean(psnrs)), "seconds": took, "peak_MiB": used}
                    rows.setdefault((ws, kind), []).append(figures)
        print(f"{name}: {rows[1, 'flow'][-1]['psnr']:.2f} dB by the flow alone", flush=True)
    alone = {row["clip"]: row["psnr"] for row in rows[1, "flow"]}
    results = []
    for (ws, kind), clips in rows.items():
        gains = [row["psnr"] - alone[row["clip"]] for row in clips]
        results.append(
            {
                "ws": ws,
                "around": kind,
                "psnr": float(np.mean([row["psnr"] for row in clips])),
                "over_flow_alone": float(np.mean(gains)),
                "least": min(gains),
                "seconds": sum(row["seconds"] for row in clips) / len(clips),
                "peak_MiB": max((row["peak_MiB"] for row in clips if row["peak_MiB"] is not None), default=None),
                "clips": clips,
            }
        )
        print("ws {ws:2} {around:4} {psnr:6.2f} dB {over_flow_alone:+6.2f} {seconds:7.2f} s".format(**results[-1]))
    if options.json:
        told = {"frames": options.frames, "crop": options.crop, "stride0": options.stride0, "sigma": SIGMA}
        report = {"device": device_name(options.device), "threads": torch.get_num_threads(), "arguments": told}
        options.json.write_text(json.dumps({**report, "results": results}, indent=1))


if __name__ == "__main__":
    main()
