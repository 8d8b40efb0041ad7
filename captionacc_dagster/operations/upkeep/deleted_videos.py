"""Objects and partitions of videos that people deleted."""

from collections.abc import Iterator
from functools import partial

from captionacc_dagster.constants import UPKEEP_BATCH
from captionacc_dagster.operations.upkeep.findings import DAY_SECONDS, Finding, Workplace
from captionacc_dagster.partitions import VIDEO_PARTITIONS
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.keys import VideoKeys


def deleted_videos(work: Workplace) -> Iterator[Finding]:
    """Remove the objects and the partition of videos deleted more than ``deleted_days`` ago."""
    seconds = work.policy.deleted_days * DAY_SECONDS
    for video in work.catalog.removable_videos(UPKEEP_BATCH, older_than_seconds=seconds):
        detail = (
            f"{video.display_path}: objects and partition, deleted {video.deleted_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        yield work.handle("deleted video", video.video_id, detail, partial(_remove, work, video))


def _remove(work: Workplace, video: VideoRow) -> None:
    keys = VideoKeys(video.tenant_id, video.video_id)
    work.object_store.delete_prefix(keys.client_prefix)
    work.object_store.delete_prefix(keys.server_prefix)
    work.object_store.delete(video.storage_key)
    work.instance.delete_dynamic_partition(VIDEO_PARTITIONS, video.partition_key)
    work.catalog.mark_video_objects_removed(video.video_id)
