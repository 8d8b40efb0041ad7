"""``layout_approvals``: an approved layout becomes captions; a changed crop region does so again."""

import dagster as dg

from captionacc_dagster.assets.external import layout_approval
from captionacc_dagster.jobs import captions_job
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import Catalog, LayoutApproval
from captionacc_dagster.sensors.claims import BATCH, CLAIM_SECONDS, MAX_CLAIMS
from captionacc_dagster.sensors.tags import run_tags


@dg.sensor(
    job=captions_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Sees approvals, and changes of an approved crop region, that no run was asked for yet; records "
        "them and requests the run that ends in subtitles."
    ),
)
def layout_approvals(
    context: dg.SensorEvaluationContext, catalog: dg.ResourceParam[Catalog]
) -> dg.SensorResult:
    """One run for each version of a video's crop region and each attempt at it."""
    approvals = catalog.pending_layout_approvals(
        BATCH, restart_after_seconds=CLAIM_SECONDS, max_unstarted=MAX_CLAIMS
    )
    if not approvals:
        return dg.SensorResult(skip_reason="no approval waits for its run")
    return dg.SensorResult(
        dynamic_partitions_requests=[videos.build_add_request([approval.video_id for approval in approvals])],
        asset_events=[approval_event(approval) for approval in approvals],
        run_requests=[captions_run_request(approval) for approval in approvals],
    )


def captions_run_request(approval: LayoutApproval) -> dg.RunRequest:
    """A run for one crop-region version and attempt; a second tick asks for the same key."""
    return dg.RunRequest(
        run_key=f"captions/{approval.video_id}/{approval.crop_region_version}/{approval.attempt}",
        partition_key=approval.video_id,
        tags=run_tags(approval.tenant_id, approval.video_id, "layout_approvals"),
    )


def approval_event(approval: LayoutApproval) -> dg.AssetMaterialization:
    """What the UI shows of the approval."""
    crop = approval.crop_region
    return dg.AssetMaterialization(
        asset_key=layout_approval.key,
        partition=approval.video_id,
        description=f"approved by {approval.approved_by}",
        metadata={
            "approved_by": approval.approved_by,
            "approved_at": dg.MetadataValue.timestamp(approval.approved_at),
            "crop_region_version": approval.crop_region_version,
            "crop_left": crop.crop_left,
            "crop_top": crop.crop_top,
            "crop_right": crop.crop_right,
            "crop_bottom": crop.crop_bottom,
        },
        tags={"dagster/data_version": f"crop-{approval.crop_region_version}"},
    )
