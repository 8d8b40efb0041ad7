"""RapidOCR reads captions exactly, says how sure it is, and never looks for models on the network."""

import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rapidocr
from omegaconf import OmegaConf

from modal_gpu.errors import OcrError
from modal_gpu.ocr import rapid_parts
from modal_gpu.ocr.engine import Box, OcrLine
from modal_gpu.ocr.rapid import RapidOcrEngine, RapidOcrSettings
from modal_gpu.ocr.reading_order import join_pieces

ENGLISH = [
    "Where were you last night?",
    "We sold 1,250 tickets for $37.50 each.",
    "Don't move, don't even breathe.",
]
CHINESE = ["今天的天气真不错", "价格比去年便宜了百分之十五", "我一直在办公室加班"]


@pytest.mark.parametrize("text", ENGLISH + CHINESE)
def test_a_caption_in_a_full_frame_is_read_exactly(frame_engine, render, text):
    [line] = frame_engine.recognize(render(text))
    assert line.text == text
    assert 0.9 < line.confidence <= 1
    assert line.box.top > 0.85 and line.box.center_x == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("text", ENGLISH + CHINESE)
def test_a_caption_in_a_strip_is_read_exactly(strip_engine, render, text):
    [line] = strip_engine.recognize(render(text, width=1180, height=90))
    assert line.text == text


def test_two_lines_come_top_to_bottom(frame_engine, render):
    lines = frame_engine.recognize(render("I waited for two hours", "in front of the station."))
    assert [line.text for line in lines] == ["I waited for two hours", "in front of the station."]
    assert lines[0].box.bottom < lines[1].box.bottom


def test_small_frames_are_read_too(frame_engine, render):
    [line] = frame_engine.recognize(render("Where were you last night?", width=426, height=240, size=16))
    assert line.text == "Where were you last night?"


def test_a_picture_without_text_gives_no_lines(frame_engine, render):
    assert frame_engine.recognize(render()) == []
    assert frame_engine.recognize(np.zeros((2, 2, 3), np.uint8)) == []


@pytest.mark.parametrize("image", [np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3), np.float32)])
def test_images_of_another_kind_are_refused(frame_engine, image):
    with pytest.raises(OcrError, match="uint8 RGB"):
        frame_engine.recognize(image)


def test_the_engine_gets_blue_first_as_opencv_has_it(frame_engine, monkeypatch):
    """RapidOCR takes arrays as BGR; captions in strong colours are read worse when channels are swapped."""
    seen = []
    detect = frame_engine._engine.detect_and_crop

    def watched(image, record):
        seen.append(image)
        return detect(image, record)

    monkeypatch.setattr(frame_engine._engine, "detect_and_crop", watched)
    image = np.zeros((700, 700, 3), np.uint8)
    image[..., 0] = 255  # red
    frame_engine.recognize(image)
    assert seen[0][0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("detection_model", "detection model"),
        ("recognition_model", "recognition model"),
        ("dictionary", "character dictionary"),
    ],
)
def test_a_missing_model_file_is_named(field, what, tmp_path):
    missing = tmp_path / "korean.onnx"
    with pytest.raises(OcrError, match=f"{what} .*korean.onnx does not exist"):
        RapidOcrEngine(RapidOcrSettings(**{field: missing}))


def test_a_file_that_is_not_a_model_is_an_error(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(OcrError, match=r"broken\.onnx cannot be loaded"):
        RapidOcrEngine(RapidOcrSettings(recognition_model=broken))
    with pytest.raises(OcrError, match="cannot load its models"):
        RapidOcrEngine(RapidOcrSettings(detection_model=broken))


def test_a_recognition_model_without_a_dictionary_asks_for_one():
    """RapidOCR would download a Chinese dictionary. The detection model serves as a model without one."""
    model = Path(rapidocr.__file__).parent / "models" / "PP-OCRv6_det_small.onnx"
    with pytest.raises(OcrError, match="contains no character dictionary"):
        RapidOcrEngine(RapidOcrSettings(recognition_model=model))


def test_an_engine_beside_another_has_its_own_detection_on_the_same_models(
    frame_engine, strip_engine, render
):
    beside = frame_engine.beside(strip_engine.settings)
    assert beside._engine.text_det.session is frame_engine._engine.text_det.session
    assert not frame_engine._engine.text_det.session.session.get_session_options().enable_mem_pattern
    strip = render("Where were you last night?", width=1180, height=90)
    assert beside.recognize(strip) == strip_engine.recognize(strip)
    frame = render("I waited for two hours", "in front of the station.")
    with ThreadPoolExecutor(2) as threads:
        readings = list(threads.map(lambda engine: engine.recognize(frame), [frame_engine, beside]))
    assert readings[0] == frame_engine.recognize(frame)
    assert readings[1] == strip_engine.recognize(frame)


def test_other_models_are_used_when_configured(tmp_path, render):
    """Copies of the wheel's own models under other names, with the orientation classifier on."""
    models = Path(rapidocr.__file__).parent / "models"
    for name in ("det", "rec"):
        (tmp_path / f"{name}.onnx").symlink_to(models / f"PP-OCRv6_{name}_small.onnx")
    engine = RapidOcrEngine(
        RapidOcrSettings(
            detection_model=tmp_path / "det.onnx",
            recognition_model=tmp_path / "rec.onnx",
            classify_orientation=True,
        )
    )
    [line] = engine.recognize(render("Where were you last night?"))
    assert line.text == "Where were you last night?"


def test_nothing_is_downloaded_and_nothing_printed(monkeypatch, capfd, caplog, render):
    def refuse(*args, **kwargs):
        raise AssertionError("OCR went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with caplog.at_level(logging.INFO):
        engine = RapidOcrEngine()
        engine.recognize(render("Wait!"))
        engine.recognize(render())
    out, err = capfd.readouterr()
    assert (out, err, caplog.text) == ("", "", "")


def piece(text: str, left: float, right: float, top: float = 0.9, confidence: float = 1.0) -> OcrLine:
    return OcrLine(text, confidence, Box(left, top, right, top + 0.06))


def test_pieces_of_a_line_are_joined_in_order():
    lines = join_pieces([piece("door", 0.45, 0.55), piece("behind the", 0.2, 0.43)], 16 / 9)
    assert [line.text for line in lines] == ["behind the door"]
    assert lines[0].box == Box(0.2, 0.9, 0.55, 0.96)


def test_the_confidence_of_joined_pieces_is_weighted_by_their_length():
    [line] = join_pieces(
        [piece("abc", 0.1, 0.2, confidence=1.0), piece("d", 0.21, 0.23, confidence=0.6)], 16 / 9
    )
    assert line.confidence == pytest.approx(0.9)


def test_chinese_pieces_that_touch_are_joined_without_a_space():
    assert [
        line.text for line in join_pieces([piece("我", 0.4, 0.43), piece("一直", 0.43, 0.5)], 16 / 9)
    ] == ["我一直"]
    assert [
        line.text for line in join_pieces([piece("我", 0.4, 0.43), piece("一直", 0.46, 0.5)], 16 / 9)
    ] == ["我 一直"]


def test_lines_below_each_other_and_far_apart_stay_apart():
    lines = [piece("below", 0.2, 0.4, 0.9), piece("above", 0.2, 0.4, 0.83), piece("logo", 0.8, 0.9, 0.902)]
    assert [line.text for line in join_pieces(lines, 16 / 9)] == ["above", "below", "logo"]


def test_rapidocr_s_list_of_models_is_read_as_it_is_and_other_files_as_usual():
    path = Path(rapidocr.__file__).parent / "default_models.yaml"
    usual = OmegaConf.load(path)
    assert OmegaConf.is_config(usual)
    assert rapid_parts._parsed(path) == OmegaConf.to_container(usual)
