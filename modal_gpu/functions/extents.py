"""The extents database from a video's scores. No video, no heavy import."""

from modal_gpu.contracts import CropInferRequest
from modal_gpu.databases.extents import ExtentsRun, SegmentScores, write_extents
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

GZIP = "application/gzip"


def publish_extents(
    request: CropInferRequest,
    scores: SegmentScores,
    store: ObjectStore,
    *,
    started_at: str,
    completed_at: str,
    seconds: float,
    zone: int = 0,
) -> None:
    """Write a zone's extents database, of a whole video's ``scores``.

    The times are ISO 8601 in UTC; ``seconds`` is the processing time.
    """
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
    key = VideoKeys(request.tenant_id, request.video_id).caption_frame_extents_db(request.version, zone)
    store.put(key, write_extents(run, scores.pairs(), scores.change_seconds[1:], step=request.step), GZIP)
