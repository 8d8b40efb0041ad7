"""``crop_and_infer_caption_frame_extents``: the caption strip at 10 Hz, in chunks, and its pair labels."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from modal_gpu.contracts import (
    CropInferRequest,
    CropInferResult,
    FrameRange,
    Progress,
    no_progress,
)
from modal_gpu.databases.extents import (
    ExtentsRun,
    SegmentScores,
    write_extents,
    write_segment,
)
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.errors import ContractError, StorageError
from modal_gpu.extents.change_times import WINDOW, ChangeLocator, picture_size
from modal_gpu.extents.predictor import PairPredictions, PairPredictor, StripHints, predictions
from modal_gpu.frame_index import chunks
from modal_gpu.functions.feed import Feed
from modal_gpu.functions.hints import sampled_strips, strip_hints
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.functions.workspace import Stopwatch, local_video
from modal_gpu.keys import VideoKeys
from modal_gpu.media.chunks import EncodedChunk, write_chunks
from modal_gpu.media.frames import CroppedFrame, read_cropped_frames
from modal_gpu.media.probe import VideoInfo, probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.storage import ObjectStore

#: Frames beside a segment whose labels are needed too, to look for changes at its ends. Parts that
#: predictors are given begin at multiples of it.
LABELLED_AROUND = 32
assert WINDOW < LABELLED_AROUND


def crop_and_infer_caption_frame_extents(
    request: CropInferRequest,
    store: ObjectStore,
    settings: ComputeSettings,
    progress: Progress = no_progress,
) -> CropInferResult:
    """One pass over the video: every strip is encoded, stored and judged while the next is decoded.

    The extents database, or a segment's part of it, is written last, after every chunk is there.
    Raises :class:`BadVideoError` for a file that is no video, :class:`ContractError` for a segment
    where the predictor needs the whole video.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    watch, report, started_at = Stopwatch(), DecodeReport(), utc_now()
    predictor = settings.predictor()
    with local_video(store, request.video_key) as path:
        watch.seconds["download"] = watch.total
        info = probe(path)
        segment = request.segment or FrameRange(0)
        whole = segment.covers(info.index_count)
        if not whole and predictor.margin is None:
            raise ContractError(
                f"video {request.video_id}: {predictor.model_version} judges whole videos only, "
                f"not frames from {segment.start} on"
            )
        hints = strip_hints(store, keys, request.crop_region)
        if predictor.margin is not None:
            part = segment.of(info.index_count)
            samples = sampled_strips(store, keys, request.crop_region, info, part)
            hints = replace(hints, samples=samples)
        with watch.stage("crop_and_infer"):
            stored, size, scores = _one_pass(
                path,
                info,
                request,
                FrameRange(0) if whole else segment,
                store,
                predictor,
                hints,
                report,
                progress,
            )
    if "cropped_chunks" in request.outputs:
        expected = sum(segment.start <= ref.first_index for ref in chunks(segment.start + len(scores)))
        if stored != expected:
            raise StorageError(f"{stored} of {expected} chunks of version {request.version} were stored")
    key = keys.caption_frame_extents_db(request.version)
    with watch.stage("database"):
        if not whole:
            key = keys.caption_frame_extents_part(request.version, segment.start)
            store.put(key, write_segment(scores), "application/gzip")
        elif "caption_frame_extents_db" in request.outputs:
            run = ExtentsRun(
                run_id=request.run_id,
                cropped_frames_version=request.version,
                model_version=predictor.model_version,
                model_sha256=predictor.model_sha256,
                started_at=started_at,
                completed_at=utc_now(),
                total_pairs=max(0, len(scores) - 1),
                processing_time_seconds=watch.total,
            )
            data = write_extents(run, pair_predictions(scores), scores.change_seconds[1:])
            store.put(key, data, "application/gzip")
    return CropInferResult(
        version=request.version,
        frame_count=len(scores),
        label_counts=pair_predictions(scores).label_counts(),
        processing_duration_seconds=watch.total,
        caption_frame_extents_db_key=key,
        cropped_frames_prefix=keys.cropped_frames_prefix(request.version),
        chunk_count=stored,
        total_size_bytes=size,
        model_version=predictor.model_version,
        damage=report.describe(),
        duration=float(info.duration),
        time_spans=info.timeline.rows(),
        stage_seconds=watch.seconds,
    )


def pair_predictions(scores: SegmentScores) -> PairPredictions:
    """Label probabilities of the pairs inside a segment, or of a whole video from all of its scores."""
    return predictions(scores.presence, scores.same[1:])


def _one_pass(
    path: Path,
    info: VideoInfo,
    request: CropInferRequest,
    segment: FrameRange,
    store: ObjectStore,
    predictor: PairPredictor,
    hints: StripHints,
    report: DecodeReport,
    progress: Progress,
) -> tuple[int, int, SegmentScores]:
    """Chunks stored, their bytes, and the scores of the segment's frames."""
    keys = VideoKeys(request.tenant_id, request.video_id)
    tally = {"frames": 0, "chunks": 0, "bytes": 0}
    encode = "cropped_chunks" in request.outputs
    total = len(segment.of(info.index_count))
    around = LABELLED_AROUND + (predictor.margin or 0)
    first = max(0, segment.start - around)
    left, top, right, bottom = request.crop_region.pixels(info.width, info.height)
    frames = read_cropped_frames(
        path,
        request.crop_region,
        report,
        info=info,
        first_index=first,
        end_index=None if segment.end is None else segment.end + around,
        source_size=picture_size(bottom - top, right - left, hints.line_height),
    )

    with Feed[CroppedFrame, SegmentScores](
        lambda fed: _scores(predictor, fed, hints, first, segment), size=lambda frame: frame.yuv.nbytes
    ) as judged:

        def strips() -> Iterator[CroppedFrame]:
            for frame in frames:
                judged.put(frame)
                if frame.index < segment.start or (segment.end is not None and frame.index >= segment.end):
                    continue
                tally["frames"] += 1
                if tally["frames"] % 50 == 1:
                    progress("strips", min(tally["frames"], total), total)
                yield frame

        def objects(encoded: Iterable[EncodedChunk]) -> Iterator[tuple[str, bytes, str]]:
            for chunk in encoded:
                tally["chunks"] += 1
                tally["bytes"] += len(chunk.data)
                yield keys.chunk(request.version, chunk.ref), chunk.data, "video/webm"

        if encode:
            store.put_many(objects(write_chunks(strips(), first_index=segment.start)), concurrency=4)
        else:
            for _ in strips():
                pass
        scores = judged.result()
    progress("strips", total, total)
    return tally["chunks"], tally["bytes"], scores


def _scores(
    predictor: PairPredictor,
    frames: Iterator[CroppedFrame],
    hints: StripHints,
    first_index: int,
    segment: FrameRange,
) -> SegmentScores:
    """Judge the frames from ``first_index`` on, and keep what is the segment's."""
    locator = ChangeLocator(first_index)
    presence, same = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    index = first_index
    for batch in predictor.predict(locator.watched(frames), hints, first_index):
        if batch.first_index != index:
            raise ValueError(f"batch starts at frame {batch.first_index}, expected {index}")
        index += len(batch.presence)
        presence.append(batch.presence)
        same.append(batch.same)
        locator.add(batch)
    end = None if segment.end is None else segment.end - first_index
    own = slice(segment.start - first_index, end)
    return SegmentScores(
        segment.start,
        np.concatenate(presence)[own],
        np.concatenate(same)[own],
        locator.finish()[own],
        predictor.model_version,
        predictor.model_sha256,
    )
