"""A person sets zones and approves a layout, and finds and uploads videos, in the browser."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from modal_gpu.databases.layout import read_layout
from tests.browser.review_pages import ReviewService

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = pytest.mark.browser


def labels(service: ReviewService) -> list[str]:
    key = service.line.keys(service.video.video_id).layout_db
    return list(read_layout(service.line.store.get(key)).labels.values())


class TestLayout:
    def test_a_zone_is_dragged_resized_and_approved(self, service: ReviewService):
        before = service.line.row(service.video.video_id).crop_region
        reviewer = service.reviewer().open("layout")
        frame = reviewer.part("frame").bounding_box()
        assert frame is not None
        reviewer.drag(reviewer.zone().locator(".handle.left-top"), 0, -0.1 * frame["height"])
        reviewer.zone().focus()
        reviewer.press("Shift+ArrowDown", "Alt+ArrowLeft")
        reviewer.press("ControlOrMeta+Enter")
        reviewer.screen.expect(reviewer.part("message")).to_contain_text("Approved.")
        after = service.line.row(service.video.video_id)
        assert after.crop_region_version == service.video.crop_region_version + 1
        assert after.crop_region.crop_top == pytest.approx(before.crop_top - 0.1 + 0.02, abs=0.01)
        assert after.crop_region.crop_right == pytest.approx(before.crop_right - 0.002, abs=0.001)

    def test_what_is_in_and_out_follows_the_zone_on_every_frame(self, service: ReviewService):
        reviewer = service.reviewer().open("layout")
        effect = reviewer.part("effect")
        found = effect.inner_text()
        reviewer.zone().focus()
        reviewer.press(*["Shift+ArrowUp"] * 30)
        reviewer.screen.expect(effect).not_to_have_text(found)
        assert reviewer.part("tiles").locator(".box.in").count() < 13
        reviewer.screen.page.get_by_role("button", name="Reset").click()
        reviewer.screen.expect(effect).to_have_text(found)

    def test_drawn_zones_stay_while_a_run_works_on_the_layout(self, service: ReviewService):
        def partial(route: Route) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, json={**answer.json(), "partial": True})

        reviewer = service.reviewer()
        page = reviewer.screen.page
        page.route("**/videos/*/layout", partial)
        reviewer.open("layout")
        reviewer.zone().focus()
        reviewer.press(*["Shift+ArrowUp"] * 5)
        drawn = reviewer.zone().get_attribute("aria-label")
        service.line.catalog.rename_video(service.video.video_id, "renamed.mp4")
        # The page has taken the layout again.
        reviewer.screen.expect(reviewer.part("name")).to_have_text("renamed.mp4")
        assert reviewer.zone().get_attribute("aria-label") == drawn

    def test_a_text_line_is_labelled_by_keyboard(self, service: ReviewService):
        reviewer = service.reviewer().open("layout")
        logo = reviewer.part("overlay").get_by_role("button", name="Harbour TV").first
        logo.focus()
        reviewer.press("Enter", "Enter")
        reviewer.screen.expect(reviewer.part("message")).to_have_text("Labels saved.")
        assert labels(service) == ["out"]

    def test_a_click_labels_a_text_line_and_a_drag_moves_its_zone(self, service: ReviewService):
        reviewer = service.reviewer().open("layout")
        line = reviewer.part("overlay").locator(".box.in").first
        zone = reviewer.zone().get_attribute("aria-label")
        line.click()
        reviewer.screen.expect(reviewer.part("message")).to_have_text("Labels saved.")
        assert labels(service) == ["in"] and reviewer.zone().get_attribute("aria-label") == zone
        reviewer.drag(line, 0, -60)
        assert reviewer.zone().get_attribute("aria-label") != zone
        assert labels(service) == ["in"]

    def test_a_label_is_saved_when_the_page_is_left_or_the_lock_is_free(self, service: ReviewService):
        reviewer = service.reviewer().open("layout")
        logo = reviewer.part("overlay").get_by_role("button", name="Harbour TV").first
        with service.line.catalog.lease(service.video.video_id, "layout", "run 4711"):
            logo.focus()
            reviewer.press("Enter")
            reviewer.screen.expect(reviewer.part("message")).to_contain_text("run 4711")
            assert labels(service) == []
        reviewer.screen.expect(reviewer.part("message")).to_have_text("Labels saved.")
        logo.focus()
        reviewer.press("Enter")
        reviewer.open("captions")
        deadline = time.monotonic() + 20
        while labels(service) != ["out"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert labels(service) == ["out"]


class TestVideos:
    def test_a_video_is_found_by_its_name_and_opened(self, service: ReviewService):
        reviewer = service.reviewer()
        reviewer.screen.open()
        rows = reviewer.screen.page.locator("tbody tr")
        reviewer.screen.expect(rows).to_have_count(1)
        reviewer.screen.page.get_by_label("Search by name").fill("nothing")
        reviewer.screen.expect(rows).to_have_count(0)
        reviewer.screen.page.get_by_label("Search by name").fill("SAMP")
        reviewer.screen.expect(rows).to_have_count(1)
        reviewer.screen.expect(rows.first).to_contain_text("13 of 13")
        rows.first.get_by_role("link", name="sample.mp4", exact=True).click()
        reviewer.screen.page.wait_for_selector("body[data-ready=true]")
        assert reviewer.text

    def test_a_dropped_file_is_uploaded(self, service: ReviewService):
        reviewer = service.reviewer()
        reviewer.screen.open()
        content = b"not really a video" * 1000
        reviewer.drop("dropped.mp4", content)
        reviewer.screen.expect(reviewer.part("uploads")).to_contain_text("uploaded")
        reviewer.screen.expect(reviewer.screen.page.locator("tbody")).to_contain_text("dropped.mp4")
        (row,) = service.line.catalog.find_videos("dropped.mp4")
        assert service.line.store.get(row.storage_key) == content
