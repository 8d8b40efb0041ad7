"""Tries, runs of deleted videos, and what upkeep is given to clear away. On both transports."""

import pytest

from captionacc_dagster.resources.catalog import (
    InvalidArgumentError,
    UnknownVideoError,
    WrongStateError,
)
from tests.resources.catalog.conftest import STRIP

NOBODY = "99999999-9999-4999-8999-999999999999"


class TestTries:
    def test_each_try_of_a_run_counts_once_however_often_it_is_reported(self, catalog, videos):
        video_id = videos.uploaded().video_id
        for attempt in (1, 1, 2, 2, 3):
            row = catalog.begin_stage(video_id, "layout", "run-1", attempt=attempt)
        assert (row.layout.tries, row.layout.run_try) == (3, 3)
        # A late report is about an earlier try.
        assert catalog.begin_stage(video_id, "layout", "run-1", attempt=2).layout.tries == 3

    def test_tries_of_later_runs_are_added(self, catalog, videos):
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", "run-1", attempt=2)
        catalog.fail_stage(video_id, "layout", "run-1", "no luck")
        row = catalog.begin_stage(video_id, "layout", "run-2")
        assert (row.stage("layout").tries, row.stage("layout").run_try) == (3, 1)

    def test_a_run_that_releases_the_stage_and_begins_it_again_is_one_try(self, catalog, videos):
        video_id = videos.cropping().video_id
        catalog.release_stage(video_id, "boundaries", "crop-run")
        assert catalog.begin_stage(video_id, "boundaries", "crop-run").boundaries.tries == 1

    @pytest.mark.parametrize("attempt", [0, -1, 1001])
    def test_an_unusable_try_is_refused(self, catalog, videos, attempt):
        with pytest.raises(InvalidArgumentError):
            catalog.begin_stage(videos.uploaded().video_id, "layout", "run-1", attempt=attempt)


def test_runs_of_a_deleted_video_are_to_be_ended(catalog, videos):
    video = videos.cropping()
    catalog.begin_stage(video.video_id, "layout", "layout-again")
    catalog.soft_delete_video(video.video_id)
    catalog.soft_delete_video(video.video_id)
    pending = catalog.pending_run_cancellations()
    assert {(row.run_id, row.stage) for row in pending} == {
        ("crop-run", "boundaries"),
        ("layout-again", "layout"),
    }


class TestUpkeep:
    def test_leases_that_expired_long_ago_are_removed(self, catalog, videos, database):
        old, recent, held = (videos.uploaded().video_id for _ in range(3))
        for video_id in (old, recent, held):
            catalog.take_lock(video_id, "layout", "somebody", 60)
        ago = "update captionacc.video_database_state set lock_expires_at = now() - %s * interval '1 s'"
        database.execute(ago + " where video_id = %s", [7200, old])
        database.execute(ago + " where video_id = %s", [60, recent])
        assert catalog.clear_expired_locks(older_than_seconds=3600) == 1
        assert {lock.video_id for lock in catalog.list_locks(include_expired=True)} == {recent, held}
        assert catalog.clear_expired_locks(older_than_seconds=0) == 1
        assert [lock.video_id for lock in catalog.list_locks()] == [held]

    def test_removable_versions_can_be_asked_for_by_status(self, catalog, videos):
        failed = videos.cropping()
        version = catalog.allot_cropped_frames_version(failed.video_id, "crop-run", STRIP)
        catalog.fail_cropped_frames_version(failed.video_id, version, "no luck")
        archived = videos.with_captions()
        catalog.begin_stage(archived.video_id, "boundaries", "again")
        version = catalog.allot_cropped_frames_version(archived.video_id, "again", STRIP)
        catalog.activate_cropped_frames_version(
            archived.video_id, version, chunk_count=1, total_frames=1, total_size_bytes=1
        )

        def removable(status):
            rows = catalog.removable_cropped_frames_versions(older_than_seconds=0, status=status)
            return {row.video_id for row in rows}

        assert removable("failed") == {failed.video_id}
        assert removable("archived") == {archived.video_id}
        assert removable(None) == {failed.video_id, archived.video_id}
        with pytest.raises(InvalidArgumentError):
            removable("active")

    def test_unfinished_versions_are_abandoned_when_neither_run_nor_call_goes_on(
        self, catalog, videos, database
    ):
        video = videos.cropping()
        version = catalog.allot_cropped_frames_version(video.video_id, "crop-run", STRIP)

        def abandoned():
            rows = catalog.abandoned_cropped_frames_versions(older_than_seconds=0)
            return [(row.video_id, row.version) for row in rows]

        assert abandoned() == []
        waiter = "11111111-1111-4111-8111-111111111111"
        call = catalog.open_compute_call(
            video.video_id, "crop-run", "crop", "hash", waiter, cropped_frames_version=version
        )
        catalog.fail_stage(video.video_id, "boundaries", "crop-run", "killed")
        assert abandoned() == []
        catalog.cancel_compute_call(call.id)
        assert abandoned() == [(video.video_id, version)]
        assert catalog.abandoned_cropped_frames_versions(older_than_seconds=3600) == []
        catalog.fail_cropped_frames_version(video.video_id, version, "abandoned")
        assert abandoned() == []

    def test_a_deleted_videos_objects_are_removed_once_and_later(self, catalog, videos):
        video_id = videos.with_captions().video_id
        with pytest.raises(WrongStateError):
            catalog.mark_video_objects_removed(video_id)
        catalog.soft_delete_video(video_id)
        assert catalog.removable_videos() == []
        assert [row.video_id for row in catalog.removable_videos(older_than_seconds=0)] == [video_id]
        first = catalog.mark_video_objects_removed(video_id).objects_removed_at
        assert first is not None
        assert catalog.mark_video_objects_removed(video_id).objects_removed_at == first
        assert catalog.removable_videos(older_than_seconds=0) == []
        with pytest.raises(UnknownVideoError):
            catalog.mark_video_objects_removed(NOBODY)
