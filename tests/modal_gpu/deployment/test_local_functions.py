"""Each function's core under ``.local()``, with real media on S3, returns what the local backend returns."""

import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from captionacc_dagster.resources.compute import local_compute
from modal_gpu import app as modal_app
from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionOcrResult,
    CaptionRange,
    CropInferRequest,
    CropInferResult,
    CropRegion,
    ExtractRequest,
    ExtractResult,
    from_wire,
)
from modal_gpu.databases.extents import read_extents
from modal_gpu.databases.sqlite_file import unpack
from modal_gpu.deployment.inference import gpu_decodes
from modal_gpu.deployment.settings import CAPTION_OCR, CROP_AND_INFER, EXTRACT, ModalSettings
from modal_gpu.extents import checkpoint, predictors
from modal_gpu.extents.decoder import decode
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr import kept
from modal_gpu.storage import ObjectStore
from tests.clip_fixtures import FRAME_COUNT, Clip
from tests.modal_calls import by_keywords
from tests.storage_fixtures import S3Server

pytestmark = pytest.mark.filterwarnings("ignore:The .* function is executing locally")

#: Columns that hold when something was done, or how long it took.
TIMES = {
    "created_at",
    "updated_at",
    "started_at",
    "completed_at",
    "processing_time_seconds",
    "label_updated_at",
}


def rows(database: bytes) -> dict[str, list[dict[str, Any]]]:
    """Every table of a stored database, without the times."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "db"
        unpack(database, path)
        connection = sqlite3.connect(path)
        connection.row_factory = sqlite3.Row
        try:
            names = [n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {
                name: [
                    {key: value for key, value in dict(row).items() if key not in TIMES}
                    for row in connection.execute(f"SELECT * FROM {name}")
                    if "created_at" not in tuple(row)
                ]
                for name in names
            }
        finally:
            connection.close()


def same_objects(one: ObjectStore, other: ObjectStore, prefixes: Iterable[str]) -> list[str]:
    """Keys under the prefixes, which both stores hold with the same content."""
    found = []
    for prefix in prefixes:
        keys = [info.key for info in one.list(prefix)]
        assert keys == [info.key for info in other.list(prefix)]
        for key in keys:
            if key.endswith(".db.gz"):
                assert rows(one.get(key)) == rows(other.get(key)), key
            else:
                assert one.get(key) == other.get(key), key
        found += keys
    return found


def result_of(answer: dict[str, Any]) -> Any:
    assert answer["ok"], answer
    assert answer["usage"]["container_id"] == "local" and answer["usage"]["gpu"] == "none"
    return answer["result"]


@pytest.mark.slow
def test_the_deployed_functions_return_what_the_local_backend_returns(
    container: ObjectStore, uploaded: VideoKeys, s3_server: S3Server, clip: Clip
):
    keys, here = uploaded, ObjectStore(s3_server.make_settings())
    here.upload(clip.path, keys.video, "video/mp4")
    local = local_compute(here, ComputeSettings(workers=1))
    shipped_version = checkpoint.verify(checkpoint.shipped()).version
    prefixes = (keys.client_prefix, keys.server_prefix)

    extract = ExtractRequest(keys.tenant_id, keys.video_id, keys.video)
    remote = from_wire(
        ExtractResult, result_of(modal_app.extract_frames_and_ocr.local(**by_keywords(EXTRACT, extract)))
    )
    expected = local.extract(extract)
    assert remote.frame_count == expected.frame_count == FRAME_COUNT
    assert remote.ocr_box_count == expected.ocr_box_count > 0
    assert {keys.raw_ocr_db, keys.layout_db} < set(same_objects(here, container, prefixes))

    crop = CropInferRequest(
        keys.tenant_id, keys.video_id, keys.video, CropRegion(0.05, 0.7, 0.95, 0.97), version=1, run_id="run"
    )
    answer = modal_app.crop_and_infer_caption_frame_extents.local(**by_keywords(CROP_AND_INFER, crop))
    remote = from_wire(CropInferResult, result_of(answer))
    expected = local.crop_and_infer(crop)
    assert remote.model_version == expected.model_version == shipped_version
    assert (remote.frame_count, remote.label_counts) == (expected.frame_count, expected.label_counts)
    assert (remote.chunk_count, remote.total_size_bytes) == (expected.chunk_count, expected.total_size_bytes)
    there = same_objects(here, container, prefixes)
    assert sum(key.startswith(keys.cropped_frames_prefix(1)) for key in there) == remote.chunk_count > 3

    _, predictions = read_extents(container.get(keys.caption_frame_extents_db(1)))
    ranges = [CaptionRange(n, found.start, found.end) for n, found in enumerate(decode(predictions), 1)]
    assert len(ranges) == 3
    ocr = CaptionOcrRequest(keys.tenant_id, keys.video_id, 1, crop.crop_region, FRAME_COUNT, ranges)
    answer = modal_app.generate_caption_ocr.local(**by_keywords(CAPTION_OCR, ocr))
    texts = [from_wire(CaptionOcrResult, result) for result in result_of(answer)]
    assert texts == local.caption_ocr(ocr)
    assert [text.ocr_text for text in texts][1] == "Only the gulls are still awake."


def test_the_model_and_the_engine_are_loaded_once_a_container(
    container: ObjectStore,
    keys: VideoKeys,
    plain_clip: Clip,
    shipped_model,
    monkeypatch: pytest.MonkeyPatch,
):
    container.upload(plain_clip.path, keys.video, "video/mp4")
    monkeypatch.setattr(
        modal_app, "settings", ModalSettings(MODAL_EXTRACT_CPU=1, EXTENTS_PREDICTOR="network")
    )
    loads = []
    load, engine = predictors.load_predictor, kept.RapidOcrEngine
    monkeypatch.setattr(
        predictors, "load_predictor", lambda *a, **k: loads.append("network") or load(*a, **k)
    )
    monkeypatch.setattr(kept, "RapidOcrEngine", lambda s: loads.append("engine") or engine(s))
    extract = ExtractRequest(keys.tenant_id, keys.video_id, keys.video, outputs=frozenset({"raw_ocr_db"}))
    for _ in range(2):
        result_of(modal_app.extract_frames_and_ocr.local(**by_keywords(EXTRACT, extract)))
    assert loads == ["engine"]
    crop = CropInferRequest(
        keys.tenant_id, keys.video_id, keys.video, CropRegion(0.05, 0.7, 0.95, 0.97), 1, "run",
        outputs=frozenset({"caption_frame_extents_db"}),
    )  # fmt: skip
    for _ in range(2):
        answer = modal_app.crop_and_infer_caption_frame_extents.local(**by_keywords(CROP_AND_INFER, crop))
        assert from_wire(CropInferResult, result_of(answer)).model_version == "made-1"
    assert loads == ["engine", "network"]


def test_an_invalid_video_is_an_answer_with_the_reason(container: ObjectStore, keys: VideoKeys):
    container.put(keys.video, b"these bytes are no video" * 100, "video/mp4")
    request = ExtractRequest(keys.tenant_id, keys.video_id, keys.video)
    answer = modal_app.extract_frames_and_ocr.local(**by_keywords(EXTRACT, request))
    assert answer["ok"] is False and answer["error"]["type"] == "NotAVideoError"
    assert answer["error"]["retryable"] is False and answer["usage"]["seconds"] > 0


def test_a_container_without_its_secret_says_which(container: ObjectStore, keys: VideoKeys, monkeypatch):
    monkeypatch.delenv("WASABI_BUCKET")
    request = ExtractRequest(keys.tenant_id, keys.video_id, keys.video)
    answer = modal_app.extract_frames_and_ocr.local(**by_keywords(EXTRACT, request))
    assert answer["error"]["type"] == "ConfigurationError" and "WASABI_BUCKET" in answer["error"]["message"]


@pytest.mark.parametrize(("content", "engine"), [("", "rapidocr"), ("{}", "google_vision")])
def test_google_vision_reads_where_its_secret_has_content(
    container: ObjectStore, monkeypatch, content, engine
):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS_JSON", content)
    assert modal_app._container(modal_app.EXTRACT).settings.ocr_engine == engine


class TestMeasuring:
    def test_without_a_gpu_it_reports_so(self, shipped_model, monkeypatch):
        from modal_gpu.deployment import inference as modal_inference

        real = modal_inference.measure_inference
        monkeypatch.setattr(modal_inference, "measure_inference", lambda predictor: real(predictor, pairs=96))
        found = modal_app.measure_inference.local()
        import torch

        assert found["cuda_available"] is torch.cuda.is_available()
        if not found["cuda_available"]:
            assert (found["gpu"], found["gpu_memory_gib"], found["device"]) == ("no GPU", 0.0, "cpu")
            assert found["gpu_decodes"].startswith("no CUDA device")
        assert found["pairs"] == 96 and found["pairs_a_second"] > 0 and found["cold_start_seconds"] > 0
        assert (found["model_version"], found["model_sha256"]) == ("made-1", shipped_model.sha256)

    def test_a_driver_without_nvdec_is_noticed(self, monkeypatch):
        monkeypatch.setattr("modal_gpu.deployment.inference.no_gpu", lambda: "")
        monkeypatch.setattr("modal_gpu.media.decoding.acceleration", lambda: None)
        assert gpu_decodes().startswith("no: the driver's NVDEC library is missing")

    def test_the_command_prints_one_line_for_each_figure(self, monkeypatch, capsys):
        figures = {"gpu": "NVIDIA A10G", "pairs_a_second": 1234.5}
        monkeypatch.setattr(modal_app.measure_inference, "remote", lambda: figures)
        modal_app.test_inference()
        assert capsys.readouterr().out.split() == ["gpu", "NVIDIA", "A10G", "pairs_a_second", "1234.5"]
