"""``run_boundary_inference_batch``: the pair labels of stored chunks, by a model that the caller names.

It reads the chunks of one version, not the video, so it finds no times between the tenths of a second. Its
database has a key of its own: the platform's, which belongs to the version, stays as it is.
"""

from collections.abc import Iterable, Iterator

from modal_gpu.contracts import InferenceBatchRequest, InferenceBatchResult, Progress, no_progress
from modal_gpu.databases.extents import ExtentsRun, write_extents
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.extents.predictor import collect
from modal_gpu.frame_index import ChunkRef
from modal_gpu.functions.extents import GZIP
from modal_gpu.functions.frame_flow import numbered
from modal_gpu.functions.hints import strip_hints
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.functions.stored_frames import StoredFrames, crop_region_of, stored_frames
from modal_gpu.functions.workspace import Stopwatch
from modal_gpu.keys import CroppedFramesPlace, VideoKeys
from modal_gpu.media.chunks import ChunkReader
from modal_gpu.media.frames import CroppedFrame
from modal_gpu.storage import ObjectStore


def run_boundary_inference_batch(
    request: InferenceBatchRequest,
    store: ObjectStore,
    settings: ComputeSettings,
    progress: Progress = no_progress,
) -> InferenceBatchResult:
    """Judge zone 0 of a version and store the run's own database.

    Raises :class:`CheckpointError` for a model that is not stored, and :class:`ObjectNotFoundError` for a
    version without chunks.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    place = CroppedFramesPlace(keys, request.cropped_frames_version)
    storage_key = keys.caption_frame_extents_of_run(place.version, request.run_id)
    watch, started_at = Stopwatch(), utc_now()
    predictor = settings.predictor_of(request.model_version)
    stored = stored_frames(store, place)
    hints = strip_hints(store, keys, crop_region_of(store, place))
    frames = numbered(_read(store, place, stored, progress), stored.step)
    pairs = collect(predictor.predict(frames, hints))
    run = ExtentsRun(
        run_id=request.run_id,
        cropped_frames_version=place.version,
        model_version=predictor.model_version,
        model_sha256=predictor.model_sha256,
        started_at=started_at,
        completed_at=utc_now(),
        total_pairs=len(pairs.forward),
        processing_time_seconds=watch.total,
    )
    store.put(storage_key, write_extents(run, pairs, step=stored.step), GZIP)
    wanted, judged = _counted(request, stored)
    return InferenceBatchResult(
        status="completed",
        run_id=request.run_id,
        storage_key=storage_key,
        successful=judged,
        failed=wanted - judged,
        total_pairs=wanted,
        label_counts=pairs.label_counts(),
        model_version=predictor.model_version,
        model_sha256=predictor.model_sha256,
        processing_duration_seconds=watch.total,
    )


def _read(
    store: ObjectStore, place: CroppedFramesPlace, stored: StoredFrames, progress: Progress
) -> Iterator[CroppedFrame]:
    def fetch(ref: ChunkRef) -> bytes:
        return store.get(place.keys.chunk(place.version, ref, place.zone))

    reader = ChunkReader(fetch, stored.index_count, step=stored.step)
    frames: Iterable[CroppedFrame] = reader.cropped_frames(range(0, stored.index_count, stored.step))
    for count, frame in enumerate(frames, 1):
        yield frame
        if count % 50 == 0 or count == stored.frame_count:
            progress("pairs", count, stored.frame_count)


def _counted(request: InferenceBatchRequest, stored: StoredFrames) -> tuple[int, int]:
    """Return the number of pairs that were asked for, and of those that are neighbouring stored frames."""
    if request.frame_pairs is None:
        return (stored.frame_count - 1,) * 2
    judged = sum(
        first % stored.step == 0 and second == first + stored.step and second < stored.index_count
        for first, second in request.frame_pairs
    )
    return len(request.frame_pairs), judged
