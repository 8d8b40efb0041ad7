"""Contract: every state change checks the state it leaves; runs that were displaced change nothing."""

import multiprocessing
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.types.json import Jsonb

from captionacc_dagster.resources.catalog import (
    AlreadyRegisteredError,
    InvalidArgumentError,
    UnknownTenantError,
    UnknownVersionError,
    UnknownVideoError,
    VideoDeletedError,
    WrongStateError,
)
from modal_gpu.contracts import CropRegion
from modal_gpu.errors import InvalidCropRegionError, InvalidIdError
from tests.full_catalog import FullCatalog

STRIP = CropRegion(0.1, 0.8, 0.9, 0.95)
OTHER_STRIP = CropRegion(0.0, 0.7, 1.0, 1.0)
NOBODY = "11111111-1111-4111-8111-111111111111"


class TestTenants:
    def test_ensuring_a_tenant_again_keeps_its_settings(self, catalog, tenant):
        catalog.set_auto_approve(tenant.tenant_id, 0.7)
        again = catalog.ensure_tenant(tenant.tenant_id, "other name", auto_approve_layout_confidence=0.1)
        assert (again.name, again.auto_approve_layout_confidence) == ("local", 0.7)
        assert catalog.get_tenant(tenant.tenant_id) == again

    def test_an_unknown_tenant_is_refused_everywhere(self, catalog, tenant):
        with pytest.raises(UnknownTenantError, match=NOBODY):
            catalog.register_video(NOBODY, str(uuid.uuid4()), f"{NOBODY}/a.mp4", 1, "a")
        with pytest.raises(UnknownTenantError):
            catalog.set_auto_approve(NOBODY, 0.5)
        with pytest.raises(UnknownTenantError):
            catalog.get_tenant(NOBODY)
        with pytest.raises(UnknownTenantError):
            catalog.record_usage(NOBODY, "processing_minutes", 1)

    @pytest.mark.parametrize("confidence", [-0.1, 1.01])
    def test_a_confidence_outside_0_to_1_is_refused(self, catalog, tenant, confidence):
        with pytest.raises(InvalidArgumentError, match="not in"):
            catalog.set_auto_approve(tenant.tenant_id, confidence)


class TestRegistration:
    def test_a_new_video_waits_in_every_stage(self, videos):
        video = videos.uploaded()
        assert {video.layout.status, video.boundaries.status, video.text.status} == {"wait"}
        assert video.uploaded_at is not None
        assert video.uploaded_at.utcoffset().total_seconds() == 0

    def test_registering_twice_is_harmless(self, catalog, videos):
        video = videos.uploaded()
        again = catalog.register_video(video.tenant_id, video.video_id, video.storage_key, 1000, "other name")
        assert again == video

    def test_the_same_id_or_key_for_another_upload_is_refused(self, catalog, videos):
        video = videos.uploaded()
        prefix = f"{video.tenant_id}/client/videos"
        with pytest.raises(AlreadyRegisteredError):
            catalog.register_video(video.tenant_id, video.video_id, f"{prefix}/other.mp4", 1, "a")
        with pytest.raises(AlreadyRegisteredError):
            catalog.register_video(video.tenant_id, str(uuid.uuid4()), video.storage_key, 1, "a")

    def test_ids_that_are_no_uuids_do_not_reach_the_database(self, catalog, tenant):
        with pytest.raises(InvalidIdError):
            catalog.get_video("../../etc/passwd")
        with pytest.raises(InvalidIdError):
            catalog.ensure_tenant("local", "local")

    def test_an_upload_that_goes_on_is_not_claimed_until_it_is_whole(self, catalog, videos):
        video = videos.uploaded(uploaded=False)
        assert catalog.claim_new_videos() == []
        with pytest.raises(WrongStateError, match="not uploaded"):
            catalog.begin_stage(video.video_id, "layout", "run")
        catalog.register_video(video.tenant_id, video.video_id, video.storage_key, 2000, "holiday.mp4")
        (claimed,) = catalog.claim_new_videos()
        assert claimed.size_bytes == 2000

    def test_an_unknown_video_is_refused_everywhere(self, catalog, tenant, make_outcome):
        calls = [
            lambda: catalog.get_video(NOBODY),
            lambda: catalog.begin_stage(NOBODY, "layout", "run"),
            lambda: catalog.fail_stage(NOBODY, "layout", "run", "why"),
            lambda: catalog.finish_layout(NOBODY, "run", make_outcome()),
            lambda: catalog.approve_layout(NOBODY, "ann", STRIP),
            lambda: catalog.finish_boundaries(NOBODY, "run", version=1, caption_count=0),
            lambda: catalog.finish_text(NOBODY, "run", caption_count=0),
            lambda: catalog.complete_review(NOBODY, "text"),
            lambda: catalog.retry_stage(NOBODY, "text"),
            lambda: catalog.soft_delete_video(NOBODY),
            lambda: catalog.allot_cropped_frames_version(NOBODY, "run", STRIP),
            lambda: catalog.take_lock(NOBODY, "captions", "me", 60),
            lambda: catalog.record_usage(tenant.tenant_id, "minutes", 1, video_id=NOBODY),
        ]
        for call in calls:
            with pytest.raises(UnknownVideoError, match=NOBODY):
                call()


class TestClaims:
    def test_each_video_is_handed_out_once_oldest_first(self, catalog, videos):
        expected = [videos.uploaded().video_id for _ in range(5)]
        first = [video.video_id for video in catalog.claim_new_videos(3)]
        second = catalog.claim_new_videos(3)
        assert first + [video.video_id for video in second] == expected
        assert {video.layout.attempts for video in second} == {1}
        assert catalog.claim_new_videos(3) == []

    def test_rows_that_another_claim_is_taking_are_skipped_not_waited_for(self, catalog, videos, database):
        held, free = videos.uploaded(), videos.uploaded()
        with database.transaction():
            database.execute("select from captionacc.videos where id = %s for update", [held.video_id])
            assert [video.video_id for video in catalog.claim_new_videos(10)] == [free.video_id]
        assert [video.video_id for video in catalog.claim_new_videos(10)] == [held.video_id]

    def test_eight_claimers_at_once_share_the_videos_without_overlap(self, catalog, videos):
        expected = {videos.uploaded().video_id for _ in range(40)}
        barrier = threading.Barrier(8)

        def claim(_: int) -> list[str]:
            barrier.wait()
            return [video.video_id for video in catalog.claim_new_videos(5)]

        with ThreadPoolExecutor(8) as threads:
            got = [video_id for part in threads.map(claim, range(8)) for video_id in part]
        got += [video.video_id for video in catalog.claim_new_videos(40)]
        assert len(got) == 40
        assert set(got) == expected

    def test_a_claim_that_no_run_began_is_handed_out_again_and_given_up_after_some_times(
        self, catalog, videos
    ):
        video_id = videos.uploaded().video_id
        for attempt in (1, 2, 3):
            (claimed,) = catalog.claim_new_videos(restart_after_seconds=0, max_unstarted=3)
            assert claimed.layout.attempts == 1, f"request {attempt} is still the first attempt"
        assert catalog.claim_new_videos(restart_after_seconds=0, max_unstarted=3) == []
        details = catalog.get_video(video_id).layout.error_details
        assert details["error_type"] == "NotStartedError"
        assert "3 times" in details["message"]
        # A retry requests again, under a new number.
        catalog.retry_stage(video_id, "layout")
        assert [video.layout.attempts for video in catalog.claim_new_videos()] == [2]

    def test_a_video_in_work_is_not_claimed_again(self, catalog, videos):
        video_id = videos.uploaded().video_id
        catalog.claim_new_videos()
        catalog.begin_stage(video_id, "layout", "run")
        assert catalog.claim_new_videos(restart_after_seconds=0) == []

    def test_deleted_and_finished_and_failed_videos_are_left_alone(self, catalog, videos):
        catalog.soft_delete_video(videos.uploaded().video_id)
        videos.laid_out()
        catalog.fail_stage(videos.uploaded().video_id, "layout", "run", "broken")
        assert catalog.claim_new_videos() == []

    @pytest.mark.parametrize("limit", [0, -1, 10_001])
    def test_an_invalid_limit_is_refused(self, catalog, limit):
        with pytest.raises(InvalidArgumentError, match="limit"):
            catalog.claim_new_videos(limit)


class TestLayout:
    def test_a_finished_layout_waits_for_a_person_when_the_policy_is_off(self, videos):
        video = videos.laid_out()
        assert (video.layout.status, video.layout.run_id, video.layout.last_run_id) == (
            "annotate",
            None,
            "layout-run",
        )
        assert (video.proposed_crop_region, video.crop_region, video.crop_region_version) == (STRIP, None, 0)
        assert (video.width, video.height, video.frame_count, video.duration_seconds) == (640, 360, 80, 8.0)

    @pytest.mark.parametrize(
        ("threshold", "found", "confidence", "status"),
        [
            (0.5, True, 0.5, "done"),
            (0.5, True, 0.49, "annotate"),
            (0.5, False, 0.9, "done"),
            (0.5, False, 0.4, "annotate"),
            (None, True, 1.0, "annotate"),
            (0.0, True, 0.0, "done"),
        ],
    )
    def test_the_tenants_policy_approves_from_its_confidence_on(
        self, catalog, tenant, videos, threshold, found, confidence, status
    ):
        catalog.set_auto_approve(tenant.tenant_id, threshold)
        video = videos.laid_out(layout_found=found, layout_confidence=confidence, note="why")
        assert video.layout.status == status
        assert video.layout.note == "why"
        if status == "done":
            assert (video.layout_approved_by, video.crop_region, video.crop_region_version) == (
                "auto",
                STRIP,
                1,
            )

    def test_a_layout_found_without_a_crop_region_is_refused(self, catalog, videos, make_outcome):
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", "run")
        with pytest.raises(InvalidArgumentError, match="crop region"):
            catalog.finish_layout(video_id, "run", make_outcome(crop_region=None))
        video = catalog.finish_layout(video_id, "run", make_outcome(crop_region=None, layout_found=False))
        assert video.layout.status == "annotate"
        with pytest.raises(InvalidCropRegionError, match="no caption band"):
            catalog.approve_layout(video_id, "ann")
        assert catalog.approve_layout(video_id, "ann", STRIP).crop_region == STRIP

    def test_only_the_run_that_works_on_a_stage_may_finish_it(self, catalog, videos, make_outcome):
        video_id = videos.uploaded().video_id
        with pytest.raises(WrongStateError, match="no run does"):
            catalog.finish_layout(video_id, "first", make_outcome())
        catalog.begin_stage(video_id, "layout", "first")
        catalog.begin_stage(video_id, "layout", "second")
        for late in (
            lambda: catalog.finish_layout(video_id, "first", make_outcome()),
            lambda: catalog.fail_stage(video_id, "layout", "first", "late"),
        ):
            with pytest.raises(WrongStateError, match="run second does"):
                late()
        assert catalog.finish_layout(video_id, "second", make_outcome()).layout.status == "annotate"

    def test_beginning_twice_is_harmless_and_taking_over_can_be_refused(self, catalog, videos):
        video_id = videos.uploaded().video_id
        begun = catalog.begin_stage(video_id, "layout", "first")
        assert catalog.begin_stage(video_id, "layout", "first") == begun
        with pytest.raises(WrongStateError, match="run first works on"):
            catalog.begin_stage(video_id, "layout", "second", take_over=False)

    def test_approving_twice_does_not_process_twice_but_another_region_does(self, catalog, videos):
        video = videos.approved()
        assert (video.crop_region_version, video.layout_approved_by) == (1, "ann")
        assert catalog.approve_layout(video.video_id, "bob", STRIP) == video
        again = catalog.approve_layout(video.video_id, "bob", OTHER_STRIP)
        assert (again.crop_region, again.crop_region_version, again.layout_approved_by) == (
            OTHER_STRIP,
            2,
            "bob",
        )

    def test_a_new_region_reopens_what_followed_and_displaces_its_runs(self, catalog, videos):
        video_id = videos.read().video_id
        catalog.complete_review(video_id, "boundaries")
        catalog.complete_review(video_id, "text")
        catalog.begin_stage(video_id, "boundaries", "rerun")
        video = catalog.approve_layout(video_id, "ann", OTHER_STRIP)
        assert (video.boundaries.status, video.text.status, video.boundaries.run_id) == ("wait", "wait", None)
        for late in (
            lambda: catalog.finish_boundaries(video_id, "rerun", version=1, caption_count=9),
            lambda: catalog.fail_stage(video_id, "boundaries", "rerun", "late"),
            lambda: catalog.allot_cropped_frames_version(video_id, "rerun", OTHER_STRIP),
        ):
            with pytest.raises(WrongStateError):
                late()
        (approval,) = catalog.pending_layout_approvals()
        assert (approval.crop_region, approval.crop_region_version) == (OTHER_STRIP, 2)

    def test_analysing_again_keeps_an_approval(self, catalog, videos, make_outcome):
        video_id = videos.approved().video_id
        catalog.begin_stage(video_id, "layout", "again")
        video = catalog.finish_layout(video_id, "again", make_outcome(crop_region=OTHER_STRIP))
        assert (video.layout.status, video.crop_region, video.proposed_crop_region) == (
            "done",
            STRIP,
            OTHER_STRIP,
        )
        # This holds after a failure in between, too.
        catalog.begin_stage(video_id, "layout", "third")
        catalog.fail_stage(video_id, "layout", "third", "disk full", "OSError")
        catalog.begin_stage(video_id, "layout", "fourth")
        assert catalog.finish_layout(video_id, "fourth", make_outcome()).layout.status == "done"

    def test_a_run_that_goes_on_works_on_the_boundaries_before_others_can_claim_them(
        self, catalog, tenant, videos, make_outcome
    ):
        catalog.set_auto_approve(tenant.tenant_id, 0.5)
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", "run")
        video = catalog.finish_layout(video_id, "run", make_outcome(), goes_on=True)
        assert (video.layout.status, video.layout.run_id) == ("done", None)
        assert (video.boundaries.run_id, video.boundaries.attempts, video.boundaries.tries) == ("run", 1, 1)
        assert catalog.claim_layout_approval(video_id) is None
        assert catalog.pending_layout_approvals() == []
        # Its crops begin the stage again, which counts once.
        assert catalog.begin_stage(video_id, "boundaries", "run") == video

    def test_a_retry_of_a_run_that_went_on_goes_on_too(self, catalog, tenant, videos, make_outcome):
        catalog.set_auto_approve(tenant.tenant_id, 0.5)
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", "killed")
        catalog.finish_layout(video_id, "killed", make_outcome(), goes_on=True)
        for former, worker in (("another", "killed"), ("killed", "retry")):
            catalog.begin_stage(video_id, "layout", "retry")
            video = catalog.finish_layout(
                video_id, "retry", make_outcome(), goes_on=True, former_run_id=former
            )
            assert (video.boundaries.run_id, video.boundaries.attempts) == (worker, 1)

    def test_a_run_does_not_go_on_without_an_approval_or_after_a_claim(self, catalog, videos, make_outcome):
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", "run")
        video = catalog.finish_layout(video_id, "run", make_outcome(), goes_on=True)
        assert (video.layout.status, video.boundaries.run_id) == ("annotate", None)
        catalog.approve_layout(video_id, "ann")
        assert catalog.claim_layout_approval(video_id) is not None
        catalog.begin_stage(video_id, "layout", "again")
        video = catalog.finish_layout(video_id, "again", make_outcome(), goes_on=True)
        assert (video.layout.status, video.boundaries.run_id) == ("done", None)

    def test_a_layout_that_is_not_ready_cannot_be_approved(self, catalog, videos):
        video_id = videos.uploaded().video_id
        with pytest.raises(WrongStateError, match="in state wait"):
            catalog.approve_layout(video_id, "ann", STRIP)
        catalog.fail_stage(video_id, "layout", "run", "broken")
        with pytest.raises(WrongStateError, match="in state error"):
            catalog.approve_layout(video_id, "ann", STRIP)

    @pytest.mark.parametrize(
        "region",
        [
            '{"crop_left": 0.5, "crop_top": 0, "crop_right": 0.5, "crop_bottom": 1}',
            '{"crop_left": -0.1, "crop_top": 0, "crop_right": 0.5, "crop_bottom": 1}',
            '{"crop_left": 0, "crop_top": 0.9, "crop_right": 1, "crop_bottom": 0.8}',
            '{"crop_left": 0, "crop_top": 0, "crop_right": 1.2, "crop_bottom": 1}',
            '{"crop_left": "0", "crop_top": 0, "crop_right": 1, "crop_bottom": 1}',
            '{"crop_left": 0, "crop_top": 0, "crop_right": 1}',
            '{"crop_left": 0, "crop_top": 0, "crop_right": 1, "crop_bottom": null}',
            '{"crop_left": 0, "crop_top": 0, "crop_right": 1, "crop_bottom": 1, "more": 1}',
            "[0, 0, 1, 1]",
        ],
    )
    def test_an_invalid_crop_region_is_refused_by_the_database_too(self, videos, database, region):
        video_id = videos.laid_out().video_id
        with pytest.raises(psycopg.Error) as refused:
            database.execute("select captionacc.approve_layout(%s, 'ann', %s::jsonb)", [video_id, region])
        assert refused.value.sqlstate == "CA003"
        with pytest.raises(psycopg.errors.CheckViolation):
            database.execute(
                "update captionacc.videos set proposed_crop_region = %s::jsonb where id = %s",
                [region, video_id],
            )


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


class TestReading:
    def test_videos_are_listed_newest_first_in_pages(self, catalog, videos):
        made = [videos.uploaded().video_id for _ in range(5)]
        first = catalog.list_videos(2)
        second = catalog.list_videos(10, before=first[-1])
        assert [video.video_id for video in first + second] == made[::-1]

    def test_rows_of_one_moment_are_neither_lost_nor_repeated_between_pages(self, catalog, videos, database):
        made = {videos.uploaded().video_id for _ in range(5)}
        database.execute("update captionacc.videos set created_at = '2026-01-01'")
        seen, before = [], None
        while page := catalog.list_videos(2, before=before):
            seen += [video.video_id for video in page]
            before = page[-1]
        assert len(seen) == 5
        assert set(seen) == made

    def test_lists_can_be_narrowed(self, catalog, videos, tenant):
        busy, deleted = videos.cropping(), catalog.soft_delete_video(videos.uploaded().video_id)
        idle = videos.uploaded()
        assert [video.video_id for video in catalog.list_videos(in_work=True)] == [busy.video_id]
        assert [video.video_id for video in catalog.list_videos(in_work=False)] == [idle.video_id]
        assert deleted.video_id in {video.video_id for video in catalog.list_videos(include_deleted=True)}
        assert catalog.list_videos(tenant_id=NOBODY) == []
        assert len(catalog.list_videos(tenant_id=tenant.tenant_id)) == 2

    def test_usage_is_recorded(self, catalog, videos, database):
        video = videos.uploaded()
        catalog.record_usage(
            video.tenant_id,
            "processing_minutes",
            1.25,
            video_id=video.video_id,
            cost_estimate_usd=0.01,
            metadata={"gpu": "T4"},
        )
        row = database.execute(
            "select metric_value::text, cost_estimate_usd::text, metadata from captionacc.usage_metrics"
        )
        assert row.fetchone() == ("1.25", "0.01", {"gpu": "T4"})
        with pytest.raises(InvalidArgumentError):
            catalog.record_usage(video.tenant_id, "Bad Name", 1)


def test_a_fork_gets_connections_of_its_own(catalog: FullCatalog, tenant):
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(catalog.get_tenant(tenant.tenant_id).name))
    child.start()
    assert receiver.poll(10)
    assert receiver.recv() == "local"
    child.join(10)
    assert child.exitcode == 0
    assert catalog.get_tenant(tenant.tenant_id) == tenant


@pytest.mark.parametrize(
    "sides",
    [
        (0, 0.5, 1, 0.5 + 1e-12),
        (0.3, 0, 0.3 + 1 / 640, 1),
        (0.1, 0.8, 0.10999, 1),
        (0.28, 0.8, 0.29, 1),
        (0, 0.99, 1, 1),
        (0, 0.57, 1, 0.58),
        (0, 0.5, 1, 0.5),
        (-0.1, 0, 1, 1),
    ],
)
def test_a_region_has_the_same_smallest_size_in_the_catalogue_and_in_requests(postgres_dsn, sides):
    region = dict(zip(("crop_left", "crop_top", "crop_right", "crop_bottom"), sides, strict=True))
    try:
        CropRegion(**region)
        accepted = True
    except InvalidCropRegionError:
        accepted = False
    with psycopg.connect(postgres_dsn) as connection:
        row = connection.execute("SELECT captionacc.is_crop_region(%s)", [Jsonb(region)]).fetchone()
    assert row == (accepted,)
