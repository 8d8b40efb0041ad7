"""What a person starts in the Dagster UI: an approval from its form, a backfill."""

from __future__ import annotations

import pytest

from captionacc_dagster.constants import DEFINITIONS_MODULE
from tests.browser.conftest import SAMPLE, TALK
from tests.browser.running_platform import RunningPlatform
from tests.browser.screen import PATIENCE, Screen
from tests.clip_fixtures import CAPTIONS

pytestmark = pytest.mark.browser

_LAST_BACKFILL = "{ partitionBackfillsOrError(limit: 1) { ... on PartitionBackfills { results { id } } } }"


def test_an_approval_from_its_form_starts_the_next_stage(screen: Screen, platform: RunningPlatform):
    key = platform.partition_key(TALK)
    assert platform.runs(key, "captions") == []
    screen.open("locations", DEFINITIONS_MODULE, "jobs", "approve_layout")
    screen.page.get_by_role("tab", name="Launchpad").click()
    # Once the form is there: when it comes, what was typed before is lost.
    form = screen.page.locator(".CodeMirror-code").first
    screen.expect(form).to_contain_text("approved_by:")
    screen.page.get_by_placeholder("Partition").fill("talk")
    screen.page.get_by_role("menuitem", name=key).click()
    # The form shows the region that was found.
    screen.expect(form).to_contain_text("bottom:")
    screen.expect(screen.text("Generating configuration")).to_be_hidden()
    screen.shot("approve-form", docs="approve-form")
    screen.page.get_by_role("button", name="Launch run").click()
    screen.sees(screen.page.get_by_text("Success", exact=True).first)
    screen.shot("approved")
    platform.until("the captions' run", lambda: platform.runs(key, "captions"))
    (run,) = platform.runs(key, "captions")
    screen.open("runs", run["runId"])
    screen.sees(screen.page.get_by_text("Success", exact=True).first)
    screen.shot("next-stage")
    assert CAPTIONS[0].text in platform.command("captions", TALK)


def test_a_backfill_of_two_partitions_ends(screen: Screen, platform: RunningPlatform):
    keys = [platform.partition_key(name) for name in (SAMPLE, TALK)]
    screen.open("assets", "subtitles", view="partitions")
    screen.page.get_by_role("button", name="Materialize…").click()
    screen.page.get_by_text("Select a partition or create one").click()
    for key in keys:
        screen.page.locator("label").filter(has=screen.page.locator(f"[data-tooltip='{key}']")).click()
    screen.shot("backfill-form")
    screen.page.keyboard.press("Escape")
    screen.page.get_by_role("button", name="Launch backfill").click()
    screen.sees(screen.page.get_by_text("Created backfill"))
    (backfill,) = platform.query(_LAST_BACKFILL)["partitionBackfillsOrError"]["results"]
    screen.open("runs", "b", backfill["id"])
    # The backfill's daemon looks every half minute, and the page every ten seconds.
    status = screen.page.locator("[class*='Tag_']").get_by_text("Succeeded", exact=True)
    screen.expect(status).to_be_visible(timeout=2 * PATIENCE)
    screen.sees(screen.text("100% completed"))
    screen.shot("backfill")
