"""A video's texts tell a language that the wheel's model reads in part, also with a few misread letters."""

import random
import unicodedata
from collections.abc import Sequence

import pytest

from benchmarks.situations import texts
from modal_gpu.ocr.languages.reading import partly_read_language
from modal_gpu.ocr.languages.registry import UNREAD

CROATIAN = (
    "Đak je zaboravio knjigu.",
    "Kuća je na kraju grada.",
    "Čekam te već sat vremena.",
    "Životinje spavaju ispod šume.",
    "Što ćeš reći svojoj majci?",
    "Danas je vrlo hladno, Đuro.",
)
FRENCH = (
    "Où est passé l'élève ?",
    "C'était à côté de la forêt.",
    "Ça ne fait rien, maman.",
    "Les garçons ont fêté Noël.",
    "Il a perdu sa clé hier.",
    "Le château était très vieux.",
)
#: Letters with marks, as the model takes one for another.
MISREAD = "áàãạăâāåäçćčđéèẹêëėğíìîïıłñńóòõọôơöøőşšßúùûüưýźżž"


def as_read(written: Sequence[str]) -> list[str]:
    """The texts without the marks that the wheel's model leaves out."""
    return [
        "".join(unicodedata.normalize("NFD", c)[0] if c in UNREAD else c for c in text) for text in written
    ]


def with_misread_letters(read: Sequence[str], count: int, seed: int) -> list[str]:
    """The texts with ``count`` letters replaced by others."""
    chance, lines = random.Random(seed), [list(text) for text in read]
    for _ in range(count):
        line = chance.choice(lines)
        place = chance.choice([place for place, c in enumerate(line) if c.isalpha()])
        line[place] = chance.choice(MISREAD)
    return ["".join(line) for line in lines]


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("written", [CROATIAN, texts.SPANISH, FRENCH, texts.POLISH])
def test_a_language_that_the_model_reads_is_not_flagged_because_of_a_few_misread_letters(written, count: int):
    for seed in range(40):
        assert partly_read_language(with_misread_letters(as_read(written), count, seed)) is None


@pytest.mark.parametrize("count", [0, 1, 2])
def test_vietnamese_is_flagged_despite_a_few_misread_letters(count: int):
    for seed in range(40):
        found = partly_read_language(with_misread_letters(as_read(texts.VIETNAMESE), count, seed))
        assert found and found.language == "vi"


def test_vietnamese_texts_that_share_only_few_letters_are_not_taken_for_another_language():
    read = as_read([texts.VIETNAMESE[place] for place in (1, 3, 5)])
    found = partly_read_language(read)
    assert found and found.language == "vi"
