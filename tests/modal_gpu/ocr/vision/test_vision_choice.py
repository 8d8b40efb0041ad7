"""The choice of engine and credentials; secrets stay hidden, Google's packages are imported on demand."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from captionacc_dagster.settings import Settings
from modal_gpu.errors import ConfigurationError
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.ocr.choice import default_engine
from modal_gpu.ocr.engine import BatchOcrEngine
from modal_gpu.ocr.google_vision import GoogleVisionEngine
from modal_gpu.ocr.vision_client import VisionClient, load_credentials
from modal_gpu.ocr.vision_settings import VisionSettings


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    """A service account's key in Google's format, for a fictitious account."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "captions",
        "private_key_id": "1",
        "private_key": private.decode(),
        "client_email": "reader@captions.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "rapidocr"),
        ({"OCR_ENGINE": ""}, "rapidocr"),
        ({"GOOGLE_APPLICATION_CREDENTIALS_JSON": "{}"}, "google_vision"),
        ({"GOOGLE_VISION_CREDENTIALS_JSON": "{}"}, "google_vision"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "/secrets/key.json"}, "google_vision"),
        ({"GOOGLE_APPLICATION_CREDENTIALS_JSON": "{}", "OCR_ENGINE": "rapidocr"}, "rapidocr"),
        ({"OCR_ENGINE": "google_vision"}, "google_vision"),
    ],
)
def test_vision_is_the_default_where_its_secret_is(environ: dict[str, str], expected: str):
    assert default_engine(environ) == expected


def test_an_engine_that_is_not_known_is_refused():
    with pytest.raises(ConfigurationError, match="'easyocr': set it to one of rapidocr, tesseract, "):
        default_engine({"OCR_ENGINE": "easyocr"})


def test_settings_open_the_engine_they_name(vision):
    settings = ComputeSettings(ocr_engine="google_vision", vision=VisionSettings(endpoint=vision.endpoint))
    engine = settings.open_ocr("frames")
    assert isinstance(engine, GoogleVisionEngine) and isinstance(engine, BatchOcrEngine)
    engine.close()
    assert not isinstance(ComputeSettings().open_ocr("strips"), BatchOcrEngine)


def test_a_key_is_taken_as_content_or_as_a_file_under_each_of_its_names(key, tmp_path: Path):
    content, file = json.dumps(key), tmp_path / "key.json"
    file.write_text(content)
    for environ in (
        {"GOOGLE_APPLICATION_CREDENTIALS_JSON": content},
        {"GOOGLE_VISION_CREDENTIALS_JSON": content},
        {"GOOGLE_APPLICATION_CREDENTIALS": content},
        {"GOOGLE_APPLICATION_CREDENTIALS": str(file)},
        {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere", "GOOGLE_APPLICATION_CREDENTIALS_JSON": content},
    ):
        found = load_credentials(VisionSettings.from_environ(environ))
        assert found.service_account_email == key["client_email"]
    user = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    assert load_credentials(VisionSettings(credentials_json=json.dumps(user))).refresh_token == "c"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json, s3cret-value", "contains no JSON"),
        ('["s3cret-value"]', "neither a service account"),
        ('{"type": "other", "private_key": "s3cret-value"}', "neither a service account"),
        ('{"type": "service_account", "private_key": "s3cret-value"}', "damaged service_account key"),
        ('{"type": "authorized_user", "client_secret": "s3cret-value"}', "damaged authorized_user key"),
    ],
)
def test_unusable_credentials_are_named_and_not_shown(content: str, message: str, tmp_path: Path):
    file = tmp_path / "key.json"
    file.write_text(content)
    for settings in (VisionSettings(credentials_json=content), VisionSettings(credentials_file=file)):
        with pytest.raises(ConfigurationError, match=message) as caught:
            VisionClient(settings)
        assert "s3cret" not in str(caught.value) + repr(settings)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_without_credentials_the_message_says_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="set GOOGLE_APPLICATION_CREDENTIALS to the file"):
        VisionClient(VisionSettings())
    with pytest.raises(ConfigurationError, match=r"none\.json .*cannot be read: No such file"):
        VisionClient(VisionSettings(credentials_file=tmp_path / "none.json"))


def test_a_client_is_made_for_a_regional_endpoint(key):
    client = VisionClient(
        VisionSettings(credentials_json=json.dumps(key), endpoint="https://eu-vision.googleapis.com/")
    )
    assert client._client.transport.host == "eu-vision.googleapis.com:443"
    client.close()


@pytest.mark.parametrize("endpoint", ["localhost:1234", "127.0.0.1:1234", "[::1]:1", "http://localhost:1234"])
def test_only_this_machine_is_reached_without_tls(endpoint: str):
    assert VisionSettings(endpoint=endpoint).is_loopback


@pytest.mark.parametrize(
    "endpoint", ["localhost.example.org", "127.0.0.1.example.org:443", "vision.googleapis.com"]
)
def test_other_machines_are_not_reached_without_tls(endpoint: str):
    assert not VisionSettings(endpoint=endpoint).is_loopback
    with pytest.raises(ConfigurationError, match="plain text"):
        VisionSettings(endpoint=f"http://{endpoint}")


@pytest.mark.parametrize(
    "environ",
    [{"GOOGLE_VISION_ENDPOINT": "a/b"}, {"GOOGLE_VISION_MONTAGE": "0"}, {"GOOGLE_VISION_MONTAGE": "many"}],
)
def test_invalid_values_are_refused_by_name(environ: dict[str, str]):
    with pytest.raises(ConfigurationError, match=next(iter(environ))):
        VisionSettings.from_environ(environ)


def test_the_platforms_settings_give_the_same_as_a_containers_variables(monkeypatch, tmp_path, key):
    environ = {
        "OCR_ENGINE": "google_vision",
        "GOOGLE_APPLICATION_CREDENTIALS": json.dumps(key),
        "GOOGLE_VISION_ENDPOINT": "eu-vision.googleapis.com",
        "GOOGLE_VISION_LANGUAGE_HINTS": "zh, en",
        "GOOGLE_VISION_MONTAGE": "16",
    }
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.vision == VisionSettings.from_environ(environ)
    assert (settings.vision.language_hints, settings.vision.montage_images) == (("zh", "en"), 16)
    for shown in (
        repr(settings),
        settings.model_dump_json(),
        repr(settings.vision),
        repr(ComputeSettings(vision=settings.vision)),
    ):
        assert "PRIVATE KEY" not in shown
    # As it arrives in a worker process.
    assert pickle.loads(pickle.dumps(settings.vision)) == settings.vision


def test_google_is_imported_only_by_an_engine():
    program = (
        "import sys; import modal_gpu.functions.extract, modal_gpu.functions.caption_ocr, "
        "modal_gpu.ocr.google_vision; print([n for n in sys.modules if n.startswith(('google', 'grpc'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout
