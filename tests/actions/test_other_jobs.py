"""The other jobs for people do what the commands do, and their runs look like other runs."""

from dataclasses import replace

import psycopg
import pytest

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.sensors.caption_ocr_requests import caption_ocr_requests
from captionacc_dagster.sensors.layout_approvals import layout_approvals
from captionacc_dagster.sensors.new_videos import new_videos
from modal_gpu.databases.captions import read_captions, write_captions
from tests.dagster_page import DagsterPage
from tests.line_fixtures import Line

VISIBLE = {"tenant", "video", "tier", "priority", "trigger", "event", "age-boosting"}
FORMS = {
    "process_video": {"begin_with": "what_is_left"},
    "redo_caption_ocr": {"captions": []},
    "delete_video": {"name": ""},
}


@pytest.mark.parametrize("job", FORMS)
def test_a_chosen_partition_fills_the_form(ui: DagsterPage, finished: VideoRow, job: str):
    assert ui.fields(job, finished.partition_key) == FORMS[job]


@pytest.mark.parametrize("job", [*FORMS, "approve_layout", "backfill_extents"])
def test_a_job_says_what_it_does(ui: DagsterPage, job: str):
    assert len(ui.described(job)["description"]) > 60


def test_a_run_has_the_visible_tags_of_other_runs(ui: DagsterPage, finished: VideoRow):
    page = ui.act("redo_caption_ocr", finished.partition_key)
    assert page.status == "SUCCESS"
    assert page.visible_tags.keys() == VISIBLE
    assert page.visible_tags["video"] == "harbour.mp4"
    assert (page.visible_tags["trigger"], page.visible_tags["event"]) == ("ui", "manual")


class TestProcessVideo:
    def test_a_failed_stage_is_tried_again(self, ui, line: Line, laid_out: VideoRow):
        line.catalog.fail_stage(laid_out.video_id, "boundaries", "run-1", "the disk was full")
        page = ui.act("process_video", laid_out.partition_key)
        assert page.output["follows"] == "boundaries will be tried again"
        assert line.row(laid_out.video_id).boundaries.status == "wait"
        assert len(line.tick(layout_approvals).run_requests) == 1

    def test_captions_are_made_again_and_the_approval_stays(self, ui, line: Line, finished: VideoRow):
        page = ui.act("process_video", finished.partition_key, begin_with="captions")
        assert page.status == "SUCCESS", page.errors
        row = line.row(finished.video_id)
        assert (row.layout.status, row.boundaries.status, row.text.status) == ("done", "wait", "wait")
        assert row.crop_region_version == finished.crop_region_version
        assert len(line.tick(layout_approvals).run_requests) == 1

    def test_the_layout_is_made_again_first(self, ui, line: Line, finished: VideoRow):
        assert ui.act("process_video", finished.partition_key, begin_with="layout").status == "SUCCESS"
        assert len(line.tick(new_videos).run_requests) == 1
        assert not line.tick(layout_approvals).run_requests
        assert line.run("layout", finished.video_id).success
        assert line.row(finished.video_id).layout.status == "done"
        assert len(line.tick(layout_approvals).run_requests) == 1

    def test_a_finished_video_says_what_can_be_made_again(self, ui, line: Line, finished: VideoRow):
        page = ui.act("process_video", finished.partition_key)
        assert page.status == "SUCCESS"
        assert "choose with `begin_with`" in page.output["follows"]

    def test_a_video_that_waits_for_a_person_says_so(self, ui, waiting: VideoRow):
        page = ui.act("process_video", waiting.partition_key)
        assert page.status == "SUCCESS" and "launch `approve_layout`" in page.output["follows"]

    def test_a_video_at_work_is_left_alone(self, ui, line: Line, finished: VideoRow):
        line.catalog.begin_stage(finished.video_id, "text", "run-7")
        assert "a run works on its text" in ui.act("process_video", finished.partition_key).output["follows"]
        page = ui.act("process_video", finished.partition_key, begin_with="captions")
        assert "run run-7 works on the video" in page.failure
        assert line.row(finished.video_id).text.run_id == "run-7"


class TestRedoCaptionOcr:
    def test_chosen_captions_are_requested_and_read_again(self, ui, line: Line, finished: VideoRow):
        keys = line.keys(finished.video_id)
        first, *others = read_captions(line.store.get(keys.captions_db))
        line.store.put(keys.captions_db, write_captions([replace(first, ocr_text="wrong"), *others]))
        page = ui.act("redo_caption_ocr", finished.partition_key, captions=[first.id], requested_by="ann")
        assert page.output["captions"] == "1 captions"
        (request,) = line.catalog.list_caption_ocr_requests(finished.video_id)
        assert (request.caption_ids, request.requested_by) == ([first.id], "ann")
        assert len(line.tick(caption_ocr_requests).run_requests) == 1
        assert line.run("caption_text", finished.video_id).success
        assert read_captions(line.store.get(keys.captions_db))[0].ocr_text == first.ocr_text

    def test_without_ids_all_are_read_again(self, ui, line: Line, finished: VideoRow):
        assert ui.act("redo_caption_ocr", finished.partition_key).output["captions"] == "all captions"
        (request,) = line.catalog.list_caption_ocr_requests(finished.video_id)
        assert request.caption_ids is None

    def test_an_unknown_id_is_named(self, ui, line: Line, finished: VideoRow):
        page = ui.act("redo_caption_ocr", finished.partition_key, captions=[999])
        assert "the video has no captions with the ids 999" in page.failure
        assert line.catalog.list_caption_ocr_requests(finished.video_id) == []


class TestDeleteVideo:
    def test_the_name_confirms_it(self, ui, line: Line, finished: VideoRow):
        page = ui.act("delete_video", finished.partition_key, name="harbour.mp4")
        assert page.status == "SUCCESS" and "removes the upload" in page.output["follows"]
        assert line.row(finished.video_id).deleted_at is not None

    @pytest.mark.parametrize("name", ["", "Harbour.mp4", "harbour"])
    def test_another_name_deletes_nothing(self, ui, line: Line, finished: VideoRow, name: str):
        page = ui.act("delete_video", finished.partition_key, name=name)
        assert "give its name, 'harbour.mp4'" in page.failure
        assert line.row(finished.video_id).deleted_at is None

    def test_a_deleted_video_is_processed_by_no_job(self, ui, line: Line, finished: VideoRow):
        line.catalog.soft_delete_video(finished.video_id)
        for job in ("process_video", "approve_layout", "redo_caption_ocr"):
            page = ui.act(job, finished.partition_key)
            assert "was deleted" in page.failure, job
        assert ui.act("delete_video", finished.partition_key, name="harbour.mp4").status == "SUCCESS"


class TestBackfillExtents:
    @pytest.fixture
    def outdated(self, finished: VideoRow, postgres_dsn: str) -> VideoRow:
        with psycopg.connect(postgres_dsn) as database:
            database.execute(
                "update captionacc.caption_frame_extents_inference_runs set model_version = 'extents-0'"
            )
        return finished

    def test_the_form_as_it_is_only_shows_the_choice(self, ui, line: Line, outdated: VideoRow):
        (form,) = ui.described("backfill_extents")["presets"]
        page = ui.launch("backfill_extents", form)
        assert page.status == "SUCCESS", page.errors
        assert page.output["chosen"] == 1 and "harbour.mp4" in str(page.output["videos"])
        assert line.catalog.list_backfills() == []

    def test_with_apply_it_is_requested_by_name(self, ui, line: Line, outdated: VideoRow):
        page = ui.act("backfill_extents", None, apply=True, videos=["harbour.mp4"], requested_by="ann")
        assert page.status == "SUCCESS", page.errors
        (backfill,) = line.catalog.list_backfills()
        assert backfill.requested_by == "ann" and backfill.conditions == {"video": [outdated.video_id]}
        assert backfill.backfill_id in page.output["outcome"]
        assert page.visible_tags == {"trigger": "ui", "event": "manual"}

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"videos": ["other.mp4"]}, "no video matches 'other.mp4'"),
            ({"statuses": ["new"]}, "status=new: the status must be one of ready, reviewed"),
            ({"uploaded_after": "soon"}, "uploaded-after=soon: give a date"),
            ({"model_version": "extents-99"}, "a backfill cannot produce extents-99"),
        ],
    )
    def test_a_condition_that_cannot_be_met_is_explained(self, ui, outdated, fields: dict, says: str):
        page = ui.act("backfill_extents", None, **fields)
        assert says in page.failure
