"""Tesseract reads the lines that RapidOCR finds, in scripts that RapidOCR's wheel has no model for."""

import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from rapidfuzz.distance import Levenshtein

from benchmarks.situations import texts
from benchmarks.situations.drawing import font
from modal_gpu.errors import ConfigurationError, OcrError
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.ocr.engine import BatchOcrEngine
from modal_gpu.ocr.pool import OcrPool
from modal_gpu.ocr.stroke_mask import LINE_HEIGHT, MARGIN, stroke_pictures
from modal_gpu.ocr.tesseract import TesseractEngine
from modal_gpu.ocr.tesseract_packs import installed_packs
from tests.modal_gpu.ocr.conftest import busy_background

SCRIPTS = {
    "ko": (texts.KOREAN, "cjk"),
    "ru": (texts.RUSSIAN, "cjk"),
    "ar": (texts.ARABIC, "arabic"),
    "hi": (texts.HINDI, "devanagari"),
    "th": (texts.THAI, "thai"),
    "vi": (texts.VIETNAMESE, "cjk"),
}


def strip(text: str, name: str, fill: str = "white", edge: str = "black") -> np.ndarray:
    """A line of text over a busy picture, 960 × 96."""
    picture = Image.fromarray(busy_background(960, 96))
    ImageDraw.Draw(picture).text(
        (480, 62), text, font=font(name, 34), anchor="ms", fill=fill, stroke_width=3, stroke_fill=edge
    )
    return np.asarray(picture)


def open_engine(*languages: str) -> BatchOcrEngine:
    engine = ComputeSettings(ocr_engine="tesseract").open_ocr("strips", languages)
    assert isinstance(engine, BatchOcrEngine)
    return engine


@pytest.mark.system("tesseract's language packs")
@pytest.mark.parametrize("language", SCRIPTS)
def test_a_script_is_read_with_at_most_one_character_in_twenty_wrong(language):
    lines, name = SCRIPTS[language]
    readings = open_engine(language).recognize_batch([strip(line, name) for line in lines])
    read = ["\n".join(line.text for line in reading) for reading in readings]
    wrong = sum(Levenshtein.distance(*pair) for pair in zip(lines, read, strict=True))
    assert wrong / sum(map(len, lines)) <= 0.05, read
    assert all(line.confidence > 0.6 for reading in readings for line in reading)


@pytest.mark.system("tesseract's language packs")
@pytest.mark.parametrize(
    ("fill", "edge"), [("yellow", "black"), ((90, 200, 255), (0, 0, 60)), ("black", "white")]
)
def test_coloured_and_dark_letters_are_read_as_well(fill, edge):
    [[line]] = open_engine("ru").recognize_batch([strip(texts.RUSSIAN[0], "cjk", fill, edge)])
    assert line.text == texts.RUSSIAN[0]


@pytest.mark.system("tesseract's language packs")
def test_two_languages_are_read_and_boxes_are_the_detectors(strip_engine):
    picture = strip("Marta: Мы были там.", "cjk")
    [[line]] = open_engine("ru", "en").recognize_batch([picture])
    assert line.text == "Marta: Мы были там."
    [found] = strip_engine.find_lines(picture)
    assert line.box == found.box


@pytest.mark.system("tesseract's language packs")
def test_a_language_without_a_model_of_rapidocr_is_read_by_tesseract():
    engine = ComputeSettings().open_ocr("strips", ["he"])
    assert isinstance(engine, TesseractEngine)


@pytest.mark.system("tesseract's language packs")
def test_a_pool_reads_pictures_with_and_without_text():
    pictures = [strip(texts.KOREAN[0], "cjk"), busy_background(960, 96), strip(texts.KOREAN[1], "cjk")]
    with OcrPool(lambda: open_engine("ko"), workers=2) as pool:
        frames = list(pool.map(enumerate(pictures)))
    assert [frame.status for frame in frames] == ["ok", "empty", "ok"]
    assert [frame.lines[0].text for frame in frames if frame.lines] == list(texts.KOREAN[:2])


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command named tesseract with the pack ``kor``, which then fails."""
    command = tmp_path / "tesseract"
    command.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --list-langs ] && { echo "List of available languages (1):"; echo kor; exit 0; }\n'
        'echo "read_params_file: something broke" >&2; exit 1\n'
    )
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return command


def test_a_failing_command_fails_the_images_and_says_why(stand_in):
    [reading] = open_engine("ko").recognize_batch([strip("abc def ghi", "cjk")])
    assert isinstance(reading, OcrError) and "something broke" in str(reading)


def test_a_missing_pack_is_named_as_debian_names_it(stand_in):
    with pytest.raises(
        ConfigurationError, match=r"no language pack for ru, zh-Hant: install tesseract-ocr-rus, "
    ):
        open_engine("ko", "ru", "zh-Hant")
    with pytest.raises(ConfigurationError, match="without OCR_LANGUAGE"):
        open_engine()
    with pytest.raises(ConfigurationError, match="RapidOCR has no model that reads he"):
        ComputeSettings().open_ocr("strips", ["he"])


def test_a_pack_that_is_added_counts_without_a_restart(stand_in):
    command = stand_in.read_text()
    with pytest.raises(ConfigurationError, match="no language pack for ru"):
        open_engine("ru")
    stand_in.write_text(command.replace("echo kor", "echo kor; echo rus"))
    open_engine("ru")


def test_a_tesseract_that_cannot_list_its_packs_is_logged(stand_in, caplog):
    stand_in.write_text("#!/bin/sh\nexit 3\n")
    assert installed_packs() == frozenset()
    assert "cannot list its language packs" in caplog.text and "exit status 3" in caplog.text


def test_without_tesseract_the_packages_are_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match=r"not installed: .*tesseract-ocr-kor"):
        open_engine("ko")


def test_strokes_are_black_on_white_whatever_is_behind_them():
    pictures = stroke_pictures(strip(texts.RUSSIAN[0], "cjk")[20:80])
    assert pictures
    for picture in pictures[:3]:
        assert picture.shape == (LINE_HEIGHT + 2 * MARGIN, round(960 * 1.6) + 2 * MARGIN)
        assert 0.02 < (picture < 128).mean() < 0.12
        assert (picture[:MARGIN] == 255).all()
    plain = np.full((40, 400, 3), 90, np.uint8)
    assert stroke_pictures(plain) == []
    cv2.circle(plain, (200, 20), 19, (255, 255, 255), -1)
    assert all((picture < 128).mean() < 0.02 for picture in stroke_pictures(plain)), "a disc is no stroke"
