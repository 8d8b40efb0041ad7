"""Captions in a script that the model cannot read are found, and never taken for a video without captions."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks.situations import texts
from benchmarks.situations.drawing import font
from modal_gpu.layout.analysis import Layout, analyze_layout
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine
from modal_gpu.ocr.languages.finding import UNREADABLE
from modal_gpu.ocr.rapid import FULL_FRAME, RapidOcrEngine
from tests.modal_gpu.ocr.conftest import busy_background

SIZE = (640, 360)
SCRIPTS = {
    "korean": (texts.KOREAN, "cjk"),
    "russian": (texts.RUSSIAN, "cjk"),
    "arabic": (texts.ARABIC, "arabic"),
    "hindi": (texts.HINDI, "devanagari"),
    "thai": (texts.THAI, "thai"),
    "vietnamese": (texts.VIETNAMESE, "cjk"),
}
READABLE = {
    "english": (texts.ENGLISH, "aileron"),
    "spanish": (texts.SPANISH, "cjk"),
    "german": (texts.GERMAN, "cjk"),
    "chinese": (texts.CHINESE, "cjk"),
    "japanese": (texts.JAPANESE, "cjk"),
}


@pytest.fixture(scope="module")
def engine() -> RapidOcrEngine:
    return RapidOcrEngine(replace(FULL_FRAME, keep_unread=True))


def frame(text: str, name: str) -> np.ndarray:
    picture = Image.fromarray(busy_background(*SIZE))
    ImageDraw.Draw(picture).text(
        (SIZE[0] / 2, 0.92 * SIZE[1]), text, font=font(name, 23), anchor="ms", fill="white",
        stroke_width=2, stroke_fill="black",
    )  # fmt: skip
    return np.asarray(picture)


def analysed(engine: RapidOcrEngine, lines: tuple[str, ...], name: str) -> Layout:
    """The layout of a video that shows each line for two samples, and nothing between them."""
    pictures = [
        picture for line in lines[:5] for picture in (*[frame(line, name)] * 2, busy_background(*SIZE))
    ]
    read: dict[bytes, list[OcrLine]] = {}
    frames = []
    for number, picture in enumerate(pictures):
        key = picture.tobytes()
        read[key] = read.get(key) or engine.recognize(picture)
        frames.append(FrameOcr.of(10 * number, read[key]))
    return analyze_layout(frames, *SIZE)


@pytest.mark.parametrize("script", SCRIPTS)
def test_captions_in_a_foreign_script_ask_for_its_language(engine, script):
    layout = analysed(engine, *SCRIPTS[script])
    assert layout.reason.startswith(UNREADABLE)
    assert layout.found and layout.confidence <= 0.1, "a person has to act"
    crop = layout.crop_region
    assert 0.6 < crop.crop_top < 0.86 and crop.crop_bottom > 0.95


@pytest.mark.parametrize("language", READABLE)
def test_captions_that_can_be_read_do_not(engine, language):
    layout = analysed(engine, *READABLE[language])
    assert layout.found and "OCR_LANGUAGE" not in layout.reason
    assert layout.confidence > 0.5


def read_as(*lines: tuple[str, float, Box]) -> list[FrameOcr]:
    return [FrameOcr.of(10 * k, [OcrLine(*line)]) for k, line in enumerate(lines)]


def test_a_logo_in_a_foreign_script_is_no_caption():
    logo = Box(0.8, 0.05, 0.97, 0.1)
    layout = analyze_layout(read_as(*[("", 0.0, logo)] * 20), 1280, 720)
    assert not layout.found and not layout.reason.startswith(UNREADABLE) and layout.confidence > 0.9


def test_a_person_may_label_a_line_that_nothing_reads():
    """Its text is unknown, so only the label makes it a caption."""
    frames = read_as(*[("", 0.2, Box(0.3, 0.9, 0.7, 0.95))] * 12)
    assert not analyze_layout(frames, 1280, 720).found
    layout = analyze_layout(frames, 1280, 720, {(30, 0): "in"})
    assert layout.found and layout.crop_region.crop_top < 0.9 < 0.95 < layout.crop_region.crop_bottom
    assert [(p.frame_index, p.label, p.confidence) for p in layout.predictions] == [(30, "in", 1.0)]


def test_scattered_shapes_that_nothing_reads_are_no_captions():
    random = np.random.default_rng(3)
    places = [(x, y) for x, y in random.uniform(0, 0.7, (30, 2))]
    shapes = [("", 0.2, Box(x, y, x + 0.25, y + 0.04)) for x, y in places]
    layout = analyze_layout(read_as(*shapes), 1280, 720)
    assert not layout.found and not layout.reason.startswith(UNREADABLE)


def test_a_few_blurred_captions_among_others_are_usual():
    boxes = [Box(0.5 - w, 0.88, 0.5 + w, 0.94) for w in np.linspace(0.15, 0.35, 12)]
    lines = [
        (f"Sentence {chr(97 + k) * 9} of a dozen", 0.6 if k % 4 == 0 else 0.97, box)
        for k, box in enumerate(boxes)
    ]
    layout = analyze_layout(read_as(*lines), 1280, 720)
    assert layout.found and layout.confidence > 0.9
