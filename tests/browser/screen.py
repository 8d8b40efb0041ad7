"""A page of the browser as a person sees it: a laptop's window, what is visible in it, and screenshots."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from PIL import Image

from tests.left_out import REPOSITORY, chromium

if TYPE_CHECKING:  # Not imported where the package is missing: the tests are left out there.
    from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, WebSocket

#: Width and height of a laptop's window, in CSS pixels.
WINDOW = (1366, 768)
#: Milliseconds for a page to show something; code servers load while the first one opens.
PATIENCE = 60_000
#: Where the screenshots are written.
SCREENSHOTS = Path(os.environ.get("CAPTIONACC_SCREENSHOTS", REPOSITORY / "build" / "screenshots"))
#: `make docs-images` sets it: where the screenshots that are named in ``docs`` are written too.
DOCS_IMAGES = os.environ.get("CAPTIONACC_DOCS_IMAGES", "")
#: Waits for the pictures in the window.
_PICTURES_ARE_THERE = """
() => Promise.all([...document.images].filter((image) => {
  const { top, bottom, width } = image.getBoundingClientRect();
  return image.src && !image.complete && width && bottom > 0 && top < innerHeight;
}).map((image) => new Promise((done) => (image.onload = image.onerror = done))))
"""


@dataclass
class Screen:
    """A page in a window of :data:`WINDOW`, on one server of the platform."""

    page: Page
    address: str
    #: Addresses outside this machine that the page asked for.
    outside: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", self._note)
        self.page.on("websocket", self._note)

    def _note(self, request: Request | WebSocket) -> None:
        if not _is_here(request.url):
            self.outside.append(request.url)

    def open(self, *path: str, **query: str) -> None:
        """Open a path of the server, whose parts are quoted here."""
        parts = "/".join(quote(part, safe="") for part in path)
        self.page.goto(f"{self.address}/{parts}" + (f"?{urlencode(query)}" if query else ""))

    def expect(self, locator: Locator) -> Any:
        """Return Playwright's assertions about an element; they wait until they hold."""
        from playwright.sync_api import expect

        return expect(locator)

    def sees(self, locator: Locator) -> Locator:
        """Wait until an element is visible, and return it."""
        self.expect(locator).to_be_visible()
        return locator

    def text(self, text: str, *, exact: bool = False) -> Locator:
        """Return the first element with this text."""
        return self.page.get_by_text(text, exact=exact).first

    def is_inside(self, locator: Locator) -> bool:
        """Return whether an element is within the window's width, whatever has to be scrolled down to."""
        box = locator.bounding_box()
        return box is not None and box["x"] >= 0 and box["x"] + box["width"] <= WINDOW[0] + 1

    def shot(self, name: str, *, docs: str = "", of: Locator | None = None) -> None:
        """Write a screenshot of the window, or of one element.

        ``docs`` is its name in the documentation, without its ending.
        """
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.evaluate(_PICTURES_ARE_THERE)
        # Toasts and cursors are no part of what is shown.
        picture = (of or self.page).screenshot(animations="disabled", caret="hide")
        (SCREENSHOTS / f"{name}.png").write_bytes(picture)
        if docs and DOCS_IMAGES:
            image = Image.open(io.BytesIO(picture)).convert("RGB")
            Path(DOCS_IMAGES).mkdir(parents=True, exist_ok=True)
            image.quantize(256, dither=Image.Dither.NONE).save(
                Path(DOCS_IMAGES, f"{docs}.png"), optimize=True
            )


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run Chromium without a window."""
    from playwright.sync_api import sync_playwright

    program = chromium()
    assert program is not None, "tests marked `browser` are left out without Chromium"
    flags = [
        # Only this machine exists: nothing that a page or the browser itself asks for gets out.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        "--disable-background-networking",
        # Containers have a small /dev/shm.
        "--disable-dev-shm-usage",
    ]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: Browser) -> BrowserContext:
    """Return a new profile of a person: empty storage, a laptop's window, English, UTC."""
    context = browser.new_context(
        viewport={"width": WINDOW[0], "height": WINDOW[1]},
        locale="en-US",
        timezone_id="UTC",
        color_scheme="light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE)
    return context


def _is_here(url: str) -> bool:
    """Return whether a URL is on this machine; data, blobs and the like never leave the page."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss", "ftp"):
        return True
    if parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
