"""Models are fetched once, verified, and never half written; each failure says what to do."""

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from rapidocr import RapidOCR

from modal_gpu.errors import ConfigurationError, DiskFullError, OcrError, OcrUnavailableError
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.ocr.kept import forget_rapid_ocr
from modal_gpu.ocr.languages.model_files import ModelFiles
from modal_gpu.ocr.languages.registry import Registry
from tests.modal_gpu.ocr.languages.conftest import WHEEL_MODEL, ModelServer


@pytest.fixture
def files(model_server: ModelServer, served_registry: Registry, tmp_path: Path) -> ModelFiles:
    return ModelFiles(tmp_path / "ocr", model_server.address)


def test_a_language_is_read_with_its_model_fetched_on_first_use(files, model_server, render):
    """From the setting to the text: the Korean model's file is the wheel's model, which reads English."""
    settings = ComputeSettings(ocr_models=files)
    forget_rapid_ocr()
    engine = settings.open_ocr("strips", ["ko"])
    [line] = engine.recognize(render("Where were you last night?", width=1180, height=90))
    assert line.text == "Where were you last night?"
    [path] = files.folder.iterdir()
    assert path.name == "korean_PP-OCRv5_rec_mobile.onnx" and path.read_bytes() == WHEEL_MODEL.read_bytes()
    settings.open_ocr("frames", ["ko"])
    assert model_server.asked == [
        "/models/RapidAI/RapidOCR/resolve/v3.10.0/onnx/PP-OCRv5/rec/korean_PP-OCRv5_rec_mobile.onnx"
    ]
    forget_rapid_ocr()


def test_the_installations_languages_count_where_a_request_names_none(files, model_server):
    settings = ComputeSettings(ocr_models=files, ocr_languages=("ru",))
    settings.open_ocr("strips")
    assert [path.name for path in files.folder.iterdir()] == ["eslav_PP-OCRv5_rec_mobile.onnx"]
    forget_rapid_ocr()


def test_languages_of_the_wheel_fetch_nothing(files, model_server):
    ComputeSettings(ocr_models=files).open_ocr("strips", ["en", "zh", "de"])
    assert model_server.asked == [] and not files.folder.exists()


def test_a_damaged_file_is_fetched_again(files, served_registry, model_server):
    model = served_registry.model_for("th")
    files.get(model).write_bytes(b"damaged")
    assert files.find(model) is None
    assert files.get(model).read_bytes() == WHEEL_MODEL.read_bytes() and len(model_server.asked) == 2


def test_a_model_on_a_shelf_is_used_and_not_fetched(files, served_registry, model_server, tmp_path):
    model = served_registry.model_for("th")
    shelf = files.get(model).parent
    elsewhere = ModelFiles(tmp_path / "other", model_server.address, (shelf,))
    assert elsewhere.get(model).parent == shelf and len(model_server.asked) == 1


def refused(files: ModelFiles, registry: Registry, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        files.get(registry.model_for("ko"))
    assert not files.folder.exists() or list(files.folder.iterdir()) == [], "nothing half written stays"


def test_another_content_is_refused(files, served_registry, model_server):
    for path in model_server.content:
        model_server.content[path] = b"<html>login</html>"
    digest = hashlib.sha256(b"<html>login</html>").hexdigest()
    refused(files, served_registry, OcrError, f"is not the registry's: its SHA-256 is {digest}")


def test_a_file_that_ends_early_is_refused(files, served_registry, model_server):
    model_server.cut = 1000
    refused(files, served_registry, OcrUnavailableError, "cannot be fetched from")


@pytest.mark.parametrize(
    ("status", "kind"), [(503, OcrUnavailableError), (404, ConfigurationError), (403, ConfigurationError)]
)
def test_an_answer_without_the_file_says_which(files, served_registry, model_server, status, kind):
    model_server.status = status
    refused(files, served_registry, kind, rf"{status}.*captionacc ocr install")


def test_no_network_can_be_retried_and_names_the_mirror(files, served_registry):
    away = ModelFiles(files.folder, "http://127.0.0.1:9")
    with pytest.raises(OcrUnavailableError, match="OCR_MODEL_MIRROR") as error:
        away.get(served_registry.model_for("ko"))
    assert error.value.retryable


def test_a_full_disk_is_named(files, served_registry, monkeypatch):
    real = os.fdopen

    def full(*args, **options):
        file = real(*args, **options)

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *error):
                file.close()

            def write(self, data):
                raise OSError(errno.ENOSPC, "No space left on device")

        return Full()

    monkeypatch.setattr("modal_gpu.ocr.languages.model_files.os.fdopen", full)
    refused(files, served_registry, DiskFullError, f"the disk is full: {files.folder}")


def test_a_folder_that_cannot_be_made_is_a_setting_to_correct(served_registry, model_server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    files = ModelFiles(tmp_path / "file" / "ocr", model_server.address)
    with pytest.raises(ConfigurationError, match="cannot be stored"):
        files.get(served_registry.model_for("ko"))


def test_one_model_reads_all_languages_that_it_covers(files, model_server, monkeypatch):
    """The Korean model also reads English, so the wheel's is not loaded beside it; for Chinese both are."""
    opened = []
    monkeypatch.setattr("modal_gpu.ocr.opening.kept_rapid_ocr", opened.append)
    letters = frozenset(map(chr, [*range(33, 127), *range(0xAC00, 0xD7A4)]))
    monkeypatch.setattr(
        "modal_gpu.ocr.opening.model_dictionary",
        lambda path: letters if "korean" in str(path) else frozenset(),
    )
    settings = ComputeSettings(ocr_models=files)
    settings.open_ocr("strips", ["en", "ko"])
    settings.open_ocr("strips", ["zh", "ko"])
    korean = files.folder / "korean_PP-OCRv5_rec_mobile.onnx"
    assert [(one.recognition_model, one.more_recognition_models) for one in opened] == [
        (korean, ()),
        (None, (korean,)),
    ]


def test_of_two_models_the_better_reading_counts(files, render, monkeypatch):
    """The first model leaves out most of the line with confidence, as models do with foreign letters."""
    settings = ComputeSettings(ocr_models=files)
    monkeypatch.setattr("modal_gpu.ocr.opening.model_dictionary", lambda path: frozenset())
    forget_rapid_ocr()
    with settings.open_ocr("strips", ["zh", "ko"]).lent() as engine:
        first: RapidOCR = engine._recognizers[0]
        read = first.recognize_txt

        def sparse(pictures: list[np.ndarray]) -> object:
            result = read(pictures)
            result.txts, result.scores = tuple("." for _ in pictures), tuple(0.99 for _ in pictures)
            return result

        monkeypatch.setattr(first, "recognize_txt", sparse)
        [line] = engine.recognize(render("Where were you last night?", width=1180, height=90))
    assert line.text == "Where were you last night?"
    forget_rapid_ocr()
