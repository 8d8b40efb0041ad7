"""What a person sees in the Dagster UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import DAMAGED, SAMPLE, TALK
from tests.browser.running_platform import RunningPlatform
from tests.browser.screen import Screen

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser


def listed(screen: Screen, start: str) -> Locator:
    """The text that the list of partitions shows for keys that begin like this."""
    return screen.page.locator(f"[data-tooltip^='{start}'] span")


def test_the_list_of_partitions_shows_names_and_finds_one(screen: Screen, platform: RunningPlatform):
    screen.open("assets", "full_frames", view="partitions")
    for name in (SAMPLE, TALK, DAMAGED):
        shown = screen.sees(listed(screen, name).first).inner_text()
        # The middle of a long key is cut; its name comes first.
        assert name.startswith(shown.split("…")[0][: len(name)]) and len(shown.split("…")[0]) >= 8, shown
    screen.shot("partitions")
    screen.page.get_by_placeholder("Filter by name…").fill("talk")
    screen.expect(listed(screen, SAMPLE)).to_have_count(0)
    screen.expect(listed(screen, DAMAGED)).to_have_count(0)
    screen.sees(listed(screen, TALK).first)
    screen.shot("partitions-filtered")
