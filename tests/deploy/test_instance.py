"""The production dagster.yaml, loaded by Dagster itself: on PostgreSQL, with logs in an S3 bucket."""

import json
import re
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster_aws.s3 import S3ComputeLogManager
from dagster_postgres import PostgresEventLogStorage

from captionacc_dagster.dagster_internals.retention import can_trim, count_events, trim_events
from captionacc_dagster.platform.dagster_home import POOL_LIMITS
from captionacc_dagster.settings import get_settings
from modal_gpu.errors import ConfigurationError
from tests.deploy.conftest import DEPLOY

#: Parts of the names of secrets.
SECRET_NAMES = re.compile(r"(?i)password|secret|token|_key|_url$|webhook")


def test_dagster_reports_its_configuration(execute):
    done = execute("dagster", "instance", "info")
    assert done.returncode == 0, done.stderr
    for said in (
        "run_storage: PooledRunStorage",
        "event_log_storage: PooledEventLogStorage",
        "schedule_storage: PostgresScheduleStorage",
        ".dagster/captionacc-tenant-job",
        "max_concurrent_runs: 16",
        "retry_on_asset_or_op_failure: false",
        "max_runtime_seconds: 46800",
        "purge_after_days",
        "captionacc_dagster.logs.make_formatter",
    ):
        assert said in done.stdout, said


@pytest.mark.slow
def test_preparing_a_deployment_twice_keeps_its_own_limits(execute, deployment, empty_dsn: str):
    deployment["CAPTIONACC_SCHEMA"] = "captionacc_production"
    first = execute("captionacc", "prepare", "--tenant", "local")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "extract 5, crop_and_infer 2, caption_ocr 10" in " ".join(first.stdout.split())
    assert "tier free" in first.stdout
    assert execute("dagster", "instance", "concurrency", "set", "extract", "9").returncode == 0
    second = execute("captionacc", "prepare")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "catalogue: up to date" in second.stdout
    assert "extract 9, crop_and_infer 2" in " ".join(second.stdout.split())
    with psycopg.connect(empty_dsn) as connection:
        tenants = connection.execute("select name from captionacc_production.tenants").fetchall()
        assert tenants == [("local",)]
        rows = connection.execute('select concurrency_key, "limit" from concurrency_limits').fetchall()
    assert dict(rows) == POOL_LIMITS | {"extract": 9}


def test_the_file_names_no_secret_but_by_its_variable():
    def values(node, path=()):
        if isinstance(node, dict):
            for name, value in node.items():
                yield from values(value, (*path, str(name)))
        elif isinstance(node, list):
            for value in node:
                yield from values(value, path)
        else:
            yield path, node

    for path, value in values(yaml.safe_load((DEPLOY / "dagster.yaml").read_text())):
        if any(SECRET_NAMES.search(name) for name in path):
            assert path[-1] == "env", (path, value)


@dg.op
def speak(context: dg.OpExecutionContext) -> None:
    context.log.info("a line of the run")
    print("a line of the process")  # noqa: T201


@dg.job
def spoken() -> None:
    speak()


@pytest.fixture
def instance(deployment: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    """The deployment's instance, in this process."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in deployment.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    with dg.DagsterInstance.get() as instance:
        yield instance
    get_settings.cache_clear()


def test_a_run_leaves_its_events_in_postgres_and_its_output_in_the_bucket(instance, logs_bucket, capfd):
    assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
    assert isinstance(instance.compute_log_manager, S3ComputeLogManager)
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    assert instance.run_coordinator.dequeue_interval_seconds == 2
    queue = instance.get_concurrency_config().run_queue_config
    assert (queue.max_user_code_failure_retries, queue.user_code_failure_retry_delay) == (10, 30)
    assert (instance.run_retries_enabled, instance.run_monitoring_enabled) == (True, True)
    assert instance.run_monitoring_max_resume_run_attempts == 0
    result = spoken.execute_in_process(instance=instance)
    assert result.success
    out = [info.key for info in logs_bucket.list("dagster-logs/") if info.key.endswith(".out")]
    assert len(out) == 1 and result.run_id in out[0]
    lines = logs_bucket.get(out[0]).decode().splitlines()
    assert "a line of the process" in lines
    (line,) = [json.loads(line) for line in lines if "a line of the run" in line]
    assert (line["event"], line["run"], line["step"], line["job"]) == (
        "a line of the run",
        result.run_id,
        "speak",
        "spoken",
    )


class TestTrimming:
    def test_old_step_events_are_removed_and_materializations_stay(self, instance, empty_dsn: str):
        @dg.asset
        def thing(context) -> None:
            context.log.info("bulk")

        @dg.asset_check(asset=thing)
        def right() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=True)

        old = dg.materialize([thing, right], instance=instance)
        with psycopg.connect(empty_dsn) as connection:
            connection.execute("update event_logs set timestamp = timestamp - interval '90 days'")
        fresh = dg.materialize([thing], instance=instance)
        before = len(instance.all_logs(old.run_id))
        counted = count_events(instance, older_than_days=60)
        removed = trim_events(instance, older_than_days=60, batch=3)
        left = instance.all_logs(old.run_id)
        assert counted == removed == before - len(left) > 5
        assert can_trim(instance)
        kinds = {entry.dagster_event.event_type_value for entry in left}
        assert (
            kinds
            == {
                "ASSET_MATERIALIZATION_PLANNED",
                "ASSET_MATERIALIZATION",
                "ASSET_CHECK_EVALUATION_PLANNED",
                "ASSET_CHECK_EVALUATION",
                "PIPELINE_SUCCESS",
            }
            & kinds
        )
        assert {"ASSET_MATERIALIZATION", "PIPELINE_SUCCESS"} <= kinds
        assert len(instance.all_logs(fresh.run_id)) > 5
        assert instance.get_latest_materialization_event(thing.key).run_id == fresh.run_id
        assert instance.get_run_by_id(old.run_id).status is dg.DagsterRunStatus.SUCCESS
        assert trim_events(instance, older_than_days=60) == 0

    def test_events_of_the_last_day_and_of_other_storages_are_not_touched(self, instance, tmp_path: Path):
        with pytest.raises(ConfigurationError, match="not removed"):
            trim_events(instance, older_than_days=0.5)
        with (
            dg.DagsterInstance.local_temp(str(tmp_path)) as sqlite,
            pytest.raises(ConfigurationError, match="PostgreSQL"),
        ):
            assert not can_trim(sqlite)
            trim_events(sqlite, older_than_days=60)
