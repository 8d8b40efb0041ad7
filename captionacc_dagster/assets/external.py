"""Assets that people bring, and Dagster records: the upload and the approval."""

from typing import Any

import dagster as dg

from captionacc_dagster.assets.labels import GROUPS, OWNERS, catalogue_kind, storage_kind, tags
from captionacc_dagster.assets.pictures.drawing import clock
from captionacc_dagster.assets.pictures.links import address, table
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import LayoutApproval, VideoRow
from modal_gpu.contracts import CropRegion, Zones
from modal_gpu.storage import ObjectStore

_SIDES = ("crop_left", "crop_top", "crop_right", "crop_bottom")

source_video = dg.AssetSpec(
    "source_video",
    partitions_def=videos,
    group_name=GROUPS["upload"],
    kinds={"mp4", storage_kind()},
    tags=tags("upload"),
    owners=OWNERS,
    description=(
        "The uploaded video, `client/…/video.mp4` in the bucket. Recorded when the `new_videos` sensor sees "
        "that its object is there; the run that decodes it adds a frame, its length and its resolution."
    ),
)

layout_approval = dg.AssetSpec(
    "layout_approval",
    deps=["layout_db"],
    skippable=True,
    group_name=GROUPS["layout"],
    kinds={catalogue_kind()},
    tags=tags("layout"),
    owners=OWNERS,
    description=(
        "A person's approval of the caption layout and its crop region, or that of the tenant's auto-approve "
        "policy: who, when, which region. It is in the video's row. The `layout_approvals` sensor "
        "records it, or the run that makes layout and captions of a video whose tenant has such a policy."
    ),
)


def upload_event(video: VideoRow, object_store: ObjectStore) -> dg.AssetMaterialization:
    """Return the materialization of ``source_video``; its data version is the object's ETag.

    Raises :class:`~modal_gpu.errors.ObjectNotFoundError` before the object exists, and
    :class:`~modal_gpu.errors.StorageError`.
    """
    info = object_store.head(video.storage_key)
    return dg.AssetMaterialization(
        asset_key=source_video.key,
        partition=video.partition_key,
        description=video.display_path,
        metadata={
            "file": dg.MetadataValue.text(video.display_path),
            **_media_facts(video),
            "dagster/uri": address(object_store, video.storage_key),
            "megabytes": round(info.size / 1e6, 2),
            "size_bytes": info.size,
            "uploaded_at": dg.MetadataValue.timestamp(info.last_modified),
        },
        tags={"dagster/data_version": info.etag.strip('"')} if info.etag else None,
    )


def _media_facts(video: VideoRow) -> dict[str, Any]:
    """Return length and resolution, where an earlier run has read the video."""
    if video.duration_seconds is None or video.width is None or video.height is None:
        return {}
    return {"length": clock(video.duration_seconds), "resolution": f"{video.width} × {video.height}"}


def approval_event(approval: LayoutApproval) -> dg.AssetMaterialization:
    """Return the materialization of ``layout_approval``."""
    return dg.AssetMaterialization(
        asset_key=layout_approval.key,
        partition=approval.partition_key,
        description=f"{approval.display_path}: approved by {approval.approved_by}",
        metadata=approval_facts(approval),
        tags={"dagster/data_version": _approval_version(approval)},
    )


def approval_result(approval: LayoutApproval) -> dg.MaterializeResult[None]:
    """Return the same, from the run that made the layout."""
    return dg.MaterializeResult(
        asset_key=layout_approval.key,
        metadata=approval_facts(approval),
        data_version=dg.DataVersion(_approval_version(approval)),
    )


def _approval_version(approval: LayoutApproval) -> str:
    return f"crop-{approval.crop_region_version}"


def approval_facts(approval: LayoutApproval) -> dict[str, Any]:
    """Return an approval's metadata: who, when, and the region."""
    return {
        "approved_by": approval.approved_by,
        "approved_at": dg.MetadataValue.timestamp(approval.approved_at),
        "crop_region_version": approval.crop_region_version,
        **region_facts(approval.crop_region),
        **_zones_metadata(approval.caption_zones),
    }


def region_facts(crop: CropRegion) -> dict[str, float]:
    """Return a crop region's sides as metadata, rounded for reading."""
    return {side: round(getattr(crop, side), 4) for side in _SIDES}


def _zones_metadata(zones: Zones) -> dict[str, Any]:
    """Return the crop regions of further zones, as a table; nothing for a video of one zone."""
    if not zones:
        return {}
    rows = [
        (zone.zone_index, *(getattr(zone.crop_region, side) for side in _SIDES), zone.language or "")
        for zone in zones
    ]
    columns = [("zone", "int"), *((side, "float") for side in _SIDES), ("language", "string")]
    return {"caption_zones": table(columns, rows)}
