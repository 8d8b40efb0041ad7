"""Contract: videos are listed in pages; usage is recorded; a fork reads through its own connections."""

import multiprocessing

import pytest

from captionacc_dagster.resources.catalog import InvalidArgumentError
from tests.full_catalog import FullCatalog
from tests.resources.catalog.conftest import NOBODY


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
