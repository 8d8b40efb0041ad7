"""Contract: listeners announce new work, survive failures, and change nothing by missing some."""

import threading
import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from captionacc_dagster.constants import LOCAL_TENANT_ID
from captionacc_dagster.resources.catalog import LayoutOutcome
from captionacc_dagster.web.listeners import Backoff, PostgresListener, handle, waiting_stage
from modal_gpu.contracts import CropRegion

STRIP = CropRegion(0.1, 0.8, 0.9, 0.95)


class Heard:
    """The received hints, which tests can wait for."""

    def __init__(self) -> None:
        self.hints: list[tuple[str, str]] = []
        self._changed = threading.Condition()

    def __call__(self, stage: str, video_id: str) -> None:
        with self._changed:
            self.hints.append((stage, video_id))
            self._changed.notify_all()

    def wait_for(self, hint: tuple[str, str], seconds: float = 15) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: hint in self.hints, seconds)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def listener(postgres_dsn: str, heard: Heard) -> Iterator[PostgresListener]:
    listener = PostgresListener(postgres_dsn, heard, Backoff(0.01, 0.1))
    stop = threading.Event()
    thread = threading.Thread(target=listener.run, args=[stop])
    thread.start()
    assert listener.listening.wait(15)
    yield listener
    stop.set()
    thread.join(15)
    assert not thread.is_alive()


def upload(catalog, **changes) -> str:
    video_id = str(uuid.uuid4())
    key = f"{LOCAL_TENANT_ID}/{video_id}/video.mp4"
    catalog.register_video(LOCAL_TENANT_ID, video_id, key, 1, "a.mp4", **changes)
    return video_id


def test_uploads_approvals_and_retries_are_announced_and_work_in_progress_is_not(
    catalog, tenant, listener, heard
):
    early = upload(catalog, uploaded=False)
    video_id = upload(catalog)
    assert heard.wait_for(("layout", video_id))
    catalog.register_video(LOCAL_TENANT_ID, early, f"{LOCAL_TENANT_ID}/{early}/video.mp4", 1, "a.mp4")
    assert heard.wait_for(("layout", early))
    catalog.claim_new_videos()
    catalog.begin_stage(video_id, "layout", "run")
    outcome = LayoutOutcome(
        duration_seconds=8, width=640, height=360, video_codec="h264", frame_count=80, layout_found=True,
        layout_confidence=0.5, crop_region=STRIP,
    )  # fmt: skip
    catalog.finish_layout(video_id, "run", outcome)
    catalog.approve_layout(video_id, "ann")
    assert heard.wait_for(("boundaries", video_id))
    catalog.begin_stage(video_id, "boundaries", "run")
    catalog.fail_stage(video_id, "boundaries", "run", "broken")
    before = len(heard.hints)
    assert sorted(heard.hints) == sorted([("layout", video_id), ("layout", early), ("boundaries", video_id)])
    catalog.retry_stage(video_id, "boundaries")
    deadline = time.monotonic() + 15
    while len(heard.hints) == before and time.monotonic() < deadline:
        heard.wait_for(("", ""), 0.05)
    assert heard.hints[before:] == [("boundaries", video_id)]


def test_a_listener_with_a_cut_connection_reconnects(catalog, tenant, listener, heard, postgres_dsn):
    assert heard.wait_for(("layout", upload(catalog)))
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen captionacc%'"
        )
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        # Hints in between are lost, and left to the sensors.
        if heard.wait_for(("layout", upload(catalog)), 0.2):
            break
    else:
        raise AssertionError("nothing was heard after the cut")


def test_missed_hints_are_left_to_the_sensors(catalog, tenant, heard):
    """While no listener is connected, the claim still hands the video out."""
    video_id = upload(catalog)
    assert heard.hints == []
    assert [video.video_id for video in catalog.claim_new_videos()] == [video_id]


def test_a_missing_server_is_retried_with_pauses(heard, caplog):
    listener = PostgresListener("postgresql://ann:S3cret@127.0.0.1:9/x", heard, Backoff(0.01, 0.02))
    stop = threading.Event()
    thread = threading.Thread(target=listener.run, args=[stop])
    thread.start()
    deadline = time.monotonic() + 15
    while caplog.text.count("not listening") < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    thread.join(15)
    assert not thread.is_alive()
    assert caplog.text.count("not listening") >= 3
    assert "S3cret" not in caplog.text


def test_pauses_grow_up_to_a_bound_and_are_reset():
    backoff = Backoff(1, 8)
    for bound in (1, 2, 4, 8, 8):
        assert bound / 2 <= backoff.next() <= bound
    backoff.reset()
    assert backoff.next() <= 1


def test_an_invalid_hint_or_failing_work_does_not_end_the_listener(heard):
    def fail(stage: str, video_id: str) -> None:
        raise ZeroDivisionError

    for stage, video_id in (("layout", "no uuid"), ("other", str(uuid.uuid4())), (None, None)):
        handle(heard, stage, video_id)
    assert heard.hints == []
    handle(fail, "layout", str(uuid.uuid4()))


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({}, "layout"),
        ({"uploaded_at": None}, None),
        ({"deleted_at": "2026-01-01"}, None),
        ({"layout_requested_at": "2026-01-01"}, None),
        ({"layout_run_id": "run"}, None),
        ({"layout_status": "done"}, "boundaries"),
        ({"layout_status": "done", "boundaries_run_id": "run"}, None),
        ({"layout_status": "done", "boundaries_status": "annotate"}, None),
    ],
)
def test_a_row_waits_for_what_the_claims_would_claim(changes, stage):
    row = {"layout_status": "wait", "boundaries_status": "wait", "uploaded_at": "2026-01-01"}
    assert waiting_stage({**row, **changes}) == stage
