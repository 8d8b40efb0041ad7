"""Assets of the layout stage: full frames, their OCR, and the position of the captions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from captionacc_dagster.assets import previews
from captionacc_dagster.assets.costs import Spending, call_metadata, record_processing, spending
from captionacc_dagster.assets.external import OWNERS, approval_result, layout_approval, source_video
from captionacc_dagster.assets.languages import has_language, languages_of
from captionacc_dagster.assets.layout_picture import layout_picture
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
from modal_gpu.contracts import ExtractOutput, ExtractRequest, ExtractResult, crop_regions
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.databases.raw_ocr import read_raw_ocr
from modal_gpu.frame_index import full_frame_indices
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
            group_name="layout",
            code_version=FRAMES_VERSION,
            kinds={"jpeg", "s3"},
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
            group_name="layout",
            code_version=OCR_VERSION,
            kinds={"sqlite", "s3"},
            owners=OWNERS,
            description="All text read on the full frames, one row a line, and a status for each frame.",
        ),
        dg.AssetSpec(
            "layout_db",
            deps=["raw_ocr_db"],
            skippable=True,
            group_name="layout",
            code_version=LAYOUT_VERSION,
            kinds={"sqlite", "s3"},
            owners=OWNERS,
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
    calls = call_metadata(compute) | money.metadata
    yield from _materializations(selected, object_store, keys, layout, result, calls)
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


def _materializations(
    selected: frozenset[str],
    object_store: ObjectStore,
    keys: VideoKeys,
    layout: LayoutFile | None,
    result: ExtractResult | None,
    calls: Mapping[str, Any],
) -> Iterator[dg.MaterializeResult[None]]:
    frames = read_raw_ocr(object_store.get(keys.raw_ocr_db)) if selected & {"raw_ocr_db", "layout_db"} else []
    shared = dict(calls) | ({"damage": result.damage} if result is not None and result.damage else {})
    if result is not None and "full_frames" in selected:
        sheet = _contact_sheet(object_store, keys, result, frames)
        yield dg.MaterializeResult(
            asset_key="full_frames", metadata={**_frames_metadata(result), "contact_sheet": sheet, **shared}
        )
    if "raw_ocr_db" in selected:
        yield dg.MaterializeResult(asset_key="raw_ocr_db", metadata={**_ocr_metadata(keys, frames), **shared})
    if layout is not None:
        yield dg.MaterializeResult(
            asset_key="layout_db", metadata=_layout_metadata(object_store, keys, layout)
        )


def _frames_metadata(result: ExtractResult) -> dict[str, Any]:
    return {
        "dagster/uri": dg.MetadataValue.path(result.full_frames_key),
        "frames": result.full_frame_count,
        "duration_seconds": round(result.duration, 3),
        "start_offset_seconds": Timeline.from_rows(result.time_spans).start_offset_seconds,
        "width": result.frame_width,
        "height": result.frame_height,
        "codec": result.video_codec,
        "bitrate": result.bitrate,
        "seconds": round(result.processing_duration_seconds, 3),
        **{f"seconds_{name}": round(value, 3) for name, value in result.stage_seconds.items()},
    }


def _ocr_metadata(keys: VideoKeys, frames: Sequence[FrameOcr]) -> dict[str, Any]:
    lines = [line for frame in frames for line in frame.lines]
    return {
        "dagster/uri": dg.MetadataValue.path(keys.raw_ocr_db),
        "dagster/partition_row_count": len(lines),
        "text_lines": len(lines),
        "frames_with_text": sum(frame.status == "ok" for frame in frames),
        "frames_without_text": sum(frame.status == "empty" for frame in frames),
        "frames_failed": sum(frame.status == "failed" for frame in frames),
        "mean_confidence": round(sum(line.confidence for line in lines) / len(lines), 4) if lines else 0.0,
    }


def _contact_sheet(
    object_store: ObjectStore, keys: VideoKeys, result: ExtractResult, frames: Sequence[FrameOcr]
) -> dg.MetadataValue:
    lines = {frame.frame_index: frame.lines for frame in frames}
    indices = previews.evenly(list(full_frame_indices(result.frame_count)), 30)
    pictures = dict(object_store.get_many([keys.thumbnail(index) for index in indices]))
    sheet = previews.contact_sheet(
        [
            previews.PreviewFrame(
                index,
                pictures[keys.thumbnail(index)],
                [previews.PreviewBox.of(line.box) for line in lines.get(index, ())],
            )
            for index in indices
        ]
    )
    return dg.MetadataValue.md(previews.markdown_image(sheet, "full frames with the text that was read"))


def _layout_metadata(object_store: ObjectStore, keys: VideoKeys, layout: LayoutFile) -> dict[str, Any]:
    crop = layout.crop_region
    captions = sum(box.is_caption for box in layout.boxes)
    regions = crop_regions(crop, layout.caption_zones)
    picture = layout_picture(object_store, keys, layout, list(regions.values()))
    return {
        "dagster/uri": dg.MetadataValue.path(keys.layout_db),
        "dagster/partition_row_count": len(layout.boxes),
        "crop_region": dg.MetadataValue.md(previews.markdown_image(picture, "crop region and text boxes")),
        "finding": layout.reason,
        "caption_band_found": layout.caption_band_found,
        "confidence": layout.confidence,
        "caption_lines": captions,
        "other_lines": len(layout.boxes) - captions,
        "labels_of_people": len(layout.labels),
        "crop_left": crop.crop_left,
        "crop_top": crop.crop_top,
        "crop_right": crop.crop_right,
        "crop_bottom": crop.crop_bottom,
        "anchor": layout.anchor_type or "none",
        "zones": 1 + len(layout.zones),
    }
