"""Judgement of a reading: whether it accounts for its line, and in which direction it runs."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from modal_gpu.ocr.engine import Box, OcrLine
from modal_gpu.ocr.languages.finding import UNREADABLE

if TYPE_CHECKING:
    from modal_gpu.ocr.languages.letters import Coverage

#: A reading below this confidence is poor. Readings of a foreign script have .5 to .7, of small or blurred
#: text in a known one .8 and more.
POOR_CONFIDENCE = 0.75
#: A reading that accounts for less than this share of its line is poor.
_POOR_SHARE = 0.5
#: Share of texts in which a letter must be read to tell the language, and fewest texts.
_TELLING_SHARE, _TELLING_TEXTS = 0.15, 2
#: A possible language has at least this share of the letters that the one with the most of them has.
_EXPLAINED_SHARE = 0.8
#: Fewest captions to judge a video by, and the share of them with poor readings.
_FEWEST_READINGS, _MOSTLY = 3, 0.6
#: A line is wide from this width in heights on: shorter ones may be a few characters of any script.
WIDE = 3.0
#: Letters for each height of a line's width: 0.8 in Chinese and Korean, about 2 in Latin letters. A reading
#: with fewer than this left most of the line out.
_LETTERS_A_HEIGHT = 0.4


def is_wide(box: Box, aspect: float) -> bool:
    """Return whether a box, in an image of ``aspect`` (width by height), has the shape of a line of text."""
    return box.width * aspect >= WIDE * box.height


def read_share(text: str, width: float, height: float) -> float:
    """Return which share of a line of ``width`` × ``height`` a reading can account for, in [0, 1].

    It is small for a "." read from a whole line of unknown letters, whatever its confidence.
    """
    letters = sum(unicodedata.category(c)[0] in "LNS" for c in text)
    return min(1.0, letters * height / (_LETTERS_A_HEIGHT * width)) if width > 0 else 0.0


def is_poor(line: OcrLine, aspect: float) -> bool:
    """Return whether a line, in an image of ``aspect`` (width by height), was read poorly."""
    share = read_share(line.text, line.box.width * aspect, line.box.height)
    return line.confidence < POOR_CONFIDENCE or share < _POOR_SHARE


def are_unreadable(readings: Sequence[tuple[str, float]]) -> bool:
    """Return whether the texts of a video's captions, each with its confidence, are mostly poor readings."""
    poor = sum(confidence < POOR_CONFIDENCE or not _has_letters(text) for text, confidence in readings)
    return len(readings) >= _FEWEST_READINGS and poor >= _MOSTLY * len(readings)


def _has_letters(text: str) -> bool:
    return any(unicodedata.category(c)[0] in "LNS" for c in text)


def partly_read_language(texts: Iterable[str]) -> "Coverage | None":
    """Return a language that the wheel's model reads only in part, if the texts' letters tell it.

    Letters that several texts have name the languages that they may be in. If the wheel's model reads none
    of these completely, letters are missing from the texts. A language that lacks many of the letters that
    only some texts have is none of them: Croatian has the Vietnamese đ, but none of its vowels. Only for
    texts that this model read.
    """
    from modal_gpu.ocr.languages.letters import letters_of
    from modal_gpu.ocr.languages.registry import latin_languages, wheel_coverage

    different = set(texts)
    counts = Counter(c for text in different for c in set(text.lower()) if ord(c) > 127 and c.isalpha())
    least = max(_TELLING_TEXTS, _TELLING_SHARE * len(different))
    telling = {letter for letter, count in counts.items() if count >= least}
    if not telling:
        return None
    possible = [wheel_coverage(tag) for tag in latin_languages() if telling <= letters_of(tag)]
    explained = [sum(counts[letter] for letter in letters_of(found.language)) for found in possible]
    least_explained = _EXPLAINED_SHARE * max(explained, default=0)
    possible = [found for found, share in zip(possible, explained, strict=True) if share >= least_explained]
    if not possible or any(found.is_full for found in possible):
        return None
    return min(possible, key=lambda found: len(letters_of(found.language)))


def partly_known(coverage: "Coverage") -> str:
    """Return the finding about a language that the model knows only in part."""
    return f"{UNREADABLE} (it knows {coverage.describe()})."


def logical_order(visual: str) -> str:
    """Return text that was read from left to right in the order in which people read and write it.

    Only text that is mostly of a right-to-left script changes; numbers and Latin words in it keep their own
    direction. This is Unicode's bidirectional algorithm, which is its own inverse on such lines unless a
    number stands beside a Latin word.
    """
    kinds = [unicodedata.bidirectional(c) for c in visual]
    if sum(kind in ("R", "AL") for kind in kinds) <= kinds.count("L"):
        return visual
    from bidi.algorithm import get_display

    return str(get_display(visual, base_dir="R"))
