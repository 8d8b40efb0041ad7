"""Videos read with Google Vision's engine: the stand-in really reads the images that it receives."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.metrics import Caption as TimedCaption
from benchmarks.metrics import evaluate
from benchmarks.pipeline import run
from modal_gpu.captions.subtitles import shown
from modal_gpu.contracts import ExtractRequest
from modal_gpu.databases.layout import read_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr
from modal_gpu.functions.extract import extract_frames_and_ocr
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr.vision_settings import VisionSettings
from modal_gpu.storage import ObjectStore
from tests.clip_fixtures import CAPTIONS, Clip
from tests.modal_gpu.ocr.vision.stand_in import QUOTA, Fault, RapidReader, VisionStandIn

TENANT, VIDEO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture(scope="module")
def reader() -> RapidReader:
    return RapidReader()


@pytest.fixture
def compute(vision: VisionStandIn, reader: RapidReader) -> ComputeSettings:
    vision.reader = reader
    settings = VisionSettings(endpoint=vision.endpoint, first_wait_seconds=0.01, retry_seconds=0.3)
    return ComputeSettings(workers=1, ocr_engine="google_vision", vision=settings)


@pytest.mark.slow
def test_a_videos_captions_are_what_is_burned_into_it(clip: Clip, compute, vision, tmp_path):
    captions = [
        TimedCaption(start / 1000, end / 1000, caption.best_text)
        for start, end, caption in shown(run(clip.path, tmp_path / "bucket", compute).captions)
    ]
    quality = evaluate(clip.truth, captions)
    assert (quality.found, quality.invented, quality.exact_text) == (3, 0, 3)
    # Frames once and captions' strips once: two images, where each by itself would be eleven or more.
    assert vision.images_received == 2


def test_frames_are_read_in_one_image_and_their_lines_lie_where_captions_are(clip, compute, vision, tmp_path):
    store, keys = ObjectStore.from_url(tmp_path.as_uri()), VideoKeys(TENANT, VIDEO)
    store.upload(clip.path, keys.video)
    result = extract_frames_and_ocr(ExtractRequest(TENANT, VIDEO, keys.video), store, compute)
    frames = read_raw_ocr(store.get(keys.raw_ocr_db))
    assert (result.failed_ocr_count, vision.images_received) == (0, 1)
    for frame in frames:
        at = frame.frame_index / 10
        expected = [line for c in CAPTIONS if c.start <= at < c.end for line in c.text.split("\n")]
        read = [line.text for line in frame.lines if line.box.center_y > 0.6]
        assert read == expected, at
        assert all(0.8 < line.confidence < 1 for line in frame.lines)
    assert read_layout(store.get(keys.layout_db)).crop_region.crop_top > 0.5


def test_frames_that_cannot_be_read_are_recorded_as_failed(clip, compute, vision, tmp_path):
    """Quota runs out after the first image; each frame is sent by itself."""
    compute = replace(compute, vision=replace(compute.vision, montage_images=1))
    store, keys = ObjectStore.from_url(tmp_path.as_uri()), VideoKeys(TENANT, VIDEO)
    store.upload(clip.path, keys.video)
    seen = []

    def is_not_the_first(image: np.ndarray) -> bool:
        seen.append(image.shape)
        return len(seen) > 1

    vision.faults.append(Fault(QUOTA, "Quota exceeded", is_not_the_first, times=None))
    result = extract_frames_and_ocr(ExtractRequest(TENANT, VIDEO, keys.video), store, compute)
    frames = read_raw_ocr(store.get(keys.raw_ocr_db))
    assert result.failed_ocr_count == len(frames) - 1 > 5
    assert frames[0].status != "failed"
    assert {frame.status for frame in frames[1:]} == {"failed"}
    assert all("RESOURCE_EXHAUSTED: Quota exceeded" in frame.error for frame in frames[1:])
