"""Marks of a script that OCR reads unsteadily, made uniform over a video's captions."""

import re
from collections.abc import Mapping

#: A dialogue's hyphen or dash at the beginning of a line, with and without its space.
_SPACED, _TIGHT = (
    re.compile(r"^[-\u2010\u2013\u2014] \S", re.M),
    re.compile(r"^([-\u2010\u2013\u2014])(?=[^\W\d])", re.M),
)
#: Share of a video's dialogue lines with a space from which on all have it: OCR loses spaces, and adds none.
_SPACED_SHARE = 0.25
#: Dots after a Chinese or Japanese character: an ellipsis is six dots, in two characters.
_ELLIPSIS = re.compile(
    "(?<=[\u3040-\u30ff\u3400-\u9fff])(?:\u2026+|\\.{3,}|\u3002{3,}|\u00b7{3,}|\uff0e{3,})"
)

#: What tells Spanish, and the "i" that models without "¡" read for it, before an exclamation.
_SPANISH = re.compile("[¿¡ñÑ]")
_EXCLAMATION = re.compile(r"(?<![^\s\"“«(\-–—])i(?=[^\W\d_a-zß-öø-ÿ][^!?¿\n]*!)")
#: The word "I", read as a lower-case L: no language has that word, except for litres.
_LONE_L = re.compile(r"(?<![\w'’.])(?<!\d )l(?![\w'’])(?=[,.;:!?…]*(?:\s|$))")


def with_uniform_marks(texts: Mapping[tuple[int, int], str]) -> dict[tuple[int, int], str]:
    """Return texts, by frame range, with the marks that their script and the other captions have.

    Hyphens of dialogues get the space that OCR lost in some lines, if others of the video have it. Dots that
    end a Chinese or Japanese text become "……". In a Spanish video exclamations begin with "¡", where "i" was
    read before a capital letter. A lone "l" is the word "I".
    """
    spaced = sum(len(_SPACED.findall(text)) for text in texts.values())
    tight = sum(len(_TIGHT.findall(text)) for text in texts.values())
    is_spaced = spaced > 0 and spaced >= _SPACED_SHARE * (spaced + tight)
    is_spanish = any(_SPANISH.search(text) for text in texts.values())
    uniform = {}
    for span, text in texts.items():
        text = _ELLIPSIS.sub("\u2026\u2026", _LONE_L.sub("I", text))
        text = _EXCLAMATION.sub("¡", text) if is_spanish else text
        uniform[span] = _TIGHT.sub(r"\1 ", text) if is_spaced else text
    return uniform
