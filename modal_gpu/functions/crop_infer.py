"""``crop_and_infer_caption_frame_extents``: the caption strip at 10 Hz, in chunks, and its pair labels."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from modal_gpu.contracts import CropInferRequest, CropInferResult, CropRegion, Progress, no_progress
from modal_gpu.databases.extents import ExtentsRun, write_extents
from modal_gpu.databases.layout import read_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.errors import ObjectNotFoundError, StorageError
from modal_gpu.extents.predictor import FractionBox, PairPredictions, PairPredictor, StripHints, collect
from modal_gpu.extents.strokes import StrokePredictor
from modal_gpu.frame_index import chunks
from modal_gpu.functions.feed import Feed
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.functions.workspace import Stopwatch, local_video
from modal_gpu.keys import VideoKeys
from modal_gpu.media.chunks import EncodedChunk, write_chunks
from modal_gpu.media.frames import CroppedFrame, read_cropped_frames
from modal_gpu.media.probe import VideoInfo, probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.ocr.engine import Box
from modal_gpu.storage import ObjectStore

#: Height of a caption line in frame heights where the layout does not know one.
DEFAULT_LINE_HEIGHT = 0.06


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
    predictor = StrokePredictor()
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
                keys.caption_frame_extents_db(request.version), write_extents(run, predictions), "application/gzip"
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


def strip_hints(store: ObjectStore, keys: VideoKeys, crop: CropRegion) -> StripHints:
    """What is known about the strips from layout.db and from the OCR of the full frames.

    A person's label counts more than a prediction. A video without a layout gets rules of thumb.
    """
    middle = (crop.crop_top + crop.crop_bottom) / 2
    try:
        layout = read_layout(store.get(keys.layout_db))
        read = read_raw_ocr(store.get(keys.raw_ocr_db))
    except ObjectNotFoundError:
        return StripHints.from_frame_layout(crop, box_height=DEFAULT_LINE_HEIGHT, vertical_center=middle)
    # A frame that was read and has no caption box says as much as one that has.
    captions: dict[int, list[FractionBox]] = {
        frame.frame_index: [] for frame in read if frame.status != "failed"
    }
    for box in layout.boxes:
        if box.is_caption:
            captions.setdefault(box.frame_index, []).append(_sides(box.box))
    center = layout.vertical_center
    return StripHints.from_frame_layout(
        crop,
        box_height=layout.box_height or DEFAULT_LINE_HEIGHT,
        vertical_center=center if center and crop.crop_top < center < crop.crop_bottom else middle,
        anchor_type=layout.anchor_type,
        anchor_position=layout.anchor_position,
        ignore_boxes=[_sides(box) for box in layout.ignore_boxes],
        caption_boxes=sorted(captions.items()),
    )


def _sides(box: Box) -> FractionBox:
    return box.left, box.top, box.right, box.bottom


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

    with Feed[CroppedFrame, PairPredictions](lambda frames: collect(predictor.predict(frames, hints))) as judged:

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
