"""A person corrects captions in the browser: by keyboard, in two windows, and while a run writes."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from captionacc_dagster.operations.caption_edits import stored_captions
from modal_gpu.databases.captions import write_captions
from tests.browser.review_pages import ReviewService

pytestmark = pytest.mark.browser


def damage(service: ReviewService, number: int, text: str) -> str:
    """Let OCR have read a caption wrongly; return what is burned in."""
    captions = stored_captions(service.line.store, service.video)
    right = captions[number].ocr_text
    captions[number] = replace(captions[number], ocr_text=text, ocr_confidence=0.6)
    key = service.line.keys(service.video.video_id).captions_db
    service.line.store.put(key, write_captions(captions))
    return right


class TestByKeyboard:
    def test_the_samples_captions_take_one_press_where_they_are_right(
        self, service: ReviewService, sample, record_property
    ):
        truth = sample[1]
        wrong = {"Are you corning?": damage(service, 8, "Are you corning?")}
        reviewer = service.reviewer().open()
        reviewer.part("order").select_option("time")
        reviewer.part("text").focus()
        began, reviewer.presses = time.monotonic(), 0
        typed = 0
        for number in range(13):
            if (read := reviewer.text) in wrong:
                before = reviewer.presses
                reviewer.press("ControlOrMeta+a")
                reviewer.type(wrong[read])
                typed += reviewer.presses - before
            reviewer.press("Enter")
            left = f"{12 - number} of 13 to review"
            reviewer.screen.expect(reviewer.part("progress")).to_have_text(left)
        reviewer.is_saved()
        presses, seconds = reviewer.presses, time.monotonic() - began
        # The wrong text is chosen with one press, and written with 15.
        assert (presses, typed) == (29, 16)
        assert seconds < 120
        assert [" ".join(text.split()) for text in service.texts()] == [" ".join(t.split()) for t in truth]
        assert all(cue.is_reviewed for cue in service.cues())
        reviewer.press("ControlOrMeta+Enter")
        reviewer.screen.expect(reviewer.part("finish")).to_contain_text("Review finished")
        row = service.line.row(service.video.video_id)
        assert (row.boundaries.status, row.text.status) == ("done", "done")
        record_property(
            "outcome", f"13 captions: {presses} presses, {typed} of them to type, {seconds:.1f} s"
        )
        reviewer.screen.shot("captions-finished")

    def test_times_splits_merges_and_undo(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.part("order").select_option("time")
        before = service.texts()
        first = service.cues()[0]
        reviewer.choose("Every evening")
        reviewer.press("Alt+Shift+KeyS", "Alt+KeyA", "Alt+KeyQ")
        reviewer.is_saved()
        moved = service.cues()[0].timed
        # The next caption begins where this one ends, so its end moves back only: a frame of 25 a second.
        assert (moved.start, moved.end) == (first.timed.start - 40, first.timed.end - 40)
        reviewer.press("ControlOrMeta+z", "ControlOrMeta+z")
        reviewer.is_saved()
        back = service.cues()[0]
        assert (back.timed.start, back.timed.end) == (first.timed.start, first.timed.end)
        assert back.doubts == first.doubts
        reviewer.screen.expect(reviewer.part("message")).to_have_text("Undone.")
        reviewer.press("Home", *["ArrowRight"] * len("Every evening"), "Alt+KeyX")
        reviewer.is_saved()
        assert service.texts()[:3] == ["Every evening", "the harbour falls silent.", before[1]]
        reviewer.press("Alt+KeyJ")
        reviewer.is_saved()
        assert service.texts()[0] == "Every evening\nthe harbour falls silent."
        reviewer.press("Alt+Delete")
        reviewer.is_saved()
        assert service.texts() == before[1:]
        reviewer.press(*["ControlOrMeta+z"] * 3)
        reviewer.is_saved()
        assert service.texts() == before
        reviewer.press("ControlOrMeta+y")
        reviewer.is_saved()
        assert service.texts()[:2] == ["Every evening", "the harbour falls silent."]

    def test_a_caption_is_added_where_the_player_stands(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.choose("Step 3 of 3")
        reviewer.press(*["Alt+KeyL"] * 14, "Alt+KeyN")
        # Its text is selected.
        reviewer.type("Off we go!")
        reviewer.press("Enter")
        reviewer.is_saved()
        added = next(cue for cue in service.cues() if cue.caption.best_text == "Off we go!")
        assert (added.timed.start, added.timed.end) == (11960, 12640)

    def test_what_ocr_read_is_taken_again(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.choose("Yes.")
        reviewer.part("text").fill("No.")
        reviewer.press("Alt+KeyO", "Enter")
        reviewer.is_saved()
        (reviewed,) = (cue for cue in service.cues() if cue.is_reviewed)
        assert reviewed.caption.best_text == "Yes."

    def test_enter_restores_a_removed_caption(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.choose("Yes.")
        reviewer.press("Alt+Delete")
        reviewer.is_saved()
        assert "Yes." not in service.texts()
        reviewer.open()
        reviewer.part("filter").select_option("removed")
        reviewer.screen.expect(reviewer.part("text")).to_have_value("Yes.")
        reviewer.part("text").focus()
        reviewer.press("Enter")
        reviewer.is_saved()
        assert "Yes." in service.texts()

    def test_doubtful_captions_come_first_and_limits_are_marked(self, service: ReviewService):
        damage(service, 8, "Are you corning?")
        reviewer = service.reviewer().open()
        assert reviewer.text == "Are you corning?"
        rows = reviewer.part("rows").locator(".row")
        reviewer.screen.expect(rows.first).to_contain_text("text uncertain")
        reviewer.choose("Yes.")
        reviewer.part("text").fill("Yes, of course I am coming, why do you ask?")
        reviewer.screen.expect(reviewer.part("lines")).to_have_class("over")
        reviewer.screen.expect(reviewer.part("speed")).to_have_class("over")
        reviewer.press("Enter")
        marked = reviewer.part("rows").locator(".row").filter(has_text="of course")
        for words in ("line of 43", "ch/s", "reviewed"):
            reviewer.screen.expect(marked).to_contain_text(words)
        reviewer.is_saved()

    def test_a_border_of_a_caption_without_text_removes_nothing(self, service: ReviewService):
        damage(service, 0, "")
        reviewer = service.reviewer().open()
        reviewer.part("rows").get_by_text("not read yet").click()
        reviewer.press("Alt+KeyA")
        reviewer.screen.expect(reviewer.part("message")).to_have_text("Write its text first.")
        assert service.cues()[0].standing == "unread"

    def test_altgr_types_letters(self, service: ReviewService):
        """On Windows it is Ctrl and Alt."""
        reviewer = service.reviewer().open()
        reviewer.part("text").focus()
        reviewer.press("Control+Alt+KeyQ", "Control+Alt+Delete")
        reviewer.is_saved()
        reviewer.screen.expect(reviewer.part("progress")).to_have_text("13 of 13 to review")

    def test_enter_that_ends_a_composition_confirms_nothing(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.part("text").evaluate(
            "field => field.dispatchEvent(new KeyboardEvent('keydown',"
            " {key: 'Enter', bubbles: true, cancelable: true, isComposing: true}))"
        )
        reviewer.screen.expect(reviewer.part("progress")).to_have_text("13 of 13 to review")

    def test_find_and_replace(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.press("ControlOrMeta+f")
        find = reviewer.part("find")
        find.get_by_label("Find", exact=True).fill("tide")
        find.get_by_label("Replace by").fill("flood")
        reviewer.screen.expect(find.locator("output")).to_have_text("2 captions")
        find.get_by_role("button", name="Replace all").click()
        reviewer.is_saved()
        assert sum("wait for the flood." in text for text in service.texts()) == 2

    def test_single_ones_are_found_and_replaced_by_keyboard(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.press("ControlOrMeta+f")
        reviewer.type("Tide")
        find = reviewer.part("find")
        reviewer.screen.expect(find.locator("output")).to_have_text("2 captions")
        reviewer.press("Enter")
        reviewer.screen.expect(reviewer.part("text")).to_have_value("Step 1 of 3: wait for the tide.")
        reviewer.press("Enter")
        reviewer.screen.expect(reviewer.part("text")).to_have_value("Step 2 of 3: wait for the tide.")
        find.get_by_label("Replace by").fill("flood")
        find.get_by_role("button", name="Replace", exact=True).press("Enter")
        find.get_by_label("Match case").check()
        reviewer.screen.expect(find.locator("output")).to_have_text("0 captions")
        find.get_by_label("Find", exact=True).fill("[Tt]ide")
        find.get_by_label("Regular expression").check()
        reviewer.screen.expect(find.locator("output")).to_have_text("1 caption")
        reviewer.press("Escape")
        reviewer.screen.expect(find).to_be_hidden()
        reviewer.is_saved()
        assert service.texts()[3:5] == ["Step 1 of 3: wait for the tide.", "Step 2 of 3: wait for the flood."]

    def test_what_is_being_typed_is_replaced_in_too(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.choose("Yes.")
        reviewer.part("text").fill("Yes, Yes.")
        reviewer.press("ControlOrMeta+f")
        find = reviewer.part("find")
        find.get_by_label("Find", exact=True).fill("Yes")
        find.get_by_label("Replace by").fill("No")
        find.get_by_role("button", name="Replace all").click()
        reviewer.is_saved()
        assert "No, No." in service.texts()


class TestTwoWindows:
    def test_a_conflict_shows_both_texts_and_loses_none(self, service: ReviewService):
        anna, ben = service.reviewer().open(), service.reviewer().open()
        for reviewer in (anna, ben):
            reviewer.choose("Only the gulls")
        # Ben has seen nothing of Anna's edit when he makes his: he has begun to type.
        ben.press("End", "!")
        anna.part("text").fill("Only the gulls were awake.")
        anna.press("Enter")
        anna.is_saved()
        ben.press("Enter")
        ben.choose("Only the gulls")
        conflict = ben.screen.sees(ben.part("conflict"))
        ben.screen.expect(conflict).to_contain_text("Only the gulls were awake.")
        ben.screen.expect(conflict).to_contain_text("Only the gulls are still awake.!")
        assert "Only the gulls were awake." in service.texts()
        ben.screen.shot("conflict")
        ben.part("text").focus()
        ben.press("End", "!", "Alt+KeyM")
        ben.is_saved()
        # What was typed while the conflict was shown is kept too.
        assert "Only the gulls are still awake.!!" in service.texts()
        anna.screen.expect(anna.part("rows")).to_contain_text("Only the gulls are still awake.!!")

    def test_a_field_in_which_nobody_typed_shows_the_others_text(self, service: ReviewService):
        """Otherwise the old text would be confirmed over the new one."""
        anna, ben = service.reviewer().open(), service.reviewer().open()
        for reviewer in (anna, ben):
            reviewer.choose("Yes.")
        anna.part("text").fill("Yes, of course.")
        anna.press("Enter")
        ben.screen.expect(ben.part("text")).to_have_value("Yes, of course.")
        ben.press("Enter")
        ben.is_saved()
        assert "Yes, of course." in service.texts()

    def test_theirs_can_be_taken(self, service: ReviewService):
        anna, ben = service.reviewer().open(), service.reviewer().open()
        for reviewer in (anna, ben):
            reviewer.choose("Yes.")
        ben.press("?")
        anna.part("text").fill("Yes, of course.")
        anna.press("Enter")
        anna.is_saved()
        ben.press("Enter")
        ben.choose("Yes.")
        ben.screen.sees(ben.part("conflict"))
        ben.press("Alt+KeyT")
        ben.screen.expect(ben.part("text")).to_have_value("Yes, of course.")
        ben.is_saved()
        assert "Yes, of course." in service.texts()


class TestWaitingEdits:
    def test_while_a_run_writes_edits_wait_survive_a_reload_and_are_saved(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.choose("Yes.")
        with service.line.catalog.lease(service.video.video_id, "captions", "run 4711"):
            reviewer.screen.expect(reviewer.part("partial")).to_contain_text("run 4711 writes these captions")
            reviewer.part("text").fill("Yes, it waits.")
            reviewer.press("Enter")
            reviewer.screen.expect(reviewer.part("save")).to_contain_text("locked by run 4711")
            reviewer.screen.expect(reviewer.part("save")).to_contain_text("1 edit waits")
            # Typing goes on.
            reviewer.choose("Are you coming?")
            reviewer.part("text").fill("Are you coming, or not?")
            reviewer.screen.page.reload()
            reviewer.screen.page.wait_for_selector("body[data-ready=true]")
            reviewer.screen.expect(reviewer.part("text")).to_have_value("Are you coming, or not?")
            reviewer.screen.expect(reviewer.part("rows")).to_contain_text("Yes, it waits.")
            assert "Yes, it waits." not in service.texts()
            reviewer.press("Enter")
        reviewer.is_saved()
        assert {"Yes, it waits.", "Are you coming, or not?"} <= set(service.texts())

    def test_without_the_server_edits_wait_in_the_browser(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.choose("Yes.")
        reviewer.screen.page.context.set_offline(True)
        reviewer.part("text").fill("Yes, offline.")
        reviewer.press("Enter")
        reviewer.screen.expect(reviewer.part("save")).to_contain_text("waits in this browser")
        reviewer.screen.page.context.set_offline(False)
        reviewer.is_saved()
        assert "Yes, offline." in service.texts()


class TestStrips:
    def test_a_coarse_view_comes_first_and_plays_while_borders_are_set(self, service: ReviewService):
        reviewer = service.reviewer()
        page, asked = reviewer.screen.page, []
        page.on("request", lambda request: asked.extend(re.findall(r"strips\?.*step=(\d+)", request.url)))
        reviewer.open().choose("Meanwhile")
        before = next(cue for cue in service.cues() if "Meanwhile" in cue.caption.best_text).timed
        with page.expect_response(lambda answer: "step=1&" in answer.url):
            reviewer.press("Alt+KeyP")
            reviewer.screen.expect(reviewer.part("play")).to_have_attribute("aria-pressed", "true")
            reviewer.screen.sees(reviewer.part("screen"))
        assert list(dict.fromkeys(asked)) == ["16", "4", "1"]
        reviewer.screen.expect(reviewer.part("play")).to_have_attribute("aria-pressed", "false")
        slider = reviewer.part("line")
        assert int(slider.get_attribute("aria-valuenow")) == before.end + 1500
        # From the end of what is shown, 20 and 17 tenths of a second back: inside the caption.
        reviewer.press(*["Alt+KeyK"] * 20, "Alt+BracketRight")
        reviewer.press(*["Alt+KeyK"] * 12, "Alt+BracketLeft")
        reviewer.is_saved()
        after = next(cue for cue in service.cues() if "Meanwhile" in cue.caption.best_text).timed
        assert (after.end, after.start) == (before.end - 500, before.end - 1700)

    def test_the_frames_at_both_borders_are_shown(self, service: ReviewService):
        reviewer = service.reviewer().open()
        reviewer.choose("Meanwhile")
        cue = next(cue for cue in service.cues() if "Meanwhile" in cue.caption.best_text).caption
        first, end = cue.start_index, cue.end_index
        wanted = {"before": first - 1, "first": first, "last": end - 1, "after": end}
        for part, index in wanted.items():
            image = reviewer.part(part).locator("img")
            reviewer.screen.expect(image).to_have_attribute("src", re.compile(rf"/frames/{index}\.webp"))
            reviewer.screen.expect(image).not_to_have_js_property("naturalWidth", 0)


def test_the_picture_of_a_caption_is_never_above_anothers_text(service: ReviewService):
    reviewer = service.reviewer().open()
    strip = reviewer.part("strip")
    reviewer.choose("Are you coming?")
    reviewer.screen.expect(strip).to_be_visible()
    held = []
    reviewer.screen.page.route("**/strips?*", lambda route: held.append(route))
    reviewer.choose("Every evening the harbour falls silent.")
    reviewer.screen.expect(strip).to_be_hidden()
    for route in held:
        route.continue_()
    reviewer.screen.expect(strip).to_be_visible()


def test_subtitles_are_exported_and_imported(service: ReviewService):
    reviewer = service.reviewer().open()
    page = reviewer.screen.page
    page.get_by_text("Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="SubRip").click()
    text = Path(download.value.path()).read_text()
    assert text.count(" --> ") == 13 and "Only the gulls are still awake." in text
    page.on("dialog", lambda dialog: dialog.accept())
    changed = text.replace("Only the gulls are still awake.", "Only gulls.").encode()
    reviewer.part("import").set_input_files(
        {"name": "corrected.srt", "mimeType": "application/x-subrip", "buffer": changed}
    )
    reviewer.screen.expect(reviewer.part("message")).to_contain_text("1 text changed")
    assert "Only gulls." in service.texts()
    reviewer.screen.expect(reviewer.part("rows")).to_contain_text("Only gulls.")
