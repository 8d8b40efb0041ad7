"""Partitions and materializations of adopted videos in Dagster, with the versions of the assets.

A converted file is in the form that the present code writes, so its materialization has the asset's code
version: the UI and backfills call it stale when that changes, not before. Which model made the content is
in the metadata, and in the catalogue, from which backfills choose by model.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from captionacc_dagster.assets.captions import caption_ocr, captions_db, subtitles
from captionacc_dagster.assets.crops import crop_and_infer_caption_frame_extents
from captionacc_dagster.assets.external import approval_event, layout_approval, source_video, upload_event
from captionacc_dagster.assets.layout import extract_frames_and_ocr
from captionacc_dagster.assets.restoration import MADE_BY, materialization_from_row
from captionacc_dagster.dagster_internals.provenance import DATA_VERSION, provenance_tags
from captionacc_dagster.partitions import VIDEO_PARTITIONS
from captionacc_dagster.resources.catalog import STAGES, Catalog, LayoutApproval, VideoRow
from captionacc_dagster.resources.catalog.rows.adoptions import Adoption
from modal_gpu.storage import ObjectStore

#: On each materialization, with the beginning of the fingerprint of what was adopted.
ADOPTED_TAG = "captionacc/adopted"
_DEFINITIONS = (
    extract_frames_and_ocr,
    crop_and_infer_caption_frame_extents,
    captions_db,
    caption_ocr,
    subtitles,
)
#: In the order of the graph, so that each asset comes after its inputs.
ASSETS = (
    "source_video",
    *MADE_BY["layout"],
    "layout_approval",
    *MADE_BY["boundaries"],
    *MADE_BY["text"],
)
Known = Mapping[dg.AssetKey, tuple[str, int]]


def adopted_assets(video: VideoRow) -> set[str]:
    """Return the assets that an adopted video has, by its row."""
    made = {"source_video"}
    for stage in STAGES:
        if video.stage(stage).status != "wait":
            made.update(MADE_BY[stage])
    if video.layout.status != "wait" and video.ocr_box_count is None:
        made.discard("raw_ocr_db")
    if video.layout.status != "wait" and not video.full_frame_count:
        made.discard("full_frames")
    if video.layout.status == "done":
        made.add("layout_approval")
    return made


def report(
    instance: dg.DagsterInstance,
    catalog: Catalog,
    store: ObjectStore,
    adopted: Sequence[tuple[VideoRow, Adoption]],
) -> None:
    """Add the partitions of adopted videos, and report what they have.

    What an interrupted call has reported is not reported again.
    """
    if not adopted:
        return
    instance.add_dynamic_partitions(VIDEO_PARTITIONS, [row.partition_key for row, _ in adopted])
    known: dict[str, dict[dg.AssetKey, tuple[str, int]]] = {row.partition_key: {} for row, _ in adopted}
    for asset in ASSETS:
        having = [(row, adoption) for row, adoption in adopted if asset in adopted_assets(row)]
        key = dg.AssetKey(asset)
        partitions = [row.partition_key for row, _ in having]
        before = _latest(instance, key, partitions)
        versions: dict[str, str | None] = {}
        for row, adoption in having:
            partition = row.partition_key
            tags = _tags(instance, key, partition) if partition in before else {}
            if tags.get(ADOPTED_TAG) != _tag(adoption):
                event = _event(row, adoption, asset, store, known[partition], catalog)
                instance.report_runless_asset_event(event)
                tags = event.tags or {}
            versions[partition] = tags.get(DATA_VERSION)
        for partition, storage_id in _latest(instance, key, partitions).items():
            if (version := versions.get(partition)) is not None:
                known[partition][key] = (version, storage_id)
    for row, adoption in adopted:
        catalog.mark_adoption_reported(row.video_id, adoption.fingerprint)


def _event(
    row: VideoRow, adoption: Adoption, asset: str, store: ObjectStore, known: Known, catalog: Catalog
) -> dg.AssetMaterialization:
    if asset == source_video.key.to_user_string():
        event = upload_event(row, store)
    elif asset == layout_approval.key.to_user_string():
        event = approval_event(LayoutApproval.of(row))
    else:
        event = materialization_from_row(row, asset, store)
    facts: dict[str, Any] = {"adopted": True}
    if asset == "caption_frame_extents_db" and (made_by := catalog.current_inference_run(row.video_id)):
        facts["model_version"] = made_by.model_version
    version = _code_version(event.asset_key)
    inputs = {key: known[key] for key in _inputs(event.asset_key) if key in known}
    tags = {**(event.tags or {}), **provenance_tags(version, inputs)}
    return dg.AssetMaterialization(
        asset_key=event.asset_key,
        description=event.description,
        partition=event.partition,
        metadata={**event.metadata, **facts},
        tags={**tags, ADOPTED_TAG: _tag(adoption)},
    )


def _tag(adoption: Adoption) -> str:
    return adoption.fingerprint[:16]


def _code_version(key: dg.AssetKey) -> str | None:
    versions = (one.code_versions_by_key.get(key) for one in _DEFINITIONS)
    return next((version for version in versions if version is not None), None)


def _inputs(key: dg.AssetKey) -> Iterable[dg.AssetKey]:
    """Return the assets that this one is made from, by the graph."""
    return next((one.asset_deps[key] for one in _DEFINITIONS if key in one.asset_deps), ())


def _latest(instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Iterable[str]) -> dict[str, int]:
    """Return the storage id of the last materialization of each partition that has one."""
    wanted = set(partitions)
    if not wanted:
        return {}
    return dict(
        instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION, wanted)
    )


def _tags(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> Mapping[str, str]:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
    ).records
    event = records[0].asset_materialization if records else None
    return (event.tags or {}) if event else {}
