"""The typed client: what it starts, returns and raises, on Modal's stand-in."""

import sys

import pytest

from modal_gpu.client import Pending, ProcessingClient
from modal_gpu.contracts import CaptionOcrResult, CropRegion, ExtractResult
from modal_gpu.errors import ConfigurationError, NotAVideoError, RemoteCallError, RemoteTimeoutError
from modal_gpu.keys import VideoKeys
from tests.clip_fixtures import FRAME_COUNT
from tests.modal_gpu.deployment.conftest import CROP
from tests.modal_stand_in.service import Service

pytestmark = pytest.mark.filterwarnings("ignore:The .* function is executing locally")


def test_a_started_call_is_waited_for_and_its_id_is_modals(client, service, uploaded: VideoKeys):
    keys = uploaded
    pending = client.spawn(
        "extract_frames_and_ocr",
        ExtractResult,
        video_key=keys.video,
        tenant_id=keys.tenant_id,
        video_id=keys.video_id,
        outputs=["full_frames"],
    )
    assert isinstance(pending, Pending) and pending.call_id == service.spawned[0]
    assert pending.get().frame_count == FRAME_COUNT


def test_a_call_that_is_not_done_says_so_and_can_be_stopped(client, service):
    service.deployed.clear()
    pending = client.spawn("generate_caption_ocr", CaptionOcrResult, chunks_prefix="p")
    with pytest.raises(TimeoutError):
        pending.get(timeout=0)
    pending.cancel()
    assert service.cancelled == [pending.call_id]
    with pytest.raises(RemoteCallError, match="generate_caption_ocr: RemoteError"):
        pending.get(timeout=0)


def test_without_modals_client_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "modal", None)
    client = ProcessingClient()
    for call in (
        lambda: client.generate_caption_ocr("prefix", 0, 1),
        lambda: client.generate_caption_ocr("prefix", 0, 1, on_progress=lambda *_: None),
        lambda: client.spawn("generate_caption_ocr", CaptionOcrResult, chunks_prefix="prefix"),
    ):
        with pytest.raises(ConfigurationError, match=r"^Modal's client is not installed"):
            call()


def test_the_functions_own_errors_keep_their_classes(client, container, keys: VideoKeys):
    container.put(keys.video, b"these bytes are no video" * 100, "video/mp4")
    with pytest.raises(NotAVideoError):
        client.extract_frames_and_ocr(keys.video, keys.tenant_id, keys.video_id)
    with pytest.raises(NotAVideoError):
        client.extract_frames_and_ocr(keys.video, keys.tenant_id, keys.video_id, on_progress=lambda *_: None)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("FunctionTimeoutError", RemoteTimeoutError, "raise the function's time-out"),
        ("AuthError", ConfigurationError, "modal token new"),
        ("ValueError", RemoteCallError, "ValueError: of another version"),
    ],
)
def test_failures_on_the_way_are_typed(client, service: Service, error: str, kind, message: str):
    service.deployed.clear()
    service.on_spawn = lambda call_id, _: service.end(call_id, error, "of another version")
    with pytest.raises(kind, match=message):
        client.generate_caption_ocr("prefix", 0, 1)
    service.undeployed.add("generate_caption_ocr")
    with pytest.raises(ConfigurationError, match="deploy the app"):
        client.generate_caption_ocr("prefix", 0, 1)


def test_only_plain_data_crosses(client, service: Service, uploaded: VideoKeys):
    """The stand-in's wire is JSON; nothing of this project's classes is on it."""
    keys = uploaded
    client.crop_and_infer_caption_frame_extents(
        keys.video, keys.tenant_id, keys.video_id, CropRegion(**CROP), 1, outputs=["cropped_chunks"]
    )
    (call_id,) = service.spawned
    assert service.payload(call_id)["kwargs"] == {
        "video_key": keys.video, "tenant_id": keys.tenant_id, "video_id": keys.video_id,
        "crop_region": CROP, "frame_rate": 1, "outputs": ["cropped_chunks"], "contract": 2,
    }  # fmt: skip
