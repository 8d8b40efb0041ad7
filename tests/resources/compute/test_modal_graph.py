"""The real graph over Modal's stand-in: crashes, cancellations and retries of whole runs."""

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.resources.compute import ComputeCall, FannedOutCompute
from captionacc_dagster.resources.compute.modal_backend import ModalBackend
from captionacc_dagster.resources.compute.modal_client import ModalCallSettings, dashboard_url
from captionacc_dagster.resources.compute.modal_wire import request_hash
from modal_gpu.contracts import to_wire
from modal_gpu.deployment.wire import Container, answer
from modal_gpu.functions.caption_ocr import generate_caption_ocr
from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents
from modal_gpu.functions.extract import extract_frames_and_ocr
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore
from tests.line_fixtures import Line
from tests.modal_stand_in.service import Service
from tests.run_results import failure, materialized

REPOSITORY = Path(__file__).resolve().parents[3]
CROPS = "crop_and_infer_caption_frame_extents"
SETTINGS = ModalCallSettings(
    poll_seconds=0.02, row_seconds=0.1, spawn_grace_seconds=0.2, unreachable_seconds=0.2
)


FUNCTIONS = {
    "extract_frames_and_ocr": extract_frames_and_ocr,
    CROPS: crop_and_infer_caption_frame_extents,
    "generate_caption_ocr": generate_caption_ocr,
}
#: The usage that containers report, independent of the clock.
USED = {"gpu": "A10G", "seconds": 1.5, "cold_start_seconds": 0.5}
#: What containers published, by request; all snapshots are of the same video.
PUBLISHED: dict[Any, tuple[Any, dict[str, bytes]]] = {}


class ModalLine:
    """A line whose compute is Modal's stand-in, with what a container does behind it.

    ``settings`` are the containers'; all calls go to one of them, as long as it is warm.
    """

    def __init__(self, line: Line, service: Service) -> None:
        self.line, self.service = line, service
        self.settings = ComputeSettings(workers=1)
        self.published = PUBLISHED
        service.on_spawn = lambda call_id, payload: threading.Thread(
            target=self.work, args=[call_id], daemon=True
        ).start()

    def work(self, call_id: str) -> None:
        """Execute a call as the container does: keywords, real function on the real bucket, progress."""
        payload = self.service.payload(call_id)
        work = partial(self._published, payload["function"])
        container = Container(self.line.store, self.settings, "A10G", "ta-1", lambda: 0.5)
        reply = answer(
            payload["function"],
            payload["kwargs"],
            work,
            lambda: container,
            lambda name: self.service.Queue.from_name(name),
            call_id,
        )
        self.service.answer(call_id, reply | {"usage": reply["usage"] | USED})

    def _published(self, function: str, request: Any, store: ObjectStore, settings, progress) -> Any:
        """Return the function's result and objects, computed once for all tests with the same request."""
        call = ComputeCall(function, request.tenant_id, request.video_id, to_wire(request))
        key = request_hash(call), settings.ocr_engine
        if key not in self.published:
            keys = VideoKeys(request.tenant_id, request.video_id)

            def tags() -> dict[str, str]:
                prefixes = (keys.client_prefix, keys.server_prefix)
                return {info.key: info.etag for prefix in prefixes for info in store.list(prefix)}

            before = tags()
            result = FUNCTIONS[function](request, store, settings, progress)
            new = [name for name, tag in tags().items() if before.get(name) != tag]
            self.published[key] = result, {name: store.get(name) for name in new}
            return result
        result, objects = self.published[key]
        for name, data in objects.items():
            store.put(name, data, "application/octet-stream")
        return result

    def run(self, job: str, video_id: str, *assets: str) -> Any:
        # As in ComputeResource: a backend for each run, with the run's id.
        def open_compute(context: dg.InitResourceContext) -> FannedOutCompute:
            backend = ModalBackend(
                self.line.catalog, SETTINGS, context.run.run_id, log=context.log.info, modal=self.service
            )
            return FannedOutCompute(backend, self.line.store)

        self.line.compute = dg.ResourceDefinition(open_compute)
        return self.line.run(job, video_id, *assets)

    def functions(self) -> list[str]:
        return [self.service.payload(call_id)["function"] for call_id in self.service.spawned]

    def versions(self, video_id: str) -> list[tuple[int, str]]:
        found = self.line.catalog.list_cropped_frames_versions(video_id)
        return [(version.version, version.status) for version in found]


@pytest.fixture
def modal_line(line: Line, tmp_path: Path) -> Iterator[ModalLine]:
    yield ModalLine(line, Service(tmp_path / "modal"))


def metadata(result: Any, asset: str) -> dict[str, Any]:
    (event,) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key.to_user_string() == asset
    ]
    return {key: value.value for key, value in event.materialization.metadata.items()}


def test_a_run_pays_each_function_once_and_shows_its_calls(modal_line: ModalLine, laid_out: VideoRow):
    modal_line.published = {}  # the functions really run, so they report progress
    result = modal_line.run("captions", laid_out.video_id)
    assert result.success, failure(result)
    assert modal_line.functions() == [CROPS, "generate_caption_ocr"]
    assert modal_line.versions(laid_out.video_id) == [(1, "active")]
    rows = modal_line.line.catalog.list_compute_calls(video_id=laid_out.video_id)
    assert {row.run_id for row in rows} == {result.run_id}
    assert all(row.status == "succeeded" and row.settled_at for row in rows)
    assert rows[0].cropped_frames_version == 1
    shown = metadata(result, "cropped_chunks")
    assert rows[0].call_id in shown["remote_calls"] and "https://modal.com/id/" in shown["remote_calls"]
    assert (shown["gpu"], shown["container_seconds"], shown["remote_call_count"]) == ("A10G", 1.5, 1)
    said = [entry.user_message for entry in modal_line.line.instance.all_logs(result.run_id)]
    crops, text = (row.call_id for row in rows)
    assert said.index(f"{CROPS} of video {laid_out.video_id} (call {crops}, {dashboard_url(crops)}) started")
    assert "progress: starting 1/1" in said and "progress: strips 80/80" in said, "the container's own words"
    assert "progress: captions 3/3" in said and any(text in line for line in said)


@pytest.mark.slow
def test_a_deliberate_second_run_computes_again(modal_line: ModalLine, laid_out: VideoRow):
    assert modal_line.run("captions", laid_out.video_id).success
    assert modal_line.run("captions", laid_out.video_id).success
    # The captions themselves were read already.
    assert modal_line.functions() == [CROPS, "generate_caption_ocr", CROPS]
    assert modal_line.versions(laid_out.video_id) == [(1, "archived"), (2, "active")]


def test_what_was_published_is_not_taken_for_the_same_request_again(
    modal_line: ModalLine, laid_out: VideoRow
):
    """Labelling the active version's frames again is an identical request each time."""
    assert modal_line.run("captions", laid_out.video_id, "cropped_chunks").success
    for _ in range(2):
        assert modal_line.run("captions", laid_out.video_id, "caption_frame_extents_db").success
    assert modal_line.functions() == [CROPS] * 3
    hashes = [
        row.request_hash for row in modal_line.line.catalog.list_compute_calls(video_id=laid_out.video_id)
    ]
    assert len(set(hashes)) == 2 and hashes[1] == hashes[2]


def test_an_error_of_the_container_is_in_the_row(modal_line: ModalLine, laid_out: VideoRow):
    error = {"type": "BadVideoError", "message": "the file is damaged; upload it again", "retryable": False}
    modal_line.service.on_spawn = lambda call_id, _: modal_line.service.answer(
        call_id, {"ok": False, "error": error}
    )
    result = modal_line.run("captions", laid_out.video_id)
    assert failure(result).startswith("harbour.mp4: the file is damaged; upload it again")
    details = modal_line.line.row(laid_out.video_id).boundaries.error_details
    assert details["error_type"] == "BadVideoError"
    assert modal_line.functions() == [CROPS]
    assert modal_line.versions(laid_out.video_id) == [(1, "failed")]


def test_a_layout_that_somebody_else_holds_is_published_by_the_retry_without_a_second_call(
    modal_line: ModalLine, laid_out: VideoRow, monkeypatch: pytest.MonkeyPatch
):
    catalog = modal_line.line.catalog
    held, waited = catalog.lease, []

    def lease_after_ann(video_id: str, name: str, owner: str, *, wait_seconds: float):
        if not waited:
            waited.append(catalog.take_lock(video_id, name, "ann", 60, lock_type="client"))
            return held(video_id, name, owner, wait_seconds=0.1)
        catalog.release_lock(waited[0])
        return held(video_id, name, owner, wait_seconds=wait_seconds)

    monkeypatch.setattr(catalog, "lease", lease_after_ann)
    result = modal_line.run("layout", laid_out.video_id)
    assert result.success, failure(result)
    assert waited and modal_line.functions() == ["extract_frames_and_ocr"]
    assert catalog.database_version(laid_out.video_id, "layout") == 2


def times_out(modal_line: ModalLine, before: Callable[[], None] = lambda: None) -> Callable:
    """Let the first call exceed its time limit, and return what containers do otherwise."""
    works = modal_line.service.on_spawn

    def act(call_id: str, payload: dict[str, Any]) -> None:
        if len(modal_line.service.spawned) > 1:
            return works(call_id, payload)
        before()
        modal_line.service.end(call_id, "FunctionTimeoutError", "Task's current input hit its timeout")

    return act


def test_a_time_out_is_paid_once_and_says_what_to_do(modal_line: ModalLine, laid_out: VideoRow):
    """An hour of a GPU that was not enough is not made two."""
    modal_line.service.on_spawn = times_out(modal_line)
    result = modal_line.run("captions", laid_out.video_id)
    assert not result.success and modal_line.functions() == [CROPS]
    row = modal_line.line.row(laid_out.video_id)
    assert (row.boundaries.status, row.boundaries.error_details["error_type"]) == (
        "error",
        "RemoteTimeoutError",
    )
    for part in ("MODAL_CROP_INFER_TIMEOUT", "CAPTIONACC_SEGMENT_FRAMES", "captionacc retry"):
        assert part in failure(result) and part in row.boundaries.error_details["message"]
    modal_line.line.catalog.retry_stage(laid_out.video_id, "boundaries")
    assert modal_line.run("captions", laid_out.video_id).success
    assert modal_line.functions() == [CROPS, CROPS, "generate_caption_ocr"]
    assert modal_line.versions(laid_out.video_id) == [(1, "failed"), (2, "active")]


def test_a_retry_after_a_timeout_continues_the_partly_finished_version(
    modal_line: ModalLine, laid_out: VideoRow
):
    """For a divided video, segments that finished in time belong to version 1, and are not paid for again."""
    catalog, video_id = modal_line.line.catalog, laid_out.video_id

    def another_segment() -> None:
        (call,) = catalog.list_compute_calls(video_id=video_id)
        row = catalog.open_compute_call(
            video_id, call.run_id, CROPS, "f" * 64, str(uuid.uuid4()), cropped_frames_version=1
        )
        catalog.assign_compute_call(row.id, row.waiter, "fc-segment")
        catalog.finish_compute_call(row.id, row.waiter, {"value": {}}, USED)

    modal_line.service.on_spawn = times_out(modal_line, another_segment)
    assert not modal_line.run("captions", video_id).success
    assert modal_line.versions(video_id) == [(1, "processing")]
    catalog.retry_stage(video_id, "boundaries")
    result = modal_line.run("captions", video_id)
    assert result.success, failure(result)
    assert modal_line.versions(video_id) == [(1, "active")]


@pytest.mark.parametrize("kind", ["StorageAccessError", "ConfigurationError", "CheckpointError"])
def test_a_container_that_a_service_refuses_is_asked_once(
    modal_line: ModalLine, laid_out: VideoRow, kind: str
):
    """A wrong key in the container costs one call, not three."""
    error = {
        "type": kind,
        "message": "access was refused. Check WASABI_ACCESS_KEY_READWRITE",
        "retryable": False,
    }
    modal_line.service.on_spawn = lambda call_id, _: modal_line.service.answer(
        call_id, {"ok": False, "error": error}
    )
    result = modal_line.run("captions", laid_out.video_id)
    assert "WASABI_ACCESS_KEY_READWRITE" in failure(result)
    assert modal_line.functions() == [CROPS]


def test_a_retry_after_an_outage_continues_the_version_and_its_call(
    modal_line: ModalLine, laid_out: VideoRow
):
    """Modal is silent until the first attempt gives up; the second one finds the call and version 1."""

    def silent(call_id: str) -> None:
        if modal_line.line.catalog.list_compute_calls(video_id=laid_out.video_id)[0].attempts == 1:
            raise modal_line.service.exception.ConnectionError("connection refused")

    modal_line.service.on_get = silent
    result = modal_line.run("captions", laid_out.video_id)
    assert result.success, failure(result)
    assert modal_line.functions() == [CROPS, "generate_caption_ocr"]
    assert modal_line.versions(laid_out.video_id) == [(1, "active")]


_RUN = """
import sys
from pathlib import Path
import dagster as dg
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
from modal_gpu.storage import ObjectStore
from tests.line_fixtures import Line
from tests.resources.compute.test_modal_graph import ModalLine
from tests.modal_stand_in.service import Service
dsn, bucket, folder, video_id = sys.argv[1:]
with dg.DagsterInstance.ephemeral() as instance:
    line = Line(Catalog(PostgresTransport(dsn)), ObjectStore.from_url(bucket), instance)
    instance.add_dynamic_partitions("videos", [line.row(video_id).partition_key])
    modal_line = ModalLine(line, Service(Path(folder)))
    modal_line.service.on_spawn = lambda *_: None  # nothing answers while this process lives
    modal_line.run("captions", video_id)
"""


@contextmanager
def waiting_run(modal_line: ModalLine, video_id: str, dsn: str, bucket: Path) -> Iterator[subprocess.Popen]:
    """A run in a process of its own that waits for its first call."""
    arguments = [dsn, bucket.as_uri(), str(modal_line.service.folder), video_id]
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, *arguments], cwd=REPOSITORY, env=os.environ, stderr=subprocess.DEVNULL
    )
    try:
        modal_line.service.wait_for_spawn(seconds=180, process=process)
        while not modal_line.line.catalog.list_compute_calls(video_id=video_id)[0].call_id:
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_a_run_that_is_terminated_cancels_its_call_and_its_version(
    modal_line: ModalLine, laid_out: VideoRow, postgres_dsn: str, tmp_path: Path
):
    """Dagster terminates a run's process by a signal, which arrives while the client waits."""
    with waiting_run(modal_line, laid_out.video_id, postgres_dsn, tmp_path / "bucket") as process:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert len(modal_line.service.spawned) == 1
    assert modal_line.service.cancelled == modal_line.service.spawned
    (row,) = modal_line.line.catalog.list_compute_calls(video_id=laid_out.video_id)
    assert row.status == "cancelled" and row.cancel_delivered_at
    assert modal_line.versions(laid_out.video_id) == [(1, "failed")]
    assert modal_line.line.row(laid_out.video_id).boundaries.error_details["error_type"] == "Cancelled"


def test_after_a_killed_run_the_next_one_finds_its_call_and_its_version(
    modal_line: ModalLine, laid_out: VideoRow, postgres_dsn: str, tmp_path: Path
):
    """A real process with the real asset, killed by SIGKILL while it waits."""
    catalog = modal_line.line.catalog
    with waiting_run(modal_line, laid_out.video_id, postgres_dsn, tmp_path / "bucket") as process:
        process.kill()
    (row,) = catalog.list_compute_calls(video_id=laid_out.video_id)
    call_id = row.call_id
    assert modal_line.service.cancelled == []
    assert modal_line.versions(laid_out.video_id) == [(1, "processing")]

    modal_line.work(call_id)  # Modal continues without the run
    result = modal_line.run("captions", laid_out.video_id)

    assert result.success, failure(result)
    assert "cropped_chunks" in materialized(result)
    assert modal_line.functions() == [CROPS, "generate_caption_ocr"], "the crops are not paid twice"
    assert modal_line.versions(laid_out.video_id) == [(1, "active")]
    found = catalog.get_compute_call(row.id)
    assert (found.attempts, found.run_id, found.status) == (2, result.run_id, "succeeded")
