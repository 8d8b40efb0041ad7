"""Contract: quotas of a tenant, their messages, and work that people stop."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from captionacc_dagster.resources.catalog import (
    InvalidArgumentError,
    UnknownRequestError,
    UnknownTenantError,
    UnknownVideoError,
    WrongStateError,
)
from modal_gpu.contracts import CropRegion
from tests.full_catalog import Limits

OTHER_STRIP = CropRegion(0.0, 0.7, 1.0, 1.0)
NOBODY = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(autouse=True)
def tiers_without_limits(database: psycopg.Connection):
    yield
    database.execute(
        "update captionacc.access_tiers set storage_quota_bytes = null, video_count_limit = null,"
        " processing_minutes_limit = null, daily_upload_limit = null"
    )


class TestQuotas:
    @pytest.mark.parametrize(
        ("limits", "kind"),
        [
            (Limits(video_count_limit=2), "video_count_exceeded"),
            (Limits(storage_quota_bytes=2500), "storage_quota_exceeded"),
            (Limits(daily_upload_limit=2), "daily_uploads_exceeded"),
        ],
    )
    def test_what_fits_is_claimed_and_the_rest_is_rejected_with_a_reason(
        self, catalog, videos, tenant, limits, kind
    ):
        catalog.set_tier_limits("free", limits)
        made = [videos.uploaded().video_id for _ in range(3)]
        assert [video.video_id for video in catalog.claim_new_videos()] == made[:2]
        refused = catalog.get_video(made[2])
        assert refused.layout.status == "error"
        assert refused.layout.error_details["error_type"] == "QuotaExceededError"
        (rejection,) = catalog.list_rejections(tenant.tenant_id)
        assert (rejection.video_id, rejection.rejection_type) == (made[2], kind)
        assert rejection.message == refused.error
        # It is not reported again and again, and nothing else is claimed.
        assert catalog.claim_new_videos(restart_after_seconds=0)[0].video_id == made[0]
        assert len(catalog.list_rejections(tenant.tenant_id)) == 1

    def test_minutes_of_this_month_are_a_limit(self, catalog, videos, tenant, database):
        catalog.set_tenant_limits(tenant.tenant_id, Limits(processing_minutes_limit=30))
        catalog.record_usage(tenant.tenant_id, "processing_minutes", 30)
        video_id = videos.uploaded().video_id
        assert catalog.claim_new_videos() == []
        assert catalog.list_rejections(tenant.tenant_id)[0].rejection_type == "processing_minutes_exceeded"
        database.execute("update captionacc.usage_metrics set recorded_at = recorded_at - interval '32 days'")
        catalog.retry_stage(video_id, "layout")
        assert [video.video_id for video in catalog.claim_new_videos()] == [video_id]

    def test_deleting_makes_room_but_not_for_the_days_uploads(self, catalog, videos, tenant):
        catalog.set_tier_limits("free", Limits(video_count_limit=1, storage_quota_bytes=1000))
        first, second = videos.uploaded().video_id, videos.uploaded().video_id
        assert len(catalog.claim_new_videos()) == 1
        catalog.soft_delete_video(first)
        catalog.retry_stage(second, "layout")
        assert [video.video_id for video in catalog.claim_new_videos()] == [second]
        counted = catalog.get_tenant(tenant.tenant_id)
        assert (counted.accepted_video_count, counted.accepted_bytes) == (1, 1000)
        catalog.set_tier_limits("free", Limits(daily_upload_limit=2))
        catalog.soft_delete_video(second)
        videos.uploaded()
        assert catalog.claim_new_videos() == []

    def test_a_video_that_was_accepted_stays_so(self, catalog, videos):
        catalog.set_tier_limits("free", Limits(video_count_limit=1))
        video_id = videos.uploaded().video_id
        assert len(catalog.claim_new_videos()) == 1
        for _ in range(2):
            (again,) = catalog.claim_new_videos(restart_after_seconds=0)
            assert again.video_id == video_id
        catalog.begin_stage(video_id, "layout", "run")
        catalog.fail_stage(video_id, "layout", "run", "broken")
        catalog.retry_stage(video_id, "layout")
        assert len(catalog.claim_new_videos()) == 1

    def test_a_run_that_nobody_claimed_for_counts_too(self, catalog, videos, tenant):
        catalog.begin_stage(videos.uploaded().video_id, "layout", "by hand")
        assert catalog.get_tenant(tenant.tenant_id).accepted_video_count == 1

    def test_a_tenants_own_limit_counts_before_its_tiers_and_exemption_before_both(
        self, catalog, videos, tenant
    ):
        catalog.set_tier_limits("free", Limits(video_count_limit=0, daily_upload_limit=7))
        assert catalog.tenant_limits(tenant.tenant_id) == Limits(video_count_limit=0, daily_upload_limit=7)
        catalog.set_tenant_limits(tenant.tenant_id, Limits(video_count_limit=1))
        assert catalog.tenant_limits(tenant.tenant_id) == Limits(video_count_limit=1, daily_upload_limit=7)
        videos.uploaded(), videos.uploaded()
        assert len(catalog.claim_new_videos()) == 1
        catalog.set_tenant_limits(tenant.tenant_id, Limits(), quota_exempt=True)
        assert catalog.tenant_limits(tenant.tenant_id) == Limits()
        videos.uploaded()
        assert len(catalog.claim_new_videos()) == 1

    def test_a_tenants_tier_is_the_tenants(self, catalog, tenant):
        catalog.set_tier_limits("free", Limits(video_count_limit=0))
        assert catalog.set_tenant_tier(tenant.tenant_id, "enterprise").tier == "enterprise"
        assert catalog.tenant_limits(tenant.tenant_id) == Limits()
        tiers = {tier.tier: tier.base_priority for tier in catalog.list_access_tiers()}
        assert tiers == {"free": 50, "premium": 70, "enterprise": 90}
        with pytest.raises(InvalidArgumentError, match="gold"):
            catalog.set_tenant_tier(tenant.tenant_id, "gold")
        with pytest.raises(UnknownTenantError):
            catalog.set_tenant_tier(NOBODY, "free")
        with pytest.raises(InvalidArgumentError, match="negative"):
            catalog.set_tier_limits("free", Limits(video_count_limit=-1))

    def test_one_tenants_limit_does_not_hold_up_another(self, catalog, videos, tenant):
        catalog.set_tenant_limits(tenant.tenant_id, Limits(video_count_limit=0))
        mine = videos.uploaded().video_id
        videos.tenant = catalog.ensure_tenant(NOBODY, "other")
        other = videos.uploaded().video_id
        assert [video.video_id for video in catalog.claim_new_videos()] == [other]
        assert catalog.list_rejections(NOBODY) == []
        assert catalog.get_video(mine).layout.status == "error"

    def test_claimers_at_once_never_go_beyond_a_quota_together(self, catalog, videos, tenant):
        catalog.set_tier_limits("free", Limits(video_count_limit=7))
        for _ in range(16):
            videos.uploaded()
        barrier = threading.Barrier(4)

        def claim(_: int) -> int:
            barrier.wait()
            return len(catalog.claim_new_videos(4))

        with ThreadPoolExecutor(4) as threads:
            claimed = sum(threads.map(claim, range(4)))
        claimed += len(catalog.claim_new_videos(100))
        assert claimed == 7
        assert catalog.get_tenant(tenant.tenant_id).accepted_video_count == 7


class TestOneVideosClaim:
    def test_it_is_the_same_claim(self, catalog, videos):
        first, second = videos.uploaded().video_id, videos.uploaded().video_id
        claimed = catalog.claim_new_video(second)
        assert (claimed.video_id, claimed.layout.attempts) == (second, 1)
        assert catalog.claim_new_video(second) is None
        assert [video.video_id for video in catalog.claim_new_videos()] == [first]
        assert catalog.claim_new_video(NOBODY) is None
        assert catalog.claim_new_video(videos.uploaded(uploaded=False).video_id) is None
        assert catalog.claim_new_video(second, restart_after_seconds=0).layout.attempts == 1

    def test_a_returned_claim_is_available_as_the_same_attempt(self, catalog, videos):
        video_id = videos.uploaded().video_id
        attempt = catalog.claim_new_video(video_id).layout.attempts
        assert catalog.return_claims("layout", {video_id: attempt}) == 1
        assert [video.layout.attempts for video in catalog.claim_new_videos()] == [attempt]

    def test_it_respects_the_quota(self, catalog, videos, tenant):
        catalog.set_tier_limits("free", Limits(video_count_limit=0))
        assert catalog.claim_new_video(videos.uploaded().video_id) is None
        assert len(catalog.list_rejections(tenant.tenant_id)) == 1


class TestRejections:
    def test_one_is_recorded_listed_and_acknowledged_once(self, catalog, videos, tenant):
        video = videos.uploaded()
        made = catalog.record_rejection(
            tenant.tenant_id,
            "frame_count_exceeded",
            "too long: 900000 frames",
            video_id=video.video_id,
            frame_count=900_000,
            estimated_cost_usd=4.5,
            model_version="net-1",
        )
        assert catalog.list_rejections(tenant.tenant_id) == [made]
        taken = catalog.acknowledge_rejection(made.id, "ann")
        assert taken.acknowledged_by == "ann"
        assert catalog.acknowledge_rejection(made.id, "bob") == taken
        assert catalog.list_rejections(tenant.tenant_id) == []
        assert catalog.list_rejections(tenant.tenant_id, include_acknowledged=True) == [taken]

    def test_invalid_input_is_refused(self, catalog, videos, tenant):
        with pytest.raises(InvalidArgumentError):
            catalog.record_rejection(tenant.tenant_id, "bad_luck", "why")
        with pytest.raises(InvalidArgumentError):
            catalog.record_rejection(tenant.tenant_id, "queue_full", "")
        with pytest.raises(UnknownVideoError):
            catalog.record_rejection(tenant.tenant_id, "queue_full", "why", video_id=NOBODY)
        with pytest.raises(UnknownTenantError):
            catalog.record_rejection(NOBODY, "queue_full", "why")
        with pytest.raises(UnknownRequestError):
            catalog.acknowledge_rejection(NOBODY, "ann")


class TestCaptionOcrRequests:
    def test_a_request_goes_through_its_states(self, catalog, videos):
        video_id = videos.with_captions().video_id
        asked = catalog.request_caption_ocr(video_id, [3, 1, 3], requested_by="ann")
        assert (asked.caption_ids, asked.status, asked.cropped_frames_version) == ([1, 3], "queued", 1)
        assert catalog.request_caption_ocr(video_id, [1, 3], requested_by="bob") == asked
        everything = catalog.request_caption_ocr(video_id)
        assert everything.caption_ids is None
        claimed = catalog.claim_caption_ocr_requests()
        assert [(request.id, request.attempts) for request in claimed] == [(asked.id, 1), (everything.id, 1)]
        assert catalog.claim_caption_ocr_requests() == []
        assert [r.attempts for r in catalog.claim_caption_ocr_requests(1, restart_after_seconds=0)] == [1]
        catalog.begin_caption_ocr_request(asked.id, "run")
        done = catalog.finish_caption_ocr_request(asked.id, "run", caption_count=2)
        assert (done.status, done.caption_count) == ("completed", 2)
        assert catalog.finish_caption_ocr_request(asked.id, "run", caption_count=2) == done
        catalog.begin_caption_ocr_request(everything.id, "run")
        failed = catalog.fail_caption_ocr_request(everything.id, "run", "no\0 disk")
        assert (failed.status, failed.error_message) == ("failed", "no disk")
        assert [request.status for request in catalog.list_caption_ocr_requests(video_id)] == [
            "failed",
            "completed",
        ]

    def test_only_its_worker_may_end_it(self, catalog, videos):
        request = catalog.request_caption_ocr(videos.with_captions().video_id)
        with pytest.raises(WrongStateError, match="queued"):
            catalog.finish_caption_ocr_request(request.id, "run", caption_count=1)
        catalog.begin_caption_ocr_request(request.id, "first")
        catalog.begin_caption_ocr_request(request.id, "second")
        with pytest.raises(WrongStateError, match="run first does not work"):
            catalog.finish_caption_ocr_request(request.id, "first", caption_count=1)
        catalog.finish_caption_ocr_request(request.id, "second", caption_count=1)
        with pytest.raises(WrongStateError, match="is completed"):
            catalog.begin_caption_ocr_request(request.id, "third")
        with pytest.raises(UnknownRequestError):
            catalog.begin_caption_ocr_request(NOBODY, "run")

    @pytest.mark.parametrize("ids", [[], [0], [-1], list(range(1, 10_002))])
    def test_invalid_ids_are_refused(self, catalog, videos, ids):
        with pytest.raises(InvalidArgumentError, match="caption ids"):
            catalog.request_caption_ocr(videos.with_captions().video_id, ids)

    def test_there_must_be_captions_and_a_new_region_or_deletion_ends_what_waits(self, catalog, videos):
        with pytest.raises(WrongStateError, match="no captions"):
            catalog.request_caption_ocr(videos.cropping().video_id)
        video_id = videos.with_captions().video_id
        request = catalog.request_caption_ocr(video_id)
        catalog.begin_caption_ocr_request(request.id, "run")
        catalog.approve_layout(video_id, "ann", OTHER_STRIP)
        assert [r.status for r in catalog.list_caption_ocr_requests(video_id)] == ["cancelled"]
        with pytest.raises(WrongStateError):
            catalog.finish_caption_ocr_request(request.id, "run", caption_count=1)
        other = videos.with_captions().video_id
        catalog.request_caption_ocr(other)
        catalog.soft_delete_video(other)
        assert catalog.claim_caption_ocr_requests() == []

    def test_a_request_that_no_run_begins_ends_in_an_error(self, catalog, videos):
        video_id = videos.with_captions().video_id
        catalog.request_caption_ocr(video_id)
        for _ in range(2):
            assert len(catalog.claim_caption_ocr_requests(restart_after_seconds=0, max_unstarted=2)) == 1
        assert catalog.claim_caption_ocr_requests(restart_after_seconds=0, max_unstarted=2) == []
        (request,) = catalog.list_caption_ocr_requests(video_id)
        assert request.error_message == "requested 2 times, but no run began"


class TestCancelling:
    def test_a_running_run_is_listed_to_be_ended_and_then_refused(self, catalog, videos, make_outcome):
        video_id = videos.uploaded().video_id
        catalog.claim_new_videos()
        catalog.begin_stage(video_id, "layout", "run")
        video = catalog.cancel_stage(video_id, "layout", "ann")
        assert (video.layout.status, video.layout.run_id) == ("error", None)
        assert video.error == "cancelled by ann"
        assert catalog.cancel_stage(video_id, "layout", "bob") == video
        for late in (
            lambda: catalog.finish_layout(video_id, "run", make_outcome()),
            lambda: catalog.begin_stage(video_id, "layout", "run"),
        ):
            with pytest.raises(WrongStateError):
                late()
        # Its word that it was stopped changes nothing.
        assert catalog.fail_stage(video_id, "layout", "run", "interrupted") == video
        (cancelled,) = catalog.pending_run_cancellations()
        assert (cancelled.run_id, cancelled.stage, cancelled.requested_by) == ("run", "layout", "ann")
        catalog.finish_run_cancellation("run")
        assert catalog.pending_run_cancellations() == []
        with pytest.raises(UnknownRequestError):
            catalog.finish_run_cancellation("other")

    def test_a_run_that_still_waited_in_its_queue_may_not_begin_until_a_retry(self, catalog, videos):
        video_id = videos.uploaded().video_id
        catalog.claim_new_videos()
        catalog.cancel_stage(video_id, "layout", "ann")
        assert catalog.pending_run_cancellations() == []
        with pytest.raises(WrongStateError, match=r"was cancelled.*Retry it first"):
            catalog.begin_stage(video_id, "layout", "queued run")
        assert catalog.claim_new_videos(restart_after_seconds=0) == []
        catalog.retry_stage(video_id, "layout")
        assert [video.layout.attempts for video in catalog.claim_new_videos()] == [2]
        catalog.begin_stage(video_id, "layout", "new run")

    def test_there_must_be_something_to_cancel(self, catalog, videos):
        video_id = videos.read().video_id
        for stage in ("layout", "boundaries", "text"):
            with pytest.raises(WrongStateError, match="nothing works on"):
                catalog.cancel_stage(video_id, stage, "ann")
        waiting = videos.uploaded().video_id
        with pytest.raises(WrongStateError):
            catalog.cancel_stage(waiting, "boundaries", "ann")

    def test_cancelling_the_text_ends_its_requests(self, catalog, videos):
        video_id = videos.with_captions().video_id
        catalog.request_caption_ocr(video_id, [1])
        catalog.cancel_stage(video_id, "text", "ann")
        assert [r.status for r in catalog.list_caption_ocr_requests(video_id)] == ["cancelled"]


class TestVersionsUpkeep:
    def test_objects_of_ended_versions_are_removed_once(self, catalog, videos):
        video_id = videos.with_captions().video_id
        catalog.begin_stage(video_id, "boundaries", "second")
        strip = catalog.get_video(video_id).crop_region
        for _ in range(2):
            version = catalog.allot_cropped_frames_version(video_id, "second", strip)
        catalog.activate_cropped_frames_version(
            video_id, version, chunk_count=1, total_frames=1, total_size_bytes=1
        )
        assert catalog.removable_cropped_frames_versions() == []
        removable = catalog.removable_cropped_frames_versions(older_than_seconds=0)
        assert [(v.version, v.status) for v in removable] == [(1, "archived"), (2, "failed")]
        removed = catalog.mark_objects_removed(video_id, 1)
        assert removed.objects_removed_at is not None
        assert catalog.mark_objects_removed(video_id, 1) == removed
        assert [v.version for v in catalog.removable_cropped_frames_versions(older_than_seconds=0)] == [2]
        with pytest.raises(WrongStateError, match="its objects are needed"):
            catalog.mark_objects_removed(video_id, 3)

    def test_a_version_on_which_captions_rest_is_not_archived(self, catalog, videos):
        video_id = videos.with_captions().video_id
        with pytest.raises(WrongStateError, match="captions were made from"):
            catalog.archive_cropped_frames_version(video_id, 1)
        catalog.approve_layout(video_id, "ann", OTHER_STRIP)
        assert catalog.archive_cropped_frames_version(video_id, 1).status == "archived"
        assert catalog.archive_cropped_frames_version(video_id, 1).status == "archived"
        assert catalog.get_video(video_id).current_cropped_frames_version is None

    def test_the_labels_of_the_active_version_are_known(self, catalog, videos):
        video = videos.with_captions()
        assert catalog.current_inference_run(video.video_id) is None
        made = catalog.record_inference_run(
            video.video_id,
            1,
            "run",
            model_version="net-1",
            storage_key=f"{video.tenant_id}/k",
            total_pairs=79,
            processing_time_seconds=1,
            started_at=video.created_at,
            completed_at=video.updated_at,
        )
        found = catalog.current_inference_run(video.video_id)
        assert (found.id, found.model_version, found.total_pairs) == (made, "net-1", 79)


class TestPeople:
    def test_a_profile_is_made_and_changed_and_both_are_on_record(self, catalog, tenant, database):
        user = str(uuid.uuid4())
        made = catalog.set_user_profile(user, tenant.tenant_id)
        assert (made.role, made.approval_status, made.is_platform_admin) == ("member", "pending", False)
        changed = catalog.set_user_profile(user, tenant.tenant_id, role="owner", approval_status="approved")
        assert (changed.role, changed.approval_status) == ("owner", "approved")
        rows = database.execute(
            "select action, outcome, details ->> 'role' from captionacc.security_audit_log order by id"
        ).fetchall()
        assert rows == [("set_user_profile", "allowed", "member"), ("set_user_profile", "allowed", "owner")]
        with pytest.raises(UnknownTenantError):
            catalog.set_user_profile(user, NOBODY)
        with pytest.raises(InvalidArgumentError, match="king"):
            catalog.set_user_profile(user, tenant.tenant_id, role="king")
