"""What the UI shows of the settings in force: where things are and which limits hold, but no secret."""

import json
from pathlib import Path

import dagster as dg
import pytest

from captionacc_dagster.resources import factories
from captionacc_dagster.resources.factories import CatalogResource, resources
from captionacc_dagster.resources.in_force import catalogue_in_force, compute_in_force, store_in_force
from captionacc_dagster.settings import Settings, SettingsError
from modal_gpu.extents.checkpoint import shipped, version_of

SECRET = "hunter2"


def settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)


def test_the_embedded_platform_is_its_home(tmp_path: Path):
    here = settings(CAPTIONACC_HOME=tmp_path)
    assert catalogue_in_force(here)["place"] == str(tmp_path)
    assert store_in_force(here)["place"] == str(tmp_path / "bucket")
    assert compute_in_force(here)["backend"] == "this machine"


@pytest.mark.parametrize(
    ("predictor", "model", "shown"),
    [("network", "", version_of(shipped().name)), ("network", "/models/mine-3_0a1b.onnx", "mine-3")],
)
def test_the_model_is_named_as_results_name_it(predictor: str, model: str, shown: str):
    here = settings(EXTENTS_PREDICTOR=predictor, EXTENTS_MODEL=model)
    assert compute_in_force(here)["extents_model"] == shown


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "CAPTIONACC_DATABASE_URL": f"postgresql://ann:{SECRET}@db.example.org:5432/captions?sslmode=require",
        "CAPTIONACC_STORAGE_URL": "s3://videos/captions",
        "WASABI_ENDPOINT_URL": f"https://key:{SECRET}@s3.example.org:9000",
        "WASABI_SECRET_KEY_READWRITE": SECRET,
        "WASABI_ACCESS_KEY_READWRITE": "AKIA",
        "MODAL_ENABLED": "true",
        "MODAL_APP_NAME": "captions-staging",
        "CAPTIONACC_WEBHOOK_SECRET": SECRET,
        "CAPTIONACC_VIDEO_COST_LIMIT": "off",
    }.items():
        monkeypatch.setenv(name, value)
    here = Settings(_env_file=None)
    shown = {
        "catalog": catalogue_in_force(here),
        "store": store_in_force(here),
        "compute": compute_in_force(here),
    }
    text = json.dumps(shown)
    assert SECRET not in text and "AKIA" not in text and "ann" not in text
    assert shown["catalog"]["place"] == "db.example.org:5432/captions"
    assert shown["store"] == {
        "place": "s3://videos/captions",
        "endpoint": "s3.example.org:9000",
        "region": "us-east-1",
    }
    assert shown["compute"]["backend"] == "Modal, app captions-staging"
    assert shown["compute"]["video_cost_limit_usd"] == "none"


def test_a_supabase_project_is_named_by_its_host():
    here = settings(SUPABASE_URL="https://abc.supabase.co", SUPABASE_SERVICE_ROLE_KEY=SECRET)
    assert catalogue_in_force(here)["place"] == "abc.supabase.co"


def test_the_resources_carry_what_is_in_force():
    found = resources()
    assert isinstance(found["catalog"], CatalogResource)
    assert found["catalog"].place and found["object_store"].place and found["compute"].ocr_engine
    assert all(isinstance(resource, dg.ConfigurableResource) for resource in found.values())


def test_invalid_settings_do_not_keep_the_code_from_loading(monkeypatch: pytest.MonkeyPatch):
    def invalid() -> Settings:
        raise SettingsError("CAPTIONACC_PORT: must be a number")

    monkeypatch.setattr(factories, "load_settings", invalid)
    assert resources()["catalog"].place == ""
