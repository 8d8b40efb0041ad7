"""``captionacc ocr``: RapidOCR's models for other languages, in the home and on Modal's volume."""

from pathlib import Path

import pytest

from captionacc_dagster.cli import ocr as commands
from modal_gpu.deployment.container import compute_settings
from modal_gpu.deployment.settings import EXTRACT, ModalSettings
from modal_gpu.ocr.languages import registry
from modal_gpu.ocr.languages.registry import Registry
from tests.modal_gpu.deployment.test_models import Run, Volume, run, volume  # noqa: F401
from tests.modal_gpu.ocr.languages.conftest import (  # noqa: F401
    WHEEL_MODEL,
    ModelServer,
    model_server,
    served_registry,
)

KOREAN = "korean_PP-OCRv5_rec_mobile.onnx"


@pytest.fixture(autouse=True)
def mirror(
    model_server: ModelServer,  # noqa: F811
    served_registry: Registry,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> ModelServer:
    monkeypatch.setenv("OCR_MODEL_MIRROR", model_server.address)
    monkeypatch.setattr(commands, "installed_registry", registry.installed_registry)
    return model_server


def test_models_are_installed_once_and_listed(run: Run, mirror, tmp_path: Path):  # noqa: F811
    assert "ko Kore korean_PP-OCRv5_rec_mobile no" in run("ocr", "list", "ko")[1]
    code, said = run("ocr", "install", "ko", "de")
    path = tmp_path / "home" / "models" / "ocr" / KOREAN
    assert code == 0 and f"korean_PP-OCRv5_rec_mobile: {path}" in said
    assert "de: RapidOCR's wheel has its model" in said
    assert path.read_bytes() == WHEEL_MODEL.read_bytes()
    # The stand-in's file is the wheel's model, so it is said to know none of the language's letters.
    assert "korean_PP-OCRv5_rec_mobile yes 0 of 11172" in run("ocr", "list", "ko")[1]
    assert run("ocr", "install", "ko")[0] == 0 and len(mirror.asked) == 1


def test_the_languages_of_the_setting_are_the_default(run: Run, monkeypatch, tmp_path):  # noqa: F811
    assert run("ocr", "install") == (
        1,
        "error: name languages, such as `captionacc ocr install ko ru`, or set OCR_LANGUAGE",
    )
    monkeypatch.setenv("OCR_LANGUAGE", "th")
    assert run("ocr", "install")[0] == 0
    assert (tmp_path / "home" / "models" / "ocr" / "th_PP-OCRv5_rec_mobile.onnx").exists()


def test_a_server_that_fails_is_one_line_and_exit_code_1(run: Run, mirror):  # noqa: F811
    mirror.status = 503
    code, said = run("ocr", "install", "ko")
    assert code == 1 and "error: the OCR model korean_PP-OCRv5_rec_mobile cannot be fetched" in said


def test_models_on_the_volume_are_what_containers_read(run: Run, volume: Volume, tmp_path: Path):  # noqa: F811
    code, said = run("ocr", "install", "ko", "--modal")
    assert code == 0 and f"{KOREAN} stored on Modal volume boundary-models" in said
    assert volume.files == {f"ocr/{KOREAN}": WHEEL_MODEL.read_bytes()}
    mount = tmp_path / "mount"
    (mount / "ocr").mkdir(parents=True)
    (mount / "ocr" / KOREAN).write_bytes(volume.files[f"ocr/{KOREAN}"])
    deployed = ModalSettings(OCR_LANGUAGE="ko")
    settings = compute_settings(deployed, deployed.function(EXTRACT), {}, mount)
    assert settings.ocr_languages == ("ko",)
    assert settings.ocr_models.find(registry.installed_registry().model_for("ko")) == mount / "ocr" / KOREAN


def test_the_image_has_tesseract_and_its_packs_if_it_is_the_engine():
    settings = ModalSettings(OCR_ENGINE="tesseract", OCR_LANGUAGE="ko,zh-hant,en")
    assert settings.system_packages() == (
        "tesseract-ocr", "tesseract-ocr-kor", "tesseract-ocr-chi-tra", "tesseract-ocr-eng",
    )  # fmt: skip
    assert settings.container_environment()["OCR_LANGUAGE"] == "ko,zh-Hant,en"
    assert ModalSettings(OCR_LANGUAGE="ko").system_packages() == ()
