"""The layout is certain once one band had many texts and nothing else may be a second place of captions."""

import pytest

from modal_gpu.layout.certainty import is_certain
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine

SENTENCES = [
    *("Where were you last night?", "I waited for two hours.", "The meeting starts at noon."),
    *("It is only the wind.", "Nobody came to the station.", "Take the second left.", "He left on Tuesday."),
    *("We sold every ticket.", "Her sister lives in Oslo.", "That bridge was closed.", "Let us go home now."),
    *("The baker shut early.", "You never told me.", "Open that window, please."),
]


def line(text: str, center_y: float, height: float = 0.06) -> OcrLine:
    half = 0.008 * len(text)
    return OcrLine(text, 0.98, Box(0.5 - half, center_y - height / 2, 0.5 + half, center_y + height / 2))


def sampled(texts: int, *others: tuple[int, OcrLine]) -> list[FrameOcr]:
    """One caption a frame at the bottom, and other lines by the place of their frame."""
    rows = [[line(SENTENCES[place], 0.92)] for place in range(texts)]
    for place, other in others:
        rows[place].append(other)
    return [FrameOcr.of(60 * place, row) for place, row in enumerate(rows)]


def certain(frames: list[FrameOcr], **options: bool) -> bool:
    return is_certain(frames, 1280, 720, **options)


def test_many_texts_in_one_band_are_certain():
    assert certain(sampled(12))


@pytest.mark.parametrize("texts", [0, 1, 11])
def test_few_texts_are_not(texts):
    assert not certain(sampled(texts))


def test_a_logo_and_a_title_card_do_not_matter():
    logo = [(place, line("Channel 4", 0.06, 0.04)) for place in range(13)]
    assert certain(sampled(13, *logo, (5, line("A film by nobody", 0.5)), (7, line("BIG", 0.4, 0.5))))


def test_a_second_place_of_captions_makes_it_uncertain_before_it_is_a_zone():
    assert not certain(sampled(13, (2, line("Am Bahnhof", 0.1)), (9, line("Zwei Stunden", 0.1))))


def test_letters_of_a_partly_known_language_are_not_doubted_with_its_model():
    frames = [
        FrameOcr.of(60 * place, [line(f"{SENTENCES[place]} được", 0.92)]) for place in range(len(SENTENCES))
    ]
    assert not certain(frames)
    assert certain(frames, with_language=True)


def test_failed_frames_do_not_count():
    failed = [FrameOcr(60 * place, "failed", error="no answer") for place in range(13)]
    assert not certain(failed)
    assert certain([*sampled(12), FrameOcr(720, "failed", error="no answer")])
