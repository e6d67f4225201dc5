"""A real browser for the tests of pages: the chromium of the system, without a window."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

WIDTHS = {"phone": (360, 780), "tablet": (820, 1100), "desk": (1400, 900)}


def program() -> str:
    """The chromium of this machine; skips the test where there is none, or fails it with FAIL_WITHOUT_BROWSER."""
    pytest.importorskip("playwright", reason="needs playwright: pip install -r requirements-dev.txt")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        text = "needs chromium: apt-get install chromium"
        pytest.fail(text) if os.environ.get("FAIL_WITHOUT_BROWSER") else pytest.skip(text)
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """The browser, for as many pages as are needed."""
    chromium = program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # Chromium's own cage needs rights that containers and root do not have; the pages are ours.
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(browser: Any, path: Path, width: str = "desk", **context: Any) -> Iterator[Any]:
    """A page from a file. Nothing may be said on its console, and nothing asked of the network."""
    wide, high = WIDTHS[width]
    with browser.new_context(viewport={"width": wide, "height": high}, **context) as tab:
        page = tab.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request", lambda asked: said.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None
        )
        page.goto(path.as_uri())
        until(page, "document.getElementById('title').textContent !== ''")
        yield page
        assert not said, said


def until(page: Any, condition: str, seconds: float = 5) -> None:
    """Wait until a condition in JavaScript holds (the page refuses the driver's own waiting, which evaluates text)."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def screenshot(target: Any) -> npt.NDArray[np.uint8]:
    """[H, W, 3], R, G, B, of a page or an element."""
    image = cv2.imdecode(np.frombuffer(target.screenshot(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    return image.astype(np.uint8)
