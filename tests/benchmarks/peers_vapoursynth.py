"""One of VapourSynth's denoisers on raw RGB frames through stdin and stdout; run by peers.py in a Python that has them.

PYTHON peers_vapoursynth.py list
PYTHON peers_vapoursynth.py KIND FRAMES HEIGHT WIDTH STRENGTH < frames > frames
"""

import sys

import numpy as np
import vapoursynth as vs

core = vs.core
NAMESPACES = {"BM3D": "bm3dcpu", "DFTTest": "dfttest", "KNLMeansCL": "knlm", "MVTools": "mv"}


def denoised(kind: str, clip: vs.VideoNode, strength: float) -> vs.VideoNode:
    if kind == "BM3D":  # V-BM3D: basic and final estimate over two frames on each side
        video = core.resize.Bicubic(clip, format=vs.YUV444PS, matrix_s="709")
        basic = core.bm3dcpu.BM3D(video, sigma=[strength] * 3, radius=2)
        basic = core.bm3d.VAggregate(basic, radius=2, sample=1)
        final = core.bm3dcpu.BM3D(video, ref=basic, sigma=[strength] * 3, radius=2)
        return core.bm3d.VAggregate(final, radius=2, sample=1)
    video = core.resize.Bicubic(clip, format=vs.YUV444P8, matrix_s="709")
    if kind == "DFTTest":
        return core.dfttest.DFTTest(video, sigma=strength, tbsize=5)
    if kind == "KNLMeansCL":
        return core.knlm.KNLMeansCL(video, d=2, a=4, h=strength / 10, channels="YUV")
    parts = core.mv.Super(video, pel=2)
    vectors = [core.mv.Analyse(parts, isb=back, delta=d, overlap=4) for d in (1, 2) for back in (True, False)]
    return core.mv.Degrain2(video, parts, *vectors, thsad=40 * strength, thsadc=40 * strength)


def main() -> None:
    if sys.argv[1] == "list":
        print(*(kind for kind, name in NAMESPACES.items() if hasattr(core, name)))
        return
    kind, (frames, height, width), strength = sys.argv[1], map(int, sys.argv[2:5]), float(sys.argv[5])
    video = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(frames, height, width, 3)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        for plane in range(3):
            np.asarray(out[plane])[:] = video[n, ..., plane]
        return out

    blank = core.std.BlankClip(width=width, height=height, length=frames, format=vs.RGB24)
    clip = denoised(kind, core.std.ModifyFrame(blank, blank, fill), strength)
    clip = core.resize.Bicubic(clip, format=vs.RGB24, matrix_in_s="709")
    for frame in clip.frames():
        sys.stdout.buffer.write(np.stack([np.asarray(frame[plane]) for plane in range(3)], -1).tobytes())


if __name__ == "__main__":
    main()
