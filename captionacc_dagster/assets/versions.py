"""The check of a backfill whether it has anything to do with a video."""

import dagster as dg

from captionacc_dagster.assets.stage import run_selects
from captionacc_dagster.partition_keys import video_id_of
from captionacc_dagster.resources.catalog import STAGES, Catalog
from captionacc_dagster.resources.compute_settings import model_in_use
from captionacc_dagster.runs.tags import AGAIN_TAG, BACKFILL_ID, BACKFILL_TAG
from captionacc_dagster.settings import get_settings
from modal_gpu.errors import CaptionAccError

#: The asset whose model a backfill is about.
EXTENTS = "caption_frame_extents_db"


def unchanged(context: dg.AssetExecutionContext, catalog: Catalog) -> list[dg.MaterializeResult[None]] | None:
    """Return what a backfill's run reports for a video with nothing to do; ``None`` when there is work.

    Only for backfills of the extents: a video that is on the model in use, with all later assets made by
    the current code, stays as it is. The step's assets are reported again with their last metadata, because
    Dagster counts a partition without a report as failed.
    """
    tags = context.run.tags
    is_backfill = BACKFILL_TAG in tags or BACKFILL_ID in tags
    if not is_backfill or tags.get(AGAIN_TAG) == "true" or not run_selects(context, EXTENTS):
        return None
    try:
        reason = _nothing_to_do(context, catalog)
    except CaptionAccError as error:
        # The step meets the same error, and retries it if it is transient.
        context.log.warning(f"could not find out whether there is anything to do: {error}")
        return None
    if reason is None:
        return None
    context.log.info(f"nothing to do for video {context.partition_key}: {reason}")
    return [_as_it_was(context, key, reason) for key in sorted(context.selected_asset_keys)]


def _nothing_to_do(context: dg.AssetExecutionContext, catalog: Catalog) -> str | None:
    run, video = context.run, catalog.get_video(video_id_of(context.partition_key))
    began = video.boundaries.last_run_id in {run.run_id, run.parent_run_id, run.root_run_id} - {None}
    if began or video.deleted_at is not None or any(video.stage(stage).run_id for stage in STAGES):
        return None
    if backfill_id := run.tags.get(BACKFILL_TAG):
        item = catalog.get_backfill_video(backfill_id, video.video_id)
        if item is not None and item.status == "cancelled":
            return "the backfill was cancelled"
    if any(video.stage(stage).status not in ("annotate", "done") for stage in ("boundaries", "text")):
        return None
    made_by = catalog.current_inference_run(video.video_id)
    model = model_in_use(get_settings())
    if made_by is None or made_by.model_version != model or _stale(context):
        return None
    return f"it is on {model} already"


def _stale(context: dg.AssetExecutionContext) -> list[str]:
    """Return the run's assets, except the extents, that were last made by another code version."""
    graph = context.job_def.asset_layer.asset_graph
    stale = []
    for key in graph.materializable_asset_keys:
        if not run_selects(context, key.to_user_string()) or key == dg.AssetKey(EXTENTS):
            continue
        last = _last(context, key)
        made_by = (last.tags or {}).get("dagster/code_version") if last else None
        if made_by is not None and made_by != graph.get(key).code_version:
            stale.append(key.to_user_string())
    return stale


def _last(context: dg.AssetExecutionContext, key: dg.AssetKey) -> dg.AssetMaterialization | None:
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[context.partition_key]), limit=1
    ).records
    return records[0].asset_materialization if records else None


def _as_it_was(
    context: dg.AssetExecutionContext, key: dg.AssetKey, reason: str
) -> dg.MaterializeResult[None]:
    last = _last(context, key)
    version = (last.tags or {}).get("dagster/data_version") if last else None
    return dg.MaterializeResult(
        asset_key=key,
        metadata={**(last.metadata if last else {}), "unchanged": dg.MetadataValue.text(reason)},
        data_version=dg.DataVersion(version) if version else None,
    )
