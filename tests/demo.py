"""The main job on a clip made on the spot: a photograph under a moving camera, another moving before it, noise on top.

    python tests/demo.py demo

writes clean.mp4, noisy.mp4 (lossless H.264, 4:2:0), has `vnlsdenoise` restore the noisy one into denoised.mp4, prints
the PSNR before and after, writes a frame of both side by side to before_after.png and all three films to compare.html,
a page to open in a browser. The photographs come with
scikit-image (astronaut: NASA, public domain; coffee: Rachel Michetti, public domain).
"""

import pathlib
import subprocess
import sys

import av
import cv2
import imageio.v3
import numpy as np
import numpy.typing as npt
import skimage.data

WIDTH, HEIGHT, FRAMES, RATE, SIGMA = 432, 240, 20, 25, 20.0
Image = npt.NDArray[np.float32]


def render() -> list[Image]:
    """Clean RGB frames: a slow pan, zoom and turn over one photograph, a disc of another crossing it."""
    background = skimage.data.coffee().astype(np.float32)
    face = skimage.data.astronaut()[:200, 120:320].astype(np.float32)
    y, x = np.mgrid[:200, :200] - 99.5
    disc = np.clip(80 - np.hypot(x, y), 0, 1)[..., None].astype(np.float32)
    frames = []
    for t in range(FRAMES):
        zoom, angle = 1.15 + 0.006 * t, 0.25 * t
        turn = cv2.getRotationMatrix2D((300 - 1.5 * t, 200 - 0.6 * t), angle, zoom)
        turn[:, 2] += (WIDTH / 2 - 300, HEIGHT / 2 - 200)
        frame = cv2.warpAffine(background, turn, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        move = np.array([[0.6, 0, 40 + 11 * t], [0, 0.6, 60 + 4 * np.sin(t / 3)]], dtype=np.float64)
        front = cv2.warpAffine(face, move, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
        alpha = cv2.warpAffine(disc, move, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)[..., None]
        frames.append((frame * (1 - alpha) + front * alpha).clip(0, 255).astype(np.float32))
    return frames


def write(path: pathlib.Path, frames: list[Image]) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"qp": "0", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame.round().clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def read(path: pathlib.Path) -> npt.NDArray[np.float64]:
    with av.open(path) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)]).astype(np.float64)


def psnr(video: npt.NDArray[np.float64], clean: npt.NDArray[np.float64]) -> float:
    return float(np.mean(10 * np.log10(255**2 / ((video - clean) ** 2).mean((1, 2, 3)))))


def main() -> None:
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    folder.mkdir(parents=True, exist_ok=True)
    frames = render()
    random = np.random.default_rng(1)
    noisy = [frame + SIGMA * random.standard_normal(frame.shape).astype(np.float32) for frame in frames]
    write(folder / "clean.mp4", frames)
    write(folder / "noisy.mp4", noisy)
    command = [sys.executable, "-m", "vnlsdenoise", folder / "noisy.mp4", "-o", folder / "denoised.mp4", "-y"]
    print("$ vnlsdenoise", *command[3:], flush=True)
    subprocess.run(command, check=True)
    clean, before, after = (read(folder / name) for name in ("clean.mp4", "noisy.mp4", "denoised.mp4"))
    middle = len(clean) // 2
    picture = np.concatenate((before[middle], after[middle]), axis=1).astype(np.uint8)
    imageio.v3.imwrite(folder / "before_after.png", picture)
    films = [folder / name for name in ("clean.mp4", "noisy.mp4", "denoised.mp4")]
    page = folder / "compare.html"
    command = [sys.executable, "-m", "vnlsdenoise", "compare", *films, "--page", page, "-y", "-q"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    print(f"PSNR before {psnr(before, clean):.2f} dB, after {psnr(after, clean):.2f} dB")
    print(f"restored video: {folder / 'denoised.mp4'}")
    print(f"before and after: {folder / 'before_after.png'}")
    print(f"to look at, in any browser, without a network: {page.resolve().as_uri()}")
    print("next, of your own film: .venv/bin/vnlsdenoise preview noisy.mp4")


if __name__ == "__main__":
    main()
