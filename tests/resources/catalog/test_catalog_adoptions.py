"""Rows of adopted videos: written once, written again only while nothing has changed here."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from captionacc_dagster.resources.catalog import (
    STAGES,
    AlreadyRegisteredError,
    InvalidArgumentError,
    UnknownTenantError,
    VideoDeletedError,
    WrongStateError,
)
from captionacc_dagster.resources.catalog.rows.adoptions import AdoptedVideo
from modal_gpu.contracts import CropRegion
from tests.resources.catalog.conftest import NOBODY

STRIP = CropRegion(0.1, 0.8, 0.9, 0.95)
LONG_AGO = datetime(2026, 1, 20, tzinfo=UTC)


@pytest.fixture
def complete(tenant) -> AdoptedVideo:
    video_id = str(uuid.uuid4())
    prefix = f"{tenant.tenant_id}/client/videos/{video_id}"
    return AdoptedVideo(
        tenant_id=tenant.tenant_id,
        video_id=video_id,
        fingerprint="a" * 64,
        storage_key=f"{prefix}/video.mp4",
        size_bytes=1000,
        display_path="holiday.mp4",
        partition_key=f"holiday.mp4~{video_id}",
        uploaded_at=LONG_AGO,
        duration_seconds=51.2,
        width=1280,
        height=720,
        frame_count=512,
        full_frame_count=5,
        ocr_box_count=9,
        layout_status="done",
        proposed_crop_region=STRIP,
        crop_region=STRIP,
        approved_by="ann",
        has_layout_db=True,
        boundaries_status="annotate",
        version={
            "version": 3,
            "chunk_count": 16,
            "total_frames": 512,
            "total_size_bytes": 5000,
            "run_id": "r",
            "model_version": "mrn0fkfd_a4b1a61c",
            "storage_key": f"{tenant.tenant_id}/server/videos/{video_id}/caption_frame_extents_v3.db.gz",
            "processing_time_seconds": 1.5,
            "started_at": "2026-01-21T10:00:00+00:00",
            "completed_at": "2026-01-21T10:01:00+00:00",
        },
        caption_count=4,
        has_captions_db=True,
        text_status="done",
        text_caption_count=4,
    )


def test_an_adopted_video_is_as_if_it_had_been_made_here(catalog, complete):
    row = catalog.adopt_video(complete)
    assert [row.stage(stage).status for stage in STAGES] == ["done", "annotate", "done"]
    assert (row.crop_region, row.crop_region_version, row.layout_approved_by) == (STRIP, 1, "ann")
    assert (row.created_at, row.accepted_at, row.partition_key) == (
        LONG_AGO,
        LONG_AGO,
        complete.partition_key,
    )
    assert row.media().frame_count == 512
    (version,) = catalog.list_cropped_frames_versions(row.video_id)
    assert (version.version, version.status, version.total_frames) == (3, "active", 512)
    made_by = catalog.current_inference_run(row.video_id)
    assert (made_by.model_version, made_by.total_pairs) == ("mrn0fkfd_a4b1a61c", 511)
    assert [catalog.database_version(row.video_id, name) for name in ("layout", "captions")] == [1, 1]
    tenant = catalog.get_tenant(row.tenant_id)
    assert (tenant.accepted_video_count, tenant.accepted_bytes) == (1, 1000)


def test_the_next_run_continues_from_it(catalog, complete):
    video_id = catalog.adopt_video(complete).video_id
    catalog.begin_stage(video_id, "boundaries", "run")
    assert catalog.allot_cropped_frames_version(video_id, "run", STRIP) == 4


def test_what_waits_is_claimed(catalog, complete):
    waiting = replace(
        complete, boundaries_status="wait", version=None, caption_count=None, text_status="wait"
    )
    row = catalog.adopt_video(replace(waiting, approved_at=LONG_AGO))
    (backlog,) = [line for line in catalog.stage_backlog() if line.stage == "boundaries"]
    assert row.layout_approved_at == LONG_AGO < row.created_at + timedelta(days=1) < backlog.oldest_waiting_at
    (claim,) = catalog.pending_layout_approvals()
    assert claim.video_id == row.video_id


def test_the_same_state_changes_nothing(catalog, complete):
    row = catalog.adopt_video(complete)
    assert catalog.adopt_video(complete) == row
    assert catalog.get_adoption(row.video_id).reported_at is None
    catalog.mark_adoption_reported(row.video_id, complete.fingerprint)
    reported = catalog.get_adoption(row.video_id)
    assert reported.reported_at is not None
    assert catalog.mark_adoption_reported(row.video_id, complete.fingerprint) == reported
    with pytest.raises(WrongStateError):
        catalog.mark_adoption_reported(row.video_id, "b" * 64)


def test_another_state_replaces_an_untouched_row(catalog, complete):
    catalog.adopt_video(complete)
    assert catalog.is_adoption_untouched(complete.video_id)
    changed = replace(complete, fingerprint="b" * 64, caption_count=7, partition_key="x~" + complete.video_id)
    row = catalog.adopt_video(changed)
    assert (row.caption_count, row.partition_key) == (7, complete.partition_key)
    assert catalog.get_tenant(row.tenant_id).accepted_video_count == 1
    assert catalog.get_adoption(row.video_id).fingerprint == "b" * 64


@pytest.mark.parametrize("change", ["edit", "review", "run"])
def test_a_row_that_changed_here_is_not_replaced(catalog, complete, change: str):
    video_id = catalog.adopt_video(complete).video_id
    if change == "edit":
        with catalog.lease(video_id, "captions", "ann") as lease:
            catalog.bump_database_version(lease.token)
    elif change == "review":
        catalog.complete_review(video_id, "boundaries")
    else:
        catalog.begin_stage(video_id, "layout", "run")
    assert not catalog.is_adoption_untouched(video_id)
    with pytest.raises(WrongStateError):
        catalog.adopt_video(replace(complete, fingerprint="b" * 64))


def test_a_video_that_was_registered_here_is_not_adopted(catalog, complete, videos):
    row = videos.uploaded()
    other = replace(complete, video_id=row.video_id, partition_key=row.video_id)
    with pytest.raises(AlreadyRegisteredError):
        catalog.adopt_video(other)
    assert not catalog.is_adoption_untouched(row.video_id)


def test_a_deleted_video_stays_deleted(catalog, complete):
    catalog.adopt_video(complete)
    catalog.soft_delete_video(complete.video_id)
    with pytest.raises(VideoDeletedError):
        catalog.adopt_video(complete)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fingerprint": "short"},
        {"layout_status": "annotate"},
        {"boundaries_status": "wait", "version": None},
        {"version": None},
        {"display_path": ""},
    ],
)
def test_states_that_cannot_be_are_refused(catalog, complete, wrong):
    with pytest.raises(InvalidArgumentError):
        catalog.adopt_video(replace(complete, **wrong))


def test_the_tenant_comes_first(catalog, complete):
    with pytest.raises(UnknownTenantError):
        catalog.adopt_video(
            replace(
                complete,
                tenant_id=NOBODY,
                storage_key=complete.storage_key.replace(complete.tenant_id, NOBODY),
            )
        )
