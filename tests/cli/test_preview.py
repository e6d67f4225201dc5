"""`vnlsdenoise preview`: the page that is opened before a long run."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from browser import browser, opened
from calling import assert_error, call, called_here
from click import BadParameter
from clips import noisy_film, write_clip
from films import write_film

from vnlsdenoise.errors import InputError, UsageError
from vnlsdenoise.preview.clips import cropped, read_clip, shown_region
from vnlsdenoise.video.frame import PlaneFormat
from vnlsdenoise.video.open import open_reader
from vnlsdenoise.video.region import Region


def test_candidates_on_a_page_with_their_commands(tmp_path: Path) -> None:
    film, page = tmp_path / "my film.mkv", tmp_path / "page.html"
    noisy_film(film)  # 60 frames of deviation 6, two scenes
    tries = ("--preset fast", "--preset fast --strength 2", "--preset balanced --sigma 6")
    options = [word for text in tries for word in ("--try", text)]
    code, out, err = call("preview", film, "-o", page, "--moments", 2, "--json", "--device", "cpu", *options)
    assert code == 0, err
    assert "first picture after" in err
    told = json.loads(out)
    assert [candidate["name"] for candidate in told["candidates"]] == [
        "fast",
        "fast, strength 2",
        "balanced, sigma 6",
    ]
    assert all(candidate["predicted_seconds"] > 0 and candidate["memory"] > 1e6 for candidate in told["candidates"])
    assert [moment["noise"]["planes"][0]["sigma"] for moment in told["moments"]] == pytest.approx([6, 6], rel=0.1)
    command = shlex.split(told["candidates"][1]["command"])
    assert command[:2] == ["vnlsdenoise", str(film)] and command[-4:] == ["--preset", "fast", "--strength", "2"]
    called_here(*command[1:], "--dry-run")
    with browser() as started, opened(started, page) as shown:
        assert shown.locator("article").count() == 4 and not shown.is_visible("#waiting")
        assert shown.text_content("article:nth-child(3) code") == told["candidates"][1]["command"]
        assert shown.locator("#frame").get_attribute("max") == "5"
        shown.locator("article:nth-child(4) button", has_text="Show right").click()
        assert shown.input_value("#right") == "3"
        # Less is left of the noise on the right, by what flickers.
        shown.keyboard.press("4")
        shown.wait_for_timeout(200)
        script = """() => { const c = document.getElementById('canvas'), w = Math.floor(c.width / 3);
            const o = new OffscreenCanvas(c.width, 60), x = o.getContext('2d', { willReadFrequently: true });
            x.drawImage(c, 0, -100);
            const spread = (at) => { const d = x.getImageData(at, 0, 60, 60).data; let s = 0;
                for (let i = 0; i < d.length; i += 4) s += Math.abs(d[i + 1] - 128); return s / (d.length / 4); };
            return [spread(Math.floor(c.width * 0.4)), spread(Math.floor(c.width * 0.56))]; }"""
        left, right = shown.evaluate(script)
        assert right < 0.5 * left


def test_what_cannot_be_tried(tmp_path: Path) -> None:
    film, page = tmp_path / "in.mkv", tmp_path / "page.html"
    write_clip(film, size=(64, 64))
    ask = ("preview", film, "-o", page, "--device", "cpu")
    for error, words, more in (
        (UsageError, "codec cannot be tried", ("--try", "--codec ffv1")),
        (UsageError, "changes nothing", ("--try", "--strength 0")),
        (BadParameter, "nope", ("--try", "--preset nope")),
        (UsageError, "lasts", ("--at", "99")),
        (UsageError, "does not lie within", ("--roi", "0,0,65,64")),
    ):
        with pytest.raises(error, match=words):
            called_here(*ask, *more)
    with pytest.raises(InputError, match="does not exist"):
        called_here("preview", tmp_path / "none.mkv", "-o", page)
    assert not page.exists()
    page.write_text("mine")
    assert_error(call(*ask), 2, "exists", "-y")


def test_clips_are_sought_and_keep_to_one_scene(tmp_path: Path) -> None:
    film = tmp_path / "in.mp4"
    write_film(film, count=100, options={"g": "80"}, order="no sound")
    reader = open_reader(film)
    whole = list(open_reader(film))
    clip = read_clip(reader, 0.75, 5)
    assert [frame.pts for frame in clip.frames] == [frame.pts for frame in whole[75:80]]
    assert clip.seconds == pytest.approx(3.0)
    for found, expected in zip(clip.frames, whole[75:80], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(found.planes, expected.planes, strict=True))
    assert len(read_clip(reader, 0.99, 5).frames) <= 5
    noisy_film(tmp_path / "cut.mkv")  # a cut at frame 35 of 60
    clip = read_clip(open_reader(tmp_path / "cut.mkv"), 30 / 60, 12)
    assert len(clip.frames) == 7 and clip.seconds == pytest.approx(35 / 25)


def test_the_part_that_is_shown_does_not_cut_chroma() -> None:
    layout = PlaneFormat("yuv", 855, 481, 8, 1, 1)
    region = shown_region(layout)
    assert (region.width, region.height) == (480, 272) and region.x % 2 == region.y % 2 == 0
    assert shown_region(PlaneFormat("gray", 33, 21, 8)) == Region(0, 0, 33, 21)
    planes = [np.arange(h * w, dtype=np.uint16).reshape(h, w) for h, w in layout.plane_shapes]
    found, part = cropped(planes, layout, Region(3, 5, 20, 11))
    assert (part.width, part.height) == (21, 12)
    assert [plane.shape for plane in found] == list(part.plane_shapes)
    assert np.array_equal(found[0], planes[0][4:16, 2:23]) and np.array_equal(found[1], planes[1][2:8, 1:12])
