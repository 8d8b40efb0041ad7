"""``MODAL_ENABLED=true``: the compute resource calls the deployed app, or says what it lacks."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from captionacc_dagster.resources import factories
from captionacc_dagster.resources.compute import LocalBackend
from captionacc_dagster.resources.compute.modal_backend import ModalBackend
from captionacc_dagster.resources.compute.modal_client import ModalCallSettings
from captionacc_dagster.resources.factories import ComputeResource, check_modal_reaches_storage
from captionacc_dagster.settings import Settings, get_settings
from modal_gpu.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parents[3]
BUCKET = {
    "WASABI_BUCKET": "captions",
    "WASABI_ENDPOINT_URL": "https://s3.us-east-1.wasabisys.com",
    "WASABI_REGION": "us-east-1",
    "WASABI_ACCESS_KEY_READWRITE": "key",
    "WASABI_SECRET_KEY_READWRITE": "secret",
}


@pytest.fixture
def environment(monkeypatch, tmp_path, postgres_dsn):
    """Set variables, and read the process's settings again."""
    monkeypatch.chdir(tmp_path)
    for name in (*BUCKET, "CAPTIONACC_STORAGE_URL", "MODAL_APP_NAME", "MODAL_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()

    set_variables(CAPTIONACC_DATABASE_URL=postgres_dsn, CAPTIONACC_HOME=str(tmp_path / "home"))
    yield set_variables
    get_settings.cache_clear()


def compute(run_id: str = "run-1"):
    context = dg.build_init_resource_context()
    run = SimpleNamespace(run=SimpleNamespace(run_id=run_id), log=context.log)
    return ComputeResource().create_resource(run)


def test_by_default_everything_runs_locally(environment):
    assert isinstance(compute().backend, LocalBackend)


def test_enabled_the_deployed_app_is_called_for_this_run(environment):
    environment(
        MODAL_ENABLED="true",
        MODAL_APP_NAME="my-app",
        MODAL_ENVIRONMENT="staging",
        MODAL_POLL_SECONDS="5",
        MODAL_WAIT_SECONDS="60",
        MODAL_UNREACHABLE_SECONDS="30",
        MODAL_RESULT_SECONDS="3600",
        **BUCKET,
    )
    backend = compute("run-7").backend
    assert isinstance(backend, ModalBackend)
    assert backend.run_id == "run-7"
    assert backend.settings == ModalCallSettings(
        app_name="my-app",
        environment="staging",
        poll_seconds=5,
        wait_seconds=60,
        unreachable_seconds=30,
        life_seconds=3600,
    )


@pytest.mark.parametrize(
    ("variables", "wrong"),
    [
        ({}, "which Modal's containers cannot see"),
        ({"CAPTIONACC_STORAGE_URL": "file:///videos"}, "file:///videos"),
        (BUCKET | {"WASABI_ENDPOINT_URL": "http://127.0.0.1:9000"}, "is this machine"),
        (BUCKET | {"WASABI_ENDPOINT_URL": "http://localhost:9000"}, "is this machine"),
        (BUCKET | {"WASABI_ENDPOINT_URL": "http://[::1]:9000"}, "is this machine"),
    ],
)
def test_storage_that_the_cloud_cannot_reach_is_refused(environment, variables, wrong):
    environment(MODAL_ENABLED="true", **variables)
    with pytest.raises(ConfigurationError, match="WASABI_BUCKET") as refused:
        compute()
    assert wrong in str(refused.value)
    assert "secret" not in str(refused.value).replace("secret key", "")


@pytest.mark.parametrize("endpoint", ["https://s3.us-east-1.wasabisys.com", "http://10.0.0.7:9000", ""])
def test_a_remote_bucket_is_accepted(environment, endpoint):
    environment(MODAL_ENABLED="true", **BUCKET | {"WASABI_ENDPOINT_URL": endpoint})
    check_modal_reaches_storage(Settings())


@pytest.mark.parametrize(("predictor", "divided"), [("", True), ("network", True), ("strokes", False)])
def test_crops_are_divided_where_the_deployed_predictor_can_judge_parts(environment, predictor, divided):
    environment(MODAL_ENABLED="true", **BUCKET, **({"EXTENTS_PREDICTOR": predictor} if predictor else {}))
    assert compute().fan_out.divide_crops is divided


def test_a_missing_client_says_what_to_install(environment, monkeypatch):
    environment(MODAL_ENABLED="true", **BUCKET)
    monkeypatch.setattr("importlib.import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(ConfigurationError, match="pip install modal"):
        _ = factories.modal_backend(get_settings(), "run", print).client.module


def test_modals_own_client_without_a_token_says_how_to_get_one(catalog, video_id, call, tmp_path):
    """The real client, in a process without any of its settings; it makes no request."""
    program = """
import json, sys
from captionacc_dagster.resources.compute import ComputeCall
from captionacc_dagster.resources.compute.modal_backend import ModalBackend
from captionacc_dagster.resources.compute.modal_client import ModalCallSettings
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
dsn, call = sys.argv[1:]
try:
    catalog = Catalog(PostgresTransport(dsn))
    ModalBackend(catalog, ModalCallSettings(), "run").call(ComputeCall(**json.loads(call)))
except Exception as error:
    print(type(error).__name__, error)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
    done = subprocess.run(
        [sys.executable, "-c", program, catalog.transport._dsn, json.dumps(dataclasses.asdict(call))],
        cwd=REPOSITORY,
        env=environment | {"MODAL_CONFIG_PATH": str(tmp_path / "none.toml"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("ConfigurationError Modal refuses this installation"), done.stderr
    assert "modal token new" in done.stdout
    (row,) = catalog.list_compute_calls(video_id=video_id)
    assert row.status == "failed"
