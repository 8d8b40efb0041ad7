"""What a person sees in the Dagster UI: names, few tags, pictures, the lineage, failures in one sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import DAMAGED, SAMPLE, TALK
from tests.browser.running_platform import RunningPlatform
from tests.browser.screen import WINDOW, Screen

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser

# Parts of class names, which come from the names of style sheets: Dagster's build has no ids for tests.
RUN_ROW, RUN_TAGS = "[class*='RunsFeedRow_rowGrid']", "[class*='RunRowTags_runTagsWrapper']"
NODE_NAME = "[class*='AssetNode_minimalName'], [class*='AssetNode_assetName']"
#: What the lineage shows: closed groups, and assets.
LABEL = f"foreignObject [data-tooltip], {NODE_NAME}"
#: Height of the smallest letters that are readable, in pixels.
READABLE = 9

_ASSETS = "{ assetNodes { assetKey { path } groupName partitionDefinition { name } } }"

#: What the values of an event's metadata show without a click: pictures that are loaded, and tables.
_SHOWN_INLINE = """
() => [...document.querySelectorAll('td img, td table')]
  .filter(each => each.tagName !== 'IMG' || each.naturalWidth > 0)
  .map(each => each.getBoundingClientRect())
  .map(({left, right, width}) => ({left, right, width}))
  .filter(each => each.width >= 200)
"""
#: Each label with its place, and the size of its letters on the screen, in pixels.
_LABELS = """
(selector) => [...document.querySelectorAll(selector)].map(each => {
  const {left, top, right, bottom, width} = each.getBoundingClientRect();
  const size = parseFloat(getComputedStyle(each).fontSize) * width / each.offsetWidth;
  return {text: each.innerText.trim(), left, top, right, bottom, size};
})
"""


def assets(platform: RunningPlatform) -> dict[str, str]:
    """Return the group of each asset of which every video has one."""
    nodes = platform.query(_ASSETS)["assetNodes"]
    return {node["assetKey"]["path"][-1]: node["groupName"] for node in nodes if node["partitionDefinition"]}


def listed(screen: Screen, start: str) -> Locator:
    """The text that the list of partitions shows for keys that begin like this."""
    return screen.page.locator(f"[data-tooltip^='{start}'] span")


def test_the_list_of_partitions_shows_names_and_finds_one(screen: Screen, platform: RunningPlatform):
    screen.open("assets", "full_frames", view="partitions")
    for name in (SAMPLE, TALK, DAMAGED):
        shown = screen.sees(listed(screen, name).first).inner_text()
        # The middle of a long key is cut; its name comes first.
        seen = shown.split("…")[0][: len(name)]
        assert name.startswith(seen) and len(seen) >= 8, shown
    screen.shot("partitions")
    screen.page.get_by_placeholder("Filter by name…").fill("talk")
    screen.expect(listed(screen, SAMPLE)).to_have_count(0)
    screen.expect(listed(screen, DAMAGED)).to_have_count(0)
    screen.sees(listed(screen, TALK).first)
    screen.shot("partitions-filtered")


def test_a_run_shows_its_video_and_seven_tags_at_most(screen: Screen, platform: RunningPlatform):
    screen.open("runs")
    rows = screen.page.locator(RUN_ROW).filter(has_text=SAMPLE)
    screen.sees(rows.first)
    screen.shot("runs")
    count = rows.count()
    assert count == len(platform.runs(platform.partition_key(SAMPLE)))
    for number in range(count):
        tags = rows.nth(number).locator(f"{RUN_TAGS} [class*='Tag_']").all_inner_texts()
        # Dagster itself adds the partition to the tags of the platform.
        own = [tag for tag in tags if not tag.startswith("partition: ")]
        assert f"video: {SAMPLE}" in own
        assert 1 < len(own) <= 7, own


def test_every_asset_of_a_video_shows_a_picture_without_a_click(screen: Screen, platform: RunningPlatform):
    key, wrong = platform.partition_key(SAMPLE), {}
    for asset in assets(platform):
        screen.open("assets", asset, view="partitions", partition=key)
        screen.sees(screen.page.get_by_text("Materialized", exact=True).first)
        screen.page.wait_for_load_state("networkidle")
        screen.shot(f"asset-{asset}", docs="layout" if asset == "layout_db" else "")
        shown = screen.page.evaluate(_SHOWN_INLINE)
        if not shown or any(each["right"] > WINDOW[0] for each in shown):
            wrong[asset] = shown
    assert wrong == {}


def test_the_lineage_is_readable_as_it_opens(screen: Screen, platform: RunningPlatform):
    """It opens with closed groups: ten assets in a row would have letters of five pixels."""
    screen.open("asset-groups")
    groups = assets(platform)
    labels = readable_labels(screen, set(groups.values()))
    screen.shot("lineage", docs="lineage")
    stages = [groups[asset] for asset in ("source_video", "layout_db", "captions_db", "subtitles")]
    places = [labels[group]["left"] for group in dict.fromkeys(stages)]
    assert places == sorted(places), "the groups are read from left to right"
    # One click further, the assets of a group.
    screen.page.locator(LABEL).get_by_text(groups["layout_db"], exact=True).first.click()
    readable_labels(screen, {asset for asset, group in groups.items() if group == groups["layout_db"]})
    screen.shot("lineage-group")


def readable_labels(screen: Screen, names: set[str]) -> dict[str, dict]:
    """Return the labels with these names, all of which are inside the window, large enough and apart."""
    for name in names:
        label = screen.page.locator(LABEL).get_by_text(name, exact=True).first
        screen.expect(label).to_be_in_viewport(ratio=1)
    shown = {each["text"]: each for each in screen.page.evaluate(_LABELS, LABEL)}
    labels = {name: shown[name] for name in names}
    for one in labels.values():
        assert one["size"] >= READABLE, one
        for other in labels.values():
            assert one is other or not _overlap(one, other), (one, other)
    return labels


def _overlap(one: dict, other: dict) -> bool:
    apart = one["right"] <= other["left"] or other["right"] <= one["left"]
    return not (apart or one["bottom"] <= other["top"] or other["bottom"] <= one["top"])


def test_a_failed_video_has_one_sentence_and_no_stack_trace(screen: Screen, platform: RunningPlatform):
    key = platform.partition_key(DAMAGED)
    (run,) = platform.runs(key)
    assert run["status"] == "FAILURE"
    screen.open("assets", "full_frames", view="partitions", partition=key)
    screen.sees(screen.page.get_by_text(re.compile("failed, and did not materialize this asset")))
    screen.shot("failed-partition")
    sentence = ".mp4: the MP4 file is cut off before its index (moov); upload the complete file again"
    screen.open("assets", "full_frames", view="events")
    screen.sees(screen.text(sentence))
    screen.shot("failed-event")
    screen.open("runs", run["runId"])
    screen.sees(screen.text(sentence))
    screen.shot("failed-run", docs="failed-run")
    page = screen.page.locator("body").inner_text()
    assert "Traceback" not in page and "Stack Trace" not in page
