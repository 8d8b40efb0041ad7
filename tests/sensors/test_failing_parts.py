"""A part fails after the claim: the claim is returned, and the next tick requests the work, once.

Every sensor, the webhook and the listener, each with a bucket, a catalogue and a Dagster that fail.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest
from starlette.testclient import TestClient

from captionacc_dagster.resources.catalog import CatalogUnavailableError
from captionacc_dagster.sensors.backfills import backfills
from captionacc_dagster.sensors.caption_ocr_requests import caption_ocr_requests
from captionacc_dagster.sensors.layout_approvals import layout_approvals
from captionacc_dagster.sensors.new_videos import new_videos
from captionacc_dagster.web import starter as starter_module
from captionacc_dagster.web.listeners import handle
from captionacc_dagster.web.starter import RunStarter
from captionacc_dagster.web.webhook import create_app
from modal_gpu.errors import InvalidKeyError, StorageError
from modal_gpu.extents.checkpoint import shipped
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line

MODEL = shipped().stem.rpartition("_")[0]


class Failing:
    """A part that passes calls on until it is broken, by hand or by a call of one of ``breaks_after``."""

    def __init__(self, part: Any, error: Exception, breaks_after: tuple[str, ...] = ()) -> None:
        self._part, self._error, self._breaks_after = part, error, breaks_after
        self.is_broken = False

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if not callable(value):
            return value

        def call(*arguments, **options):
            if self.is_broken:
                raise self._error
            result = value(*arguments, **options)
            self.is_broken = name in self._breaks_after
            return result

        return call


CLAIMS = (
    "claim_new_videos",
    "claim_new_video",
    "pending_layout_approvals",
    "claim_layout_approval",
    "pending_text",
    "claim_caption_ocr_requests",
    "claim_backfill_videos",
)
FAULTS = ("bucket", "catalogue", "Dagster", "Dagster after the tick")


@dataclass
class Asker:
    """A requester of work, with the sensor that finds the same work, and the run key."""

    sensor: dg.SensorDefinition
    make_work: Callable[[Line, Any], str]
    told: str = ""


def new_video(line: Line, get: Callable[[str], Any]) -> str:
    return f"layout/{line.upload(get('clip').path).video_id}/1"


def approval(line: Line, get: Callable[[str], Any]) -> str:
    return f"captions/{get('laid_out').video_id}/1/1"


def due_text(line: Line, get: Callable[[str], Any]) -> str:
    video_id = get("finished").video_id
    line.catalog.begin_stage(video_id, "text", "run-0")
    line.catalog.fail_stage(video_id, "text", "run-0", "killed")
    row = line.catalog.retry_stage(video_id, "text")
    return f"text/{video_id}/1/{row.text.attempts + 1}"


def request(line: Line, get: Callable[[str], Any]) -> str:
    video_id = get("finished").video_id
    return f"request/{video_id}/{line.catalog.request_caption_ocr(video_id).id}/1"


def chosen_for_backfill(line: Line, get: Callable[[str], Any]) -> str:
    video_id, backfill_id = get("finished").video_id, str(uuid.uuid4())
    line.catalog.request_backfill(backfill_id, f"{MODEL}-next", {}, "ann", dry_run=False)
    return f"backfill/{backfill_id}/{video_id}"


ASKERS = {
    "new_videos": Asker(new_videos, new_video),
    "layout_approvals": Asker(layout_approvals, approval),
    "caption_ocr_requests, text": Asker(caption_ocr_requests, due_text),
    "caption_ocr_requests, request": Asker(caption_ocr_requests, request),
    "backfills": Asker(backfills, chosen_for_backfill),
    "webhook": Asker(new_videos, new_video, told="webhook"),
    "listener, layout": Asker(new_videos, new_video, told="layout"),
    "listener, boundaries": Asker(layout_approvals, approval, told="boundaries"),
}


def taken(line: Line) -> list[str]:
    """Keys of the runs that Dagster has."""
    return [run.tags["dagster/run_key"] for run in line.instance.get_runs()]


def ask(asker: Asker, line: Line, starter: RunStarter, run_key: str, applies: bool) -> None:
    """Tick once, or call the starter once; errors are part of its result."""
    video_id = run_key.split("/")[1]
    if asker.told == "webhook":
        record = {"id": video_id, "tenant_id": line.tenant_id}
        payload = {"type": "INSERT", "table": "videos", "schema": "captionacc", "record": record}
        app = create_app(starter, secret="secret")
        TestClient(app).post(
            "/webhooks/supabase/videos", json=payload, headers={"authorization": "Bearer secret"}
        )
        return
    if asker.told:
        start = {"layout": starter.start_layout, "boundaries": starter.start_captions}[asker.told]
        handle(lambda _, video: start(video), asker.told, video_id)
        return
    resources = {"catalog": starter.catalog, "object_store": starter.object_store}
    if asker.sensor is not new_videos:
        del resources["object_store"]
    with (
        dg.build_sensor_context(instance=line.instance, resources=resources) as context,
        suppress(CatalogUnavailableError, ConnectionError),
    ):
        result = asker.sensor(context)
        if applies:
            line.apply(asker.sensor, result)


@pytest.fixture
def catalogue(line: Line) -> Iterator[Failing]:
    failing = Failing(line.catalog, CatalogUnavailableError("the catalogue does not answer"))
    yield failing


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("asker", ASKERS.values(), ids=ASKERS)
def test_nothing_is_lost_and_nothing_is_requested_twice(
    asker: Asker, fault: str, line: Line, catalogue: Failing, request, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(starter_module, "RETRY_SECONDS", 0.05)
    run_key = asker.make_work(line, request.getfixturevalue)
    bucket = Failing(line.store, StorageError("the bucket does not answer"))
    submitted: list[str] = []

    def submit(job: str, run_id: str, tags: dict[str, str]) -> None:
        if fault == "Dagster after the tick":
            raise ConnectionError("Dagster does not answer")
        submitted.append(run_id)
        run = dg.DagsterRun(job_name=job, run_id=run_id, tags=tags, status=dg.DagsterRunStatus.STARTING)
        line.instance.add_run(run)

    starter = RunStarter(catalogue, bucket, line.instance, submit)
    bucket.is_broken = fault == "bucket"
    catalogue._breaks_after = CLAIMS if fault == "catalogue" else ()
    with monkeypatch.context() as broken:
        if fault == "Dagster":
            broken.setattr(line.instance, "get_runs", _no_answer)
            broken.setattr(line.instance, "add_dynamic_partitions", _no_answer)
        ask(asker, line, starter, run_key, applies=fault != "Dagster after the tick")
    needs_no_bucket = fault == "bucket" and asker.sensor is not new_videos
    if not needs_no_bucket:
        starter.wait_until_created(0.2)
        assert taken(line) == []

    bucket.is_broken = catalogue.is_broken = False
    catalogue._breaks_after = ()
    assert starter.wait_until_created()
    for _ in range(2):
        healthy = Asker(asker.sensor, asker.make_work)
        ask(healthy, line, starter, run_key, applies=True)
        assert taken(line) == [run_key]
    starter.close()


def _no_answer(*_: Any, **__: Any) -> None:
    raise ConnectionError("Dagster's database does not answer")


def test_an_unreachable_bucket_is_tried_once_a_tick_and_delays_no_video(line: Line, clip: Clip, caplog):
    """Each look takes its time-out: a tick of fifty would take longer than it may."""
    rows = [line.upload(clip.path) for _ in range(5)]
    looks, healthy = [], line.store

    class Bucket:
        def head(self, key: str):
            looks.append(key)
            if len(looks) > 2:
                raise StorageError("the bucket does not answer")
            return healthy.head(key)

        def address(self, key: str) -> str:
            return healthy.address(key)

    line.store = Bucket()
    asked = [request.partition_key for request in line.tick(new_videos).run_requests]
    assert (asked, len(looks)) == ([row.partition_key for row in rows[:2]], 3)
    result = line.tick(new_videos)
    assert len(looks) == 4
    assert "claims returned: the bucket does not answer" in result.skip_reason.skip_message
    line.store = healthy
    asked = [request.partition_key for request in line.tick(new_videos).run_requests]
    assert asked == [row.partition_key for row in rows[2:]]


@pytest.mark.parametrize("error", [InvalidKeyError("no key"), ValueError("two\nlines")])
def test_an_object_with_an_error_affects_no_other(line: Line, clip: Clip, error, monkeypatch):
    first, second, third = (line.upload(clip.path) for _ in range(3))
    head = line.store.head

    def look(key: str):
        if key == second.storage_key:
            raise error
        return head(key)

    monkeypatch.setattr(line.store, "head", look)
    asked = [request.partition_key for request in line.tick(new_videos).run_requests]
    assert asked == [first.partition_key, third.partition_key]
    # In a minute, not at once and not in fifteen.
    assert not line.tick(new_videos).run_requests
    monkeypatch.undo()
    limits = {"restart_after_seconds": 900 - 60, "max_unstarted": 96}
    assert [row.video_id for row in line.catalog.claim_new_videos(**limits)] == [second.video_id]


@pytest.mark.parametrize(
    "asker",
    [asker for asker in ASKERS.values() if not asker.told],
    ids=[n for n in ASKERS if not ASKERS[n].told],
)
def test_a_partition_that_a_person_deleted_is_added_again(asker: Asker, line: Line, request):
    """A run request for a partition that is not there fails a tick and all that it claimed."""
    run_key = asker.make_work(line, request.getfixturevalue)
    (video,) = line.catalog.list_videos()
    line.instance.delete_dynamic_partition("videos", video.partition_key)
    assert [r.run_key for r in line.tick(asker.sensor).run_requests] == [run_key]
    assert line.instance.has_dynamic_partition("videos", video.partition_key)


def test_the_starters_partition_is_added_again_too(line: Line, clip: Clip):
    video = line.upload(clip.path)
    line.instance.delete_dynamic_partition("videos", video.partition_key)
    starter = RunStarter(line.catalog, line.store, line.instance, lambda *_: None)
    starter.start_layout(video.video_id)
    assert starter.wait_until_created()
    starter.close()
    assert line.instance.has_dynamic_partition("videos", video.partition_key)
