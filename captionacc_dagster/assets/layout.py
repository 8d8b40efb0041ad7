"""Assets of the layout stage: full frames, their OCR, and the position of the captions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from captionacc_dagster.assets.costs import Spending, call_metadata, record_processing, spending
from captionacc_dagster.assets.external import approval_result, layout_approval, source_video
from captionacc_dagster.assets.labels import GROUPS, OWNERS, columns, storage_kind, tags
from captionacc_dagster.assets.languages import has_language, languages_of
from captionacc_dagster.assets.layout_metadata import LayoutShown
from captionacc_dagster.assets.stage import run_selects, skips_rejected, working_on
from captionacc_dagster.costs.estimates import VideoWork
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import (
    Catalog,
    LayoutApproval,
    LayoutOutcome,
    VideoRow,
    WrongStateError,
)
from captionacc_dagster.resources.catalog.rows.videos import Media
from captionacc_dagster.resources.compute import Compute
from captionacc_dagster.runs.live_progress import live_progress
from modal_gpu.contracts import ExtractOutput, ExtractRequest, ExtractResult
from modal_gpu.databases import layout as layout_file
from modal_gpu.databases import raw_ocr
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.databases.raw_ocr import read_raw_ocr
from modal_gpu.functions.layout import rebuild_layout
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr.engine import FrameOcr
from modal_gpu.storage import ObjectStore
from modal_gpu.timeline import Timeline

#: Changed when the outputs for the same video would differ; the UI then shows what is stale.
FRAMES_VERSION = "1"
OCR_VERSION = "rapidocr-3-ppocrv6-2"
LAYOUT_VERSION = "2"

FUNCTION = "extract_frames_and_ocr"
#: Outputs of the compute call. The layout is made here, from raw-ocr.db.
OUTPUTS: tuple[ExtractOutput, ...] = ("full_frames", "raw_ocr_db")
#: How long publishing waits for the lock of layout.db. The expensive work is done by then, and a further
#: try would repeat it where results of calls are not stored.
LOCK_SECONDS = 300


@dg.multi_asset(
    name=FUNCTION,
    can_subset=True,
    partitions_def=videos,
    pool="extract",
    specs=[
        dg.AssetSpec(
            "full_frames",
            deps=[source_video],
            skippable=True,
            group_name=GROUPS["layout"],
            tags=tags("layout"),
            code_version=FRAMES_VERSION,
            kinds={"jpeg", storage_kind()},
            owners=OWNERS,
            description=(
                "About 30 frames of the video (one every 10 s in long ones) as JPEG, with thumbnails: "
                "`client/…/full_frames/frame_%06d.jpg`, numbered in tenths of a second."
            ),
        ),
        dg.AssetSpec(
            "raw_ocr_db",
            deps=["full_frames"],
            skippable=True,
            group_name=GROUPS["layout"],
            tags=tags("layout"),
            code_version=OCR_VERSION,
            kinds={"sqlite", storage_kind()},
            owners=OWNERS,
            metadata=columns(raw_ocr.KIND),
            description="All text read on the full frames, one row a line, and a status for each frame.",
        ),
        dg.AssetSpec(
            "layout_db",
            deps=["raw_ocr_db"],
            skippable=True,
            group_name=GROUPS["layout"],
            tags=tags("layout"),
            code_version=LAYOUT_VERSION,
            kinds={"sqlite", storage_kind()},
            owners=OWNERS,
            metadata=columns(layout_file.KIND),
            description=(
                "The position of the captions: crop region, anchor, text height, and for each box whether it "
                "is a caption. Labels that a person set survive every re-run. It is computed from "
                "raw_ocr_db in the run itself, without a compute call."
            ),
        ),
        layout_approval,
    ],
)
@skips_rejected
def extract_frames_and_ocr(
    context: dg.AssetExecutionContext,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
    compute: dg.ResourceParam[Compute],
) -> Iterator[dg.MaterializeResult[None]]:
    """Make full frames and OCR in one compute call, then the layout here, under the lock of layout.db."""
    selected = frozenset(key.to_user_string() for key in context.selected_asset_keys)
    if selected == {layout_approval.key.to_user_string()}:
        with working_on(None, context, catalog) as video:
            # It records a person's decision, and takes none.
            yield approval_result(LayoutApproval.of(video))
        return
    with working_on("layout", context, catalog) as video:
        keys = VideoKeys(video.tenant_id, video.video_id)
        if "layout_db" in selected and "raw_ocr_db" not in selected and not (video.width and video.height):
            raise WrongStateError(f"video {video.video_id} was never read: materialize raw_ocr_db as well")
        with spending(context, catalog, compute, video, FUNCTION) as money:
            result = _extract(context, catalog, compute, money, video, selected)
        # Read here, where a bucket that does not answer fails a try and not a finished stage.
        frames = _read_frames(object_store, keys, selected)
        layout, approval = None, None
        if "layout_db" in selected:
            media = _media_of(result) if result else video.media()
            layout = _publish_layout(
                catalog,
                object_store,
                keys,
                media,
                context.run.run_id,
                has_language(languages_of(catalog, video)),
            )
            damage = result.damage if result else video.damage
            outcome = _outcome(media, damage, layout, result)
            approval = _finish(context, catalog, video, outcome)
        else:
            catalog.release_stage(video.video_id, "layout", context.run.run_id)
            approval = _standing_approval(context, video)
    shown = LayoutShown(object_store, keys, context.log.warning)
    calls = call_metadata(compute) | money.metadata
    if result is not None and "full_frames" in selected:
        context.log_event(shown.upload(video, result))
    yield from _materializations(selected, frames, shown, layout, result, calls)
    if approval is not None:
        # Without it, the steps that need an approval are skipped.
        yield approval_result(approval)


def _standing_approval(context: dg.AssetExecutionContext, video: VideoRow) -> LayoutApproval | None:
    """Return the approval that a run which makes no layout goes on with, if there is one."""
    is_wanted = layout_approval.key in context.selected_asset_keys and video.crop_region is not None
    return LayoutApproval.of(video) if is_wanted else None


def _finish(
    context: dg.AssetExecutionContext, catalog: Catalog, video: VideoRow, outcome: LayoutOutcome
) -> LayoutApproval | None:
    """Finish the layout. Return its approval if this run goes on with it, and None if another one does."""
    run = context.run
    goes_on = layout_approval.key in context.selected_asset_keys and run_selects(context, "cropped_chunks")
    # The run that this one retries may have died after it went on.
    owner = video.boundaries.run_id
    former = owner if owner in (run.parent_run_id, run.root_run_id) else None
    row = catalog.finish_layout(video.video_id, run.run_id, outcome, goes_on=goes_on, former_run_id=former)
    if not goes_on or row.layout.status != "done":
        return None
    # Boundaries that wait for others were claimed by them. Finished ones are made again: a person asked.
    is_mine = row.boundaries.run_id == run.run_id or row.boundaries.status != "wait"
    return LayoutApproval.of(row) if is_mine else None


def _extract(
    context: dg.AssetExecutionContext,
    catalog: Catalog,
    compute: Compute,
    money: Spending,
    video: VideoRow,
    selected: frozenset[str],
) -> ExtractResult | None:
    """Make the selected outputs of the call and record the video's times; return ``None`` without a call."""
    outputs = frozenset(name for name in OUTPUTS if name in selected)
    if not outputs:
        return None
    money.expect(VideoWork.of_upload(video.size_bytes, video.duration_seconds, video.width, video.height))
    request = ExtractRequest(
        video.tenant_id,
        video.video_id,
        video.storage_key,
        outputs=outputs,
        languages=languages_of(catalog, video),
    )
    with live_progress(context.log.info, catalog, video.video_id, "layout", context.run.run_id) as progress:
        result = compute.extract(request, progress)
    if result.damage:
        context.log.warning(f"video {video.video_id}: {result.damage}")
    record_processing(catalog, video, FUNCTION, result.processing_duration_seconds)
    catalog.record_times(
        video.video_id,
        "layout",
        context.run.run_id,
        frame_count=result.frame_count,
        duration_seconds=result.duration,
        timeline=Timeline.from_rows(result.time_spans),
    )
    return result


def _media_of(result: ExtractResult) -> Media:
    return Media(
        duration_seconds=result.duration,
        frame_count=result.frame_count,
        width=result.frame_width,
        height=result.frame_height,
        video_codec=result.video_codec,
    )


def _publish_layout(
    catalog: Catalog,
    object_store: ObjectStore,
    keys: VideoKeys,
    media: Media,
    owner: str,
    with_language: bool,
) -> LayoutFile:
    """Write layout.db under its lock, merged with people's changes, and increment its version."""
    with catalog.lease(keys.video_id, "layout", owner, wait_seconds=LOCK_SECONDS) as lease:
        layout = rebuild_layout(
            object_store, keys, media.width, media.height, lease.check, with_language=with_language
        )
        catalog.bump_database_version(lease.token)
    return layout


def _outcome(media: Media, damage: str, layout: LayoutFile, result: ExtractResult | None) -> LayoutOutcome:
    """Return the facts for the row; without a compute call the counts of the last one stay as they are."""
    return LayoutOutcome(
        duration_seconds=media.duration_seconds,
        width=media.width,
        height=media.height,
        video_codec=media.video_codec,
        frame_count=media.frame_count,
        layout_found=layout.caption_band_found,
        layout_confidence=layout.confidence,
        crop_region=layout.crop_region,
        note=layout.reason,
        caption_zones=layout.caption_zones,
        bitrate=result.bitrate if result else None,
        full_frame_count=result.full_frame_count if result else None,
        ocr_box_count=result.ocr_box_count if result else None,
        failed_ocr_count=result.failed_ocr_count if result else None,
        damage=damage,
    )


def _read_frames(object_store: ObjectStore, keys: VideoKeys, selected: frozenset[str]) -> list[FrameOcr]:
    """Return what OCR read on the frames, if the selected assets show it."""
    if not selected & {"raw_ocr_db", "layout_db"}:
        return []
    return read_raw_ocr(object_store.get(keys.raw_ocr_db))


def _materializations(
    selected: frozenset[str],
    frames: Sequence[FrameOcr],
    shown: LayoutShown,
    layout: LayoutFile | None,
    result: ExtractResult | None,
    calls: Mapping[str, Any],
) -> Iterator[dg.MaterializeResult[None]]:
    shared = dict(calls) | ({"damage": result.damage} if result is not None and result.damage else {})
    if result is not None and "full_frames" in selected:
        yield dg.MaterializeResult(
            asset_key="full_frames", metadata={**shown.frames(result, frames), **shared}
        )
    if "raw_ocr_db" in selected:
        yield dg.MaterializeResult(asset_key="raw_ocr_db", metadata={**shown.ocr(frames), **shared})
    if layout is not None:
        yield dg.MaterializeResult(asset_key="layout_db", metadata=shown.layout(layout))
