"""The deployed app without Modal: its functions run here, against an S3 server."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modal_gpu import app as modal_app
from modal_gpu.client import ProcessingClient
from modal_gpu.deployment.settings import FUNCTIONS, INFER, ModalSettings, stream_of
from modal_gpu.extents import checkpoint
from modal_gpu.extents.export import export
from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings
from modal_gpu.extents.torch_checkpoint import save_checkpoint
from modal_gpu.functions import settings as function_settings
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr.kept import forget_rapid_ocr
from modal_gpu.storage import ObjectStore
from tests.clip_fixtures import Clip
from tests.modal_stand_in.service import Service
from tests.storage_fixtures import S3Server

TENANT = "00000000-0000-4000-8000-000000000001"
#: Small, so that a test network is fast.
TINY = NetworkSettings(stem=4, width=8, blocks=1, compared=4, mix=8, head=4, temporal=8)
CROP = {"crop_left": 0.05, "crop_top": 0.7, "crop_right": 0.95, "crop_bottom": 0.97}
#: The documented fields of ``extract_frames_and_ocr``'s result.
EXTRACT_FIELDS = {
    "frame_count", "duration", "frame_width", "frame_height", "video_codec", "bitrate", "ocr_box_count",
    "failed_ocr_count", "processing_duration_seconds", "full_frames_key", "ocr_db_key", "layout_db_key",
}  # fmt: skip


def tiny_network(seed: int = 1) -> ExtentsNetwork:
    """An untrained network."""
    torch.manual_seed(seed)
    return ExtentsNetwork(TINY).eval()


@pytest.fixture
def container(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A container with the secret of a new bucket and one core a function; the bucket."""
    settings = s3_server.make_settings()
    for name in ("CAPTIONACC_STORAGE_URL", "GOOGLE_APPLICATION_CREDENTIALS_JSON", "OCR_ENGINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WASABI_BUCKET", settings.url.removeprefix("s3://"))
    monkeypatch.setenv("WASABI_ENDPOINT_URL", settings.endpoint)
    monkeypatch.setenv("WASABI_REGION", settings.region)
    monkeypatch.setenv("WASABI_ACCESS_KEY_READWRITE", settings.access_key_id)
    monkeypatch.setenv("WASABI_SECRET_KEY_READWRITE", settings.secret_access_key)
    one = {f"MODAL_{name}_CPU": 1 for name in ("EXTRACT", "CROP_INFER", "CAPTION_OCR")}
    monkeypatch.setattr(modal_app, "settings", ModalSettings(**one))
    forget()
    yield ObjectStore(settings)
    forget()


def forget() -> None:
    """Be a container that has loaded nothing yet."""
    modal_app._container.cache_clear()
    function_settings._kept_network.cache_clear()
    forget_rapid_ocr()


@pytest.fixture
def shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> checkpoint.Checkpoint:
    """A small untrained network in the place of the shipped model."""
    folder = tmp_path / "shipped"
    monkeypatch.setattr(checkpoint, "MODELS", folder)
    made = save_checkpoint(tiny_network(), "made-1", folder)
    export(made.path)
    return made


@pytest.fixture
def keys() -> VideoKeys:
    """Keys of a new video."""
    return VideoKeys(TENANT, str(uuid.uuid4()))


@pytest.fixture
def uploaded(container: ObjectStore, keys: VideoKeys, clip: Clip) -> VideoKeys:
    """The clip in the container's bucket."""
    container.upload(clip.path, keys.video, "video/mp4")
    return keys


@pytest.fixture
def service(container: ObjectStore, tmp_path: Path) -> Service:
    """The app, deployed."""
    service = Service(tmp_path / "modal")
    for name in (*FUNCTIONS, INFER):
        for deployed in (name, stream_of(name)):
            service.deployed[deployed] = getattr(modal_app, deployed).local
    return service


@pytest.fixture
def function(service: Service) -> Callable[[str], Any]:
    """A deployed function, as any program finds it by its name."""
    return lambda name: service.Function.from_name("captionacc-processing", name)


@pytest.fixture
def client(service: Service) -> ProcessingClient:
    """The typed client of the deployed app."""
    return ProcessingClient(module=service)
