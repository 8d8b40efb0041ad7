"""Claims take turns among tenants, and leave a tenant's further videos where they are. On both transports."""

import uuid
from collections import Counter

import psycopg
import pytest

from captionacc_dagster.resources.catalog import Catalog, InvalidArgumentError, VideoRow


@pytest.fixture
def upload(catalog: Catalog):
    """``upload(tenant)`` registers a video of a tenant that is named by a letter."""

    def make(letter: str) -> VideoRow:
        tenant_id = str(uuid.UUID(int=ord(letter)))
        catalog.ensure_tenant(tenant_id, letter)
        video_id = str(uuid.uuid4())
        return catalog.register_video(tenant_id, video_id, f"{tenant_id}/{video_id}", 1, f"{letter}.mp4")

    return make


def letters(rows) -> str:
    return "".join(sorted(chr(uuid.UUID(row.tenant_id).int) for row in rows))


def test_a_claim_takes_of_each_tenant_in_turn(catalog: Catalog, upload):
    for letter in "aaaaaaaabbc":
        upload(letter)
    assert letters(catalog.claim_new_videos(3)) == "abc"
    # b's second one waits for as long as a's third: its turn is the second of b's.
    assert letters(catalog.claim_new_videos(2)) == "ab"
    assert letters(catalog.claim_new_videos(100)) == "aaaaaa"
    assert catalog.claim_new_videos(100) == []


def test_a_single_video_is_claimed_beside_a_thousand_of_another_tenant(catalog: Catalog, upload):
    for _ in range(60):
        upload("a")
    assert letters(catalog.claim_new_videos(50, tenant_limit=20)) == "a" * 20
    upload("b")
    assert letters(catalog.claim_new_videos(50, tenant_limit=20)) == "b"


def test_at_most_the_tenants_limit_waits_for_runs(catalog: Catalog, upload):
    for _ in range(5):
        upload("a")
    claimed = catalog.claim_new_videos(10, tenant_limit=3)
    assert len(claimed) == 3
    assert catalog.claim_new_videos(10, tenant_limit=3) == []
    catalog.begin_stage(claimed[0].video_id, "layout", "run-1")
    assert len(catalog.claim_new_videos(10, tenant_limit=3)) == 1


def test_a_tenants_own_videos_are_handed_out_oldest_first(catalog: Catalog, upload):
    made = [upload("a").video_id for _ in range(4)]
    claimed = [row.video_id for _ in range(4) for row in catalog.claim_new_videos(1)]
    assert claimed == made


def test_old_requests_are_repeated_beyond_the_limit(catalog: Catalog, upload):
    for _ in range(2):
        upload("a")
    assert len(catalog.claim_new_videos(10, tenant_limit=2)) == 2
    again = catalog.claim_new_videos(10, restart_after_seconds=0, tenant_limit=2)
    assert [row.layout.attempts for row in again] == [1, 1]


def test_uploads_whose_runs_never_begin_block_their_tenant_for_a_while_only(catalog: Catalog, upload):
    broken = upload("a").video_id
    for _ in range(4):
        assert len(catalog.claim_new_videos(10, restart_after_seconds=0, tenant_limit=1)) == 1
    whole = upload("a").video_id
    assert catalog.claim_new_videos(10, tenant_limit=1) == []
    catalog.claim_new_videos(10, restart_after_seconds=0, tenant_limit=1, max_unstarted=96)
    claimed = catalog.claim_new_videos(10, tenant_limit=1)
    assert [row.video_id for row in claimed] == [whole] != [broken]


def test_approvals_and_texts_take_turns_too(catalog: Catalog, upload, database: psycopg.Connection):
    for letter in "aaab":
        upload(letter)
    crop = '{"crop_left": 0, "crop_top": 0.8, "crop_right": 1, "crop_bottom": 1}'
    database.execute(
        "update captionacc.videos set layout_status = 'done', crop_region = %s, crop_region_version = 1,"
        " layout_approved_at = now(), layout_approved_by = 'ann'",
        [crop],
    )
    assert letters(catalog.pending_layout_approvals(2)) == "ab"
    assert letters(catalog.pending_layout_approvals(9, tenant_limit=2)) == "a"
    database.execute(
        "insert into captionacc.cropped_frames_versions (video_id, version, tenant_id, run_id, crop_region,"
        " crop_region_version, status, activated_at, chunk_count, total_frames, total_size_bytes)"
        " select id, 1, tenant_id, 'run', crop_region, 1, 'active', now(), 1, 1, 1 from captionacc.videos"
    )
    database.execute(
        "update captionacc.videos set boundaries_status = 'annotate', current_cropped_frames_version = 1,"
        " caption_count = 1, boundaries_finished_at = now()"
    )
    assert letters(catalog.pending_text(2)) == "ab"
    assert letters(catalog.pending_text(9, tenant_limit=2)) == "a"


def test_requests_of_captions_text_take_turns_too(catalog: Catalog, videos, database: psycopg.Connection):
    ours = videos.read()
    for caption in range(1, 5):
        catalog.request_caption_ocr(ours.video_id, [caption])
    other = str(uuid.uuid4())
    catalog.ensure_tenant(other, "other")
    theirs = videos.read()
    catalog.request_caption_ocr(theirs.video_id)
    database.execute(
        "update captionacc.caption_ocr_requests set tenant_id = %s where video_id = %s",
        [other, theirs.video_id],
    )
    claimed = catalog.claim_caption_ocr_requests(2)
    assert Counter(row.video_id for row in claimed) == {ours.video_id: 1, theirs.video_id: 1}
    assert len(catalog.claim_caption_ocr_requests(9, tenant_limit=2)) == 1
    assert catalog.claim_caption_ocr_requests(9, tenant_limit=2) == []


def test_a_limit_that_admits_no_run_is_refused(catalog: Catalog):
    for claim in (
        catalog.claim_new_videos,
        catalog.pending_layout_approvals,
        catalog.pending_text,
        catalog.claim_caption_ocr_requests,
    ):
        with pytest.raises(InvalidArgumentError):
            claim(5, tenant_limit=0)
