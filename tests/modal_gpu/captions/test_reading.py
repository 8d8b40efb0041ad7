"""From captions that wait to captions with text, whatever OCR says and people do meanwhile."""

from dataclasses import replace

import pytest

from modal_gpu.captions.reading import apply_readings, read_texts, unreadable_note
from modal_gpu.captions.subtitles import shown
from modal_gpu.contracts import CaptionOcrResult, CaptionRange
from modal_gpu.databases.captions import Caption
from modal_gpu.ocr.languages.finding import UNREADABLE


def waiting(start: int, end: int, **changes) -> Caption:
    return replace(Caption(start, end, start / 10, end / 10, id=start + 1, confidence=0.9), **changes)


class Recognizer:
    """A recognizer that knows the text of frame ranges, and records its requests."""

    def __init__(self, texts: dict[tuple[int, int], str]) -> None:
        self.texts, self.asked = texts, []

    def __call__(self, ranges: list[CaptionRange]) -> list[CaptionOcrResult]:
        asked = [(r.start_index, r.end_index) for r in ranges]
        self.asked.append(asked)
        return [
            CaptionOcrResult(self.texts.get(frames, ""), 0.98, frames[1] - frames[0], caption_id=r.caption_id)
            for frames, r in zip(asked, ranges, strict=True)
        ]


def summary(captions: list[Caption]) -> list[tuple[int, int, str]]:
    return [(c.start_index, c.end_index, c.best_text) for c in captions]


def test_pieces_are_joined_and_the_whole_is_read_again():
    recognize = Recognizer({(0, 10): "Hello", (10, 20): "hello", (0, 20): "Hello!", (30, 40): "Other"})
    captions = [waiting(0, 10), waiting(10, 20), waiting(30, 40)]
    result = apply_readings(captions, read_texts(captions, recognize))
    assert recognize.asked == [[(0, 10), (10, 20), (30, 40)], [(0, 20)]]
    assert summary(result) == [(0, 20, "Hello!"), (30, 40, "Other")]
    assert not any(c.image_needs_regen for c in result)


def test_wholes_that_read_alike_are_joined_in_their_turn():
    texts = {(0, 10): "'Good day", (10, 20): "'good day", (20, 30): "Good day", (30, 40): "good day"}
    wholes = {(0, 20): "Good day", (20, 40): "Good day", (0, 40): "Good day"}
    captions = [waiting(start, end) for start, end in texts]
    result = apply_readings(captions, read_texts(captions, Recognizer(texts | wholes)))
    assert summary(result) == [(0, 40, "Good day")]


def test_a_whole_that_cannot_be_read_keeps_the_pieces_text():
    recognize = Recognizer({(0, 10): "Hello", (10, 20): "Hello"})
    captions = [waiting(0, 10), waiting(10, 20)]
    assert summary(apply_readings(captions, read_texts(captions, recognize))) == [(0, 20, "Hello")]


def test_what_a_person_did_while_it_was_read_stays():
    recognize = Recognizer({(0, 10): "Hello", (20, 30): "There", (40, 50): "You"})
    captions = [waiting(0, 10), waiting(20, 30), waiting(40, 50)]
    readings = read_texts(captions, recognize)
    moved = replace(captions[0], end_index=12, state="confirmed")
    written = replace(captions[1], text="There!")
    result = apply_readings([moved, written], readings)
    assert [(c.end_index, c.text, c.ocr_text) for c in result] == [(12, None, None), (30, "There!", "There")]


def test_captions_that_were_read_before_are_not_read_again():
    done = waiting(0, 10, ocr_text="Hello", ocr_status="completed", ocr_confidence=0.9)
    recognize = Recognizer({})
    assert summary(apply_readings([done], read_texts([done], recognize))) == [(0, 10, "Hello")]
    assert recognize.asked == []


def recognized(*readings: tuple[str, float]) -> tuple[list[Caption], Recognizer]:
    """Captions of a second each, and a recognizer with these texts and confidences."""
    captions = [waiting(20 * k, 20 * k + 10) for k in range(len(readings))]
    by_range = {(20 * k, 20 * k + 10): reading for k, reading in enumerate(readings)}

    def recognize(ranges: list[CaptionRange]) -> list[CaptionOcrResult]:
        found = [by_range[r.start_index, r.end_index] for r in ranges]
        return [
            CaptionOcrResult(text, sure, 10, r.caption_id)
            for (text, sure), r in zip(found, ranges, strict=True)
        ]

    return captions, recognize


@pytest.mark.parametrize(
    "readings",
    [
        [("ukaaavlv", 0.6), ("quladnaTuluuvms", 0.7), ("wuTUciun", 0.54)],  # Thai
        [(".", 0.98), (", .", 0.97), (".", 0.9), ("Mapta", 0.8)],  # Russian
        [("Không ai sng ngon hai đăng na.", 0.94), ("Ngưi gác đèn ri đi vào th ba.", 0.94),
         ("Chng ti chi đn đó mt ln.", 0.93)],  # Vietnamese
    ],
)  # fmt: skip
def test_garbage_never_becomes_a_text_and_is_read_again_later(readings):
    captions, recognize = recognized(*readings)
    result = apply_readings(captions, read_texts(captions, recognize))
    assert len(result) == len(captions) and {c.ocr_status for c in result} == {"error"}
    assert not any(c.best_text for c in result) and shown(result) == []
    assert unreadable_note(result).startswith(UNREADABLE)

    _, better = recognized(*[("На маяке никто не жил.", 0.95)] * len(readings))
    read = apply_readings(result, read_texts(result, better, with_language=True))
    assert all(c.best_text for c in read) and unreadable_note(read) == ""


@pytest.mark.parametrize(
    "readings",
    [
        [("3", 0.99), ("2", 0.99), ("1", 0.99)],
        [("Guten Tag, Herr Müller.", 0.95), ("Wo sind die Schlüssel?", 0.96), ("…", 0.6)],
        [("¿Dónde está el niño?", 0.98), ("Mañana.", 0.99), ("¡Sí, señor!", 0.97), ("blurred", 0.7)],
        [("他带走了狗", 0.99), ("一", 0.8), ("是", 0.99)],
        [(".", 0.9), (".", 0.9)],  # too few to judge
    ],
)
def test_texts_that_were_read_stay(readings):
    captions, recognize = recognized(*readings)
    result = apply_readings(captions, read_texts(captions, recognize))
    assert {c.ocr_status for c in result} == {"completed"} and unreadable_note(result) == ""


def test_letters_of_a_model_that_was_chosen_are_not_doubted():
    captions, recognize = recognized(*[("Zażółć gęślą jaźń", 0.95)] * 3)
    result = apply_readings(captions, read_texts(captions, recognize, with_language=True))
    assert {c.ocr_status for c in result} == {"completed"}
