"""The documented calls, with exactly their keywords, on Modal's stand-in and the deployed app's functions."""

import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modal_gpu.client import ProcessingClient
from modal_gpu.contracts import (
    CaptionOcrResult,
    CropInferResult,
    CropRegion,
    ExtractRequest,
    ExtractResult,
    InferenceBatchResult,
    to_wire,
)
from modal_gpu.databases.extents import read_extents
from modal_gpu.databases.layout import read_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr
from modal_gpu.databases.sqlite_file import unpack
from modal_gpu.errors import FrameRateError, ObjectNotFoundError, RemoteCallError
from modal_gpu.extents.decoder import decode
from modal_gpu.frame_index import chunks, full_frame_indices
from modal_gpu.keys import VideoKeys
from modal_gpu.media.chunks import ChunkReader
from modal_gpu.storage import ObjectStore
from tests.clip_fixtures import FRAME_COUNT
from tests.modal_gpu.deployment.conftest import CROP, EXTRACT_FIELDS

pytestmark = pytest.mark.filterwarnings("ignore:The .* function is executing locally")

CROP_FIELDS = {
    "version", "frame_count", "label_counts", "processing_duration_seconds", "caption_frame_extents_db_key",
    "cropped_frames_prefix",
}  # fmt: skip
CAPTION_FIELDS = {"ocr_text", "confidence", "frame_count", "median_frame_index"}


def indices_of(store: ObjectStore, keys: VideoKeys) -> list[int]:
    found = (keys.full_frame_index(info.key) for info in store.list(keys.full_frames_prefix))
    return sorted(index for index in found if index is not None)


def pairs_in(data: bytes, tmp_path: Path) -> list[tuple[int, int]]:
    path = tmp_path / f"{uuid.uuid4()}.db"
    unpack(data, path)
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT frame1_index, frame2_index FROM pair_results ORDER BY 1").fetchall()


def test_the_three_functions_by_their_documented_keywords(
    function: Callable[[str], Any], container: ObjectStore, uploaded: VideoKeys
):
    keys = uploaded
    extracted = function("extract_frames_and_ocr").remote(
        video_key=keys.video, tenant_id=keys.tenant_id, video_id=keys.video_id, frame_rate=0.1
    )
    assert extracted.keys() >= EXTRACT_FIELDS and "ok" not in extracted
    assert (extracted["frame_count"], extracted["duration"]) == (FRAME_COUNT, FRAME_COUNT / 10)
    assert (extracted["frame_width"], extracted["frame_height"]) == (640, 360)
    assert extracted["video_codec"] == "h264" and extracted["bitrate"] > 0
    readings = read_raw_ocr(container.get(extracted["ocr_db_key"]))
    assert extracted["ocr_box_count"] == sum(len(frame.lines) for frame in readings) > 0
    assert extracted["failed_ocr_count"] == 0 and extracted["processing_duration_seconds"] > 0
    assert read_layout(container.get(extracted["layout_db_key"])).caption_band_found
    assert extracted["full_frames_key"] == keys.full_frames_prefix
    assert indices_of(container, keys) == list(full_frame_indices(FRAME_COUNT))

    call = function("crop_and_infer_caption_frame_extents").spawn(
        video_key=keys.video,
        tenant_id=keys.tenant_id,
        video_id=keys.video_id,
        crop_region=CROP,
        frame_rate=10.0,
    )
    cropped = call.get()
    assert cropped.keys() >= CROP_FIELDS
    assert (cropped["version"], cropped["frame_count"]) == (1, FRAME_COUNT)
    _, predictions = read_extents(container.get(cropped["caption_frame_extents_db_key"]))
    assert cropped["label_counts"] == predictions.label_counts()
    assert sum(cropped["label_counts"].values()) == FRAME_COUNT - 1
    assert cropped["processing_duration_seconds"] > 0
    stored = [info.key for info in container.list(cropped["cropped_frames_prefix"])]
    assert sorted(stored) == sorted(keys.chunk(1, ref) for ref in chunks(FRAME_COUNT))

    caption = decode(predictions)[1]
    read = function("generate_caption_ocr").remote(
        chunks_prefix=cropped["cropped_frames_prefix"], start_frame=caption.start, end_frame=caption.end
    )
    assert read.keys() >= CAPTION_FIELDS
    assert read["ocr_text"] == "Only the gulls are still awake." and 0.5 < read["confidence"] <= 1
    assert read["frame_count"] == caption.end - caption.start
    assert read["median_frame_index"] == (caption.start + caption.end) // 2

    # The same by position, and a second version beside the first.
    again = function("crop_and_infer_caption_frame_extents").remote(
        keys.video, keys.tenant_id, keys.video_id, CROP
    )
    assert again["version"] == 2
    again = function("generate_caption_ocr").remote(
        again["cropped_frames_prefix"], caption.start, caption.end
    )
    assert again["ocr_text"] == read["ocr_text"]


@pytest.mark.slow
def test_full_frames_are_taken_and_read_at_the_rate_that_is_asked_for(
    client: ProcessingClient, container: ObjectStore, uploaded: VideoKeys
):
    keys, expected = uploaded, [0, 33, 67]
    result = client.extract_frames_and_ocr(keys.video, keys.tenant_id, keys.video_id, frame_rate=0.3)
    assert isinstance(result, ExtractResult) and result.full_frame_count == len(expected)
    assert indices_of(container, keys) == expected
    assert [frame.frame_index for frame in read_raw_ocr(container.get(keys.raw_ocr_db))] == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "step"),
    [(5, 2), (2, 5), (1, 10)],
)
def test_cropped_frames_at_lower_rates_keep_the_index_space(
    client: ProcessingClient, container: ObjectStore, uploaded: VideoKeys, shipped_model, tmp_path, rate, step
):
    keys, region = uploaded, CropRegion(**CROP)
    at_ten = client.crop_and_infer_caption_frame_extents(keys.video, keys.tenant_id, keys.video_id, region)
    result = client.crop_and_infer_caption_frame_extents(
        keys.video, keys.tenant_id, keys.video_id, region, frame_rate=rate
    )
    stored = range(0, FRAME_COUNT, step)
    assert isinstance(result, CropInferResult) and (result.version, at_ten.version) == (2, 1)
    assert result.frame_count == len(stored) and sum(result.label_counts.values()) == len(stored) - 1
    names = {info.key for info in container.list(result.cropped_frames_prefix)}
    assert names == {keys.chunk(2, ref) for ref in chunks(FRAME_COUNT, step)}
    pairs = pairs_in(container.get(result.caption_frame_extents_db_key), tmp_path)
    assert pairs == [(index, index + step) for index in stored[:-1]]

    # Each stored frame is the one at its index.
    def reader(version: int, every: int) -> ChunkReader:
        return ChunkReader(lambda ref: container.get(keys.chunk(version, ref)), FRAME_COUNT, step=every)

    own, all_frames = (dict(reader(version, every).at(stored)) for version, every in ((2, step), (1, 1)))
    for index in stored:
        difference = np.abs(own[index].astype(int) - all_frames[index].astype(int)).mean()
        assert difference < 6, index
    # Captions are read from them too.
    read = client.generate_caption_ocr(result.cropped_frames_prefix, 1, min(FRAME_COUNT, 40))
    assert isinstance(read, CaptionOcrResult) and read.frame_count == min(FRAME_COUNT, 40) - 1
    assert client.generate_caption_ocr(result.cropped_frames_prefix, 1, 2).frame_count == 1


@pytest.mark.parametrize(
    ("call", "rates"),
    [
        (
            lambda c, k, rate: c.extract_frames_and_ocr(k.video, k.tenant_id, k.video_id, rate),
            [0, -1, 1.5, 25],
        ),
        (
            lambda c, k, rate: c.crop_and_infer_caption_frame_extents(
                k.video, k.tenant_id, k.video_id, CropRegion(**CROP), rate
            ),
            [0, 3, 2.5, 20, 30],
        ),
    ],
)
def test_another_rate_is_an_error_that_names_those_that_work(
    client: ProcessingClient, uploaded: VideoKeys, call, rates
):
    for rate in rates:
        with pytest.raises(FrameRateError, match=r"up to 1 Hz works|10, 5, 2 and 1 Hz work"):
            call(client, uploaded, rate)


@pytest.mark.slow
def test_an_orchestrator_of_the_version_before_is_answered(function, container, uploaded: VideoKeys):
    """It sends one envelope as the only argument, and reads an answer of its contract."""
    keys = uploaded
    request = ExtractRequest(keys.tenant_id, keys.video_id, keys.video, outputs=frozenset({"full_frames"}))
    envelope = {"contract": 1, "request": to_wire(request), "progress": None}
    answer = function("extract_frames_and_ocr").remote(envelope)
    assert (answer["contract"], answer["ok"]) == (1, True) and answer["usage"]["container_id"] == "local"
    assert answer["result"]["full_frame_count"] == len(indices_of(container, keys)) > 0
    assert answer["result"].keys() >= EXTRACT_FIELDS


class TestInference:
    def test_stored_chunks_are_judged_by_the_version_that_is_named(
        self, function, client, container: ObjectStore, uploaded: VideoKeys, shipped_model
    ):
        keys, run_id = uploaded, str(uuid.uuid4())
        client.crop_and_infer_caption_frame_extents(
            keys.video, keys.tenant_id, keys.video_id, CropRegion(**CROP), outputs=["cropped_chunks"]
        )
        result = function("run_boundary_inference_batch").remote(
            video_id=keys.video_id,
            tenant_id=keys.tenant_id,
            cropped_frames_version=1,
            model_version="made-1",
            run_id=run_id,
            frame_pairs=[[0, 1], [1, 2], [2, 7]],
        )
        assert (result["status"], result["run_id"]) == ("completed", run_id)
        assert (result["successful"], result["failed"], result["total_pairs"]) == (2, 1, 3)
        assert (result["model_version"], result["model_sha256"]) == ("made-1", shipped_model.sha256)
        assert result["processing_duration_seconds"] > 0
        assert result["storage_key"] == keys.caption_frame_extents_of_run(1, run_id)
        run, predictions = read_extents(container.get(result["storage_key"]))
        assert (run.run_id, run.model_version, run.model_sha256) == (run_id, "made-1", shipped_model.sha256)
        assert predictions.frame_count == FRAME_COUNT
        assert result["label_counts"] == predictions.label_counts()
        assert not container.exists(keys.caption_frame_extents_db(1)), "the version's own stays as it is"
        typed = client.run_boundary_inference_batch(
            keys.video_id, keys.tenant_id, 1, "made-1", on_progress=lambda *_: None
        )
        assert isinstance(typed, InferenceBatchResult)
        assert (typed.successful, typed.total_pairs) == (FRAME_COUNT - 1,) * 2
        assert typed.label_counts == predictions.label_counts()

    def test_what_is_not_stored_is_named(self, client, uploaded: VideoKeys, shipped_model):
        with pytest.raises(RemoteCallError, match=r"no extents model extents-77 \(stored: made-1\)"):
            client.run_boundary_inference_batch(uploaded.video_id, uploaded.tenant_id, 1, "extents-77")
        with pytest.raises(ObjectNotFoundError, match=r"there are no chunks under .*cropped_frames_v4"):
            client.run_boundary_inference_batch(uploaded.video_id, uploaded.tenant_id, 4, "made-1")


@pytest.mark.parametrize(
    ("prefix", "start", "end", "message"),
    [
        ("{t}/client/videos/{v}/cropped_frames_v1/", 0, 10**6, "are not all stored"),
        ("{t}/client/videos/{v}/cropped_frames_v1/", -1, 5, "start_index"),
        ("{t}/client/videos/{v}/cropped_frames_v9/", 0, 5, "there are no chunks under"),
        ("{t}/client/videos/{v}/", 0, 5, "is not a prefix of chunks such as"),
    ],
)
def test_frames_that_are_not_stored_are_refused(
    function, client, uploaded: VideoKeys, prefix, start, end, message
):
    client.crop_and_infer_caption_frame_extents(
        uploaded.video,
        uploaded.tenant_id,
        uploaded.video_id,
        CropRegion(**CROP),
        1,
        outputs=["cropped_chunks"],
    )
    prefix = prefix.format(t=uploaded.tenant_id, v=uploaded.video_id)
    with pytest.raises((ValueError, RuntimeError), match=message):
        function("generate_caption_ocr").remote(chunks_prefix=prefix, start_frame=start, end_frame=end)
