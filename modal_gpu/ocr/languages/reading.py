"""Judgement of a reading: whether it accounts for its line, and in which direction it runs."""

import unicodedata

from modal_gpu.ocr.engine import Box

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


def logical_order(visual: str) -> str:
    """Return text that was read from left to right in the order in which people read and write it.

    Only text that is mostly of a right-to-left script changes; numbers and Latin words in it keep their own
    direction (Unicode's bidirectional algorithm, which is its own inverse on such lines).
    """
    kinds = [unicodedata.bidirectional(c) for c in visual]
    if sum(kind in ("R", "AL") for kind in kinds) <= kinds.count("L"):
        return visual
    from bidi.algorithm import get_display

    return str(get_display(visual, base_dir="R"))
