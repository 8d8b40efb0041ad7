"""A backend over the stand-in for Modal, and a video to call it for."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import modal
import pytest

from captionacc_dagster.constants import LOCAL_TENANT_ID
from captionacc_dagster.resources.catalog import TenantRow
from captionacc_dagster.resources.compute import ComputeCall
from captionacc_dagster.resources.compute.modal_backend import ModalBackend
from captionacc_dagster.resources.compute.modal_client import ModalCallSettings
from tests.full_catalog import FullCatalog
from tests.modal_stand_in.service import Service

EXTRACT = "extract_frames_and_ocr"
RESULT = {"frame_count": 80, "text": "こんにちは"}
QUICK = {"poll_seconds": 0.02, "row_seconds": 0.05, "spawn_grace_seconds": 0.3, "unreachable_seconds": 0.2}


def unreached(*_: object) -> None:
    """A fault: no answer."""
    raise modal.exception.ConnectionError("[Errno 111] Connection refused")


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "modal")


@pytest.fixture
def video_id(catalog: FullCatalog, tenant: TenantRow) -> str:
    key = str(uuid.uuid4())
    catalog.register_video(tenant.tenant_id, key, f"{tenant.tenant_id}/client/{key}.mp4", 1000, "a.mp4")
    return key


@pytest.fixture
def call(video_id: str) -> ComputeCall:
    request = {"tenant_id": LOCAL_TENANT_ID, "video_id": video_id, "outputs": ["raw_ocr_db", "layout_db"]}
    return ComputeCall(EXTRACT, LOCAL_TENANT_ID, video_id, request)


class Waiting:
    """Attempts in threads of their own; ``log`` is what all of them logged."""

    def __init__(self, catalog: FullCatalog, service: Service, call: ComputeCall) -> None:
        self.catalog, self.service, self.default = catalog, service, call
        self.log: list[str] = []
        self._threads = ThreadPoolExecutor(8)

    def backend(self, run_id: str = "run-1", **settings: Any) -> ModalBackend:
        chosen = ModalCallSettings(**{**QUICK, **settings})
        return ModalBackend(self.catalog, chosen, run_id, log=self.log.append, modal=self.service)

    def start(
        self, call: ComputeCall | None = None, *, progress: Callable | None = None, **options: Any
    ) -> Future:
        """An attempt in the background; the future has its result, and ``future.backend``."""
        backend = self.backend(**options)
        arguments = [call or self.default, *([progress] if progress else [])]
        future = self._threads.submit(backend.call, *arguments)
        future.backend = backend
        return future

    def row(self) -> Any:
        (row,) = self.catalog.list_compute_calls(video_id=self.default.video_id)
        return row

    def until(self, condition: Callable[[], Any], seconds: float = 10) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, "it did not happen"
            threading.Event().wait(0.005)
        return value

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


@pytest.fixture
def waiting(catalog: FullCatalog, service: Service, call: ComputeCall) -> Iterator[Waiting]:
    waiting = Waiting(catalog, service, call)
    yield waiting
    # Every waiting call is ended, so that no thread outlives its test.
    for call_id in service.spawned:
        service.FunctionCall(call_id).cancel()
    waiting.close()
