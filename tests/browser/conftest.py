"""Fixtures of the tests in a real browser.

``make test-browser`` runs them; they are marked ``browser``. One platform serves them all, with three videos:
``sample.mp4`` is finished, ``talk.mp4`` awaits its approval, and a damaged file has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.quality import read_captions as read_subtitles
from captionacc_dagster.demo.sample import make_sample
from tests.browser.review_pages import Reviewer, ReviewService, fetch_axe, review_service
from tests.browser.running_platform import RunningPlatform, running_platform
from tests.browser.screen import PATIENCE, Screen, browsing, new_context
from tests.clip_fixtures import CAPTIONS
from tests.line_fixtures import Line
from tests.snapshot_fixtures import Snapshot, take_snapshots

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

#: The names of the videos' partition keys. The last file has a long name, with letters that are not English.
SAMPLE, TALK, DAMAGED = "sample.mp4", "talk.mp4", "Élodie_Müller_on_harbours_at_night"
_DAMAGED_FILE = "Élodie Müller on harbours at night, questions and answers (part 2 of 3).mp4"


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """The platform with the three videos. No layout is approved by itself."""
    folder = tmp_path_factory.mktemp("videos")
    sample, talk, damaged = folder / SAMPLE, folder / TALK, folder / _DAMAGED_FILE
    make_sample(sample)
    make_sample(talk, captions=CAPTIONS, duration=8, size=(640, 360))
    _cut_off(sample, damaged)
    with running_platform(CAPTIONACC_AUTO_APPROVE="off") as running:
        running.command("ingest", sample, talk, damaged, codes=(1,))
        running.command("layout", "approve", SAMPLE)
        assert f"✓ {SAMPLE}: 13 captions" in running.command("ingest", sample)
        yield running


def _cut_off(video: Path, to: Path) -> None:
    """Write a file that looks like an unfinished download of a video."""
    content = video.read_bytes()
    to.write_bytes(content[: len(content) // 2])


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, started once."""
    with browsing() as running:
        yield running


@pytest.fixture(scope="session")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """One person's browser profile, so that the interface's code is loaded once."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    context = new_context(browser)
    yield context
    context.close()


@pytest.fixture
def screen(
    profile: BrowserContext, platform: RunningPlatform, request: pytest.FixtureRequest
) -> Iterator[Screen]:
    """A page on Dagster's web interface; it must not ask for anything outside this machine."""
    failures = request.session.testsfailed
    shown = Screen(profile.new_page(), platform.address)
    yield shown
    if request.session.testsfailed > failures:
        shown.shot(f"failed-{request.node.name}")
    shown.page.close()
    assert shown.outside == []


@pytest.fixture
def person(
    browser: Browser, platform: RunningPlatform, request: pytest.FixtureRequest
) -> Iterator[Callable[[], Reviewer]]:
    """Makes people, each with a browser of their own, on the running platform's pages."""
    failures, people = request.session.testsfailed, []

    def come() -> Reviewer:
        people.append(Reviewer(Screen(new_context(browser).new_page(), platform.review_address)))
        return people[-1]

    yield come
    for number, one in enumerate(people):
        context = one.screen.page.context
        if request.session.testsfailed > failures:
            for window, page in enumerate(context.pages):
                Screen(page, "").shot(f"failed-{request.node.name}-{number}-{window}")
        context.close()
        assert one.screen.outside == []


@pytest.fixture(scope="session")
def sample(
    postgres_server, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Snapshot], list[str]]:
    """The sample with its 13 captions, and what is burned into it."""
    folder = tmp_path_factory.mktemp("sample")
    make_sample(folder / "sample.mp4", folder / "sample.srt")
    truth = [one.text for one in read_subtitles(folder / "sample.srt")]
    return take_snapshots(postgres_server, folder / "sample.mp4", folder), truth


@pytest.fixture
def service(
    line: Line,
    sample: tuple[dict[str, Snapshot], list[str]],
    postgres_dsn: str,
    browser: Browser,
    tmp_path: Path,
) -> Iterator[ReviewService]:
    """The HTTP service on the finished sample, in this process."""
    video = sample[0]["finished"].restore(line, postgres_dsn, tmp_path / "bucket")
    with review_service(line, video, browser, tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, which finds what keeps people out of a page."""
    return fetch_axe(tmp_path_factory.mktemp("axe"))
