"""A person takes a video the whole way in the browser, from a file that is dropped to corrected subtitles.

The platform is the one that a user runs: its daemon starts the runs, and its local compute does the work.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.metrics import Caption
from benchmarks.quality import read_captions
from captionacc_dagster.demo.sample import CAPTIONS, make_sample
from tests.browser.review_pages import Reviewer
from tests.browser.screen import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser

#: The video, whose nine captions are the sample's first ones.
#: Long enough that the work on it can be watched: nine captions, then a minute without.
NAME, SECONDS, SHOWN = "pier.mp4", 90, 9
#: The runs of a video on a crowded machine.
WORK = 4 * PATIENCE
#: Notes what the progress bars show, and what stands beside them.
_WATCH = """
window.seen = [];
new MutationObserver(() => {
  for (const bar of document.querySelectorAll("[data-progress][value]")) {
    const [, stage] = bar.dataset.progress.split(".");
    const step = [stage, bar.value, bar.nextElementSibling.textContent];
    if (step.join() !== window.seen.at(-1)?.join()) window.seen.push(step);
  }
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["value"] });
"""
#: What the person writes, by what is burned in.
CORRECTED = {
    (GULLS := "Only the gulls are still awake."): "Only the gulls were awake.",
    (STEP := "Step 3 of 3: cast off!"): "Step 3 of 3: off we go!",
    (COMING := "Are you coming?"): "Are you coming, or not?",
}


class Overview:
    """The page of all videos, which stays open and is never loaded again."""

    def __init__(self, person: Reviewer) -> None:
        self.screen = person.screen
        self.screen.page.add_init_script(_WATCH)
        self.screen.open()
        self.screen.page.evaluate("window.isFirst = true")
        self.row = self.screen.page.locator("tbody tr").filter(has_text=NAME)

    def badge(self, stage: int) -> Locator:
        """Return the badge of a stage: 0 layout, 1 times, 2 text."""
        return self.row.locator("td").nth(stage).locator(".badge")

    @property
    def video_id(self) -> str:
        return (self.row.get_attribute("id") or "").removeprefix("video-")

    def waits_for(self, stage: int, words: str) -> None:
        self.screen.expect(self.badge(stage)).to_have_text(words, timeout=WORK)

    def steps(self, stage: str) -> list[tuple[int, str]]:
        """Return what the bar of a stage has shown so far: percentages and words."""
        assert self.screen.page.evaluate("window.isFirst")
        return [(value, words) for name, value, words in self.screen.page.evaluate("seen") if name == stage]

    def has_moved(self, stage: str) -> None:
        """Check that the bar of a stage moved while the work was done, with its frames counted beside it."""
        steps = self.steps(stage)
        values = [value for value, _ in steps]
        assert values == sorted(values) and values[0] >= 0 and values[-1] <= 100, steps
        # One step a second is sent, and a quick machine needs no more than two for such a clip.
        assert len(set(values)) >= 2 and any(30 <= value <= 90 for value in values), steps
        assert any(re.fullmatch(r"\d+ % · \w+ \d+ of \d+", words) for _, words in steps), steps


def test_a_video_goes_the_whole_way(person: Callable[[], Reviewer], tmp_path: Path):
    clip, srt = tmp_path / NAME, tmp_path / "truth.srt"
    make_sample(clip, srt, captions=CAPTIONS[:SHOWN], duration=SECONDS, size=(640, 360), seed=2)
    truth = read_captions(srt)
    anna = person()
    overview = Overview(anna)
    anna.drop(NAME, clip.read_bytes())
    overview.waits_for(0, "working")
    overview.waits_for(0, "to review")
    overview.has_moved("layout")

    anna = anna.window(overview.video_id).open("layout")
    set_the_zone(anna)
    anna.press("ControlOrMeta+Enter")
    anna.screen.expect(anna.part("message")).to_contain_text("Approved.")
    overview.waits_for(1, "working")
    overview.screen.sees(overview.row.locator(".step").get_by_text("strips"))
    overview.screen.shot("videos-working", docs="review-videos")
    anna.screen.page.get_by_role("link", name="Go to the captions").click()
    anna.is_ready()
    anna.screen.expect(anna.part("work")).to_contain_text(re.compile(r"^\s*\d+ % · \w+"), timeout=WORK)
    anna.screen.shot("captions-working")
    overview.waits_for(2, "to review")
    overview.has_moved("boundaries")
    # This page was opened before there were captions, and is not loaded again either.
    anna.screen.expect(anna.part("progress")).to_have_text("9 of 9 to review")
    for part in ("partial", "work"):
        anna.screen.expect(anna.part(part)).to_be_hidden()

    correct_by_keyboard(anna)
    correct_in_two_windows(anna, person().window(overview.video_id).open())
    correct_offline(anna)
    overview.screen.expect(overview.row).to_contain_text("5 of 9")
    exported = export(anna, tmp_path)
    assert [one.text for one in exported] == [CORRECTED.get(one.text, one.text) for one in truth]
    for one, right in zip(exported, truth, strict=True):
        assert (one.start_s, one.end_s) == pytest.approx((right.start_s, right.end_s), abs=0.21)


def set_the_zone(anna: Reviewer) -> None:
    """Move the zone away by mouse, so that no line is in it, and back by keyboard."""
    frame, lines = anna.part("frame").bounding_box(), anna.part("tiles").locator(".box.in")
    found, effect = lines.count(), anna.part("effect").inner_text()
    assert found >= 4 and frame is not None
    anna.drag(anna.zone().locator(".area"), 0, -0.4 * frame["height"])
    anna.screen.expect(lines).to_have_count(0)
    anna.screen.expect(anna.part("overlay").locator(".box.in")).to_have_count(0)
    anna.screen.expect(anna.part("effect")).to_contain_text(re.compile("^0 of "))
    anna.zone().focus()
    anna.press(*["Shift+ArrowDown"] * 20)
    anna.screen.expect(lines).to_have_count(found)
    anna.screen.expect(anna.part("effect")).to_have_text(effect)


def correct_by_keyboard(anna: Reviewer) -> None:
    """Confirm the first caption, correct the second, and find both so after the page was loaded again."""
    anna.part("order").select_option("time")
    anna.part("text").focus()
    anna.press("Enter", "ControlOrMeta+a")
    anna.type(CORRECTED[GULLS])
    anna.press("Enter")
    anna.is_saved()
    anna.screen.page.reload()
    anna.is_ready()
    anna.screen.expect(anna.part("progress")).to_have_text("7 of 9 to review")
    anna.choose(CORRECTED[GULLS])


def correct_in_two_windows(anna: Reviewer, ben: Reviewer) -> None:
    """Let both change one caption: Ben sees both texts, and keeps his."""
    theirs, mine = "Step 3 of 3: go!", CORRECTED[STEP]
    for reviewer in (anna, ben):
        reviewer.choose(STEP)
        reviewer.part("text").fill(theirs if reviewer is anna else mine)
    anna.press("Enter")
    anna.is_saved()
    ben.press("Enter")
    ben.choose(mine)
    conflict = ben.screen.sees(ben.part("conflict"))
    for text in (theirs, mine):
        ben.screen.expect(conflict).to_contain_text(text)
    ben.press("Alt+KeyM")
    ben.is_saved()
    anna.screen.expect(anna.part("rows")).to_contain_text(mine)


def correct_offline(anna: Reviewer) -> None:
    """Make an edit without a network; it waits in the browser."""
    anna.choose(COMING)
    anna.screen.page.context.set_offline(True)
    anna.part("text").fill(CORRECTED[COMING])
    anna.press("Enter")
    anna.screen.expect(anna.part("save")).to_contain_text("1 edit waits in this browser")
    anna.screen.page.context.set_offline(False)
    anna.is_saved()


def export(anna: Reviewer, folder: Path) -> list[Caption]:
    """Download the SubRip file, and return its captions."""
    page = anna.screen.page
    page.get_by_text("Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="SubRip").click()
    file = folder / "exported.srt"
    download.value.save_as(file)
    return read_captions(file)


def test_a_failed_video_says_why_on_its_pages(person: Callable[[], Reviewer]):
    anna = person()
    page, why = anna.screen.page, "cut off before its index"
    anna.screen.open()
    row = page.locator("tbody tr").filter(has_text="Élodie")
    anna.screen.expect(row).to_contain_text(why)
    anna.screen.expect(row.locator(".badge").first).to_have_text("failed")
    for link in ("Layout of", "Captions of"):
        row.get_by_role("link", name=link).click()
        anna.screen.expect(anna.part("failed")).to_contain_text(why)
        anna.screen.shot(f"failed-{link[:6].lower()}")
        page.go_back()
