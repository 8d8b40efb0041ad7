"""A video whose captions cannot be read is shown as such, and setting its language reads it again."""

from dataclasses import replace

import pytest

from captionacc_dagster.cli.states import report, state_of
from captionacc_dagster.cli.status import _stage_word
from captionacc_dagster.resources.catalog import LayoutOutcome, VideoRow
from modal_gpu.contracts import CropRegion
from modal_gpu.ocr.languages.finding import UNREADABLE
from tests.full_catalog import FullCatalog

BAND = CropRegion(0.1, 0.8, 0.9, 0.95)


@pytest.fixture
def unread(catalog: FullCatalog, videos) -> VideoRow:
    """A video whose layout waits for a person, because its captions cannot be read."""
    video = videos.uploaded(display_path="clip.mp4")
    catalog.claim_new_videos()
    catalog.begin_stage(video.video_id, "layout", "run")
    outcome = LayoutOutcome(
        duration_seconds=8.0,
        width=640,
        height=360,
        video_codec="h264",
        frame_count=80,
        layout_found=True,
        layout_confidence=0.1,
        crop_region=BAND,
        note=f"{UNREADABLE}.",
    )
    return catalog.finish_layout(video.video_id, "run", outcome)


def test_the_layout_waits_and_the_terminal_says_what_to_set(unread: VideoRow, capsys):
    assert unread.layout.status == "annotate" and unread.crop_region is None
    assert state_of(unread) == "approval"
    report(unread)
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(
        "? clip.mp4: Captions are there, but the OCR model in use cannot read their script"
    )
    assert f"`captionacc ocr set {unread.video_id[:8]} LANGUAGE`" in said


def test_a_language_sends_the_layout_back_to_be_read(catalog: FullCatalog, unread: VideoRow):
    video = catalog.set_video_languages(unread.video_id, ["ko"])
    assert (video.layout.status, video.layout.run_id, video.ocr_languages) == ("wait", None, ["ko"])
    [claimed] = catalog.claim_new_videos()
    assert claimed.video_id == video.video_id and claimed.layout.attempts == unread.layout.attempts + 1


def test_a_layout_read_in_former_languages_is_read_again(catalog: FullCatalog, tenant, videos, make_outcome):
    catalog.set_auto_approve(tenant.tenant_id, 0.5)
    video_id = videos.uploaded().video_id
    catalog.claim_new_videos()
    catalog.begin_stage(video_id, "layout", "run")
    catalog.set_video_languages(video_id, ["ko"])
    video = catalog.finish_layout(video_id, "run", make_outcome(), goes_on=True)
    assert (video.layout.status, video.layout.run_id, video.crop_region) == ("wait", None, None)
    assert video.boundaries.run_id is None
    [claimed] = catalog.claim_new_videos()
    assert claimed.video_id == video_id
    catalog.begin_stage(video_id, "layout", "again")
    assert catalog.finish_layout(video_id, "again", make_outcome()).layout.status == "done"


def test_an_approved_layout_does_not_depend_on_the_languages(catalog: FullCatalog, videos, make_outcome):
    video_id = videos.approved().video_id
    catalog.begin_stage(video_id, "layout", "again")
    catalog.set_video_languages(video_id, ["ko"])
    assert catalog.finish_layout(video_id, "again", make_outcome()).layout.status == "done"


def test_texts_read_in_former_languages_are_read_again(catalog: FullCatalog, videos):
    video_id = videos.with_captions().video_id
    catalog.begin_stage(video_id, "text", "run")
    catalog.set_video_languages(video_id, ["pl"])
    video = catalog.finish_text(video_id, "run", caption_count=4)
    assert (video.text.status, video.text.run_id, video.text_caption_count) == ("wait", None, 4)
    assert video.has_other_languages
    [claimed] = catalog.pending_text()
    assert claimed.video_id == video_id
    video = catalog.begin_stage(video_id, "text", "again")
    assert video.has_other_languages, "until its texts are published"
    video = catalog.finish_text(video_id, "again", caption_count=4)
    assert video.text.status == "annotate" and not video.has_other_languages


def test_finished_texts_wait_for_a_run_in_the_new_languages_unless_reviewed(catalog: FullCatalog, videos):
    for reviewed, status in ((False, "wait"), (True, "done")):
        video = videos.read()
        assert video.text.status == "annotate" and not video.has_other_languages
        if reviewed:
            catalog.complete_review(video.video_id, "text")
        video = catalog.set_video_languages(video.video_id, ["pl"])
        assert video.text.status == status and video.has_other_languages


def test_texts_that_cannot_be_read_are_not_ready(unread: VideoRow, capsys):
    text = replace(unread.text, status="annotate", note=f"{UNREADABLE}.")
    video = replace(unread, layout=replace(unread.layout, status="done"), text=text)
    assert state_of(video) == "language"
    report(video)
    assert "✓" not in capsys.readouterr().out
    assert _stage_word(video, "text") == "[yellow]unread[/]"
