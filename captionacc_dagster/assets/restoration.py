"""Restoration of partitions and materializations that Dagster has lost and the catalogue still records.

A person deletes a partition, wipes an asset or deletes a run in Dagster's UI. The objects and the rows
still exist, so nothing is computed again: the materialization is reported as its run reported it, or from
the row if Dagster has lost that run as well.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from captionacc_dagster.assets.external import approval_event, layout_approval, source_video, upload_event
from captionacc_dagster.assets.pictures.links import address
from captionacc_dagster.partitions import VIDEO_PARTITIONS
from captionacc_dagster.resources.catalog import LayoutApproval, Stage, VideoRow
from modal_gpu.errors import StorageError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)

#: Time that a run has, after it wrote the row, to report its materializations.
SETTLED = timedelta(minutes=5)
#: Assets that the runs of each stage make.
MADE_BY: Mapping[Stage, tuple[str, ...]] = {
    "layout": ("full_frames", "raw_ocr_db", "layout_db"),
    "boundaries": ("cropped_chunks", "caption_frame_extents_db", "captions_db"),
    "text": ("caption_ocr", "subtitles"),
}
SOURCE, APPROVAL = source_video.key.to_user_string(), layout_approval.key.to_user_string()
ASSETS = (SOURCE, *MADE_BY["layout"], APPROVAL, *MADE_BY["boundaries"], *MADE_BY["text"])


def is_known(video: VideoRow) -> bool:
    """Return whether Dagster should have the video's partition: a run has begun it, nobody deleted it."""
    return video.deleted_at is None and video.layout.tries > 0


def materialized_assets(video: VideoRow, now: datetime) -> set[str]:
    """Return the names of the assets that exist according to the row and must have been reported by now.

    A stage that waits, failed or is being worked on is left out: its assets are made again in any case.
    """
    if not is_known(video):
        return set()
    made = {SOURCE} if _before(video.layout.started_at, now - SETTLED) else set()
    for stage, assets in MADE_BY.items():
        state = video.stage(stage)
        is_made = state.status in ("annotate", "done") and state.run_id is None
        if is_made and _before(state.finished_at, now - SETTLED):
            made.update(assets)
    if video.boundaries.tries > 0 and video.crop_region and _before(video.layout_approved_at, now - SETTLED):
        made.add(APPROVAL)
    return made


def _before(moment: datetime | None, limit: datetime) -> bool:
    return moment is not None and moment < limit


@dataclass(frozen=True)
class Lost:
    """Partitions and materializations of some videos that Dagster does not have."""

    partitions: list[str]
    #: Assets of each video, by its partition key.
    materializations: Mapping[str, list[str]]

    def __bool__(self) -> bool:
        return bool(self.partitions or self.materializations)


def find_lost(
    rows: Sequence[VideoRow], partitions: Collection[str], instance: dg.DagsterInstance, now: datetime
) -> Lost:
    """Compare rows with Dagster, with one indexed query for each asset."""
    made = {row.partition_key: materialized_assets(row, now) for row in rows}
    lost: dict[str, list[str]] = {}
    for asset in ASSETS:
        wanted = {key for key, assets in made.items() if asset in assets}
        if not wanted:
            continue
        known = instance.get_latest_storage_id_by_partition(
            dg.AssetKey(asset), dg.DagsterEventType.ASSET_MATERIALIZATION, wanted
        )
        for key in sorted(wanted - known.keys()):
            lost.setdefault(key, []).append(asset)
    missing = [row.partition_key for row in rows if is_known(row) and row.partition_key not in partitions]
    return Lost(missing, lost)


@dataclass
class Restorer:
    """Builds the events that restore a video's materializations."""

    instance: dg.DagsterInstance
    object_store: ObjectStore
    _reported: dict[tuple[str, str], dict[str, dg.AssetMaterialization]] = field(default_factory=dict)

    def events(self, video: VideoRow, assets: Iterable[str]) -> Iterator[dg.AssetMaterialization]:
        """Yield one event for each asset, except for an upload whose object cannot be read now."""
        for asset in assets:
            if asset == SOURCE:
                try:
                    yield _restored(upload_event(video, self.object_store))
                except StorageError as error:
                    _log.warning("the upload of video %s is not restored: %s", video.video_id, error)
            elif asset == APPROVAL:
                yield _restored(approval_event(LayoutApproval.of(video)))
            else:
                yield _restored(
                    self._as_reported(video, asset)
                    or materialization_from_row(video, asset, self.object_store)
                )

    def _as_reported(self, video: VideoRow, asset: str) -> dg.AssetMaterialization | None:
        stage = next(stage for stage, assets in MADE_BY.items() if asset in assets)
        run_id = video.stage(stage).last_run_id
        if run_id is None:
            return None
        key = (run_id, video.video_id)
        if key not in self._reported:
            self._reported[key] = dict(_reported_by(self.instance, run_id, video.partition_key))
        return self._reported[key].get(asset)


def _reported_by(
    instance: dg.DagsterInstance, run_id: str, partition: str
) -> Iterator[tuple[str, dg.AssetMaterialization]]:
    """Yield a run's materializations of a partition; a wipe hides them from the asset, not from the run."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    for record in records:
        event = record.asset_materialization
        if event is not None and event.partition == partition:
            yield event.asset_key.to_user_string(), event


def materialization_from_row(
    video: VideoRow, asset: str, object_store: ObjectStore
) -> dg.AssetMaterialization:
    """Return a materialization with the row's facts. Without a code version Dagster may show it as stale."""
    keys, version = VideoKeys(video.tenant_id, video.video_id), video.current_cropped_frames_version
    facts: dict[str, Any] = {}
    if asset == "full_frames":
        uri, facts = keys.full_frames_prefix, {"frames": video.full_frame_count}
    elif asset == "raw_ocr_db":
        uri, facts = keys.raw_ocr_db, {"ocr_boxes": video.ocr_box_count}
    elif asset == "layout_db":
        uri, facts = keys.layout_db, {"confidence": video.layout_confidence}
    elif asset == "cropped_chunks":
        uri = keys.cropped_frames_prefix(version) if version else keys.client_prefix
        facts = {"version": version}
    elif asset == "caption_frame_extents_db":
        uri = keys.caption_frame_extents_db(version) if version else keys.server_prefix
        facts = {"version": version}
    elif asset == "subtitles":
        uri, facts = keys.srt, {"captions": video.text_caption_count}
    else:
        uri, facts = keys.captions_db, {"captions": video.caption_count}
    return dg.AssetMaterialization(
        asset_key=asset,
        partition=video.partition_key,
        metadata={
            "dagster/uri": address(object_store, uri),
            **{name: value for name, value in facts.items() if value is not None},
        },
    )


def _restored(event: dg.AssetMaterialization) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        asset_key=event.asset_key,
        description=event.description,
        partition=event.partition,
        metadata={**event.metadata, "restored": dg.MetadataValue.bool(True)},
        tags=event.tags,
    )


def known_partitions(instance: dg.DagsterInstance) -> set[str]:
    """Return all of Dagster's partitions; 100,000 take 0.3 s."""
    return set(instance.get_dynamic_partitions(VIDEO_PARTITIONS))
