"""Assets of the text stage, and the captions they start from: captions, their text, subtitle files."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import dagster as dg

from captionacc_dagster.assets.captions_metadata import CaptionsShown
from captionacc_dagster.assets.costs import Spending, call_metadata, record_processing, spending
from captionacc_dagster.assets.labels import GROUPS, OWNERS, columns, storage_kind, tags
from captionacc_dagster.assets.languages import has_language, languages_of
from captionacc_dagster.assets.stage import run_selects, skips_rejected, working_on
from captionacc_dagster.assets.text_requests import begin_requests, finish_requests, queued_again
from captionacc_dagster.assets.versions import unchanged
from captionacc_dagster.costs.estimates import VideoWork
from captionacc_dagster.operations.subtitle_files import ActiveVersion, SubtitleFiles, current_version
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import Catalog, Stage, VideoRow
from captionacc_dagster.resources.compute import Compute
from captionacc_dagster.runs.live_progress import live_progress
from captionacc_dagster.settings import get_settings
from modal_gpu.captions.decoded import DecodedExtents
from modal_gpu.captions.reading import unreadable_note
from modal_gpu.captions.subtitles import shown
from modal_gpu.captions.zones import ZoneReadings, apply_zones, merge_zones, read_zones
from modal_gpu.contracts import CaptionOcrRequest, CaptionOcrResult, CaptionRange
from modal_gpu.databases import captions as captions_file
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from modal_gpu.errors import ObjectNotFoundError, StorageError
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr.languages.finding import UNREADABLE
from modal_gpu.storage import ObjectStore

#: Changed when the outputs for the same video would differ; the UI then shows what is stale.
DECODER_VERSION = "viterbi-2"
CAPTION_OCR_VERSION = "median-rapidocr-3-2"
SUBTITLES_VERSION = "2"

GZIP = "application/gzip"


@dg.asset(
    deps=["caption_frame_extents_db"],
    partitions_def=videos,
    group_name=GROUPS["boundaries"],
    tags=tags("boundaries"),
    code_version=DECODER_VERSION,
    kinds={"sqlite", storage_kind()},
    owners=OWNERS,
    metadata=columns(captions_file.KIND),
    description=(
        "The captions of a video with their frames and times, decoded from the pair probabilities. Captions "
        "that a person confirmed or edited survive every re-run."
    ),
)
def captions_db(
    context: dg.AssetExecutionContext,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
) -> dg.MaterializeResult[None]:
    """Write captions.db under its lock, merged with what people changed meanwhile."""
    if (as_it_was := unchanged(context, catalog)) is not None:
        return as_it_was[0]
    with working_on("boundaries", context, catalog) as video:
        keys = VideoKeys(video.tenant_id, video.video_id)
        active = current_version(catalog, video)
        version, duration = active.version, video.media().duration_seconds
        decoded = {
            zone: DecodedExtents.of(object_store.get(keys.caption_frame_extents_db(version, zone)))
            for zone in active.regions
        }
        with catalog.lease(video.video_id, "captions", owner=context.run.run_id) as lease:
            captions = merge_zones(decoded, duration, _stored_captions(object_store, keys))
            lease.check()
            object_store.put(keys.captions_db, write_captions(captions), GZIP)
            catalog.bump_database_version(lease.token)
        catalog.finish_boundaries(
            video.video_id,
            context.run.run_id,
            version=version,
            caption_count=len(captions),
            goes_on=run_selects(context, "caption_ocr"),
        )
    seen = CaptionsShown(object_store, video, context.log.warning)
    return dg.MaterializeResult(
        metadata=seen.captions(captions, duration, active, decoded[0].run.model_version)
    )


@dg.asset(
    deps=["captions_db", "cropped_chunks"],
    partitions_def=videos,
    pool="caption_ocr",
    # A cost limit may refuse the reading.
    output_required=False,
    group_name=GROUPS["text"],
    tags=tags("text"),
    code_version=CAPTION_OCR_VERSION,
    kinds={"sqlite", storage_kind()},
    owners=OWNERS,
    description=(
        "Each caption's text and confidence, read on the per-pixel median of its frames, written into "
        "captions.db. Pieces of one caption are joined, captions without text dropped."
    ),
)
@skips_rejected
def caption_ocr(
    context: dg.AssetExecutionContext,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
    compute: dg.ResourceParam[Compute],
) -> Iterator[dg.MaterializeResult[None]]:
    """Read without the lock, then write under it into the captions as they are by then."""
    if (as_it_was := unchanged(context, catalog)) is not None:
        yield from as_it_was
        return
    with working_on("text", context, catalog) as video:
        keys = VideoKeys(video.tenant_id, video.video_id)
        version = current_version(catalog, video)
        started = time.monotonic()
        with spending(context, catalog, compute, video, "generate_caption_ocr") as money:
            expect = _expect_captions(money, video)
            languages = languages_of(catalog, video)

            def recognize(zone: int, ranges: list[CaptionRange]) -> list[CaptionOcrResult]:
                expect(len(ranges))
                request = _ocr_request(video, version, zone, ranges, languages)
                with live_progress(
                    context.log.info, catalog, video.video_id, "text", context.run.run_id
                ) as progress:
                    return compute.caption_ocr(request, progress)

            # Texts of an earlier attempt may be in other languages.
            object_store.delete_prefix(keys.caption_text_parts)
            requests = begin_requests(catalog, video.video_id, context.run.run_id)
            outdated = _zones_of_other_languages(video, version)
            read = queued_again(read_captions(object_store.get(keys.captions_db)), requests, outdated)
            own = {zone: version.languages(zone) or languages for zone in version.regions}
            readings = read_zones(read, version.regions, recognize, lambda zone: has_language(own[zone]))
        record_processing(catalog, video, "generate_caption_ocr", time.monotonic() - started)
        with catalog.lease(video.video_id, "captions", owner=context.run.run_id) as lease:
            stored = read_captions(object_store.get(keys.captions_db))
            captions = apply_zones(queued_again(stored, requests, outdated), readings)
            lease.check()
            object_store.put(keys.captions_db, write_captions(captions), GZIP)
            if not run_selects(context, "subtitles"):
                # People take them for the text: as after an edit, they follow it at once.
                _put_subtitles(catalog, object_store, video, captions)
            catalog.bump_database_version(lease.token)
        _drop_text_parts(object_store, keys)
        finish_requests(catalog, requests, stored, context.run.run_id)
        if not run_selects(context, "subtitles"):
            finish_text(context, catalog, video, captions)
    counts = _counts(readings, dropped=len(stored) - len(captions))
    seen = CaptionsShown(object_store, video, context.log.warning)
    yield dg.MaterializeResult(
        metadata={
            **seen.text(captions, version, partial(_ocr_request, video, version), counts),
            **call_metadata(compute),
            **money.metadata,
        }
    )


def _drop_text_parts(object_store: ObjectStore, keys: VideoKeys) -> None:
    """Remove the texts that calls have stored on the way, which the captions have by now.

    What stays is removed before the next attempt.
    """
    with suppress(StorageError):
        object_store.delete_prefix(keys.caption_text_parts)


def _counts(readings: ZoneReadings, *, dropped: int) -> dict[str, int]:
    read_now = [reading for zone in readings.values() for reading in zone.values()]
    return {
        "read_now": len(read_now),
        "failed": sum(bool(reading.error) for reading in read_now),
        "joined_or_dropped": dropped,
    }


@dg.asset(
    deps=["caption_ocr"],
    partitions_def=videos,
    group_name=GROUPS["text"],
    tags=tags("text"),
    code_version=SUBTITLES_VERSION,
    kinds={"srt", "vtt", storage_kind()},
    owners=OWNERS,
    description="The captions as SubRip and WebVTT: `client/…/captions.srt` and `captions.vtt`.",
)
def subtitles(
    context: dg.AssetExecutionContext,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
) -> dg.MaterializeResult[None]:
    """Write each caption with a person's text if there is one, otherwise with the text that OCR read."""
    if (as_it_was := unchanged(context, catalog)) is not None:
        return as_it_was[0]
    growing = get_settings().growing_captions
    stage: Stage | None = "text" if run_selects(context, "caption_ocr") else None
    with working_on(stage, context, catalog) as video:
        keys = VideoKeys(video.tenant_id, video.video_id)
        captions = read_captions(object_store.get(keys.captions_db))
        _put_subtitles(catalog, object_store, video, captions)
        if stage is not None or _only_files_missed(catalog, context, video, captions):
            finish_text(context, catalog, video, captions)
    seen = CaptionsShown(object_store, video, context.log.warning)
    return dg.MaterializeResult(metadata=seen.subtitles(captions, growing))


def _put_subtitles(
    catalog: Catalog, object_store: ObjectStore, video: VideoRow, captions: Sequence[Caption]
) -> None:
    files = SubtitleFiles.of(catalog, video, captions, get_settings().growing_captions)
    files.put(object_store, VideoKeys(video.tenant_id, video.video_id))


def _expect_captions(money: Spending, video: VideoRow) -> Callable[[int], None]:
    """Return a function that reserves the cost of captions; joined captions, read again, are added to it."""
    count = 0

    def expect(captions: int) -> None:
        nonlocal count
        count += captions
        work = VideoWork.of_upload(video.size_bytes, video.duration_seconds, video.width, video.height)
        money.expect(replace(work, captions=count))

    return expect


def _zones_of_other_languages(video: VideoRow, version: ActiveVersion) -> list[int]:
    """Return the zones whose texts were read before the video's languages were changed."""
    if not video.has_other_languages:
        return []
    return [zone for zone in version.regions if not version.languages(zone)]


def finish_text(
    context: dg.AssetExecutionContext, catalog: Catalog, video: VideoRow, captions: Sequence[Caption]
) -> None:
    """Finish the text stage, with a note when the video has no captions, or some that cannot be read."""
    count = len(shown(captions, video.timeline, get_settings().growing_captions))
    note = unreadable_note(captions)
    if not note and not count:
        note = video.layout.note if video.layout.note.startswith(UNREADABLE) else "no captions found"
    catalog.finish_text(video.video_id, context.run.run_id, caption_count=count, note=note)


def _only_files_missed(
    catalog: Catalog, context: dg.AssetExecutionContext, video: VideoRow, captions: Sequence[Caption]
) -> bool:
    """Begin the text stage of a video whose captions are all read, if it failed; return whether it did.

    The files that this run has written were what it lacked.
    """
    details = video.text.error_details
    was_cancelled = details is not None and details["error_type"] == "CancelledError"
    if (
        details is None
        or was_cancelled
        or any(c.ocr_status != "completed" for c in captions if c.state != "gap")
    ):
        return False
    catalog.begin_stage(video.video_id, "text", context.run.run_id, take_over=False)
    return True


def _stored_captions(object_store: ObjectStore, keys: VideoKeys) -> list[Caption]:
    try:
        return read_captions(object_store.get(keys.captions_db))
    except ObjectNotFoundError:
        return []


def _ocr_request(
    video: VideoRow,
    version: ActiveVersion,
    zone: int,
    ranges: list[CaptionRange],
    languages: Sequence[str] = (),
) -> CaptionOcrRequest:
    return CaptionOcrRequest(
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        version=version.version,
        crop_region=version.regions[zone],
        frame_count=version.frame_count,
        captions=ranges,
        zone=zone,
        languages=version.languages(zone) or list(languages),
    )
