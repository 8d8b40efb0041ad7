"""Merging of the segments' parts into the outputs of an undivided call. No heavy import.

Results and segments are in time order. The complete databases are written last, and then the parts are
deleted.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from modal_gpu.contracts import (
    CropInferRequest,
    CropInferResult,
    ExtractRequest,
    ExtractResult,
    FrameRange,
    ZoneResult,
    check_zones,
)
from modal_gpu.databases.extents import SegmentScores, read_segment
from modal_gpu.databases.raw_ocr import read_raw_ocr, write_raw_ocr
from modal_gpu.errors import ContractError, OcrError
from modal_gpu.functions.extents import GZIP, publish_extents
from modal_gpu.functions.layout import publish_layout
from modal_gpu.functions.workspace import Stopwatch
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr.engine import FrameOcr
from modal_gpu.storage import ObjectStore


def merge_extracts(
    request: ExtractRequest,
    segments: Sequence[FrameRange],
    results: Sequence[ExtractResult],
    store: ObjectStore,
) -> ExtractResult:
    """Publish raw-ocr.db and layout.db from the segments' parts; return the whole video's result.

    Seconds are the sum over the segments and the merge, as billed. Raises :class:`OcrError` if no frame
    could be read.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    watch = Stopwatch()
    with watch.stage("merge"):
        if {"raw_ocr_db", "layout_db"} & request.outputs:
            frames = _joined_readings(store, keys, segments)
            if "raw_ocr_db" in request.outputs:
                store.put(keys.raw_ocr_db, write_raw_ocr(frames), GZIP)
            if "layout_db" in request.outputs:
                first = results[0]
                publish_layout(
                    store,
                    keys,
                    frames,
                    first.frame_width,
                    first.frame_height,
                    with_language=first.with_language,
                )
        store.delete_prefix(keys.raw_ocr_parts)
    return replace(
        results[0],
        full_frame_count=sum(result.full_frame_count for result in results),
        ocr_box_count=sum(result.ocr_box_count for result in results),
        failed_ocr_count=sum(result.failed_ocr_count for result in results),
        processing_duration_seconds=sum(r.processing_duration_seconds for r in results) + watch.total,
        damage=_damage(segments, [result.damage for result in results]),
        stage_seconds=_stage_seconds([result.stage_seconds for result in results], watch),
    )


def _joined_readings(store: ObjectStore, keys: VideoKeys, segments: Sequence[FrameRange]) -> list[FrameOcr]:
    parts = [read_raw_ocr(store.get(keys.raw_ocr_part(segment.start))) for segment in segments]
    frames = [frame for part in parts for frame in part]
    if frames and all(frame.status == "failed" for frame in frames):
        raise OcrError(
            f"OCR failed on all {len(frames)} images, first on {frames[0].frame_index}: {frames[0].error}"
        )
    return frames


def merge_crops(
    request: CropInferRequest,
    segments: Sequence[FrameRange],
    results: Sequence[CropInferResult],
    store: ObjectStore,
    *,
    started_at: str,
    completed_at: str,
) -> CropInferResult:
    """Publish each zone's extents database from the segments' parts; return the whole video's result.

    Raises :class:`ContractError` if the parts are not contiguous or come from different models.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    watch = Stopwatch()
    seconds = sum(result.processing_duration_seconds for result in results)

    def merge(zone: int) -> SegmentScores:
        starts = [segment.start for segment in segments]
        parts = [keys.caption_frame_extents_part(request.version, start, zone) for start in starts]
        scores = _joined_scores(request, [read_segment(store.get(part)) for part in parts])
        if "caption_frame_extents_db" in request.outputs:
            publish_extents(
                request,
                scores,
                store,
                started_at=started_at,
                completed_at=completed_at,
                seconds=seconds,
                zone=zone,
            )
        return scores

    with watch.stage("merge"):
        scores = merge(0)
        zones = tuple(
            _zone_result(keys, request, zone.zone_index, merge(zone.zone_index), results)
            for zone in check_zones(request.zones)
        )
        for zone in (0, *(zone.zone_index for zone in zones)):
            store.delete_prefix(keys.caption_frame_extents_parts(request.version, zone))
    return replace(
        results[0],
        frame_count=len(scores),
        label_counts=scores.pairs().label_counts(),
        processing_duration_seconds=seconds + watch.total,
        caption_frame_extents_db_key=keys.caption_frame_extents_db(request.version),
        chunk_count=sum(result.chunk_count for result in results),
        total_size_bytes=sum(result.total_size_bytes for result in results),
        damage=_damage(segments, [result.damage for result in results]),
        stage_seconds=_stage_seconds([result.stage_seconds for result in results], watch),
        zones=zones,
    )


def _zone_result(
    keys: VideoKeys,
    request: CropInferRequest,
    zone: int,
    scores: SegmentScores,
    results: Sequence[CropInferResult],
) -> ZoneResult:
    parts = [part for result in results for part in result.zones if part.zone_index == zone]
    return ZoneResult(
        zone,
        scores.pairs().label_counts(),
        keys.caption_frame_extents_db(request.version, zone),
        keys.cropped_frames_prefix(request.version, zone),
        sum(part.chunk_count for part in parts),
        sum(part.total_size_bytes for part in parts),
    )


def _joined_scores(request: CropInferRequest, parts: Sequence[SegmentScores]) -> SegmentScores:
    models = {(part.model_version, part.model_sha256) for part in parts}
    if len(models) > 1:
        names = ", ".join(sorted(version for version, _ in models))
        raise ContractError(
            f"video {request.video_id}: its segments were judged by different models ({names}); run it again"
        )
    count = 0
    for part in parts:
        # If the video is shorter than its planned segments, parts after its end are empty.
        if len(part) and part.start_index != count:
            raise ContractError(
                f"video {request.video_id}: segments end at frame {count} and continue at "
                f"{part.start_index}; run it again"
            )
        count += len(part)
    return replace(
        parts[0],
        presence=np.concatenate([part.presence for part in parts]),
        same=np.concatenate([part.same for part in parts]),
        change_seconds=np.concatenate([part.change_seconds for part in parts]),
    )


def _damage(segments: Sequence[FrameRange], texts: Sequence[str]) -> str:
    """Describe the damage: once if all damaged segments report the same, else with the segments' frames."""
    seen = [(segment, text) for segment, text in zip(segments, texts, strict=True) if text]
    if len({text for _, text in seen}) <= 1:
        return seen[0][1] if seen else ""
    return "; ".join(
        f"frames {segment.start} to {'the end' if segment.end is None else segment.end - 1}: {text}"
        for segment, text in seen
    )


def _stage_seconds(parts: Sequence[dict[str, float]], watch: Stopwatch) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names} | watch.seconds
