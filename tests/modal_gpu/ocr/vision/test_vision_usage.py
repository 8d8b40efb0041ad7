"""Images that Google bills appear in the usage of the call that they were for."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from modal_gpu.contracts import CaptionOcrRequest, CaptionOcrResult, CaptionRange, CropRegion
from modal_gpu.deployment.settings import CAPTION_OCR
from modal_gpu.deployment.wire import Container, answer
from modal_gpu.errors import OcrError
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.ocr.pool import OcrPool
from modal_gpu.ocr.vision_settings import VisionSettings
from modal_gpu.ocr.vision_tally import ImageTally
from tests.modal_calls import by_keywords
from tests.modal_gpu.ocr.vision.conftest import marked
from tests.modal_gpu.ocr.vision.stand_in import Fault, VisionStandIn

TENANT, VIDEO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def container(vision: VisionStandIn) -> Container:
    """One container, which serves every call of a test; two workers, each frame sent separately."""
    settings = VisionSettings(
        endpoint=vision.endpoint, first_wait_seconds=0.01, retry_seconds=0.1, montage_images=1
    )
    compute = ComputeSettings(workers=2, ocr_engine="google_vision", vision=settings)
    return Container(None, compute, "T4", "ta-1", lambda: 0.0)  # type: ignore[arg-type] - no object is read


def call(container: Container, frames: int) -> dict:
    """The answer to a call that reads so many frames as the functions do."""

    def work(request, store, settings, progress):
        with OcrPool(lambda: settings.open_ocr("strips"), settings.worker_count) as pool:
            read = list(
                pool.map((index, marked((120, 200), ("red", 40, 20, 90, 60))) for index in range(frames))
            )
        return [CaptionOcrResult(frame.lines[0].text, 0.9, 1) for frame in read]

    captions = [CaptionRange(n, n, n + 1) for n in range(max(1, frames))]
    request = CaptionOcrRequest(TENANT, VIDEO, 1, CropRegion(0, 0, 1, 1), max(1, frames), captions)
    return answer(CAPTION_OCR, by_keywords(CAPTION_OCR, request), work, lambda: container, lambda _: None)


def test_each_call_of_a_container_has_its_own_images(container: Container, vision: VisionStandIn):
    first, second, none = (call(container, frames) for frames in (20, 3, 0))
    assert [reply["usage"]["vision_images"] for reply in (first, second, none)] == [20, 3, 0]
    assert container.settings.vision_images.count == vision.images_received == 23


def test_images_that_were_tried_again_are_billed_once_and_refused_ones_never(container, vision):
    vision.faults.append(Fault(grpc.StatusCode.UNAVAILABLE, times=1))
    assert call(container, 1)["usage"]["vision_images"] == 1
    vision.faults.append(Fault(grpc.StatusCode.INVALID_ARGUMENT, "no", times=None))
    refused = call(container, 1)
    assert refused["error"]["type"] == OcrError.__name__ and refused["usage"]["vision_images"] == 0


def test_a_call_that_fails_is_billed_for_what_it_read_before(container: Container, vision: VisionStandIn):
    def work(request, store, settings, progress):
        engine = settings.open_ocr("strips")
        engine.recognize(marked((120, 200)))
        engine.close()
        raise OcrError("the rest could not be read")

    request = CaptionOcrRequest(TENANT, VIDEO, 1, CropRegion(0, 0, 1, 1), 1, [])
    reply = answer(CAPTION_OCR, by_keywords(CAPTION_OCR, request), work, lambda: container, lambda _: None)
    assert (reply["ok"], reply["usage"]["vision_images"]) == (False, 1)


def test_a_tally_loses_nothing_between_threads_and_another_process_has_its_own():
    tally = ImageTally()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: [tally.add() for _ in range(500)], range(8)))
    assert tally.count == 4000
    assert pickle.loads(pickle.dumps(tally)).count == 0
    assert ComputeSettings() == ComputeSettings(vision_images=tally)
