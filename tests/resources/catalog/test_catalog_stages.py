"""Contract: every state change checks the state it leaves; runs that were displaced change nothing."""

import pytest

from captionacc_dagster.resources.catalog import (
    InvalidArgumentError,
    UnknownVersionError,
    VideoDeletedError,
    WrongStateError,
)
from tests.resources.catalog.conftest import OTHER_STRIP, STRIP


class TestBoundariesAndText:
    def test_an_approval_is_handed_out_once_and_again_when_no_run_began(self, catalog, videos):
        video = videos.approved()
        (approval,) = catalog.pending_layout_approvals()
        assert (approval.video_id, approval.attempt, approval.approved_by) == (video.video_id, 1, "ann")
        assert approval.approved_at == video.layout_approved_at
        assert catalog.pending_layout_approvals() == []
        assert [again.attempt for again in catalog.pending_layout_approvals(restart_after_seconds=0)] == [1]
        catalog.begin_stage(video.video_id, "boundaries", "run")
        assert catalog.pending_layout_approvals(restart_after_seconds=0) == []

    def test_boundaries_need_an_approved_layout_and_text_needs_boundaries(self, catalog, videos):
        video_id = videos.laid_out().video_id
        with pytest.raises(WrongStateError, match="not approved"):
            catalog.begin_stage(video_id, "boundaries", "run")
        with pytest.raises(WrongStateError, match="no captions to read"):
            catalog.begin_stage(video_id, "text", "run")

    def test_the_whole_way_ends_in_done_everywhere(self, catalog, videos):
        video = videos.read()
        assert (video.boundaries.status, video.text.status) == ("annotate", "annotate")
        assert (video.caption_count, video.text_caption_count) == (4, 4)
        assert (video.boundaries.run_id, video.text.run_id) == (None, None)
        catalog.complete_review(video.video_id, "boundaries")
        done = catalog.complete_review(video.video_id, "text")
        assert {done.layout.status, done.boundaries.status, done.text.status} == {"done"}
        assert catalog.complete_review(video.video_id, "text") == done

    def test_a_video_without_captions_says_so(self, catalog, videos):
        video_id = videos.cropping().video_id
        version = catalog.allot_cropped_frames_version(video_id, "crop-run", STRIP)
        catalog.activate_cropped_frames_version(
            video_id, version, chunk_count=1, total_frames=1, total_size_bytes=0
        )
        video = catalog.finish_boundaries(
            video_id, "crop-run", version=version, caption_count=0, note="no captions found"
        )
        assert (video.boundaries.status, video.caption_count) == ("annotate", 0)
        assert video.boundaries.note == "no captions found"

    def test_versions_count_up_one_is_active_and_unfinished_ones_fail(self, catalog, videos):
        video_id = videos.with_captions().video_id
        catalog.begin_stage(video_id, "boundaries", "second")
        assert catalog.allot_cropped_frames_version(video_id, "second", STRIP) == 2
        assert catalog.allot_cropped_frames_version(video_id, "second", STRIP) == 3
        catalog.activate_cropped_frames_version(
            video_id, 3, chunk_count=3, total_frames=80, total_size_bytes=1
        )
        versions = catalog.list_cropped_frames_versions(video_id)
        assert [version.status for version in versions] == ["archived", "failed", "active"]
        assert catalog.get_video(video_id).current_cropped_frames_version == 3

    def test_a_displaced_run_cannot_activate_its_version(self, catalog, videos):
        video_id = videos.cropping().video_id
        version = catalog.allot_cropped_frames_version(video_id, "crop-run", STRIP)
        catalog.begin_stage(video_id, "boundaries", "other")
        with pytest.raises(WrongStateError, match="run other does"):
            catalog.activate_cropped_frames_version(
                video_id, version, chunk_count=1, total_frames=1, total_size_bytes=1
            )
        assert catalog.get_video(video_id).current_cropped_frames_version is None

    def test_activating_and_failing_check_the_versions_state(self, catalog, videos):
        video_id = videos.with_captions().video_id
        sizes = {"chunk_count": 1, "total_frames": 1, "total_size_bytes": 1}
        assert catalog.activate_cropped_frames_version(video_id, 1, **sizes).chunk_count == 3
        with pytest.raises(UnknownVersionError):
            catalog.activate_cropped_frames_version(video_id, 9, **sizes)
        with pytest.raises(WrongStateError, match="is active, so it cannot fail"):
            catalog.fail_cropped_frames_version(video_id, 1, "why")
        catalog.begin_stage(video_id, "boundaries", "second")
        version = catalog.allot_cropped_frames_version(video_id, "second", STRIP)
        failed = catalog.fail_cropped_frames_version(video_id, version, "disk full")
        assert catalog.fail_cropped_frames_version(video_id, version, "again") == failed
        assert failed.error_message == "disk full"
        with pytest.raises(WrongStateError, match="is failed"):
            catalog.activate_cropped_frames_version(video_id, version, **sizes)

    def test_a_version_is_allotted_to_the_working_run_and_the_approved_region_only(self, catalog, videos):
        video_id = videos.cropping().video_id
        with pytest.raises(WrongStateError, match="run crop-run does"):
            catalog.allot_cropped_frames_version(video_id, "other", STRIP)
        with pytest.raises(WrongStateError, match="not the approved one"):
            catalog.allot_cropped_frames_version(video_id, "crop-run", OTHER_STRIP)

    def test_boundaries_finish_with_the_active_version_only(self, catalog, videos):
        video_id = videos.cropping().video_id
        version = catalog.allot_cropped_frames_version(video_id, "crop-run", STRIP)
        with pytest.raises(WrongStateError, match="not the active one"):
            catalog.finish_boundaries(video_id, "crop-run", version=version, caption_count=1)

    def test_text_that_the_same_run_does_not_read_is_asked_for_after_a_while(self, catalog, videos):
        video_id = videos.with_captions().video_id
        assert catalog.pending_text() == []
        (video,) = catalog.pending_text(restart_after_seconds=0)
        assert (video.video_id, video.text.attempts) == (video_id, 1)

    def test_a_review_needs_something_to_review(self, catalog, videos):
        video_id = videos.cropping().video_id
        with pytest.raises(WrongStateError, match="nothing to review"):
            catalog.complete_review(video_id, "text")
        read = videos.read().video_id
        catalog.begin_stage(read, "text", "rerun")
        with pytest.raises(WrongStateError, match="run rerun works on it"):
            catalog.complete_review(read, "text")
        with pytest.raises(InvalidArgumentError, match="not boundaries or text"):
            catalog.complete_review(read, "layout")

    def test_an_inference_run_is_unique_by_version_and_model(self, catalog, videos):
        video = videos.with_captions()
        record = {
            "model_version": "classic-1",
            "storage_key": f"{video.tenant_id}/server/x.db.gz",
            "total_pairs": 79,
            "processing_time_seconds": 1.5,
            "started_at": video.created_at,
            "completed_at": video.updated_at,
        }
        first = catalog.record_inference_run(video.video_id, 1, "crop-run", **record)
        assert catalog.record_inference_run(video.video_id, 1, "other", **record) == first
        other = catalog.record_inference_run(
            video.video_id, 1, "crop-run", **record | {"model_version": "net-2"}
        )
        assert other != first
        with pytest.raises(UnknownVersionError):
            catalog.record_inference_run(video.video_id, 2, "crop-run", **record)
        with pytest.raises(InvalidArgumentError):
            catalog.record_inference_run(video.video_id, 1, "crop-run", **record, model_sha256="abc")


class TestFailureAndRetry:
    @pytest.mark.parametrize("stage", ["layout", "boundaries", "text"])
    def test_a_failure_is_recorded_in_the_row_and_retried(self, catalog, videos, stage):
        video = {"layout": videos.uploaded, "boundaries": videos.approved, "text": videos.with_captions}[
            stage
        ]()
        pending = {
            "layout": catalog.claim_new_videos,
            "boundaries": catalog.pending_layout_approvals,
            "text": catalog.pending_text,
        }[stage]
        pending()
        catalog.begin_stage(video.video_id, stage, "run")
        failed = catalog.fail_stage(video.video_id, stage, "run", "no\0 disk", "OSError")
        state = failed.stage(stage)
        assert (state.status, state.run_id, state.last_run_id) == ("error", None, "run")
        details = state.error_details
        assert (details["message"], details["error_type"], details["run_id"]) == ("no disk", "OSError", "run")
        assert failed.error == "no disk"
        assert catalog.fail_stage(video.video_id, stage, "run", "again") == failed
        assert pending(restart_after_seconds=0) == []
        waiting = catalog.retry_stage(video.video_id, stage).stage(stage)
        assert (waiting.status, waiting.error_details) == ("wait", None)
        assert len(pending()) == 1
        with pytest.raises(WrongStateError, match="not error"):
            catalog.retry_stage(video.video_id, stage)

    def test_a_failure_before_the_run_began_is_accepted(self, catalog, videos):
        video_id = videos.uploaded().video_id
        catalog.claim_new_videos()
        assert catalog.fail_stage(video_id, "layout", "run", "killed").layout.status == "error"

    def test_a_run_that_finished_can_no_longer_fail(self, catalog, videos):
        video_id = videos.laid_out().video_id
        with pytest.raises(WrongStateError, match="no run does"):
            catalog.fail_stage(video_id, "layout", "layout-run", "late")

    def test_beginning_again_clears_the_error(self, catalog, videos):
        video_id = videos.uploaded().video_id
        catalog.fail_stage(video_id, "layout", "run", "broken")
        video = catalog.begin_stage(video_id, "layout", "second")
        assert (video.layout.status, video.layout.error_details) == ("wait", None)

    def test_unknown_stages_and_empty_run_ids_are_refused(self, catalog, videos):
        video_id = videos.uploaded().video_id
        with pytest.raises(InvalidArgumentError, match="not layout, boundaries or text"):
            catalog.begin_stage(video_id, "layout_status = 'done', text", "run")
        with pytest.raises(InvalidArgumentError, match="run id is empty"):
            catalog.begin_stage(video_id, "layout", "")
        with pytest.raises(InvalidArgumentError):
            catalog.get_video(video_id).stage("other")

    def test_a_deleted_video_refuses_all_work(self, catalog, videos, make_outcome):
        video_id = videos.cropping().video_id
        deleted = catalog.soft_delete_video(video_id)
        assert catalog.soft_delete_video(video_id).deleted_at == deleted.deleted_at
        assert catalog.pending_layout_approvals(restart_after_seconds=0) == []
        for call in (
            lambda: catalog.begin_stage(video_id, "layout", "run"),
            lambda: catalog.finish_layout(video_id, "crop-run", make_outcome()),
            lambda: catalog.approve_layout(video_id, "ann", OTHER_STRIP),
            lambda: catalog.allot_cropped_frames_version(video_id, "crop-run", STRIP),
            lambda: catalog.take_lock(video_id, "captions", "me", 60),
        ):
            with pytest.raises(VideoDeletedError):
                call()


class TestRestarting:
    def test_captions_are_made_again_with_the_same_approval(self, catalog, videos):
        before = videos.read()
        after = catalog.restart_stage(before.video_id, "boundaries")
        assert (after.layout.status, after.boundaries.status, after.text.status) == ("done", "wait", "wait")
        assert (after.crop_region, after.crop_region_version) == (
            before.crop_region,
            before.crop_region_version,
        )
        assert after.current_cropped_frames_version == before.current_cropped_frames_version
        (approval,) = catalog.pending_layout_approvals()
        assert approval.attempt == before.boundaries.attempts + 1
        assert catalog.pending_text() == []

    def test_a_layout_is_made_again_before_the_captions(self, catalog, videos):
        video_id = videos.read().video_id
        catalog.restart_stage(video_id, "layout")
        assert catalog.pending_layout_approvals() == []
        assert [row.video_id for row in catalog.claim_new_videos()] == [video_id]

    def test_a_failed_stage_is_restarted_too(self, catalog, videos):
        video_id = videos.approved().video_id
        catalog.fail_stage(video_id, "boundaries", "run", "no luck")
        assert catalog.restart_stage(video_id, "boundaries").boundaries.error_details is None

    @pytest.mark.parametrize("stage", ["layout", "boundaries"])
    def test_not_while_a_run_works_on_it_or_on_what_follows(self, catalog, videos, stage):
        video_id = videos.read().video_id
        catalog.begin_stage(video_id, "text", "reader")
        with pytest.raises(WrongStateError, match=f"run reader works on video {video_id}"):
            catalog.restart_stage(video_id, stage)

    def test_not_before_its_inputs_exist(self, catalog, videos):
        with pytest.raises(WrongStateError, match="not approved"):
            catalog.restart_stage(videos.laid_out().video_id, "boundaries")
        with pytest.raises(InvalidArgumentError, match="not layout or boundaries"):
            catalog.restart_stage(videos.read().video_id, "text")


def test_text_that_no_run_goes_on_with_is_handed_out_at_once(catalog, videos):
    for goes_on in (True, False):
        video_id = videos.with_captions().video_id
        catalog.begin_stage(video_id, "boundaries", "again")
        version = catalog.get_video(video_id).current_cropped_frames_version
        catalog.finish_boundaries(video_id, "again", version=version, caption_count=4, goes_on=goes_on)
        handed_out = [row.video_id for row in catalog.pending_text()]
        assert handed_out == ([] if goes_on else [video_id])
