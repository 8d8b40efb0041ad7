"""Music notes at the ends of a line are found, and nothing else is taken for one."""

import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from benchmarks.situations import texts
from benchmarks.situations.drawing import check_glyphs, font, glyphs
from modal_gpu.ocr import music_notes
from modal_gpu.ocr.engine import Box
from modal_gpu.ocr.music_notes import find_notes
from modal_gpu.ocr.rapid import RapidOcrEngine
from tests.modal_gpu.ocr.conftest import busy_background

WIDTH, HEIGHT = 960, 96


def drawn(
    text: str, name: str, size: int = 34, fill: str = "white", edge: str = "black"
) -> tuple[np.ndarray, Box]:
    """A line over a busy picture, and its place."""
    check_glyphs(text, name)
    picture = Image.fromarray(busy_background(WIDTH, HEIGHT))
    pen, face = ImageDraw.Draw(picture), font(name, size)
    place = {"font": face, "anchor": "ms", "stroke_width": 3}
    pen.text((WIDTH / 2, 62), text, fill=fill, stroke_fill=edge, **place)  # type: ignore[arg-type]
    left, top, right, bottom = pen.textbbox((WIDTH / 2, 62), text, **place)  # type: ignore[arg-type]
    return np.asarray(picture), Box(left / WIDTH, top / HEIGHT, right / WIDTH, bottom / HEIGHT)


def ends(text: str, name: str, **look: object) -> tuple[str, str]:
    notes = find_notes(*drawn(text, name, **look))  # type: ignore[arg-type]
    return (notes.before, notes.after) if notes else ("", "")


@pytest.mark.parametrize("name", ["cjk", "latin"])
@pytest.mark.parametrize("look", [{}, {"size": 28}, {"fill": "yellow"}, {"fill": "black", "edge": "white"}])
def test_notes_are_found_at_either_end(name: str, look: dict[str, object]):
    for note in "♪♫":
        assert ends(f"{note} It still runs {note}", name, **look) == (note, note)
        assert ends(f"{note} It still runs", name, **look) == (note, "")
        assert ends(f"I wind it up. {note}", name, **look) == ("", note)


def test_a_note_outside_of_the_found_box_is_found():
    picture, box = drawn("♪ It still runs ♪", "cjk")
    inside = Box(box.left + 0.04, box.top, box.right - 0.04, box.bottom)
    notes = find_notes(picture, inside)
    assert notes and (notes.before, notes.after) == ("♪", "♪")
    assert notes.text and box.left < notes.text.left < notes.text.right < box.right


def test_notes_alone_have_no_text():
    notes = find_notes(*drawn("♪", "cjk"))
    assert notes and notes.before == "♪" and notes.text is None


_SIDES = st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True).map(sorted)


@given(st.integers(16, 400), st.integers(16, 400), _SIDES, _SIDES)
@example(16, 2000, (0.0, 1.0), (0.0, 1.0))
@example(40, 1080, (0.4, 0.42), (0.1, 0.9))
@example(400, 40, (0.5, 0.6), (0.4, 0.41))
def test_vertical_text_and_slivers_have_no_notes(width: int, height: int, across, down):
    box = Box(across[0], down[0], across[1], down[1])
    notes = find_notes(busy_background(width, height), box)
    if 4 * box.width * width < box.height * height or box.height * height < 4:
        assert notes is None


LINES = [
    *((line, name) for line in (*texts.ENGLISH, *texts.GERMAN, *texts.SPANISH) for name in ("latin", "cjk")),
    *((line, "aileron") for line in texts.ENGLISH),
    *((line, "latin") for line in (*texts.POLISH, *texts.RUSSIAN)),
    *((line, "cjk") for line in (*texts.CHINESE, *texts.JAPANESE, *texts.KOREAN)),
    *(
        (line, "latin")
        for line in ("J. Smith, 1 d", "S 1 J", "- I!", "! I !", "d b", "(J)", "“f” 5", "— 7 ?")
    ),
    *((line, "cjk") for line in ("小 刀", "几 月", "门 贝", "口 马", "ナ 了", "J 丁", "ノ 心")),
]


@pytest.mark.parametrize(("line", "name"), LINES)
def test_nothing_else_is_a_note(line: str, name: str):
    assert ends(line, name) == ("", "")


def is_common(character: str) -> bool:
    """Letters, digits and punctuation in Latin, Greek and Cyrillic writing, and kana."""
    code, kind = ord(character), unicodedata.category(character)[0]
    return kind in "LNP" and (code < 0x530 or 0x2010 <= code < 0x2060 or 0x3000 <= code < 0x3100)


@pytest.mark.parametrize("name", ["latin", "cjk", "aileron"])
@pytest.mark.parametrize(("size", "stroke"), [(40, 0), (52, 1)])
def test_no_other_character_is_close_to_a_note(
    name: str, size: int, stroke: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(music_notes, "_SIMILAR", 0.65)  # less than what is required; Л has 0.62
    close, face = set(), font(name, size)
    for character in filter(is_common, glyphs(name)):
        picture = Image.new("L", (160, 160))
        ImageDraw.Draw(picture).text((40, 40), character, fill=255, font=face, stroke_width=stroke)
        ink = np.asarray(picture) > 127
        columns = np.flatnonzero(ink.any(axis=0))
        if len(columns) and music_notes._note(ink[:, columns[0] : columns[-1] + 1]):
            close.add(character)
    assert close == set()


def test_the_engine_reads_notes_with_the_line(strip_engine: RapidOcrEngine):
    for text in ("♪ It still runs, if you wind it up. ♪", "♫ He took the dog and left the clock."):
        (line,) = strip_engine.recognize(drawn(text, "cjk")[0])
        assert line.text == text and line.confidence > 0.9


def test_a_dialogues_hyphen_is_kept(strip_engine: RapidOcrEngine):
    for text in texts.ENGLISH[:4]:
        (line,) = strip_engine.recognize(drawn(f"- {text}", "aileron")[0])
        assert line.text.startswith("-") and line.text.lstrip("- ")[:2] == text[:2]
