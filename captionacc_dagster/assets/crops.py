"""Assets of the boundaries stage: the caption strip at 10 Hz in chunks, and the labels of frame pairs."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from captionacc_dagster.assets.costs import call_metadata, record_processing, spending
from captionacc_dagster.assets.crops_metadata import CropsShown
from captionacc_dagster.assets.external import layout_approval, source_video
from captionacc_dagster.assets.labels import GROUPS, OWNERS, columns, storage_kind, tags
from captionacc_dagster.assets.stage import run_selects, skips_rejected, will_retry, working_on
from captionacc_dagster.assets.versions import unchanged
from captionacc_dagster.costs.estimates import VideoWork
from captionacc_dagster.operations.subtitle_files import current_version
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import (
    Catalog,
    VideoRow,
    WrongStateError,
)
from captionacc_dagster.resources.compute import Compute
from captionacc_dagster.runs.live_progress import live_progress
from modal_gpu.contracts import CropInferOutput, CropInferRequest, CropInferResult, CropRegion, Zones
from modal_gpu.databases import extents as extents_file
from modal_gpu.errors import CaptionAccError, RemoteTimeoutError
from modal_gpu.extents.checkpoint import shipped
from modal_gpu.storage import ObjectStore
from modal_gpu.timeline import Timeline

#: Changed when the outputs for the same video would differ; the UI then shows what is stale.
CROPS_VERSION = "vp9-1"
#: The shipped model's version and hash.
EXTENTS_VERSION = shipped().stem
OUTPUTS: tuple[CropInferOutput, ...] = ("cropped_chunks", "caption_frame_extents_db")


@dg.multi_asset(
    name="crop_and_infer_caption_frame_extents",
    can_subset=True,
    partitions_def=videos,
    pool="crop_and_infer",
    specs=[
        dg.AssetSpec(
            "cropped_chunks",
            deps=[source_video, layout_approval],
            skippable=True,
            group_name=GROUPS["boundaries"],
            tags=tags("boundaries"),
            code_version=CROPS_VERSION,
            kinds={"webm", storage_kind()},
            owners=OWNERS,
            description=(
                "The approved crop region at 10 frames a second, as VP9 chunks of 32 frames on three "
                "exclusive levels, under a version of its own: "
                "`client/…/cropped_frames_v{N}/modulo_{M}/chunk_%010d.webm`."
            ),
        ),
        dg.AssetSpec(
            "caption_frame_extents_db",
            deps=["cropped_chunks"],
            skippable=True,
            group_name=GROUPS["boundaries"],
            tags=tags("boundaries"),
            code_version=EXTENTS_VERSION,
            kinds={"sqlite", storage_kind()},
            owners=OWNERS,
            metadata=columns(extents_file.KIND),
            description=(
                "For each pair of neighbouring frames, forward and backward, the probabilities of same, "
                "different, empty_empty, empty_valid and valid_empty."
            ),
        ),
    ],
)
@skips_rejected
def crop_and_infer_caption_frame_extents(
    context: dg.AssetExecutionContext,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
    compute: dg.ResourceParam[Compute],
) -> Iterator[dg.MaterializeResult[None]]:
    """Make the selected outputs in one compute call; new chunks go under a new version, activated last."""
    if (as_they_were := unchanged(context, catalog)) is not None:
        yield from as_they_were
        return
    selected = frozenset(key.to_user_string() for key in context.selected_asset_keys)
    function = "crop_and_infer_caption_frame_extents"
    with working_on("boundaries", context, catalog) as video:
        region = video.crop_region
        if region is None:
            raise WrongStateError(f"the layout of video {video.video_id} is not approved: approve it first")
        makes_version = "cropped_chunks" in selected
        zones = video.caption_zones if makes_version else current_version(catalog, video).caption_zones
        with spending(context, catalog, compute, video, function) as money:
            money.expect(_work(video, zones))
            if makes_version:
                result = _new_version(context, catalog, compute, video, region, selected)
            else:
                result = _current_version(context, catalog, compute, video, selected)
        record_processing(catalog, video, function, result.processing_duration_seconds)
        if result.duration:
            catalog.record_times(
                video.video_id,
                "boundaries",
                context.run.run_id,
                frame_count=result.frame_count,
                duration_seconds=result.duration,
                timeline=Timeline.from_rows(result.time_spans),
            )
        if result.damage:
            context.log.warning(f"video {video.video_id}: {result.damage}")
        if "caption_frame_extents_db" in selected:
            _record(context, catalog, video, result)
        # Read here, where a catalogue that does not answer fails a try and not a finished stage.
        done = catalog.get_video(video.video_id)
        if not run_selects(context, "captions_db"):
            catalog.release_stage(video.video_id, "boundaries", context.run.run_id)
    shown = CropsShown(object_store, done, context.log.warning)
    if "cropped_chunks" in selected:
        context.log_event(shown.approval())
    yield from _materializations(selected, result, shown, call_metadata(compute) | money.metadata)


def _work(video: VideoRow, zones: Zones) -> VideoWork:
    """Return the work on a video with ``zones`` beside the first one."""
    return VideoWork.of_upload(
        video.size_bytes, video.duration_seconds, video.width, video.height, zones=1 + len(zones)
    )


def _new_version(
    context: dg.AssetExecutionContext,
    catalog: Catalog,
    compute: Compute,
    video: VideoRow,
    crop_region: CropRegion,
    selected: frozenset[str],
) -> CropInferResult:
    zones = video.caption_zones
    version = catalog.allot_cropped_frames_version(video.video_id, context.run.run_id, crop_region, zones)
    try:
        request = _request(context, video, version, crop_region, zones, selected)
        result = _call(context, catalog, compute, request)
        catalog.activate_cropped_frames_version(
            video.video_id,
            version,
            chunk_count=result.chunk_count + sum(zone.chunk_count for zone in result.zones),
            total_frames=result.frame_count,
            total_size_bytes=_total_bytes(result),
        )
    except BaseException as error:
        # On cancellation too: the incomplete version is never shown, and upkeep removes it.
        if not _may_go_on(context, error):
            message = str(error) or type(error).__name__
            catalog.fail_cropped_frames_version(video.video_id, version, message, run_id=context.run.run_id)
        raise
    return result


def _total_bytes(result: CropInferResult) -> int:
    return result.total_size_bytes + sum(zone.total_size_bytes for zone in result.zones)


def _may_go_on(context: dg.AssetExecutionContext, error: BaseException) -> bool:
    """Return whether a later attempt may continue with the version, whose calls still run or have results.

    A retry after a time-out then pays only for the missing segments. Otherwise the next attempt gets a new
    version, and this one fails.
    """
    if will_retry(context, error) or isinstance(error, RemoteTimeoutError):
        return True
    return isinstance(error, CaptionAccError) and error.lies_with_service


def _current_version(
    context: dg.AssetExecutionContext,
    catalog: Catalog,
    compute: Compute,
    video: VideoRow,
    selected: frozenset[str],
) -> CropInferResult:
    version = current_version(catalog, video)
    crop_region, zones = version.crop_region, version.caption_zones
    request = _request(context, video, version.version, crop_region, zones, selected)
    return _call(context, catalog, compute, request)


def _call(
    context: dg.AssetExecutionContext, catalog: Catalog, compute: Compute, request: CropInferRequest
) -> CropInferResult:
    run_id = context.run.run_id
    with live_progress(context.log.info, catalog, request.video_id, "boundaries", run_id) as progress:
        return compute.crop_and_infer(request, progress)


def _record(
    context: dg.AssetExecutionContext, catalog: Catalog, video: VideoRow, result: CropInferResult
) -> None:
    completed_at = datetime.now(UTC)
    catalog.record_inference_run(
        video.video_id,
        result.version,
        context.run.run_id,
        model_version=result.model_version,
        model_sha256=result.model_sha256 or None,  # an older container does not send it
        storage_key=result.caption_frame_extents_db_key,
        total_pairs=max(0, result.frame_count - 1),
        processing_time_seconds=result.processing_duration_seconds,
        started_at=completed_at - timedelta(seconds=result.processing_duration_seconds),
        completed_at=completed_at,
    )


def _request(
    context: dg.AssetExecutionContext,
    video: VideoRow,
    version: int,
    crop_region: CropRegion,
    zones: Zones,
    selected: frozenset[str],
) -> CropInferRequest:
    return CropInferRequest(
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        video_key=video.storage_key,
        crop_region=crop_region,
        version=version,
        run_id=context.run.run_id,
        outputs=frozenset(name for name in OUTPUTS if name in selected),
        frame_count=video.frame_count or 0,
        zones=zones,
        damaged=bool(video.damage),
    )


def _materializations(
    selected: frozenset[str], result: CropInferResult, shown: CropsShown, calls: Mapping[str, Any]
) -> Iterator[dg.MaterializeResult[None]]:
    shared = {
        **calls,
        "version": result.version,
        "seconds": round(result.processing_duration_seconds, 2),
    }
    # One call makes both; the first one shows where its time went.
    steps = {f"seconds_{name}": round(value, 2) for name, value in result.stage_seconds.items()}
    if result.damage:
        shared["damage"] = result.damage
    if result.zones:
        shared["zones"] = 1 + len(result.zones)
    if "cropped_chunks" in selected:
        yield dg.MaterializeResult(
            asset_key="cropped_chunks",
            metadata={**shown.chunks(result, _total_bytes(result)), **shared, **steps},
        )
        steps = {}
    if "caption_frame_extents_db" in selected:
        yield dg.MaterializeResult(
            asset_key="caption_frame_extents_db", metadata={**shown.extents(result), **shared, **steps}
        )
