"""The service in this process, and a reviewer's browser on its pages."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp

from captionacc_dagster.operations.caption_edits import stored_captions
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.settings import Settings
from captionacc_dagster.web.service.app import create_app
from captionacc_dagster.web.service.parts import ServiceParts
from modal_gpu.captions.reviewing import ReviewCue, review_cues
from tests.browser.running_platform import free_port
from tests.browser.screen import PATIENCE, Screen, new_context
from tests.line_fixtures import Line

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

AXE_VERSION = "4.14.1"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an app in a thread; yield its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.started
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@dataclass
class Reviewer:
    """A person in a browser of their own, on the pages of one video; key presses are counted."""

    screen: Screen
    video_id: str = ""
    presses: int = 0

    def part(self, name: str) -> Locator:
        return self.screen.page.locator(f"[data-part='{name}']")

    def zone(self, number: int = 0) -> Locator:
        """Return a zone on the big frame of the layout's page."""
        return self.screen.page.locator(f"#zone-{number}")

    def drag(self, place: Locator, x: float, y: float) -> None:
        """Drag the middle of an element by pixels."""
        box = place.bounding_box()
        assert box is not None
        mouse = self.screen.page.mouse
        at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse.move(*at)
        mouse.down()
        mouse.move(at[0] + x / 2, at[1] + y / 2)
        mouse.move(at[0] + x, at[1] + y)
        mouse.up()

    def drop(self, name: str, content: bytes) -> None:
        """Drop a file onto the page."""
        data = self.screen.page.evaluate_handle(
            """([name, content]) => {
                const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
                const data = new DataTransfer();
                data.items.add(new File([bytes], name, {type: "video/mp4"}));
                return data;
            }""",
            [name, base64.b64encode(content).decode()],
        )
        self.screen.page.dispatch_event("#main", "drop", {"dataTransfer": data})

    def open(self, page: str = "captions") -> Reviewer:
        self.screen.open("review", self.video_id, page)
        self.is_ready()
        return self

    def is_ready(self) -> None:
        self.screen.page.wait_for_selector("body[data-ready=true]")

    def window(self, video_id: str) -> Reviewer:
        """Return the same person with another window, on a video."""
        return Reviewer(Screen(self.screen.page.context.new_page(), self.screen.address), video_id)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.screen.page.keyboard.press(key)
            self.presses += 1

    def type(self, text: str) -> None:
        for character in text:
            self.press("Shift+Enter" if character == "\n" else character)

    @property
    def text(self) -> str:
        return self.part("text").input_value()

    def choose(self, words: str) -> None:
        """Choose the caption with these words in the list."""
        self.part("rows").get_by_text(words).first.click()
        assert words in self.text

    def is_saved(self) -> None:
        self.screen.expect(self.part("save")).to_have_text("All saved")

    def problems(self, axe: str) -> list[str]:
        """Return the serious findings of axe-core on the page as it is."""
        self.screen.page.evaluate(axe)
        found: dict[str, Any] = self.screen.page.evaluate("async () => await axe.run()")
        return [
            f"{one['id']}: {one['help']} ({node['html'][:150]})"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]


@dataclass
class ReviewService:
    """The service on a finished video."""

    line: Line
    video: VideoRow
    address: str
    browser: Browser
    _contexts: list[Any] = field(default_factory=list)

    def reviewer(self, *, same_profile_as: Reviewer | None = None, dark: bool = False) -> Reviewer:
        """Return a person with a window; a second window of the same person shares the profile."""
        if same_profile_as is not None:
            context = same_profile_as.screen.page.context
        else:
            context = new_context(self.browser)
            self._contexts.append(context)
        page = context.new_page()
        if dark:
            page.emulate_media(color_scheme="dark")
        return Reviewer(Screen(page, self.address), self.video.video_id)

    def cues(self) -> list[ReviewCue]:
        return review_cues(stored_captions(self.line.store, self.video), self.video.timeline)

    def texts(self) -> list[str]:
        return [cue.caption.best_text for cue in self.cues() if cue.standing == "shown"]

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@contextmanager
def review_service(line: Line, video: VideoRow, browser: Browser, home: Path) -> Iterator[ReviewService]:
    """Serve a line's catalogue and bucket to its operator."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    settings = Settings(_env_file=None, CAPTIONACC_HOME=str(home))
    with serving(create_app(ServiceParts(settings, line.catalog, line.store))) as address:
        service = ReviewService(line, video, address, browser)
        try:
            yield service
        finally:
            service.close()


def fetch_axe(folder: Path) -> str:
    """Return axe-core's source from its npm package, checked against its known hash."""
    subprocess.run(
        ["npm", "pack", f"axe-core@{AXE_VERSION}", "--silent"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    with tarfile.open(folder / f"axe-core-{AXE_VERSION}.tgz") as package:
        member = package.extractfile("package/axe.min.js")
        assert member is not None
        source = member.read()
    assert hashlib.sha256(source).hexdigest() == AXE_SHA256
    return source.decode()
