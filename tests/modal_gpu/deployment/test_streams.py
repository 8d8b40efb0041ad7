"""The generator variants of the deployed functions, and who listens to them."""

import threading
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from modal_gpu import app as modal_app
from modal_gpu.client import ProcessingClient
from modal_gpu.contracts import READY, CropRegion
from modal_gpu.errors import ContractError
from modal_gpu.keys import VideoKeys
from tests.clip_fixtures import FRAME_COUNT
from tests.modal_gpu.deployment.conftest import CROP, EXTRACT_FIELDS

pytestmark = pytest.mark.filterwarnings("ignore:The .* function is executing locally")


@pytest.mark.slow
def test_the_generator_variants_yield_steps_and_an_end(
    function: Callable[[str], Any], client: ProcessingClient, uploaded: VideoKeys
):
    keys = uploaded
    items = list(
        function("extract_frames_and_ocr_stream").remote_gen(
            video_key=keys.video, tenant_id=keys.tenant_id, video_id=keys.video_id
        )
    )
    *steps, end = items
    assert all(step.keys() == {"progress", "message"} for step in steps) and len(steps) > 3
    percents = [step["progress"] for step in steps]
    assert percents == sorted(percents) and (percents[0], percents[-1]) == (0, 100)
    assert steps[0]["message"] == "starting" and steps[1]["message"].startswith("frames 0 of ")
    assert end["status"] == "completed" and end.keys() >= EXTRACT_FIELDS

    heard: list[tuple[int, str]] = []
    region = CropRegion(**CROP)
    cropped = client.crop_and_infer_caption_frame_extents(
        keys.video, keys.tenant_id, keys.video_id, region, on_progress=lambda *step: heard.append(step)
    )
    assert cropped.frame_count == FRAME_COUNT and heard[-1] == (100, f"strips {FRAME_COUNT} of {FRAME_COUNT}")
    read = client.generate_caption_ocr(cropped.cropped_frames_prefix, 0, 9, on_progress=lambda *_: None)
    assert read.frame_count == 9
    *_, end = function("generate_caption_ocr_stream").remote_gen(
        chunks_prefix=cropped.cropped_frames_prefix, start_frame=9, end_frame=9
    )
    assert end["status"] == "failed" and end["error"]["type"] == "ContractError"
    with pytest.raises(ContractError, match="empty"):
        client.generate_caption_ocr(cropped.cropped_frames_prefix, 9, 9, on_progress=lambda *_: None)


def endless(request, store, settings, progress):
    """Work that nobody ends but its caller."""
    progress(READY, 1, 100)
    for done in count():
        progress("frames", done % 100, 100)


def is_working() -> bool:
    return any(thread.name == "stream" for thread in threading.enumerate())


def test_who_leaves_a_stream_ends_the_call(container, uploaded: VideoKeys, monkeypatch, capfd):
    """The work ends at its next step, and nothing is logged as an error."""
    monkeypatch.setattr(modal_app, "_work", lambda name: endless)
    stream = modal_app.extract_frames_and_ocr_stream.local(
        uploaded.video, uploaded.tenant_id, uploaded.video_id
    )
    messages = []
    while len(messages) < 5:
        messages.append(next(stream)["message"])
    assert messages[:3] == ["starting", "frames 0 of 100", "frames 1 of 100"] and is_working()
    stream.close()
    assert not is_working() and "Traceback" not in capfd.readouterr().err


def test_a_listener_that_raises_ends_the_call_with_its_own_error(
    client: ProcessingClient, uploaded: VideoKeys, monkeypatch
):
    class EnoughError(Exception):
        pass

    def listen(percent: int, message: str) -> None:
        if percent:
            raise EnoughError

    monkeypatch.setattr(modal_app, "_work", lambda name: endless)
    with pytest.raises(EnoughError):
        client.extract_frames_and_ocr(
            uploaded.video, uploaded.tenant_id, uploaded.video_id, on_progress=listen
        )
    assert not is_working()
