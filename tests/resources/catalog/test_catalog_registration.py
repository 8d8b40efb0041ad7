"""Contract: tenants, the registration of videos, and that a claim hands out each video once."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from captionacc_dagster.resources.catalog import (
    AlreadyRegisteredError,
    InvalidArgumentError,
    UnknownTenantError,
    UnknownVideoError,
    WrongStateError,
)
from modal_gpu.errors import InvalidIdError
from tests.resources.catalog.conftest import NOBODY, STRIP


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

    def test_a_tenant_is_found_by_its_name_and_by_the_start_of_its_id(self, catalog, tenant):
        other, third = f"feedbeef{uuid.uuid4().hex[8:]}", f"feedbeee{uuid.uuid4().hex[8:]}"
        for one, name in ((other, "Beef & co"), (third, "feedbeef")):
            catalog.ensure_tenant(str(uuid.UUID(one)), name)

        def found(name: str) -> list[str]:
            return [row.tenant_id.replace("-", "") for row in catalog.find_tenants(name)]

        assert found("Beef & co") == found(other) == found(str(uuid.UUID(other)).upper()) == [other]
        assert sorted(found("feedbee")) == sorted(found("feedbeef")) == [third, other]
        assert found("nobody") == found("") == found("0" * 33) == []

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
