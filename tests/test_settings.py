"""Settings from the environment and ``.env``: names, defaults, refusals, and secrets that stay hidden."""

import os
import re
from pathlib import Path

import pytest
from pydantic import AliasChoices, ValidationError

from captionacc_dagster.constants import LOCAL_AUTO_APPROVE_CONFIDENCE
from captionacc_dagster.resources.opening import storage_settings
from captionacc_dagster.settings import Settings

SECRET = "s3cret-value"
REPOSITORY = Path(__file__).resolve().parents[1]
#: Read by Dagster, and by the deployment of the Modal app, which docs/how-to/modal.md lists.
OTHERS = {"DAGSTER_HOME", "MODAL_APP_NAME", "MODAL_ENVIRONMENT"}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory of its own, and none of the variables that settings read."""
    for name in list(os.environ):
        if name.startswith(("CAPTIONACC_", "WASABI_", "AWS_", "OCR_", "GOOGLE_", "MODAL_", "DAGSTER_HOME")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_variable_everything_is_in_one_folder(clean: Path):
    settings = Settings()
    home = clean / ".captionacc"
    assert settings.home == home
    assert settings.dagster_home == home / "dagster"
    assert settings.effective_storage_url == (home / "bucket").as_uri()
    assert settings.database_url is None
    assert (settings.modal_enabled, settings.host, settings.port) == (False, "127.0.0.1", 3000)
    assert settings.auto_approve_layout == LOCAL_AUTO_APPROVE_CONFIDENCE
    assert settings.worker_count >= 1


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("CAPTIONACC_STORAGE_URL", "s3://bucket/prefix", "effective_storage_url", "s3://bucket/prefix"),
        ("WASABI_BUCKET", "captions", "effective_storage_url", "s3://captions"),
        ("WASABI_ENDPOINT_URL", "https://s3.wasabisys.com", "storage_endpoint", "https://s3.wasabisys.com"),
        ("AWS_ENDPOINT_URL_S3", "http://minio:9000", "storage_endpoint", "http://minio:9000"),
        ("AWS_ENDPOINT_URL", "http://minio:9000", "storage_endpoint", "http://minio:9000"),
        ("WASABI_ENDPOINT", "https://s3.wasabisys.com", "storage_endpoint", "https://s3.wasabisys.com"),
        ("WASABI_ACCESS_KEY", "AK", "storage_access_key_id", "AK"),
        ("CAPTIONACC_AGE_MINUTES_A_POINT", "30", "age_minutes_a_point", 30),
        ("CAPTIONACC_ALERT_SPEND_USD", "75, 25,50", "alert_spend_usd", (25, 50, 75)),
        ("CAPTIONACC_ALERT_SPEND_USD", "off", "alert_spend_usd", ()),
        ("WASABI_REGION", "us-east-1", "storage_region", "us-east-1"),
        ("AWS_REGION", "eu-west-1", "storage_region", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "eu-west-2", "storage_region", "eu-west-2"),
        ("WASABI_ACCESS_KEY_READWRITE", "AK", "storage_access_key_id", "AK"),
        ("AWS_ACCESS_KEY_ID", "AK", "storage_access_key_id", "AK"),
        ("CAPTIONACC_STORAGE_PATH_STYLE", "true", "storage_path_style", True),
        ("MODAL_ENABLED", "true", "modal_enabled", True),
        ("CAPTIONACC_WORKERS", "3", "worker_count", 3),
        ("CAPTIONACC_HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("CAPTIONACC_PORT", "8080", "port", 8080),
        ("OCR_RECOGNITION_MODEL", "/models/ko.onnx", "ocr_recognition_model", Path("/models/ko.onnx")),
        ("OCR_DETECTION_MODEL", "/models/det.onnx", "ocr_detection_model", Path("/models/det.onnx")),
        ("OCR_DICTIONARY", "/models/ko.txt", "ocr_dictionary", Path("/models/ko.txt")),
        ("OCR_ENGINE", "google_vision", "ocr_engine", "google_vision"),
        ("GOOGLE_VISION_MONTAGE", "1", "google_vision_montage", 1),
        ("DAGSTER_HOME", "/var/dagster", "dagster_home", Path("/var/dagster")),
        ("CAPTIONACC_AUTO_APPROVE", "0.8", "auto_approve_layout", 0.8),
        ("CAPTIONACC_AUTO_APPROVE", "off", "auto_approve_layout", None),
        ("CAPTIONACC_AUTO_APPROVE", "OFF", "auto_approve_layout", None),
        ("CAPTIONACC_AUTO_APPROVE", "none", "auto_approve_layout", None),
        ("CAPTIONACC_AUTO_APPROVE", "", "auto_approve_layout", None),
        ("CAPTIONACC_AUTO_APPROVE", "0", "auto_approve_layout", 0.0),
    ],
)
def test_a_variable_sets_its_field(monkeypatch, variable: str, value: str, field: str, expected: object):
    monkeypatch.setenv(variable, value)
    assert getattr(Settings(), field) == expected


def test_the_projects_own_names_win_over_general_ones(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "general")
    monkeypatch.setenv("WASABI_ACCESS_KEY_READWRITE", "own")
    assert Settings().storage_access_key_id == "own"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CAPTIONACC_AUTO_APPROVE", "1.5"),
        ("CAPTIONACC_AUTO_APPROVE", "often"),
        ("CAPTIONACC_WORKERS", "-1"),
        ("CAPTIONACC_PORT", "0"),
        ("CAPTIONACC_TENANT_ID", "../other"),
        ("OCR_ENGINE", "easyocr"),
        ("GOOGLE_VISION_MONTAGE", "0"),
    ],
)
def test_an_invalid_value_is_refused_by_name(monkeypatch, variable: str, value: str):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError, match=variable):
        Settings()


def test_a_file_in_the_working_directory_is_read_and_the_environment_wins(monkeypatch, clean: Path):
    (clean / ".env").write_text("CAPTIONACC_PORT=4000\nCAPTIONACC_HOST=example.org\nUNRELATED=1\n")
    monkeypatch.setenv("CAPTIONACC_PORT", "5000")
    settings = Settings()
    assert (settings.host, settings.port) == ("example.org", 5000)


@pytest.mark.parametrize("given", ["state", "./a/../state", "~/state"])
def test_the_home_is_absolute_whatever_is_given(monkeypatch, clean: Path, given: str):
    monkeypatch.setenv("HOME", str(clean))
    monkeypatch.setenv("CAPTIONACC_HOME", given)
    assert Settings().home == clean / "state"


def test_secrets_are_hidden_and_reach_the_client(monkeypatch):
    monkeypatch.setenv("CAPTIONACC_DATABASE_URL", f"postgresql://me:{SECRET}@db/captions")
    monkeypatch.setenv("WASABI_SECRET_KEY_READWRITE", SECRET)
    monkeypatch.setenv("WASABI_BUCKET", "captions")
    settings = Settings()
    storage = storage_settings(settings)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(storage)):
        assert SECRET not in shown
    assert storage.secret_access_key == SECRET
    assert settings.database_url.get_secret_value().endswith("@db/captions")


def test_every_variable_is_in_the_settings_table_and_no_other():
    names = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias or field.alias
        names |= set(alias.choices) if isinstance(alias, AliasChoices) else {alias}
    page = (REPOSITORY / "docs" / "reference" / "settings.md").read_text()
    rows = re.findall(r"^\| (`[A-Z][^|]*) \|", page, re.MULTILINE)
    shown = [name for row in rows for name in re.findall(r"`([A-Z_0-9]+)`", row)]
    assert len(shown) == len(set(shown))
    assert set(shown) - OTHERS == names


def test_the_points_for_waiting_are_set_in_one_way(monkeypatch):
    monkeypatch.setenv("CAPTIONACC_AGE_POINTS_AN_HOUR", "2")
    assert age_boost_of(Settings()) == (2, None)
    monkeypatch.setenv("CAPTIONACC_AGE_MINUTES_A_POINT", "30")
    with pytest.raises(ValidationError, match="not both"):
        Settings()
    monkeypatch.delenv("CAPTIONACC_AGE_POINTS_AN_HOUR")
    assert age_boost_of(Settings()) == (1, 30)


def age_boost_of(settings: Settings) -> tuple[float, float | None]:
    return settings.age_points_an_hour, settings.age_minutes_a_point
