"""Uploads and approvals become queued runs without a sensor, where the catalogue can announce them."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.run_coordinator import QueuedRunCoordinator

from captionacc_dagster.constants import LOCAL_TENANT_ID
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.runs.tags import VIDEO_ID
from captionacc_dagster.settings import Settings
from captionacc_dagster.web import direct_start
from captionacc_dagster.web.direct_start import DirectStart
from modal_gpu.storage import ObjectStore


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance with a queue and without a daemon."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    (tmp_path / "bucket").mkdir()
    return ObjectStore.from_url((tmp_path / "bucket").as_uri())


def uploaded(catalog, store: ObjectStore) -> str:
    video_id = str(uuid.uuid4())
    key = f"{LOCAL_TENANT_ID}/{video_id}/video.mp4"
    store.put(key, b"bytes")
    catalog.register_video(LOCAL_TENANT_ID, video_id, key, 5, "a.mp4")
    return video_id


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def queued(instance: dg.DagsterInstance) -> set[str]:
    runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
    assert {run.job_name for run in runs} <= {"layout", "video"}
    assert {run.tags["trigger"] for run in runs} <= {"direct_start"}
    assert all(run.tags["dagster/partition"] == f"a.mp4~{run.tags[VIDEO_ID]}" for run in runs)
    return {run.tags[VIDEO_ID] for run in runs}


def test_what_waits_already_and_what_comes_later_is_queued_at_once(
    catalog, tenant, postgres_dsn, store, instance
):
    settings = Settings(_env_file=None, CAPTIONACC_DATABASE_URL=postgres_dsn)
    early = uploaded(catalog, store)
    with DirectStart(settings, catalog, store) as direct:
        direct.begin([early])
        direct.begin([early])
        wait_for(lambda: queued(instance) == {early})
        late = uploaded(catalog, store)
        wait_for(lambda: queued(instance) == {early, late})
    assert len(instance.get_runs()) == 2


def test_a_run_that_a_killed_predecessor_created_is_queued(
    catalog, tenant, postgres_dsn, store, instance, monkeypatch
):
    def killed(*_: object) -> None:
        raise OSError("killed")

    settings = Settings(_env_file=None, CAPTIONACC_DATABASE_URL=postgres_dsn)
    video_id = uploaded(catalog, store)
    with monkeypatch.context() as broken:
        broken.setattr(QueuedRunCoordinator, "submit_run", killed)
        broken.setattr(Catalog, "return_claims", lambda *_, **__: None)
        with DirectStart(settings, catalog, store) as direct:
            direct.begin([video_id])
            wait_for(lambda: instance.get_runs())
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.NOT_STARTED]
    with DirectStart(settings, catalog, store) as direct:
        direct.begin()
        wait_for(lambda: queued(instance) == {video_id})
    assert len(instance.get_runs()) == 1


def test_an_error_at_its_start_is_logged_and_tried_again(
    catalog, tenant, postgres_dsn, store, instance, monkeypatch, caplog
):
    opened, open_starter = [], direct_start.open_starter

    def fail_once(*args, **options):
        opened.append(args)
        if len(opened) == 1:
            raise OSError("the database is locked")
        return open_starter(*args, **options)

    monkeypatch.setattr(direct_start, "open_starter", fail_once)
    settings = Settings(_env_file=None, CAPTIONACC_DATABASE_URL=postgres_dsn)
    video_id = uploaded(catalog, store)
    with DirectStart(settings, catalog, store) as direct:
        direct.begin([video_id])
        wait_for(lambda: queued(instance) == {video_id})
    assert "OSError: the database is locked" in caplog.text


def test_nothing_is_started_before_it_begins_or_where_only_supabases_api_is_known(catalog, store):
    api_only = Settings(_env_file=None, SUPABASE_URL="http://127.0.0.1:1", SUPABASE_SERVICE_ROLE_KEY="key")
    with DirectStart(api_only, catalog, store) as direct:
        direct.begin(["video"])
        assert direct._thread is None
