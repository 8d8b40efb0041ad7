"""``migrate``, ``doctor`` and ``stop``: the schema and the state of an installation."""

from pathlib import Path

from captionacc_dagster.resources.catalog.migrations import load_migrations
from tests.cli.conftest import Captionacc
from tests.line_fixtures import Line


def test_migrating_twice_does_nothing_the_second_time(captionacc, empty_dsn: str, monkeypatch):
    monkeypatch.setenv("CAPTIONACC_DATABASE_URL", empty_dsn)
    early = captionacc("status")
    assert early.code == 1 and "captionacc migrate" in early.text
    first = captionacc("migrate")
    assert first.code == 0 and first.output.count("applied ") == len(load_migrations())
    second = captionacc("migrate")
    assert second.code == 0 and "up to date" in second.text


def test_a_schema_of_another_name_is_migrated_used_and_written(
    captionacc, empty_dsn: str, monkeypatch, tmp_path: Path
):
    monkeypatch.setenv("CAPTIONACC_DATABASE_URL", empty_dsn)
    monkeypatch.setenv("CAPTIONACC_SCHEMA", "captionacc_production")
    early = captionacc("status")
    assert early.code == 1 and "captionacc migrate" in early.text and "captionacc_production" in early.text
    assert captionacc("migrate").output.count("applied ") == len(load_migrations())
    status = captionacc("status")
    assert status.code == 0 and "No videos yet" in status.text
    written = captionacc("migrate", "--write", tmp_path / "supabase")
    assert written.code == 0 and f"{len(load_migrations())} new files" in written.text
    assert len(list((tmp_path / "supabase").glob("*_captionacc_production_*.sql"))) == len(load_migrations())


def test_a_reserved_schema_name_is_explained_in_one_sentence(captionacc, monkeypatch):
    monkeypatch.setenv("CAPTIONACC_SCHEMA", "auth")
    result = captionacc("migrate")
    assert result.code == 1 and "CAPTIONACC_SCHEMA" in result.text and "Supabase's own" in result.text


def test_the_doctor_finds_no_fault_in_a_working_installation(captionacc: Captionacc, line: Line, finished):
    result = captionacc("doctor")
    assert result.code == 0, result.text
    assert result.output.count("✓") == 8 and "✗" not in result.output
    for part in ("Python", "catalogue", "object store", "OCR", "Dagster", "Modal", "1 videos"):
        assert part in result.text
    assert list(line.store.list("doctor/")) == []


def test_the_doctor_reports_what_is_wrong_with_the_storage(captionacc: Captionacc, monkeypatch):
    monkeypatch.setenv("CAPTIONACC_STORAGE_URL", "ftp://bucket")
    result = captionacc("doctor")
    assert result.code == 1
    assert result.output.count("✗") == 1
    assert "this one has the scheme 'ftp'" in result.text and "s3://" in result.text


def test_the_doctor_reports_that_the_database_does_not_answer(captionacc: Captionacc, monkeypatch):
    secret = "hunter2hunter2"
    monkeypatch.setenv("CAPTIONACC_DATABASE_URL", f"postgresql://me:{secret}@127.0.0.1:1/captions")
    result = captionacc("doctor")
    assert result.code == 1 and "✗ catalogue" in result.text
    assert secret not in result.text


def test_the_doctor_names_a_missing_model(captionacc: Captionacc, monkeypatch):
    monkeypatch.setenv("OCR_RECOGNITION_MODEL", "/models/ko.onnx")
    result = captionacc("doctor")
    assert result.code == 1 and "✗ OCR" in result.text and "/models/ko.onnx" in result.text


def test_an_invalid_setting_is_named(captionacc: Captionacc, monkeypatch):
    monkeypatch.setenv("CAPTIONACC_PORT", "many")
    result = captionacc("status")
    assert result.code == 1
    assert "CAPTIONACC_PORT: Input should be a valid integer" in result.text


def test_stop_does_not_touch_an_external_database(captionacc: Captionacc):
    result = captionacc("stop")
    assert result.code == 0 and "no server to stop" in result.text
