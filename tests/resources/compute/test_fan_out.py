"""Divided work publishes what undivided work does, and captions are read in batches."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.resources.compute import FannedOutCompute, FanOut, batched, run_call
from captionacc_dagster.resources.compute.calls import ComputeCall
from modal_gpu.captions.decoded import DecodedExtents
from modal_gpu.captions.segments import captions_of_segments
from modal_gpu.contracts import (
    READY,
    CaptionOcrRequest,
    CaptionOcrResult,
    CaptionRange,
    CropInferRequest,
    CropRegion,
    ExtractRequest,
    FrameRange,
    Progress,
    to_wire,
)
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.extents import read_segment
from modal_gpu.databases.sqlite_file import read_database
from modal_gpu.errors import (
    ContractError,
    OcrError,
    RemoteTimeoutError,
)
from modal_gpu.extents.checkpoint import shipped, verify
from modal_gpu.frame_index import SEGMENT_ALIGNMENT, chunks, segment_starts
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr.engine import Box, OcrLine
from modal_gpu.storage import ObjectStore

FRAMES = 6000
CROP = CropRegion(0, 0.5, 1, 1)


class BandReader:
    """An OCR engine that reads the picture's mean brightness."""

    def recognize(self, image: np.ndarray) -> list[OcrLine]:
        return [OcrLine(f"level {int(image.mean())}", 0.9, Box(0.3, 0.8, 0.7, 0.9))]


class Settings(ComputeSettings):
    """The installation of these tests: the predictor that is the default, and a quick reader."""

    def open_ocr(self, kind: str, languages: Sequence[str] = ()) -> BandReader:
        return BandReader()


class InThisProcess:
    """A backend whose calls share the process."""

    def __init__(self, store: ObjectStore) -> None:
        self.store, self.calls = store, []

    def call(self, call: ComputeCall, progress: Progress) -> Any:
        self.calls.append(call)
        return run_call(call, self.store, Settings(workers=1), progress)


WORDS = ("the", "boat", "turns", "home", "light", "evening", "harbour", "silent", "gulls", "far", "last")


def draw_caption(picture: np.ndarray, number: int) -> None:
    """Two words, white with a dark rim, centred in the lower half; others for each number."""
    text = " ".join(np.random.default_rng(number).choice(WORDS, 2))
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    place = ((picture.shape[1] - width) // 2, 41)
    for level, thickness in ((0, 3), (255, 1)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, level, thickness, cv2.LINE_AA)


@pytest.fixture(scope="module")
def ten_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes at 12 pictures a second with a caption every four seconds, on a picture that drifts."""
    path = tmp_path_factory.mktemp("long") / "ten-minutes.mp4"
    noise = np.random.default_rng(7).integers(0, 255, (48, 1024)).astype(np.uint8)
    background = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 10, 120, cv2.NORM_MINMAX)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"preset": "ultrafast", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = 128, 48, "yuv420p"
        for number in range(FRAMES * 12 // 10):
            picture = background[:, number // 6 % 800 :][:, :128].copy()
            caption, within = divmod(number, 48)
            if within >= 7 + caption % 5:
                draw_caption(picture, caption)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray8")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.from_url((tmp_path / "bucket").as_uri())


def rows(data: bytes, versions: tuple[int, ...] = (1, 2)) -> dict[str, list[tuple]]:
    """Every row of every table, without the moments and durations of the run itself."""
    timings = {"created_at", "started_at", "completed_at", "processing_time_seconds", "updated_at"}
    with read_database(data, versions) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            table["name"]: [
                tuple((k, row[k]) for k in row.keys() if k not in timings)  # noqa: SIM118
                for row in connection.execute(f"SELECT * FROM {table['name']}")
            ]
            for table in tables
        }


def processed(
    video: Path, store: ObjectStore, parallel: int
) -> tuple[dict[str, Any], InThisProcess, list[Any]]:
    """Everything in the bucket of a video after both calls: databases as rows, the rest as hashes."""
    keys = VideoKeys(str(uuid.uuid4()), str(uuid.uuid4()))
    store.upload(video, keys.video)
    backend = InThisProcess(store)
    fan_out = FanOut(segment_frames=1536, max_parallel=parallel, divide_crops=True)
    compute = FannedOutCompute(backend, store, fan_out)
    steps: list[tuple[str, int, int]] = []
    extracted = compute.extract(
        ExtractRequest(keys.tenant_id, keys.video_id, keys.video), lambda *step: steps.append(step)
    )
    ready: list[Caption] = []

    def crop_step(stage: str, done: int, total: int) -> None:
        if stage == READY:
            parts = [
                read_segment(store.get(one.key)) for one in store.list(keys.caption_frame_extents_parts(1))
            ]
            assert len(parts) >= done
            ready[:] = captions_of_segments(parts, extracted.frame_count, extracted.duration)
        else:
            steps.append((stage, done, total))

    cropped = compute.crop_and_infer(
        CropInferRequest(
            keys.tenant_id, keys.video_id, keys.video, CROP, 1, "run-1", frame_count=extracted.frame_count
        ),
        crop_step,
    )
    decoded = DecodedExtents.of(store.get(keys.caption_frame_extents_db(1))).captions(extracted.duration)
    # What could be read on the way is what was found in the end.
    ends = {(one.start_index, one.end_index, one.start_seconds) for one in decoded}
    assert {(one.start_index, one.end_index, one.start_seconds) for one in ready} <= ends
    assert bool(ready) == (parallel > 1)
    found = {}
    for prefix in (keys.client_prefix, keys.server_prefix):
        for info in store.list(prefix):
            data = store.get(info.key)
            name = info.key.removeprefix(f"{keys.tenant_id}/").replace(keys.video_id, "video")
            found[name] = rows(data) if name.endswith(".db.gz") else hashlib.sha256(data).hexdigest()
    plain = [
        replace(result, processing_duration_seconds=0, stage_seconds={}) for result in (extracted, cropped)
    ]
    wires = [str(to_wire(result)).replace(keys.tenant_id, "").replace(keys.video_id, "") for result in plain]
    assert steps[-1] == (("merge", 1, 1) if parallel > 1 else ("strips", FRAMES, FRAMES))
    return found, backend, wires


@pytest.mark.slow
def test_ten_minutes_in_four_segments_have_the_result_of_one(ten_minutes: Path, store: ObjectStore):
    whole, backend, results = processed(ten_minutes, store, 1)
    assert len(backend.calls) == 2
    divided, backend, divided_results = processed(ten_minutes, store, 4)
    spans = [(call.function[:4], call.request["segment"]["start"]) for call in backend.calls]
    assert sorted(spans) == [
        *(("crop", start) for start in (0, 1536, 3072, 4608)),
        *(("extr", start) for start in (0, 1536, 3072, 4608)),
    ]
    assert divided.keys() == whole.keys()
    assert sum(name.endswith(".webm") for name in whole) == len(list(chunks(FRAMES)))
    for name in whole:
        assert divided[name] == whole[name], name
    assert divided_results == results
    extents = whole["server/videos/video/caption_frame_extents_v1.db.gz"]
    (run,) = map(dict, extents["run_metadata"])
    shipped_model = verify(shipped())
    assert (run["model_version"], run["model_sha256"]) == (shipped_model.version, shipped_model.sha256)
    pairs = [dict(pair) for pair in extents["pair_results"]]
    assert len(pairs) == FRAMES - 1
    # It separated the 150 captions, so the comparison is not of empty results.
    assert sum(pair["forward_predicted_label"] == "empty_valid" for pair in pairs) > 120
    assert sum(pair["change_seconds"] is not None for pair in pairs) > 240


def test_a_short_video_is_one_call_and_no_part_is_left(ten_minutes: Path, store: ObjectStore):
    backend = InThisProcess(store)
    keys = VideoKeys(str(uuid.uuid4()), str(uuid.uuid4()))
    store.upload(ten_minutes, keys.video)
    compute = FannedOutCompute(backend, store, FanOut(segment_frames=6144, max_parallel=8, divide_crops=True))
    compute.extract(ExtractRequest(keys.tenant_id, keys.video_id, keys.video))
    assert len(backend.calls) == 1
    assert store.exists(keys.raw_ocr_db) and store.exists(keys.layout_db)
    assert not list(store.list(keys.raw_ocr_parts))


def test_indivisible_work_is_not_divided(store: ObjectStore):
    keys = VideoKeys(str(uuid.uuid4()), str(uuid.uuid4()))
    request = CropInferRequest(keys.tenant_id, keys.video_id, keys.video, CROP, 1, "r", frame_count=50_000)
    for fan_out in (FanOut(max_parallel=4), FanOut(max_parallel=4, divide_crops=True), FanOut()):
        # The predictor needs the full video; there are no full frames; or only one container is allowed.
        assert FannedOutCompute(InThisProcess(store), store, fan_out)._crop_segments(request) == [
            FrameRange(0)
        ]


lengths = st.integers(1, 20).map(lambda k: k * SEGMENT_ALIGNMENT)


@given(st.integers(1, 200_000), lengths, st.integers(1, 30))
def test_segments_cover_a_video_within_their_length(count: int, longest: int, parallel: int):
    starts = segment_starts(count, longest, parallel)
    ends = [*starts[1:], max(count, starts[-1] + 1)]
    assert starts[0] == 0 and all(start % SEGMENT_ALIGNMENT == 0 for start in starts)
    assert all(0 < end - start <= longest for start, end in zip(starts, ends, strict=True))
    assert len(starts) == 1 or count > longest
    blocks = -(-count // SEGMENT_ALIGNMENT)
    assert len(starts) <= parallel or len(starts) % parallel == 0 or len(starts) == blocks


@given(st.integers(1, 200_000), lengths, st.integers(2, 30))
def test_the_first_segment_and_those_after_it_cover_a_video(count: int, longest: int, parallel: int):
    fan_out = FanOut(longest, parallel)
    segments = [FrameRange(0, longest), *fan_out.segments_after_first(count)]
    assert [a.end for a in segments[:-1]] == [b.start for b in segments[1:]]
    assert segments[-1].end is None or count <= longest
    assert all(len(segment.of(count)) for segment in segments)


@pytest.mark.parametrize(("start", "end"), [(5, None), (512, 700), (512, 512), (1024, 512)])
def test_a_segment_that_no_chunk_begins_or_ends_at_is_refused(start: int, end: int | None):
    with pytest.raises(ContractError):
        FrameRange(start, end)


def ocr_request(count: int) -> CaptionOcrRequest:
    captions = [CaptionRange(n, n, n + 1) for n in range(count)]
    return CaptionOcrRequest(str(uuid.uuid4()), str(uuid.uuid4()), 1, CROP, count, captions)


class Reader:
    """A backend that reads captions, but none of the batches that begin with one of ``failing``."""

    def __init__(self, *failing: int, error: Exception | None = None) -> None:
        self.failing, self.sizes = failing, []
        self.error = error or OcrError("the service said no")

    def call(self, call: ComputeCall, progress: Progress) -> Any:
        captions = call.request["captions"]
        self.sizes.append(len(captions))
        if captions and captions[0]["caption_id"] in self.failing:
            raise self.error
        return [
            to_wire(CaptionOcrResult(f"text {c['caption_id']}", 0.9, 1, c["caption_id"])) for c in captions
        ]


def test_captions_are_read_in_batches_and_come_back_in_order(store: ObjectStore):
    backend = Reader(100)
    compute = FannedOutCompute(backend, store, FanOut(max_parallel=4, captions_a_call=50))
    results = compute.caption_ocr(ocr_request(220))
    assert sorted(backend.sizes) == [44] * 5
    assert [result.caption_id for result in results] == list(range(220))
    assert all(result.ocr_text == f"text {n}" for n, result in enumerate(results))
    backend = Reader(0)
    results = FannedOutCompute(backend, store, compute.fan_out).caption_ocr(ocr_request(220))
    assert [bool(result.error) for result in results] == [True] * 44 + [False] * 176
    with pytest.raises(OcrError, match="said no"):
        FannedOutCompute(Reader(0, 36, 73), store, compute.fan_out).caption_ocr(ocr_request(110))
    backend = Reader()
    assert FannedOutCompute(backend, store, compute.fan_out).caption_ocr(ocr_request(0)) == []
    assert len(FannedOutCompute(backend, store).caption_ocr(ocr_request(500))) == 500
    assert backend.sizes[-1] == 500


def test_a_batch_that_times_out_keeps_the_readings_of_the_others(store: ObjectStore):
    late = RemoteTimeoutError("ran longer than the function may")
    compute = FannedOutCompute(Reader(0, error=late), store, FanOut(max_parallel=4, captions_a_call=50))
    results = compute.caption_ocr(ocr_request(100))
    assert [result.error or "" for result in results] == [str(late)] * 50 + [""] * 50
    with pytest.raises(RemoteTimeoutError):
        FannedOutCompute(Reader(0, 50, error=late), store, compute.fan_out).caption_ocr(ocr_request(100))


@given(st.lists(st.integers(), max_size=40), st.integers(1, 12))
def test_batches_are_all_items_in_order_none_too_long(items: list[int], size: int):
    found = list(batched(items, size))
    assert [item for batch in found for item in batch] == items
    assert all(0 < len(batch) <= size for batch in found)
