"""From the parts that a video's segments left to what an undivided call publishes. No heavy import.

Results and segments come in the order of time. The databases are written whole, last, and then the
parts are removed.
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
)
from modal_gpu.databases.extents import ExtentsRun, SegmentScores, read_segment, write_extents
from modal_gpu.databases.raw_ocr import read_raw_ocr, write_raw_ocr
from modal_gpu.errors import ContractError, OcrError
from modal_gpu.extents.predictor import predictions
from modal_gpu.functions.layout import publish_layout
from modal_gpu.functions.workspace import Stopwatch
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

GZIP = "application/gzip"


def merge_extracts(
    request: ExtractRequest,
    segments: Sequence[FrameRange],
    results: Sequence[ExtractResult],
    store: ObjectStore,
) -> ExtractResult:
    """Publish raw-ocr.db and layout.db from the segments' parts; the whole video's result.

    Seconds are the sum over segments and this, as they are paid for. Raises :class:`OcrError` when no
    frame could be read at all.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    watch = Stopwatch()
    with watch.stage("merge"):
        read = {"raw_ocr_db", "layout_db"} & request.outputs
        if read:
            parts = [read_raw_ocr(store.get(keys.raw_ocr_part(segment.start))) for segment in segments]
            frames = [frame for part in parts for frame in part]
            if frames and all(frame.status == "failed" for frame in frames):
                raise OcrError(
                    f"OCR failed on all {len(frames)} images, first on {frames[0].frame_index}: "
                    f"{frames[0].error}"
                )
            if "raw_ocr_db" in request.outputs:
                store.put(keys.raw_ocr_db, write_raw_ocr(frames), GZIP)
            if "layout_db" in request.outputs:
                publish_layout(store, keys, frames, results[0].frame_width, results[0].frame_height)
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


def merge_crops(
    request: CropInferRequest,
    segments: Sequence[FrameRange],
    results: Sequence[CropInferResult],
    store: ObjectStore,
    *,
    started_at: str,
    completed_at: str,
) -> CropInferResult:
    """Publish the extents database from the segments' parts; the whole video's result.

    Raises :class:`ContractError` when the parts do not make one video by one model.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    watch = Stopwatch()
    with watch.stage("merge"):
        scores = _joined(
            request,
            [
                read_segment(store.get(keys.caption_frame_extents_part(request.version, segment.start)))
                for segment in segments
            ],
        )
        pairs = predictions(scores.presence, scores.same[1:])
        seconds = sum(result.processing_duration_seconds for result in results)
        key = keys.caption_frame_extents_db(request.version)
        if "caption_frame_extents_db" in request.outputs:
            run = ExtentsRun(
                run_id=request.run_id,
                cropped_frames_version=request.version,
                model_version=scores.model_version,
                model_sha256=scores.model_sha256,
                started_at=started_at,
                completed_at=completed_at,
                total_pairs=max(0, len(scores) - 1),
                processing_time_seconds=seconds,
            )
            store.put(key, write_extents(run, pairs, scores.change_seconds[1:]), GZIP)
        store.delete_prefix(keys.caption_frame_extents_parts(request.version))
    return replace(
        results[0],
        frame_count=len(scores),
        label_counts=pairs.label_counts(),
        processing_duration_seconds=seconds + watch.total,
        caption_frame_extents_db_key=key,
        chunk_count=sum(result.chunk_count for result in results),
        total_size_bytes=sum(result.total_size_bytes for result in results),
        damage=_damage(segments, [result.damage for result in results]),
        stage_seconds=_stage_seconds([result.stage_seconds for result in results], watch),
    )


def _joined(request: CropInferRequest, parts: Sequence[SegmentScores]) -> SegmentScores:
    models = {(part.model_version, part.model_sha256) for part in parts}
    if len(models) > 1:
        names = ", ".join(sorted(version for version, _ in models))
        raise ContractError(
            f"video {request.video_id}: its segments were judged by different models ({names}); run it again"
        )
    count = 0
    for part in parts:
        # A part after the end of a video that is shorter than was thought is empty.
        if len(part) and part.start_index != count:
            raise ContractError(
                f"video {request.video_id}: segments end at frame {count} and go on at {part.start_index}; "
                "run it again"
            )
        count += len(part)
    return replace(
        parts[0],
        presence=np.concatenate([part.presence for part in parts]),
        same=np.concatenate([part.same for part in parts]),
        change_seconds=np.concatenate([part.change_seconds for part in parts]),
    )


def _damage(segments: Sequence[FrameRange], texts: Sequence[str]) -> str:
    """Damage in words: once where all who saw any saw the same, else with the frames it is in."""
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
