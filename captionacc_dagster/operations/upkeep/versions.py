"""Versions of cropped frames that were abandoned, and objects of those that nobody reads any more."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

from captionacc_dagster.constants import UPKEEP_BATCH
from captionacc_dagster.operations.upkeep.findings import DAY_SECONDS, Finding, Kind, Workplace
from captionacc_dagster.resources.catalog import CroppedFramesVersion
from modal_gpu.keys import VideoKeys


def abandoned_versions(work: Workplace) -> Iterator[Finding]:
    """Mark versions as failed that no run works on any more."""
    seconds = work.policy.failed_days * DAY_SECONDS
    for version in work.catalog.abandoned_cropped_frames_versions(UPKEEP_BATCH, older_than_seconds=seconds):
        detail = f"version {version.version}, unfinished since {version.created_at:%Y-%m-%d %H:%M:%S} UTC"
        yield work.handle("abandoned version", version.video_id, detail, partial(_abandon, work, version))


def _abandon(work: Workplace, version: CroppedFramesVersion) -> None:
    message = "abandoned: no run works on it any more"
    work.catalog.fail_cropped_frames_version(
        version.video_id, version.version, message, run_id=version.run_id
    )


def failed_versions(work: Workplace) -> Iterator[Finding]:
    """Remove the objects of versions that failed."""
    return _removable(work, "failed version", "failed", work.policy.failed_days)


def archived_versions(work: Workplace) -> Iterator[Finding]:
    """Remove the objects of versions that a newer one has replaced."""
    return _removable(work, "archived version", "archived", work.policy.archived_days)


def _removable(
    work: Workplace, kind: Kind, status: Literal["failed", "archived"], days: float
) -> Iterator[Finding]:
    versions = work.catalog.removable_cropped_frames_versions(
        UPKEEP_BATCH, older_than_seconds=days * DAY_SECONDS, status=status
    )
    for version in versions:
        size = f", {version.total_size_bytes:,} bytes" if version.total_size_bytes else ""
        detail = f"objects of version {version.version}{size}"
        yield work.handle(kind, version.video_id, detail, partial(_remove, work, version))


def _remove(work: Workplace, version: CroppedFramesVersion) -> None:
    keys = VideoKeys(version.tenant_id, version.video_id)
    work.object_store.delete_prefix(keys.cropped_frames_prefix(version.version))
    work.object_store.delete_prefix(keys.caption_frame_extents_runs(version.version))
    for zone in (0, *(zone.zone_index for zone in version.caption_zones)):
        work.object_store.delete_prefix(keys.caption_frame_extents_parts(version.version, zone))
        work.object_store.delete(keys.caption_frame_extents_db(version.version, zone))
    work.catalog.mark_objects_removed(version.video_id, version.version)
