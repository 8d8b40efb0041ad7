"""Dagster's storage in PostgreSQL with kept connections, on a real server."""

import threading
import time
from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest
import yaml

from captionacc_dagster.dagster_internals import pooled_storage
from captionacc_dagster.dagster_internals.pooled_storage import PooledPostgresStorage


@dg.asset
def thing(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    context.log.info("made")
    return dg.MaterializeResult(metadata={"size": 1})


@dg.asset(check_specs=[dg.AssetCheckSpec(f"check_{i}", asset="checked") for i in range(5)])
def checked():
    results = [dg.AssetCheckResult(check_name=f"check_{i}", passed=True) for i in range(5)]
    return dg.MaterializeResult(check_results=results)


@pytest.fixture
def instance(empty_dsn: str, tmp_path, monkeypatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setattr(pooled_storage, "IDLE_SECONDS", 0.3)
    storage = {"module": pooled_storage.__name__, "class": PooledPostgresStorage.__name__}
    url = empty_dsn.replace("postgresql://", "postgresql+psycopg2://", 1)
    config = {"storage": {"custom": {**storage, "config": {"postgres_url": url}}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def server(empty_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        yield connection


def others(server: psycopg.Connection) -> list[int]:
    """Return the processes that serve other connections to this database."""
    rows = server.execute(
        "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    )
    return [pid for (pid,) in rows.fetchall()]


def wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def test_a_run_is_stored_through_few_connections(instance, server, monkeypatch):
    opened = []
    connect = psycopg2_connect()
    monkeypatch.setattr("psycopg2.connect", lambda *a, **k: opened.append(1) or connect(*a, **k))
    result = dg.materialize([thing], instance=instance)
    assert result.success
    assert instance.get_run_by_id(result.run_id).status == dg.DagsterRunStatus.SUCCESS
    event = instance.get_latest_materialization_event(dg.AssetKey("thing"))
    assert event is not None and event.run_id == result.run_id
    assert len(opened) <= pooled_storage.KEPT + 1
    assert len(others(server)) <= pooled_storage.KEPT + 1


def psycopg2_connect():
    import psycopg2

    return psycopg2.connect


def test_idle_connections_are_closed_and_opened_again(instance, server):
    instance.get_runs_count()
    wait_until(lambda: not others(server))
    assert instance.get_runs_count() == 0
    assert others(server)
    wait_until(lambda: not others(server))


def test_a_connection_that_died_is_replaced_unnoticed(instance, server):
    for _ in range(3):
        assert instance.get_runs_count() == 0
        server.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


def test_threads_share_the_connections(instance, server):
    errors = []

    def ask() -> None:
        try:
            for _ in range(20):
                instance.get_runs_count()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    wait_until(lambda: not others(server))


def test_columns_are_looked_up_once(instance, monkeypatch):
    asked = []
    for owner, name in (
        (pooled_storage.PostgresRunStorage, "has_run_stats_index_cols"),
        (pooled_storage.PostgresEventLogStorage, "_has_asset_key_col_on_connection"),
    ):
        original = getattr(owner, name)

        def counted(self, *rest, original=original, name=name):
            asked.append((name, *rest[1:]))
            return original(self, *rest)

        monkeypatch.setattr(owner, name, counted)
    assert dg.materialize([thing], instance=instance).success
    assert dg.materialize([thing], instance=instance).success
    assert asked and len(asked) == len(set(asked))


def test_the_web_server_still_sets_its_own_connections(instance):
    instance.optimize_for_webserver(statement_timeout=1000, pool_recycle=60, max_overflow=2)
    assert instance.get_runs_count() == 0


def _planned(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    entries = instance.all_logs(run_id)
    return [name for entry in entries if (name := entry.dagster_event_type.value).endswith("_PLANNED")]


ALL_PLANNED = [*["ASSET_CHECK_EVALUATION_PLANNED"] * 5, "ASSET_MATERIALIZATION_PLANNED"]


@pytest.mark.parametrize("fails", [False, True])
def test_the_planned_events_of_a_run_are_stored_once(instance, server, monkeypatch, fails: bool):
    """In one transaction, or one by one after an error in it."""
    alone = []
    store = pooled_storage.PostgresEventLogStorage.store_event
    store_check = pooled_storage.PostgresEventLogStorage.store_asset_check_event

    def counted(self, event):
        alone.append(event.dagster_event_type.value)
        store(self, event)

    def failing(self, event, event_id):
        if fails and not alone:
            raise RuntimeError("the server went away")
        store_check(self, event, event_id)

    monkeypatch.setattr(pooled_storage.PostgresEventLogStorage, "store_event", counted)
    monkeypatch.setattr(pooled_storage.PostgresEventLogStorage, "store_asset_check_event", failing)
    job = dg.Definitions(assets=[checked]).resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job)
    assert sorted(alone) == (ALL_PLANNED if fails else [])
    assert sorted(_planned(instance, run.run_id)) == ALL_PLANNED
    ids = server.execute("select count(distinct evaluation_event_storage_id) from asset_check_executions")
    assert ids.fetchone() == (5,)
    last = server.execute("select last_run_id from asset_keys where asset_key = '[\"checked\"]'")
    assert last.fetchone() == (run.run_id,)
    assert dg.materialize([checked], instance=instance).success
