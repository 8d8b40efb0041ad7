"""Assets that people bring, and Dagster records: the upload and the approval."""

from typing import Any

import dagster as dg

from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import LayoutApproval, VideoRow
from modal_gpu.contracts import Zones
from modal_gpu.storage import ObjectStore

OWNERS = ["team:captions"]

source_video = dg.AssetSpec(
    "source_video",
    partitions_def=videos,
    group_name="upload",
    kinds={"mp4", "s3"},
    owners=OWNERS,
    description=(
        "The uploaded video, `client/…/video.mp4` in the bucket. Recorded when the `new_videos` sensor sees "
        "that its object is there."
    ),
)

layout_approval = dg.AssetSpec(
    "layout_approval",
    deps=["layout_db"],
    skippable=True,
    group_name="layout",
    kinds={"postgres"},
    owners=OWNERS,
    description=(
        "A person's approval of the caption layout and its crop region, or that of the tenant's auto-approve "
        "policy: who, when, which region. It stands in the video's row. The `layout_approvals` sensor "
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
            "dagster/uri": dg.MetadataValue.path(video.storage_key),
            "size_bytes": info.size,
            "uploaded_at": dg.MetadataValue.timestamp(info.last_modified),
        },
        tags={"dagster/data_version": info.etag.strip('"')} if info.etag else None,
    )


def approval_event(approval: LayoutApproval) -> dg.AssetMaterialization:
    """Return the materialization of ``layout_approval``."""
    return dg.AssetMaterialization(
        asset_key=layout_approval.key,
        partition=approval.partition_key,
        description=f"approved by {approval.approved_by}",
        metadata=_approval_metadata(approval),
        tags={"dagster/data_version": _approval_version(approval)},
    )


def approval_result(approval: LayoutApproval) -> dg.MaterializeResult[None]:
    """Return the same, from the run that made the layout."""
    return dg.MaterializeResult(
        asset_key=layout_approval.key,
        metadata=_approval_metadata(approval),
        data_version=dg.DataVersion(_approval_version(approval)),
    )


def _approval_version(approval: LayoutApproval) -> str:
    return f"crop-{approval.crop_region_version}"


def _approval_metadata(approval: LayoutApproval) -> dict[str, Any]:
    crop = approval.crop_region
    return {
        "approved_by": approval.approved_by,
        "approved_at": dg.MetadataValue.timestamp(approval.approved_at),
        "crop_region_version": approval.crop_region_version,
        "crop_left": crop.crop_left,
        "crop_top": crop.crop_top,
        "crop_right": crop.crop_right,
        "crop_bottom": crop.crop_bottom,
        **_zones_metadata(approval.caption_zones),
    }


def _zones_metadata(zones: Zones) -> dict[str, Any]:
    """Return the crop regions of further zones, as a table; nothing for a video of one zone."""
    if not zones:
        return {}
    sides = ("crop_left", "crop_top", "crop_right", "crop_bottom")
    records = [
        dg.TableRecord(
            {
                "zone": zone.zone_index,
                **{side: getattr(zone.crop_region, side) for side in sides},
                "language": zone.language or "",
            }
        )
        for zone in zones
    ]
    columns = [dg.TableColumn("zone", "int"), *(dg.TableColumn(side, "float") for side in sides)]
    schema = dg.TableSchema([*columns, dg.TableColumn("language", "string")])
    return {"caption_zones": dg.MetadataValue.table(records, schema)}
