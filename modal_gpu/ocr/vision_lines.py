"""Conversion of Google Vision's pages, blocks, paragraphs and words to the text lines of single frames.

A line ends at a break that Vision reports after a word, at the end of a paragraph, at a word that starts
another row after a space, and where another frame of the montage begins. A word belongs to the frame that
contains nearly all of its height; frames that share a word must be read again separately.
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modal_gpu.ocr.engine import Box, OcrLine
from modal_gpu.ocr.reading_order import in_reading_order, join_pieces
from modal_gpu.ocr.vision_batches import Montage, Place

if TYPE_CHECKING:
    from google.cloud.vision_v1 import TextAnnotation

#: A word belongs to a frame that contains at least the first share of its height. It does not touch a frame
#: that contains less than the second share of its height (or of the frame's, if the frame is lower).
_OWN_SHARE, _TOUCH_SHARE = 0.8, 0.2

# TextAnnotation.DetectedBreak.BreakType
_SPACE, _SURE_SPACE, _EOL_SURE_SPACE, _HYPHEN, _LINE_BREAK = range(1, 6)


@dataclass(frozen=True)
class Word:
    """A word in pixels of the montage; ``after`` is the space or line break that follows in its paragraph."""

    text: str
    confidence: float
    left: float
    top: float
    right: float
    bottom: float
    after: str
    paragraph: int


def words_of(annotation: "TextAnnotation", montage: Montage) -> list[Word]:
    """Return every word with its box in the montage's pixels, in Vision's order.

    The confidence is the word's; if it has none, the mean of its symbols or its paragraph's.
    """
    words: list[Word] = []
    paragraphs = (
        (page, paragraph)
        for page in annotation.pages
        for block in page.blocks
        for paragraph in block.paragraphs
    )
    for number, (page, paragraph) in enumerate(paragraphs):
        page_size = (page.width or montage.width, page.height or montage.height)
        scale = (montage.width / page_size[0], montage.height / page_size[1])
        for word in paragraph.words:
            text, before, after = _spelled(word.symbols)
            if before and words and words[-1].paragraph == number:
                words[-1] = replace(words[-1], after=words[-1].after or before)
            corners = _corners(word.bounding_box, page_size)
            if not text.strip() or not corners:
                continue
            x, y = zip(*corners, strict=True)
            words.append(
                Word(
                    text,
                    _confidence(word, paragraph),
                    min(x) * scale[0],
                    min(y) * scale[1],
                    max(x) * scale[0],
                    max(y) * scale[1],
                    after,
                    number,
                )
            )
    return words


def _confidence(word: Any, paragraph: Any) -> float:
    symbols = [symbol.confidence for symbol in word.symbols if symbol.confidence]
    mean = sum(symbols) / len(symbols) if symbols else paragraph.confidence
    return min(1.0, max(0.0, word.confidence or mean))


def lines_of_places(words: Sequence[Word], montage: Montage) -> list[list[OcrLine] | None]:
    """Return the lines of each frame, top to bottom; ``None`` for a frame to read separately.

    Boxes are fractions of the frame. A line's confidence is its words' mean weighted by characters.
    """
    owners = [_owner(word, montage) for word in words]
    ambiguous = {place for touched, owner in owners if owner is None for place in touched}
    pieces: dict[int, list[OcrLine]] = {place.index: [] for place in montage.places}
    for place, run in _runs(words, [owner for _, owner in owners]):
        if line := _line(run, place):
            pieces[place.index].append(line)
    return [
        None if place.index in ambiguous else _whole_lines(pieces[place.index], place.width / place.height)
        for place in montage.places
    ]


def _owner(word: Word, montage: Montage) -> tuple[list[int], Place | None]:
    """Return the frames that a word touches, and its owner; a mark on a bar touches none."""
    if len(montage.places) == 1:
        return [montage.places[0].index], montage.places[0]
    height = max(word.bottom - word.top, 1e-6)
    shared = [max(0.0, min(word.bottom, place.bottom) - max(word.top, place.top)) for place in montage.places]
    touched = [
        place
        for place, rows in zip(montage.places, shared, strict=True)
        if rows >= _TOUCH_SHARE * min(height, place.height)
    ]
    owner = touched[0] if len(touched) == 1 and max(shared) >= _OWN_SHARE * height else None
    return [place.index for place in touched], owner


def _runs(words: Sequence[Word], owners: Sequence[Place | None]) -> Iterator[tuple[Place, list[Word]]]:
    """Yield the words of each line, with their frame."""
    run: list[Word] = []
    place: Place | None = None
    for word, owner in zip(words, owners, strict=True):
        if place is not None and run and (owner is not place or _starts_line(run[-1], word)):
            yield place, run
            run = []
        place = owner
        if owner is not None:
            run.append(word)
    if place is not None and run:
        yield place, run


def _starts_line(last: Word, word: Word) -> bool:
    if last.after in ("\n", "-\n") or last.paragraph != word.paragraph:
        return True
    # A break that Vision did not report: the word is on another row, and not to the right of the last one.
    apart = word.top >= last.bottom or word.bottom <= last.top
    return last.after == " " and apart and word.left < last.right


def _line(run: Sequence[Word], place: Place) -> OcrLine | None:
    text = "".join(word.text + word.after for word in run[:-1]) + run[-1].text
    if run[-1].after == "-\n" and not text.endswith("-"):
        text += "-"
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()
    left, right = _inside(min(w.left for w in run), max(w.right for w in run), place.width)
    top, bottom = _inside(
        min(w.top for w in run) - place.top, max(w.bottom for w in run) - place.top, place.height
    )
    if not text or left >= right or top >= bottom:
        return None
    characters = sum(len(word.text) for word in run)
    confidence = sum(len(word.text) * word.confidence for word in run) / characters
    return OcrLine(text, min(1.0, confidence), Box(left, top, right, bottom))


def _inside(low: float, high: float, size: int) -> tuple[float, float]:
    return min(1.0, max(0.0, low / size)), min(1.0, max(0.0, high / size))


def _whole_lines(pieces: Sequence[OcrLine], aspect: float) -> list[OcrLine]:
    """Join pieces of lines that are split over blocks, except those of right-to-left scripts."""
    from_right = [piece for piece in pieces if _is_right_to_left(piece.text)]
    others = [piece for piece in pieces if not _is_right_to_left(piece.text)]
    joined = join_pieces(others, aspect)
    return in_reading_order([*joined, *from_right]) if from_right else joined


def _is_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)


def _spelled(symbols: Sequence[Any]) -> tuple[str, str, str]:
    """Return a word's text and the breaks before and after it."""
    text, before, after = "", "", ""
    for symbol in symbols:
        found = symbol.property.detected_break
        between = _between(int(found.type_))
        if after:  # a break inside a word
            text, after = text + " ", ""
        if found.is_prefix and between:
            if text:
                text += " "
            else:
                before = between
        text += symbol.text
        if not found.is_prefix:
            after = between
    return text, before, after


def _between(kind: int) -> str:
    if kind in (_SPACE, _SURE_SPACE):
        return " "
    if kind == _HYPHEN:
        return "-\n"  # the hyphen is visible in the image but not in the text
    return "\n" if kind in (_EOL_SURE_SPACE, _LINE_BREAK) else ""


def _corners(polygon: Any, page_size: tuple[int, int]) -> list[tuple[float, float]]:
    corners = [(float(corner.x), float(corner.y)) for corner in polygon.vertices]
    if not corners:
        corners = [
            (corner.x * page_size[0], corner.y * page_size[1]) for corner in polygon.normalized_vertices
        ]
    return [corner for corner in corners if all(map(math.isfinite, corner))]
