"""The line that each process logs when it starts, for operators: what runs where, and no secret."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from captionacc_dagster import __version__, definitions
from captionacc_dagster.resources import factories
from captionacc_dagster.resources.factories import CatalogResource
from captionacc_dagster.resources.start_line import log_start, start_line
from captionacc_dagster.settings import Settings, get_settings
from modal_gpu.extents.checkpoint import shipped, version_of

SECRET = "hunter2-hunter2"


def settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)


def test_the_line_of_the_embedded_platform(tmp_path: Path):
    assert start_line(settings(CAPTIONACC_HOME=tmp_path), "serve") == (
        f"captionacc {__version__} serve: compute this machine, OCR rapidocr (those of the engine), "
        f"extents {version_of(shipped().name)}; catalogue embedded PostgreSQL, {tmp_path}, "
        f"schema captionacc; bucket {tmp_path}/bucket"
    )


def test_the_line_of_a_deployment_has_hosts_and_no_secret(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "CAPTIONACC_DATABASE_URL": f"postgresql://ann:{SECRET}@db.example.org:5432/captions?password={SECRET}",
        "CAPTIONACC_SCHEMA": "captionacc_production",
        "CAPTIONACC_STORAGE_URL": "s3://videos/captions",
        "WASABI_ENDPOINT_URL": f"https://key:{SECRET}@s3.example.org:9000",
        "WASABI_SECRET_KEY_READWRITE": SECRET,
        "WASABI_ACCESS_KEY_READWRITE": "AKIA",
        "MODAL_ENABLED": "true",
        "MODAL_APP_NAME": "captions-staging",
        "CAPTIONACC_WEBHOOK_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    line = start_line(Settings(_env_file=None), "webhook")
    assert "compute Modal, app captions-staging" in line
    assert "PostgreSQL, db.example.org:5432/captions, schema captionacc_production" in line
    assert "bucket s3://videos/captions at s3.example.org:9000, region us-east-1" in line
    assert not {word for word in (SECRET, "AKIA", "ann:", "\n") if word in line}


def test_a_model_that_is_not_there_does_not_keep_a_process_from_starting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("captionacc_dagster.resources.in_force.model_in_use", _missing)
    assert "compute not usable (no such model)" in start_line(settings(), "serve")


def _missing(_: Settings) -> str:
    from modal_gpu.extents.checkpoint import CheckpointError

    raise CheckpointError("no such model")


def test_a_process_logs_it_in_the_format_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("CAPTIONACC_LOG_FORMAT", "json")
    get_settings.cache_clear()
    try:
        log_start(get_settings(), "listen")
        log_start(get_settings(), "listen")
    finally:
        get_settings.cache_clear()
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["event"].startswith(f"captionacc {__version__} listen: compute ")
    assert second["level"] == "info"


def test_a_code_server_logs_it_where_dagster_logs(monkeypatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(logging.getLogger("dagster"), "propagate", True)
    caplog.set_level(logging.INFO, "dagster.captionacc")
    definitions.code_location()
    assert not caplog.messages, "this process is none"
    monkeypatch.setattr(definitions, "this_is_a_code_server", lambda: True)
    definitions.code_location()
    assert [line.partition(": ")[0] for line in caplog.messages] == [f"captionacc {__version__} code server"]


@pytest.mark.parametrize(("run", "logged"), [("a run", 1), (None, 0)])
def test_a_run_logs_it_and_a_tick_does_not(monkeypatch: pytest.MonkeyPatch, run, logged: int):
    lines: list[str] = []
    monkeypatch.setattr(factories, "open_catalog", lambda _: "the catalogue")
    context = SimpleNamespace(run=run, log=SimpleNamespace(info=lines.append))
    assert CatalogResource().create_resource(context) == "the catalogue"
    assert len([line for line in lines if f"captionacc {__version__} run: " in line]) == logged
