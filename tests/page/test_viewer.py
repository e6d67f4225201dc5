"""The page as a reader meets it, in a real browser: what is seen, and what mouse, keys and fingers do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import WIDTHS, browser, opened, screenshot, until

from vnlsdenoise.job.publish import publish_text
from vnlsdenoise.page.build import Page, Plot, Series, Shot, Source, Table, encode_picture

HOSTILE = "</script><img src=x onerror=alert(1)>&amp;'\".mp4"
# Elements that stick out of the page, but for what scrolls by itself.
WIDER = """[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1
    && !e.closest('.scroll')).map(e => e.outerHTML.slice(0, 90))"""
LOW = "[...document.querySelectorAll('main button')].filter(b => b.getBoundingClientRect().height < 38).length"
NAMELESS = """[...document.querySelectorAll('button, input, select, canvas, svg[role]')].filter(e => !(
    e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length))).map(e => e.outerHTML)"""
RED, BLUE = (200, 40, 40), (40, 40, 210)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (90, 160)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    """Six frames in two runs: a red film grows brighter by 5 a frame, a blue one stands still."""
    shots = []
    for frame in range(6):
        red = tuple(value + 5 * frame for value in RED)
        pictures = [encode_picture(flat(colour), True) for colour in (red, BLUE, (30, 160, 30))]
        shots.append(Shot(f"frame {10 * frame}", pictures, frame // 3, 10 * frame))
    page = Page(
        HOSTILE,
        "a lead",
        ["a note"],
        [Source("red"), Source("blue", "a detail", "vnlsdenoise 'a b.mp4' -o c.mp4", [("fact", "1")]), Source(HOSTILE)],
        shots,
        [
            Plot("over frames", "frame", "dB", [Series("a", [(f, f % 7) for f in range(60)])], over_frames=True),
            Plot("points", "s", "dB", [Series("b", [(0.1, 3), (10, 5)], ["one", "two"])], "points", log_x=True),
            Plot("nothing", "x", "y", [Series("c", [(0, float("nan"))])]),
        ],
        [Table("a table", ["name", "value"], [["x", "1.5"]])],
    )
    publish_text(tmp_path / "page.html", page.html())
    return tmp_path / "page.html"


def pixel(page: Any, x: float, y: float = 0.3) -> tuple[int, ...]:
    """What the canvas shows at a share of its width and height, once drawing has come to rest."""
    page.wait_for_timeout(60)
    script = """([x, y]) => { const c = document.getElementById('canvas'), o = new OffscreenCanvas(1, 1);
        const context = o.getContext('2d', { willReadFrequently: true });
        context.drawImage(c, -Math.round(x * c.width), -Math.round(y * c.height));
        return [...context.getImageData(0, 0, 1, 1).data] }"""
    return tuple(page.evaluate(script, [x, y])[:3])


def told(page: Any) -> str:
    return str(page.locator("#canvas").get_attribute("aria-label"))


def test_the_divider_moves_by_mouse_and_keys(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file) as page:
        assert pixel(page, 0.4) == RED and pixel(page, 0.6) == BLUE
        box = page.locator("#canvas").bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 40, steps=4)
        page.mouse.up()
        assert pixel(page, 0.75) == RED and pixel(page, 0.85) == BLUE
        assert float(page.input_value("#divider")) == pytest.approx(80, abs=1)
        for _ in range(5):
            page.keyboard.press("Shift+ArrowLeft")
        assert float(page.input_value("#divider")) == pytest.approx(70, abs=1)
        page.focus("#divider")
        page.keyboard.press("Home")
        assert pixel(page, 0.2) == BLUE
        page.keyboard.press("End")
        assert pixel(page, 0.9) == RED


def test_frames_views_and_swap_by_keys(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file) as page:
        page.keyboard.press("ArrowRight")
        assert pixel(page, 0.4) == tuple(value + 5 for value in RED)
        assert "frame 10 (2 of 6)" in told(page)
        page.keyboard.press("x")
        assert pixel(page, 0.4) == BLUE
        page.keyboard.press("x")
        page.keyboard.press("3")  # difference: blue minus red, 4 times on mid grey, clipped
        assert pixel(page, 0.4) == (0, 108, 255)
        page.keyboard.press("]")
        assert pixel(page, 0.4) == (0, 103, 255) and "5 times" in told(page)
        page.keyboard.press("[")
        page.keyboard.press("4")  # flicker: red grows by 5 a frame, blue stands still
        assert pixel(page, 0.4) == (148, 148, 148) and pixel(page, 0.6) == (128, 128, 128)
        page.keyboard.press("ArrowLeft")  # the first of a run is compared with the one after
        assert pixel(page, 0.4) == (108, 108, 108)
        page.keyboard.press("2")
        assert pixel(page, 0.25) == RED and pixel(page, 0.75) == BLUE
        page.keyboard.press("5")
        until(page, "document.getElementById('tag-left').textContent === 'blue'")
        until(page, "document.getElementById('tag-left').textContent === 'red'")
        page.keyboard.press("Space")
        assert page.locator("#play").get_attribute("aria-pressed") == "false"
        page.keyboard.press("1")
        page.keyboard.press("Space")  # play goes round
        until(page, "document.getElementById('frame').value === '4'")
        page.keyboard.press("Space")
        page.select_option("#right", "2")
        assert pixel(page, 0.6) == (30, 160, 30)


def test_zoom_and_pan_move_both_pictures_together(chromium: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    shot = Shot("frame 0", [encode_picture(noise, True), encode_picture(255 - noise, True)])
    publish_text(tmp_path / "zoom.html", Page("zoom", sources=[Source("one"), Source("other")], shots=[shot]).html())
    with opened(chromium, tmp_path / "zoom.html") as page:
        page.keyboard.press("2")
        page.keyboard.press("9")
        page.wait_for_timeout(100)
        shown = screenshot(page.locator("#canvas")).astype(int)
        half = shown.shape[1] // 2
        left, right = shown[:, : half - 2], shown[:, half + 2 :]
        assert "100 %" in told(page)
        # Every pixel of the picture is one of the screen, and both halves show the same place.
        rows = []
        for part, picture in ((left, noise), (right, 255 - noise)):
            inside = picture[50:150, 100:200].astype(np.float32)
            errors = cv2.matchTemplate(part.astype(np.float32), inside, cv2.TM_SQDIFF)
            assert errors.min() == 0
            rows.append(np.unravel_index(errors.argmin(), errors.shape)[0])
        assert rows[0] == rows[1]
        page.keyboard.press("1")
        for _ in range(6):
            page.keyboard.press("+")
        before = pixel(page, 0.1), pixel(page, 0.9)
        box = page.locator("#canvas").bounding_box()
        page.mouse.move(box["x"] + 300, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 200, box["y"] + 160, steps=3)
        page.mouse.up()
        assert (pixel(page, 0.1), pixel(page, 0.9)) != before
        page.keyboard.press("0")
        assert page.locator("#canvas.zoomed").count() == 0


def test_fingers_move_the_divider_and_zoom(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file, "phone", has_touch=True, is_mobile=True, device_scale_factor=2) as page:
        box = page.locator("#canvas").bounding_box()
        page.touchscreen.tap(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
        assert pixel(page, 0.3) == BLUE and pixel(page, 0.1) == RED
        pinch = """() => { const c = document.getElementById('canvas'), b = c.getBoundingClientRect();
            const send = (type, id, x) => c.dispatchEvent(new PointerEvent(type, {pointerId: id, pointerType: 'touch',
                clientX: b.left + x, clientY: b.top + 60, bubbles: true}));
            c.setPointerCapture = () => {};
            send('pointerdown', 11, 150); send('pointerdown', 12, 190); send('pointermove', 12, 190);
            send('pointermove', 12, 270); send('pointerup', 11, 150); send('pointerup', 12, 270); }"""
        page.evaluate(pinch)
        page.wait_for_selector("#canvas.zoomed")


@pytest.mark.parametrize("width", WIDTHS)
def test_screenshots_at_every_width(chromium: Any, tmp_path: Path, width: str) -> None:
    """Nothing sticks out, every control can be hit by a finger, and the picture is what it should be."""
    y, x = np.mgrid[:270, :480]
    one = np.stack((x * 255 // 480, y * 255 // 270, 128 + 0 * x), -1).astype(np.uint8)
    shots = [Shot("frame 0", [encode_picture(one, True), encode_picture(255 - one, True)])]
    plot = Plot("plot", "frame", "dB", [Series("a", [(f, f) for f in range(9)])])
    sources = [Source("left"), Source("a_name_that_is_rather_long_" * 4, command="vnlsdenoise " + "x" * 200)]
    table = Table("wide", [f"column {n}" for n in range(20)], [[str(n) for n in range(20)]])
    made = Page("picture", sources=sources, shots=shots, plots=[plot], tables=[table])
    publish_text(tmp_path / "page.html", made.html())
    for scheme, dark in (("light", False), ("dark", True)):
        with opened(chromium, tmp_path / "page.html", width, color_scheme=scheme) as page:
            page.wait_for_timeout(150)
            assert page.evaluate(WIDER) == []
            assert page.evaluate(LOW) == 0
            canvas = screenshot(page.locator("#canvas"))
            height = canvas.shape[0]
            clear = slice(int(height * 0.22), int(height * 0.4))  # no names, no handle
            there = np.flatnonzero(canvas[clear].any((0, 2)))  # without the bars beside the picture
            shown = canvas[:, there[0] : there[-1] + 1]
            wide = shown.shape[1]
            expected = cv2.resize(one, (wide, height), interpolation=cv2.INTER_AREA).astype(int)
            inverse = 255 - expected
            left, right = slice(0, int(wide * 0.48)), slice(int(wide * 0.52), wide)
            assert np.abs(shown[clear, left] - expected[clear, left]).mean() < 3
            assert np.abs(shown[clear, right] - inverse[clear, right]).mean() < 3
            assert (screenshot(page)[2, 2].mean() < 60) == dark
            page.click("#theme")
            assert (screenshot(page)[2, 2].mean() < 60) != dark


def test_plots_tables_commands_and_names(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file, permissions=["clipboard-read", "clipboard-write"]) as page:
        assert page.text_content("h1") == HOSTILE and page.locator("h1 img").count() == 0
        assert page.locator("#right option").nth(2).text_content() == HOSTILE
        page.locator("figure svg").nth(0).click(position={"x": 400, "y": 60})
        assert "frame 40" in told(page) or "frame 30" in told(page)
        assert page.locator("figure").nth(1).locator("circle").count() == 2
        assert "no finite values" in str(page.locator("figure").nth(2).text_content())
        values = page.locator("figure details").nth(0)
        values.locator("summary").click()
        until(page, "document.querySelectorAll('figure details tbody tr').length === 60")
        page.locator(".command button").first.click()
        until(page, "document.querySelector('.command button').textContent === 'Copied'")
        assert page.evaluate("navigator.clipboard.readText()") == "vnlsdenoise 'a b.mp4' -o c.mp4"
        assert page.evaluate(NAMELESS) == []
