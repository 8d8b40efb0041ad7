"""``crop_and_infer_caption_frame_extents``: the caption strip at 10 Hz, in chunks, and its pair labels."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from modal_gpu.contracts import CropInferRequest, CropInferResult, Progress, no_progress
from modal_gpu.databases.extents import ExtentsRun, write_extents
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.errors import StorageError
from modal_gpu.extents.predictor import PairPredictions, PairPredictor, StripHints, collect
from modal_gpu.frame_index import chunks
from modal_gpu.functions.feed import Feed
from modal_gpu.functions.hints import strip_hints
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.functions.workspace import Stopwatch, local_video
from modal_gpu.keys import VideoKeys
from modal_gpu.media.chunks import EncodedChunk, write_chunks
from modal_gpu.media.frames import CroppedFrame, read_cropped_frames
from modal_gpu.media.probe import VideoInfo, probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.storage import ObjectStore


def crop_and_infer_caption_frame_extents(
    request: CropInferRequest,
    store: ObjectStore,
    settings: ComputeSettings,
    progress: Progress = no_progress,
) -> CropInferResult:
    """One pass over the video: every strip is encoded, stored and judged while the next is decoded.

    The extents database is written last, after every chunk is there. Raises :class:`BadVideoError`
    for a file that is no video.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    watch, report, started_at = Stopwatch(), DecodeReport(), utc_now()
    predictor = settings.predictor()
    with local_video(store, request.video_key) as path:
        watch.seconds["download"] = watch.total
        info = probe(path)
        hints = strip_hints(store, keys, request.crop_region)
        with watch.stage("crop_and_infer"):
            count, stored, size, predictions = _one_pass(
                path, info, request, keys, store, predictor, hints, report, progress
            )
    if "cropped_chunks" in request.outputs:
        expected = sum(1 for _ in chunks(count))
        if stored != expected:
            raise StorageError(f"{stored} of {expected} chunks of version {request.version} were stored")
    with watch.stage("database"):
        if "caption_frame_extents_db" in request.outputs:
            run = ExtentsRun(
                run_id=request.run_id,
                cropped_frames_version=request.version,
                model_version=predictor.model_version,
                model_sha256=predictor.model_sha256,
                started_at=started_at,
                completed_at=utc_now(),
                total_pairs=len(predictions.forward),
                processing_time_seconds=watch.total,
            )
            store.put(
                keys.caption_frame_extents_db(request.version),
                write_extents(run, predictions),
                "application/gzip",
            )
    return CropInferResult(
        version=request.version,
        frame_count=count,
        label_counts=predictions.label_counts(),
        processing_duration_seconds=watch.total,
        caption_frame_extents_db_key=keys.caption_frame_extents_db(request.version),
        cropped_frames_prefix=keys.cropped_frames_prefix(request.version),
        chunk_count=stored,
        total_size_bytes=size,
        model_version=predictor.model_version,
        damage=report.describe(),
        stage_seconds=watch.seconds,
    )


def _one_pass(
    path: Path,
    info: VideoInfo,
    request: CropInferRequest,
    keys: VideoKeys,
    store: ObjectStore,
    predictor: PairPredictor,
    hints: StripHints,
    report: DecodeReport,
    progress: Progress,
) -> tuple[int, int, int, PairPredictions]:
    """Frame count, chunks stored, their bytes, and the pair predictions."""
    tally = {"frames": 0, "chunks": 0, "bytes": 0}
    encode = "cropped_chunks" in request.outputs

    with Feed[CroppedFrame, PairPredictions](
        lambda frames: collect(predictor.predict(frames, hints))
    ) as judged:

        def strips() -> Iterator[CroppedFrame]:
            for frame in read_cropped_frames(path, request.crop_region, report, info=info):
                judged.put(frame)
                tally["frames"] += 1
                if tally["frames"] % 50 == 1:
                    progress("strips", min(tally["frames"], info.index_count), info.index_count)
                yield frame

        def objects(encoded: Iterable[EncodedChunk]) -> Iterator[tuple[str, bytes, str]]:
            for chunk in encoded:
                tally["chunks"] += 1
                tally["bytes"] += len(chunk.data)
                yield keys.chunk(request.version, chunk.ref), chunk.data, "video/webm"

        if encode:
            store.put_many(objects(write_chunks(strips())), concurrency=4)
        else:
            for _ in strips():
                pass
        predictions = judged.result()
    progress("strips", info.index_count, info.index_count)
    return tally["frames"], tally["chunks"], tally["bytes"], predictions
