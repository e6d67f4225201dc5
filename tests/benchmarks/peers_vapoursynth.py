"""One of VapourSynth's denoisers on raw RGB frames through stdin and stdout; run by peers.py in a Python that has them.

PYTHON peers_vapoursynth.py list
PYTHON peers_vapoursynth.py KIND FRAMES HEIGHT WIDTH STRENGTH < frames > frames

pip install vapoursynth vapoursynth-bm3d dfttest2 vapoursynth-dfttest2-cpu vapoursynth-mvtools vapoursynth-nlm-ispc
(Python 3.12; with --no-deps for plugins that ask for another VapourSynth)
"""

import importlib.util
import sys
from collections.abc import Callable

import numpy as np
import vapoursynth as vs

core = vs.core


def bm3d(clip: vs.VideoNode, strength: float) -> vs.VideoNode:
    """V-BM3D: basic and final estimate over two frames on each side, in the colours of its manual."""
    video = core.bm3d.RGB2OPP(core.resize.Point(clip, format=vs.RGBS), sample=1)
    sigma = [strength] * 3
    basic = core.bm3d.VAggregate(core.bm3d.VBasic(video, sigma=sigma, radius=2, matrix=100), radius=2, sample=1)
    final = core.bm3d.VFinal(video, basic, sigma=sigma, radius=2, matrix=100)
    return core.bm3d.OPP2RGB(core.bm3d.VAggregate(final, radius=2, sample=1), sample=1)


def dfttest(clip: vs.VideoNode, strength: float) -> vs.VideoNode:
    """Its sigma is a power; blocks of 16 pixels over 5 frames."""
    import dfttest2

    video = core.resize.Bicubic(clip, format=vs.YUV444PS, matrix_s="709")
    return dfttest2.DFTTest(video, sigma=2 * strength**2, tbsize=5, backend=dfttest2.Backend.CPU())


def nlm(clip: vs.VideoNode, strength: float) -> vs.VideoNode:
    """KNLMeans' filter, its port to processors: one frame on either side, 5x5 places, patches of 9x9 pixels."""
    video = core.resize.Bicubic(clip, format=vs.YUV444PS, matrix_s="709")
    return core.nlm_ispc.NLMeans(video, d=1, a=2, s=4, h=strength, channels="YUV")


def mvtools(clip: vs.VideoNode, strength: float) -> vs.VideoNode:
    """Two frames on either side, moved to this one; thresholds grow with the noise."""
    video = core.resize.Bicubic(clip, format=vs.YUV444P8, matrix_s="709")
    parts = core.mv.Super(video, pel=2)
    vectors = [core.mv.Analyse(parts, isb=back, delta=d, overlap=4) for d in (1, 2) for back in (True, False)]
    threshold = round(100 * strength)
    # Strong noise is taken for a change of scene unless its thresholds are as high as they go.
    never = {"thscd1": 16320, "thscd2": 255}
    return core.mv.Degrain2(video, parts, *vectors, thsad=threshold, thsadc=threshold, **never)


DENOISERS: dict[str, tuple[Callable[[vs.VideoNode, float], vs.VideoNode], bool]] = {
    "BM3D": (bm3d, hasattr(core, "bm3d")),
    "DFTTest": (dfttest, hasattr(core, "dfttest2_cpu") and importlib.util.find_spec("dfttest2") is not None),
    "NLM": (nlm, hasattr(core, "nlm_ispc")),
    "MVTools": (mvtools, hasattr(core, "mv")),
}


def main() -> None:
    if sys.argv[1] == "list":
        print(*(kind for kind, (_, there) in DENOISERS.items() if there))
        return
    core.num_threads = 1
    kind, (frames, height, width), strength = sys.argv[1], map(int, sys.argv[2:5]), float(sys.argv[5])
    video = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(frames, height, width, 3)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        for plane in range(3):
            np.asarray(out[plane])[:] = video[n, ..., plane]
        return out

    blank = core.std.BlankClip(width=width, height=height, length=frames, format=vs.RGB24)
    clip = DENOISERS[kind][0](core.std.ModifyFrame(blank, blank, fill), strength)
    of_yuv = {"matrix_in_s": "709"} if clip.format.color_family == vs.YUV else {}
    clip = core.resize.Bicubic(clip, format=vs.RGB24, **of_yuv)
    for frame in clip.frames():
        sys.stdout.buffer.write(np.stack([np.asarray(frame[plane]) for plane in range(3)], -1).tobytes())


if __name__ == "__main__":
    main()
